"""What the program meets on a machine: environment variables, other users, closed terminals."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from command_line import Finished, end, read, run, running_runs, start, written
from study_process import wait_until


def digest_of(home: Path) -> str:
    (document,) = json.loads(read("digest", "--home", home, "--json"))
    return str(document["digest"])


@pytest.mark.parametrize(
    "foreign",
    [
        {"TF_XLA_FLAGS": "--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit"},
        {"TF_DETERMINISTIC_OPS": "1", "TF_NUM_INTRAOP_THREADS": "2", "KERAS_BACKEND": "torch"},
    ],
)
def test_variables_of_tensorflow_and_keras_change_no_result(
    tmp_path: Path, tiny_file: Path, finished: Finished, foreign: dict[str, str]
) -> None:
    options = ("--dataset", "digits", "--home", tmp_path, "--workers", "1")
    ended = run("study", tiny_file, *options, cwd=None, **foreign)
    assert ended.status == 0, ended
    assert digest_of(tmp_path) == digest_of(finished.home)


def test_other_users_cannot_read_what_a_study_writes(finished: Finished) -> None:
    written_paths = list(finished.home.rglob("*"))
    assert {"mlflow.db", "optuna.db"} <= {path.name for path in written_paths}
    open_to_others = [path for path in written_paths if path.stat().st_mode & 0o077]
    assert open_to_others == []


def test_a_closed_terminal_ends_a_study_in_order(tmp_path: Path) -> None:
    path, home = written(tmp_path, n_trials=1000, epochs=3), tmp_path / "home"
    driver = start(path, home)
    assert wait_until(lambda: "trial   1 COMPLETE" in driver.text(), 120), driver.text()
    assert end(driver, signal.SIGHUP) == 129
    assert driver.survivors(2) == []
    assert "Traceback" not in driver.text()
    assert driver.text().splitlines()[-1].startswith("stopped: ")
    assert running_runs(home) == 0
