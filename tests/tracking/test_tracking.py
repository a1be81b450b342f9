"""The MLflow record: what is written, in which state it ends, and what a kill may leave of it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import pytest
from study_process import wait_until

from mnist_study.core.config import DataConfig, NetworkParams, TrainingConfig
from mnist_study.core.provenance import DatasetRecord, Provenance, git_state
from mnist_study.core.trials import EpochMetrics, TrialResult, TrialSpec, TrialState, derive_seeds
from mnist_study.plots import trial_png
from mnist_study.tracking.connection import TrackingError, connect
from mnist_study.tracking.tracker import Tracker

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

PARAMS = NetworkParams(
    units_1=128, units_2=64, units_3=32, dropout_1=0.3, dropout_2=0.2, l2=0.001, learning_rate=0.002
)
TRAINING = TrainingConfig(batch_size=32, epochs=5, schedule="constant")
DATASET = DatasetRecord("digits", "made up", "ab" * 32, 100, 20, 0)
PROVENANCE = Provenance(
    commit="c" * 40,
    dirty=True,
    diff="-old\n+new\n",
    python="3.11.0",
    packages={"numpy": "2.0"},
    cpu="a processor",
    instruction_sets=("avx2",),
    onednn={},
    fingerprint="f" * 64,
    experiment_file="name = 'x'\n",
)
EPOCHS = tuple(
    EpochMetrics(epoch, 1 / epoch, 0.5 + epoch / 20, 1.5 / epoch, 0.4 + epoch / 20)
    for epoch in range(1, 6)
)


def spec(number: int) -> TrialSpec:
    return TrialSpec(
        number,
        PARAMS,
        derive_seeds(7, number),
        TRAINING,
        DataConfig(validation_size=10, split_seed=0),
    )


def complete(number: int) -> TrialResult:
    return TrialResult(
        number,
        PARAMS,
        TrialState.COMPLETE,
        EPOCHS,
        value=0.65,
        best_epoch=5,
        restored_train_accuracy=0.75,
        n_parameters=1234,
        weights_sha256="e" * 64,
        model_keras=b"not really a model",
        train_seconds=2.5,
        worker="tcp://worker",
    )


@dataclass
class Home:
    """A store under a temporary folder or on a server, and what is in it."""

    uri: str
    artifact_root: str | None
    trackers: list[Tracker]

    def tracker(
        self, study: str = "some-study", *, record: str = "", flush_seconds: float = 60
    ) -> Tracker:
        tracker = Tracker(
            tracking_uri=self.uri,
            artifact_root=self.artifact_root,
            experiment="experiment",
            identity={"study": study, "kind": "study"} | ({"record": record} if record else {}),
            dataset=DATASET,
            provenance=PROVENANCE,
            draw_trial=trial_png,
            params={"batch_size": 32},
            flush_seconds=flush_seconds,
        )
        self.trackers.append(tracker)
        return tracker

    def recorded(self, number: int = 0, study: str = "some-study") -> str:
        """Record one complete trial and leave the study unfinished; return the run id."""
        tracker = self.tracker(study)
        tracker.open({})
        tracker.start(spec(number))
        run_id = tracker.finish(complete(number))
        tracker.close()
        return run_id

    @property
    def client(self) -> MlflowClient:
        return connect(self.uri)

    def experiment_id(self) -> str:
        experiment = self.client.get_experiment_by_name("experiment")
        assert experiment is not None
        return str(experiment.experiment_id)

    def runs(self, *, deleted: bool = False) -> list[Run]:
        from mlflow.entities import ViewType

        view = ViewType.ALL if deleted else ViewType.ACTIVE_ONLY
        found = self.client.search_runs([self.experiment_id()], run_view_type=view)
        return sorted(found, key=lambda run: str(run.info.run_id))

    def children(self, study: str = "some-study") -> list[Run]:
        return [
            run
            for run in self.runs()
            if "trial" in run.data.tags and run.data.tags["study"] == study
        ]

    def parent(self, study: str = "some-study") -> Run:
        (parent,) = [
            run
            for run in self.runs()
            if "trial" not in run.data.tags and run.data.tags["study"] == study
        ]
        return parent

    def models(self) -> list[LoggedModel]:
        return list(self.client.search_logged_models([self.experiment_id()]))

    def points(self, run_id: str) -> dict[str, list[tuple[int, float]]]:
        metrics = self.client.get_run(run_id).data.metrics
        return {
            name: sorted((m.step, m.value) for m in self.client.get_metric_history(run_id, name))
            for name in metrics
        }

    def files(self, run_id: str, folder: str | None = None) -> set[str]:
        return {item.path for item in self.client.list_artifacts(run_id, folder)}

    def read(self, run_id: str, path: str) -> bytes:
        return Path(self.client.download_artifacts(run_id, path)).read_bytes()

    def listing(self) -> list[Any]:
        """Everything that the store holds, deleted runs included."""
        runs = [
            (run.to_dictionary(), self.points(run.info.run_id), self.files(run.info.run_id))
            for run in self.runs(deleted=True)
        ]
        return [runs, [model.to_dictionary() for model in self.models()]]


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    connect(f"sqlite:///{path}")
    return path


@pytest.fixture
def home(tmp_path: Path, empty_database: Path) -> Iterator[Home]:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    home = Home(f"sqlite:///{tmp_path}/mlflow.db", f"{tmp_path}/artifacts", [])
    yield home
    for tracker in home.trackers:
        tracker.abort()


def expected_points() -> dict[str, list[tuple[int, float]]]:
    names = ("train/loss", "train/accuracy", "val/loss", "val/accuracy")
    return {name: [(e.epoch, e.as_metrics()[name]) for e in EPOCHS] for name in names}


def test_each_epoch_is_one_point_at_its_step_after_doubled_disordered_and_lost_live_events(
    home: Home,
) -> None:
    tracker = home.tracker(flush_seconds=0.02)
    tracker.open({})
    tracker.start(spec(0))
    for epoch in (1, 3, 1, 2, 3, 2, 5, 1):  # 4 is lost
        tracker.log_epoch(0, EPOCHS[epoch - 1])
        time.sleep(0.05)
    run_id = tracker.finish(complete(0))
    tracker.log_epoch(0, EPOCHS[0])
    tracker.close()
    points = home.points(run_id)
    assert {name: points[name] for name in expected_points()} == expected_points()


def test_live_epochs_and_params_are_visible_while_the_trial_trains(home: Home) -> None:
    tracker = home.tracker(flush_seconds=0.1)
    tracker.open({})
    tracker.start(spec(0))
    tracker.log_epoch(0, EPOCHS[0])
    assert wait_until(lambda: any(run.data.metrics for run in home.children()), 30)
    (run,) = home.children()
    assert run.data.metrics == EPOCHS[0].as_metrics()
    assert run.info.status == "RUNNING"
    assert run.data.tags["state"] == "RUNNING"
    assert run.data.params["units_1"] == "128"


def test_run_of_a_complete_trial_says_what_it_is(home: Home) -> None:
    run_id = home.recorded(7)
    (run,) = home.children()
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
        "mlflow.parentRunId": home.parent().info.run_id,
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
        "value": 0.65, "best_epoch": 5, "restored_train_accuracy": 0.75, "overfitting_gap": 0.1,
        "n_parameters": 1234, "train_seconds": 2.5,
    })  # fmt: skip
    assert home.read(run_id, "curves.png").startswith(b"\x89PNG")


def test_pruned_and_failed_trials_are_told_apart(home: Home) -> None:
    tracker = home.tracker()
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
    runs = {run.info.run_id: run for run in home.children()}
    assert runs[pruned_id].info.status == "KILLED"
    assert runs[pruned_id].data.tags["state"] == "PRUNED"
    assert runs[pruned_id].data.tags["pruned_at_epoch"] == "3"
    assert runs[failed_id].info.status == "FAILED"
    assert runs[failed_id].data.tags["state"] == "FAILED"
    assert runs[failed_id].data.tags["reason"] == "loss is not finite"
    assert runs[failed_id].data.tags["worker_lost"] == "true"
    assert home.read(failed_id, "failure.txt").decode().strip() == reason
    assert "value" not in runs[failed_id].data.metrics
    # Pruned trials have a model too, failed ones have none.
    assert [model.source_run_id for model in home.models()] == [pruned_id]


def test_values_that_are_not_finite_become_a_tag_and_no_metric(home: Home) -> None:
    tracker = home.tracker(flush_seconds=0.02)
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
    points = home.points(run_id)
    assert points["train/loss"] == [(1, EPOCHS[0].train_loss)]
    assert points["val/loss"] == [(1, EPOCHS[0].val_loss)]
    assert points["val/accuracy"] == [(1, EPOCHS[0].val_accuracy), (2, 0.1)]
    tags = home.client.get_run(run_id).data.tags
    assert tags["nonfinite"] == "train/loss at epoch 2: nan, val/loss at epoch 2: inf"
    # NaN equals NaN here: the live epoch was the result's, so the run stayed.
    assert len(home.runs(deleted=True)) == 2


def test_a_run_whose_live_epochs_are_not_the_results_is_replaced(home: Home) -> None:
    tracker = home.tracker(flush_seconds=0.02)
    tracker.open({})
    tracker.start(spec(0))
    tracker.log_epoch(0, replace(EPOCHS[0], val_loss=99.0))
    time.sleep(0.3)
    (first,) = home.children()
    assert first.data.metrics["val/loss"] == 99.0
    run_id = tracker.finish(complete(0))
    (run,) = home.children()
    assert run.info.run_id == run_id != first.info.run_id
    assert home.points(run_id)["val/loss"] == expected_points()["val/loss"]
    assert run.data.params["units_1"] == "128"


def test_parent_run_carries_data_set_and_provenance(home: Home) -> None:
    home.tracker().open({})
    parent = home.parent()
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
    names = home.files(parent.info.run_id, "provenance")
    (diff,) = [name for name in names if name.endswith(".diff")]
    assert home.read(parent.info.run_id, diff) == b"-old\n+new\n"
    record = json.loads(home.read(parent.info.run_id, "provenance/provenance.json"))
    assert record["packages"] == {"numpy": "2.0"}
    experiment_file = home.read(parent.info.run_id, "provenance/experiment.toml")
    assert experiment_file == b"name = 'x'\n"


def test_finishing_the_parent_twice_writes_its_numbers_once(home: Home) -> None:
    run_id = home.recorded()
    for _ in range(2):
        tracker = home.tracker()
        tracker.open({0: run_id})
        numbers = {"best_value": 0.65, "bad": float("nan")}
        tracker.finish_parent({"history": b"a picture"}, {"trials.csv": "a,b\n"}, numbers)
        tracker.close()
    parent = home.parent()
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["state"] == "COMPLETE"
    assert parent.data.tags["nonfinite"] == "bad: nan"
    assert home.points(parent.info.run_id) == {"best_value": [(1, 0.65)]}
    files = home.files(parent.info.run_id, "summary")
    assert files == {"summary/history.png", "summary/trials.csv"}


# What a kill may leave.

WRITES = (
    "create_run", "log_batch", "log_inputs", "create_logged_model", "finalize_logged_model",
    "log_outputs", "set_terminated",
)  # fmt: skip


class KillError(Exception):
    """Stands for the end of the driver before a write."""


def run_until_write(
    home: Home, monkeypatch: pytest.MonkeyPatch, n_writes: int | None, finished: dict[int, str]
) -> tuple[int, dict[int, str]]:
    """Record trial 1 and start trial 2, killed before a write; count the writes before it."""
    from mlflow import MlflowClient

    from mnist_study.tracking.store import RunStore

    count = 0

    def counted(write: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
        def before(*arguments: _Arguments.args, **options: _Arguments.kwargs) -> _Result:
            nonlocal count
            if count == n_writes:
                raise KillError
            count += 1
            return write(*arguments, **options)

        return before

    finished = dict(finished)
    with monkeypatch.context() as patch:
        for name in WRITES:
            patch.setattr(MlflowClient, name, counted(getattr(MlflowClient, name)))
        patch.setattr(RunStore, "upload_directory", counted(RunStore.upload_directory))
        tracker = home.tracker()
        try:
            tracker.open(finished)
            tracker.start(spec(1))
            tracker.start(spec(2))
            run_id = tracker.finish(complete(1))
            # Killed here is: ended in MLflow, and not yet in history.
            if count == n_writes:
                raise KillError
            finished[1] = run_id
            tracker.close()
        except KillError:
            # Ends the thread without a write, as the kill of its process would.
            tracker._writer.abort(lambda: None, 5)
    return count, finished


def test_after_a_kill_before_any_write_there_is_one_run_per_finished_trial_and_no_orphan(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = home.recorded(0)
    n_writes, finished = run_until_write(home, monkeypatch, None, {0: first})
    assert n_writes >= 11
    assert set(finished) == {0, 1}
    for kill_before in range(n_writes + 1):
        _, finished = run_until_write(home, monkeypatch, kill_before, {0: first})
        tracker = home.tracker()
        tracker.open(finished)
        runs = {run.info.run_id: run for run in home.children()}
        assert set(runs) == set(finished.values()), kill_before
        assert {int(run.data.tags["trial"]) for run in runs.values()} == set(finished)
        assert all(run.info.status == "FINISHED" for run in runs.values())
        assert sorted(str(model.source_run_id) for model in home.models()) == sorted(runs)
        assert home.parent().info.status == "RUNNING"
        tracker.abort()


def test_reconciling_twice_changes_nothing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    first = home.recorded(0)
    _, finished = run_until_write(home, monkeypatch, 9, {0: first})
    tracker = home.tracker()
    assert tracker.open(finished) != []
    listing = home.listing()
    assert tracker.open(finished) == []
    again = home.tracker()
    assert again.open(finished) == []
    assert home.listing() == listing


def test_a_model_whose_run_was_deleted_is_deleted(home: Home) -> None:
    run_id = home.recorded(0)
    home.client.delete_run(run_id)
    assert len(home.models()) == 1  # MLflow itself leaves it
    home.tracker().open({})
    assert home.models() == []


def test_a_duplicate_of_a_finished_trial_is_deleted(home: Home) -> None:
    run_id = home.recorded(0)
    tracker = home.tracker()
    tracker.open({0: run_id})
    tracker.start(spec(0))
    tracker.finish(complete(0))
    tracker.close()
    assert len(home.children()) == 2
    lines = home.tracker().open({0: run_id})
    assert [run.info.run_id for run in home.children()] == [run_id]
    assert [model.source_run_id for model in home.models()] == [run_id]
    assert len(lines) == 2


def test_a_registered_run_and_its_model_are_never_deleted(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    # MLflow's registry looks a model up in the process's own store, not in its client's.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", home.uri)
    run_id = home.recorded(0)
    (model,) = home.models()
    client = home.client
    client.create_registered_model("classifier")
    client.create_model_version("classifier", source=f"models:/{model.model_id}")
    (line,) = home.tracker().open({})
    assert run_id in line
    assert [found.model_id for found in home.models()] == [model.model_id]
    (run,) = home.children()
    assert run.info.run_id == run_id
    assert run.data.tags["state"] == "SUPERSEDED"
    assert home.tracker().open({}) == []


def test_records_of_one_name_in_a_shared_store_do_not_touch_each_others_runs(home: Home) -> None:
    """Two homes with a server in common, each of which begins the same study."""
    first, second = home.tracker(record="one"), home.tracker(record="other")
    first.open({})
    first.start(spec(0))
    run_ids = [first.finish(complete(0))]
    first.start(spec(1))
    assert second.open({}) == []
    second.start(spec(0))
    other_id = second.finish(complete(0))
    run_ids.append(first.finish(complete(1)))
    first.close()
    assert home.tracker(record="one").open(dict(enumerate(run_ids))) == []
    assert {m.source_run_id for m in home.models()} == {*run_ids, other_id}


def test_studies_of_one_experiment_do_not_touch_each_others_runs(home: Home) -> None:
    one, other = home.recorded(0, "one"), home.recorded(0, "other")
    home.tracker("one").open({})
    assert home.children("one") == []
    assert [run.info.run_id for run in home.children("other")] == [other] != [one]
    assert [model.source_run_id for model in home.models()] == [other]
    assert home.parent("one").info.run_id != home.parent("other").info.run_id


def test_the_deleted_run_of_a_finished_trial_is_restored(home: Home) -> None:
    run_id = home.recorded(0)
    home.client.delete_run(run_id)
    (line,) = home.tracker().open({0: run_id})
    assert "restored" in line
    assert [run.info.run_id for run in home.children()] == [run_id]
    assert len(home.models()) == 1


def test_a_run_that_history_knows_and_mlflow_does_not_is_reported(home: Home) -> None:
    (line,) = home.tracker().open({4: "no-such-run"})
    assert line.startswith("trial 4: its run no-such-run is missing")


def test_children_follow_when_their_parent_was_deleted(home: Home) -> None:
    run_id = home.recorded(0)
    home.client.delete_run(home.parent().info.run_id)
    (line,) = home.tracker().open({0: run_id})
    assert "linked" in line
    (run,) = home.children()
    assert run.data.tags["mlflow.parentRunId"] == home.parent().info.run_id


def test_abort_leaves_nothing_running_and_takes_under_two_seconds(home: Home) -> None:
    tracker = home.tracker()
    tracker.open({})
    for number in range(8):
        tracker.start(spec(number))
    tracker.finish(complete(0))
    started = time.perf_counter()
    assert tracker.abort() == []
    assert time.perf_counter() - started < 2
    statuses = {run.data.tags["trial"]: run.info.status for run in home.children()}
    assert statuses.pop("0") == "FINISHED"
    assert set(statuses.values()) == {"KILLED"}
    assert home.parent().info.status == "KILLED"
    assert home.parent().data.tags["state"] == "INTERRUPTED"


def test_busy_seconds_counts_the_writing_and_not_the_opening(home: Home) -> None:
    tracker = home.tracker()
    tracker.open({})
    assert tracker.busy_seconds == 0
    tracker.start(spec(0))
    tracker.finish(complete(0))
    assert 0.005 < tracker.busy_seconds < 5


# What the user can put right.


def test_a_file_that_is_no_database_is_refused_in_one_line_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    path.write_bytes(b"my diary " * 100)
    tracker = Home(f"sqlite:///{path}", str(tmp_path / "artifacts"), []).tracker()
    started = time.perf_counter()
    with pytest.raises(TrackingError, match="no SQLite database") as caught:
        tracker.open({})
    assert time.perf_counter() - started < 5
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == b"my diary " * 100
    assert sorted(tmp_path.iterdir()) == [path]


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("x")
    tracker = Home(f"sqlite:///{tmp_path}/home/mlflow.db", f"{tmp_path}/home", []).tracker()
    with pytest.raises(TrackingError, match="expected"):
        tracker.open({})


def test_a_server_that_does_not_answer_is_named(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(TrackingError, match=f"{uri} does not answer"):
            Home(uri, None, []).tracker().open({})


@contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """Serve the same bytes to whoever connects; yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):  # closed at the end
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.settimeout(1)
                        with suppress(OSError):
                            connection.recv(65536)
                            connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]


