"""The tracker: aborting, errors of the writer thread, and a study over a real server."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from study_process import wait_until
from tracked_home import TrackedHome, complete, expected_points, run_until_write, spec

from mnist_study.core.home import Home
from mnist_study.tracking.connection import TrackingError
from mnist_study.tracking.trial_run import TrialRun

TESTS = Path(__file__).parents[1]


def test_abort_leaves_nothing_running_and_takes_under_two_seconds(tracked: TrackedHome) -> None:
    tracker = tracked.tracker()
    tracker.open({})
    for number in range(8):
        tracker.start(spec(number))
    tracker.finish(complete(0))
    started = time.perf_counter()
    assert tracker.abort() == []
    assert time.perf_counter() - started < 2
    statuses = {run.data.tags["trial"]: run.info.status for run in tracked.children()}
    assert statuses.pop("0") == "FINISHED"
    assert set(statuses.values()) == {"KILLED"}
    assert tracked.parent().info.status == "KILLED"
    assert tracked.parent().data.tags["state"] == "INTERRUPTED"


def test_busy_seconds_counts_the_writing_and_not_the_opening(tracked: TrackedHome) -> None:
    tracker = tracked.tracker()
    tracker.open({})
    assert tracker.busy_seconds == 0
    tracker.start(spec(0))
    tracker.finish(complete(0))
    assert 0.005 < tracker.busy_seconds < 5


def test_a_write_that_fails_is_raised_by_the_call_that_waits_and_by_every_later_one(
    tracked: TrackedHome, tmp_path: Path
) -> None:
    tracker = tracked.tracker()
    tracker.open({})
    tracker.start(spec(0))
    shutil.rmtree(tmp_path / "artifacts")
    (tmp_path / "artifacts").write_text("in the way")
    with pytest.raises(TrackingError, match="found a file where a folder is expected"):
        tracker.finish(complete(0))
    with pytest.raises(TrackingError):
        tracker.start(spec(1))
    assert tracker.abort() == []
    (run,) = tracked.children()
    assert run.info.status == "KILLED"


def test_a_failed_write_that_nobody_waits_for_is_raised_by_the_next_call(
    tracked: TrackedHome,
) -> None:
    tracker = tracked.tracker()
    tracker.open({})
    tracker.start(spec(0))
    tracker.start(spec(0))
    with pytest.raises(ValueError, match="trial 0 is started twice"):
        tracker.close()


def test_neither_tensorflow_nor_keras_is_imported_and_nothing_is_printed(
    tracked: TrackedHome,
) -> None:
    code = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(TESTS)!r})
from mnist_study.core.home import Home
from tracked_home import TrackedHome
TrackedHome(Home(Path({str(tracked.home.path)!r}))).recorded()
print(sorted({{"tensorflow", "keras"}} & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert (done.stdout, done.stderr.strip()) == ("", "[]")


@pytest.mark.slow
def test_everything_works_over_a_server_with_proxied_artifacts(
    server: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    tracked = TrackedHome(Home(tmp_path))
    first = tracked.recorded(0)
    (run,) = tracked.children()
    assert (run.info.run_id, run.info.status) == (first, "FINISHED")
    points = tracked.points(first)
    assert {name: points[name] for name in expected_points()} == expected_points()
    assert tracked.read(first, "curves.png").startswith(b"\x89PNG")
    (model,) = tracked.models()
    assert model.artifact_location.startswith("mlflow-artifacts:")
    run_until_write(tracked, monkeypatch, 9, {0: first})
    tracker = tracked.tracker()
    assert tracker.open({0: first}) != []
    assert [found.info.run_id for found in tracked.children()] == [first]
    assert [found.model_id for found in tracked.models()] == [model.model_id]
    tracker.start(spec(1))
    tracker.start(spec(2))
    tracker.finish(complete(2))
    assert tracker.abort() == []
    statuses = {found.data.tags["trial"]: found.info.status for found in tracked.children()}
    assert statuses == {"0": "FINISHED", "1": "KILLED", "2": "FINISHED"}
    assert capsys.readouterr().out == ""


def test_live_epochs_take_a_share_of_the_time_and_all_trials_take_their_turn(
    tracked: TrackedHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With hundreds of workers, they would otherwise keep the record of ended trials waiting."""
    flushed: list[tuple[int, float]] = []

    def slow(run: TrialRun) -> None:
        began = time.perf_counter()
        time.sleep(0.02)
        flushed.append((run._spec.number, time.perf_counter() - began))

    monkeypatch.setattr(TrialRun, "flush", slow)
    tracker = tracked.tracker(flush_seconds=0.1)
    tracker.open({})
    began = time.perf_counter()
    for number in range(3):
        tracker.start(spec(number))
    assert wait_until(lambda: len(flushed) >= 6, 60)
    wall = time.perf_counter() - began
    tracker.abort()
    in_turn = [number for number, _ in flushed[-6:]]
    assert set(in_turn[:3]) == {0, 1, 2}
    assert in_turn[:3] == in_turn[3:6]
    assert sum(seconds for _, seconds in flushed[:6]) < 0.3 * wall


def test_curves_that_the_worker_drew_are_logged_as_they_are(
    tracked: TrackedHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = tracked.tracker()

    def draw(_: object) -> bytes:
        return b"of the driver"

    monkeypatch.setattr(tracker, "_draw_trial", draw)
    tracker.open({})
    for number, drawn in enumerate([b"of the worker", None]):
        tracker.start(spec(number))
        run_id = tracker.finish(replace(complete(number), curves_png=drawn))
        (path,) = tracked.home.path.glob(f"artifacts/**/{run_id}/artifacts/curves.png")
        assert path.read_bytes() == (drawn or b"of the driver")
    tracker.abort()
