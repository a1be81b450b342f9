"""Bad input: every command ends in one line that says what was found, expected and to be done."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from command_line import (
    REPOSITORY,
    contents,
    needs_mounts,
    read,
    refused,
    run,
    study,
    study_on_a_mount,
    written,
)

from mnist_study.core.config import ConfigError, load_experiment
from mnist_study.core.errors import UserFacingError
from mnist_study.core.identity import StudyIdentity
from mnist_study.data.dataset import TrainingSet
from mnist_study.execution import cluster
from mnist_study.execution.cluster import TrialCluster
from mnist_study.execution.scheduler import ClusterError
from mnist_study.experiments.confirmation import study_to_confirm
from mnist_study.search.history import History

ON_DIGITS = ("--dataset", "digits")

# Bad input: an experiment file.


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("epochs = 1\n", "epochs = 1\nrounds = 3\n", "training.rounds: unknown key"),
        ("epochs = 1\n", 'epochs = "one"\n', "training.epochs: found 'one', expected a valid int"),
        ("high = 0.6", "high = 0.0", "low must be below high, got low 0.0 and high 0.0"),
        ("low = 0.0", "low = 0.7", "low must be below high, got low 0.7 and high 0.6"),
        ("dropout_2 = 0.2", "dropout_2 = -0.2", "found -0.2, expected greater than or equal to 0"),
        ("n_trials = 3", "n_trials = 0", "study.n_trials: found 0, expected greater than or eq"),
        ("n_trials = 3", "n_trials = ", "not valid TOML: Invalid value (at line 19, column 12)"),
        ('kind = "random"', 'kind = "qmc"', "sampler 'qmc' is not supported: it keeps state in"),
        ("dropout_1 = 0.3", "dropout_1 = 0.7", "baseline.dropout_1 = 0.7 lies outside study.sp"),
        ("validation_size = 287", "validation_size = 1437", "found 1437, expected 1 to 1436 of"),
        ('kind = "none"', 'kind = "median", options = { patience = 3 }', "study.pruner: options "),
        ('kind = "none"', 'kind = "hyperband", options = { min_resource = "x" }', "do not fit th"),
        ('kind = "none"', 'kind = "hyperband", options = { min_resource = 0 }', "division by zero"),
    ],
)
def test_a_bad_experiment_file_is_refused_and_no_home_appears(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    path = written(tmp_path)
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    error = refused("study", path, *ON_DIGITS, "--home", tmp_path / "home")
    assert error.startswith(f"{path}: ")
    assert expected in error
    assert not (tmp_path / "home").exists()


def test_a_bad_experiment_file_leaves_an_existing_home_as_it_is(
    tmp_path: Path, unchanged: Path
) -> None:
    path = written(tmp_path)
    path.write_text(path.read_text().replace("validation_size = 287", "validation_size = 1437"))
    error = study(path, unchanged).error
    assert error.startswith(f"error: {path}: ")
    assert "expected 1 to 1436" in error


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "no such experiment file"),
        (b"\xff\xfe", "cannot be read as a text file"),
        (b"", "name: missing; this key is required (and 3 more)"),
    ],
)
def test_a_file_that_is_no_experiment_is_refused(
    tmp_path: Path, content: bytes | None, expected: str
) -> None:
    path = tmp_path / "some.toml"
    if content is not None:
        path.write_bytes(content)
    assert f"{path}: {expected}" in refused("study", path, *ON_DIGITS, "--home", tmp_path / "home")


def test_a_file_without_a_study_is_refused(tmp_path: Path, tiny_file: Path) -> None:
    path = tmp_path / "baseline.toml"
    path.write_text(tiny_file.read_text().partition("[study]")[0])
    error = refused("study", path, *ON_DIGITS, "--home", tmp_path / "home")
    assert error.startswith(f"{path}: no [study] table")


# Bad input: a home.


@pytest.mark.parametrize("command", ["status", "digest", "report", "ui", "audit"])
def test_a_home_without_a_study_is_refused_and_not_created(tmp_path: Path, command: str) -> None:
    home = tmp_path / "home"
    with pytest.raises(UserFacingError, match="run `mnist-study study` first") as caught:
        read(command, "--home", home)
    assert str(home) in str(caught.value)
    assert not home.exists()


def test_a_home_that_is_a_file_is_refused(tmp_path: Path, tiny_file: Path) -> None:
    home = tmp_path / "home"
    home.write_text("mine")
    assert f"{home}: cannot be used as home (it is a file)" in study(tiny_file, home).error
    assert home.read_text() == "mine"
    assert "Not a directory" in study(tiny_file, home / "below").error


@needs_mounts
def test_a_read_only_home_is_refused(unchanged: Path, tiny_file: Path) -> None:
    prepare = f"mount --bind '{unchanged}' '{unchanged}' && mount -o remount,ro,bind '{unchanged}'"
    error = study_on_a_mount(prepare, tiny_file, unchanged, "--trials", "9").error
    assert f"{unchanged}: cannot be used as home (Read-only file system)" in error


@needs_mounts
@pytest.mark.parametrize("left", [0, 60, 400])
def test_a_full_home_is_refused(tmp_path: Path, tiny_file: Path, left: int) -> None:
    """With nothing left at all, and with too little for Optuna's and for MLflow's store."""
    home = tmp_path / "home"
    home.mkdir()
    prepare = (
        f"mount -t tmpfs -o size=1m none '{home}' && "
        f"head -c {(1024 - left) * 1024} /dev/zero > '{home}/other'"
    )
    error = study_on_a_mount(prepare, tiny_file, home).error
    assert "space left" in error
    assert str(home) in error


@needs_mounts
def test_a_temporary_folder_without_room_for_a_trials_files_is_refused(
    tmp_path: Path, tiny_file: Path
) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    prepare = f"mount -t tmpfs -o size=1m none '{folder}' && export TMPDIR='{folder}'"
    error = study_on_a_mount(prepare, tiny_file, tmp_path / "home").error
    assert f"{folder}: no temporary file can be written there (No space left" in error
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("name", ["optuna.db", "mlflow.db"])
def test_a_database_that_is_none_is_refused(tmp_path: Path, tiny_file: Path, name: str) -> None:
    (tmp_path / name).write_text("this is no database, but long enough to be read as one" * 100)
    before = contents(tmp_path)
    error = study(tiny_file, tmp_path).error
    assert str(tmp_path / name) in error
    assert "database" in error
    assert contents(tmp_path) | {".lock": ""} == before | {".lock": ""}
    assert "copy" in error or "move it away" in error
    if name == "optuna.db":
        assert "cannot be read" in run("status", "--home", tmp_path).error
        for command in ("digest", "report"):
            with pytest.raises(UserFacingError, match="cannot be read"):
                read(command, "--home", tmp_path)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("optuna.db", "found something that is no database address that can be used"),
        ("postgresql://me:secret@host:port/name", "no database address that can be used"),
        ("nosql://me:secret@host/name", "found nosql://me:***@host/name that is no database"),
        ("mysql://me:secret@host/name", "found mysql://me:***@host/name that is no database"),
    ],
)
def test_an_address_of_a_storage_that_is_none_is_refused_and_hides_its_password(
    tmp_path: Path, tiny_file: Path, address: str, expected: str
) -> None:
    for command in (("study", tiny_file, *ON_DIGITS), ("status",), ("digest",), ("audit",)):
        error = refused(*command, "--home", tmp_path, MNIST_STUDY_STORAGE=address)
        assert "MNIST_STUDY_STORAGE: " in error
        assert expected in error
        assert "secret" not in error


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("mlflow.db", "MLflow: mlflow.db is no store that can be used"),
        ("nosql://host/name", "MLflow: nosql://host/name is no store that can be used"),
        ("sqlite://mlflow.db", "MLflow: sqlite://mlflow.db is no store that can be used"),
        ("mysql://me:secret@host/name", "MLflow: mysql://me:***@host/name is no store that"),
    ],
)
def test_an_address_of_an_mlflow_store_that_is_none_is_refused_and_hides_its_password(
    tmp_path: Path,
    tiny_file: Path,
    address: str,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ("study", tiny_file, *ON_DIGITS, "--home", tmp_path)
    error = refused(*command, MLFLOW_TRACKING_URI=address)
    assert expected in error
    assert "correct MLFLOW_TRACKING_URI" in error
    assert "secret" not in error


# Bad input: data, cluster, identity.


def test_a_corrupt_data_file_is_refused(tmp_path: Path, tiny_file: Path) -> None:
    (tmp_path / "mnist.npz").write_bytes(b"PK\x03\x04 and then nothing of use")
    home = tmp_path / "home"
    error = refused("study", tiny_file, "--dataset", "mnist", "--data", tmp_path, "--home", home)
    assert "mnist.npz" in error
    assert not home.exists()


def test_mnist_out_of_reach_is_told(tmp_path: Path, tiny_file: Path) -> None:
    home = tmp_path / "home"
    ended = run("study", tiny_file, "--dataset", "mnist", "--home", home, KERAS_HOME=str(tmp_path))
    assert "MNIST is not in reach: found no MNIST_STUDY_DATA" in ended.error
    assert "--data" in ended.error
    assert not home.exists()


def test_confirm_takes_the_study_that_was_made_on_the_data_at_hand(
    tmp_path: Path, digits: TrainingSet
) -> None:
    experiment = load_experiment(REPOSITORY / "experiments" / "smoke.toml")
    url, histories = f"sqlite:///{tmp_path / 'optuna.db'}", []
    for name, content_hash in (("smoke", digits.content_hash), ("real", "ab" * 32)):
        history = History.open(url, name)
        history.check_identity(
            StudyIdentity.of(experiment, "digits", content_hash), allow_mixed=False
        )
        histories.append(history)
    assert study_to_confirm(histories, digits, tmp_path).name == "smoke"
    # On other data it is named with both hashes by who is to confirm it.
    assert study_to_confirm(histories[1:], digits, tmp_path).name == "real"
    with pytest.raises(ConfigError, match=r"holds 2 studies \(smoke, smoke\)"):
        study_to_confirm([histories[0]] * 2, digits, tmp_path)
    with pytest.raises(ConfigError, match=r"holds 0 studies \(none\)"):
        study_to_confirm([], digits, tmp_path)


def test_workers_that_do_not_come_up_are_told_in_one_line(
    tmp_path: Path, digits: TrainingSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("Nanny failed to start.")

    monkeypatch.setattr(cluster, "LocalWorkers", fails)
    with pytest.raises(ClusterError, match="99 local workers: they cannot be started"):
        TrialCluster(
            digits, identity=None, n_workers=99, address=None, log_path=tmp_path / "workers.log"
        )


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "tls://127.0.0.1:9", "not an address"])
def test_a_cluster_that_does_not_answer_is_refused(
    unchanged: Path, tiny_file: Path, address: str
) -> None:
    ended = study(tiny_file, unchanged, "--trials", "9", "--cluster", address)
    missing = "TLS connection" if address.startswith("tls") else "Dask scheduler answered"
    assert f"--cluster {address}: no {missing}" in ended.error


WITHOUT_THE_PACKAGE = """
import sys, time
sys.modules["mnist_study"] = None
from distributed import LocalCluster
options = {"processes": False, "dashboard_address": None, "protocol": "tcp"}
print(LocalCluster(n_workers=1, **options).scheduler_address, flush=True)
time.sleep(120)
"""


def test_a_cluster_without_the_package_is_refused(tmp_path: Path, tiny_file: Path) -> None:
    command = [sys.executable, "-c", WITHOUT_THE_PACKAGE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as cluster:
        try:
            assert cluster.stdout is not None
            address = cluster.stdout.readline().strip()
            ended = run(
                "study", tiny_file, "--dataset", "digits", "--home", tmp_path, "--cluster", address
            )
        finally:
            cluster.kill()
    assert f"--cluster {address}: a worker cannot be prepared for training" in ended.error
    assert "expected mnist-study" in ended.error


def test_a_home_begun_with_other_settings_is_refused_with_the_difference(
    unchanged: Path, tiny_file: Path
) -> None:
    error = study(tiny_file, unchanged, "--trials", "9", "--seed", "1").error
    assert "study 'tiny-digits' was started with other settings: study.seed: 0 -> 1;" in error
    assert "--allow-mixed" in error
