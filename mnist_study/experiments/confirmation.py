"""Fresh-seed confirmation of a study's best configurations: what is left when the luck is gone.

Two stages, planned before the first run. The screening gives more candidates a few fresh seeds each
and decides who the finalists are; finalists and documented network then get many other fresh seeds,
which alone decide the winner, so that nothing is judged by the runs that it was chosen by.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mnist_study.core.config import ConfigError
from mnist_study.core.environment import environment_identity
from mnist_study.core.identity import (
    Candidate,
    ConfirmationDataIdentity,
    ConfirmationIdentity,
    ScreeningIdentity,
)
from mnist_study.core.text import duration
from mnist_study.core.trials import TrialResult, TrialState
from mnist_study.data.dataset import TrainingSet
from mnist_study.execution.driver import JobResult, RunOptions, View, run_job
from mnist_study.execution.job import Findings, Job
from mnist_study.experiments.confirmation_page import confirmation_page
from mnist_study.experiments.confirmation_report import (
    confirmation_lines,
    confirmation_markdown,
    further_parts,
    result_part,
    screening_line,
    screening_markdown,
)
from mnist_study.experiments.confirmation_results import (
    confirmed,
    finalists,
    screening_values,
    winner,
)
from mnist_study.experiments.replicates import Replicates, runs_csv
from mnist_study.plots import to_pngs, trial_png
from mnist_study.search.history import History
from mnist_study.search.plan import FixedPlan

MARGIN = 0.0005
"""How much less than the best the winner's mean validation accuracy may be: 0.05 points, 6 of the
12,000 validation rows, below the spread of single runs (0.06 to 0.07 points)."""
MIN_SEEDS = 10
"""With fewer the highest mean is mostly luck. At the spread of single runs on MNIST, a smaller
network can be shown to lie within the margin from about 20 seeds on; with fewer the best wins."""


@dataclass(frozen=True, slots=True)
class ConfirmationDesign:
    """What is decided before the first run.

    Attributes:
        top: candidates of the screening, the best configurations of the study.
        screening_seeds: fresh seeds and splits for each of them.
        n_finalists: how many go on to the second stage, beside the documented network.
        n_seeds: other fresh seeds and splits for each finalist; more continue what is there.

    Raises:
        ConfigError: fewer than `MIN_SEEDS` seeds, or a count below one.
    """

    top: int
    screening_seeds: int
    n_finalists: int
    n_seeds: int

    def __post_init__(self) -> None:
        if self.n_seeds < MIN_SEEDS:
            raise ConfigError(
                f"--seeds {self.n_seeds}: expected {MIN_SEEDS} or more; with fewer, the highest "
                "mean is mostly luck"
            )
        for option in ("top", "screening_seeds", "n_finalists"):
            if getattr(self, option) < 1:
                raise ConfigError(f"{option} {getattr(self, option)}: expected 1 or more")


def study_to_confirm(
    histories: Sequence[History], training_set: TrainingSet, home: Path
) -> History:
    """Return the one study among a home's records, or the one that was made on this data.

    Args:
        histories: all records of the home.
        training_set: the rows at hand.
        home: the home's folder, for the message.

    Raises:
        ConfigError: there is none, or there are several.
    """
    studies = [h for h in histories if h.kind == "study"]
    fitting = [h for h in studies if h.content_hash == training_set.content_hash]
    matching = fitting or studies
    if len(matching) != 1:
        names = ", ".join(h.name for h in matching) or "none"
        raise ConfigError(
            f"{home} holds {len(matching)} studies ({names}), expected one on this data to "
            "confirm; name it with --study, or give the --home that holds just that"
        )
    return matching[0]


def candidates(study: History, top: int) -> list[Candidate]:
    """Return the documented network and the `top` best other configurations, best first.

    Raises:
        ConfigError: the study has no completed trial beside its baseline.
    """
    done = [r for r in study.results if r.state is TrialState.COMPLETE and r.value is not None]
    ranked = sorted(done, key=lambda result: (-(result.value or 0.0), result.number))
    chosen: list[TrialResult] = []
    seen = {study.results[0].params} if study.results else set()
    for result in ranked:
        if result.params not in seen:
            seen.add(result.params)
            chosen.append(result)
    if not chosen:
        raise ConfigError(
            f"study {study.name!r} has no completed trial beside its baseline, so there is nothing "
            "to confirm; run `mnist-study study` first"
        )
    everyone = [study.results[0], *chosen[:top]]
    return [Candidate(trial=r.number, params=r.params, search_value=r.value) for r in everyone]


def plan_line(study: History, design: ConfirmationDesign, n_workers: int) -> str:
    """Say how many runs a confirmation takes, and how long at the pace of the study's own trials.

    The finalists are not known yet, so they are taken to be as slow as the candidates on average.
    """
    documented, *others = candidates(study, design.top)
    n_candidates, n_finalists = len(others), min(design.n_finalists, len(others))
    n_screening = design.screening_seeds * n_candidates if n_candidates > n_finalists else 0
    n_final = design.n_seeds * (1 + n_finalists)
    seconds = [study.results[c.trial].total_seconds for c in (documented, *others)]
    mean_seconds = float(np.mean(seconds[1:]))
    total = mean_seconds * (n_screening + design.n_seeds * n_finalists)
    total += seconds[0] * design.n_seeds
    stages = f"{n_finalists} configurations and the documented network x {design.n_seeds} seeds"
    if n_screening:
        stages = (
            f"{n_candidates} candidates x {design.screening_seeds} seeds, then {n_finalists} "
            f"finalists and the documented network x {design.n_seeds} seeds"
        )
    workers = "1 worker" if n_workers == 1 else f"{n_workers} workers"
    return (
        f"plan: {stages}: {n_screening + n_final} runs, about {duration(total / n_workers)} with "
        f"{workers} at the pace of the study's own trials"
    )


def screening_job(study: History, training_set: TrainingSet, design: ConfirmationDesign) -> Job:
    """Describe the first stage: every candidate but the documented network, with few seeds.

    Args:
        study: finished or not; its best so far are taken.
        training_set: the rows that the study used.
        design: of both stages.

    Raises:
        ConfigError: nothing to confirm, or other data than the study's.
    """
    _, *chosen = candidates(study, design.top)
    seed = _search_seed(study)
    identity = ScreeningIdentity(
        study=study.name,
        candidates=tuple(chosen),
        n_seeds=design.screening_seeds,
        n_finalists=design.n_finalists,
        seed=seed,
        training=study.experiment.training,
        data=_data_identity(study, training_set),
        environment=environment_identity(),
    )
    return _job(
        f"{study.name}-screen-{_key(study, design)}",
        identity,
        design.screening_seeds,
        read_screening,
    )


def confirm_job(
    study: History,
    training_set: TrainingSet,
    design: ConfirmationDesign,
    chosen: Sequence[Candidate] | None = None,
) -> Job:
    """Describe the second stage: finalists and documented network, with many other seeds.

    Args:
        study: finished or not; its best so far are taken.
        training_set: the rows that the study used.
        design: of both stages.
        chosen: the finalists of the screening; None takes all candidates, without a screening.

    Raises:
        ConfigError: nothing to confirm, or other data than the study's.
    """
    documented, *everyone = candidates(study, design.top)
    key = _key(study, design)
    identity = ConfirmationIdentity(
        study=study.name,
        candidates=(documented, *(everyone if chosen is None else chosen)),
        seed=_search_seed(study),
        training=study.experiment.training,
        data=_data_identity(study, training_set),
        environment=environment_identity(),
        screening=None if chosen is None else f"{study.name}-screen-{key}",
        margin=MARGIN,
    )
    return _job(f"{study.name}-confirm-{key}", identity, design.n_seeds, read_confirmation)


def _job(
    name: str,
    identity: ScreeningIdentity | ConfirmationIdentity,
    n_seeds: int,
    read: Callable[[History], Findings],
) -> Job:
    replicates = Replicates.of(identity)
    n_runs = n_seeds * len(identity.candidates)
    return Job(
        name=name,
        experiment=identity.study,
        make_plan=lambda: FixedPlan(n_runs, replicates.specify),
        n_trials=n_runs,
        identity=identity,
        source_text=json.dumps(identity.as_document(), indent=2),
        data=replicates.specify(0).data,
        params={
            "study": identity.study,
            "n_candidates": len(identity.candidates),
            "seed": identity.seed,
        },
        read=read,
        draw_trial=trial_png,
        name_trial=replicates.name,
        describe_trial=replicates.described,
    )


def _key(study: History, design: ConfirmationDesign) -> str:
    """Name a design but for its number of seeds: another one has records of its own."""
    content = {
        "candidates": [c.model_dump() for c in candidates(study, design.top)],
        "screening": [design.screening_seeds, design.n_finalists],
        "margin": MARGIN,
    }
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:8]


def _search_seed(study: History) -> int:
    search = study.experiment.study
    assert search is not None
    return search.seed


def _data_identity(study: History, training_set: TrainingSet) -> ConfirmationDataIdentity:
    content_hash = study.content_hash
    if training_set.content_hash != content_hash:
        raise ConfigError(
            f"study {study.name!r} used data with hash {content_hash[:12]}…, found "
            f"{training_set.content_hash[:12]}… ({training_set.source}); give the study's own data"
        )
    return ConfirmationDataIdentity(
        dataset=training_set.dataset,
        content_hash=content_hash,
        validation_size=study.experiment.data.validation_size,
        n_rows=len(training_set.labels),
    )


def run_confirmation(
    study: History,
    training_set: TrainingSet,
    design: ConfirmationDesign,
    options: RunOptions,
    observe: Callable[[Job, list[TrialResult]], AbstractContextManager[View]],
) -> JobResult:
    """Run or resume both stages; where no candidate would drop out there is only the second.

    The stages have records of their own. The second is described by the first one's stored results,
    so it is the same for any number of workers and after any interruption.

    Args:
        study: finished or not; its best so far are taken.
        training_set: the rows that the study used.
        design: of both stages.
        options: where and with which workers.
        observe: opens the view on a stage.

    Returns:
        The second stage as it stands at the end.

    Raises:
        UserFacingError: something that the user can put right; finished runs are kept.
    """

    def run(job: Job) -> JobResult:
        return run_job(job, training_set, options, lambda results: observe(job, results))

    if len(candidates(study, design.top)) - 1 <= design.n_finalists:
        return run(confirm_job(study, training_set, design))
    first = run(screening_job(study, training_set, design))
    second = run(confirm_job(study, training_set, design, finalists(first.history)))
    times = replace(second.times, total=first.times.total + second.times.total)
    return replace(second, times=times)


def read_screening(history: History) -> Findings:
    """Read the first stage's record."""
    identity = history.identity_as(ScreeningIdentity)
    values = screening_values(history)
    chosen = finalists(history) if len(values) >= identity.n_seeds else []
    line = screening_line(history, chosen)
    return Findings(
        lines=[line],
        figures={},
        tables={
            "README.md": screening_markdown(history, values, chosen, line),
            "runs.csv": runs_csv([history]),
        },
        metrics={"screening/n_seeds": len(values)},
    )


