"""Experiment files: what is refused and in which words, and what the fingerprint tells apart."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from mnist_study.core.config import (
    ConfigError,
    NetworkParams,
    load_experiment,
    with_overrides,
)

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
SEARCH = (EXPERIMENTS / "study.toml").read_text(encoding="utf-8")


def written(folder: Path, text: str) -> Path:
    path = folder / "experiment.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(folder: Path, old: str, new: str) -> str:
    """Return the message that a change of the default study's file is refused with."""
    assert SEARCH.count(old) == 1, old
    path = written(folder, SEARCH.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        load_experiment(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize("name", ["study", "smoke", "baseline"])
def test_each_experiment_file_is_valid_and_opens_with_command_duration_and_expectation(
    name: str,
) -> None:
    path = EXPERIMENTS / f"{name}.toml"
    experiment = load_experiment(path)
    assert experiment.name == f"mnist-{name}"
    head = path.read_text(encoding="utf-8").partition("\n\n")[0]
    assert all(line.startswith("#") for line in head.splitlines())
    assert all(f"\n#   {word} " in head for word in ("command", "duration", "expect"))


def test_file_is_found_in_the_users_folder_and_may_begin_with_a_mark_of_its_encoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    written(tmp_path, "\ufeff" + SEARCH)
    expected = load_experiment(EXPERIMENTS / "study.toml")
    assert load_experiment(Path("~/experiment.toml")).study == expected.study


def test_all_experiment_files_train_the_same_documented_network() -> None:
    documented = NetworkParams(
        units_1=128, units_2=64, units_3=32, dropout_1=0.3, dropout_2=0.2, l2=0.001,
        learning_rate=0.001,
    )  # fmt: skip
    for name in ("study", "smoke", "baseline"):
        assert load_experiment(EXPERIMENTS / f"{name}.toml").baseline == documented


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("epochs = 20", 'epochs = "20"', "training.epochs: found '20', expected a valid int"),
        ("epochs = 20", "epochs = 20.0", "training.epochs: found 20.0, expected a valid int"),
        ("epochs = 20", "epochs = true", "training.epochs: found True, expected a valid int"),
        ("epochs = 20", "epochs = 0", "training.epochs: found 0, expected greater than or"),
        ('"cosine"', '"step"', "training.schedule: found 'step', expected 'constant' or 'co"),
        ("batch_size = 128", "batchsize = 128", "training.batch_size: missing; this key is req"),
        ("learning_rate = 0.001", "learning_rate = nan", "learning_rate: found nan, expected"),
        ("learning_rate = 0.001", "learning_rate = -0.1", "learning_rate: found -0.1, expected"),
        ("dropout_1 = 0.3", "dropout_1 = 1.0", "baseline.dropout_1: found 1.0, expected le"),
        ("seed = 0 ", "seed = 9_999_999_999 ", "study.seed: found 9999999999, expected le"),
        ('kind = "none"', 'kind = "nop"', "study.pruner.kind: found 'nop', expected 'non"),
        ("patience = 8", "patience = 8, restore = false", "training.early_stopping.restore: unkno"),
        ("low = 128, high = 640", "low = 128", "study.space.units_1.high: missing; this key is"),
        ('type = "int", low = 128', "low = 128", "space.units_1: no type; expected type = 'int'"),
        ("low = 5e-4, high", "low = 0.0, high", "a log range must start above 0, got low 0.0"),
        ("units_1 = {", "units_9 = {", "study.space.units_9: no such parameter; known: units_1, u"),
        ('dropout_1 = { type = "float", low = 0.0, high = 0.5', 'dropout_1 = { type = "int", low = '
         "0, high = 1", "study.space.dropout_1: type must be 'float'"),
        ('dropout_1 = { type = "float", low = 0.0, high = 0.5', 'dropout_1 = { type = "float", low '
         "= 0.0, high = 1.0", "study.space.dropout_1: 1.0 cannot be used, expected less"),
        ('name = "mnist-study"', 'name = "../x"', "name: found '../x', String should match"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_with_its_key_what_was_found_and_what_is_allowed(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    assert expected in refusal(tmp_path, old, new)


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 5000, ""], ids=["digits", "depth", "nothing"])
def test_a_file_that_no_parser_takes_is_refused(tmp_path: Path, value: str) -> None:
    assert refusal(tmp_path, "epochs = 20", f"epochs = {value}").startswith("not valid TOML: ")


def test_further_errors_of_a_file_are_counted(tmp_path: Path) -> None:
    message = refusal(tmp_path, "epochs = 20", "epochs = 0\nrounds = 3")
    assert message.startswith("training.")
    assert message.endswith("(and 1 more)")


@pytest.mark.parametrize("kind", ["qmc", "grid", "brute_force", "cmaes", ""])
def test_an_unsupported_sampler_is_refused_with_the_reason(tmp_path: Path, kind: str) -> None:
    message = refusal(tmp_path, 'kind = "tpe"', f'kind = "{kind}"')
    assert f"sampler {kind!r} is not supported: it " in message
    assert "use 'tpe' or 'random'" in message


def test_settings_cannot_be_changed_once_loaded() -> None:
    experiment = load_experiment(EXPERIMENTS / "study.toml")
    with pytest.raises(ValidationError, match="frozen"):
        experiment.name = "other"


def test_the_command_line_replaces_number_of_trials_and_seed_and_nothing_else() -> None:
    experiment = load_experiment(EXPERIMENTS / "study.toml")
    changed = with_overrides(experiment, n_trials=7, seed=3)
    assert changed.study is not None
    assert (changed.study.n_trials, changed.study.seed) == (7, 3)
    wanted = experiment.model_dump()
    wanted["study"] |= {"n_trials": 7, "seed": 3}
    assert changed.model_dump() == wanted
    assert with_overrides(experiment, n_trials=None, seed=None) == experiment
