"""Fresh-seed confirmation of a study's best configurations: what is left when the luck is gone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mnist_study.core.config import ConfigError, DataConfig
from mnist_study.core.identity import (
    Candidate,
    ConfirmationDataIdentity,
    ConfirmationIdentity,
    environment_identity,
)
from mnist_study.core.trials import (
    SeedStream,
    TrialResult,
    TrialSpec,
    TrialState,
    derive_seed,
    derive_seeds,
    digest,
)
from mnist_study.data.dataset import TrainingSet
from mnist_study.execution.job import Findings, Job
from mnist_study.experiments.summary import data_name, describe_params, sessions_markdown
from mnist_study.plots import to_pngs, trial_png
from mnist_study.search.history import History
from mnist_study.search.plan import FixedPlan

if TYPE_CHECKING:
    from mnist_study.stats import Interval, PairedEffect


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A configuration after its replicates.

    Attributes:
        candidate: what was confirmed.
        values: validation accuracy of each replicate, in [0, 1].
        mean: their mean with its 95 % t interval.
        to_best: paired difference to the configuration of highest mean; None for that one.
        n_parameters: of the network.
        seconds_per_epoch: median over replicates; for the record, not part of any digest.
        median_best_epoch: for training once more on all rows.
    """

    candidate: Candidate
    values: tuple[float, ...]
    mean: Interval
    to_best: PairedEffect | None
    n_parameters: int
    seconds_per_epoch: float
    median_best_epoch: int

    @property
    def is_indistinguishable(self) -> bool:
        """Whether zero lies in the interval of the difference to the best."""
        return self.to_best is None or self.to_best.interval.contains(0.0)


def study_to_confirm(
    histories: Sequence[History], training_set: TrainingSet, place: Path
) -> History:
    """Return the one study among a home's records, or the one that was made on this data.

    Args:
        histories: all records of the home.
        training_set: the rows at hand.
        place: of the home, for the message.

    Raises:
        ConfigError: there is none, or there are several.
    """
    studies = [h for h in histories if h.kind == "study"]
    fitting = [h for h in studies if h.content_hash == training_set.content_hash]
    found = fitting or studies
    if len(found) != 1:
        names = ", ".join(h.name for h in found) or "none"
        raise ConfigError(
            f"{place} holds {len(found)} studies ({names}), expected one on this data to confirm; "
            "give the --home that holds just that"
        )
    return found[0]


