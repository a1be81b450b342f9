"""The ablation of regularization: its parts one after the other, the factorial first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace

from mnist_study.ablation_config import FACTORS, AblationConfig
from mnist_study.ablation_job import ablation_job
from mnist_study.ablation_plan import PARTS, Cell, Part, chosen_learning_rates
from mnist_study.ablation_words import planned_effect, planned_effects
from mnist_study.data import TestSet, TrainingSet
from mnist_study.records import TrialResult
from mnist_study.runner import Job, Outcome, RunOptions, View, conduct


def smallest_effect(ablation: AblationConfig) -> float:
    """Return the smallest main effect on test accuracy, in [0, 1], that its own test would find."""
    return planned_effect(
        ablation.power,
        n_factors=len(FACTORS),
        n_seeds=ablation.n_seeds,
        n_splits=len(ablation.split_seeds),
        alpha=ablation.statistics.alpha,
    )


def power_line(ablation: AblationConfig) -> str:
    """Say what the design could detect; it is computed from the file alone."""
    planned, n_splits = ablation.power, len(ablation.split_seeds)
    found = planned_effects(
        planned,
        n_seeds=ablation.n_seeds,
        n_splits=n_splits,
        n_claims=sum(h.family == "primary" for h in ablation.hypotheses),
        alpha=ablation.statistics.alpha,
    )
    return (
        f"{found} ({ablation.n_seeds} seeds x {n_splits} splits x 8 cells; standard deviation of a "
        f"run {100 * planned.run_sd:.2f} points, {planned.source})"
    )


def run_ablation(
    ablation: AblationConfig,
    source_text: str,
    training_set: TrainingSet,
    test_set: TestSet,
    options: RunOptions,
    observe: Callable[[Job, list[TrialResult]], AbstractContextManager[View]],
) -> Outcome:
    """Run or resume all parts, and write the report of the whole at the end.

    The factorial comes first and is reported before the others begin, so that whatever ends the
    command, what is finished can be read.

    Args:
        ablation: validated.
        source_text: the experiment file's content.
        training_set: the rows to train on and validate with.
        test_set: for the read-outs.
        options: where and with which workers.
        observe: opens the view on a part.

    Returns:
        The main record as it stands at the end.

    Raises:
        UserFacingError: something that the user can put right; finished runs are kept.
    """

    def job_of(part: Part, chosen: Mapping[Cell, float] | None = None) -> Job | None:
        return ablation_job(ablation, part, source_text, training_set, test_set, chosen)

    def run(job: Job) -> Outcome:
        return conduct(job, training_set, options, lambda results: observe(job, results))

    # What is impossible in any part is refused before the first is begun.
    jobs = {part: job_of(part) for part in PARTS}
    main = jobs["factorial"]
    assert main is not None
    outcomes = [run(main)]
    chosen: Mapping[Cell, float] | None = None
    for part in PARTS[1:]:
        job = job_of(part, chosen) if part == "retuned" else jobs[part]
        if job is not None:
            outcomes.append(run(job))
            if part == "tuning":
                chosen = chosen_learning_rates(ablation, outcomes[-1].history.results)
    whole = outcomes[0] if len(outcomes) == 1 else run(main)
    times = replace(whole.times, total=sum(outcome.times.total for outcome in outcomes))
    return replace(whole, times=times)
