"""The MLflow run of a study: data set, provenance and summary."""

from __future__ import annotations

import json

from tracked_home import DATASET, TrackedHome, complete, spec


def test_parent_run_carries_data_set_and_provenance(tracked: TrackedHome) -> None:
    tracked.tracker().open({})
    parent = tracked.parent()
    assert parent.data.params == {"batch_size": "32"}
    tags = parent.data.tags
    assert (tags["fingerprint"], tags["git_dirty"], tags["cpu"]) == (
        "f" * 64, "true", "a processor",
    )  # fmt: skip
    assert parent.inputs is not None
    (dataset_input,) = parent.inputs.dataset_inputs
    assert dataset_input.dataset.name == "digits"
    assert DATASET.content_hash.startswith(dataset_input.dataset.digest)
    profile = json.loads(dataset_input.dataset.profile or "")
    assert profile["content_sha256"] == DATASET.content_hash == tags["dataset_sha256"]
    names = tracked.files(parent.info.run_id, "provenance")
    (diff,) = [name for name in names if name.endswith(".diff")]
    assert tracked.read(parent.info.run_id, diff) == b"-old\n+new\n"
    record = json.loads(tracked.read(parent.info.run_id, "provenance/provenance.json"))
    assert record["packages"] == {"numpy": "2.0"}
    experiment_file = tracked.read(parent.info.run_id, "provenance/experiment.toml")
    assert experiment_file == b"name = 'x'\n"


def test_finishing_the_parent_twice_writes_its_numbers_once(tracked: TrackedHome) -> None:
    run_id = tracked.recorded()
    for _ in range(2):
        tracker = tracked.tracker()
        tracker.open({0: run_id})
        numbers = {"best_value": 0.65, "bad": float("nan")}
        tracker.finish_parent({"history": b"a picture"}, {"trials.csv": "a,b\n"}, numbers)
        tracker.close()
    parent = tracked.parent()
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["state"] == "COMPLETE"
    assert parent.data.tags["nonfinite"] == "bad: nan"
    assert tracked.points(parent.info.run_id) == {"best_value": [(1, 0.65)]}
    files = tracked.files(parent.info.run_id, "summary")
    assert files == {"summary/history.png", "summary/trials.csv"}


def test_summary_of_trials_that_are_run_again_goes_with_its_run(tracked: TrackedHome) -> None:
    run_id = tracked.recorded()
    former = tracked.parent().info.run_id
    for finished, n_failed in (({0: run_id}, 1.0), ({}, 0.0)):
        tracker = tracked.tracker()
        tracker.open(finished)
        if not finished:
            tracker.start(spec(0))
            run_id = tracker.finish(complete(0))
        tracker.finish_parent(metrics={"n_failed": n_failed})
        tracker.close()
    parent = tracked.parent()
    assert parent.info.run_id != former
    assert tracked.points(parent.info.run_id) == {"n_failed": [(1, 0.0)]}
    (child,) = tracked.children()
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id


def test_a_command_with_nothing_to_do_leaves_the_record_as_it_was(tracked: TrackedHome) -> None:
    first = tracked.tracker()
    first.open({})
    first.start(spec(0))
    finished = {0: first.finish(complete(0))}
    numbers = {"study/best_val_accuracy": 0.65}
    first.finish_parent({"history": b"a picture"}, {"trials.csv": "a,b\n"}, numbers)
    first.close()
    before = tracked.listing()
    again = tracked.tracker()
    again.open(finished, is_complete=True)
    again.finish_parent({"history": b"a picture"}, {"trials.csv": "a,b\n"}, numbers)
    again.close()
    assert tracked.listing() == before
    # Ctrl-C meanwhile changes nothing either.
    stopped = tracked.tracker()
    stopped.open(finished, is_complete=True)
    assert stopped.abort() == []
    assert tracked.listing() == before


def test_another_report_of_a_finished_study_is_stored_and_its_duration_stays(
    tracked: TrackedHome,
) -> None:
    finished = {0: tracked.recorded()}
    first = tracked.tracker()
    first.open(finished)
    first.finish_parent(tables={"README.md": "old"})
    first.close()
    ended = tracked.parent().info.end_time
    again = tracked.tracker()
    again.open(finished, is_complete=True)
    again.finish_parent(tables={"README.md": "new"})
    again.close()
    parent = tracked.parent()
    assert tracked.read(parent.info.run_id, "summary/README.md") == b"new"
    assert (parent.info.status, parent.info.end_time) == ("FINISHED", ended)


def test_no_two_runs_of_an_experiment_share_a_name(tracked: TrackedHome) -> None:
    # Two homes may have studies of one name in a shared store, and a study two confirmations.
    for record in ("one", "two", "three"):
        tracker = tracked.tracker(record=record)
        tracker.open({})
        for number in (1, 10):
            tracker.start(spec(number))
            tracker.finish(complete(number))
        tracker.close()
    names = sorted(str(run.info.run_name) for run in tracked.runs())
    assert names == [
        "some-study", "some-study-2", "some-study-3",
        "trial-001", "trial-001-2", "trial-001-3",
        "trial-010", "trial-010-2", "trial-010-3",
    ]  # fmt: skip
