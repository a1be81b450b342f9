"""What the program meets on a machine: environment variables, other users, closed terminals."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from command_line import (
    PROGRAM,
    Finished,
    end,
    execute,
    needs_mounts,
    read,
    refused,
    run,
    running_runs,
    start,
    written,
)
from study_process import wait_until

from mnist_study.core.home import Home


def digest_of(home: Path) -> str:
    (document,) = json.loads(read("digest", "--home", home, "--json"))
    return str(document["digest"])


def test_settings_for_other_programs_and_the_name_of_the_home_change_no_result(
    tmp_path: Path, tiny_file: Path, finished: Finished
) -> None:
    """Stores lie in a home whose name means something else where it is part of a URL."""
    home, keras_home = tmp_path / "50%20 Prüfung?a=b#c", tmp_path / "keras"
    keras_home.mkdir()
    (keras_home / "keras.json").write_text('{"backend": "jax", "floatx": "float16"}')
    foreign = {
        "TF_XLA_FLAGS": "--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit",
        "TF_DETERMINISTIC_OPS": "1",
        "TF_NUM_INTRAOP_THREADS": "2",
        "KERAS_BACKEND": "torch",
        "KERAS_HOME": str(keras_home),
    }
    options = ("--dataset", "digits", "--home", home, "--workers", "1")
    ended = run("study", tiny_file, *options, cwd=None, **foreign)
    assert ended.status == 0, ended
    assert {"optuna.db", "mlflow.db", "artifacts"} <= {path.name for path in home.iterdir()}
    assert "proven" in run("audit", "--home", home).stdout
    assert digest_of(home) == digest_of(finished.home)


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


def test_commands_that_read_do_so_on_a_read_only_home(
    unchanged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = {name: read(name, "--home", unchanged) for name in ("status", "digest", "audit")}
    monkeypatch.setattr(Home, "is_read_only", True)
    for name, text in expected.items():
        assert read(name, "--home", unchanged) == text
    text = read("report", "--home", unchanged)
    assert f"not written, as {unchanged} is read-only" in text
    assert "\n# " in text
    assert f"written: {tmp_path}" in read("report", "--home", unchanged, "--output", tmp_path)


@needs_mounts
@pytest.mark.slow
def test_read_only_file_system_is_read(finished: Finished) -> None:
    home = finished.home
    script = f"mount --bind {home} {home} && mount -o remount,ro,bind {home} || exit 99"
    for name in ("status", "digest", "audit", "report"):
        command = ["unshare", "--mount", "sh", "-c", f'{script}; exec "$@"', "sh", *PROGRAM, name]
        ended = execute([*command, "--home", str(home)])
        assert ended.status == 0, ended


def test_databases_of_another_version_are_named_with_what_upgrades_them(
    tmp_path: Path, finished: Finished
) -> None:
    for name in ("mlflow.db", "optuna.db"):
        shutil.copy(finished.home / name, tmp_path)
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    error = refused("audit", "--home", tmp_path)
    assert f"-m mlflow db upgrade sqlite:///{tmp_path / 'mlflow.db'}`" in error
    with closing(sqlite3.connect(tmp_path / "optuna.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = 'v2.6.0.a'")
    error = refused("status", "--home", tmp_path)
    assert f"storage upgrade --storage sqlite:///{tmp_path / 'optuna.db'}`" in error
    (program,) = [word for word in error.replace("`", " ").split() if word.endswith("/optuna")]
    assert Path(program).exists()


def test_advice_about_a_deleted_experiment_restores_it(
    tmp_path: Path, tiny_file: Path, finished: Finished
) -> None:
    home = tmp_path / "home"
    shutil.copytree(finished.home, home)
    from mnist_study.tracking.connection import connect

    client = connect(f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny-digits")
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    options = ("--dataset", "digits", "--home", home, "--workers", "1")
    error = refused("study", tiny_file, *options)
    assert "experiment 'tiny-digits' was deleted" in error
    # A part of a line for a shell, as it is printed.
    command = error.partition("restore it with `")[2].partition("`")[0]
    done = execute(["sh", "-c", command])
    assert done.status == 0, done
    restored = client.get_experiment_by_name("tiny-digits")
    assert restored is not None
    assert restored.lifecycle_stage == "active"
