"""The report of an ablation: the document's sentences at the top, everything below."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from statistics import median

from mnist_study.experiments.ablation.analysis import Analysis
from mnist_study.experiments.ablation.answer import answer_lines, rate_lines
from mnist_study.experiments.ablation.decisions import MIN_REPLICATES
from mnist_study.experiments.ablation.design import CELLS
from mnist_study.experiments.ablation.method import method_markdown, provenance_markdown
from mnist_study.experiments.ablation.outcomes import CHANCE, DIVERGED_BELOW
from mnist_study.experiments.ablation.record import AblationRecord
from mnist_study.experiments.ablation.tables import (
    activation_table,
    cell_name,
    cell_table,
    curve_table,
    effect_table,
    gap_table,
    rate_table,
    stability_table,
    step_table,
    stopping_table,
)
from mnist_study.experiments.ablation.text import (
    PART_NAMES,
    percent,
    sentence,
    summary_line,
)
from mnist_study.experiments.ablation.verdict_tables import (
    earlier_table,
    reading_table,
    sentence_table,
)
from mnist_study.experiments.summary import data_name
from mnist_study.stats import mean_estimate

FIGURES = {
    "effects": "What L2, each dropout and all three change in test accuracy, by recipe and by "
    "where a run is read. Points: both executions together with {confidence} intervals; ticks: "
    "each execution by itself. Grey band: within the margin. Intervals are not corrected for how "
    "many there are.",
    "steps": "Where the accuracy comes from: test accuracy after each step with {confidence} "
    "intervals, and what the step changes.",
    "gap": "Training and test accuracy with no regularization and with all, at the last epoch: the "
    "gap is the distance between the two.",
    "stopping": "The documented network under caps: test accuracy against the epochs that training "
    "takes, with each patience and without early stopping. Caps that a patience does not come to "
    "give the same point.",
    "stability": "Jitter between epochs and spread over seeds by learning rate.",
    "epoch_curves": "Training and validation accuracy by epoch in the main recipe: means over "
    "all runs of a cell, with the range of the middle 90 %. Training accuracy is the epoch's "
    "running mean, with dropout. Dashed: the median epoch that early stopping restores.",
    "learning_rates": "Validation accuracy of each cell by learning rate, with fresh seeds: runs, "
    "means, the chosen rate (ring) and the documented one (dotted).",
    "dose_response": "Dose-response in the study's recipe: the strength of L2 with dropout as "
    "documented, and of dropout with L2 as documented. Bars: {confidence} intervals. Strengths are "
    "equally spaced on the axis.",
    "training_size": "Results by number of training rows in the study's recipe, with all "
    "regularization and with none. Bars: {confidence} intervals.",
}


def ablation_lines(record: AblationRecord) -> list[str]:
    """Return a sentence for each claim."""
    notes = [
        f"Part {part} is left out: it was run with other settings ({why})."
        for part, why in record.excluded.items()
    ]
    if record.analysis is None:
        return [
            "Fewer than two seeds are complete in every cell, so there is nothing to compare.",
            *notes,
        ]
    decisions = record.analysis.all_decisions
    return [summary_line(decisions), *map(sentence, decisions), *notes]


def data_with_rates(record: AblationRecord) -> str:
    """Name the data, and whether the learning rates were re-tuned, for the report's title."""
    return f"{data_name(record.history)}{', with re-tuned learning rates' if record.rates else ''}"


def ablation_markdown(
    record: AblationRecord,
    tidy_sha256: str,
    figures: Mapping[str, object],
    sizes: Mapping[str, int],
) -> str:
    """Write the report.

    Args:
        record: of the ablation.
        tidy_sha256: digest of the tidy rows.
        figures: by name without ending; only those are shown.
        sizes: of the data files, by name, in bytes.
    """
    lines = [
        f"# What the documented network's regularization does on {data_with_rates(record)}",
        "",
        f"{len(record.all_runs):,} of {record.n_planned:,} runs ({', '.join(record.parts)}) of "
        f"{record.history.name}, by `mnist-study ablation`; written from the stores, no number was "
        "typed by hand.",
        "",
    ]
    analysis = record.analysis
    if analysis is None:
        return "\n".join([*lines, *ablation_lines(record), ""])
    confidence = record.statistics.confidence

    def show(*names: str) -> list[str]:
        return _images([name for name in names if name in figures], confidence)

    lines += [
        *answer_lines(record, analysis),
        "",
        summary_line(analysis.all_decisions),
        "",
        *sentence_table(record.sentences, analysis.decisions),
        "",
        *reading_notes(record),
        *show("effects"),
        *section_lines(record, analysis, show),
        "# Appendix",
        "",
        *appendix_lines(record, analysis, tidy_sha256, sizes, show),
    ]
    return "\n".join(lines)


