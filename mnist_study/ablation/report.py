"""The report of an ablation: verdicts at the top, everything below."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mnist_study import stats
from mnist_study.ablation.effects import Analysis
from mnist_study.ablation.outcomes import UNITS
from mnist_study.ablation.plan import DOCUMENTED, NONE
from mnist_study.ablation.record import AblationRecord
from mnist_study.ablation.tables import (
    cell_name,
    cell_table,
    curve_table,
    effect_table,
    main_effects,
    rate_table,
    verdict_table,
)
from mnist_study.ablation.words import detectable_now, in_unit, percent, sentence
from mnist_study.history import digest
from mnist_study.report import sessions_markdown

FIGURES = {
    "paired_differences": "Paired differences to the network without regularization. The grey band "
    "is the margin within which a difference counts as none; bars are 95 % intervals over seeds.",
    "interactions": "What each factor does with the others off and on.",
    "seeds": "Every seed (mean over splits) with each cell's mean.",
    "epoch_curves": "Training and validation loss over epochs: means over all runs of a cell, with "
    "the range of the middle 90 %. Dashed: the median epoch that early stopping restores.",
    "learning_rates": "Validation accuracy of each cell by learning rate, with fresh seeds: runs, "
    "means, the chosen rate (ring) and the documented one (dotted).",
    "dose_response": "Dose-response: the strength of L2 with dropout as documented, and of dropout "
    "with L2 as documented. Points are seeds, bars 95 % intervals over seeds.",
    "training_size": "Size of the training set, with all regularization and with none.",
}


def power_lines(record: AblationRecord) -> list[str]:
    """Say what could be detected, as planned and as it turned out."""
    data, analysis, planned = record.data, record.analysis, record.power
    if data is None or analysis is None:
        return []
    alpha = record.statistics.alpha
    sd = stats.contrast_sd(planned.run_sd, 3, record.n_splits, correlation=planned.correlation)
    before = stats.smallest_detectable_effect(sd, data.n_seeds, alpha=alpha, power=planned.power)
    now = {
        effect.name: detectable_now(effect, data.n_seeds, alpha=alpha, power=planned.power)
        for effect in main_effects(analysis)
        if effect.outcome == "test_accuracy" and effect.where == "last"
    }
    found = ", ".join(f"{name} {100 * value:.3f}" for name, value in now.items())
    return [
        "Smallest main effect on test accuracy that is found with "
        f"{percent(planned.power)} power: planned {100 * before:.3f} points (standard deviation of "
        f"a run {100 * planned.run_sd:.2f} points, {planned.source}); "
        f"from the spread that was found: {found} points."
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
    alpha = record.statistics.alpha

    def show(*names: str) -> list[str]:
        lines = []
        for name in names:
            if name in figures:
                title = name.replace("_", " ").capitalize()
                lines += [f"![{title}]({name}.png)", "", f"*{FIGURES[name]}*", ""]
        return lines

    lines += [
        "## Verdicts",
        "",
        *verdict_table(analysis.decisions, retuned.decisions if retuned else None, alpha),
        "",
        *(f"- {line}" for line in ablation_lines(record)),
        "",
        *_in_short(record, analysis),
        *power_lines(record),
        "",
        *show("paired_differences"),
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


def _in_short(record: AblationRecord, analysis: Analysis) -> list[str]:
    """Say how many claims hold, and what early stopping saves, in two lines."""
    counts = {verdict.value: 0 for verdict in stats.Verdict}
    for decision in analysis.decisions:
        counts[decision.verdict.value] += 1
    found = ", ".join(f"{n} {name}" for name, n in counts.items() if n)
    saved = {
        effect.name: effect for effect in analysis.stopping if effect.outcome == "epochs_trained"
    }
    n_epochs = record.identity["settings"]["training"]["epochs"]
    words = []
    for cell in (NONE, DOCUMENTED):
        mean = -saved[" + ".join(cell) or "none"].contrast.estimate.estimate
        words.append(f"{percent(mean / n_epochs)} with {cell_name(cell)}")
    return [
        f"Of {len(analysis.decisions)} declared claims: {found}. Training that early stopping "
        f"saves of {n_epochs} epochs: {', '.join(words)}.",
        "",
    ]


def _axes(record: AblationRecord, show: Callable[..., list[str]]) -> list[str]:
    lines: list[str] = []
    if record.rates:
        lines += ["## Learning rate", ""]
        lines += [
            f"Mean validation accuracy in % at the last epoch; the documented rate is "
            f"{record.documented_rate:g}. The test images were not in reach of these runs.",
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
    if record.dose_curves:
        lines += ["## Dose-response", "", *show("dose_response")]
        for axis, points in record.dose_curves.items():
            if points:
                name = "L2 strength" if axis == "l2" else "dropout, multiple of the documented"
                lines += [*curve_table(name, points), ""]
    if record.size_curves:
        lines += ["## Size of the training set", "", *show("training_size")]
        for cell, points in record.size_curves.items():
            if points:
                name = f"training rows, {cell_name(cell)}"
                lines += [*curve_table(name, points), ""]
    return lines


def _complete(record: AblationRecord, analysis: Analysis, retuned: Analysis | None) -> list[str]:
    """Return all that was estimated, for someone who has an hour."""
    n_tests = len(analysis.effects) + len(analysis.differences) + len(analysis.stopping)
    lines = [
        "## All effects and interactions",
        "",
        f"On the scale of a main effect. The {n_tests} tests of this section and of the main "
        "effects are exploratory and corrected together by Benjamini and Hochberg. Intervals are "
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
    settings, statistics, data = record.identity["settings"], record.statistics, record.data
    assert data is not None
    training, rule = settings["training"], settings["early_stopping"]
    margins = ", ".join(
        f"{UNITS[outcome].name} {in_unit(outcome, margin)} {UNITS[outcome].unit}"
        for outcome, margin in statistics.margins.items()
    )
    lines = [
        "## How it was done",
        "",
        f"- Every cell: {data.n_seeds} seeds x splits {settings['split_seeds']}, the same in all "
        f"cells; {training['epochs']} epochs, batch {training['batch_size']}, Adam, "
        f"{training['schedule']} learning rate {record.documented_rate:g}, "
        f"{record.identity['data']['n_train']:,} training and {settings['validation_size']:,} "
        "validation rows. Seeds left out because a run did not complete: "
        f"{data.n_dropped}.",
        f"- Each run goes to its last epoch and is read out there and where early stopping "
        f"({rule['monitor']}, patience {rule['patience']}) would have restored. The gap is "
        "training minus test accuracy, both without dropout. Calibration error: 15 bins.",
        f"- Intervals ({percent(1 - statistics.alpha)}) and tests take seeds as drawn and "
        "splits as fixed: contrasts within each seed and split, averaged over splits, Student's "
        "t over seeds. Those over seeds and "
        f"test images: crossed bootstrap ({statistics.n_resamples} resamples, seed "
        f"{statistics.bootstrap_seed}) for the declared claims, mean squares of the two-way layout "
        "for all others.",
        "- The declared family is corrected by Holm. A difference that is not distinguishable from "
        "none is tested for equivalence by two one-sided tests. Margins, where no claim has its "
        f"own: {margins}.",
        f"- The test set was read {record.n_test_readings} times, twice a run; see the ledger.",
        f"- digest of the tidy rows (`runs.csv`): `{tidy_sha256}`",
        "",
        "| part | runs | digest |",
        "|---|---|---|",
        *(
            f"| {part} | {len(h.results)} of {h.n_trials} | `{digest(h.results)}` |"
            for part, h in record.parts.items()
        ),
        "",
    ]
    for part, history in record.parts.items():
        lines += [f"Part {part}:", "", *sessions_markdown(history), ""]
    return lines
