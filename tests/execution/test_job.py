"""Writing what a job has found."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnist_study.execution.job import Findings


def test_error_of_a_full_disk_names_the_file_of_the_report(tmp_path: Path) -> None:
    Findings([], {}, {"README.md": "text"}, {}).write(tmp_path / "report")
    assert (tmp_path / "report" / "README.md").read_text() == "text"
    (tmp_path / "report" / "history.png").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left on device.*history\.png"):
        Findings([], {"history": b"picture"}, {}, {}).write(tmp_path / "report")
