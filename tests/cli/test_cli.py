"""The command line as its user meets it: what it prints where, how it ends, what it leaves."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from study_process import Driver, wait_until
from typer.testing import CliRunner

from mnist_study.cli import app
from mnist_study.cli.preparation import command_text
from mnist_study.cli.progress import progress_text, study_view
from mnist_study.core.config import (
    ConfigError,
    DataConfig,
    NetworkParams,
    TrainingConfig,
    load_experiment,
)
from mnist_study.core.errors import UserFacingError
from mnist_study.core.home import Home
from mnist_study.core.identity import StudyIdentity
from mnist_study.core.interrupts import Stopped
from mnist_study.core.text import duration
from mnist_study.core.trials import EpochMetrics, TrialResult, TrialSpec, TrialState, derive_seeds
from mnist_study.data.dataset import TrainingSet
from mnist_study.execution import cluster
from mnist_study.execution.cluster import ClusterError, TrialCluster
from mnist_study.experiments.confirmation import study_to_confirm
from mnist_study.search.history import History

REPOSITORY = Path(__file__).parents[2]
PROGRAM = (sys.executable, "-m", "mnist_study")
COMMANDS = (
    "study", "status", "digest", "baseline", "confirm", "promote", "rollback", "ablation", "report",
    "predict", "serve", "ui", "audit",
)  # fmt: skip
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
NOTHING_SET = dict.fromkeys(FOREIGN)
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


def read(*arguments: str | Path, **environment: str) -> str:
    """Run a command that only reads within this process, where imports are paid once."""
    done = CliRunner().invoke(app, list(map(str, arguments)), env={**NOTHING_SET, **environment})
    if done.exception is not None:
        raise done.exception
    return done.stdout


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
    (status,) = json.loads(read("status", "--home", unchanged, "--json"))
    assert (status["n_finished"], status["n_trials"]) == (3, 3)
    assert status["home_in_use_by"] is None
    assert status["remaining_seconds"] in (None, 0)
    assert status["best_val_accuracy"] >= status["baseline_val_accuracy"]
    text = read("status", "--home", unchanged)
    assert text.startswith("tiny-digits (study): 3 of 3 trials (3 COMPLETE, 0 PRUNED, 0 FAILED)\n")
    (digest,) = json.loads(read("digest", "--home", unchanged, "--json"))
    assert (digest["n_trials"], digest["mixed_identities"]) == (3, False)
    line = read("digest", "--home", unchanged)
    assert line == f"{digest['digest']}  tiny-digits  3 trials\n"


def test_the_home_is_taken_from_the_environment_unless_given(unchanged: Path) -> None:
    assert "tiny-digits" in read("digest", MNIST_STUDY_HOME=str(unchanged))
    elsewhere = str(unchanged / "none")
    assert "tiny-digits" in read("digest", "--home", unchanged, MNIST_STUDY_HOME=elsewhere)


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
def test_help_takes_less_than_half_a_second(command: str) -> None:
    arguments = [command, "--help"] if command else ["--help"]
    busy = [children_seconds()]
    runs = []
    for _ in range(3):
        runs.append(run(*arguments))
        busy.append(children_seconds())
    assert {ended.status for ended in runs} == {0}
    assert runs[0].stdout.startswith("Usage: mnist-study ")
    # Of processor time, so that other work on the machine does not count.
    assert min(after - before for before, after in pairwise(busy)) < 0.5
    if command:
        assert "--home DIR" in runs[0].stdout
        assert "--json" in runs[0].stdout


def children_seconds() -> float:
    times = os.times()
    return times.children_user + times.children_system


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
        ('kind = "none"', 'kind = "hyperband", options = { min_resource = 0 }', "division by zero"),
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


@pytest.mark.parametrize(
    ("command", "file", "few"),
    [("study", "study.toml", "--trials"), ("baseline", "baseline.toml", "--seeds")],
)
def test_files_written_for_mnist_run_on_the_stand_in_with_the_same_share_of_rows(
    tmp_path: Path, command: str, file: str, few: str
) -> None:
    path = Path(__file__).parents[2] / "experiments" / file
    ended = run(
        command, path, few, "2", "--dataset", "digits", "--home", tmp_path, "--workers", "2"
    )
    assert ended.status == 0, ended
    assert "validation: 287 of the stand-in's 1,437 rows" in ended.stderr


def test_a_bad_experiment_file_leaves_an_existing_home_as_it_is(
    tmp_path: Path, unchanged: Path
) -> None:
    path = written(tmp_path)
    path.write_text(path.read_text().replace("validation_size = 287", "validation_size = 1437"))
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
    with pytest.raises(UserFacingError, match="run `mnist-study study` first") as caught:
        read(command, "--home", home)
    assert str(home) in str(caught.value)
    assert not home.exists()


def test_a_home_that_is_a_file_is_refused(tmp_path: Path, file: Path) -> None:
    home = tmp_path / "home"
    home.write_text("mine")
    assert f"{home}: cannot be used as home (it is a file)" in study(file, home).error
    assert home.read_text() == "mine"
    assert "Not a directory" in study(file, home / "below").error


def test_a_home_may_have_any_name(tmp_path: Path, file: Path) -> None:
    """Its stores lie in it, although the name means something else where it is part of a URL."""
    home = tmp_path / "50%20 Prüfung?a=b#c"
    assert study(file, home, "--trials", "1").status == 0
    assert {"optuna.db", "mlflow.db", "artifacts"} <= {path.name for path in home.iterdir()}
    assert "proven" in run("audit", "--home", home).stdout


def test_kerass_settings_for_other_programs_change_nothing(
    tmp_path: Path, file: Path, finished: Finished
) -> None:
    keras_home = tmp_path / "keras"
    keras_home.mkdir()
    (keras_home / "keras.json").write_text('{"backend": "jax", "floatx": "float16"}')
    command = ("study", file, "--dataset", "digits", "--workers", "1", "--home", tmp_path / "home")
    ended = run(*command, KERAS_HOME=str(keras_home), KERAS_BACKEND="jax")
    assert ended.status == 0, ended.stderr
    assert read("digest", "--home", tmp_path / "home") == read("digest", "--home", finished.home)


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
@pytest.mark.parametrize("left", [0, 60, 400])
def test_a_full_home_is_refused(tmp_path: Path, file: Path, left: int) -> None:
    """With nothing left at all, and with too little for Optuna's and for MLflow's store."""
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
    tmp_path: Path, file: Path, address: str, expected: str
) -> None:
    options = ("--dataset", "digits", "--home", tmp_path)
    errors = [run("study", file, *options, MNIST_STUDY_STORAGE=address).error]
    for command in ("status", "digest", "audit"):
        with pytest.raises(UserFacingError) as caught:
            read(command, "--home", tmp_path, MNIST_STUDY_STORAGE=address)
        errors.append(str(caught.value))
    for error in errors:
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
    tmp_path: Path, file: Path, address: str, expected: str
) -> None:
    options = ("--dataset", "digits", "--home", tmp_path)
    error = run("study", file, *options, cwd=tmp_path, MLFLOW_TRACKING_URI=address).error
    assert expected in error
    assert "correct MLFLOW_TRACKING_URI" in error
    assert "secret" not in error


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


def test_clean_stores_leaves_the_page_about_them_and_nothing_else(tmp_path: Path) -> None:
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    for path in (
        "README.md",
        "optuna.db",
        "reports/mnist-study/README.md",
        "artifacts/a/README.md",
    ):
        (tmp_path / "mlruns" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mlruns" / path).write_text("x")
    assert execute(["make", "clean-stores"], cwd=tmp_path).status == 0
    assert [path.name for path in (tmp_path / "mlruns").rglob("*")] == ["README.md"]


def test_the_interface_of_a_server_is_the_servers_own(tmp_path: Path) -> None:
    ended = run("ui", "--home", tmp_path, MLFLOW_TRACKING_URI="http://example.org:5000")
    assert (ended.status, ended.stdout) == (0, "MLflow UI: http://example.org:5000\n")
    ended = run("ui", "--home", tmp_path, MLFLOW_TRACKING_URI="http://name:secret@example.org")
    assert (ended.status, ended.stdout) == (0, "MLflow UI: http://name:***@example.org\n")


def test_a_command_in_no_encoding_is_recorded_escaped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["mnist-study", "rollback", os.fsdecode(b"caf\xe9")])
    home = Home(tmp_path)
    with home.locked(command_text()):
        assert (home.holder or "").startswith("`mnist-study rollback caf\\xe9` (process")


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

    monkeypatch.setattr(cluster, "_local_cluster", fails)
    with pytest.raises(ClusterError, match="99 local workers: they cannot be started"):
        TrialCluster(
            digits, identity=None, n_workers=99, address=None, log_path=tmp_path / "workers.log"
        )


def test_as_many_workers_as_this_process_may_use_cores() -> None:
    few = "import os; os.sched_setaffinity(0, {0}); from mnist_study.cli.preparation import *; "
    ended = execute([sys.executable, "-c", few + "print(available_cores())"])
    assert ended.stdout == "1\n"


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "tls://127.0.0.1:9", "not an address"])
def test_a_cluster_that_does_not_answer_is_refused(
    unchanged: Path, file: Path, address: str
) -> None:
    ended = study(file, unchanged, "--trials", "9", "--cluster", address)
    assert f"--cluster {address}: no Dask scheduler answered" in ended.error
    assert ended.seconds < 20  # six of them for the scheduler


WITHOUT_THE_PACKAGE = """
import sys, time
sys.modules["mnist_study"] = None
from distributed import LocalCluster
options = {"processes": False, "dashboard_address": None, "protocol": "tcp"}
print(LocalCluster(n_workers=1, **options).scheduler_address, flush=True)
time.sleep(120)
"""


def test_a_cluster_without_the_package_is_refused(tmp_path: Path, file: Path) -> None:
    command = [sys.executable, "-c", WITHOUT_THE_PACKAGE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as cluster:
        try:
            assert cluster.stdout is not None
            address = cluster.stdout.readline().strip()
            ended = run(
                "study", file, "--dataset", "digits", "--home", tmp_path, "--cluster", address
            )
        finally:
            cluster.kill()
    assert f"--cluster {address}: a worker cannot be prepared for training" in ended.error
    assert "expected mnist-study" in ended.error


def test_a_home_begun_with_other_settings_is_refused_with_the_difference(
    unchanged: Path, file: Path
) -> None:
    error = study(file, unchanged, "--trials", "9", "--seed", "1").error
    assert "study 'tiny-digits' was begun with other settings: study.seed: 0 -> 1;" in error
    assert "--allow-mixed" in error


# A study that runs, is asked for, is interrupted, and goes on.


@dataclass(frozen=True)
class Interrupted:
    """What was seen of a study while it ran, and how Ctrl-C ended it."""

    home: Path
    status: Ended
    second: Ended
    exit_status: int
    seconds: float
    n_survivors: int
    messages: str


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Interrupted:
    folder = tmp_path_factory.mktemp("interrupted")
    path, home = written(folder, n_trials=1000, epochs=3), folder / "home"
    driver = start(path, home)
    assert wait_until(lambda: "trial   1 COMPLETE" in driver.text(), 120), driver.text()
    status = run("status", "--home", home, "--json")
    second = study(path, home)
    seconds, exit_status = end(driver, signal.SIGINT)
    return Interrupted(
        home, status, second, exit_status, seconds, len(driver.survivors(2)), driver.text()
    )


def start(file: Path, home: Path) -> Driver:
    home.mkdir(exist_ok=True)
    command = [*PROGRAM, "study", str(file), "--dataset", "digits", "--home", str(home)]
    return Driver([*command, "--workers", "1"], file.with_suffix(".log"), {})


def end(driver: Driver, request: signal.Signals, times: int = 1) -> tuple[float, int]:
    """Send a signal to a driver's process group, as a terminal does; return how soon it ended."""
    driver.workers()
    begun = time.monotonic()
    for _ in range(times):
        if driver.is_running:
            os.killpg(driver.process.pid, request)
        time.sleep(0.02)
    return time.monotonic() - begun, driver.wait(30)


