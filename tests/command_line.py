"""The command line as a process, and the small study that its tests run."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from study_process import Driver
from typer.testing import CliRunner

from mnist_study.cli import app

REPOSITORY = Path(__file__).parents[1]
PROGRAM = (sys.executable, "-m", "mnist_study")
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


@dataclass(frozen=True)
class Finished:
    """A finished study of three trials, and how the command that ran it ended."""

    home: Path
    study: Ended


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
