"""Reconciling MLflow with history: whatever a kill may leave is superseded, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tracked_home import EPOCHS, TrackedHome, complete, run_until_write, spec

from mnist_study.tracking import trial_run
from mnist_study.tracking.connection import TrackingError, connect


def test_after_a_kill_before_any_write_there_is_one_run_per_finished_trial_and_no_orphan(
    tracked: TrackedHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tracked.recorded(0)
    n_writes, finished = run_until_write(tracked, monkeypatch, None, {0: first})
    assert n_writes >= 11
    assert set(finished) == {0, 1}
    for kill_before in range(n_writes + 1):
        _, finished = run_until_write(tracked, monkeypatch, kill_before, {0: first})
        tracker = tracked.tracker()
        tracker.open(finished)
        runs = {run.info.run_id: run for run in tracked.children()}
        assert set(runs) == set(finished.values()), kill_before
        assert {int(run.data.tags["trial"]) for run in runs.values()} == set(finished)
        assert all(run.info.status == "FINISHED" for run in runs.values())
        assert sorted(str(model.source_run_id) for model in tracked.models()) == sorted(runs)
        assert tracked.parent().info.status == "RUNNING"
        tracker.abort()


def test_reconciling_twice_changes_nothing(
    tracked: TrackedHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tracked.recorded(0)
    _, finished = run_until_write(tracked, monkeypatch, 9, {0: first})
    tracker = tracked.tracker()
    assert tracker.open(finished) != []
    listing = tracked.listing()
    assert tracker.open(finished) == []
    again = tracked.tracker()
    assert again.open(finished) == []
    assert tracked.listing() == listing


def test_a_model_whose_run_was_deleted_is_deleted(tracked: TrackedHome) -> None:
    run_id = tracked.recorded(0)
    tracked.client.delete_run(run_id)
    assert len(tracked.models()) == 1  # MLflow itself leaves it
    tracked.tracker().open({})
    assert tracked.models() == []


def test_a_duplicate_of_a_finished_trial_is_deleted(tracked: TrackedHome) -> None:
    run_id = tracked.recorded(0)
    tracker = tracked.tracker()
    tracker.open({0: run_id})
    tracker.start(spec(0))
    tracker.finish(complete(0))
    tracker.close()
    assert len(tracked.children()) == 2
    lines = tracked.tracker().open({0: run_id})
    assert [run.info.run_id for run in tracked.children()] == [run_id]
    assert [model.source_run_id for model in tracked.models()] == [run_id]
    assert len(lines) == 2


def test_a_registered_run_and_its_model_are_never_deleted(
    tracked: TrackedHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    # MLflow's registry looks a model up in the process's own store, not in its client's.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracked.home.tracking_uri)
    run_id = tracked.recorded(0)
    (model,) = tracked.models()
    client = tracked.client
    client.create_registered_model("classifier")
    client.create_model_version("classifier", source=f"models:/{model.model_id}")
    (line,) = tracked.tracker().open({})
    assert run_id in line
    assert [found.model_id for found in tracked.models()] == [model.model_id]
    (run,) = tracked.children()
    assert run.info.run_id == run_id
    assert run.data.tags["state"] == "SUPERSEDED"
    assert tracked.tracker().open({}) == []


def test_records_of_one_name_in_a_shared_store_do_not_touch_each_others_runs(
    tracked: TrackedHome,
) -> None:
    """Two homes with a server in common, each of which begins the same study."""
    first, second = tracked.tracker(record="one"), tracked.tracker(record="other")
    first.open({})
    first.start(spec(0))
    run_ids = [first.finish(complete(0))]
    first.start(spec(1))
    assert second.open({}) == []
    second.start(spec(0))
    other_id = second.finish(complete(0))
    run_ids.append(first.finish(complete(1)))
    first.close()
    assert tracked.tracker(record="one").open(dict(enumerate(run_ids))) == []
    assert {m.source_run_id for m in tracked.models()} == {*run_ids, other_id}


def test_studies_of_one_experiment_do_not_touch_each_others_runs(tracked: TrackedHome) -> None:
    one, other = tracked.recorded(0, "one"), tracked.recorded(0, "other")
    tracked.tracker("one").open({})
    assert tracked.children("one") == []
    assert [run.info.run_id for run in tracked.children("other")] == [other] != [one]
    assert [model.source_run_id for model in tracked.models()] == [other]
    assert tracked.parent("one").info.run_id != tracked.parent("other").info.run_id


def test_the_deleted_run_of_a_finished_trial_is_restored(tracked: TrackedHome) -> None:
    run_id = tracked.recorded(0)
    tracked.client.delete_run(run_id)
    (line,) = tracked.tracker().open({0: run_id})
    assert "restored" in line
    assert [run.info.run_id for run in tracked.children()] == [run_id]
    assert len(tracked.models()) == 1


def test_a_run_that_history_knows_and_mlflow_does_not_is_reported(tracked: TrackedHome) -> None:
    run_id = tracked.recorded(0)
    (line,) = tracked.tracker().open({0: run_id, 4: "no-such-run"})
    assert line.startswith("trial 4: its run no-such-run is missing")


def test_store_that_has_none_of_the_runs_that_history_knows_is_refused(
    tracked: TrackedHome,
) -> None:
    with pytest.raises(TrackingError, match=r"holds no run of 'some-study'.* the 2 trials"):
        tracked.tracker().open({0: "a", 1: "b"})


def test_children_follow_when_their_parent_was_deleted(tracked: TrackedHome) -> None:
    run_id = tracked.recorded(0)
    tracked.client.delete_run(tracked.parent().info.run_id)
    (line,) = tracked.tracker().open({0: run_id})
    assert "linked" in line
    (run,) = tracked.children()
    assert run.data.tags["mlflow.parentRunId"] == tracked.parent().info.run_id


def test_runs_of_earlier_versions_get_the_metric_by_which_all_are_compared(
    tracked: TrackedHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(trial_run, "BEST_ACCURACY", "value")
        run_id = tracked.recorded()
    assert "best/val_accuracy" not in tracked.points(run_id)
    for _ in range(2):
        tracker = tracked.tracker()
        tracker.open({0: run_id})
        tracker.close()
        assert tracked.points(run_id)["best/val_accuracy"] == [(5, EPOCHS[4].val_accuracy)]


def test_model_that_another_registry_knows_is_never_deleted(
    tracked: TrackedHome,
    empty_mlflow_database: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_id = tracked.recorded(0)
    other = tmp_path_factory.mktemp("registry") / "registry.db"
    shutil.copy(empty_mlflow_database, other)
    registry = connect(f"sqlite:///{other}")
    registry.create_registered_model("theirs")
    registry.create_model_version("theirs", "file:///somewhere", run_id)
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", f"sqlite:///{other}")
    said, line = tracked.tracker().open({})  # history does not know the trial
    assert "MLFLOW_REGISTRY_URI: without effect here" in said
    assert "has a registered model: kept" in line
    assert [run.info.run_id for run in tracked.children()] == [run_id]
    assert [model.source_run_id for model in tracked.models()] == [run_id]
    broken = other.with_name("broken.db")
    broken.write_bytes(b"no database at all" * 100)
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", f"sqlite:///{broken}")
    with pytest.raises(TrackingError, match=r"MLFLOW_REGISTRY_URI: .* cannot be read"):
        tracked.tracker().open({})


def test_variables_that_would_lead_runs_elsewhere_have_no_effect(
    tracked: TrackedHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "elsewhere")
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    tracker = tracked.tracker()
    (line,) = tracker.open({})
    assert line.startswith("MLFLOW_EXPERIMENT_NAME, MLFLOW_RUN_ID: without effect here")
    tracker.start(spec(0))
    run_id = tracker.finish(complete(0))
    assert run_id != "0" * 32
    assert tracked.client.get_experiment_by_name("elsewhere") is None