def running_runs(home: Path) -> int:
    """Return how many MLflow runs of a home are RUNNING."""
    from mnist_study.tracking.connection import connect

    if not (home / "mlflow.db").exists():
        return 0
    client = connect(f"sqlite:///{home / 'mlflow.db'}")
    experiments = [e.experiment_id for e in client.search_experiments()]
    return len(client.search_runs(experiments, "attributes.status = 'RUNNING'"))


def test_status_of_a_running_study_is_read_by_another_process(interrupted: Interrupted) -> None:
    (document,) = json.loads(interrupted.status.stdout)
    assert document["n_finished"] >= 2
    assert document["n_trials"] == 1000
    assert document["trials_per_hour"] > 0
    assert document["remaining_seconds"] > 0
    assert "mnist-study study" in document["home_in_use_by"]


def test_a_second_study_on_a_home_in_use_says_who_holds_it(interrupted: Interrupted) -> None:
    error = interrupted.second.error
    assert f"error: {interrupted.home}: in use by `mnist-study study " in error
    assert "(process " in error


def test_ctrl_c_ends_a_study_in_order(interrupted: Interrupted) -> None:
    assert interrupted.exit_status == 130
    assert interrupted.seconds < 10
    assert interrupted.n_survivors == 0
    assert "Traceback" not in interrupted.messages
    last = interrupted.messages.splitlines()[-1]
    (status,) = json.loads(read("status", "--home", interrupted.home, "--json"))
    n_finished = status["n_finished"]
    assert last == f"stopped: {n_finished} of 1000 trials are stored; the same command resumes"
    assert status["home_in_use_by"] is None
    assert running_runs(interrupted.home) == 0