def read_confirmation(history: History) -> Findings:
    """Read the second stage's record, together with the first one's where there was one."""
    from mnist_study.pages import REPORT, render
    from mnist_study.plots.confirmation import confirmed_values

    identity = history.identity_as(ConfirmationIdentity)
    screening = None if identity.screening is None else history.sibling(identity.screening)
    stages = [history] if screening is None else [screening, history]
    configurations = confirmed(history)
    first = winner(configurations)
    lines = confirmation_lines(history, configurations, first)
    screened = None if screening is None else screening_values(screening)
    figure = confirmed_values(configurations, identity.margin, first.candidate.trial)
    parts = [
        ("All intervals", result_part(history, configurations, first)),
        *further_parts(configurations, screening, screened),
    ]
    page = confirmation_page(history, configurations, first, lines, parts, figure, screening)
    return Findings(
        lines=lines,
        figures=to_pngs({"confirmed_values": figure}),
        tables={
            "README.md": confirmation_markdown(
                history, configurations, first, lines, screening, screened
            ),
            REPORT: render(page),
            "runs.csv": runs_csv(stages),
        },
        metrics={
            "confirmation/winner_trial": first.candidate.trial,
            "confirmation/winner_val_accuracy": first.mean.estimate,
            "confirmation/n_seeds": len(first.values),
        },
    )