Show = Callable[..., list[str]]
"""Returns the lines that show figures, by their names."""


def no_figures(*names: str) -> list[str]:
    """Show nothing."""
    return []


def section_lines(record: AblationRecord, analysis: Analysis, show: Show = no_figures) -> list[str]:
    """Return what follows the verdicts, most wanted first; each section has a heading."""
    return [
        *_steps(record, analysis, show),
        *_gap(record, show),
        *_early_stopping(record, show),
        *_activations(record),
        *_curves(record, show),
        *_learning_rates(record, show),
        *_earlier(record, analysis),
        "## Method",
        "",
        *method_markdown(record),
    ]


def appendix_lines(
    record: AblationRecord,
    analysis: Analysis,
    tidy_sha256: str,
    sizes: Mapping[str, int],
    show: Show = no_figures,
) -> list[str]:
    """Return the tables of everything that was estimated, and how it was made."""
    return [
        "## Every claim at every setting",
        "",
        *reading_table(analysis.all_decisions),
        "",
        *_cells(record, show),
        *_all_effects(analysis),
        "## Runs",
        "",
        *provenance_markdown(record, tidy_sha256, sizes),
    ]


def _images(names: Iterable[str], confidence: float) -> list[str]:
    """Return the figures with their captions."""
    lines = []
    for name in names:
        title = name.replace("_", " ").capitalize()
        caption = FIGURES[name].format(confidence=percent(confidence))
        lines += [f"![{title}]({name}.png)", "", f"*{caption}*", ""]
    return lines


def reading_notes(record: AblationRecord) -> list[str]:
    """Return what a reader of the table has to know."""
    lines = [
        "A setting is a recipe and a read-out. A claim is supported or contradicted only where all "
        "its settings say so, in both executions together, and the two have the same sign. "
        "*Equivalent*: the interval of the difference lies within the margin; executions agree "
        "where both differences do. *Depends*: the effect differs significantly between settings, "
        "or has opposite signs beside other factors. *Undecided*: none of these, or fewer than "
        f"{MIN_REPLICATES} replicates. Restored: early stopping with patience "
        f"{record.patience()}. Where there are several settings, the range of their estimates is "
        "given; the appendix has every interval. A run that never comes to a target counts with "
        "one epoch more than it had, so that a difference in epochs to it is at least as large.",
        "",
    ]
    return lines + [
        line
        for part, why in record.excluded.items()
        for line in (f"Part {part} is left out: it was run with other settings ({why}).", "")
    ]


def _steps(record: AblationRecord, analysis: Analysis, show: Show) -> list[str]:
    if not analysis.steps:
        return []
    return [
        "## Where the accuracy comes from",
        "",
        "Each step keeps what those before it changed; all have the same seeds and "
        "splits, so that each change is a paired difference.",
        "",
        *step_table(record, analysis),
        "",
        *show("steps"),
    ]


def _gap(record: AblationRecord, show: Show) -> list[str]:
    return [
        "## The overfitting gap and its parts",
        "",
        "Gap: training minus test accuracy, both without dropout. As plotted: the running training "
        "accuracy, with dropout, minus validation accuracy, which Keras prints at the epoch at "
        "which the run ends.",
        "",
        *gap_table(record),
        "",
        *show("gap"),
    ]


