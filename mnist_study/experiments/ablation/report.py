"""The report of an ablation: verdicts at the top, everything below."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from mnist_study import stats
from mnist_study.core.trials import digest
from mnist_study.experiments.ablation.analysis import Analysis
from mnist_study.experiments.ablation.config import UNITS
from mnist_study.experiments.ablation.design import CELLS, DOCUMENTED, NONE, cell_label
from mnist_study.experiments.ablation.record import AblationRecord, CurvePoint
from mnist_study.experiments.ablation.runs import Factorial
from mnist_study.experiments.ablation.tables import (
    cell_name,
    cell_table,
    curve_table,
    effect_table,
    main_effects,
    rate_table,
    verdict_table,
)
from mnist_study.experiments.ablation.text import (
    SINGLE_TEST,
    brief,
    detectable_now,
    in_unit,
    percent,
    planned_effects,
    sentence,
)
from mnist_study.experiments.summary import sessions_markdown
from mnist_study.experiments.tables import markdown_table

FIGURES = {
    "paired_differences": "Paired differences to the network without regularization. The grey band "
    "is the margin within which a difference counts as none; bars are {confidence} intervals over "
    "seeds.",
    "interactions": "What L2 does with each combination of the dropouts, at both read-outs; "
    "lines that are not parallel show an interaction. Bars are {confidence} intervals of the "
    "cells' means over seeds; differences are paired and known better than the bars suggest.",
    "seeds": "Every seed (mean over splits) with each cell's mean.",
    "epoch_curves": "Training and validation loss over epochs: means over all runs of a cell, with "
    "the range of the middle 90 %. Training loss is the epoch's running mean, with dropout. "
    "Dashed: the median epoch that early stopping restores.",
    "learning_rates": "Validation accuracy of each cell by learning rate, with fresh seeds: runs, "
    "means, the chosen rate (ring) and the documented one (dotted).",
    "dose_response": "Dose-response: the strength of L2 with dropout as documented, and of dropout "
    "with L2 as documented. Points are seeds, bars {confidence} intervals over seeds; strengths "
    "stand at equal distances.",
    "training_size": "Size of the training set, with all regularization and with none, and below "
    "what all of it changes, paired. Bars are {confidence} intervals over seeds.",
}

_BOTH_ENDS = f"{cell_label(DOCUMENTED)} - {cell_label(NONE)}"


def power_lines(record: AblationRecord) -> list[str]:
    """Say what could be detected, as planned and as it turned out."""
    data, analysis, planned = record.data, record.analysis, record.power
    if data is None or analysis is None:
        return []
    alpha = record.statistics.alpha
    before = planned_effects(
        planned,
        n_seeds=data.n_seeds,
        n_splits=record.n_splits,
        n_claims=sum(h.family == "primary" for h in record.hypotheses),
        alpha=alpha,
    )
    shown = [e for e in main_effects(analysis) if e.where == "last"]
    shown += [e for e in analysis.differences if (e.where, e.name) == ("last", _BOTH_ENDS)]
    now = {
        effect.name: detectable_now(effect, data.n_seeds, alpha=alpha, power=planned.power)
        for effect in shown
        if effect.outcome == "test_accuracy"
    }
    found = ", ".join(f"{name} {100 * value:.3f}" for name, value in now.items())
    return [
        f"Computed before running: {before} (standard deviation of a run "
        f"{100 * planned.run_sd:.2f} points, {planned.source}). "
        f"From the spread that was found, {SINGLE_TEST}: {found} points."
    ]


def ablation_lines(record: AblationRecord) -> list[str]:
    """Say what was found, a line for each hypothesis."""
    if record.analysis is None:
        return ["Fewer than two seeds are complete in every cell, so there is nothing to compare."]
    return [sentence(decision) for decision in record.analysis.decisions]


def ablation_markdown(
    record: AblationRecord, tidy_sha256: str, figures: Mapping[str, object]
) -> str:
    """Write the report.

    Args:
        record: of the ablation.
        tidy_sha256: digest of the tidy rows.
        figures: by name without ending; only those are shown.
    """
    named = "MNIST" if record.on_mnist else "the digits stand-in (not MNIST)"
    lines = [
        f"# What the regularization of the documented network does, on {named}",
        "",
        "Written by `mnist-study report` from the stores; no figure here was typed.",
        "",
    ]
    data, analysis = record.data, record.analysis
    if data is None or analysis is None:
        return "\n".join([*lines, *ablation_lines(record), ""])
    retuned = record.retuned_analysis
    confidence = record.statistics.confidence

    def show(*names: str) -> list[str]:
        lines = []
        for name in names:
            if name in figures:
                title = name.replace("_", " ").capitalize()
                caption = FIGURES[name].format(confidence=percent(confidence))
                lines += [f"![{title}]({name}.png)", "", f"*{caption}*", ""]
        return lines

    lines += [
        "## In short",
        "",
        *_in_short(record, analysis, retuned),
        *(f"- {line}" for line in power_lines(record)),
        "",
        *show("paired_differences"),
        "## Verdicts",
        "",
        *verdict_table(analysis.decisions, retuned.decisions if retuned else None, confidence),
        "",
        *(f"- {line}" for line in ablation_lines(record)),
        "",
        "## The cells",
        "",
        f"Mean ± standard deviation of a run; {data.n_seeds} seeds x {record.n_splits} splits.",
        "",
        *cell_table(data),
        "",
        *show("seeds", "interactions", "epoch_curves"),
        "## Main effects",
        "",
        "On minus off, averaged over the levels of the other factors; read-out *both* is early "
        "stopping itself, restored minus last.",
        "",
        *effect_table(main_effects(analysis), "effect"),
        "",
        *_axes(record, show),
        *_complete(record, analysis, retuned),
        *_method(record, tidy_sha256),
    ]
    return "\n".join(lines)


_HEADINGS = {
    stats.Verdict.SUPPORTED: "Supported",
    stats.Verdict.CONTRADICTED: "Contradicted",
    stats.Verdict.EQUIVALENT: "No difference that counts",
    stats.Verdict.UNDECIDED: "Undecided",
}


def _in_short(record: AblationRecord, analysis: Analysis, retuned: Analysis | None) -> list[str]:
    """Say which claims hold, which of them with other learning rates, and what stopping saves."""
    decisions, data = analysis.decisions, record.data
    assert data is not None
    counts = {verdict: [d for d in decisions if d.verdict is verdict] for verdict in _HEADINGS}
    found = ", ".join(f"{len(of)} {verdict.value}" for verdict, of in counts.items() if of)
    lines = [f"Of {len(decisions)} declared claims: {found}.", ""]
    lines += [
        f"- **{_HEADINGS[verdict]}:** {'; '.join(map(brief, of))}."
        for verdict, of in counts.items()
        if of
    ]
    if retuned is not None and record.retuned is not None:
        pairs = list(zip(decisions, retuned.decisions, strict=True))
        lost = [
            f"{new.hypothesis.claim} ({old.verdict.value}, then {new.verdict.value})"
            for old, new in pairs
            if old.verdict in (stats.Verdict.SUPPORTED, stats.Verdict.CONTRADICTED)
            and new.verdict is not old.verdict
        ]
        same = sum(old.verdict is new.verdict for old, new in pairs)
        but = f" What was found and is not found again: {'; '.join(lost)}." if lost else ""
        lines.append(
            f"- **With the learning rate of each cell chosen anew** ({record.retuned.n_seeds} "
            f"seeds): {same} of the {len(pairs)} verdicts are the same.{but} "
            + _limits_of_tuning(record, data, record.retuned)
        )
    saved = {
        effect.name: effect for effect in analysis.stopping if effect.outcome == "epochs_trained"
    }
    n_epochs = record.identity.settings.training.epochs
    words = []
    for cell in (NONE, DOCUMENTED):
        mean = -saved[cell_label(cell)].contrast.estimate.estimate
        words.append(f"{percent(mean / n_epochs)} with {cell_name(cell)}")
    lines.append(f"- Early stopping saves of {n_epochs} epochs: {', '.join(words)}.")
    return lines


def _limits_of_tuning(record: AblationRecord, before: Factorial, after: Factorial) -> str:
    """Say where other rates might be better still, and how often early stopping ends a run."""
    sentences = []
    offered = sorted({rate for of_rate in record.rates.values() for rate in of_rate})
    ends = ((offered[0], "lowest", "lower"), (offered[-1], "highest", "higher"))
    for rate, which, further in ends:
        n_cells = sum(chosen == rate for chosen in record.chosen.values())
        if n_cells:
            sentences.append(
                f"{n_cells} of {len(CELLS)} cells chose the {which} rate offered ({rate:g}), so a "
                f"{further} one might be better still."
            )
    n_epochs = record.identity.settings.training.epochs
    ended, ended_before = (
        percent(float(np.mean(of.values["epochs_trained", "restored"] < n_epochs)))
        for of in (after, before)
    )
    sentences.append(
        f"At these rates early stopping ends {ended} of the runs before their last epoch, at the "
        f"documented rate {ended_before}; where it does not, it shortens nothing."
    )
    return " ".join(sentences)


def _axes(record: AblationRecord, show: Callable[..., list[str]]) -> list[str]:
    lines: list[str] = []
    if record.rates:
        n_runs = min(len(runs) for of_rate in record.rates.values() for runs in of_rate.values())
        lines += ["## Learning rate", ""]
        lines += [
            f"Mean validation accuracy in % at the last epoch; the documented rate is "
            f"{record.documented_rate:g}. The test images were not in reach of these runs. A mean "
            f"is of {n_runs} runs, so that chance chooses between rates that are nearly as good; "
            "the intervals below do not count that.",
            "",
            *rate_table(record),
            "",
            *show("learning_rates"),
        ]
    if record.chosen and record.retuned is None:
        lines += [
            "Every cell keeps the documented rate: the factorial is the re-tuned one too.",
            "",
        ]
    if record.retuned is not None and record.retuned_analysis is not None:
        lines += [
            f"At the chosen rates, {record.retuned.n_seeds} seeds x {record.n_splits} splits "
            "(cells that keep the documented rate keep their runs):",
            "",
            *cell_table(record.retuned),
            "",
            *effect_table(main_effects(record.retuned_analysis), "effect"),
            "",
        ]
    if any(record.dose_curves.values()):
        lines += ["## Dose-response", "", *_basis(record, record.dose_curves.values())]
        lines += show("dose_response")
        for axis, points in record.dose_curves.items():
            if points:
                name = "L2 strength" if axis == "l2" else "dropout, multiple of the documented"
                lines += [*curve_table(name, points, record.statistics.confidence), ""]
    if any(record.size_curves.values()):
        lines += ["## Size of the training set", "", *_basis(record, record.size_curves.values())]
        lines += show("training_size")
        for cell, points in record.size_curves.items():
            if points:
                name = f"training rows, {cell_name(cell)}"
                lines += [*curve_table(name, points, record.statistics.confidence), ""]
    return lines


def _basis(record: AblationRecord, curves: Iterable[Sequence[CurvePoint]]) -> list[str]:
    """Say how many runs a point of these curves is, and how long they train."""
    assert record.data is not None
    points = [place for curve in curves for place in curve]
    epochs = {run.n_rows: len(run.result.epochs) for place in points for run in place.runs}
    rows = ", ".join(f"{n:,} rows for {epochs[n]} epochs" for n in sorted(epochs))
    n_seeds = len(points[0].seeds)
    return [
        f"Every point: {n_seeds} seeds x {record.n_splits} splits, {rows}. They are the first "
        f"seeds of the factorial, whose own comparisons rest on {record.data.n_seeds}.",
        "",
    ]


def _complete(record: AblationRecord, analysis: Analysis, retuned: Analysis | None) -> list[str]:
    """Return all that was estimated, for someone who has an hour."""
    shown = (*analysis.effects, *analysis.differences, *analysis.stopping)
    n_tests = sum(not effect.is_declared for effect in shown)
    lines = [
        "## All effects and interactions",
        "",
        f"On the scale of a main effect. The {n_tests} tests of this and the next two sections "
        "that no claim is about are exploratory and corrected together by Benjamini and Hochberg; "
        "what a claim is about keeps its correction by Holm. Intervals and equivalence tests are "
        "of one comparison each.",
        "",
        *effect_table(analysis.effects, "effect"),
        "",
        "## All paired differences to the network without regularization",
        "",
        *effect_table(analysis.differences, "difference"),
        "",
        "## Early stopping in each cell, restored minus last",
        "",
        *effect_table(analysis.stopping, "cell"),
        "",
    ]
    if retuned is not None:
        lines += [
            "## All effects at the re-tuned learning rates",
            "",
            *effect_table(retuned.effects, "effect"),
            "",
        ]
    return lines


def _method(record: AblationRecord, tidy_sha256: str) -> list[str]:
    """Say how it was done and by whom."""
    settings, statistics, data = record.identity.settings, record.statistics, record.data
    assert data is not None
    training, rule = settings.training, settings.early_stopping
    margins = ", ".join(
        f"{UNITS[outcome].name} {in_unit(outcome, margin)} {UNITS[outcome].unit}"
        for outcome, margin in statistics.margins.items()
    )
    lines = [
        "## How it was done",
        "",
        f"- Every cell: {data.n_seeds} seeds x splits {list(settings.split_seeds)}, the same in "
        f"all cells; {training.epochs} epochs, batch {training.batch_size}, Adam, "
        f"{training.schedule} learning rate {record.documented_rate:g}, "
        f"{record.identity.data.n_train:,} training and "
        f"{settings.validation_size:,} validation rows. Seeds left out because a run did not "
        f"complete: {data.n_dropped}.",
        f"- Each run goes to its last epoch and is read out there and where early stopping "
        f"({rule.monitor}, patience {rule.patience}) would have restored. The gap is "
        "training minus test accuracy, both without dropout. Calibration error: 15 bins.",
        f"- Intervals ({percent(statistics.confidence)}) and tests take seeds as drawn and "
        "splits as fixed: contrasts within each seed and split, averaged over splits, Student's "
        "t over seeds. Those over seeds and test images come from the mean squares of the two-way "
        "layout of seeds and images.",
        "- The declared family is corrected by Holm: 'supported' and 'contradicted' are "
        "differences told from none, in the claimed direction or the other. What is not told from "
        "none is tested for equivalence by two one-sided tests, corrected by Holm as a family of "
        "their own: 'equivalent' lies within the margin, 'undecided' is neither. Each family is "
        f"held at {percent(statistics.alpha)}, both together at most at "
        f"{percent(2 * statistics.alpha)}. Margins, where "
        f"no claim has its own: {margins}.",
        f"- Early stopping cannot lengthen a run, and what it saves depends on the "
        f"{training.epochs} epochs that the others get.",
        f"- The test set was read {record.n_test_readings} times, twice a run; see the ledger.",
        f"- digest of the tidy rows (`runs.csv`): `{tidy_sha256}`",
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
