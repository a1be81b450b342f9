"""A record that cannot be written for a while: the training goes on, and nothing trained is lost.

The trials are made up, and so are the workers and MLflow; `test_outage.py` has real ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import cast

import pytest
from synthetic_study import SEARCH, fake_trial, fold
from tracked_home import complete, spec

from mnist_study.bench.real_study import Unwatched
from mnist_study.core.config import ExperimentConfig
from mnist_study.core.identity import StudyIdentity
from mnist_study.core.readouts import Readout
from mnist_study.core.trials import TrialResult, TrialSpec, TrialState, digest
from mnist_study.execution import kept_results
from mnist_study.execution.cluster import Event, ResultEvent, TrialCluster
from mnist_study.execution.kept_results import KeptResults, Trained
from mnist_study.execution.loop import run_plan
from mnist_study.search.history import History
from mnist_study.search.plan import SearchPlan
from mnist_study.tracking.tracker import Tracker, TrackingError

N_TRIALS = 14
MOMENT = datetime(2026, 1, 2, 3, 4, 5)


@dataclass
class Workers:
    """Train what they are given at once, the latest first."""

    n_slots: int = 2
    running: list[TrialSpec] = field(default_factory=list)
    trained: list[int] = field(default_factory=list)

    @property
    def n_running(self) -> int:
        return len(self.running)

    def submit(self, given: TrialSpec) -> None:
        self.running.append(given)

    def events(self, timeout_seconds: float) -> Iterator[Event]:
        if self.running:
            given = self.running.pop()
            self.trained.append(given.number)
            yield ResultEvent(fake_trial(given))


@dataclass
class Away:
    """MLflow, which takes no result but some first ones until it was asked so many times."""

    n_asked: int
    n_first: int = 2
    gives_up: bool = False
    recorded: list[int] = field(default_factory=list)

    def start(self, given: TrialSpec) -> None:
        pass

    def finish_within(self, result: TrialResult, seconds: float) -> str | None:
        if len(self.recorded) >= self.n_first:
            self.n_asked -= 1
            if self.n_asked >= 0:
                return None
            if self.gives_up:
                raise TrackingError("MLflow: the server does not answer")
        self.recorded.append(result.number)
        return f"run-{result.number}"


class Notices(Unwatched):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def notice(self, text: str) -> None:
        self.texts.append(text)


@dataclass
class Study:
    """A study in a home, worked on by one driver after the other."""

    url: str
    folder: Path
    experiment: ExperimentConfig = SEARCH
    notices: Notices = field(default_factory=Notices)

    def drive(self, workers: Workers, mlflow: Away) -> History:
        history = History.open(self.url, self.experiment.name)
        history.check_identity(identity(), allow_mixed=False)
        kept = KeptResults(self.folder, identity(), len(history.results))
        run_plan(
            SearchPlan(self.experiment), history, cast(TrialCluster, workers),
            cast(Tracker, mlflow), self.notices, kept=kept,
        )  # fmt: skip
        return history


def identity(content_hash: str = "ab" * 32) -> StudyIdentity:
    return StudyIdentity.of(SEARCH, "digits", content_hash)


@pytest.fixture
def study(stores: Callable[[], str], tmp_path: Path) -> Study:
    return Study(stores(), tmp_path / "unrecorded-x")


@pytest.fixture(scope="module")
def wanted() -> str:
    return digest(fold(SEARCH, N_TRIALS)[1])


def test_training_goes_on_while_the_record_cannot_be_written(study: Study, wanted: str) -> None:
    workers = Workers()
    seen: list[int] = []

    class Back(Away):
        def finish_within(self, result: TrialResult, seconds: float) -> str | None:
            if result.number == 2:
                seen.append(len(workers.trained))
            return super().finish_within(result, seconds)

    mlflow = Back(n_asked=40)
    history = study.drive(workers, mlflow)
    assert seen[0] < 6
    assert seen[-1] == N_TRIALS  # all were trained before the third could be recorded
    assert mlflow.recorded == list(range(N_TRIALS))
    assert digest(history.results) == wanted
    assert not study.folder.exists()


@pytest.mark.parametrize("n_asked", [1, 5, 9, 20])
def test_driver_that_gives_up_trains_nothing_twice(study: Study, wanted: str, n_asked: int) -> None:
    first, second = Workers(), Workers()
    with pytest.raises(TrackingError):
        study.drive(first, Away(n_asked, gives_up=True))
    n_kept = len(list(study.folder.iterdir()))
    assert f"{n_kept} trained trials that MLflow does not hold yet" in study.notices.texts[-1]
    history = study.drive(second, Away(0))
    assert digest(history.results) == wanted
    assert sorted(first.trained + second.trained) == list(range(N_TRIALS))
    assert not study.folder.exists()


def test_trial_of_other_settings_and_damaged_files_are_trained_again(
    study: Study, wanted: str
) -> None:
    with pytest.raises(TrackingError):
        study.drive(Workers(), Away(30, gives_up=True))
    paths = sorted(study.folder.glob("*.result"))
    assert len(paths) == N_TRIALS - 2
    content = paths[0].read_bytes()
    paths[0].write_bytes(content[:-1])
    paths[1].write_bytes(content)  # of another trial
    paths[2].write_bytes(b"")
    changed = bytearray(paths[3].read_bytes())
    changed[100] ^= 1
    paths[3].write_bytes(changed)
    (study.folder / "000007.part-12").write_bytes(b"half")
    workers = Workers()
    history = study.drive(workers, Away(0))
    assert sorted(workers.trained) == [int(path.stem) for path in paths[:4]]
    assert digest(history.results) == wanted
    assert not study.folder.exists()


def test_results_of_another_identity_are_not_taken(tmp_path: Path) -> None:
    kept = KeptResults(tmp_path / "x", identity(), 0)
    kept.keep(Trained(spec(3), complete(3), MOMENT, MOMENT))
    for other in (identity("cd" * 32), identity()):
        found = KeptResults(tmp_path / "x", other, 0)
        assert len(found) == (other != identity() or 0)
        assert found.take(spec(3)) is None  # the first of them removes it
    assert not (tmp_path / "x").exists()


def test_no_more_is_kept_than_there_is_room_for(
    study: Study, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_results, "MAX_RESULTS", 3)
    workers = Workers()
    with pytest.raises(TrackingError):
        study.drive(workers, Away(40, gives_up=True))
    # Those that were training when the third was kept are kept too.
    assert 3 <= len(list(study.folder.iterdir())) <= 3 + workers.n_slots
    monkeypatch.setattr(kept_results, "MAX_BYTES", 10)
    assert digest(study.drive(workers, Away(40)).results) == wanted


def test_full_disk_lets_the_trials_wait_and_loses_none(
    study: Study, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    workers = Workers()
    history = study.drive(workers, Away(20))
    assert digest(history.results) == wanted
    assert sorted(workers.trained) == list(range(N_TRIALS))
    told = [text for text in study.notices.texts if "No space left on device" in text]
    assert len(told) == 1
    assert "no further trial begins" in told[0]


def test_faults_of_the_surroundings_are_not_kept(study: Study) -> None:
    class Faulty(Workers):
        def events(self, timeout_seconds: float) -> Iterator[Event]:
            for event in super().events(timeout_seconds):
                assert isinstance(event, ResultEvent)
                result = event.result
                if result.number == 4:
                    failed = TrialResult(4, result.params, TrialState.FAILED, reason="OSError: x")
                    result = failed
                yield ResultEvent(result)

    with suppress(TrackingError):
        study.drive(Faulty(), Away(30, gives_up=True))
    assert "000003.result" in {path.name for path in study.folder.iterdir()}
    assert "000004.result" not in {path.name for path in study.folder.iterdir()}


def test_kept_result_is_the_same_to_the_last_bit(tmp_path: Path) -> None:
    result = complete(5)
    odd = [replace(result.epochs[0], val_loss=x) for x in (math.inf, -0.0, 0.1 + 0.2)]
    readout = Readout("end", 5, 5, "f" * 64, 0.9, 0.1, 0.8, 0.2, 0.03, "AAAA", 0.7, 0.3, (1.0, 2.5))
    result = replace(
        result,
        epochs=tuple(odd),
        value=0.1 + 0.7,
        system_attrs={"completed_rung_0": 0.1 + 0.2},
        model_keras=bytes(range(256)) + b"\n",
        readouts=(readout,),
        test_metrics={"test/accuracy": 1 / 3},
    )
    ended = datetime(2026, 1, 2, 3, 4, 6, 789)
    KeptResults(tmp_path / "x", identity(), 0).keep(Trained(spec(5), result, MOMENT, ended))
    again = KeptResults(tmp_path / "x", identity(), 5)
    taken = again.take(spec(5))
    assert taken == Trained(spec(5), result, MOMENT, ended)
    assert again.take(replace(spec(5), keeps_model=False)) is None


def test_results_that_are_recorded_are_removed(tmp_path: Path) -> None:
    kept = KeptResults(tmp_path / "x", identity(), 0)
    for number in range(3):
        kept.keep(Trained(spec(number), complete(number), MOMENT, MOMENT))
    kept = KeptResults(tmp_path / "x", identity(), 2)
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["000002.result"]
    KeptResults(tmp_path / "x", identity(), 3)
    assert not (tmp_path / "x").exists()
    assert 2 in kept