def test_a_server_of_something_else_is_refused_in_one_line() -> None:
    for answer, words in (
        (b"SSH-2.0-OpenSSH_9.6\r\n", "does not answer"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno", "refused"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi", "refused"),
    ):
        with answering(answer) as port, pytest.raises(TrackingError, match=words) as caught:
            Home(f"http://127.0.0.1:{port}", None, []).tracker().open({})
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("uri", ["http://localhost:50x", "http://name:secret@127.0.0.1:1"])
def test_an_address_that_cannot_be_asked_is_refused_without_its_password(uri: str) -> None:
    with pytest.raises(TrackingError, match="does not answer") as caught:
        Home(uri, None, []).tracker().open({})
    assert "secret" not in str(caught.value)


def test_a_moved_home_is_refused_instead_of_writing_to_the_old_place(
    home: Home, tmp_path: Path
) -> None:
    home.recorded()
    moved = Home(home.uri, str(tmp_path / "elsewhere"), [])
    with pytest.raises(TrackingError, match="keeps its files at"):
        moved.tracker().open({})


def test_a_write_that_fails_is_raised_by_the_call_that_waits_and_by_every_later_one(
    home: Home, tmp_path: Path
) -> None:
    tracker = home.tracker()
    tracker.open({})
    tracker.start(spec(0))
    shutil.rmtree(tmp_path / "artifacts")
    (tmp_path / "artifacts").write_text("in the way")
    with pytest.raises(TrackingError, match="found a file where a folder is expected"):
        tracker.finish(complete(0))
    with pytest.raises(TrackingError):
        tracker.start(spec(1))
    assert tracker.abort() == []
    (run,) = home.children()
    assert run.info.status == "KILLED"


