"""What the terminal says beside the result: best trials, the next command, help with examples."""

from __future__ import annotations

import json
import shlex
from datetime import datetime
from pathlib import Path

import pytest
from command_line import read, refused
from handmade import MemoryHistory, a_history, completed, fill_study, study_identity
from synthetic_study import make_experiment
from typer.testing import CliRunner

from mnist_study.cli import app
from mnist_study.cli.examples import EXAMPLES, SUMMARIES
from mnist_study.cli.output import print_result, say, stderr_console
from mnist_study.cli.quiet import be_quiet
from mnist_study.core.environment import environment_identity
from mnist_study.core.identity import Candidate, ConfirmationDataIdentity, ConfirmationIdentity
from mnist_study.experiments.confirmation import MARGIN
from mnist_study.experiments.next_steps import next_line, run_document
from mnist_study.experiments.study import read_study
from mnist_study.search.history import History

EXPERIMENT = make_experiment()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two-studies")
    for name, values in (("first", [0.90, 0.97, 0.95]), ("second", [0.90, 0.91])):
        history = a_history(folder, name, study_identity(EXPERIMENT))
        fill_study(history, EXPERIMENT, values)
    return folder


def test_top_lists_the_best_with_their_runs(home: Path) -> None:
    rows = json.loads(read("top", "2", "--study", "first", "--home", home, "--json"))
    found = [(row["trial"], row["val_accuracy"], row["run_id"]) for row in rows]
    assert found == [(1, 0.97, "run-1"), (2, 0.95, "run-2")]
    assert rows[0]["params"]["units_1"] == 138
    assert datetime.fromisoformat(rows[0]["finished_at"]).utcoffset() is not None
    lines = read("top", "--study", "first", "--home", home).splitlines()
    assert [line.split()[2] for line in lines[1::2]] == ["1", "2", "0"]
    assert "run run-1" in lines[1]
    assert max(map(len, lines)) <= 80


def test_several_studies_are_named_and_one_can_be_chosen(home: Path) -> None:
    assert "name a record with --study: first, second" in refused("top", "--home", home)
    assert "expected: first, second" in refused("status", "--study", "third", "--home", home)
    assert read("digest", "--study", "second", "--home", home).count("\n") == 1
    (status,) = json.loads(read("status", "--study", "second", "--home", home, "--json"))
    assert status["study"] == "second"
    assert datetime.fromisoformat(status["last_finished_at"]).utcoffset() is not None


def test_watching_ends_where_nobody_works(home: Path) -> None:
    assert read("status", "--watch", "--study", "first", "--home", home).startswith("first (study)")


def test_each_record_names_the_command_that_comes_next() -> None:
    history = MemoryHistory("some-study", study_identity(EXPERIMENT))
    assert next_line(history, None) == "Next: `mnist-study ui` to look at the runs."
    fill_study(history, EXPERIMENT, [0.9, 0.95])
    line = next_line(history, Path("elsewhere"))
    assert line.startswith("Next: `mnist-study confirm --dataset digits --home elsewhere` to ")
    line = next_line(history, Path("two words"), Path("it's mine"))
    command = shlex.split(line.split("`")[1])
    assert command[2:] == ["--dataset", "digits", "--data", "it's mine", "--home", "two words"]
    document = run_document(history)
    assert (document["best_trial"], document["best_run_id"]) == (1, "run-1")
    assert document["best_params"]["units_1"] == 138
    assert document["run_ids"] == ["run-0", "run-1"]
    assert datetime.fromisoformat(document["last_finished_at"]).utcoffset() is not None


def test_the_study_to_confirm_is_named_where_its_home_has_several(home: Path) -> None:
    first, _ = History.open_all(f"sqlite:///{home / 'optuna.db'}")
    line = next_line(first, None)
    assert line.startswith("Next: `mnist-study confirm --study first --dataset digits` to ")
    page = read_study(first).all_files["report.html"].decode()
    assert "mnist-study confirm --study first</code>" in page


