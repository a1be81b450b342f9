"""A home whose study is recorded in MLflow without training, and access to the record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import pytest

from mnist_study.core.config import DataConfig, NetworkParams, TrainingConfig
from mnist_study.core.home import Home
from mnist_study.core.provenance import DatasetRecord, Provenance
from mnist_study.core.trials import EpochMetrics, TrialResult, TrialSpec, TrialState, derive_seeds
from mnist_study.plots import trial_png
from mnist_study.tracking.connection import connect
from mnist_study.tracking.store import TrackingStore
from mnist_study.tracking.tracker import Tracker

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

PARAMS = NetworkParams(
    units_1=128, units_2=64, units_3=32, dropout_1=0.3, dropout_2=0.2, l2=0.001, learning_rate=0.002
)
TRAINING = TrainingConfig(batch_size=32, epochs=5, schedule="constant")
DATASET = DatasetRecord("digits", "made up", "ab" * 32, 100, 20, 0)
PROVENANCE = Provenance(
    commit="c" * 40,
    dirty=True,
    diff="-old\n+new\n",
    python="3.11.0",
    packages={"numpy": "2.0"},
    cpu="a processor",
    instruction_sets=("avx2",),
    onednn={},
    fingerprint="f" * 64,
    experiment_file="name = 'x'\n",
)
EPOCHS = tuple(
    EpochMetrics(epoch, 1 / epoch, 0.5 + epoch / 20, 1.5 / epoch, 0.4 + epoch / 20)
    for epoch in range(1, 6)
)


def spec(number: int) -> TrialSpec:
    return TrialSpec(
        number,
        PARAMS,
        derive_seeds(7, number),
        TRAINING,
        DataConfig(validation_size=10, split_seed=0),
    )


def complete(number: int) -> TrialResult:
    return TrialResult(
        number,
        PARAMS,
        TrialState.COMPLETE,
        EPOCHS,
        value=0.65,
        best_epoch=5,
        restored_train_accuracy=0.75,
        n_parameters=1234,
        weights_sha256="e" * 64,
        model_keras=b"not really a model",
        train_seconds=2.5,
        worker="tcp://worker",
    )


@dataclass
class TrackedHome:
    """A home with any number of trackers, and what its MLflow store holds."""

    home: Home
    trackers: list[Tracker] = field(default_factory=list)

    def tracker(
        self, study: str = "some-study", *, record: str = "", flush_seconds: float = 60
    ) -> Tracker:
        tracker = Tracker(
            self.home,
            experiment="experiment",
            identity={"study": study, "kind": "study"} | ({"record": record} if record else {}),
            dataset=DATASET,
            provenance=PROVENANCE,
            draw_trial=trial_png,
            params={"batch_size": 32},
            flush_seconds=flush_seconds,
        )
        self.trackers.append(tracker)
        return tracker

    def recorded(self, number: int = 0, study: str = "some-study") -> str:
        """Record one complete trial and leave the study unfinished; return the run id."""
        tracker = self.tracker(study)
        tracker.open({})
        tracker.start(spec(number))
        run_id = tracker.finish(complete(number))
        tracker.close()
        return run_id

    @property
    def client(self) -> MlflowClient:
        return connect(self.home.tracking_uri)

    def experiment_id(self) -> str:
        experiment = self.client.get_experiment_by_name("experiment")
        assert experiment is not None
        return str(experiment.experiment_id)

    def runs(self, *, deleted: bool = False) -> list[Run]:
        from mlflow.entities import ViewType

        view = ViewType.ALL if deleted else ViewType.ACTIVE_ONLY
        found = self.client.search_runs([self.experiment_id()], run_view_type=view)
        return sorted(found, key=lambda run: str(run.info.run_id))

    def children(self, study: str = "some-study") -> list[Run]:
        return [
            run
            for run in self.runs()
            if "trial" in run.data.tags and run.data.tags["study"] == study
        ]

    def parent(self, study: str = "some-study") -> Run:
        (parent,) = [
            run
            for run in self.runs()
            if "trial" not in run.data.tags and run.data.tags["study"] == study
        ]
        return parent

    def models(self) -> list[LoggedModel]:
        return list(self.client.search_logged_models([self.experiment_id()]))

    def points(self, run_id: str) -> dict[str, list[tuple[int, float]]]:
        metrics = self.client.get_run(run_id).data.metrics
        return {
            name: sorted((m.step, m.value) for m in self.client.get_metric_history(run_id, name))
            for name in metrics
        }

    def files(self, run_id: str, folder: str | None = None) -> set[str]:
        return {item.path for item in self.client.list_artifacts(run_id, folder)}

    def read(self, run_id: str, path: str) -> bytes:
        return Path(self.client.download_artifacts(run_id, path)).read_bytes()

    def listing(self) -> list[Any]:
        """Everything that the store holds, deleted runs included."""
        runs = [
            (run.to_dictionary(), self.points(run.info.run_id), self.files(run.info.run_id))
            for run in self.runs(deleted=True)
        ]
        return [runs, [model.to_dictionary() for model in self.models()]]


def expected_points() -> dict[str, list[tuple[int, float]]]:
    names = ("train/loss", "train/accuracy", "val/loss", "val/accuracy")
    return {name: [(e.epoch, e.as_metrics()[name]) for e in EPOCHS] for name in names}


# The writes of a driver, in the interface of MLflow.
WRITES = (
    "create_run", "log_batch", "log_inputs", "create_logged_model", "set_logged_model_tags",
    "finalize_logged_model", "log_outputs", "set_terminated",
)  # fmt: skip


class KillError(Exception):
    """Stands for the end of the driver before a write."""


def run_until_write(
    home: TrackedHome,
    monkeypatch: pytest.MonkeyPatch,
    n_writes: int | None,
    finished: dict[int, str],
) -> tuple[int, dict[int, str]]:
    """Record trial 1 and start trial 2, killed before a write; count the writes before it."""
    from mlflow import MlflowClient

    count = 0

    def counted(write: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
        def before(*arguments: _Arguments.args, **options: _Arguments.kwargs) -> _Result:
            nonlocal count
            if count == n_writes:
                raise KillError
            count += 1
            return write(*arguments, **options)

        return before

    finished = dict(finished)
    with monkeypatch.context() as patch:
        for name in WRITES:
            patch.setattr(MlflowClient, name, counted(getattr(MlflowClient, name)))
        patch.setattr(TrackingStore, "upload", counted(TrackingStore.upload))
        tracker = home.tracker()
        try:
            tracker.open(finished)
            tracker.start(spec(1))
            tracker.start(spec(2))
            run_id = tracker.finish(complete(1))
            # Killed here is: ended in MLflow, and not yet in history.
            if count == n_writes:
                raise KillError
            finished[1] = run_id
            tracker.close()
        except KillError:
            # Ends the thread without a write, as the kill of its process would.
            tracker._writer.abort(lambda: None, 5)
    return count, finished