def test_allow_mixed_goes_on_with_another_seed_and_digest_and_status_say_so(
    interrupted: Interrupted,
) -> None:
    home, path = interrupted.home, interrupted.home.parent / "tiny.toml"
    mixed = study(path, home, "--seed", "1", "--trials", "1", "--allow-mixed")
    assert mixed.status == 0, mixed
    (document,) = json.loads(read("digest", "--home", home, "--json"))
    assert document["mixed_identities"] is True
    for command in ("digest", "status"):
        assert "bit-identity was given up" in read(command, "--home", home)


def test_sigterm_during_start_up_ends_with_143(tmp_path: Path) -> None:
    driver = start(written(tmp_path), tmp_path / "home")
    assert wait_until(lambda: "opening the record" in driver.text()), driver.text()
    seconds, exit_status = end(driver, signal.SIGTERM)
    assert exit_status == 143
    assert seconds < 10
    assert driver.text().endswith("\nstopped: 0 of 3 trials are stored; the same command resumes\n")
    assert running_runs(tmp_path / "home") == 0


@pytest.mark.slow
def test_settings_may_change_as_long_as_no_trial_is_stored(tmp_path: Path) -> None:
    """Whoever sees at the start that a setting is wrong stops, puts it right and starts again."""
    home = tmp_path / "home"
    driver = start(written(tmp_path), home)
    assert wait_until(lambda: "starting 1 worker" in driver.text()), driver.text()
    _, exit_status = end(driver, signal.SIGINT)
    assert exit_status == 130
    again = study(written(tmp_path, n_trials=1), home, "--seed", "5")
    assert again.status == 0, again
    assert run("audit", "--home", home).status == 0


