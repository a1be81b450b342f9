"""The worker's side of the fold: run one trial, a function of its arguments alone."""

from __future__ import annotations

import math
import threading
import time
import traceback
from collections.abc import Callable

from mnist_study.core.trials import EpochMetrics, Readout, TrialResult, TrialSpec, TrialState
from mnist_study.data.dataset import Splits, TestSet, take_rows
from mnist_study.search.pruner import PruneDecider

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
        on_start: told when the training begins and no other trial of this process trains.
        on_epoch: told of each epoch as it ends; must not change the trial.

    Returns:
        The result. A loss that is not finite, or an error while training, is a FAILED trial with
        its reason; the caller decides nothing.

    Raises:
        ValueError: the specification reads the test set and none was given.
    """
    if (spec.reads_test_set or spec.readout_rule) and test_set is None:
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
    # TensorFlow takes seconds to import: only who trains pays for it.
    from mnist_study.training import model, trainer

    start = time.perf_counter()
    decider = PruneDecider(spec.prune_view) if spec.prune_view else None
    epochs: list[EpochMetrics] = []

    def after_epoch(metrics: EpochMetrics) -> bool:
        epochs.append(metrics)
        on_epoch(metrics)
        # A pruner that is asked about NaN would decide on nothing.
        if decider is None or not math.isfinite(metrics.train_loss + metrics.val_loss):
            return False
        return decider.should_prune(metrics.epoch, metrics.val_accuracy)

    def failed(reason: str) -> TrialResult:
        return TrialResult(
            number=spec.number,
            params=spec.params,
            state=TrialState.FAILED,
            epochs=tuple(epochs),
            reason=reason,
            system_attrs=decider.system_attrs if decider else {},
            total_seconds=time.perf_counter() - start,
        )

    try:
        if spec.train_rows is not None:
            rows = spec.train_rows
            splits = take_rows(splits, n_rows=rows.n_rows, subset_seed=rows.subset_seed)
        trained = trainer.train(
            spec.params,
            spec.seeds,
            spec.training,
            splits,
            on_epoch=after_epoch,
            readout_rule=spec.readout_rule,
        )
        if trained.diverged:
            last = epochs[-1]
            return failed(
                f"diverged at epoch {last.epoch}: training loss {last.train_loss}, "
                f"validation loss {last.val_loss}"
            )
        network = model.build_model(spec.params, spec.seeds)
        network.set_weights(list(trained.weights))
        n_parameters = network.count_params()
        model_keras = model.model_to_bytes(network) if spec.keeps_model else None
        test_metrics = {}
        if spec.reads_test_set and test_set is not None:
            test_metrics = model.measure(network, test_set)
        readouts: tuple[Readout, ...] = ()
        if spec.readout_rule is not None and test_set is not None:
            from mnist_study.training.readout import read_out

            readouts = read_out(trained, spec.training.batch_size, splits, test_set)
    except Exception:
        # Whatever went wrong is this trial's outcome; the study goes on and keeps the reason.
        return failed(traceback.format_exc())
    finally:
        model.forget_models()
    best = epochs[(epochs[-1].epoch if trained.pruned else trained.best_epoch) - 1]
    return TrialResult(
        number=spec.number,
        params=spec.params,
        state=TrialState.PRUNED if trained.pruned else TrialState.COMPLETE,
        epochs=trained.epochs,
        value=best.val_accuracy,
        best_epoch=trained.best_epoch,
        restored_train_accuracy=trained.restored_train_accuracy,
        restored_train_loss=trained.restored_train_loss,
        n_parameters=n_parameters,
        weights_sha256=model.weights_sha256(trained.weights),
        reason=f"pruned at epoch {epochs[-1].epoch}" if trained.pruned else None,
        system_attrs=decider.system_attrs if decider else {},
        model_keras=model_keras,
        test_metrics=test_metrics,
        readouts=readouts,
        train_seconds=trained.train_seconds,
        total_seconds=time.perf_counter() - start,
    )
