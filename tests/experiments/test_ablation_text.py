"""The ablation's sentences: what the design could find, and what is said of a verdict."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ablation_simulation import claim

from mnist_study import stats
from mnist_study.experiments.ablation.analysis import Decision, Effect
from mnist_study.experiments.ablation.config import load_ablation
from mnist_study.experiments.ablation.tables import verdict_table
from mnist_study.experiments.ablation.text import (
    brief,
    detectable_now,
    planned_effect,
    power_line,
    remarks,
    sentence,
)

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def test_design_says_what_two_cells_and_holms_correction_cost() -> None:
    ablation = load_ablation(EXPERIMENTS / "ablation.toml")
    run_sd, n_splits, n_seeds = 0.0021, 3, 20
    found = []
    for sd in (2 * run_sd / np.sqrt(8 * n_splits), run_sd * np.sqrt(2 / n_splits)):
        for alpha in (0.05, 0.05 / 11):
            found.append(100 * stats.smallest_detectable_effect(sd, n_seeds, alpha=alpha))
    main, main_first, two, two_first = (f"{effect:.3f}" for effect in found)
    line = power_line(ablation)
    assert f"{main} points in a single test, {main_first} at the strictest step" in line
    assert f"correction of 11 claims; smallest difference between two cells: {two} and" in line
    assert f"and {two_first} points" in line


def test_design_detects_a_tenth_of_a_point_and_says_so_from_the_file_alone() -> None:
    ablation = load_ablation(EXPERIMENTS / "ablation.toml")
    # By hand: a main effect of 2^3 cells has 2 sd / sqrt(8 splits) between seeds.
    sd = 2 * ablation.power.run_sd / np.sqrt(8 * len(ablation.split_seeds))
    effect = planned_effect(
        ablation.power, n_factors=3, n_seeds=20, n_splits=3, alpha=ablation.statistics.alpha
    )
    assert stats.power_of_paired_t(effect, sd, ablation.n_seeds) == pytest.approx(0.8, abs=1e-9)
    assert effect <= 0.001
    assert f"{100 * effect:.3f} points" in power_line(ablation)


def decided(
    estimate: float, error: float, verdict: str, *, crossed: stats.Interval | None = None
) -> Decision:
    t_estimate = stats.TEstimate(estimate, error, 19)
    contrast = replace(
        stats.contrast_of_blocks(np.zeros((1, 20)), ["l2"]),
        estimate=t_estimate,
        interval=t_estimate.interval(),
        p_value=t_estimate.p_value,
    )
    hypothesis = claim(effect="l2", readout="last", margin=0.001)
    tost = stats.equivalence(t_estimate, hypothesis.margin)
    effect = Effect("test_accuracy", "last", contrast, tost, t_estimate.p_value, True, crossed)
    return Decision(hypothesis, effect, 0.04, stats.Verdict(verdict))


@pytest.mark.parametrize(
    ("estimate", "error", "verdict", "wanted"),
    [
        (0.005, 0.001, "supported", []),
        (-0.005, 0.001, "contradicted", []),
        (0.0015, 0.0004, "supported", ["perhaps smaller than the margin of 0.100"]),
        (-0.0008, 0.0002, "contradicted", ["perhaps smaller than the margin of 0.100"]),
        (0.0005, 0.0001, "supported", ["smaller than the margin of 0.100"]),
        (-0.0005, 0.0001, "contradicted", ["smaller than the margin of 0.100"]),
        (0.0025, 0.001, "undecided", ["not significant after correction"]),
        (0.0005, 0.001, "undecided", []),
        (0.0001, 0.0001, "equivalent", []),
    ],
)
def test_a_difference_says_whether_its_interval_exceeds_the_margin(
    estimate: float, error: float, verdict: str, wanted: list[str]
) -> None:
    decision = decided(estimate, error, verdict)
    assert remarks(decision) == wanted
    for remark in wanted:
        assert remark in sentence(decision)
        assert remark in brief(decision)
        assert f"**{verdict}**, {remark}" in verdict_table([decision], None, 0.05)[2]


def test_a_difference_that_other_images_might_not_show_says_so() -> None:
    wide = stats.Interval(0.005, -0.001, 0.011)
    decision = decided(0.005, 0.001, "supported", crossed=wide)
    assert remarks(decision) == ["significant for these test images only"]
    narrow = stats.Interval(0.005, 0.001, 0.009)
    assert remarks(decided(0.005, 0.001, "supported", crossed=narrow)) == []


def test_sentence_gives_the_corrected_p_values() -> None:
    text = sentence(decided(0.0001, 0.0003, "equivalent"))
    assert "adjusted p = 0.743; equivalence within 0.100, adjusted p = 0.040" in text


def test_detectable_effect_now_is_that_of_the_spread_between_seeds() -> None:
    blocks = np.random.default_rng(0).normal(0, 0.002, (3, 20))
    contrast = stats.contrast_of_blocks(blocks, ["l2"])
    tost = stats.equivalence(contrast.estimate, 0.001)
    effect = Effect("test_accuracy", "last", contrast, tost, 1.0)
    sd = float(np.std(blocks.mean(axis=0), ddof=1))
    wanted = stats.smallest_detectable_effect(sd, 20, alpha=0.05, power=0.8)
    assert detectable_now(effect, 20, alpha=0.05, power=0.8) == pytest.approx(wanted)
