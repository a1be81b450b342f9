"""What runs inside a Dask worker: the data that it was given, and one trial at a time."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from distributed import Worker, WorkerPlugin, get_worker

from mnist_study.config import DataConfig, differences
from mnist_study.data import Splits, TrainingSet, split
from mnist_study.identity import environment_identity
from mnist_study.records import EpochMetrics, TrialResult, TrialSpec
from mnist_study.trial import run_trial

TOPIC = "mnist-study"
_PLUGIN = "mnist-study-data"


class WorkerRefusedError(RuntimeError):
    """This worker would give other bits than the driver's machine."""

    def __init__(self, address: str, changed: str) -> None:
        super().__init__(address, changed)
        self.address = address
        self.changed = changed


class DataPlugin(WorkerPlugin):  # type: ignore[misc]
    """Carries the training set to every worker, those that join or restart later included.

    Args:
        training_set: all rows that trials may train on or validate with.
        identity: the driver's `environment_identity`; None admits any worker.
        stderr_path: where a local worker's error output goes; None leaves it.
    """

    name = _PLUGIN

    def __init__(
        self,
        training_set: TrainingSet,
        identity: Mapping[str, Any] | None,
        stderr_path: str | None,
    ) -> None:
        self._training_set = training_set
        self._splits: tuple[DataConfig, Splits] | None = None
        self.refusal: str | None = None
        self._identity = identity
        self._stderr_path = stderr_path

    def splits(self, data: DataConfig) -> Splits:
        """Return the rows split as asked; the last split is kept."""
        if self._splits is None or self._splits[0] != data:
            chosen = split(
                self._training_set, validation_size=data.validation_size, split_seed=data.split_seed
            )
            self._splits = (data, chosen)
        return self._splits[1]

    def setup(self, worker: Worker) -> None:
        """Prepare the process for training: TensorFlow's threads, memory, signals, output."""
        if self._stderr_path is not None:
            sys.stderr.flush()
            with open(self._stderr_path, "ab") as log:
                os.dup2(log.fileno(), sys.stderr.fileno())
            if threading.current_thread() is threading.main_thread():
                # Ctrl-C reaches the whole process group; stopping is the driver's decision.
                signal.signal(signal.SIGINT, signal.SIG_IGN)
        if self._identity is not None:
            changed = differences(environment_identity(), self._identity)
            self.refusal = "; ".join(changed) or None
        _keep_freed_memory()
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        from mnist_study.training import limit_threads

        limit_threads()


def _keep_freed_memory() -> None:
    """Let malloc keep what it frees: Dask's setting returns it to the system after every step.

    Each training step frees buffers of some hundred kB; giving them back costs page faults.
    """
    if sys.platform != "linux":
        return
    trim_threshold, mmap_threshold, keep = -1, -3, 1 << 30
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # glibc; others do not trim
        libc.mallopt(trim_threshold, keep)
        libc.mallopt(mmap_threshold, keep)


def run_on_worker(spec: TrialSpec) -> TrialResult:
    """Run a trial on this worker's rows, announcing its start and each epoch.

    Raises:
        WorkerRefusedError: this worker is not the like of the driver.
    """
    worker = get_worker()
    plugin = worker.plugins[_PLUGIN]
    if plugin.refusal is not None:
        raise WorkerRefusedError(worker.address, plugin.refusal)
    worker.log_event(TOPIC, {"number": spec.number, "worker": worker.address})

    def announce(metrics: EpochMetrics) -> None:
        row = (
            metrics.epoch, metrics.train_loss, metrics.train_accuracy,
            metrics.val_loss, metrics.val_accuracy,
        )  # fmt: skip
        worker.log_event(TOPIC, {"number": spec.number, "epoch": row})

    return replace(
        run_trial(spec, plugin.splits(spec.data), on_epoch=announce), worker=worker.address
    )
