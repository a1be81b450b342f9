"""The pages of study, confirmation and baseline, from records made by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from drawn_study import SPACE, make_study
from handmade import MemoryHistory, completed, fill_study, study_identity

from mnist_study.core.config import load_experiment
from mnist_study.core.identity import BaselineIdentity, parse_identity
from mnist_study.data.dataset import load_test_set, load_training_set
from mnist_study.experiments.baseline import baseline_job, read_baseline
from mnist_study.experiments.confirmation import (
    ConfirmationDesign,
    candidates,
    confirm_job,
    read_confirmation,
)
from mnist_study.experiments.confirmation_results import confirmation_of
from mnist_study.experiments.study import read_study
from mnist_study.experiments.study_page import study_page
from mnist_study.experiments.summary import FIGURES
from mnist_study.pages import REPORT, render
from mnist_study.plots import style
from mnist_study.search.history import History
from mnist_study.stats import mean_estimate, wilson_interval

EXPERIMENT = load_experiment(Path(__file__).parents[2] / "experiments" / "smoke.toml")
TRAINING_SET = load_training_set("digits")
DESIGN = ConfirmationDesign(top=2, screening_seeds=3, n_finalists=2, n_seeds=12)
VALUES = (0.90, 0.92, 0.95, 0.93, 0.91)


def a_study(*others: History) -> History:
    history = MemoryHistory(EXPERIMENT.name, study_identity(EXPERIMENT), *others)
    fill_study(history, EXPERIMENT, VALUES)
    return history


def a_confirmation(study: History, n_runs: int | None = None) -> tuple[History, np.ndarray]:
    """Record a confirmation in which each configuration keeps half of its lead."""
    job = confirm_job(study, TRAINING_SET, DESIGN, candidates(study, 2)[1:])
    history = MemoryHistory(job.name, job.identity)
    history.n_trials = job.n_trials
    rng, plan = np.random.default_rng(0), job.make_plan()
    trials = [candidate.trial for candidate in candidates(study, 2)]
    values = np.array([0.90 + 0.5 * (VALUES[trial] - 0.90) for trial in trials])
    values = values + rng.normal(0, 0.001, (DESIGN.n_seeds, len(trials)))
    for number in range(job.n_trials if n_runs is None else n_runs):
        params = plan.suggest(number, [], []).params
        history.append(completed(number, params, float(values.flat[number])), f"run-{number}")
    return history, values


def a_search(n_trials: int) -> History:
    """Record made-up trials of all states."""
    search = EXPERIMENT.search.model_copy(update={"space": SPACE})
    experiment = EXPERIMENT.model_copy(update={"study": search})
    history = MemoryHistory(experiment.name, study_identity(experiment))
    for row in make_study(n_trials):
        history.append(row, f"run-{row.number}")
    return history


def page_of(history: History) -> str:
    """Return a study's page, with its figures left out."""
    nothing = dict.fromkeys([*FIGURES, "tuning_curves", "parameter_importances"], style.Figure())
    return render(study_page(history, nothing, confirmation_of(history), [], []))


def head_of(page: str) -> str:
    """Return question and answer as the page shows them, without tags."""
    header = page[page.index("<header>") : page.index("</header>")]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", header))


def first_table(page: str) -> dict[str, list[str]]:
    """Return the cells of the first screen's table by the name of their row."""
    table = page[page.index('<div class="numbers">') : page.index("<nav")]
    rows = re.findall(r"<tr>(.*?)</tr>", table, re.S)
    cells = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.S) for row in rows]
    return {re.sub("<[^>]+>", "", name): rest for name, *rest in cells}


def data_of(page: str) -> dict[str, dict[str, dict[str, object]]]:
    found = re.search(r'<script type="application/json" id="trials">(.*?)</script>', page)
    assert found
    document = json.loads(found[1])
    assert isinstance(document, dict)
    return document


def test_first_screen_of_a_study_answers_with_intervals_and_says_what_is_not_known() -> None:
    page = page_of(a_study())
    text = head_of(page)
    n_images = EXPERIMENT.data.validation_size
    interval = wilson_interval(round(0.95 * n_images), n_images)
    assert "The best of 5 trials (5 complete), trial 2, reaches" in text
    assert (
        f"{interval.estimate:.2%} ({100 * interval.low:.2f} to {100 * interval.high:.2f})" in text
    )
    assert "how much of the lead is left with fresh seeds is not measured yet" in text
    table = first_table(page)
    assert table[""] == ["documented", "best, trial 2"]
    assert table["validation accuracy, one run"] == ["90.00%", "95.00%"]
    assert table["layer widths"] == ["128-64-32", "148-64-32"]


