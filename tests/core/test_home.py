"""Where a home is."""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy
from filelock import FileLock

from mnist_study.core.databases import sqlite_path
from mnist_study.core.home import Home, HomeError, sqlite_url


def test_a_tilde_is_the_users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Home.at(Path("~/runs")).path == tmp_path / "runs"
    monkeypatch.setenv("MNIST_STUDY_HOME", "~/others")
    assert Home.at(None).path == tmp_path / "others"


@pytest.mark.parametrize("name", ["100%25", "what?", "{SCHEMA_VERSION}", "a b", "ü+#&=;@:"])
def test_any_name_of_a_folder_can_stand_in_an_address(tmp_path: Path, name: str) -> None:
    path = tmp_path / name / "a.db"
    path.parent.mkdir()
    address = sqlite_url(path)
    assert sqlite_path(address) == path
    assert address.format() == address  # as Optuna reads it
    engine = sqlalchemy.create_engine(address)
    engine.connect().close()
    engine.dispose()
    assert path.exists()
    # Of these MLflow makes the folder that it takes for the file's.
    is_plain = address.startswith("sqlite:///")
    assert (address.removeprefix("sqlite:///") == str(path)) == is_plain


def test_name_that_is_no_utf8_is_refused_in_a_line_that_can_be_shown() -> None:
    with pytest.raises(HomeError, match="a name that is not UTF-8"):
        Home.at(Path(os.fsdecode(b"/tmp/caf\xe9")))


def test_read_only_home_is_read_from_copies_with_what_was_written_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = sqlite3.connect(tmp_path / "optuna.db")
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("CREATE TABLE t (n)")
    database.execute("INSERT INTO t VALUES (7)")
    database.commit()
    monkeypatch.setattr(Home, "is_read_only", True)
    before = sorted(path.name for path in tmp_path.iterdir())
    assert "optuna.db-wal" in before
    with Home(tmp_path).to_read() as home:
        copy = sqlite_path(home.storage_url)
        assert copy is not None
        assert copy.parent != tmp_path
        assert home.path == tmp_path
        assert home.artifact_root == str(tmp_path / "artifacts")
        with closing(sqlite3.connect(copy)) as connection:
            assert connection.execute("SELECT n FROM t").fetchall() == [(7,)]
        assert not home.has_mlflow_store
    assert not copy.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    database.close()


def test_home_that_can_be_written_to_is_read_where_it_is(tmp_path: Path) -> None:
    with Home(tmp_path).to_read() as home:
        assert home == Home(tmp_path)


def test_file_system_that_cannot_lock_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object, **__: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(FileLock, "acquire", refuses)
    with (
        pytest.raises(HomeError, match=r"cannot lock files \(flock: No locks available\)"),
        Home(tmp_path).locked("x"),
    ):
        pass
