"""Notes and saved views in MLflow: what each page says and where its links lead."""

from __future__ import annotations

import base64
import json
import re
import zlib

from tracked_home import TrackedHome, complete, spec

from mnist_study.core.trials import TrialResult
from mnist_study.tracking.entities import NOTE_TAG
from mnist_study.tracking.notes import Highlights, highlights_of


def links_in(note: str) -> dict[str, str]:
    return dict(re.findall(r"\[([^]]+)\]\((#/[^)]+)\)", note))


def finished(tracked: TrackedHome, *, record: str = "") -> tuple[str, list[str]]:
    """Record a study of two trials; return the ids of its run and of theirs."""
    tracker = tracked.tracker(record=record)
    tracker.open({})
    run_ids = []
    for number in range(2):
        tracker.start(spec(number))
        run_ids.append(tracker.finish(complete(number)))
    tracker.finish_parent(
        tables={"README.md": "text", "report.html": "<p>text"},
        tags={"finding": "Trial 1 is best. It is small."},
        lines=["Trial 1 is best.", "  It is small."],
        highlights=Highlights((run_ids[1], run_ids[0]), run_ids[0]),
    )
    tracker.close()
    return tracked.parent().info.run_id, run_ids


def test_each_note_says_what_it_is_about_and_leads_on(tracked: TrackedHome) -> None:
    parent_id, run_ids = finished(tracked)
    experiment_id = tracked.experiment_id()
    note = tracked.client.get_run(parent_id).data.tags[NOTE_TAG]
    assert note.startswith("A search: ")
    assert "the digits stand-in (not MNIST)" in note
    assert "- Trial 1 is best.\n- It is small.\n" in note
    runs = f"#/experiments/{experiment_id}/runs"
    table = f"{runs}?workflowType=machine_learning&viewStateShareKey=study"
    ids = "%22%2C%22".join([run_ids[1], run_ids[0]])
    compared = (
        f"#/compare-runs?runs=%5B%22{ids}%22%5D&experiments=%5B%22{experiment_id}%22%5D"
        "&workflowType=machine_learning"
    )
    assert links_in(note) == {
        "all runs as a table": table,
        "the 2 best compared": compared,
        "the best against the documented network": compared,
        "report": f"{runs}/{parent_id}/artifacts/summary/report.html?workflowType=machine_learning",
    }
    trial = tracked.client.get_run(run_ids[1]).data.tags[NOTE_TAG]
    assert "best validation accuracy 65.00% at epoch 5" in trial
    assert links_in(trial)["some-study"].startswith(f"{runs}/{parent_id}?")
    experiment = tracked.client.get_experiment(experiment_id)
    assert "Trial 1 is best. It is small." in experiment.tags[NOTE_TAG]
    assert links_in(experiment.tags[NOTE_TAG])["all its runs as a table"] == table


def test_a_trial_s_note_tells_its_loss_from_cross_entropy(tracked: TrackedHome) -> None:
    run = tracked.client.get_run(tracked.recorded(0))
    assert "cross-entropy plus the L2 penalty" in run.data.tags[NOTE_TAG]


def test_a_note_of_a_running_study_promises_nothing(tracked: TrackedHome) -> None:
    tracked.tracker().open({})
    note = tracked.parent().data.tags[NOTE_TAG]
    assert "Not finished" in note
    assert list(links_in(note)) == ["all runs as a table"]


def test_the_saved_view_shows_the_trials_alone_the_best_first(tracked: TrackedHome) -> None:
    finished(tracked)
    experiment = tracked.client.get_experiment(tracked.experiment_id())
    content = json.loads(experiment.tags["mlflow.sharedViewState.study"])
    method, _, packed = content["state"].partition(";")
    state = json.loads(zlib.decompress(base64.b64decode(packed)))
    assert (method, content["name"]) == ("deflate", "All trials, the best first")
    assert state["selectedColumns"] == [
        "tags.`state`", "metrics.`best/val_accuracy`", "metrics.`overfitting_gap`",
        "metrics.`n_parameters`", "params.`units_1`", "params.`units_2`", "params.`units_3`",
        "params.`dropout_1`", "params.`dropout_2`", "params.`l2`", "params.`learning_rate`",
    ]  # fmt: skip
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`best/val_accuracy`", False)
    runs = tracked.client.search_runs([experiment.experiment_id], state["searchFilter"])
    assert sorted(str(run.info.run_name) for run in runs) == ["trial-000", "trial-001"]


def test_the_highlights_are_the_ten_best_that_completed() -> None:
    results: list[TrialResult] = [complete(number) for number in range(12)]
    run_ids = [f"run-{number}" for number in range(12)]
    # Equal values: the earlier is the better.
    assert highlights_of(results, run_ids) == Highlights(tuple(run_ids[:10]), "run-0")
    assert highlights_of([], []) == Highlights()
