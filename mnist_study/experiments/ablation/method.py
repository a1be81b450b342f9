"""Design, statistics and origin of an ablation, as its report states them."""

from __future__ import annotations

from collections.abc import Mapping

from mnist_study.core.trials import digest
from mnist_study.experiments.ablation.design import CELLS
from mnist_study.experiments.ablation.outcomes import UNITS
from mnist_study.experiments.ablation.recipes import LAST, RECIPES
from mnist_study.experiments.ablation.record import AblationRecord
from mnist_study.experiments.ablation.text import (
    PART_NAMES,
    in_unit,
    n_tests,
    percent,
    planned_effects_text,
)
from mnist_study.experiments.summary import sessions_markdown
from mnist_study.experiments.tables import markdown_table
from mnist_study.stats import smallest_detectable_effect


def power_lines(record: AblationRecord) -> list[str]:
    """Say what the design can detect, by the planned and by the observed spread."""
    analysis, planned = record.analysis, record.power
    if analysis is None:
        return []
    alpha = record.statistics.alpha
    n = record.n_seeds * len(record.identity.executions)
    before = planned_effects_text(
        planned,
        n_replicates=n,
        n_tests=n_tests(c for s in record.sentences for c in s.claims),
        alpha=alpha,
    )
    observed = ", ".join(
        f"{e.name} in the {PART_NAMES[e.comparison.part]} "
        + in_unit(
            "test_accuracy",
            smallest_detectable_effect(
                e.pooled.sd, e.pooled.n_pairs, alpha=alpha, power=planned.power
            ),
        )
        for e in analysis.effects
        if e.outcome == "test_accuracy" and e.comparison.readout == LAST and e.name == "l2"
        if e.pooled.sd > 0
    )
    return [
        f"- Computed before running: {before} (standard deviation of a run "
        f"{100 * planned.run_sd:.2f} points, {planned.source}). Detectable at the observed spread, "
        f"in a single test at the last epoch: {observed} points."
    ]


def method_markdown(record: AblationRecord) -> list[str]:
    """Describe design, read-outs and statistics."""
    statistics, identity = record.statistics, record.identity
    margins = ", ".join(
        f"{UNITS[outcome].name} {in_unit(outcome, margin)} {UNITS[outcome].unit}".rstrip()
        for outcome, margin in statistics.margins.items()
    )
    recipes = "; ".join(
        f"{PART_NAMES[part]}: batch {training.batch_size}, {training.epochs} epochs, "
        f"{training.schedule} rate"
        for part in RECIPES
        if part in record.parts
        for training in [record.documented_arm(part).training]
    )
    return [
        f"- Recipes: {recipes}. In each all {len(CELLS)} combinations of the factors; learning "
        f"rate {record.documented_rate:g}, Adam, {identity.data.n_train:,} training and "
        f"{identity.validation_size:,} validation rows.",
        *_tuning_lines(record),
        f"- {len(identity.executions)} executions (master seeds "
        f"{', '.join(map(str, identity.executions))}) of {record.n_seeds} seeds in each factorial; "
        "the other parts have as many as their tables say. Every seed has a split of its own; both "
        "are the same in every cell, recipe and part, so that what is compared is paired, and "
        "replicates are independent: Student's t over replicates.",
        "- Each run of a factorial trains to its last epoch and is read out there, where early "
        "stopping would have restored its weights, and with its weights averaged over the second "
        "half of the epochs; the other parts at those of these read-outs that their tables name.",
        "- All tests of the declared claims at all their settings are one family, corrected by "
        "Holm's procedure, and so, as a second one, are their tests against the margins: in each "
        "family the probability of any false “supported”, “contradicted” or “equivalent” is at "
        f"most {percent(statistics.alpha)}. The tests behind “depends” are corrected within their "
        "claim alone. "
        "Intervals are not corrected, so that one may exclude zero where the verdict is undecided. "
        f"Margins of claims without one of their own: {margins}.",
        "- A main effect that is above zero at one setting of the other factors and below zero at "
        "another depends on them, whatever its mean is. A difference whose interval lies within "
        "the margin is never supported or contradicted.",
        "- Intervals over runs and test images come from the mean squares of the two-way layout of "
        "replicates and images; with few replicates its error is itself uncertain, so that it can "
        "be narrower than that over replicates alone. Calibration error: 15 bins.",
        *power_lines(record),
        "",
    ]


def _tuning_lines(record: AblationRecord) -> list[str]:
    if not record.rates:
        return []
    return [
        "- Re-tuned: each combination has the learning rate whose runs have the highest mean "
        f"validation accuracy, of {', '.join(f'{rate:g}' for rate in record.offered_rates)}; among "
        "equals, the documented one. A combination that keeps the documented rate is not trained "
        "again: its runs in the study's recipe count."
    ]


def provenance_markdown(
    record: AblationRecord, tidy_sha256: str, sizes: Mapping[str, int]
) -> list[str]:
    """Return readings of the test set, digests and sessions."""
    lines = [
        f"- The test set was read {record.n_test_readings:,} times, once per read-out; see the "
        "ledger.",
        f"- digest of the tidy rows (`runs.csv`): `{tidy_sha256}`",
        "- `runs.npz` has the answers per test image and the epoch curves of every run, "
        "`effects.csv` the intervals with the runs that they are made of; "
        "`experiments/results/recompute.py` computes them again. "
        + ", ".join(f"{name}: {size / 1000:,.0f} kB" for name, size in sizes.items())
        + ".",
        "",
        *markdown_table(
            ("part", "runs", "digest"),
            [
                (part, f"{len(h.results)} of {h.n_trials}", f"`{digest(h.results)}`")
                for part, h in record.parts.items()
            ],
        ),
        "",
    ]
    for part, history in record.parts.items():
        lines += [f"Part {part}:", "", *sessions_markdown(history), ""]
    return lines
