"""A study that runs, is asked for, is interrupted, and goes on."""

from __future__ import annotations

import json
import signal
import sys
import time
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import pytest
from command_line import (
    PROGRAM,
    Ended,
    end,
    execute,
    needs_mounts,
    read,
    run,
    running_runs,
    start,
    study,
    written,
)
from study_process import Driver, wait_until


@dataclass(frozen=True)
class Interrupted:
    """What was seen of a study while it ran, and how Ctrl-C ended it."""

    home: Path
    status: Ended
    second: Ended
    exit_status: int
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
    exit_status = end(driver, signal.SIGINT)
    return Interrupted(home, status, second, exit_status, len(driver.survivors(2)), driver.text())


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
    exit_status = end(driver, signal.SIGTERM)
    assert exit_status == 143
    assert driver.text().endswith("\nstopped: 0 of 3 trials are stored; the same command resumes\n")
    assert running_runs(tmp_path / "home") == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment", ["settle_streams", "use_own_folder", "remove_own_folder", "_fail"]
)
@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGHUP", 129)])
def test_signal_before_and_after_a_command_ends_in_order_too(
    tmp_path: Path, moment: str, name: str, status: int
) -> None:
    code = (
        "import os, signal, sys; from mnist_study.cli import program; "
        f"program.{moment} = lambda *_: os.kill(os.getpid(), signal.{name}); "
        f"sys.argv[1:] = ['status', '--home', {str(tmp_path / 'none')!r}]; program.main()"
    )
    ended = execute([sys.executable, "-c", code])
    assert (ended.status, ended.stderr) == (status, "stopped\n")


@pytest.mark.slow
def test_settings_may_change_as_long_as_no_trial_is_stored(tmp_path: Path) -> None:
    """Whoever sees at the start that a setting is wrong stops, puts it right and starts again."""
    home = tmp_path / "home"
    driver = start(written(tmp_path), home)
    assert wait_until(lambda: "starting 1 worker" in driver.text()), driver.text()
    exit_status = end(driver, signal.SIGINT)
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
        exit_status = end(driver, request, times=3)
        text = driver.text()
        if phase == "drawing the" and exit_status in (0, -request):
            continue  # all was written and said before the signal came; Python was shutting down
        assert exit_status == 128 + request, text
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