def _early_stopping(record: AblationRecord, show: Show) -> list[str]:
    lines: list[str] = []
    if "stopping" in record.parts:
        lines += [
            "## Early stopping: efficiency",
            "",
            "The documented network in the documented recipe, from runs that train to the largest "
            "cap once.",
            "",
            *stopping_table(record),
            "",
            *show("stopping"),
        ]
    if "stability" in record.parts:
        lines += [
            "## Early stopping: stability",
            "",
            "Jitter: standard deviation of an epoch's validation accuracy about its curve, in the "
            "second half of training, of the whole run. Diverged: the loss is not finite, or "
            f"validation accuracy at the last epoch below {percent(DIVERGED_BELOW)}; such a run "
            f"has a test accuracy of {percent(CHANCE)} at the read-outs that it does not come to. "
            "±: standard deviation over seeds.",
            "",
            *stability_table(record),
            "",
            *show("stability"),
        ]
    return lines


def _activations(record: AblationRecord) -> list[str]:
    if "activations" not in record.parts or record.target is None:
        return []
    epochs = record.arms("activations")[0].training.epochs
    return [
        "## Activations",
        "",
        f"Epochs until validation accuracy reaches {percent(record.target)}; a run that never does "
        f"counts as {epochs + 1}.",
        "",
        *activation_table(record),
        "",
    ]


def _curves(record: AblationRecord, show: Show) -> list[str]:
    """Return the curves of dose-response and of training size."""
    lines: list[str] = []
    doses = {
        "L2 strength" if axis == "l2" else "dropout, multiple of the documented": points
        for axis, points in record.dose_curves.items()
    }
    sizes = {
        f"training rows, {cell_name(cell)}": points for cell, points in record.size_curves.items()
    }
    for title, figure, curves in (
        ("Dose-response", "dose_response", doses),
        ("Size of the training set", "training_size", sizes),
    ):
        if curves:
            lines += [f"## {title}", "", *show(figure)]
        for name, points in curves.items():
            lines += [*curve_table(record, name, points), ""]
    return lines


def _learning_rates(record: AblationRecord, show: Show) -> list[str]:
    """Return the tuning of the learning rate."""
    if not record.rates:
        return []
    samples = [runs for of_rate in record.rates.values() for runs in of_rate.values()]
    n_runs = min(map(len, samples))
    error = ""
    if n_runs > 1:
        errors = [mean_estimate(runs).standard_error for runs in samples]
        error = f"; its standard error is {100 * median(errors):.3f} points (median)"
    lines = [
        "## Re-tuned learning rates",
        "",
        "Mean validation accuracy in % at the last epoch of the study's recipe; the documented "
        f"rate is {record.documented_rate:g}. Each mean is over {n_runs} runs with seeds of "
        f"their own and without access to the test images{error}.",
        "",
        *rate_table(record),
        "",
        *(line for sentence in rate_lines(record) for line in (sentence, "")),
        *show("learning_rates"),
    ]
    rates = record.offered_rates
    for rate, which in ((rates[0], "lowest"), (rates[-1], "highest")):
        n_cells = sum(chosen == rate for chosen in record.chosen.values())
        if n_cells:
            lines += [
                f"{n_cells} of {len(CELLS)} cells chose the {which} rate offered ({rate:g}): the "
                "grid is too narrow to decide.",
                "",
            ]
    return lines


def _earlier(record: AblationRecord, analysis: Analysis) -> list[str]:
    """Return what became of the verdicts of the edition before this one."""
    earlier = record.earlier
    if earlier is None:
        return []
    return [
        "## Verdicts of the edition before this one",
        "",
        f"They rested on {earlier.design}. {earlier.limits}",
        "",
        *earlier_table(earlier, analysis.all_decisions),
        "",
    ]


def _cells(record: AblationRecord, show: Show) -> list[str]:
    lines = []
    for part in record.factorials:
        lines += [
            f"## The cells, {PART_NAMES[part]}",
            "",
            "Mean ± standard deviation of a run.",
            "",
            *cell_table(record, part),
            "",
        ]
    return [*lines, *show("epoch_curves")]


def _all_effects(analysis: Analysis) -> list[str]:
    """Return the tables of everything that was estimated."""
    n_tests = len(analysis.effects) + len(analysis.differences) + len(analysis.steps)
    return [
        "## All effects and interactions",
        "",
        f"Interactions are on the scale of a main effect. The {n_tests} tests of this section, the "
        "next one and the steps are exploratory and corrected together by Benjamini and Hochberg's "
        "procedure.",
        "",
        *effect_table(analysis.effects),
        "",
        "## All paired differences to the network without regularization",
        "",
        *effect_table(analysis.differences),
        "",
    ]
