"""The command line as its user meets it: what it prints where, how it ends, what it leaves."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from study_process import Driver, wait_until

from mnist_study.config import DataConfig, NetworkParams, TrainingConfig
from mnist_study.live import duration, progress_text, study_view
from mnist_study.records import EpochMetrics, TrialResult, TrialSpec, TrialState, derive_seeds
from mnist_study.stopping import Stopped

PROGRAM = (sys.executable, "-m", "mnist_study")
COMMANDS = ("study", "status", "digest", "report", "ui", "audit")
EXPERIMENT = """
name = "tiny"
[data]
validation_size = 287
split_seed = 0
[training]
batch_size = 128
epochs = {epochs}
schedule = "constant"
[baseline]
units_1 = 64
units_2 = 32
units_3 = 16
dropout_1 = 0.3
dropout_2 = 0.2
l2 = 0.001
learning_rate = 0.001
[study]
n_trials = {n_trials}
seed = 0
in_flight = 2
sampler = {{ kind = "random" }}
pruner = {{ kind = "none" }}
[study.space]
dropout_1 = {{ type = "float", low = 0.0, high = 0.6 }}
learning_rate = {{ type = "float", low = 2e-4, high = 1e-2, log = true }}
"""
# Nothing of the machine that runs the tests reaches the program, least of all its MNIST; the
# proxy refuses at once, so that nothing is downloaded where there is a network.
FOREIGN = ("MNIST_STUDY_DATA", "MNIST_STUDY_HOME", "MNIST_STUDY_STORAGE", "MLFLOW_TRACKING_URI")
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in FOREIGN} | {
    "https_proxy": "http://127.0.0.1:9"
}


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    stdout: str
    stderr: str
    seconds: float = 0.0

    @property
    def error(self) -> str:
        """The one line that says what is wrong; asserts that nothing else does."""
        assert self.status == 1, self
        assert "Traceback" not in self.stderr
        assert self.stdout == ""
        lines = self.stderr.splitlines()
        assert [line.startswith("error: ") for line in lines] == [False] * (len(lines) - 1) + [True]
        return lines[-1]


def execute(command: Sequence[str], cwd: Path | None = None, **environment: str) -> Ended:
    begun = time.monotonic()
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, cwd=cwd, env=ENVIRONMENT | environment
    )
    return Ended(done.returncode, done.stdout, done.stderr, time.monotonic() - begun)


def run(*arguments: str | Path, cwd: Path | None = None, **environment: str) -> Ended:
    return execute([*PROGRAM, *map(str, arguments)], cwd, **environment)


def study(file: Path, home: Path, *options: str) -> Ended:
    return run("study", file, "--dataset", "digits", "--home", home, "--workers", "1", *options)


def contents(home: Path) -> dict[str, str]:
    """Return the hash of every file of a home.

    Left out is what SQLite keeps beside an open database, unless it holds data not yet in it.
    """
    found = {}
    for path in sorted(home.rglob("*")):
        if path.is_file() and not path.name.endswith("-shm"):
            content = path.read_bytes()
            if content or not path.name.endswith("-wal"):
                found[str(path.relative_to(home))] = hashlib.sha256(content).hexdigest()
    return found


def written(folder: Path, *, n_trials: int = 3, epochs: int = 1) -> Path:
    path = folder / "tiny.toml"
    path.write_text(EXPERIMENT.format(n_trials=n_trials, epochs=epochs), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("file"))


@dataclass(frozen=True)
class Finished:
    """A finished study of three trials, and how the command that ran it ended."""

    home: Path
    study: Ended


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, file: Path) -> Finished:
    home = tmp_path_factory.mktemp("finished")
    ended = study(file, home, "--json")
    assert ended.status == 0, ended
    return Finished(home, ended)


@pytest.fixture
def unchanged(finished: Finished) -> Iterator[Path]:
    """The home of the finished study; whatever the test does must leave every byte of it."""
    before = contents(finished.home)
    assert {"mlflow.db", "optuna.db"} < before.keys()
    yield finished.home
    assert contents(finished.home) == before


# What is printed, and where.


def test_a_study_prints_its_result_on_stdout_and_everything_else_on_stderr(
    finished: Finished,
) -> None:
    document = json.loads(finished.study.stdout)
    assert document["study"] == "tiny-digits"
    assert document["n_trials"] == 3
    assert document["states"] == {"COMPLETE": 3, "PRUNED": 0, "FAILED": 0}
    messages = finished.study.stderr
    for expected in (
        "data: handwritten digits of scikit-learn (as asked for)\n",
        "WARNING: this is the handwritten-digits stand-in, not MNIST",
        "opening the record in MLflow …\n",
        "starting 1 worker, TensorFlow in each …\n",
        "[3/3, best ",
        "drawing the figures and writing the report …\n",
    ):
        assert expected in messages
    assert [f"trial {n:>3} COMPLETE" in messages for n in range(4)] == [True, True, True, False]
    assert Path(document["report"], "README.md").read_text().startswith("# Study tiny-digits on ")


def test_nothing_is_coloured_without_a_terminal(finished: Finished) -> None:
    assert "\x1b" not in finished.study.stdout + finished.study.stderr
    ended = run("study", "--trials", "x", TERM="xterm-256color")
    assert ended.status == 2
    assert "\x1b" not in ended.stderr


def test_status_and_digest_read_the_stores_and_leave_every_byte(unchanged: Path) -> None:
    (status,) = json.loads(run("status", "--home", unchanged, "--json").stdout)
    assert (status["n_finished"], status["n_trials"]) == (3, 3)
    assert status["home_in_use_by"] is None
    assert status["remaining_seconds"] in (None, 0)
    assert status["best_val_accuracy"] >= status["baseline_val_accuracy"]
    text = run("status", "--home", unchanged).stdout
    assert text.startswith("tiny-digits: 3 of 3 trials (3 COMPLETE, 0 PRUNED, 0 FAILED)\n")
    (digest,) = json.loads(run("digest", "--home", unchanged, "--json").stdout)
    assert (digest["n_trials"], digest["mixed_identities"]) == (3, False)
    line = run("digest", "--home", unchanged).stdout
    assert line == f"{digest['digest']}  tiny-digits  3 trials\n"


def test_the_home_is_taken_from_the_environment_unless_given(unchanged: Path) -> None:
    assert run("digest", MNIST_STUDY_HOME=str(unchanged)).status == 0
    elsewhere = str(unchanged / "none")
    assert run("digest", "--home", unchanged, MNIST_STUDY_HOME=elsewhere).status == 0


def test_the_module_and_the_script_are_the_same_program(unchanged: Path) -> None:
    script = Path(sys.executable).with_name("mnist-study")
    arguments = ["digest", "--home", str(unchanged)]
    assert execute([str(script), *arguments]).stdout == run(*arguments).stdout


def test_a_finished_study_started_again_trains_nothing_and_finds_the_same(
    finished: Finished, file: Path
) -> None:
    again = study(file, finished.home, "--json")
    assert again.status == 0
    assert "resuming: 3 of 3 trials are done\n" in again.stderr
    assert "starting" not in again.stderr
    first = json.loads(finished.study.stdout)
    assert json.loads(again.stdout) == first | {"train_seconds": 0.0}


# Help and wrong usage.


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_comes_within_half_a_second(command: str) -> None:
    arguments = [command, "--help"] if command else ["--help"]
    runs = [run(*arguments) for _ in range(3)]
    assert {ended.status for ended in runs} == {0}
    assert runs[0].stdout.startswith("Usage: mnist-study ")
    assert min(ended.seconds for ended in runs) < 0.5
    if command:
        assert "--home DIR" in runs[0].stdout
        assert "--json" in runs[0].stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "Usage: mnist-study"),
        (("learn",), "No such command 'learn'"),
        (("study", "--wrokers", "2"), "No such option"),
        # What the file may not say either, but the command line is used wrongly here.
        (("study", "--trials", "0"), "Invalid value for '--trials'"),
        (("study", "--workers", "0"), "Invalid value for '--workers'"),
        (("study", "--seed", "-1"), "Invalid value for '--seed'"),
        (("study", "--seed", "9999999999"), "Invalid value for '--seed'"),
        (("study", "--dataset", "cifar"), "Invalid value for '--dataset'"),
        (("ui", "--port", "70000"), "Invalid value for '--port'"),
    ],
)
def test_wrong_usage_ends_with_status_2(arguments: tuple[str, ...], expected: str) -> None:
    ended = run(*arguments)
    assert ended.status == 2
    assert expected in ended.stderr
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr


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
        ('kind = "random"', 'kind = "qmc"', "sampler 'qmc' cannot be folded: it keeps state in"),
        ("dropout_1 = 0.3", "dropout_1 = 0.7", "baseline.dropout_1 = 0.7 lies outside study.sp"),
        ("validation_size = 287", "validation_size = 1437", "found 1437, expected 1 to 1436 of"),
        ('kind = "none"', 'kind = "median", options = { patience = 3 }', "study.pruner: options "),
        ('kind = "none"', 'kind = "hyperband", options = { min_resource = "x" }', "do not fit th"),
    ],
)
def test_a_bad_experiment_file_ends_in_one_line_and_no_home_appears(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    path = written(tmp_path)
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    error = study(path, tmp_path / "home").error
    assert error.startswith(f"error: {path}: ")
    assert expected in error
    assert not (tmp_path / "home").exists()


def test_a_bad_experiment_file_leaves_an_existing_home_as_it_is(
    tmp_path: Path, unchanged: Path
) -> None:
    path = written(tmp_path)
    path.write_text(path.read_text().replace("validation_size = 287", "validation_size = 5000"))
    assert "expected 1 to 1436" in study(path, unchanged).error


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
    assert f"error: {path}: {expected}" in study(path, tmp_path / "home").error


def test_a_file_without_a_study_is_refused(tmp_path: Path, file: Path) -> None:
    path = tmp_path / "baseline.toml"
    path.write_text(file.read_text().partition("[study]")[0])
    assert "no [study] table" in study(path, tmp_path / "home").error


# Bad input: a home.


@pytest.mark.parametrize("command", ["status", "digest", "report", "ui", "audit"])
def test_a_home_without_a_study_is_refused_and_not_created(tmp_path: Path, command: str) -> None:
    home = tmp_path / "home"
    error = run(command, "--home", home).error
    assert str(home) in error
    assert "run `mnist-study study` first" in error
    assert not home.exists()


def test_a_home_that_is_a_file_is_refused(tmp_path: Path, file: Path) -> None:
    home = tmp_path / "home"
    home.write_text("mine")
    assert f"{home}: cannot be used as home (it is a file)" in study(file, home).error
    assert home.read_text() == "mine"
    assert "Not a directory" in study(file, home / "below").error


MOUNTS = (
    subprocess.run(
        ["unshare", "--mount", "sh", "-c", "mount -t tmpfs -o size=64k none /mnt"],
        capture_output=True,
    ).returncode
    == 0
    if sys.platform == "linux"
    else False
)
needs_mounts = pytest.mark.skipif(not MOUNTS, reason="needs the right to mount, as root has it")


def study_on_a_mount(prepare: str, file: Path, home: Path, *options: str) -> Ended:
    """Run a study after a shell command that may mount, in a mount namespace of its own."""
    arguments = ["study", str(file), "--dataset", "digits", "--home", str(home), *options]
    script = f'{prepare} || exit 99; exec "$@"'
    return execute(["unshare", "--mount", "sh", "-c", script, "sh", *PROGRAM, *arguments])


@needs_mounts
def test_a_read_only_home_is_refused(unchanged: Path, file: Path) -> None:
    prepare = f"mount --bind '{unchanged}' '{unchanged}' && mount -o remount,ro,bind '{unchanged}'"
    error = study_on_a_mount(prepare, file, unchanged, "--trials", "9").error
    assert f"{unchanged}: cannot be used as home (Read-only file system)" in error


@needs_mounts
@pytest.mark.parametrize("left", [0, 8, 60, 400])
def test_a_full_home_is_refused(tmp_path: Path, file: Path, left: int) -> None:
    """With nothing left, and with too little for the lock, for Optuna's and for MLflow's store."""
    home = tmp_path / "home"
    home.mkdir()
    prepare = (
        f"mount -t tmpfs -o size=1m none '{home}' && "
        f"head -c {(1024 - left) * 1024} /dev/zero > '{home}/other'"
    )
    error = study_on_a_mount(prepare, file, home).error
    assert "space left" in error
    assert str(home) in error


@pytest.mark.parametrize("name", ["optuna.db", "mlflow.db"])
def test_a_database_that_is_none_is_refused(tmp_path: Path, file: Path, name: str) -> None:
    (tmp_path / name).write_text("this is no database, but long enough to be read as one" * 100)
    before = contents(tmp_path)
    error = study(file, tmp_path).error
    assert str(tmp_path / name) in error
    assert "database" in error
    assert contents(tmp_path) | {".lock": ""} == before | {".lock": ""}
    if name == "optuna.db":
        for command in ("status", "digest", "report"):
            assert "cannot be read" in run(command, "--home", tmp_path).error


# Bad input: data, cluster, identity.


def test_a_corrupt_data_file_is_refused(tmp_path: Path, file: Path) -> None:
    (tmp_path / "mnist.npz").write_bytes(b"PK\x03\x04 and then nothing of use")
    home = tmp_path / "home"
    error = run("study", file, "--dataset", "mnist", "--data", tmp_path, "--home", home).error
    assert "mnist.npz" in error
    assert not home.exists()


def test_mnist_out_of_reach_is_said_within_ten_seconds(tmp_path: Path, file: Path) -> None:
    home = tmp_path / "home"
    ended = run("study", file, "--dataset", "mnist", "--home", home, KERAS_HOME=str(tmp_path))
    assert "MNIST is not in reach: found no MNIST_STUDY_DATA" in ended.error
    assert "--data" in ended.error
    assert ended.seconds < 10
    assert not home.exists()


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "not an address"])
def test_a_cluster_that_does_not_answer_is_refused(
    unchanged: Path, file: Path, address: str
) -> None:
    ended = study(file, unchanged, "--trials", "9", "--cluster", address)
    assert f"--cluster {address}: no Dask scheduler answered" in ended.error
    assert ended.seconds < 20  # six of them for the scheduler


def test_a_home_begun_with_other_settings_is_refused_with_the_difference(
    unchanged: Path, file: Path
) -> None:
    error = study(file, unchanged, "--trials", "9", "--seed", "1").error
    assert "study 'tiny-digits' was begun with other settings: study.seed: 0 -> 1;" in error
    assert "--allow-mixed" in error
