"""The MLflow run of a trial: what is written, when, and in which state it ends."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from study_process import wait_until
from tracked_home import DATASET, EPOCHS, PARAMS, TrackedHome, complete, expected_points, spec

from mnist_study.core.trials import (
    EpochMetrics,
    TrainRows,
    TrialResult,
    TrialState,
    derive_seeds,
)


def test_each_epoch_is_one_point_at_its_step_after_doubled_disordered_and_lost_live_events(
    tracked: TrackedHome,
) -> None:
    tracker = tracked.tracker(flush_seconds=0.02)
    tracker.open({})
    tracker.start(spec(0))
    for epoch in (1, 3, 1, 2, 3, 2, 5, 1):  # 4 is lost
        tracker.log_epoch(0, EPOCHS[epoch - 1])
        time.sleep(0.05)
    run_id = tracker.finish(complete(0))
    tracker.log_epoch(0, EPOCHS[0])
    tracker.close()
    points = tracked.points(run_id)
    assert {name: points[name] for name in expected_points()} == expected_points()


def test_live_epochs_and_params_are_visible_while_the_trial_trains(tracked: TrackedHome) -> None:
    tracker = tracked.tracker(flush_seconds=0.1)
    tracker.open({})
    tracker.start(spec(0))
    tracker.log_epoch(0, EPOCHS[0])
    assert wait_until(lambda: any(run.data.metrics for run in tracked.children()), 30)
    (run,) = tracked.children()
    assert run.data.metrics == EPOCHS[0].as_metrics()
    assert run.info.status == "RUNNING"
    assert run.data.tags["state"] == "RUNNING"
    assert run.data.params["units_1"] == "128"


def test_run_of_a_complete_trial_says_what_it_is(tracked: TrackedHome) -> None:
    run_id = tracked.recorded(7)
    (run,) = tracked.children()
    assert run.info.run_id == run_id
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "trial-007"
    assert run.data.params == {
        "units_1": "128",
        "units_2": "64",
        "units_3": "32",
        "dropout_1": "0.3",
        "dropout_2": "0.2",
        "l2": "0.001",
        "learning_rate": "0.002",
    }
    seeds = derive_seeds(7, 7)
    wanted = {
        "study": "some-study",
        "kind": "study",
        "trial": "7",
        "state": "COMPLETE",
        "mlflow.parentRunId": tracked.parent().info.run_id,
        "weights_sha256": "e" * 64,
        "init_seed": str(seeds.init_seed),
        "dropout_seed": str(seeds.dropout_seed),
        "shuffle_seed": str(seeds.shuffle_seed),
        "split_seed": str(spec(7).data.split_seed),
        "mlflow.source.git.commit": "c" * 40,
    }
    assert {key: run.data.tags.get(key) for key in wanted} == wanted
    summary = {
        name: value for name, value in run.data.metrics.items() if name not in expected_points()
    }
    assert summary == pytest.approx({
        "best/val_accuracy": 0.65, "best_epoch": 5, "restored_train_accuracy": 0.75,
        "overfitting_gap": 0.1, "n_parameters": 1234, "train_seconds": 2.5,
    })  # fmt: skip
    assert tracked.read(run_id, "curves.png").startswith(b"\x89PNG")


def test_pruned_and_failed_trials_are_told_apart(tracked: TrackedHome) -> None:
    tracker = tracked.tracker()
    tracker.open({})
    for number in (0, 1):
        tracker.start(spec(number))
    pruned = replace(
        complete(0), state=TrialState.PRUNED, epochs=EPOCHS[:3], value=0.55, best_epoch=3
    )
    pruned_id = tracker.finish(pruned)
    reason = "loss is not finite\nTraceback (most recent call last): ..."
    failed = TrialResult(1, PARAMS, TrialState.FAILED, EPOCHS[:2], reason=reason, lost_worker=True)
    failed_id = tracker.finish(failed)
    runs = {run.info.run_id: run for run in tracked.children()}
    assert runs[pruned_id].info.status == "KILLED"
    assert runs[pruned_id].data.tags["state"] == "PRUNED"
    assert runs[pruned_id].data.tags["pruned_at_epoch"] == "3"
    assert runs[failed_id].info.status == "FAILED"
    assert runs[failed_id].data.tags["state"] == "FAILED"
    assert runs[failed_id].data.tags["reason"] == "loss is not finite"
    assert runs[failed_id].data.tags["worker_lost"] == "true"
    assert tracked.read(failed_id, "failure.txt").decode().strip() == reason
    assert "best/val_accuracy" not in runs[failed_id].data.metrics
    # Pruned trials have a model too, failed ones have none.
    assert [model.source_run_id for model in tracked.models()] == [pruned_id]


def test_the_best_accuracy_is_that_of_the_epoch_whose_weights_were_kept(
    tracked: TrackedHome,
) -> None:
    tracker = tracked.tracker()
    tracker.open({})
    tracker.start(spec(0))
    # Pruned after a worse epoch: its value, which the pruner compared, is the last epoch's.
    pruned = replace(
        complete(0),
        state=TrialState.PRUNED,
        epochs=(EPOCHS[0], replace(EPOCHS[2], epoch=2), replace(EPOCHS[0], epoch=3)),
        value=EPOCHS[0].val_accuracy,
        best_epoch=2,
    )
    run_id = tracker.finish(pruned)
    metrics = tracked.client.get_run(run_id).data.metrics
    assert metrics["best/val_accuracy"] == EPOCHS[2].val_accuracy
    assert metrics["val/accuracy"] == EPOCHS[0].val_accuracy


def test_each_trial_carries_its_data_set_with_its_own_split(tracked: TrackedHome) -> None:
    tracker = tracked.tracker()
    tracker.open({})
    specs = (
        replace(spec(0), data=spec(0).data.model_copy(update={"split_seed": 77})),
        replace(spec(1), train_rows=TrainRows(n_rows=60, subset_seed=0)),
    )
    for each in specs:
        tracker.start(each)
        tracker.finish(complete(each.number))
    found = {}
    for run in tracked.children():
        assert run.inputs is not None
        (used,) = run.inputs.dataset_inputs
        assert (used.dataset.name, used.dataset.digest) == (DATASET.name, DATASET.digest)
        tags = {tag.key: tag.value for tag in used.tags}
        found[run.data.tags["trial"]] = (tags["split_seed"], tags["n_train"])
    assert found == {"0": ("77", "100"), "1": ("0", "60")}


def test_values_that_are_not_finite_become_a_tag_and_no_metric(tracked: TrackedHome) -> None:
    tracker = tracked.tracker(flush_seconds=0.02)
    tracker.open({})
    tracker.start(spec(0))
    bad = EpochMetrics(2, float("nan"), 0.1, float("inf"), 0.1)
    tracker.log_epoch(0, EPOCHS[0])
    tracker.log_epoch(0, bad)
    time.sleep(0.2)
    result = TrialResult(
        0, PARAMS, TrialState.FAILED, (EPOCHS[0], replace(bad, train_loss=float("nan")))
    )
    run_id = tracker.finish(result)
    points = tracked.points(run_id)
    assert points["train/loss"] == [(1, EPOCHS[0].train_loss)]
    assert points["val/loss"] == [(1, EPOCHS[0].val_loss)]
    assert points["val/accuracy"] == [(1, EPOCHS[0].val_accuracy), (2, 0.1)]
    tags = tracked.client.get_run(run_id).data.tags
    assert tags["nonfinite"] == "train/loss at epoch 2: nan, val/loss at epoch 2: inf"
    # NaN equals NaN here: the live epoch was the result's, so the run stayed.
    assert len(tracked.runs(deleted=True)) == 2


def test_a_run_whose_live_epochs_are_not_the_results_is_replaced(tracked: TrackedHome) -> None:
    tracker = tracked.tracker(flush_seconds=0.02)
    tracker.open({})
    tracker.start(spec(0))
    tracker.log_epoch(0, replace(EPOCHS[0], val_loss=99.0))
    time.sleep(0.3)
    (first,) = tracked.children()
    assert first.data.metrics["val/loss"] == 99.0
    run_id = tracker.finish(complete(0))
    (run,) = tracked.children()
    assert run.info.run_id == run_id != first.info.run_id
    assert tracked.points(run_id)["val/loss"] == expected_points()["val/loss"]
    assert run.data.params["units_1"] == "128"