def test_a_failed_write_that_nobody_waits_for_is_raised_by_the_next_call(home: Home) -> None:
    tracker = home.tracker()
    tracker.open({})
    tracker.start(spec(0))
    tracker.start(spec(0))
    with pytest.raises(ValueError, match="trial 0 is started twice"):
        tracker.close()


def test_a_database_is_created_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mlflow.db"

    def killed(self: Path, target: Path) -> None:
        raise KillError

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KillError):
            connect(f"sqlite:///{path}")
    assert not path.exists()
    assert connect(f"sqlite:///{path}").search_experiments() != []
    assert sorted(file.name for file in tmp_path.iterdir() if "-" not in file.name) == ["mlflow.db"]


# The model, TensorFlow and a server.


@pytest.mark.usefixtures("one_thread")
def test_the_model_loads_as_keras_and_as_pyfunc_and_predicts_the_same(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras
    import mlflow.keras
    import numpy as np

    network = keras.Sequential([
        keras.Input((28, 28)), keras.layers.Flatten(), keras.layers.Dense(10, activation="softmax"),
    ])  # fmt: skip
    network.save(tmp_path / "model.keras")
    content = (tmp_path / "model.keras").read_bytes()
    tracker = home.tracker()
    tracker.open({})
    tracker.start(spec(0))
    run_id = tracker.finish(replace(complete(0), model_keras=content))

    (model,) = home.models()
    assert model.source_run_id == run_id
    assert str(model.status) == "READY"
    assert model.params["units_1"] == "128"
    assert model.tags["weights_sha256"] == "e" * 64
    outputs = home.client.get_run(run_id).outputs
    assert outputs is not None
    (output,) = outputs.model_outputs
    assert output.model_id == model.model_id
    monkeypatch.setenv("MLFLOW_TRACKING_URI", home.uri)
    images = np.random.default_rng(0).random((3, 28, 28), np.float32)
    expected = network.predict(images, verbose=0)
    uri = f"models:/{model.model_id}"
    assert np.array_equal(mlflow.keras.load_model(uri).predict(images, verbose=0), expected)
    pyfunc = mlflow.pyfunc.load_model(uri)
    assert np.array_equal(pyfunc.predict(images), expected)
    (column,) = pyfunc.metadata.signature.inputs.to_dict()
    assert column["tensor-spec"] == {"dtype": "float32", "shape": (-1, 28, 28)}
    requirements = Path(model.artifact_location.removeprefix("file://"), "requirements.txt")
    assert f"keras=={keras.__version__}" in requirements.read_text().split()


def test_neither_tensorflow_nor_keras_is_imported_and_nothing_is_printed(home: Home) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_tracking import Home
Home({home.uri!r}, {home.artifact_root!r}, []).recorded()
print(sorted({{"tensorflow", "keras"}} & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert (done.stdout, done.stderr.strip()) == ("", "[]")


@pytest.mark.slow
def test_everything_works_over_a_server_with_proxied_artifacts(
    server: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Home(server, None, [])
    first = home.recorded(0)
    (run,) = home.children()
    assert (run.info.run_id, run.info.status) == (first, "FINISHED")
    points = home.points(first)
    assert {name: points[name] for name in expected_points()} == expected_points()
    assert home.read(first, "curves.png").startswith(b"\x89PNG")
    (model,) = home.models()
    assert model.artifact_location.startswith("mlflow-artifacts:")
    run_until_write(home, monkeypatch, 9, {0: first})
    tracker = home.tracker()
    assert tracker.open({0: first}) != []
    assert [found.info.run_id for found in home.children()] == [first]
    assert [found.model_id for found in home.models()] == [model.model_id]
    tracker.start(spec(1))
    tracker.start(spec(2))
    tracker.finish(complete(2))
    assert tracker.abort() == []
    statuses = {found.data.tags["trial"]: found.info.status for found in home.children()}
    assert statuses == {"0": "FINISHED", "1": "KILLED", "2": "FINISHED"}
    assert capsys.readouterr().out == ""


# Provenance.


def test_git_state_names_commit_and_every_difference(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=n", "-c", "user.email=e@example.org")
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True)

    assert git_state(tmp_path) == (None, "")
    git("init", "-q")
    assert git_state(tmp_path) == (None, "")
    (tmp_path / "code.py").write_text("a = 1\n")
    git("add", ".")
    git("commit", "-qm", "first")
    commit, diff = git_state(tmp_path)
    assert (len(commit or ""), diff) == (40, "")
    (tmp_path / "code.py").write_text("a = 2\n")
    (tmp_path / "new.py").write_text("")
    again, diff = git_state(tmp_path)
    assert again == commit
    assert "# untracked: new.py" in diff
    assert "+a = 2" in diff
