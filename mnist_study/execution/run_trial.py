"""One trial, trained in a worker: a function of its arguments alone."""

from __future__ import annotations

import math
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mnist_study.core.readouts import Readout
from mnist_study.core.trials import DIVERGED, EpochMetrics, TrialResult, TrialSpec, TrialState
from mnist_study.data.dataset import Splits, TestSet, take_rows, with_all_rows
from mnist_study.search.pruner import PruneDecider

if TYPE_CHECKING:
    from mnist_study.training.trainer import TrainingResult

# A worker with several threads has one epoch graph, with one set of variables.
_ONE_AT_A_TIME = threading.Lock()


def run_trial(
    spec: TrialSpec,
    splits: Splits,
    *,
    test_set: TestSet | None = None,
    on_start: Callable[[], None] = lambda: None,
    on_epoch: Callable[[EpochMetrics], None] = lambda metrics: None,
) -> TrialResult:
    """Train the network of a specification; in one process, one at a time.

    Args:
        spec: everything that the result depends on, with the splits.
        splits: training and validation rows.
        test_set: only for a specification that reads it.
        on_start: called when the training begins and no other trial of this process trains.
        on_epoch: called with each epoch as it ends; must not change the trial.

    Returns:
        The result. A loss that is not finite, or an error while training, makes the trial FAILED,
        with its reason.

    Raises:
        ValueError: the specification reads the test set and none was given.
    """
    if (spec.reads_test_set or spec.readouts) and test_set is None:
        raise ValueError("this trial is to read the test set, but was given none")
    with _ONE_AT_A_TIME:
        on_start()
        return _run_trial(spec, splits, test_set, on_epoch)


def _run_trial(
    spec: TrialSpec,
    splits: Splits,
    test_set: TestSet | None,
    on_epoch: Callable[[EpochMetrics], None],
) -> TrialResult:
    """Train and measure; an error on the way makes the trial FAILED, and the study goes on."""
    # TensorFlow takes seconds to import: only a process that trains pays for it.
    from mnist_study.training import model, trainer

    start = time.perf_counter()
    watch = _EpochWatch(spec, on_epoch)
    try:
        if spec.train_rows is not None:
            rows = spec.train_rows
            splits = take_rows(splits, n_rows=rows.n_rows, subset_seed=rows.subset_seed)
        if spec.all_rows:
            splits = with_all_rows(splits)
        trained = trainer.train(
            spec.params,
            spec.seeds,
            spec.training,
            splits,
            on_epoch=watch.after_epoch,
            readouts=spec.readouts,
            activation=spec.activation,
        )
        if trained.diverged:
            last = trained.epochs[-1]
            reason = (
                f"{DIVERGED} at epoch {last.epoch}: training loss {last.train_loss}, "
                f"validation loss {last.val_loss}"
            )
            # Early stopping would have ended some runs before they diverge.
            readouts = _read_out(spec, trained, splits, test_set)
            result = replace(_failed(spec, watch.epochs, reason), readouts=readouts)
        else:
            result = _measured(spec, trained, splits, test_set)
    except Exception:
        result = _failed(spec, watch.epochs, traceback.format_exc())
    finally:
        model.forget_models()
    return replace(
        result, system_attrs=watch.system_attrs, total_seconds=time.perf_counter() - start
    )


class _EpochWatch:
    """Keeps a trial's epochs, passes each on, and asks the pruner after each."""

    def __init__(self, spec: TrialSpec, on_epoch: Callable[[EpochMetrics], None]) -> None:
        self.epochs: list[EpochMetrics] = []
        self._decider = PruneDecider(spec.prune_view) if spec.prune_view else None
        self._on_epoch = on_epoch

    def after_epoch(self, metrics: EpochMetrics) -> bool:
        """Return whether the trial is to be pruned now."""
        self.epochs.append(metrics)
        self._on_epoch(metrics)
        # A pruner's answer about NaN would mean nothing.
        if self._decider is None or not math.isfinite(metrics.train_loss + metrics.val_loss):
            return False
        return self._decider.should_prune(metrics.epoch, metrics.val_accuracy)

    @property
    def system_attrs(self) -> Mapping[str, Any]:
        """What the pruner noted about this trial."""
        return self._decider.system_attrs if self._decider else {}


def _failed(spec: TrialSpec, epochs: Sequence[EpochMetrics], reason: str) -> TrialResult:
    return TrialResult(
        number=spec.number,
        params=spec.params,
        state=TrialState.FAILED,
        epochs=tuple(epochs),
        reason=reason,
    )


def _measured(
    spec: TrialSpec, trained: TrainingResult, splits: Splits, test_set: TestSet | None
) -> TrialResult:
    """Return the result of a training that ended or was pruned, with all that is measured after."""
    from mnist_study.training import model

    network = model.build_model(spec.params, spec.seeds, activation=spec.activation)
    network.set_weights(list(trained.weights))
    last = trained.epochs[-1]
    best = last if trained.pruned else trained.epochs[trained.best_epoch - 1]
    return TrialResult(
        number=spec.number,
        params=spec.params,
        state=TrialState.PRUNED if trained.pruned else TrialState.COMPLETE,
        epochs=trained.epochs,
        value=best.val_accuracy,
        best_epoch=trained.best_epoch,
        restored_train_accuracy=trained.restored_train_accuracy,
        restored_train_loss=trained.restored_train_loss,
        n_parameters=network.count_params(),
        weights_sha256=model.weights_sha256(trained.weights),
        reason=f"pruned at epoch {last.epoch}" if trained.pruned else None,
        model_keras=model.model_to_bytes(network) if spec.keeps_model else None,
        test_metrics=(model.measure(network, test_set) if spec.reads_test_set and test_set else {}),
        readouts=_read_out(spec, trained, splits, test_set),
        train_seconds=trained.train_seconds,
    )


def _read_out(
    spec: TrialSpec, trained: TrainingResult, splits: Splits, test_set: TestSet | None
) -> tuple[Readout, ...]:
    """Measure the sets of weights that were kept for the specification's read-outs."""
    if not trained.kept_at or test_set is None:
        return ()
    from mnist_study.training.epoch_graph import trainer_of
    from mnist_study.training.readout import read_out

    n_rows = len(splits.train_labels)
    graphs = trainer_of(spec.training.batch_size, n_rows, activation=spec.activation)
    return read_out(trained.kept_at, graphs, splits, test_set)