def test_first_screen_of_a_confirmed_study_shows_what_fresh_seeds_left() -> None:
    confirmation, values = a_confirmation(a_study())
    page = page_of(a_study(confirmation))
    mean = mean_estimate(values[:, 1]).interval(0.95)
    gain = mean_estimate(values[:, 1] - values[:, 0]).interval(0.95)
    text = head_of(page)
    assert (
        f"trial 2 is confirmed at {mean.estimate:.2%} "
        f"({100 * mean.low:.2f} to {100 * mean.high:.2f})" in text
    )
    assert f"{100 * gain.estimate:+.2f} points ({100 * gain.low:+.2f} to" in text
    assert first_table(page)[""] == ["documented", "best and confirmed, trial 2"]
    assert first_table(page)["the same, mean over fresh seeds"][1] == f"{mean.estimate:.2%}"


def test_an_unfinished_confirmation_confirms_nothing() -> None:
    confirmation, _ = a_confirmation(a_study(), n_runs=33)
    assert "not measured yet" in head_of(page_of(a_study(confirmation)))


def test_every_trial_is_in_the_table_and_known_to_the_script() -> None:
    history = a_search(24)
    page = page_of(history)
    assert {int(n) for n in re.findall(r'<tr id="trial-(\d+)"', page)} == set(range(24))
    data = data_of(page)["trials"]
    assert data["17"]["value"] is None
    assert data["17"]["state"] == "FAILED"
    assert data["3"]["value"] == history.results[3].value
    assert len(data["3"]["epochs"]) == len(history.results[3].epochs)  # type: ignore[arg-type]


def test_a_page_with_its_figures_is_small_and_the_same_bytes_twice() -> None:
    history = a_search(20)
    page = read_study(history).tables[REPORT]
    assert len(page) < 1_000_000
    assert page == read_study(history).tables[REPORT]
    # Marks of the figures lead to the rows of the table.
    assert page.count('xlink:href="#trial-3"') >= 2


@pytest.mark.parametrize("n", [0, 1])
def test_a_study_that_has_hardly_begun_has_a_page(n: int) -> None:
    history = MemoryHistory(EXPERIMENT.name, study_identity(EXPERIMENT))
    fill_study(history, EXPERIMENT, VALUES[:n])
    text = head_of(page_of(history))
    assert ("nothing to compare" in text) is (n == 0)
    assert ("it is the documented network itself" in text) is (n == 1)


def test_page_of_a_confirmation_names_winner_gain_and_every_run() -> None:
    history, values = a_confirmation(a_study())
    page = read_confirmation(history).tables[REPORT]
    text = head_of(page)
    assert f"confirmed validation accuracy {values[:, 1].mean():.2%}" in text
    assert f"{100 * (values[:, 1] - values[:, 0]).mean():+.2f} points" in text
    table = first_table(page)
    assert table["trial 2 (winner)"][0] == f"{100 * values[:, 1].mean():.2f}"
    assert table["documented"][0] == f"{100 * values[:, 0].mean():.2f}"
    data = data_of(page)["trials"]
    assert len(data) == values.size
    # Runs follow each other configuration by configuration.
    assert str(data["4"]["title"]).startswith("trial 2, complete")


@pytest.mark.parametrize("dataset", ["mnist", "digits"])
def test_page_of_the_baseline_compares_mnist_alone_with_the_document(dataset: str) -> None:
    job = baseline_job(EXPERIMENT, TRAINING_SET, load_test_set("digits"), 4)
    document = job.identity.as_document()
    document["data"]["dataset"] = dataset
    identity = parse_identity(json.dumps(document))
    assert isinstance(identity, BaselineIdentity)
    history = MemoryHistory("baseline", identity)
    for number, offset in enumerate((-0.001, 0.0, 0.001, 0.0005)):
        metrics = {"test/accuracy": 0.972 + offset, "test/loss": 0.1}
        result = completed(number, EXPERIMENT.baseline, 0.97 + offset, test_metrics=metrics)
        history.append(result, f"run-{number}")
    page = read_baseline(history).tables[REPORT]
    assert ("reproduce its documented numbers?" in head_of(page)) is (dataset == "mnist")
    assert ("0.9728" in page) is (dataset == "mnist")
    assert ('class="documented"' in page) is (dataset == "mnist")
    assert first_table(page)["mean, %"] == ["97.21", "97.01"]
    assert "test accuracy 97.30%" in str(data_of(page)["trials"]["2"]["title"])
    assert page.count('xlink:href="#trial-2"') == 2
