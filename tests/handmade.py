"""Records made by hand: a small study on the digits, and results without any training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna

from mnist_study.core.config import ExperimentConfig, NetworkParams
from mnist_study.core.identity import Identity, StudyIdentity
from mnist_study.core.trials import EpochMetrics, TrialResult, TrialState
from mnist_study.data.dataset import load_training_set
from mnist_study.search.history import History


def completed(number: int, params: NetworkParams, value: float, **more: Any) -> TrialResult:  # noqa: ANN401
    """Return a completed trial of two epochs, the second of them the better."""
    epochs = (EpochMetrics(1, 0.5, 0.8, 0.4, value - 0.01), EpochMetrics(2, 0.4, 0.9, 0.3, value))
    fields = {"n_parameters": 1000, "train_seconds": 2.0, "total_seconds": 3.0} | more
    return TrialResult(
        number, params, TrialState.COMPLETE, epochs, value=value, best_epoch=2, **fields
    )


class MemoryHistory(History):
    """A record in memory, a hundred times faster to fill than one in a file."""

    def __init__(self, name: str, identity: Identity, *others: History) -> None:
        super().__init__("sqlite://", optuna.create_study(study_name=name, direction="maximize"))
        self.check_identity(identity, allow_mixed=False)
        self._others = {other.name: other for other in others}

    def _store(self, trial: optuna.trial.FrozenTrial) -> int:
        self._study.add_trial(trial)
        return len(self.results)

    def sibling(self, name: str) -> History | None:
        return self._others.get(name)

    def siblings(self, kind: str) -> list[History]:
        return [other for other in self._others.values() if other.kind == kind]


def a_history(folder: Path, name: str, identity: Identity) -> History:
    """Open a new record in a folder."""
    history = History.open(f"sqlite:///{folder / 'optuna.db'}", name)
    history.check_identity(identity, allow_mixed=False)
    return history


def fill_study(history: History, experiment: ExperimentConfig, values: Sequence[float]) -> None:
    """Record trials with these values; from trial 1 on each network is wider than the last."""
    for number, value in enumerate(values):
        params = experiment.baseline.model_copy(update={"units_1": 128 + 10 * number})
        history.append(completed(number, params, value), f"run-{number}")


def study_identity(experiment: ExperimentConfig) -> StudyIdentity:
    """Return the identity of an experiment's study on the digits."""
    return StudyIdentity.of(experiment, "digits", load_training_set("digits").content_hash)