def says(driver: Driver, text: str) -> bool:
    return text in driver.text()


LEAVE_WHILE_A_WORKER_STARTS = """
import multiprocessing, threading, time
from multiprocessing import resource_tracker, util
from mnist_study.core.interrupts import leave

def start_and_wait(*arguments, begin=util.spawnv_passfds):
    child = begin(*arguments)
    has_begun.set()
    time.sleep(60)  # the child waits for what it is to run
    return child

has_begun = threading.Event()
worker = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(0,))
resource_tracker.ensure_running()
util.spawnv_passfds = start_and_wait
threading.Thread(target=worker.start, daemon=True).start()
has_begun.wait()
leave(130)
"""


def test_a_worker_that_is_being_started_says_nothing_when_the_program_ends() -> None:
    ended = execute([sys.executable, "-c", LEAVE_WHILE_A_WORKER_STARTS])
    assert ended.stderr == ""
    assert ended.status == 130


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_study_stopped_again_and_again_in_each_phase_ends_in_order_and_as_if_it_never_was(
    tmp_path: Path,
) -> None:
    path, home = written(tmp_path, n_trials=30), tmp_path / "home"
    phases = ("data: ", "opening the record", "starting 1 worker", " COMPLETE ", "drawing the")
    for phase, delay, request in product(phases, (0, 0.4, 1.5), (signal.SIGINT, signal.SIGTERM)):
        path.with_suffix(".log").unlink(missing_ok=True)
        driver = start(path, home)
        assert wait_until(partial(says, driver, phase), 120), driver.text()
        time.sleep(delay)
        seconds, exit_status = end(driver, request, times=3)
        text = driver.text()
        if phase == "drawing the" and exit_status in (0, -request):
            continue  # all was written and said before the signal came; Python was shutting down
        assert exit_status == 128 + request, text
        assert seconds < 10
        assert driver.survivors() == []
        assert "Traceback" not in text
        assert "Warning:" not in text
        assert text.splitlines()[-1].startswith("stopped")
        assert running_runs(home) == 0
    resumed = study(path, home, "--json")
    assert run("audit", "--home", home).status == 0
    undisturbed = study(path, tmp_path / "undisturbed", "--json")
    assert json.loads(resumed.stdout)["digest"] == json.loads(undisturbed.stdout)["digest"]


