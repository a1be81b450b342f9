"""Fixtures that several test files share."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from command_line import Finished, contents, study, written
from kills_study import EXPERIMENT, N_TRIALS, check
from study_process import StudyHome
from training_runs import first_rows

from mnist_study.data.dataset import (
    Splits,
    TestSet,
    TrainingSet,
    load_test_set,
    load_training_set,
    split,
)
from mnist_study.tracking.connection import MLFLOW_DEFAULTS

if TYPE_CHECKING:
    from tracked_home import TrackedHome

# A shell's background job ignores SIGINT, and so would all that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# nohup's children ignore a closed terminal, and so would all that the tests start.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Machines are shared: a slow moment is no failure.
hypothesis.settings.register_profile("shared machine", deadline=None)
hypothesis.settings.load_profile("shared machine")

# Read at import: some tests hide the variable from the code under test.
REAL_MNIST = os.environ.get("MNIST_STUDY_DATA")


def _settings() -> dict[str, str]:
    ours = ("MLFLOW_", "MNIST_STUDY_", "OPTUNA_")
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith(ours) and name not in MLFLOW_DEFAULTS
    }


@pytest.fixture(autouse=True)
def settings_left_as_they_were() -> Iterator[None]:
    """Fail a test that leaves the next ones another store; MLflow writes its address there."""
    before = _settings()
    yield
    assert _settings() == before


@pytest.fixture(scope="session")
def mnist_training_set() -> TrainingSet:
    """The training images of real MNIST, named by the environment; nothing is downloaded."""
    if not REAL_MNIST:
        pytest.skip("MNIST is not in reach: MNIST_STUDY_DATA names no folder or file with it")
    return load_training_set("mnist", Path(REAL_MNIST))


@pytest.fixture(scope="session")
def digits() -> TrainingSet:
    """The training images of the stand-in, which is always there."""
    return load_training_set("digits")


@pytest.fixture(scope="session")
def digits_test() -> TestSet:
    """The test images of the stand-in."""
    return load_test_set("digits")


@pytest.fixture(scope="session")
def some_rows(digits: TrainingSet) -> Splits:
    """1,000 training rows, so that batches of 32 end with a short one; 437 validation rows."""
    return first_rows(split(digits, validation_size=437, split_seed=0), 1000)


@pytest.fixture(scope="session")
def one_thread() -> None:
    """TensorFlow limited to one thread, as in every worker; to be asked for before it is used."""
    from mnist_study.training.process import limit_threads

    limit_threads()


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], str]:
    """Hands out the address of one fresh, empty Optuna storage after the other."""
    import optuna

    folder = tmp_path_factory.mktemp("stores")
    template = folder / "template.db"
    optuna.storages.RDBStorage(f"sqlite:///{template}").engine.dispose()
    names = iter(range(10_000))

    def fresh() -> str:
        path = folder / f"{next(names)}.db"
        path.write_bytes(template.read_bytes())
        return f"sqlite:///{path}"

    return fresh


@pytest.fixture(scope="session")
def empty_mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's SQLite file before any study; creating it takes seconds."""
    from mnist_study.tracking.connection import connect

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    connect(f"sqlite:///{path}")
    return path


@pytest.fixture
def tracked(
    tmp_path: Path, empty_mlflow_database: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TrackedHome]:
    """An empty home to record a study of made-up trials in."""
    from tracked_home import TrackedHome

    from mnist_study.core.home import Home

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(empty_mlflow_database, tmp_path / "mlflow.db")
    tracked = TrackedHome(Home(tmp_path))
    yield tracked
    for tracker in tracked.trackers:
        tracker.abort()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of a real MLflow server with proxied artifacts."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
        "--workers", "1", "--backend-store-uri", f"sqlite:///{tmp_path}/server.db",
        "--artifacts-destination", str(tmp_path / "served"), "--serve-artifacts",
    ]  # fmt: skip
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path)
    uri = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(uri + "/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        else:
            pytest.fail((tmp_path / "server.log").read_text())
        yield uri
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="session")
def kills_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The experiment file of the study that is killed and resumed."""
    path = tmp_path_factory.mktemp("experiment") / "kills.toml"
    path.write_text(EXPERIMENT)
    return path


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, kills_file: Path) -> str:
    """The digest of that study without an interruption."""
    home = StudyHome(tmp_path_factory.mktemp("uninterrupted"), kills_file)
    document = home.finish("--workers", "2")
    assert document["n_trials"] == N_TRIALS
    check(home, str(document["digest"]))
    trials = (home.path / "reports" / "kills-digits" / "trials.csv").read_text()
    assert "PRUNED" in trials  # otherwise no test of this study says anything about the pruner
    return str(document["digest"])


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The experiment file of a study of three tiny trials on the stand-in."""
    return written(tmp_path_factory.mktemp("file"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_file: Path) -> Finished:
    """The study of `tiny_file`, run to its end by the command line; tests leave it as it is."""
    home = tmp_path_factory.mktemp("finished")
    ended = study(tiny_file, home, "--json")
    assert ended.status == 0, ended
    return Finished(home, ended)


@pytest.fixture
def unchanged(finished: Finished) -> Iterator[Path]:
    """The home of the finished study; whatever the test does must leave every byte of it."""
    before = contents(finished.home)
    assert {"mlflow.db", "optuna.db"} < before.keys()
    yield finished.home
    assert contents(finished.home) == before
