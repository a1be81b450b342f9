"""The worker's side of a study: a Dask plugin with the data, and one trial at a time."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace

from distributed import Worker, WorkerPlugin, get_worker

from mnist_study.core.config import DataConfig
from mnist_study.core.environment import EnvironmentIdentity, environment_identity
from mnist_study.core.identity import differences
from mnist_study.core.trials import EpochMetrics, TrialResult, TrialSpec
from mnist_study.data.dataset import Splits, TestSet, TrainingSet, split
from mnist_study.execution.run_trial import run_trial
from mnist_study.training.process import import_tensorflow, keep_freed_memory


class WorkerRefusedError(RuntimeError):
    """A worker whose results would differ from the driver's machine in their bits."""

    def __init__(self, address: str, changed: str) -> None:
        super().__init__(address, changed)
        self.address = address
        self.changed = changed


class DataPlugin(WorkerPlugin):  # type: ignore[misc]
    """Sends the training set to every worker, including those that join or restart later.

    It is named by its content, so that studies of different data can share a cluster.

    Args:
        training_set: all rows that trials may train on or validate with.
        test_set: only for jobs that read it; a study's workers have none.
        identity: the driver's `environment_identity`; None admits any worker.
        stderr_path: file for a local worker's error output; None leaves it.
    """

    def __init__(
        self,
        training_set: TrainingSet,
        test_set: TestSet | None,
        identity: EnvironmentIdentity | None,
        stderr_path: str | None,
    ) -> None:
        content = [
            training_set.content_hash,
            test_set and test_set.content_hash,
            identity and identity.model_dump(),
        ]
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        self.name = f"mnist-study-{digest[:16]}"
        self._training_set = training_set
        self.test_set = test_set
        self._splits: tuple[DataConfig, Splits] | None = None
        self.refusal: str | None = None
        self._identity = identity
        self._stderr_path = stderr_path

    def splits(self, data: DataConfig) -> Splits:
        """Return the rows split as asked; the last split is kept."""
        kept = self._splits
        if kept is None or kept[0] != data:
            chosen = split(
                self._training_set, validation_size=data.validation_size, split_seed=data.split_seed
            )
            # Another thread of this worker may replace the kept split.
            self._splits = kept = (data, chosen)
        return kept[1]

    def setup(self, worker: Worker) -> None:
        """Prepare the process for training: TensorFlow's threads, memory, output."""
        if self._stderr_path is not None:
            sys.stderr.flush()
            with open(self._stderr_path, "ab") as log:
                os.dup2(log.fileno(), sys.stderr.fileno())
        if self._identity is not None:
            changed = differences(environment_identity(), self._identity)
            self.refusal = "; ".join(changed) or None
        keep_freed_memory()
        import_tensorflow()
        from mnist_study.training.process import keep_to_cpu, limit_threads

        try:
            limit_threads()
        except RuntimeError as error:
            found = f"TensorFlow runs in this process already ({error}); expected one thread and"
            self.refusal = self.refusal or f"{found} the CPU; start a fresh worker"
        else:
            self.refusal = self.refusal or keep_to_cpu()


def run_on_worker(
    spec: TrialSpec,
    plugin_name: str,
    topic: str,
    attempt: str,
    draw_trial: Callable[[TrialResult], bytes] | None = None,
) -> TrialResult:
    """Run a trial on this worker's rows, announcing its start and each epoch.

    Its curves are drawn here too: they would take most of the driver's time for a trial.

    Args:
        spec: the trial.
        plugin_name: of the `DataPlugin` with the rows.
        topic: of Dask, that the driver has subscribed to.
        attempt: identifies this attempt of the trial.
        draw_trial: draws the learning curves of a finished trial; None leaves it to the driver.

    Raises:
        WorkerRefusedError: this worker differs from the driver.
    """
    worker = get_worker()
    plugin = worker.plugins[plugin_name]
    if plugin.refusal is not None:
        raise WorkerRefusedError(worker.address, plugin.refusal)
    about = {"number": spec.number, "attempt": attempt}

    def announce_start() -> None:
        # A death is blamed on this trial from here on, not while it waits for another thread's.
        worker.log_event(topic, {**about, "worker": worker.address})

    def announce(metrics: EpochMetrics) -> None:
        row = (
            metrics.epoch, metrics.train_loss, metrics.train_accuracy,
            metrics.val_loss, metrics.val_accuracy,
        )  # fmt: skip
        worker.log_event(topic, {**about, "epoch": row})

    splits = plugin.splits(spec.data)
    result = run_trial(
        spec, splits, test_set=plugin.test_set, on_start=announce_start, on_epoch=announce
    )
    png = draw_trial(result) if draw_trial is not None and result.epochs else None
    return replace(result, worker=worker.address, curves_png=png)