FILL_UP = """
import os, pathlib, subprocess, sys, time
home, log, program = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", home], check=True)
with open(log, "wb") as messages:
    study = subprocess.Popen(program, stderr=messages, stdout=subprocess.DEVNULL)
    while b"trial   1 " not in pathlib.Path(log).read_bytes() and study.poll() is None:
        time.sleep(0.05)
    try:
        with open(home / "other", "wb", buffering=0) as other:
            while True:
                other.write(bytes(4096))
    except OSError:
        pass
    print(study.wait(), flush=True)
(home / "other").unlink()
subprocess.run([*program[:3], "digest", "--home", home, "--json"], check=True)
sys.exit(subprocess.run([*program, "--json"]).returncode)
"""


@pytest.mark.slow
@needs_mounts
def test_a_disk_that_fills_up_keeps_finished_trials_and_the_study_resumes(tmp_path: Path) -> None:
    path, home, log = written(tmp_path, n_trials=12), tmp_path / "home", tmp_path / "messages"
    home.mkdir()
    arguments = ["study", str(path), "--dataset", "digits", "--home", str(home), "--workers", "1"]
    script = ["unshare", "--mount", sys.executable, "-c", FILL_UP, str(home), str(log)]
    ended = execute([*script, *PROGRAM, *arguments])
    assert ended.status == 0, ended
    first, _, documents = ended.stdout.partition("\n")
    assert first == "1"
    messages = log.read_text()
    assert "Traceback" not in messages
    assert messages.splitlines()[-1].startswith("error: ")
    assert "space left" in messages.splitlines()[-1] or "disk is full" in messages.splitlines()[-1]
    decoder = json.JSONDecoder()
    (kept,), position = decoder.raw_decode(documents)
    finished, _ = decoder.raw_decode(documents[position:].lstrip())
    assert 2 <= kept["n_trials"] < 12
    undisturbed = study(path, tmp_path / "undisturbed", "--json")
    assert finished["digest"] == json.loads(undisturbed.stdout)["digest"]


# The views.


PARAMS = NetworkParams(
    units_1=128, units_2=64, units_3=32, dropout_1=0.3, dropout_2=0.2, l2=0.001, learning_rate=0.002
)


