"""The MLflow run of one trial, from its creation to its end.

Nothing here knows of threads: `mnist_study.tracking.tracker` calls it from its writer thread alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from mnist_study.core.provenance import DatasetRecord
from mnist_study.core.text import first_line
from mnist_study.core.trials import EpochMetrics, TrialResult, TrialSpec, TrialState
from mnist_study.tracking.entities import as_metrics, as_note, as_params, as_tags, nonfinite_tag
from mnist_study.tracking.models import log_model
from mnist_study.tracking.notes import trial_note
from mnist_study.tracking.runs import RunContext
from mnist_study.tracking.store import BEST_ACCURACY, STATE_TAG, TRIAL_TAG

if TYPE_CHECKING:
    from mlflow.entities import Metric

# In the user interface a run's status is an icon; the `state` tag is the truth. KILLED is what
# Optuna's own MLflow callback uses for pruned trials.
STATUS = {TrialState.COMPLETE: "FINISHED", TrialState.PRUNED: "KILLED", TrialState.FAILED: "FAILED"}


class TrialRun:
    """The run of a trial that has not ended.

    Attributes:
        run_id: in MLflow; another one after the run was replaced.
    """

    def __init__(self, context: RunContext, parent_id: str, spec: TrialSpec, name: str) -> None:
        """Create the run; its parameters and its data set follow with the first flush.

        Args:
            context: of the study.
            parent_id: run id of the study's run.
            spec: the trial.
            name: of the run and of its model.
        """
        self._context = context
        self._name = name
        self._parent_id = parent_id
        self._spec = spec
        # Live epochs by number that are not yet written, in any order.
        self._arrived: dict[int, EpochMetrics] = {}
        self._create()

    def _create(self) -> None:
        spec = self._spec
        tags = {
            "mlflow.parentRunId": self._parent_id,
            TRIAL_TAG: str(spec.number),
            "init_seed": str(spec.seeds.init_seed),
            "dropout_seed": str(spec.seeds.dropout_seed),
            "shuffle_seed": str(spec.seeds.shuffle_seed),
            "split_seed": str(spec.data.split_seed),
        }
        if spec.train_rows is not None:
            tags["train_rows"] = str(spec.train_rows.n_rows)
        info = self._context.create_run(self._name, tags).info
        self.run_id, self._artifact_uri = str(info.run_id), str(info.artifact_uri)
        self._params = spec.params.model_dump()  # those not yet written
        self._written: list[EpochMetrics] = []  # the epochs in the store, 1 to n without a gap

    def note_epoch(self, metrics: EpochMetrics) -> None:
        """Keep a live epoch until the next flush; one that is written already arrived twice."""
        if metrics.epoch > len(self._written):
            self._arrived.setdefault(metrics.epoch, metrics)

    def flush(self) -> None:
        """Write the parameters and the live epochs that follow the written ones without a gap."""
        ready: list[EpochMetrics] = []
        while (number := len(self._written) + len(ready) + 1) in self._arrived:
            ready.append(self._arrived.pop(number))
        if ready or self._params:
            self._log(ready)

    def finish(self, result: TrialResult, curves: bytes | None) -> str:
        """Write the part of the result that is not yet written, and end the run.

        Live epochs can differ from the result's when a trial ran again on another type of
        processor. MLflow cannot take back a metric, so a new run then replaces this one.

        Args:
            result: of the trial.
            curves: its learning curves as PNG, if it has any.

        Returns:
            The run id.
        """
        store = self._context.store
        # By repr, for which NaN equals NaN.
        if repr(self._written) != repr(list(result.epochs[: len(self._written)])):
            store.client.delete_run(self.run_id)
            self._create()
        model_id = None
        if result.model_keras is not None:
            model_id = log_model(
                self._context,
                result.model_keras,
                name=self._name,
                run_id=self.run_id,
                weights_sha256=result.weights_sha256 or "",
                params=result.params.model_dump(),
                tags={TRIAL_TAG: str(result.number), STATE_TAG: result.state.value},
                step=len(result.epochs),
            )
        files = {} if curves is None else {"curves.png": curves}
        if result.state is TrialState.FAILED:
            files["failure.txt"] = _reason(result).encode() + b"\n"
        if files:
            store.upload(self._artifact_uri, files)
        summary = as_metrics(
            _summary(result),
            step=len(result.epochs),
            model_id=model_id,
            dataset=self._context.dataset,
        )
        note = trial_note(self._context, self._parent_id, self._name, result)
        self._log(result.epochs[len(self._written) :], summary, _result_tags(result), note)
        store.client.set_terminated(self.run_id, STATUS[result.state])
        return self.run_id

    def _dataset(self) -> DatasetRecord:
        """Return the study's data set with this trial's own split."""
        dataset, rows = self._context.dataset, self._spec.train_rows
        return replace(
            dataset,
            n_train=dataset.n_train if rows is None else rows.n_rows,
            split_seed=self._spec.data.split_seed,
        )

    def _log(
        self,
        epochs: Iterable[EpochMetrics],
        summary: Iterable[Metric] = (),
        tags: Mapping[str, str] | None = None,
        note: str | None = None,
    ) -> None:
        """Write in one batch; a batch is large enough for any trial, MLflow splits it if not."""
        epochs = list(epochs)
        metrics = [
            metric
            for epoch in epochs
            for metric in as_metrics(epoch.as_metrics(), step=epoch.epoch)
        ]
        self._context.store.client.log_batch(
            self.run_id,
            metrics=[*metrics, *summary],
            params=as_params(self._params),
            tags=[*as_tags(tags or {}), *as_note(note)],
        )
        if self._params:
            self._context.log_dataset(self.run_id, self._dataset())
        self._params = {}
        self._written += epochs


def best_accuracy(result: TrialResult) -> float | None:
    """Return the validation accuracy at the epoch whose weights were kept, in [0, 1].

    Of a COMPLETE trial this is the value that the study maximizes. The value of a PRUNED one is of
    its last epoch, which need not be its best.
    """
    if result.best_epoch is None or result.value is None:
        return None
    return result.epochs[result.best_epoch - 1].val_accuracy


def _summary(result: TrialResult) -> dict[str, float]:
    """Return the few numbers by which runs are compared."""
    numbers = {
        BEST_ACCURACY: best_accuracy(result),
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


def _reason(result: TrialResult) -> str:
    return result.reason or "no reason was given"


def _result_tags(result: TrialResult) -> dict[str, str]:
    tags = {STATE_TAG: result.state.value}
    if result.weights_sha256:
        tags["weights_sha256"] = result.weights_sha256
    if result.worker:
        tags["worker"] = result.worker
    if result.state is TrialState.PRUNED:
        tags["pruned_at_epoch"] = str(result.epochs[-1].epoch) if result.epochs else "0"
    if result.state is TrialState.FAILED:
        tags["reason"] = first_line(_reason(result))
    if result.lost_worker:
        tags["worker_lost"] = "true"
    named = [
        (f"{name} at epoch {epoch.epoch}", value)
        for epoch in result.epochs
        for name, value in epoch.as_metrics().items()
    ]
    return {**tags, **nonfinite_tag([*named, *_summary(result).items()])}
