"""The MLflow run of one trial: its writing, one call after the other.

Nothing here knows of threads: `mnist_study.tracking.tracker` calls it from its writer thread alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mnist_study.core.trials import EpochMetrics, TrialResult, TrialSpec, TrialState
from mnist_study.tracking.models import log_model
from mnist_study.tracking.store import (
    STATE_TAG,
    TRIAL_TAG,
    RunStore,
    as_metrics,
    as_tags,
    nonfinite_tag,
)

if TYPE_CHECKING:
    from mlflow.entities import Metric

# In the user interface a run's status is an icon; the `state` tag is the truth. KILLED is what
# Optuna's own MLflow callback uses for pruned trials.
STATUS = {TrialState.COMPLETE: "FINISHED", TrialState.PRUNED: "KILLED", TrialState.FAILED: "FAILED"}


@dataclass(slots=True)
class ChildRun:
    """The run of a trial that has not ended.

    Attributes:
        spec: the trial.
        run_id: of the run.
        artifact_uri: where the run keeps its files.
        params: not yet written.
        arrived: live epochs by number, not yet written, in any order.
        written: the epochs in the store, 1 to n without a gap.
    """

    spec: TrialSpec
    run_id: str
    artifact_uri: str
    params: dict[str, str]
    arrived: dict[int, EpochMetrics] = field(default_factory=dict)
    written: list[EpochMetrics] = field(default_factory=list)

    def take_next(self) -> list[EpochMetrics]:
        """Take out the arrived epochs that follow the written ones without a gap."""
        ready: list[EpochMetrics] = []
        while (number := len(self.written) + len(ready) + 1) in self.arrived:
            ready.append(self.arrived.pop(number))
        return ready

    def agrees_with(self, result: TrialResult) -> bool:
        """Whether what is written is what the result says; by repr, for which NaN equals NaN."""
        return [repr(epoch) for epoch in self.written] == [
            repr(epoch) for epoch in result.epochs[: len(self.written)]
        ]

    def replace_by(self, other: ChildRun) -> None:
        """Go on as another, new run of the same trial."""
        self.run_id, self.artifact_uri = other.run_id, other.artifact_uri
        self.params, self.written = other.params, []


class TrialWriter:
    """Writes the runs of a study's trials."""

    def __init__(
        self, store: RunStore, *, parent_id: str, draw: Callable[[TrialResult], bytes]
    ) -> None:
        """Take note of what all runs share.

        Args:
            store: of the study.
            parent_id: run id of the parent run.
            draw: draws the curves of a finished trial as PNG.
        """
        self._store = store
        self._client = store.client
        self._parent_id = parent_id
        self._draw = draw

    def create_child(self, spec: TrialSpec) -> ChildRun:
        """Create the run of a trial, with all tags by which it is ever found."""
        seeds = spec.seeds
        tags = {
            **self._store.common_tags(),
            "mlflow.parentRunId": self._parent_id,
            TRIAL_TAG: str(spec.number),
            "init_seed": str(seeds.init_seed),
            "dropout_seed": str(seeds.dropout_seed),
            "shuffle_seed": str(seeds.shuffle_seed),
            "split_seed": str(spec.data.split_seed),
        }
        if spec.train_rows is not None:
            tags["train_rows"] = str(spec.train_rows.n_rows)
        run = self._client.create_run(
            self._store.experiment_id, tags=tags, run_name=f"trial-{spec.number:03d}"
        )
        params = {name: str(value) for name, value in spec.params.model_dump().items()}
        return ChildRun(spec, run.info.run_id, run.info.artifact_uri, params)

    def flush(self, child: ChildRun) -> None:
        """Write the parameters and live epochs of a running trial that are not written yet."""
        epochs = child.take_next()
        if epochs or child.params:
            self._log(child, epochs)

    def _log(
        self,
        child: ChildRun,
        epochs: Iterable[EpochMetrics],
        summary: Iterable[Metric] = (),
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Write in one batch; a batch is large enough for any trial, MLflow splits it if not."""
        from mlflow.entities import Param

        epochs = list(epochs)
        metrics = [
            metric
            for epoch in epochs
            for metric in as_metrics(epoch.as_metrics(), step=epoch.epoch)
        ]
        params = [Param(name, value) for name, value in child.params.items()]
        self._client.log_batch(
            child.run_id, metrics=[*metrics, *summary], params=params, tags=as_tags(tags or {})
        )
        child.params = {}
        child.written += epochs

    def finish(self, child: ChildRun, result: TrialResult) -> str:
        """Write everything that a result says and is not written yet, and end the run.

        Live epochs that are not the result's can have been written when a trial ran again on
        another type of processor. MLflow cannot take back a metric, so another run takes the place
        of the whole run.

        Returns:
            The run id.
        """
        if not child.agrees_with(result):
            self._client.delete_run(child.run_id)
            child.replace_by(self.create_child(child.spec))
        model_id = None if result.model_keras is None else self._log_model(child, result)
        files = {}
        if result.epochs:
            files["curves.png"] = self._draw(result)
        if result.state is TrialState.FAILED:
            files["failure.txt"] = (result.reason or "no reason was given").encode() + b"\n"
        if files:
            self._store.upload(child.artifact_uri, files)
        summary = as_metrics(
            _summary(result),
            step=len(result.epochs),
            model_id=model_id,
            dataset=self._store.dataset,
        )
        self._log(child, result.epochs[len(child.written) :], summary, _result_tags(result))
        self._client.set_terminated(child.run_id, STATUS[result.state])
        return child.run_id

    def _log_model(self, child: ChildRun, result: TrialResult) -> str:
        """Log the model of a trial, linked to its run; return the model's id."""
        if result.model_keras is None:
            raise ValueError(f"trial {result.number} has no model")
        return log_model(
            self._store,
            result.model_keras,
            name=f"trial-{result.number:03d}",
            run_id=child.run_id,
            weights_sha256=result.weights_sha256 or "",
            params=result.params.model_dump(),
            tags={TRIAL_TAG: str(result.number), STATE_TAG: result.state.value},
            step=len(result.epochs),
        )


def _summary(result: TrialResult) -> dict[str, float]:
    """Return the few numbers by which runs are compared, under the names of `TrialResult`."""
    numbers = {
        "value": result.value,
        "best_epoch": result.best_epoch,
        "restored_train_accuracy": result.restored_train_accuracy,
        "overfitting_gap": result.overfitting_gap,
        "n_parameters": result.n_parameters,
        "train_seconds": result.train_seconds,
    }
    known = {name: float(number) for name, number in numbers.items() if number is not None}
    for readout in result.readouts:
        known |= readout.as_metrics()
    return known | dict(result.test_metrics)


def _result_tags(result: TrialResult) -> dict[str, str]:
    tags = {STATE_TAG: result.state.value}
    if result.weights_sha256:
        tags["weights_sha256"] = result.weights_sha256
    if result.worker:
        tags["worker"] = result.worker
    if result.state is TrialState.PRUNED:
        tags["pruned_at_epoch"] = str(result.epochs[-1].epoch) if result.epochs else "0"
    if result.state is TrialState.FAILED:
        tags["reason"] = (result.reason or "no reason was given").strip().partition("\n")[0]
    if result.lost_worker:
        tags["worker_lost"] = "true"
    named = [
        (f"{name} at epoch {epoch.epoch}", value)
        for epoch in result.epochs
        for name, value in epoch.as_metrics().items()
    ]
    return {**tags, **nonfinite_tag([*named, *_summary(result).items()])}
