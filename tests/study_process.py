"""The study's command line as a real process with its own process group, and what it left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

KILL_AT = Path(__file__).with_name("kill_at.py")


class Driver:
    """A running `mnist-study study`, with its error output in a file."""

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self.log = log
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=output,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        self.process = psutil.Process(self._popen.pid)
        self.descendants: set[psutil.Process] = set()

    def workers(self) -> list[psutil.Process]:
        """Return its living worker processes."""
        try:
            children = self.process.children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        found = [child for child in children if _is_worker(child)]
        self.descendants.update(found)
        return found

    @property
    def is_running(self) -> bool:
        return self._popen.poll() is None

    def kill(self) -> None:
        """Send SIGKILL to the driver alone."""
        self.workers()
        self._popen.send_signal(signal.SIGKILL)

    def interrupt(self) -> None:
        """Do what Ctrl-C in a terminal does: SIGINT to the whole process group."""
        self.workers()
        os.killpg(self._popen.pid, signal.SIGINT)

    def wait(self, timeout: float = 240) -> int:
        """Wait for its end; return the exit status."""
        try:
            self._popen.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(self._popen.pid, signal.SIGKILL)
            raise
        return self._popen.returncode

    def survivors(self, seconds: float = 10) -> list[psutil.Process]:
        """Return the worker processes that outlive the driver by so many seconds."""
        _, alive = psutil.wait_procs(list(self.descendants), timeout=seconds)
        return [process for process in alive if not _is_zombie(process)]

    def text(self) -> str:
        """Return its error output, with that of earlier drivers of the same home."""
        return self.log.read_text(errors="replace")


@dataclass(frozen=True)
class StudyHome:
    """A home with one study, worked on by any number of drivers, one after the other.

    Attributes:
        path: of the home.
        file: the experiment file, for subcommands that take one.
        environment: of the drivers, beside this process's.
        arguments: of every driver.
        subcommand: what they run.
    """

    path: Path
    file: Path | None
    environment: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ("--dataset", "digits")
    subcommand: str = "study"

    def start(self, *options: str, kill_at: tuple[str, str, int] | None = None) -> Driver:
        """Start or resume the study; its worker count has to be among the options."""
        program = ["-m", "mnist_study"]
        if kill_at is not None:
            program = [str(KILL_AT), kill_at[0], kill_at[1], str(kill_at[2])]
        self.path.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable, *program, self.subcommand, *([str(self.file)] if self.file else []),
            "--home", str(self.path), *self.arguments, *options,
        ]  # fmt: skip
        return Driver(command, self.path / "driver.log", self.environment)

    def finish(self, *options: str, timeout: float = 240) -> dict[str, Any]:
        """Run the study to its end; return its digest document."""
        driver = self.start(*options)
        assert driver.wait(timeout) == 0, driver.text()
        return self.digest()

    def digest(self) -> dict[str, Any]:
        """Return the study's digest document."""
        (document,) = json.loads(self.command("digest", "--json"))
        return dict(document)

    def audit(self, *options: str, status: int = 0) -> dict[str, Any]:
        """Return what `audit` says of the study, and check its exit status."""
        (document,) = json.loads(self.command("audit", "--json", *options, status=status))
        return dict(document)

    def command(self, *arguments: str, status: int = 0) -> str:
        """Run another command on this home; return its standard output."""
        done = subprocess.run(
            [sys.executable, "-m", "mnist_study", *arguments, "--home", str(self.path)],
            capture_output=True,
            text=True,
            timeout=900,
            env={**os.environ, **self.environment},
        )
        assert done.returncode == status, done.stderr
        return done.stdout

    def running_epochs(self) -> dict[int, int]:
        """Return the number of epochs in MLflow of each RUNNING trial, while a driver writes."""
        from mnist_study.tracking.connection import connect

        if not (self.path / "mlflow.db").exists():
            return {}
        client = connect(f"sqlite:///{self.path / 'mlflow.db'}")
        experiments = [e.experiment_id for e in client.search_experiments()]
        runs = (
            client.search_runs(experiments, "attributes.status = 'RUNNING'") if experiments else []
        )
        return {
            int(run.data.tags["trial"]): len(
                client.get_metric_history(run.info.run_id, "val/accuracy")
            )
            for run in runs
            if "trial" in run.data.tags
        }


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> bool:
    """Poll a condition; return whether it came true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def _is_worker(process: psutil.Process) -> bool:
    try:
        command = " ".join(process.cmdline())
    except psutil.Error:
        return False
    return "spawn_main" in command


def _is_zombie(process: psutil.Process) -> bool:
    """Whether it has ended, and only its new parent has not asked for its exit status yet."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