def spec(number: int) -> TrialSpec:
    return TrialSpec(
        number,
        PARAMS,
        derive_seeds(0, number),
        TrainingConfig(batch_size=32, epochs=4, schedule="constant"),
        DataConfig(validation_size=10, split_seed=0),
    )


def epoch(number: int) -> EpochMetrics:
    return EpochMetrics(number, 1.0, 0.5, 1.0, 0.5 + number / 20)


def result(number: int, value: float = 0.9) -> TrialResult:
    return TrialResult(
        number, PARAMS, TrialState.COMPLETE, tuple(epoch(n) for n in range(1, 5)), value=value
    )


def on_a_terminal(width: int = 100) -> tuple[Console, io.StringIO]:
    screen = io.StringIO()
    return Console(file=screen, force_terminal=True, width=width, height=30), screen


def test_the_live_view_shows_a_bar_per_running_trial_and_one_for_the_study() -> None:
    console, screen = on_a_terminal()
    with study_view(console, 8, []) as view:
        view.phase("opening the record in MLflow")
        shown = frame(view, console)
        assert "0/8" in shown
        assert "opening the record in MLflow … 0 s" in shown
        for number in (0, 1, 2):
            view.started(spec(number))
        view.epoch(0, epoch(1))
        view.epoch(1, epoch(3))
        view.trained(2)
        shown = frame(view, console)
        rows = {row.split()[0] + row.split()[1]: row for row in shown.splitlines()}
        assert "1/4 validation 55.00%" in rows["trial0"]
        assert "3/4 validation 65.00%" in rows["trial1"]
        assert "trained, waits for earlier trials" in rows["trial2"]
        view.finished(result(0, 0.91))
        shown = frame(view, console)
        assert [row.split()[:2] for row in shown.splitlines()[1:]] == [
            ["trial", "1"],
            ["trial", "2"],
        ]
        assert "1/8 best 91.00% (trial 0), " in shown
        assert " trials/h, " in shown
        assert " left" in shown
    assert "trial   0 COMPLETE 91.00%   4 epochs" in screen.getvalue()


def frame(view: Any, console: Console) -> str:  # noqa: ANN401
    """Return what the live view shows now, without escape codes."""
    with console.capture() as capture:
        plain = Console(file=io.StringIO(), width=console.width, record=True)
        plain.print(view._progress.get_renderable())
    assert not capture.get()
    return plain.export_text()


def test_the_live_view_keeps_to_one_line_per_bar_on_a_narrow_terminal() -> None:
    console, _ = on_a_terminal(width=60)
    with study_view(console, 8, []) as view:
        view.started(spec(0))
        view.finished(result(0))
        view.started(spec(1))
        view.epoch(1, epoch(2))
        assert len(frame(view, console).strip().splitlines()) == 2


def test_a_view_says_on_stopping_what_is_stored() -> None:
    results = [result(0)]
    screen = io.StringIO()

    def be_stopped() -> None:
        with study_view(Console(file=screen), 8, results):
            results.append(result(1))
            raise Stopped(signal.SIGINT)

    with pytest.raises(Stopped) as caught:
        be_stopped()
    assert caught.value.status == 130
    assert caught.value.standing == ": 2 of 8 trials are stored; the same command resumes"
    assert screen.getvalue() == "resuming: 1 of 8 trials are done\n"


def test_the_time_left_counts_what_running_trials_have_done() -> None:
    two = [result(0), result(1, 0.95)]
    text = progress_text(two, 5, n_before=0, n_partial=1.0, seconds=30.0)
    assert text == "best 95.00% (trial 1), 360 trials/h, 20 s left"
    resumed = progress_text(two, 5, n_before=2, n_partial=0.5, seconds=30.0)
    assert resumed == "best 95.00% (trial 1)"
    done = progress_text(two, 2, n_before=0, n_partial=0.0, seconds=20.0)
    assert done == "best 95.00% (trial 1), 360 trials/h"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (89.4, "89 s"), (90, "2 min"), (5399, "90 min"), (9000, "2.5 h")],
)
def test_durations_are_written_with_a_fitting_unit(seconds: float, text: str) -> None:
    assert duration(seconds) == text
