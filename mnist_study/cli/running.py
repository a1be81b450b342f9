"""The commands that train: study, baseline, confirm, ablation."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from mnist_study.cli.invocation import command_text
from mnist_study.cli.options import TrainingOptions
from mnist_study.cli.output import print_result, say, stderr_console
from mnist_study.cli.progress import PlainView, Work, study_view
from mnist_study.core.config import load_experiment, with_overrides
from mnist_study.core.datasets import described, is_mnist, is_stand_in
from mnist_study.core.home import Home
from mnist_study.core.machine import default_workers
from mnist_study.core.text import duration
from mnist_study.core.trials import TrialResult
from mnist_study.data.dataset import TrainingSet, load_test_set, load_training_set
from mnist_study.execution.driver import JobResult, RunOptions, run_job
from mnist_study.execution.job import Job
from mnist_study.experiments.baseline import baseline_job
from mnist_study.experiments.confirmation import (
    ConfirmationDesign,
    plan_line,
    run_confirmation,
    study_to_confirm,
)
from mnist_study.experiments.next_steps import next_line, run_document
from mnist_study.experiments.status import records_of
from mnist_study.experiments.study import study_job
from mnist_study.experiments.summary import digest_document, fault_lines, state_counts

if TYPE_CHECKING:
    from mnist_study.experiments.ablation.config import AblationConfig

DEFAULT_BASELINE_SEEDS = 30


def study(
    file: Path,
    n_trials: int | None,
    n_workers: int | None,
    seed: int | None,
    retry_failed: bool,
    shared: TrainingOptions,
) -> None:
    """Run or resume the study in a file.

    Args:
        file: experiment file with a [study] table.
        n_trials: in all, including finished ones; None takes the file's.
        n_workers: None takes as many as there are cores and trials in flight.
        seed: None takes the file's.
        retry_failed: run the trials again that FAILED for another reason than a diverged loss.
        shared: by all commands that train.
    """
    console = stderr_console()
    experiment = with_overrides(load_experiment(file), n_trials=n_trials, seed=seed)
    in_flight = experiment.search.in_flight
    n_workers = n_workers or min(default_workers(), in_flight)
    if not shared.cluster and n_workers > in_flight / 2:
        say(
            console,
            f"note: {n_workers} workers with in_flight {in_flight}: more than half of in_flight, "
            "so workers will often be idle; in_flight cannot change during a study",
        )
    training_set = load_data(console, shared)
    with experiment.errors_named():
        job = study_job(experiment, training_set)
    say_rows(console, experiment.data.validation_size, job.data.validation_size, training_set)
    options = replace(run_options(shared, n_workers), retry_failed=retry_failed)
    say(console, f"home: {options.home.path}")
    _print_job(run_job(job, training_set, options, partial(_view_on(console), job)), shared)


def baseline(
    file: Path, n_seeds: int | None, n_workers: int | None, shared: TrainingOptions
) -> None:
    """Train the documented network over many seeds.

    Args:
        file: experiment file.
        n_seeds: one run each; None takes the file's, else 30.
        n_workers: None takes one per core.
        shared: by all commands that train.
    """
    console = stderr_console()
    experiment = load_experiment(file)
    training_set = load_data(console, shared)
    test_set = load_test_set(training_set.dataset, shared.data)
    n_seeds = n_seeds or experiment.n_seeds or DEFAULT_BASELINE_SEEDS
    with experiment.errors_named():
        job = baseline_job(experiment, training_set, test_set, n_seeds)
    say_rows(console, experiment.data.validation_size, job.data.validation_size, training_set)
    options = run_options(shared, n_workers)
    _print_job(run_job(job, training_set, options, partial(_view_on(console), job)), shared)


def confirm(
    top: int,
    screening_seeds: int,
    finalists: int,
    n_seeds: int,
    study: str | None,
    n_workers: int | None,
    shared: TrainingOptions,
) -> None:
    """Train the best configurations of the home's study and the documented network again.

    Args:
        top: candidates: number of the best configurations.
        screening_seeds: fresh seeds and splits for each candidate.
        finalists: number of candidates that go on to the second stage.
        n_seeds: other fresh seeds and splits for each finalist and the documented network.
        study: name of the study, where the home has several.
        n_workers: None takes one per core.
        shared: by all commands that train.
    """
    console = stderr_console()
    design = ConfirmationDesign(top, screening_seeds, finalists, n_seeds)
    options = run_options(shared, n_workers)
    histories = records_of(options.home, study)
    training_set = load_data(console, shared)
    confirmed_study = study_to_confirm(histories, training_set, options.home.path)
    say(console, plan_line(confirmed_study, design, options.n_workers))
    outcome = run_confirmation(confirmed_study, training_set, design, options, _view_on(console))
    _print_job(outcome, shared)


def ablation(
    file: Path, n_seeds: int | None, n_workers: int | None, shared: TrainingOptions
) -> None:
    """Run the ablation in a file.

    Args:
        file: experiment file of an ablation.
        n_seeds: of every cell; None takes the file's.
        n_workers: None takes one per core.
        shared: by all commands that train.
    """
    # Its statistics take seconds to import, which no other command has to wait for.
    from mnist_study.experiments.ablation.config import load_ablation
    from mnist_study.experiments.ablation.design import fit_ablation
    from mnist_study.experiments.ablation.job import run_ablation
    from mnist_study.experiments.ablation.text import power_line, tuning_line

    console = stderr_console()
    written = load_ablation(file).with_seeds(n_seeds)
    say(console, power_line(written))
    if (line := tuning_line(written)) is not None:
        say(console, line)
    training_set = load_data(console, shared)
    with written.errors_named():
        settings = fit_ablation(written, training_set)
    say_rows(console, written.validation_size, settings.validation_size, training_set)
    say_sizes(console, written, settings)
    test_set = load_test_set(training_set.dataset, shared.data)
    options = run_options(shared, n_workers)
    _print_job(run_ablation(settings, training_set, test_set, options, _view_on(console)), shared)


def load_data(console: Console, shared: TrainingOptions) -> TrainingSet:
    """Load the training images, and print their source."""
    training_set = load_training_set(shared.dataset, shared.data)
    say(console, f"data: {training_set.source}")
    if is_stand_in(training_set.dataset):
        say(
            console,
            "WARNING: this is the handwritten-digits stand-in, not MNIST; its results say nothing "
            "about MNIST",
        )
    elif not is_mnist(training_set.dataset):
        say(
            console,
            f"this is {described(training_set.dataset)}; results are not compared with the "
            "documented numbers",
        )
    return training_set


def say_rows(console: Console, written: int, fitted: int, training_set: TrainingSet) -> None:
    """Print the number of validation rows if it differs from the experiment file's."""
    if fitted != written:
        say(
            console,
            f"validation: {fitted:,} of this data's {len(training_set.labels):,} training rows, "
            f"instead of {written:,} of MNIST's",
        )


