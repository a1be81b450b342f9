"""Addresses of databases, as they are given and as they can be used."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from mnist_study.core.databases import DatabaseError, DatabaseFile, sqlite_path, usable_address


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("sqlite:///optuna.db", "sqlite:///{here}/optuna.db"),
        ("sqlite:///a/../b.db?timeout=3", "sqlite:///{here}/b.db?timeout=3"),
        ("sqlite+pysqlite:///x.db", "sqlite+pysqlite:///{here}/x.db"),
        ("sqlite:////data/x.db", "sqlite:////data/x.db"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("http://host:5000", "http://host:5000"),
    ],
)
def test_relative_file_is_one_of_the_present_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, used: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert usable_address(given, "X") == used.format(here=tmp_path)


@pytest.mark.parametrize(
    ("installed", "given", "used"),
    [
        ("psycopg", "postgresql://u:p@h/n", "postgresql+psycopg://u:p@h/n?connect_timeout=5"),
        ("psycopg2", "postgres://h/n", "postgresql+psycopg2://h/n?connect_timeout=5"),
        (
            "psycopg2",
            "postgresql+psycopg://h/n?sslmode=require",
            "postgresql+psycopg2://h/n?sslmode=require&connect_timeout=5",
        ),
        (
            "psycopg",
            "postgresql+psycopg2://h/n?connect_timeout=60",
            "postgresql+psycopg://h/n?connect_timeout=60",
        ),
        ("psycopg", "postgresql+asyncpg://h/n", "postgresql+asyncpg://h/n?connect_timeout=5"),
    ],
)
def test_postgresql_is_reached_with_the_driver_that_is_installed(
    monkeypatch: pytest.MonkeyPatch, installed: str, given: str, used: str
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == installed or None)
    assert usable_address(given, "X") == used


def test_missing_driver_of_postgresql_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DatabaseError, match=r"MNIST_STUDY_STORAGE: .*psycopg or psycopg2"):
        usable_address("postgresql://host/name", "MNIST_STUDY_STORAGE")


def test_tilde_in_an_address_is_the_users_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert usable_address("sqlite:///~/a.db", "X") == "sqlite:////home/me/a.db"


def test_file_behind_an_address() -> None:
    assert sqlite_path("sqlite:////a/b%20c%3F.db") == Path("/a/b c?.db")
    assert sqlite_path("sqlite+pysqlite:////a/b.db?timeout=3") == Path("/a/b.db")
    assert sqlite_path("sqlite://") is None
    assert sqlite_path("postgresql://host/name") is None


@pytest.mark.parametrize("change", ["deleted", "replaced"])
def test_file_that_is_gone_while_it_is_written_to_is_noticed(tmp_path: Path, change: str) -> None:
    path = tmp_path / "optuna.db"
    path.write_bytes(b"x")
    file = DatabaseFile.at(f"sqlite:///{path}")
    assert file is not None
    file.check()
    if change == "replaced":
        (tmp_path / "other").write_bytes(b"x")
        (tmp_path / "other").replace(path)
    else:
        path.unlink()
    with pytest.raises(DatabaseError, match="deleted, moved or replaced"):
        file.check()