def candidates(study: History, top: int) -> list[Candidate]:
    """Return the baseline and the `top` best other configurations, best first.

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


def confirm_job(study: History, training_set: TrainingSet, *, top: int, n_seeds: int) -> Job:
    """Describe the confirmation of a study's best configurations.

    Replicate i has the same seeds and the same split for every configuration, so that differences
    are paired; all of them are fresh to the study. More seeds continue what is there.

    Args:
        study: finished or not; its best so far are taken.
        training_set: the rows that the study used.
        top: how many configurations beside the baseline.
        n_seeds: replicates of each.

    Raises:
        ConfigError: nothing to confirm, fewer than two seeds, or other data than the study's.
    """
    if n_seeds < 2:
        raise ConfigError(f"--seeds {n_seeds}: expected 2 or more, an interval needs a spread")
    content_hash = study.content_hash
    if training_set.content_hash != content_hash:
        raise ConfigError(
            f"study {study.name!r} used data with hash {content_hash[:12]}…, found "
            f"{training_set.content_hash[:12]}… ({training_set.source}); give the study's own data"
        )
    experiment = study.experiment
    search = experiment.study
    assert search is not None
    chosen = candidates(study, top)

    def specify(number: int) -> TrialSpec:
        replicate, place = divmod(number, len(chosen))
        return TrialSpec(
            number=number,
            params=chosen[place].params,
            seeds=derive_seeds(search.seed, replicate, SeedStream.CONFIRMATION),
            training=experiment.training,
            data=DataConfig(
                validation_size=experiment.data.validation_size,
                split_seed=derive_seed(search.seed, replicate, SeedStream.CONFIRMATION, 1),
            ),
        )

    identity = ConfirmationIdentity(
        study=study.name,
        candidates=tuple(chosen),
        seed=search.seed,
        training=experiment.training,
        data=ConfirmationDataIdentity(
            dataset=training_set.dataset,
            content_hash=content_hash,
            validation_size=experiment.data.validation_size,
        ),
        environment=environment_identity(),
    )
    # Another choice of candidates is another confirmation, with a record of its own.
    key = hashlib.sha256(json.dumps([c.model_dump() for c in chosen]).encode()).hexdigest()[:8]
    return Job(
        name=f"{study.name}-confirm-{key}",
        experiment=study.name,
        make_plan=lambda: FixedPlan(n_seeds * len(chosen), specify),
        n_trials=n_seeds * len(chosen),
        identity=identity,
        source_text=json.dumps(identity.as_document(), indent=2),
        data=specify(0).data,
        params={"study": study.name, "n_candidates": len(chosen), "seed": search.seed},
        read=read_confirmation,
        draw_trial=trial_png,
    )


def confirmed(history: History) -> list[Confirmed]:
    """Summarize each configuration over the replicates that all of them completed.

    Raises:
        ConfigError: fewer than two replicates are complete for all configurations.
    """
    from mnist_study.stats import mean_estimate, paired_effect

    chosen = history.identity_as(ConfirmationIdentity).candidates
    n = len(chosen)
    blocks = [history.results[i : i + n] for i in range(0, len(history.results) - n + 1, n)]
    whole = [b for b in blocks if all(r.state is TrialState.COMPLETE for r in b)]
    if len(whole) < 2:
        raise ConfigError(
            f"{history.name}: {len(whole)} replicates are complete for every configuration, "
            "expected 2 or more; run `mnist-study confirm` to the end"
        )
    values = np.array([[result.value for result in block] for block in whole], dtype=float)
    best = int(np.argmax(values.mean(axis=0)))
    found = []
    for place, candidate in enumerate(chosen):
        runs = [block[place] for block in whole]
        found.append(
            Confirmed(
                candidate=candidate,
                values=tuple(float(v) for v in values[:, place]),
                mean=mean_estimate(values[:, place]).interval(0.95),
                to_best=None if place == best else paired_effect(values[:, place], values[:, best]),
                n_parameters=runs[0].n_parameters or 0,
                seconds_per_epoch=float(np.median([r.train_seconds / len(r.epochs) for r in runs])),
                median_best_epoch=int(np.median([r.best_epoch or 1 for r in runs])),
            )
        )
    return found


def winner(found: Sequence[Confirmed]) -> Confirmed:
    """Return the smallest network among those not distinguishable from the best."""
    level = [c for c in found if c.is_indistinguishable]
    return min(level, key=lambda c: (c.n_parameters, -c.mean.estimate))


def read_confirmation(history: History) -> Findings:
    """Summarize a confirmation in words and a table."""
    from mnist_study.plots.confirmation import confirmed_values

    found = confirmed(history)
    lines = _lines(found)
    first = winner(found)
    return Findings(
        lines=lines,
        figures=to_pngs({"confirmed_values": confirmed_values(found)}),
        tables={"README.md": _markdown(history, found, lines)},
        metrics={
            "winner_trial": first.candidate.trial,
            "winner_val_accuracy": first.mean.estimate,
            "n_seeds": len(first.values),
        },
    )


def _lines(found: Sequence[Confirmed]) -> list[str]:
    from mnist_study.stats import paired_effect, required_pairs

    first = winner(found)
    best, second = sorted(found, key=lambda c: -c.mean.estimate)[:2]
    baseline = found[0]
    lines = [
        f"Winner: trial {first.candidate.trial}, confirmed validation accuracy "
        f"{first.mean.estimate:.2%} ({first.mean.low:.2%} to {first.mean.high:.2%}) over "
        f"{len(first.values)} fresh seeds and splits; {first.n_parameters:,} parameters; "
        f"{describe_params(first.candidate.params.model_dump())}."
    ]
    if first is not best:
        lines.append(
            f"Trial {best.candidate.trial} has the highest mean ({best.mean.estimate:.2%}), but "
            "the difference is not distinguishable from zero and the winner is smaller."
        )
    if first is not baseline:
        gain = paired_effect(first.values, baseline.values)
        lines.append(
            f"Over the documented network: {100 * gain.interval.estimate:+.2f} points "
            f"({100 * gain.interval.low:+.2f} to {100 * gain.interval.high:+.2f}), paired."
        )
    gap = paired_effect(best.values, second.values)
    needed = required_pairs(gap.interval.estimate, gap.sd)
    lines.append(
        f"The first two by mean, trials {best.candidate.trial} and {second.candidate.trial}, "
        f"differ by {100 * gap.interval.estimate:.3f} points; telling that apart with 80 % power "
        + (f"would take {needed} seeds." if needed else "is out of reach: the means are equal.")
    )
    return lines


def _search_minus_confirmed(found: Confirmed) -> float | None:
    searched = found.candidate.search_value
    return None if searched is None else searched - found.mean.estimate


def _markdown(history: History, found: Sequence[Confirmed], lines: Sequence[str]) -> str:
    first = winner(found)
    rows = [
        "| trial | search value | confirmed mean | 95 % interval | search minus confirmed (points) "
        "| the same over the documented network's (points) | difference to the best (points) "
        "| parameters | s/epoch | |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    of_split = _search_minus_confirmed(found[0])
    for c in sorted(found, key=lambda c: -c.mean.estimate):
        searched, lost = c.candidate.search_value, _search_minus_confirmed(c)
        optimism = "" if lost is None or of_split is None else f"{100 * (lost - of_split):+.2f}"
        difference = "best"
        if c.to_best is not None:
            d = c.to_best.interval
            difference = f"{100 * d.estimate:+.3f} ({100 * d.low:+.3f} to {100 * d.high:+.3f})"
        name = f"{c.candidate.trial}" + (" (documented)" if c.candidate.trial == 0 else "")
        rows.append(
            f"| {name} | {'' if searched is None else f'{searched:.4f}'} | {c.mean.estimate:.4f} "
            f"| {c.mean.low:.4f} to {c.mean.high:.4f} "
            f"| {'' if lost is None else f'{100 * lost:+.2f}'} | {optimism} | {difference} "
            f"| {c.n_parameters:,} | {c.seconds_per_epoch:.2f} | {'winner' if c is first else ''} |"
        )
    return "\n".join(
        [
            f"# Confirmation of study {history.identity_as(ConfirmationIdentity).study} on "
            + data_name(history),
            "",
            "Written by `mnist-study confirm` from its stores; no figure here was typed. The test "
            "set was not read.",
            "",
            *(f"{line}  " for line in lines),
            "",
            *rows,
            "",
            "All search values are of one split, which may be an easy or a hard one: what that "
            "does shows in the documented network, which nobody chose for its value. What is left "
            "over it is the optimism of choosing the best. Every value, here and in the search, is "
            "that of a run's best epoch on its validation rows. Intervals of differences are "
            "paired by seed and split.",
            "",
            f"- digest: `{digest(history.results)}` over {len(history.results)} runs",
            "",
            *sessions_markdown(history),
            "",
            "![Confirmed values](confirmed_values.png)",
            "",
        ]
    )
