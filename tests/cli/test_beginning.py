"""The beginning of the program, in surroundings that are not as one would wish."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import ENVIRONMENT, PROGRAM, execute, run

from mnist_study.cli.surroundings import settle_streams


@pytest.mark.parametrize(
    ("request_", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
)
def test_program_that_is_stopped_while_it_starts_says_so_in_a_line(
    tmp_path: Path, request_: signal.Signals, status: int
) -> None:
    # A module that the command line imports early, and that takes its time here.
    (tmp_path / "typer.py").write_text("import time\nopen('here', 'w').close()\ntime.sleep(60)\n")
    process = subprocess.Popen(
        [*PROGRAM, "status"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=ENVIRONMENT | {"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"},
    )
    while not (tmp_path / "here").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(request_)
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (status, "stopped\n")


def test_warnings_as_errors_change_nothing() -> None:
    for command in (PROGRAM, [sys.executable, "-W", "error", *PROGRAM[1:]]):
        ended = execute([*command, "status", "--home", "/no/such"], PYTHONWARNINGS="error")
        assert ended.error.startswith("error: sqlite:////no/such/optuna.db: no study here yet")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_any_encoding_of_the_terminal_will_do(tmp_path: Path, encoding: str) -> None:
    command = [*PROGRAM, "status", "--home", str(tmp_path / "größe-…")]
    environment = ENVIRONMENT | {"PYTHONIOENCODING": encoding}
    done = subprocess.run(command, capture_output=True, env=environment)
    (line,) = done.stderr.decode(encoding).splitlines()
    assert line.startswith("error: ")
    assert "no study here yet" in line


def test_text_that_an_encoding_lacks_is_written_with_what_it_has() -> None:
    script = "from mnist_study.cli.surroundings import *; settle_streams(); print({text})"
    script = script.format(text=ascii("\u2026 2\u00d73 \u2013 \u00e4 \u20ac"))
    ended = execute([sys.executable, "-c", script], PYTHONIOENCODING="ascii")
    assert ended.stdout == "... 2x3 - \\xe4 \\u20ac\n"
    settle_streams()  # of a test's own streams, which are not the terminal's


MATPLOTLIB = """
from mnist_study.cli.surroundings import settle_folders
from mnist_study.core.temporary import remove_own_folder, use_own_folder
use_own_folder()
settle_folders()
import matplotlib
print(matplotlib.get_configdir(), matplotlib.get_cachedir())
remove_own_folder()
"""


@pytest.mark.parametrize(
    ("variable", "value"),
    [("HOME", "/dev/null"), ("XDG_CACHE_HOME", "/dev/null/x"), ("MPLCONFIGDIR", "/dev/null")],
)
def test_matplotlib_writes_to_our_folder_where_it_may_not_to_the_users(
    tmp_path: Path, variable: str, value: str
) -> None:
    environment = {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path)}
    environment |= dict.fromkeys(("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR"), "")
    ended = execute([sys.executable, "-c", MATPLOTLIB], None, **environment)
    users = f"{tmp_path}/home/.config/matplotlib {tmp_path}/home/.cache/matplotlib"
    assert (ended.stdout, ended.stderr) == (f"{users}\n", "")
    ended = execute([sys.executable, "-c", MATPLOTLIB], None, **{**environment, variable: value})
    assert ended.stdout.startswith(f"{tmp_path}/mnist-study-run-")
    assert (ended.status, ended.stderr) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


@pytest.mark.parametrize(
    ("name", "content", "cause"),
    [
        ("broken.yaml", "distributed: [unclosed", "while parsing a flow sequence"),
        ("list.yaml", "- a\n- b\n", "got a list"),
    ],
)
def test_broken_configuration_of_dask_is_one_line(
    tmp_path: Path, tiny_file: Path, name: str, content: str, cause: str
) -> None:
    (tmp_path / name).write_text(content)
    options = ("--dataset", "digits", "--home", tmp_path / "home", "--workers", "1")
    error = run("study", tiny_file, *options, DASK_CONFIG=str(tmp_path / name)).error
    assert "Dask cannot be started" in error
    assert cause in error
    assert "move them away" in error
    assert not (tmp_path / "home").exists()
    error = run("status", "--home", tmp_path / "home", DASK_CONFIG=str(tmp_path / name)).error
    assert "Dask cannot be started" in error
