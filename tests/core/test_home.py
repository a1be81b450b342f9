"""Where a home is."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnist_study.core.home import Home


def test_a_tilde_is_the_users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Home.at(Path("~/runs")).path == tmp_path / "runs"
    monkeypatch.setenv("MNIST_STUDY_HOME", "~/others")
    assert Home.at(None).path == tmp_path / "others"
