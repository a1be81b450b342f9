"""The commands that train: study, baseline, confirm, ablation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mnist_study.cli.options import (
    ClusterOption,
    DataOption,
    DatasetOption,
    HomeOption,
    JsonOption,
    MixedOption,
    SeedOption,
    WorkersOption,
)
from mnist_study.cli.output import print_result, stderr_console
from mnist_study.cli.preparation import (
    available_cores,
    fitted,
    fitted_ablation,
    load_data,
    run_options,
)
from mnist_study.core.errors import UserFacingError

if TYPE_CHECKING:
    from mnist_study.execution.driver import JobResult


def study(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Experiment file.")] = Path(
        "experiments/study.toml"
    ),
    trials: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1_000_000,
            metavar="N",
            help="Number of trials in all, those done before included (default: the file's).",
        ),
    ] = None,
    workers: WorkersOption = None,
    seed: SeedOption = None,
    dataset: DatasetOption = "auto",
    data: DataOption = None,
    cluster: ClusterOption = None,
    allow_mixed: MixedOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run or resume the study in FILE."""
    from mnist_study.cli.progress import say, study_view
    from mnist_study.core.config import ConfigError, load_experiment, with_overrides

    experiment = with_overrides(load_experiment(file), n_trials=trials, seed=seed)
    search = experiment.study
    if search is None:
        raise ConfigError(
            f"{file}: no [study] table, so there is nothing to search; take a file that has one, "
            "such as experiments/study.toml"
        )
    console = stderr_console()
    n_workers = workers or min(available_cores(), search.in_flight)
    if not cluster and n_workers > search.in_flight / 2:
        say(
            console,
            f"note: {n_workers} workers with in_flight {search.in_flight}: more than half "
            "of it will often wait; in_flight is fixed for the life of a study",
        )
    training_set = load_data(console, dataset, data)
    experiment = fitted(experiment, training_set, console)
    from mnist_study.execution.driver import run_job
    from mnist_study.experiments.study import study_job

    options = run_options(home, n_workers, cluster, allow_mixed)
    say(console, f"home: {options.home.path}")
    n_trials = search.n_trials
    try:
        job = study_job(experiment, file.read_text(encoding="utf-8"), training_set)
    except UserFacingError as error:
        raise ConfigError(f"{file}: {error}") from error
    outcome = run_job(
        job, training_set, options, lambda results: study_view(console, n_trials, results)
    )
    _print_outcome(outcome, home, as_json)


