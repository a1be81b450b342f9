"""The parts of an ablation as jobs with their identities, and the command that runs them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from mnist_study.core.config import ConfigError, name_on
from mnist_study.core.environment import environment_identity
from mnist_study.core.identity import (
    AblationDataIdentity,
    AblationIdentity,
    ArmIdentity,
    DoseIdentity,
)
from mnist_study.core.trials import TrialResult, digest
from mnist_study.data.dataset import TestSet, TrainingSet
from mnist_study.execution.driver import JobResult, RunOptions, View, run_job
from mnist_study.execution.job import Findings, Job, Others
from mnist_study.experiments.ablation.config import AblationConfig
from mnist_study.experiments.ablation.design import (
    PARTS,
    Cell,
    Part,
    check_claims,
    chosen_learning_rates,
    dose_params,
    part_arms,
    part_seeds,
)
from mnist_study.experiments.ablation.figures import ablation_figures
from mnist_study.experiments.ablation.page import ablation_page
from mnist_study.experiments.ablation.published import effects_csv, runs_npz
from mnist_study.experiments.ablation.record import AblationRecord
from mnist_study.experiments.ablation.report import ablation_lines, ablation_markdown
from mnist_study.experiments.ablation.runs import runs_of, tidy_digest, tidy_table
from mnist_study.experiments.ablation.specification import (
    described_run,
    run_name,
    specify,
    work_of_run,
)
from mnist_study.experiments.summary import sessions_markdown, state_counts
from mnist_study.plots import to_pngs, trial_png
from mnist_study.search.history import History
from mnist_study.search.plan import FixedPlan


def ablation_job(
    ablation: AblationConfig,
    part: Part,
    training_set: TrainingSet,
    test_set: TestSet,
    chosen: Mapping[Cell, float] | None = None,
) -> Job | None:
    """Describe a part of an ablation.

    Args:
        ablation: fitted to the data; its number of seeds decides how many runs there are.
        part: which.
        training_set: the rows to train on and validate with.
        test_set: measured at every read-out; the runs of the tuning never get it.
        chosen: the learning rates of the part "retuned".

    Returns:
        The job; None where the part has nothing to run.

    Raises:
        ConfigError: a part of the training rows is impossible.
    """
    arms = part_arms(ablation, part, chosen)
    if not arms:
        return None
    _check_sizes(arms, training_set, ablation.validation_size)
    name = name_on(training_set.dataset, ablation.name)
    n_seeds = part_seeds(ablation, part)
    is_main = part == ablation.main_recipe
    n_runs = len(arms) * len(ablation.executions) * n_seeds
    return Job(
        name=name if is_main else f"{name}-{part}",
        experiment=name,
        make_plan=lambda: FixedPlan(n_runs, lambda number: specify(ablation, part, arms, number)),
        n_trials=n_runs,
        identity=_identity(ablation, part, arms, training_set, test_set),
        source_text=ablation.source_text,
        data=specify(ablation, part, arms, 0).data,
        params={
            "part": part,
            "n_arms": len(arms),
            "n_seeds": n_seeds,
            "executions": " ".join(map(str, ablation.executions)),
            "batch_size": arms[0].training.batch_size,
            "epochs": arms[0].training.epochs,
            "schedule": arms[0].training.schedule,
        },
        read=read_ablation if is_main else read_part,
        draw_trial=trial_png,
        test_set=None if part == "tuning" else test_set,
        name_trial=lambda spec: run_name(ablation, part, arms, spec.number),
        describe_trial=lambda number: described_run(ablation, part, arms, number),
        work=lambda number: work_of_run(arms, number, len(training_set.labels)),
    )


def _check_sizes(
    arms: Sequence[ArmIdentity], training_set: TrainingSet, validation_size: int
) -> None:
    n_train = len(training_set.labels) - validation_size
    for arm in arms:
        if arm.n_rows is not None and arm.n_rows >= n_train:
            raise ConfigError(
                f"training_size: found {arm.n_rows} rows, expected fewer than the {n_train} of "
                f"the split of {training_set.dataset}; the whole is always among the sizes"
            )


def _identity(
    ablation: AblationConfig,
    part: Part,
    arms: Sequence[ArmIdentity],
    training_set: TrainingSet,
    test_set: TestSet,
) -> AblationIdentity:
    """Return what decides a part's results; the main part's holds what was declared too."""
    reads_test_set = part != "tuning"
    declared = ablation.model_dump(
        mode="json", include={"sentences", "statistics", "power", "activations", "earlier"}
    )
    return AblationIdentity(
        part=part,
        executions=ablation.executions,
        validation_size=ablation.validation_size,
        data=AblationDataIdentity(
            dataset=training_set.dataset,
            content_hash=training_set.content_hash,
            n_train=len(training_set.labels) - ablation.validation_size,
            test_content_hash=test_set.content_hash if reads_test_set else None,
            n_test=len(test_set.labels) if reads_test_set else None,
        ),
        arms=tuple(arms),
        declared=declared if part == ablation.main_recipe else None,
        levels=tuple(
            DoseIdentity(axis=axis, strength=strength, params=params)
            for axis, levels in dose_params(ablation).items()
            for strength, params in levels.items()
        )
        if part == "doses"
        else None,
        environment=environment_identity(),
    )


def read_ablation(history: History) -> Findings:
    """Read the main record together with all parts beside it."""
    from mnist_study.pages import REPORT, render

    record = AblationRecord(history)
    table = tidy_table(record.all_runs, record.target)
    drawn = ablation_figures(record)
    figures = to_pngs(drawn)
    metrics: dict[str, float] = {}
    if record.analysis is not None:
        metrics = {"n_seeds": record.n_seeds, "n_runs": len(history.results)}
    effects, runs = effects_csv(record), runs_npz(record)
    sizes = {"runs.csv": len(table), "effects.csv": len(effects), "runs.npz": len(runs)}
    tidy_sha256 = tidy_digest(table)
    return Findings(
        lines=ablation_lines(record),
        figures=figures,
        tables={
            "README.md": ablation_markdown(record, tidy_sha256, figures, sizes),
            REPORT: render(ablation_page(record, drawn, tidy_sha256, sizes)),
            "runs.csv": table,
            "effects.csv": effects,
        },
        metrics=metrics,
        files={"runs.npz": runs},
    )


def read_part(history: History) -> Findings:
    """Read one of the other parts: its runs, and where it is reported."""
    part = history.identity_as(AblationIdentity).part
    table = tidy_table(runs_of(history), None)
    counts = ", ".join(f"{n} {state}" for state, n in state_counts(history.results).items() if n)
    main = history.name.removesuffix(f"-{part}")
    line = f"Part {part} of the ablation {main}: {len(history.results)} runs, {counts}."
    text = [
        f"# {line}",
        "",
        f"Its figures and numbers are in the report of {main}, which reads all parts together.",
        "",
        f"- digest: `{digest(history.results)}`",
        f"- digest of the tidy rows (`runs.csv`): `{tidy_digest(table)}`",
        "",
        *sessions_markdown(history),
        "",
    ]
    return Findings([line], {}, {"README.md": "\n".join(text), "runs.csv": table}, {})


def _others(job: Job, jobs: Iterable[Job | None], done: Collection[str]) -> Others:
    """Return the parts beside one; which cells are re-tuned, and how many, is not known before."""
    others = [other for other in jobs if other is not None and other.name != job.name]
    left = [other for other in others if other.name not in done]
    return Others(
        n_trials=sum(other.n_trials for other in others),
        n_done=sum(other.n_trials for other in others if other.name in done),
        work_left=sum(
            other.work(number) for other in left if other.work for number in range(other.n_trials)
        ),
    )


def run_ablation(
    ablation: AblationConfig,
    training_set: TrainingSet,
    test_set: TestSet,
    options: RunOptions,
    observe: Callable[[Job, list[TrialResult]], AbstractContextManager[View]],
) -> JobResult:
    """Run or resume all parts, and write the report of the whole at the end.

    The factorials come first and are reported before the others begin, so that they can be read
    whatever ends the command.

    Args:
        ablation: fitted to the data.
        training_set: the rows to train on and validate with.
        test_set: for the read-outs.
        options: where and with which workers.
        observe: opens the view on a part.

    Returns:
        The main record as it stands at the end.

    Raises:
        UserFacingError: the user can correct the cause; finished runs are kept.
    """

    def job_of(part: Part, chosen: Mapping[Cell, float] | None = None) -> Job | None:
        return ablation_job(ablation, part, training_set, test_set, chosen)

    # An impossible setting of any part is refused before the first begins.
    check_claims(ablation)
    jobs = {part: job_of(part) for part in PARTS}
    done: set[str] = set()

    def run(job: Job) -> JobResult:
        shown = replace(job, others=_others(job, jobs.values(), done))
        result = run_job(job, training_set, options, lambda results: observe(shown, results))
        done.add(job.name)
        return result

    main = jobs[ablation.main_recipe]
    assert main is not None
    results = [run(main)]
    chosen: Mapping[Cell, float] | None = None
    for part in PARTS:
        if part == ablation.main_recipe:
            continue
        job = job_of(part, chosen) if part == "retuned" else jobs[part]
        if job is not None:
            results.append(run(job))
            if part == "study":
                run(main)
            elif part == "tuning":
                chosen = chosen_learning_rates(ablation, results[-1].history.results)
    whole = results[0] if len(results) == 1 else run(main)
    times = replace(whole.times, total=sum(result.times.total for result in results))
    return replace(whole, times=times)
