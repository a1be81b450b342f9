"""The command's own temporary folder, and what is left of commands that were killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mnist_study.core.temporary import TemporaryFolderError, check_temporary_folder

LEAVING = """
import os, signal, sys, tempfile
from mnist_study.core.interrupts import leave
from mnist_study.core.temporary import remove_own_folder, use_own_folder
use_own_folder()
open(os.path.join(tempfile.gettempdir(), "__autograph_generated_file.py"), "w").close()
print(os.environ["TMPDIR"], flush=True)
{end}
"""


def command(folder: Path, end: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", LEAVING.format(end=end)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(folder)},
    )


@pytest.mark.parametrize("end", ["leave(1)", "remove_own_folder()"])
def test_nothing_stays_of_a_command_that_ends(tmp_path: Path, end: str) -> None:
    with command(tmp_path, end) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(f"{tmp_path}/mnist-study-run-")
    assert list(tmp_path.iterdir()) == []


def test_next_command_removes_what_a_killed_one_left_and_nothing_else(tmp_path: Path) -> None:
    for name in ("mnist-study-run-being-made", "mine"):
        (tmp_path / name).mkdir()
    with (
        command(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)") as killed,
        command(tmp_path, "sys.stdin.read()") as living,
    ):
        assert killed.stdout is not None
        assert living.stdout is not None
        left = Path(killed.stdout.readline().strip())
        used = Path(living.stdout.readline().strip())
        killed.wait()
        with command(tmp_path, "leave(0)") as third:
            third.wait()
        assert not left.exists()
        assert used.exists()
        living.send_signal(signal.SIGKILL)
    found = {path.name for path in tmp_path.iterdir()}
    assert found == {"mnist-study-run-being-made", "mine", used.name}


def test_folder_that_takes_no_files_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    check_temporary_folder()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(TemporaryFolderError, match=rf"{tmp_path}: no temp.*No space left.*TMPDIR"):
        check_temporary_folder()
