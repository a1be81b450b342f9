"""Lost workers: what is blamed on a trial, and when it is no use to go on. Without any Dask."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tracked_home import spec

from mnist_study.core.trials import TrialState
from mnist_study.data.dataset import TrainingSet
from mnist_study.execution import cluster as cluster_module
from mnist_study.execution.cluster import EpochEvent, NoticeEvent, ResultEvent, TrialCluster
from mnist_study.execution.scheduler import ClusterError

WORKER = "tcp://worker"


class Pending:
    """The future of an attempt that never ends by itself."""

    def __init__(self, key: str) -> None:
        self.key = key

    def add_done_callback(self, _: Callable[[object], None]) -> None:
        pass


class FakeClient:
    """A scheduler with a worker, whose events the test makes up."""

    def __init__(self) -> None:
        self.handlers: dict[str, Callable[[Any], None]] = {}
        self.futures: list[Pending] = []
        self.errors: list[Exception] = []

    def subscribe_topic(self, topic: str, handler: Callable[[Any], None]) -> None:
        self.handlers["all" if topic == "all" else "message"] = handler

    def register_plugin(self, _: object) -> None:
        if self.errors:
            raise self.errors.pop()

    def nthreads(self) -> dict[str, int]:
        return {WORKER: 1}

    def submit(self, *_: object, key: str, **__: object) -> Pending:
        self.futures.append(Pending(key))
        return self.futures[-1]

    def cancel(self, *_: object, **__: object) -> None:
        pass

    def close(self) -> None:
        pass


class Lost:
    """A cluster with one trial, whose worker is lost in one way or another."""

    def __init__(self, cluster: TrialCluster, client: FakeClient) -> None:
        self.cluster, self.client = cluster, client
        cluster.submit(spec(0))

    def _message(self, **content: object) -> None:
        attempt = self.client.futures[-1].key
        self.client.handlers["message"]((0.0, {"number": 0, "attempt": attempt, **content}))

    def lose(self, *, begun: bool, epoch: bool = False, closed: bool = False) -> list[Any]:
        if begun:
            self._message(worker=WORKER)
        if epoch:
            self._message(epoch=(1, 0.5, 0.5, 0.5, 0.5))
        lost = {
            "action": "remove-worker",
            "worker": WORKER,
            "processing-tasks": [self.client.futures[-1].key],
            "lost-computed-tasks": [],
            "expected": closed,
        }
        self.client.handlers["all"]((0.0, lost))
        return [event for event in self.cluster.events(0.1) if not isinstance(event, EpochEvent)]


@pytest.fixture
def lost(digits: TrainingSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lost]:
    client = FakeClient()
    monkeypatch.setattr(cluster_module, "connect", lambda _: client)
    cluster = TrialCluster(
        digits, identity=None, n_workers=1, address="tcp://x", log_path=tmp_path / "workers.log"
    )
    yield Lost(cluster, client)
    cluster.stop()


def test_deaths_before_the_trial_has_begun_are_not_counted_against_it(lost: Lost) -> None:
    for _ in range(3):
        (event,) = lost.lose(begun=False)
        assert isinstance(event, NoticeEvent)
        assert "trial 0 is run again" in event.text
    for _ in range(6):
        (event,) = lost.lose(begun=True)
        assert isinstance(event, NoticeEvent)
    (event,) = lost.lose(begun=True)
    assert isinstance(event, ResultEvent)
    assert event.result.state is TrialState.FAILED
    assert event.result.lost_worker
    assert event.result.is_fault


def test_workers_that_die_one_after_the_other_stop_the_study(lost: Lost) -> None:
    for _ in range(10):
        lost.lose(begun=False)
    with pytest.raises(ClusterError, match=r"10 of them died one after the other.*nothing of this"):
        lost.lose(begun=False)


def test_an_epoch_between_deaths_shows_that_workers_are_of_use(lost: Lost) -> None:
    for _ in range(4):
        for _ in range(5):
            lost.lose(begun=False)
        (event,) = lost.lose(begun=True, epoch=True)
        assert isinstance(event, NoticeEvent)


def test_a_worker_that_is_closed_at_the_end_of_its_lifetime_is_not_blamed_on_its_trial(
    lost: Lost,
) -> None:
    for _ in range(9):
        (event,) = lost.lose(begun=True, closed=True)
        assert isinstance(event, NoticeEvent)
        assert "was closed; trial 0 is run again" in event.text


def test_lifetimes_shorter_than_a_trial_end_the_study_and_not_the_trial(lost: Lost) -> None:
    for _ in range(9):
        lost.lose(begun=True, epoch=True, closed=True)
    with pytest.raises(ClusterError, match=r"trial 0: 10 workers were closed.*longer lifetime"):
        lost.lose(begun=True, epoch=True, closed=True)


def test_a_trial_that_never_ends_though_it_gets_through_epochs_is_no_result(lost: Lost) -> None:
    for _ in range(49):
        lost.lose(begun=True, epoch=True)
    with pytest.raises(ClusterError, match="trial 0: 50 workers died before they had finished"):
        lost.lose(begun=True, epoch=True)


class FakeWorkers:
    """Local workers, of which a new process takes the place of each that dies."""

    def __init__(self, starts: list[Exception | None], seen: list[FakeWorkers]) -> None:
        error = starts.pop(0)
        if error is not None:
            raise error
        self.cluster = SimpleNamespace()
        self.pids = [1]
        self.is_stopped = False
        seen.append(self)

    def replace_lost(self) -> None:
        self.pids = [self.pids[0] + 1]

    def stop(self, _: object) -> None:
        self.is_stopped = True


def local_cluster(
    digits: TrainingSet,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    starts: list[Exception | None],
    client: FakeClient,
) -> tuple[TrialCluster, list[FakeWorkers]]:
    seen: list[FakeWorkers] = []
    monkeypatch.setattr(cluster_module, "LocalWorkers", lambda _: FakeWorkers(starts, seen))
    monkeypatch.setattr(cluster_module, "connect", lambda _: client)
    cluster = TrialCluster(
        digits, identity=None, n_workers=1, address=None, log_path=folder / "workers.log"
    )
    return cluster, seen


def test_workers_that_die_while_they_start_are_started_again(
    digits: TrainingSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = FakeClient()
    client.errors = [OSError("the worker is gone")]
    starts: list[Exception | None] = [RuntimeError("Nanny failed to start"), None, None]
    cluster, seen = local_cluster(digits, tmp_path, monkeypatch, starts, client)
    assert [workers.is_stopped for workers in seen] == [True, False]
    cluster.stop()


def test_local_workers_that_die_before_they_join_stop_the_study(
    digits: TrainingSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster, _ = local_cluster(digits, tmp_path, monkeypatch, [None], FakeClient())
    cluster.submit(spec(0))
    for _ in range(10):
        assert list(cluster.events(0)) == []
    with pytest.raises(ClusterError, match="the local workers: 10 of them died"):
        list(cluster.events(0))
    cluster.stop()


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (MemoryError("3 GB"), "its memory does not suffice"),
        (OSError(12, "Cannot allocate memory"), "its memory does not suffice"),
        (ModuleNotFoundError("No module named 'mnist_study'"), "install it there"),
        (OSError("in <TLS (closed) local=tls://1>: Stream is closed"), "look for what kills them"),
        (ValueError("what"), "look into their log"),
    ],
)
def test_an_error_of_a_worker_names_its_cause(
    digits: TrainingSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    advice: str,
) -> None:
    client = FakeClient()
    client.errors = [error] * 3
    with pytest.raises(ClusterError, match=advice):
        local_cluster(digits, tmp_path, monkeypatch, [None] * 3, client)
