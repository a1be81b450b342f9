"""Faults of the surroundings, made on purpose in real processes: none becomes a result."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from command_line import ENVIRONMENT, Finished, read, running_runs, study

pytestmark = pytest.mark.slow

# What Python imports by itself in every process of a study.
FAILING = """\
import os, sys

if "spawn_main" in " ".join(sys.orig_argv):
    from mnist_study.execution import worker

    run_trial = worker.run_trial

    def failing(spec, *arguments, **options):
        if spec.number in {numbers}:
            import mnist_study.training.trainer as trainer

            def train(*_, **__):
                raise OSError(28, "No space left on device")

            kept, trainer.train = trainer.train, train
            try:
                return run_trial(spec, *arguments, **options)
            finally:
                trainer.train = kept
        return run_trial(spec, *arguments, **options)

    worker.run_trial = failing
"""
DYING = """\
import os, signal, sys

if "spawn_main" in " ".join(sys.orig_argv):
    from mnist_study.execution import worker

    def deadly(*arguments, **options):
        os.kill(os.getpid(), signal.SIGKILL)

    worker.run_trial = deadly
"""


@pytest.fixture
def customized(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that every Python process runs first."""
    code = tmp_path / "code"
    code.mkdir()
    paths = filter(None, (str(code), os.environ.get("PYTHONPATH")))
    monkeypatch.setitem(ENVIRONMENT, "PYTHONPATH", ":".join(paths))
    return code / "sitecustomize.py"


def digest_of(home: Path) -> str:
    (document,) = json.loads(read("digest", "--home", home, "--json"))
    return str(document["digest"])


def test_fault_that_fails_every_trial_is_no_study(
    tmp_path: Path, customized: Path, tiny_file: Path, finished: Finished
) -> None:
    home = tmp_path / "home"
    customized.write_text(FAILING.format(numbers="range(9)"))
    error = study(tiny_file, home).error
    assert "trials 0 to 2 failed one after the other" in error
    assert "No space left on device" in error
    assert json.loads(read("digest", "--home", home, "--json"))[0]["n_trials"] == 0
    assert running_runs(home) == 0
    read("audit", "--home", home)
    customized.unlink()
    assert study(tiny_file, home).status == 0
    assert digest_of(home) == digest_of(finished.home)
    read("audit", "--home", home)


def test_trial_that_failed_of_a_fault_is_run_again_in_its_place(
    tmp_path: Path, customized: Path, tiny_file: Path, finished: Finished
) -> None:
    home = tmp_path / "home"
    customized.write_text(FAILING.format(numbers="(1,)"))
    ended = study(tiny_file, home)
    assert ended.status == 0, ended
    assert "`mnist-study study --retry-failed` runs them again" in ended.stdout
    assert "Failed of something else than a diverged loss: 1" in read("status", "--home", home)
    customized.unlink()
    ended = study(tiny_file, home, "--retry-failed")
    assert ended.status == 0, ended
    assert digest_of(home) == digest_of(finished.home)
    assert json.loads(read("audit", "--home", home, "--json"))[0]["findings"] == []


def test_study_whose_workers_keep_dying_stops_and_stores_nothing(
    tmp_path: Path, customized: Path, tiny_file: Path
) -> None:
    home = tmp_path / "home"
    customized.write_text(DYING)
    error = study(tiny_file, home).error
    assert "the local workers: 10 of them died one after the other" in error
    assert json.loads(read("digest", "--home", home, "--json"))[0]["n_trials"] == 0


def test_lifetime_of_a_users_own_dask_workers_ends_none_of_the_programs(
    tmp_path: Path, tiny_file: Path, finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENVIRONMENT, "DASK_DISTRIBUTED__WORKER__LIFETIME__DURATION", "2s")
    monkeypatch.setitem(ENVIRONMENT, "DASK_DISTRIBUTED__WORKER__LIFETIME__RESTART", "True")
    monkeypatch.setitem(ENVIRONMENT, "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT", "1ms")
    monkeypatch.setitem(ENVIRONMENT, "DASK_SCHEDULER_ADDRESS", "tcp://127.0.0.1:9")
    ended = study(tiny_file, tmp_path / "home")
    assert ended.status == 0, ended
    assert "is run again" not in ended.stderr
    assert digest_of(tmp_path / "home") == digest_of(finished.home)
