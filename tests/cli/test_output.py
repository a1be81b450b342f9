"""What the commands print where, their help, and how they end when they are used wrongly."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from command_line import REPOSITORY, Finished, execute, read, run, study
from rich.console import Console

from mnist_study.cli.invocation import command_text
from mnist_study.cli.running import say_rows, say_sizes
from mnist_study.core.home import Home
from mnist_study.data.dataset import TrainingSet
from mnist_study.experiments.ablation.config import load_ablation
from mnist_study.experiments.ablation.design import fit_ablation

COMMANDS = (
    "study", "status", "digest", "baseline", "confirm", "promote", "rollback", "ablation", "report",
    "predict", "serve", "ui", "audit",
)  # fmt: skip


def test_a_study_prints_its_result_on_stdout_and_everything_else_on_stderr(
    finished: Finished,
) -> None:
    document = json.loads(finished.study.stdout)
    assert document["study"] == "tiny-digits"
    assert document["n_trials"] == 3
    assert document["states"] == {"COMPLETE": 3, "PRUNED": 0, "FAILED": 0}
    messages = finished.study.stderr
    for expected in (
        "data: handwritten digits of scikit-learn (as asked for)\n",
        "WARNING: this is the handwritten-digits stand-in, not MNIST",
        "opening the record in MLflow …\n",
        "starting 1 worker, TensorFlow in each …\n",
        "[3/3, best ",
        "drawing the figures and writing the report …\n",
    ):
        assert expected in messages
    assert [f"trial {n:>3} COMPLETE" in messages for n in range(4)] == [True, True, True, False]
    assert Path(document["report"], "README.md").read_text().startswith("# Study tiny-digits on ")


def test_nothing_is_coloured_without_a_terminal(finished: Finished) -> None:
    assert "\x1b" not in finished.study.stdout + finished.study.stderr
    ended = run("study", "--trials", "x", TERM="xterm-256color")
    assert ended.status == 2
    assert "\x1b" not in ended.stderr


def test_status_and_digest_read_the_stores_and_leave_every_byte(unchanged: Path) -> None:
    (status,) = json.loads(read("status", "--home", unchanged, "--json"))
    assert (status["n_finished"], status["n_trials"]) == (3, 3)
    assert status["home_in_use_by"] is None
    assert status["remaining_seconds"] in (None, 0)
    assert status["best_val_accuracy"] >= status["baseline_val_accuracy"]
    text = read("status", "--home", unchanged)
    assert text.startswith("tiny-digits (study): 3 of 3 trials (3 COMPLETE, 0 PRUNED, 0 FAILED)\n")
    (digest,) = json.loads(read("digest", "--home", unchanged, "--json"))
    assert (digest["n_trials"], digest["mixed_identities"]) == (3, False)
    line = read("digest", "--home", unchanged)
    assert line == f"{digest['digest']}  tiny-digits  3 trials\n"


def test_the_home_is_taken_from_the_environment_unless_given(unchanged: Path) -> None:
    assert "tiny-digits" in read("digest", MNIST_STUDY_HOME=str(unchanged))
    elsewhere = str(unchanged / "none")
    assert "tiny-digits" in read("digest", "--home", unchanged, MNIST_STUDY_HOME=elsewhere)


def test_the_module_and_the_script_are_the_same_program(unchanged: Path) -> None:
    script = Path(sys.executable).with_name("mnist-study")
    arguments = ["digest", "--home", str(unchanged)]
    assert execute([str(script), *arguments]).stdout == run(*arguments).stdout


def test_a_finished_study_started_again_trains_nothing_and_finds_the_same(
    finished: Finished, tiny_file: Path
) -> None:
    again = study(tiny_file, finished.home, "--json")
    assert again.status == 0
    assert "resuming: 3 of 3 trials are done\n" in again.stderr
    assert "starting" not in again.stderr
    first = json.loads(finished.study.stdout)
    assert json.loads(again.stdout) == first | {"train_seconds": 0.0}


# Help and wrong usage.


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_takes_less_than_half_a_second(command: str) -> None:
    arguments = [command, "--help"] if command else ["--help"]
    # Of processor time, so that other work on the machine does not count, and of a few tries.
    for _ in range(3):
        before = children_seconds()
        ended = run(*arguments)
        seconds = children_seconds() - before
        if seconds < 0.5:
            break
    assert seconds < 0.5
    assert ended.status == 0
    assert ended.stdout.startswith("Usage: mnist-study ")
    if command:
        assert "--home DIR" in ended.stdout
        assert "--json" in ended.stdout


def children_seconds() -> float:
    times = os.times()
    return times.children_user + times.children_system


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "Usage: mnist-study"),
        (("learn",), "No such command 'learn'"),
        (("study", "--wrokers", "2"), "No such option"),
        # What the file may not say either, but the command line is used wrongly here.
        (("study", "--trials", "0"), "Invalid value for '--trials'"),
        (("study", "--workers", "0"), "Invalid value for '--workers'"),
        (("study", "--seed", "-1"), "Invalid value for '--seed'"),
        (("study", "--seed", "9999999999"), "Invalid value for '--seed'"),
        (("ui", "--port", "70000"), "Invalid value for '--port'"),
    ],
)
def test_wrong_usage_ends_with_status_2(arguments: tuple[str, ...], expected: str) -> None:
    ended = run(*arguments)
    assert ended.status == 2
    assert expected in ended.stderr
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr


def test_clean_stores_leaves_the_page_about_them_and_nothing_else(tmp_path: Path) -> None:
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    for path in (
        "README.md",
        "optuna.db",
        "reports/mnist-study/README.md",
        "artifacts/a/README.md",
    ):
        (tmp_path / "mlruns" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mlruns" / path).write_text("x")
    assert execute(["make", "clean-stores"], cwd=tmp_path).status == 0
    assert [path.name for path in (tmp_path / "mlruns").rglob("*")] == ["README.md"]


@pytest.mark.parametrize(
    ("command", "file", "count", "few"),
    [("study", "study.toml", "--trials", "1"), ("baseline", "baseline.toml", "--seeds", "2")],
)
def test_files_written_for_mnist_run_on_the_stand_in_with_the_same_share_of_rows(
    tmp_path: Path, command: str, file: str, count: str, few: str
) -> None:
    path = REPOSITORY / "experiments" / file
    ended = run(
        command, path, count, few, "--dataset", "digits", "--home", tmp_path, "--workers", "1"
    )
    assert ended.status == 0, ended
    assert "validation: 287 of this data's 1,437 training rows" in ended.stderr


def test_rows_that_an_ablation_has_on_the_stand_in_are_printed(digits: TrainingSet) -> None:
    written = load_ablation(REPOSITORY / "experiments" / "ablation.toml")
    fitted = fit_ablation(written, digits)
    messages = io.StringIO()
    console = Console(file=messages)
    say_rows(console, written.validation_size, fitted.validation_size, digits)
    say_sizes(console, written, fitted)
    assert messages.getvalue() == (
        "validation: 287 of this data's 1,437 training rows, instead of 12,000 of MNIST's\n"
        "training-set sizes: the same shares of this data's rows, 24, 120, 478\n"
    )
    say_rows(console, fitted.validation_size, fitted.validation_size, digits)
    say_sizes(console, fitted, fitted)
    assert messages.getvalue().count("\n") == 2


def test_the_interface_of_a_server_is_the_servers_own(tmp_path: Path) -> None:
    ended = run("ui", "--home", tmp_path, MLFLOW_TRACKING_URI="http://example.org:5000")
    assert (ended.status, ended.stdout) == (0, "MLflow UI: http://example.org:5000\n")
    ended = run("ui", "--home", tmp_path, MLFLOW_TRACKING_URI="http://name:secret@example.org")
    assert (ended.status, ended.stdout) == (0, "MLflow UI: http://name:***@example.org\n")


def test_a_command_in_no_encoding_is_recorded_escaped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["mnist-study", "rollback", os.fsdecode(b"caf\xe9")])
    home = Home(tmp_path)
    with home.locked(command_text()):
        assert (home.holder or "").startswith("`mnist-study rollback caf\\xe9` (process")


def test_as_many_workers_as_this_process_may_use_cores() -> None:
    few = "import os; os.sched_setaffinity(0, {0}); from mnist_study.core.machine import *; "
    ended = execute([sys.executable, "-c", few + "print(available_cores())"])
    assert ended.stdout == "1\n"


def test_report_writes_a_page_a_record_and_an_index_and_puts_the_page_beside_its_run(
    finished: Finished, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    shutil.copytree(finished.home, home)
    pages = [home / "reports" / "tiny-digits" / "report.html", home / "index.html"]
    (logged,) = home.glob("artifacts/tiny-digits/*/artifacts/summary/report.html")
    content = pages[0].read_bytes()
    assert logged.read_bytes() == content
    for path in [*pages, logged]:
        path.unlink()
    document = json.loads(read("report", "--home", home, "--json"))
    assert document["written"] == [str(pages[0].parent)]
    assert document["index"] == str(pages[1])
    assert pages[0].read_bytes() == logged.read_bytes() == content
    assert 'href="reports/tiny-digits/report.html"' in pages[1].read_text()
