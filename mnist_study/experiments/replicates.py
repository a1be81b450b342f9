"""Configurations run with the same fresh seeds and splits, so that their differences are paired."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from mnist_study.core.config import DataConfig, NetworkParams, TrainingConfig
from mnist_study.core.identity import Candidate, ConfirmationIdentity, ScreeningIdentity
from mnist_study.core.trials import (
    SeedStream,
    TrialResult,
    TrialSpec,
    TrialState,
    derive_seed,
    derive_seeds,
)
from mnist_study.search.history import History

RUN_COLUMNS = (
    "stage",
    "trial",
    *NetworkParams.model_fields,
    "replicate",
    "init_seed",
    "dropout_seed",
    "shuffle_seed",
    "split_seed",
    "state",
    "value",
    "best_epoch",
    "epochs_trained",
    "restored_train_accuracy",
    "n_parameters",
    "weights_sha256",
    "run_id",
)
"""`value` is the validation accuracy at the best epoch; accuracies are shares in [0, 1];
`run_id` names the run in MLflow."""


@dataclass(frozen=True, slots=True)
class Replicates:
    """The runs of several configurations, replicate after replicate.

    Run `number` is replicate `number // n` of configuration `number % n`. Seeds and split depend on
    the replicate alone.

    Attributes:
        candidates: the n configurations.
        seed: of the study.
        stream: of the seeds, so that no stage shares any with another or with the study.
        training: as in the study.
        validation_size: rows held out of each split.
    """

    candidates: tuple[Candidate, ...]
    seed: int
    stream: SeedStream
    training: TrainingConfig
    validation_size: int

    @classmethod
    def of(cls, identity: ScreeningIdentity | ConfirmationIdentity) -> Replicates:
        """Return the runs of a stage's record."""
        is_screening = isinstance(identity, ScreeningIdentity)
        return cls(
            candidates=identity.candidates,
            seed=identity.seed,
            stream=SeedStream.SCREENING if is_screening else SeedStream.CONFIRMATION,
            training=identity.training,
            validation_size=identity.data.validation_size,
        )

    def specify(self, number: int) -> TrialSpec:
        """Specify the run of a number."""
        replicate, position = divmod(number, len(self.candidates))
        return TrialSpec(
            number=number,
            params=self.candidates[position].params,
            seeds=derive_seeds(self.seed, replicate, self.stream),
            training=self.training,
            data=DataConfig(
                validation_size=self.validation_size,
                split_seed=derive_seed(self.seed, replicate, self.stream, 1),
            ),
        )

    def name(self, spec: TrialSpec) -> str:
        """Name a run by stage, trial of the study and replicate, such as confirm-t004-s1."""
        replicate, position = divmod(spec.number, len(self.candidates))
        stage = "screen" if self.stream is SeedStream.SCREENING else "confirm"
        return f"{stage}-t{self.candidates[position].trial:03d}-s{replicate}"

    def described(self, number: int) -> str:
        """Say what a run is: which of the study's trials, over which replicate."""
        replicate, position = divmod(number, len(self.candidates))
        return f"trial {self.candidates[position].trial}, seed {replicate}"

    def blocks(self, results: Sequence[TrialResult]) -> list[list[TrialResult]]:
        """Return the results of each replicate that ran with every configuration."""
        n = len(self.candidates)
        return [list(results[i : i + n]) for i in range(0, len(results) - n + 1, n)]


def is_complete(block: Sequence[TrialResult]) -> bool:
    """Tell whether every run of a replicate ended with a value."""
    return all(r.state is TrialState.COMPLETE and r.value is not None for r in block)


def runs_csv(stages: Sequence[History]) -> str:
    """Return a row for every run of the stages, in the order in which they were planned."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(RUN_COLUMNS)
    for history in stages:
        identity = history.identity
        assert isinstance(identity, ScreeningIdentity | ConfirmationIdentity)
        replicates = Replicates.of(identity)
        stage = "screening" if isinstance(identity, ScreeningIdentity) else "confirmation"
        for result, run_id in zip(history.results, history.run_ids, strict=True):
            writer.writerow([stage, *_run_cells(replicates, result), run_id])
    return buffer.getvalue()


def _run_cells(replicates: Replicates, result: TrialResult) -> list[object]:
    spec = replicates.specify(result.number)
    replicate, position = divmod(result.number, len(replicates.candidates))
    cells = [
        replicates.candidates[position].trial,
        *spec.params.model_dump().values(),
        replicate,
        spec.seeds.init_seed,
        spec.seeds.dropout_seed,
        spec.seeds.shuffle_seed,
        spec.data.split_seed,
        result.state.value,
        result.value,
        result.best_epoch,
        len(result.epochs),
        result.restored_train_accuracy,
        result.n_parameters,
        result.weights_sha256,
    ]
    return ["" if cell is None else cell for cell in cells]
