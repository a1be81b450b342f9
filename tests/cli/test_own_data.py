"""Other data of MNIST's form, under the name that its user gives it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import Ended, read, refused, run

from mnist_study.data.dataset import load_test_set, load_training_set


@pytest.fixture(scope="module")
def own_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in with black and white exchanged: data that no source but this folder has."""
    train, test = load_training_set("digits"), load_test_set("digits")
    folder = tmp_path_factory.mktemp("own")
    np.savez(
        folder / "data.npz",
        x_train=255 - train.images, y_train=train.labels,
        x_test=255 - test.images, y_test=test.labels,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory, tiny_file: Path, own_data: Path) -> Path:
    home = tmp_path_factory.mktemp("home")
    options = ("--dataset", "mine", "--data", own_data, "--home", home, "--workers", "1")
    ended = run("study", tiny_file, *options)
    assert ended.status == 0, ended
    assert "this is mine (not MNIST)" in ended.stderr
    return home


@pytest.fixture(scope="module")
def promoted(studied: Path, own_data: Path) -> Ended:
    run_id = run_of_a_trial(studied)
    return run("promote", "--run", run_id, "--data", own_data, "--home", studied)


def run_of_a_trial(home: Path) -> str:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'tiny-mine'")
    runs = client.search_runs([experiment.experiment_id])
    trials = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    return str(trials[0].info.run_id)


def test_a_study_of_own_data_is_named_after_it_and_never_called_mnist(studied: Path) -> None:
    (document,) = json.loads(read("status", "--home", studied, "--json"))
    assert document["study"] == "tiny-mine"
    report = (studied / "reports" / "tiny-mine" / "README.md").read_text(encoding="utf-8")
    assert report.splitlines()[0] == "# Study tiny-mine on mine (not MNIST)"


def test_a_champion_of_own_data_has_a_model_name_of_its_own(promoted: Ended, studied: Path) -> None:
    assert promoted.status == 0, promoted
    assert "mine-classifier version 1 is champion" in promoted.stdout + promoted.stderr
    assert "champion: mine-classifier version 1" in read("status", "--home", studied)
    card = (studied / "reports" / "mine-classifier" / "README.md").read_text(encoding="utf-8")
    assert "nothing here is a result about MNIST" in card


def test_own_data_that_changed_is_refused_on_resume(
    studied: Path, tiny_file: Path, own_data: Path, tmp_path: Path
) -> None:
    with np.load(own_data / "data.npz") as data:
        arrays = dict(data)
    arrays["y_train"] = arrays["y_train"][::-1]
    np.savez(tmp_path / "data.npz", **arrays)
    options = ("--dataset", "mine", "--data", tmp_path, "--home", studied, "--trials", "4")
    assert "data" in refused("study", tiny_file, *options)


@pytest.mark.parametrize("name", ["Digits", "in/verted", "-x", "x" * 41])
def test_a_name_that_no_data_may_have_is_refused(
    tiny_file: Path, own_data: Path, tmp_path: Path, name: str
) -> None:
    home = tmp_path / "home"
    options = (f"--dataset={name}", "--data", own_data, "--home", home)
    assert f"found {name!r}" in refused("study", tiny_file, *options)
    assert not home.exists()
