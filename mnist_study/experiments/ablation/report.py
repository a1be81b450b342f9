"""The report of an ablation: verdicts at the top, everything below."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from mnist_study import stats
from mnist_study.core.trials import digest
from mnist_study.experiments.ablation.analysis import Analysis, Decision
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
    brief,
    detectable_now,
    in_unit,
    percent,
    planned_effects_text,
    sentence,
)
from mnist_study.experiments.summary import data_name, sessions_markdown
from mnist_study.experiments.tables import markdown_table

FIGURES = {
    "paired_differences": "Paired differences to the network without regularization. Grey band: "
    "margin of equivalence. Bars: {confidence} intervals over seeds.",
    "interactions": "Effect of L2 at each combination of the dropouts, at both read-outs; lines "
    "that are not parallel show an interaction. Bars: {confidence} intervals of the cells' means "
    "over seeds; the paired differences are more precise than these bars suggest.",
    "seeds": "Every seed (mean over splits) and each cell's mean.",
    "epoch_curves": "Training and validation loss by epoch: means over all runs of a cell, with "
    "the range of the middle 90 %. Training loss is the epoch's running mean, with dropout. "
    "Dashed: the median epoch that early stopping restores.",
    "learning_rates": "Validation accuracy of each cell by learning rate, with fresh seeds: runs, "
    "means, the chosen rate (ring) and the documented one (dotted).",
    "dose_response": "Dose-response: the strength of L2 with dropout as documented, and of dropout "
    "with L2 as documented. Points: seeds; bars: {confidence} intervals over seeds. Strengths are "
    "equally spaced on the axis.",
    "training_size": "Results by number of training rows, with all regularization and with none; "
    "below, the paired difference between the two. Bars: {confidence} intervals over seeds.",
}

_BOTH_ENDS = f"{cell_label(DOCUMENTED)} - {cell_label(NONE)}"


def power_lines(record: AblationRecord) -> list[str]:
    """Say what the design can detect, by the planned and by the observed spread."""
    data, analysis, planned = record.data, record.analysis, record.power
    if data is None or analysis is None:
        return []
    alpha = record.statistics.alpha
    before = planned_effects_text(
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
    observed = ", ".join(f"{name} {100 * value:.3f}" for name, value in now.items())
    return [
        f"Computed before running: {before} (standard deviation of a run "
        f"{100 * planned.run_sd:.2f} points, {planned.source}). "
        f"Detectable at the observed spread, in a single test: {observed} points."
    ]


def ablation_lines(record: AblationRecord) -> list[str]:
    """Return a sentence for each hypothesis."""
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
    lines = [
        f"# Effects of the documented network's regularization on {data_name(record.history)}",
        "",
        "Written by `mnist-study report` from the stores; no number was typed by hand.",
        "",
    ]
    data, analysis = record.data, record.analysis
    if data is None or analysis is None:
        return "\n".join([*lines, *ablation_lines(record), ""])
    retuned = record.retuned_analysis
    confidence = record.statistics.confidence

    def show(*names: str) -> list[str]:
        return _images([name for name in names if name in figures], confidence)

    lines += [
        "## Summary",
        "",
        *_summary(record, analysis, retuned),
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
        "On minus off, averaged over the levels of the other factors. Read-out *both*: the effect "
        "of early stopping itself, restored minus last.",
        "",
        *effect_table(main_effects(analysis), "effect"),
        "",
        *_learning_rates(record, show),
        *_curves(record, show),
        *_all_effects(analysis, retuned),
        *_method(record, data),
        *_provenance(record, tidy_sha256),
    ]
    return "\n".join(lines)


def _images(names: Iterable[str], confidence: float) -> list[str]:
    """Return the figures with their captions."""
    lines = []
    for name in names:
        title = name.replace("_", " ").capitalize()
        caption = FIGURES[name].format(confidence=percent(confidence))
        lines += [f"![{title}]({name}.png)", "", f"*{caption}*", ""]
    return lines


_HEADINGS = {
    stats.Verdict.SUPPORTED: "Supported",
    stats.Verdict.CONTRADICTED: "Contradicted",
    stats.Verdict.EQUIVALENT: "Equivalent within the margin",
    stats.Verdict.UNDECIDED: "Undecided",
}


def _summary(record: AblationRecord, analysis: Analysis, retuned: Analysis | None) -> list[str]:
    """Return the claims by verdict, what re-tuning changes, and what early stopping saves."""
    decisions = analysis.decisions
    by_verdict = {verdict: [d for d in decisions if d.verdict is verdict] for verdict in _HEADINGS}
    counts = ", ".join(f"{len(of)} {verdict.value}" for verdict, of in by_verdict.items() if of)
    lines = [f"Of {len(decisions)} declared claims: {counts}.", ""]
    lines += [
        f"- **{_HEADINGS[verdict]}:** {'; '.join(map(brief, of))}."
        for verdict, of in by_verdict.items()
        if of
    ]
    if retuned is not None:
        lines.append(_retuned_summary(record, decisions, retuned.decisions))
    saved = {
        effect.name: -effect.contrast.estimate.estimate
        for effect in analysis.stopping
        if effect.outcome == "epochs_trained"
    }
    n_epochs = record.identity.settings.training.epochs
    none, documented = (percent(saved[cell_label(c)] / n_epochs) for c in (NONE, DOCUMENTED))
    lines.append(
        f"- Early stopping saves {none} of the {n_epochs} epochs with {cell_name(NONE)} and "
        f"{documented} with {cell_name(DOCUMENTED)}."
    )
    return lines


def _retuned_summary(
    record: AblationRecord, documented: Sequence[Decision], retuned: Sequence[Decision]
) -> str:
    """Say which verdicts change with re-tuned rates, and what limits the tuning."""
    data, retuned_data = record.data, record.retuned
    assert data is not None
    assert retuned_data is not None
    pairs = list(zip(documented, retuned, strict=True))
    n_same = sum(before.verdict is after.verdict for before, after in pairs)
    lost = [
        f"{after.hypothesis.claim} ({before.verdict.value}, then {after.verdict.value})"
        for before, after in pairs
        if before.verdict in (stats.Verdict.SUPPORTED, stats.Verdict.CONTRADICTED)
        and after.verdict is not before.verdict
    ]
    sentences = [
        f"- **With each cell's learning rate re-tuned** ({retuned_data.n_seeds} seeds): {n_same} "
        f"of the {len(pairs)} verdicts are the same."
    ]
    if lost:
        sentences.append(f"Significant before, but changed: {'; '.join(lost)}.")
    rates = sorted({rate for of_rate in record.rates.values() for rate in of_rate})
    for rate, which, further in ((rates[0], "lowest", "lower"), (rates[-1], "highest", "higher")):
        n_cells = sum(chosen == rate for chosen in record.chosen.values())
        if n_cells:
            sentences.append(
                f"{n_cells} of {len(CELLS)} cells chose the {which} rate offered ({rate:g}), so a "
                f"{further} one might be better still."
            )
    n_epochs = record.identity.settings.training.epochs
    stopped, stopped_before = (
        percent(float(np.mean(of.values["epochs_trained", "restored"] < n_epochs)))
        for of in (retuned_data, data)
    )
    sentences.append(
        f"At the re-tuned rates early stopping ends {stopped} of the runs before their last epoch, "
        f"at the documented rate {stopped_before}; it does not shorten the others."
    )
    return " ".join(sentences)


def _learning_rates(record: AblationRecord, show: Callable[..., list[str]]) -> list[str]:
    """Return the tuning of the learning rate and the factorial at the chosen rates."""
    lines: list[str] = []
    if record.rates:
        n_runs = min(len(runs) for of_rate in record.rates.values() for runs in of_rate.values())
        lines += [
            "## Learning rate",
            "",
            "Mean validation accuracy in % at the last epoch; the documented rate is "
            f"{record.documented_rate:g}. These runs had no access to the test images. Each mean "
            f"is over {n_runs} runs, so that the choice between nearly equal rates is largely "
            "chance; the intervals below do not account for it.",
            "",
            *rate_table(record),
            "",
            *show("learning_rates"),
        ]
    if record.chosen and record.retuned is None:
        lines += ["Every cell keeps the documented rate, so there is no factorial to repeat.", ""]
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
    return lines


def _curves(record: AblationRecord, show: Callable[..., list[str]]) -> list[str]:
    """Return the curves of dose-response and of training size."""
    lines: list[str] = []
    doses = {
        "L2 strength" if axis == "l2" else "dropout, multiple of the documented": points
        for axis, points in record.dose_curves.items()
        if points
    }
    sizes = {
        f"training rows, {cell_name(cell)}": points
        for cell, points in record.size_curves.items()
        if points
    }
    for title, figure, curves in (
        ("Dose-response", "dose_response", doses),
        ("Size of the training set", "training_size", sizes),
    ):
        if curves:
            lines += [f"## {title}", "", *_runs_of_curves(record, curves.values()), *show(figure)]
        for name, points in curves.items():
            lines += [*curve_table(name, points, record.statistics.confidence), ""]
    return lines


def _runs_of_curves(record: AblationRecord, curves: Iterable[Sequence[CurvePoint]]) -> list[str]:
    """Say how many runs each point of the curves has, and how long they train."""
    assert record.data is not None
    points = [point for curve in curves for point in curve]
    epochs = {run.n_rows: len(run.result.epochs) for point in points for run in point.runs}
    rows = ", ".join(f"{n:,} rows for {epochs[n]} epochs" for n in sorted(epochs))
    n_seeds = len(points[0].seeds)
    return [
        f"Every point: {n_seeds} seeds x {record.n_splits} splits, {rows}. These are the first "
        f"seeds of the factorial, whose own comparisons use {record.data.n_seeds}.",
        "",
    ]


def _all_effects(analysis: Analysis, retuned: Analysis | None) -> list[str]:
    """Return the tables of everything that was estimated."""
    shown = (*analysis.effects, *analysis.differences, *analysis.stopping)
    n_tests = sum(not effect.is_declared for effect in shown)
    lines = [
        "## All effects and interactions",
        "",
        f"Interactions are on the scale of a main effect. The {n_tests} tests of this and the next "
        "two sections that no claim concerns are exploratory and corrected together by Benjamini "
        "and Hochberg's procedure; those of a claim keep their correction by Holm's. Intervals and "
        "equivalence tests are not corrected.",
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


def _method(record: AblationRecord, data: Factorial) -> list[str]:
    """Describe design, read-outs and statistics."""
    settings, statistics = record.identity.settings, record.statistics
    training, rule = settings.training, settings.early_stopping
    margins = ", ".join(
        f"{UNITS[outcome].name} {in_unit(outcome, margin)} {UNITS[outcome].unit}"
        for outcome, margin in statistics.margins.items()
    )
    return [
        "## Method",
        "",
        f"- Every cell: {data.n_seeds} seeds x splits {list(settings.split_seeds)}, the same in "
        f"all cells; {training.epochs} epochs, batch {training.batch_size}, Adam, "
        f"{training.schedule} learning rate {record.documented_rate:g}, "
        f"{record.identity.data.n_train:,} training and "
        f"{settings.validation_size:,} validation rows. Seeds left out because a run did not "
        f"complete: {data.n_dropped}.",
        "- Each run trains to its last epoch and is read out twice: there, and at the epoch whose "
        f"weights early stopping ({rule.monitor}, patience {rule.patience}) would have restored. "
        "The overfitting gap is training minus test accuracy, both without dropout. Calibration "
        "error: 15 bins.",
        f"- Intervals ({percent(statistics.confidence)}) and tests treat seeds as sampled and "
        "splits as fixed: contrasts within each seed and split, averaged over splits, Student's "
        "t over seeds. Those over seeds and test images come from the mean squares of the two-way "
        "layout of seeds and images.",
        "- The declared claims are one family, corrected by Holm's procedure: 'supported' and "
        "'contradicted' are significant differences in the claimed and in the opposite direction. "
        "Where there is no significant difference, two one-sided tests, corrected by Holm's "
        "procedure as a second family, test for equivalence: 'equivalent' lies within the margin, "
        "'undecided' is neither. Each family errs with a probability of at most "
        f"{percent(statistics.alpha)}, both together of at most {percent(2 * statistics.alpha)}. "
        f"Margins of outcomes without a claim's own: {margins}.",
        "- Early stopping cannot lengthen a run, and what it saves depends on the "
        f"{training.epochs} epochs that a run has without it.",
    ]


def _provenance(record: AblationRecord, tidy_sha256: str) -> list[str]:
    """Return readings of the test set, digests and sessions."""
    lines = [
        f"- The test set was read {record.n_test_readings} times, twice per run; see the ledger.",
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
