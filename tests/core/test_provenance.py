"""Provenance: the commit of the code and its differences."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mnist_study.core.provenance import git_problem, git_state


def test_git_state_names_commit_and_every_difference(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=n", "-c", "user.email=e@example.org")
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True)

    assert git_state(tmp_path) == (None, "")
    git("init", "-q")
    assert git_state(tmp_path) == (None, "")
    (tmp_path / "code.py").write_text("a = 1\n")
    git("add", ".")
    git("commit", "-qm", "first")
    commit, diff = git_state(tmp_path)
    assert (len(commit or ""), diff) == (40, "")
    (tmp_path / "code.py").write_text("a = 2\n")
    (tmp_path / "new.py").write_text("")
    again, diff = git_state(tmp_path)
    assert again == commit
    assert "# untracked: new.py" in diff
    assert "+a = 2" in diff


def test_repository_of_another_owner_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert git_problem(tmp_path) is None
    # What git's own tests use to be another user.
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "safe.directory" in (git_problem(tmp_path) or "")
    assert git_problem(tmp_path / "missing") is None