def say_sizes(console: Console, written: AblationConfig, fitted: AblationConfig) -> None:
    """Print the training-set sizes if they differ from the experiment file's."""
    if fitted.training_size is not None and fitted.training_size != written.training_size:
        sizes = ", ".join(str(size.rows) for size in fitted.training_size.sizes)
        say(console, f"training-set sizes: the same shares of this data's rows, {sizes}")


def run_options(shared: TrainingOptions, n_workers: int | None) -> RunOptions:
    """Return the settings of a run that the command line decides."""
    return RunOptions(
        home=Home.at(shared.home),
        command=command_text(),
        n_workers=n_workers or default_workers(),
        cluster_address=shared.cluster,
        allow_mixed=shared.allow_mixed,
    )


def _view_on(
    console: Console,
) -> Callable[[Job, list[TrialResult]], AbstractContextManager[PlainView]]:
    """Return the function that opens the view of a job with these trials finished."""

    def view(job: Job, results: list[TrialResult]) -> AbstractContextManager[PlainView]:
        weight = job.work or (lambda number: 1.0)
        work = Work(job.n_trials, job.describe_trial, weight, job.others)
        return study_view(console, work, results)

    return view


def _print_job(result: JobResult, shared: TrainingOptions) -> None:
    """Print findings, counts, digest, the report's path and the next command."""
    from mnist_study.pages import REPORT, write_index

    write_index(Home.at(shared.home).path)
    page = result.report_folder / REPORT
    counts = state_counts(result.history.results)
    document = digest_document(result.history)
    states = ", ".join(f"{n} {state}" for state, n in counts.items() if n)
    took = f", trained in {duration(result.times.total)}" if result.times.total else ""
    lines = [
        *result.findings.lines,
        *fault_lines(result.history.results),
        f"{document['n_trials']} trials ({states}){took}; digest {document['digest'][:16]}…",
        f"Report: {page if page.exists() else result.report_folder / 'README.md'}",
        next_line(result.history, shared.home, shared.data),
    ]
    document |= {
        "findings": result.findings.lines,
        "states": counts,
        "report": str(result.report_folder),
        "train_seconds": result.times.total,
        **run_document(result.history),
    }
    print_result(document, lines, shared.as_json)