def baseline(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Experiment file.")] = Path(
        "experiments/baseline.toml"
    ),
    seeds: Annotated[
        int | None,
        typer.Option(
            min=2,
            max=100_000,
            metavar="N",
            help="Number of runs in all, one a seed (default: the file's, else 30).",
        ),
    ] = None,
    workers: WorkersOption = None,
    dataset: DatasetOption = "auto",
    data: DataOption = None,
    cluster: ClusterOption = None,
    allow_mixed: MixedOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train the documented network over N seeds; reads the test set once a run."""
    from mnist_study.cli.progress import study_view
    from mnist_study.core.config import load_experiment
    from mnist_study.data.dataset import load_test_set
    from mnist_study.execution.driver import run_job
    from mnist_study.experiments.baseline import baseline_job

    experiment = load_experiment(file)
    n_seeds = seeds or experiment.n_seeds or 30
    console = stderr_console()
    training_set = load_data(console, dataset, data)
    experiment = fitted(experiment, training_set, console)
    test_set = load_test_set(training_set.dataset, data)
    job = baseline_job(
        experiment, file.read_text(encoding="utf-8"), training_set, test_set, n_seeds
    )
    options = run_options(home, workers, cluster, allow_mixed)
    outcome = run_job(
        job, training_set, options, lambda results: study_view(console, n_seeds, results)
    )
    _print_outcome(outcome, home, as_json)


def confirm(
    top: Annotated[
        int,
        typer.Option(
            min=1, max=1000, metavar="K", help="Candidates: how many of the best configurations."
        ),
    ] = 6,
    screening_seeds: Annotated[
        int,
        typer.Option(
            min=1, max=1000, metavar="N", help="Fresh seeds and splits for each candidate."
        ),
    ] = 8,
    finalists: Annotated[
        int,
        typer.Option(
            min=1, max=1000, metavar="K", help="How many candidates go on to the second stage."
        ),
    ] = 3,
    seeds: Annotated[
        int,
        typer.Option(
            max=100_000,
            metavar="N",
            help="Other fresh seeds and splits for each finalist and the documented network, 10 or "
            "more.",
        ),
    ] = 30,
    workers: WorkersOption = None,
    dataset: DatasetOption = "auto",
    data: DataOption = None,
    cluster: ClusterOption = None,
    allow_mixed: MixedOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train the best configurations with fresh seeds, and the documented network."""
    from mnist_study.cli.progress import say, study_view
    from mnist_study.experiments.confirmation import (
        ConfirmationDesign,
        plan_line,
        run_confirmation,
        study_to_confirm,
    )
    from mnist_study.search.history import History

    design = ConfirmationDesign(top, screening_seeds, finalists, seeds)
    options = run_options(home, workers, cluster, allow_mixed)
    histories = History.open_all(options.home.storage_url)
    console = stderr_console()
    training_set = load_data(console, dataset, data)
    study = study_to_confirm(histories, training_set, options.home.path)
    say(console, plan_line(study, design, options.n_workers))
    outcome = run_confirmation(
        study,
        training_set,
        design,
        options,
        lambda job, results: study_view(console, job.n_trials, results),
    )
    _print_outcome(outcome, home, as_json)


def ablation(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Experiment file.")] = Path(
        "experiments/ablation.toml"
    ),
    seeds: Annotated[
        int | None,
        typer.Option(
            min=2,
            max=10_000,
            metavar="N",
            help="Seeds of every cell, each crossed with all splits (default: the file's).",
        ),
    ] = None,
    workers: WorkersOption = None,
    dataset: DatasetOption = "auto",
    data: DataOption = None,
    cluster: ClusterOption = None,
    allow_mixed: MixedOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find out what each part of the regularization does, and how sure that is."""
    from mnist_study.cli.progress import say, study_view
    from mnist_study.data.dataset import load_test_set
    from mnist_study.experiments.ablation.config import load_ablation
    from mnist_study.experiments.ablation.job import run_ablation
    from mnist_study.experiments.ablation.text import power_line

    settings = load_ablation(file).with_seeds(seeds)
    console = stderr_console()
    say(console, power_line(settings))
    training_set = load_data(console, dataset, data)
    settings = fitted_ablation(settings, training_set, console)
    test_set = load_test_set(training_set.dataset, data)
    outcome = run_ablation(
        settings,
        file.read_text(encoding="utf-8"),
        training_set,
        test_set,
        run_options(home, workers, cluster, allow_mixed),
        lambda job, results: study_view(console, job.n_trials, results),
    )
    _print_outcome(outcome, home, as_json)


def _print_outcome(outcome: JobResult, home: Path | None, as_json: bool) -> None:
    """Say what was found, where it is written and what to type next."""
    from mnist_study.core.text import duration
    from mnist_study.experiments.summary import digest_document, state_counts

    document = digest_document(outcome.history)
    counts = state_counts(outcome.history.results)
    states = ", ".join(f"{n} {state}" for state, n in counts.items() if n)
    took = f", trained in {duration(outcome.times.total)}" if outcome.times.total else ""
    there = f" --home {home}" if home else ""
    lines = [
        *outcome.findings.lines,
        f"{document['n_trials']} trials ({states}){took}; digest {document['digest'][:16]}…",
        f"Report: {outcome.report_folder / 'README.md'}",
        f"Next: `mnist-study ui{there}` to look at the runs and their curves.",
    ]
    report = {"report": str(outcome.report_folder), "train_seconds": outcome.times.total}
    found = {"findings": outcome.findings.lines, "states": counts}
    print_result({**document, **found, **report}, lines, as_json)
