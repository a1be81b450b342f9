"""Replay of a pruner over runs that were trained to the end: which ones it prunes, and when.

A pruner compares a trial with the study's other trials at the same epoch, so it also prunes good
configurations whose seeds are unlucky. Replaying it over fresh-seed runs of a study's best
configurations measures how often.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from mnist_study.core.config import PrunerConfig
from mnist_study.core.trials import PruneTrial, PruneView, TrialResult, TrialState
from mnist_study.search.pruner import PruneDecider, prune_trial


def pruned_history(
    study_name: str, pruner: PrunerConfig, results: Sequence[TrialResult], in_flight: int
) -> list[PruneTrial]:
    """Return a study's trials as a pruner would have ended them.

    The configurations stay those of the given study; a sampler that learns would have proposed
    others after pruned trials.

    Args:
        study_name: Hyperband hashes it.
        pruner: to be replayed.
        results: all trials of a study without pruning, in order.
        in_flight: trial k saw the trials 0..k-in_flight.

    Raises:
        ValueError: a trial was pruned, so that its curve is incomplete.
    """
    cut = [result.number for result in results if result.state is TrialState.PRUNED]
    if cut:
        raise ValueError(f"needs a study without pruning, got one with trial {cut[0]} pruned")
    trials: list[PruneTrial] = []
    for number, result in enumerate(results):
        n_completed = max(0, number - in_flight + 1)
        running = (PruneTrial(state=None),) * (number - n_completed)
        view = PruneView(study_name, pruner, (*trials[:n_completed], *running))
        trials.append(_replayed(view, result))
    return trials


def _replayed(view: PruneView, result: TrialResult) -> PruneTrial:
    """Ask a pruner after each epoch with finite values, as the worker does."""
    decider = PruneDecider(view)
    reported: dict[int, float] = {}
    for metrics in result.epochs:
        reported[metrics.epoch] = metrics.val_accuracy
        is_finite = math.isfinite(metrics.train_loss + metrics.val_loss)
        if is_finite and decider.should_prune(metrics.epoch, metrics.val_accuracy):
            return PruneTrial(
                TrialState.PRUNED, reported, metrics.val_accuracy, decider.system_attrs
            )
    return replace(prune_trial(result), system_attrs=decider.system_attrs)


def pruned_epoch(
    study_name: str, pruner: PrunerConfig, history: Sequence[PruneTrial], run: TrialResult
) -> int | None:
    """Return the epoch after which a pruner ends a run that follows all trials of a study.

    Args:
        study_name: Hyperband hashes it.
        pruner: to be replayed.
        history: the finished trials, as `pruned_history` returns them.
        run: trained to the end.

    Returns:
        None if the run is not pruned.
    """
    replayed = _replayed(PruneView(study_name, pruner, tuple(history)), run)
    is_pruned = replayed.state is TrialState.PRUNED
    return max(replayed.intermediate_values) if is_pruned else None


def saved_share(results: Sequence[TrialResult], history: Sequence[PruneTrial]) -> float:
    """Return the share of a study's epochs that a pruner saves, weighted by time per epoch.

    Args:
        results: the trials of a study without pruning.
        history: the same ones, as `pruned_history` returns them.
    """
    seconds = [result.train_seconds / max(len(result.epochs), 1) for result in results]
    trained = sum(
        second * len(trial.intermediate_values)
        for second, trial in zip(seconds, history, strict=True)
    )
    return 1.0 - trained / sum(
        second * len(result.epochs) for second, result in zip(seconds, results, strict=True)
    )