def test_a_confirmation_names_the_trial_to_promote_and_calls_no_run_best() -> None:
    wider = EXPERIMENT.baseline.model_copy(update={"units_1": 256})
    identity = ConfirmationIdentity(
        study="some-study",
        candidates=(
            Candidate(trial=0, params=EXPERIMENT.baseline, search_value=0.9),
            Candidate(trial=4, params=wider, search_value=0.97),
        ),
        seed=0,
        training=EXPERIMENT.training,
        data=ConfirmationDataIdentity(
            dataset="digits", content_hash="ab" * 32, validation_size=287, n_rows=1437
        ),
        environment=environment_identity(),
        margin=MARGIN,
    )
    history = MemoryHistory("some-study-confirm", identity)
    assert next_line(history, None) == "Next: `mnist-study ui` to look at the runs."
    for number in range(20):
        value = (0.90 if number % 2 == 0 else 0.97) + number / 10_000
        params = EXPERIMENT.baseline if number % 2 == 0 else wider
        history.append(completed(number, params, value, restored_train_accuracy=1.0), f"r{number}")
    assert next_line(history, None).startswith("Next: `mnist-study promote --trial 4` to ")
    line = next_line(history, None, Path("mine"))
    assert line.startswith("Next: `mnist-study promote --trial 4 --data mine` to ")
    assert run_document(history)["best_trial"] is None


@pytest.mark.parametrize("found_first", ["nothing", "itself", "another of its name"])
def test_commands_are_printed_as_they_can_be_typed(
    found_first: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    programs = [tmp_path / folder / "mnist-study" for folder in ("a clone", "elsewhere")]
    for program in programs:
        program.parent.mkdir()
        program.touch(0o755)
    search = {"nothing": tmp_path, "itself": programs[0].parent}.get(found_first)
    monkeypatch.setenv("PATH", str(search or programs[1].parent))
    monkeypatch.setattr("sys.argv", [str(programs[0]), "study"])
    name = "mnist-study" if found_first == "itself" else f"'{programs[0]}'"
    line = "Next: `mnist-study confirm` of mnist-study, or `mnist-study ui`."
    typed = f"Next: `{name} confirm` of mnist-study, or `{name} ui`."
    print_result({"next": line}, [line], as_json=False)
    say(stderr_console(), line)
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == (f"{typed}\n", f"{typed}\n")
    # Programs call it by its name.
    print_result({"next": line}, [line], as_json=True)
    assert json.loads(capsys.readouterr().out) == {"next": line}


@pytest.mark.parametrize("command", sorted(EXAMPLES))
def test_help_fits_80_columns_and_ends_with_an_example(command: str) -> None:
    text = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "80"}).stdout
    assert f"Example: {EXAMPLES[command]}" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80
    # The example is one that the command line takes.
    arguments = EXAMPLES[command].split()[1:]
    assert arguments[0] == command
    options = [word for word in arguments if word.startswith("--")]
    assert all(option in text for option in options)


def test_the_list_of_commands_is_not_cut_off() -> None:
    text = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80"}).stdout
    assert "..." not in text.partition("Commands:")[2]
    assert all(summary in text for summary in SUMMARIES.values())


def test_version_and_completion() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.stdout.split()[0]) == (0, "mnist-study")
    done = CliRunner().invoke(
        app, [], prog_name="mnist-study", env={"_MNIST_STUDY_COMPLETE": "source_bash"}
    )
    assert "complete -o default -F _mnist_study_completion mnist-study" in done.stdout


def test_quiet_keeps_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    be_quiet()
    try:
        for text in ("data: somewhere", "WARNING: this is no MNIST"):
            say(stderr_console(), text)
    finally:
        be_quiet(quiet=False)
    assert capsys.readouterr().err == "WARNING: this is no MNIST\n"


def test_a_model_is_named_once(tmp_path: Path) -> None:
    words = refused("promote", "--run", "x", "--trial", "3", "--home", tmp_path)
    assert "--run and --trial" in words
