"""The ablation's sentences: what the design could find, and what is said of a verdict."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ablation_simulation import analysed, claim, drawn_values, of_factor

from mnist_study import stats
from mnist_study.experiments.ablation.claims import Sentence
from mnist_study.experiments.ablation.config import load_ablation
from mnist_study.experiments.ablation.design import Cell
from mnist_study.experiments.ablation.text import (
    by_recipe,
    depends_on,
    planned_effect,
    power_line,
    sentence,
    summary_line,
    tuning_line,
    verdict_text,
)
from mnist_study.experiments.ablation.verdict_tables import sentence_table

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def test_design_says_what_two_cells_and_holms_correction_cost() -> None:
    ablation = load_ablation(EXPERIMENTS / "ablation.toml")
    n = sum(len(claim.settings()) for claim in ablation.claims if claim.metric)
    n_tests = n - 4  # a prediction at four read-outs is no test
    found = []
    for sd in (2 * 0.0021 / np.sqrt(8), 0.0021 * np.sqrt(2)):
        for alpha in (0.05, 0.05 / n_tests):
            found.append(100 * stats.smallest_detectable_effect(sd, 40, alpha=alpha))
    main, main_first, two, two_first = (f"{effect:.3f}" for effect in found)
    line = power_line(ablation)
    assert f"{main} points in a single test, {main_first} at the strictest step" in line
    assert f"of {n_tests} tests; smallest difference between two cells: {two} and" in line
    assert f"and {two_first} points" in line


def test_design_detects_a_tenth_of_a_point() -> None:
    ablation = load_ablation(EXPERIMENTS / "ablation.toml")
    n = ablation.n_seeds * len(ablation.executions)
    effect = planned_effect(ablation.power, n_factors=3, n_replicates=n, alpha=0.05)
    sd = 2 * ablation.power.run_sd / np.sqrt(8)
    assert stats.power_of_paired_t(effect, sd, n) == pytest.approx(0.8, abs=1e-9)
    assert effect <= 0.001


def test_the_tuned_file_has_the_seeds_that_its_smallest_effect_takes() -> None:
    assert tuning_line(load_ablation(EXPERIMENTS / "ablation.toml")) is None
    ablation = load_ablation(EXPERIMENTS / "ablation_tuned.toml")
    line = tuning_line(ablation)
    assert line is not None
    assert ablation.tuning is not None
    n_tests = sum(len(c.settings()) for c in ablation.claims if c.metric == "test_accuracy")
    has = 2 * ablation.tuning.n_seeds
    for sd in (2 * ablation.power.run_sd / np.sqrt(8), ablation.power.run_sd * np.sqrt(2)):
        needed = stats.required_pairs(0.001, sd, alpha=0.05 / n_tests, power=0.8)
        assert needed is not None
        assert f" {needed} " in line or f" {needed};" in line
        assert has >= needed
    assert f"the file has {has}" in line
    n_runs, sd = 2 * ablation.tuning.n_runs, ablation.power.run_sd * np.sqrt(2)
    apart = stats.smallest_detectable_effect(sd, n_runs, power=0.8)
    assert f"{n_runs} runs a rate tell two rates apart that differ by {100 * apart:.2f}" in line


def only_last(part: str, cell: Cell, readout: str) -> float:
    return (-0.01 if readout == "last" else 0.01) * ("l2" in cell)


def only_study(part: str, cell: Cell, readout: str) -> float:
    return (-0.01 if part == "study" else 0.01) * ("l2" in cell)


def documented_last(part: str, cell: Cell, readout: str) -> float:
    return (-0.01 if (part, readout) == ("documented", "last") else 0.01) * ("l2" in cell)


def with_dropout(part: str, cell: Cell, readout: str) -> float:
    if part == "documented" and readout != "last":
        return (-0.01 if len(cell) > 1 else 0.01) * ("l2" in cell)
    return documented_last(part, cell, readout)


@pytest.mark.parametrize(
    ("shift", "wanted"),
    [
        (only_last, ["read-out"]),
        (only_study, ["recipe"]),
        (documented_last, ["recipe", "read-out"]),
        (with_dropout, ["recipe", "read-out", "other factors"]),
    ],
)
def test_a_verdict_says_what_it_depends_on(shift: object, wanted: list[str]) -> None:
    values = drawn_values(np.random.default_rng(1), shift)  # type: ignore[arg-type]
    (decision,) = analysed(values, claim(effect="l2")).all_decisions
    assert depends_on(decision) == wanted
    stated = {
        1: "depends on the {}",
        2: "depends on the {} and the {}",
        3: "depends on the {}, the {} and the {}",
    }
    assert verdict_text(decision) == stated[len(wanted)].format(*wanted)
    assert "both executions agree: yes" in sentence(decision)


def test_verdicts_that_differ_are_stated_recipe_by_recipe() -> None:
    values = drawn_values(np.random.default_rng(1), documented_last)
    (decision,) = analysed(values, claim(effect="l2")).all_decisions
    stated = (
        "documented recipe: contradicted (last epoch), supported (restored, averaged weights); "
        "study's recipe: supported"
    )
    assert by_recipe(decision) == stated
    assert stated in sentence(decision)
    (row,) = sentence_table([Sentence(text="x", claims=(decision.claim,))], [[decision]])[2:]
    assert "| **depends on the recipe and the read-out** |" in row
    assert "documented recipe: -" in row


def test_a_sentence_states_range_settings_and_replication() -> None:
    values = drawn_values(np.random.default_rng(2), of_factor("l2", 0.01))
    (decision,) = analysed(values, claim(effect="l2")).all_decisions
    text = sentence(decision)
    assert text.startswith("x: supported (documented recipe: +")
    assert "both recipes: last epoch, restored, averaged weights; n = 40" in text
    assert text.endswith("both executions agree: yes).")
    assert summary_line([decision, decision]) == "Of 2 declared claims: 2 supported."


def test_of_a_prediction_the_part_is_stated_that_all_its_intervals_share() -> None:
    values = drawn_values(np.random.default_rng(4), only_last)
    settings = {"arms": ["all"], "parts": ["documented"], "target": 0.9, "margin": 0.05}
    several = claim(direction="contains", readouts=["last", "averaged"], **settings)
    (decision,) = analysed(values, several).all_decisions
    found = [reading.estimate.prediction_interval for reading in decision.readings]
    low, high = 100 * max(i.low for i in found), 100 * min(i.high for i in found)
    shared = (
        f"one run: {low:.3f} to {high:.3f} %, in each prediction interval"
        if low <= high
        else "the prediction intervals share no value"
    )
    assert shared in sentence(decision)
    one = claim(direction="contains", readouts=["last"], **settings)
    (decision,) = analysed(values, one).all_decisions
    (only,) = decision.readings
    interval = only.estimate.prediction_interval
    assert f"one run: {100 * interval.low:.3f} to {100 * interval.high:.3f} %;" in sentence(
        decision
    )


def test_a_single_setting_gives_its_interval() -> None:
    values = drawn_values(np.random.default_rng(3), of_factor("l2", 0.01))
    one = claim(effect="l2", parts=["study"], readouts=["averaged"])
    (decision,) = analysed(values, one).all_decisions
    interval = decision.readings[0].estimate.interval
    ends = [f"{100 * end:+.3f}" for end in (interval.estimate, interval.low, interval.high)]
    text = sentence(decision)
    assert f"({ends[0]} ({ends[1]} to {ends[2]}) points; study's recipe: averaged weights" in text
