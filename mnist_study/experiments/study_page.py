"""The page of a study: what it found on one screen, and its trials to be looked through below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mnist_study.core.identity import StudyIdentity
from mnist_study.core.trials import BASELINE_NUMBER, Selection, TrialResult, select
from mnist_study.experiments.confirmation_results import ConfirmedStudy
from mnist_study.experiments.next_steps import confirm_command
from mnist_study.experiments.page_parts import record_section, span, trial_data
from mnist_study.experiments.summary import FIGURES, title
from mnist_study.experiments.tables import COLUMNS, markdown_table, trial_table
from mnist_study.experiments.timeline import Bar, Timeline, timeline_of
from mnist_study.search.history import History

if TYPE_CHECKING:
    from mnist_study.pages import Page, Picture, Section, Trials
    from mnist_study.plots.style import Figure
    from mnist_study.stats import Interval

_QUESTION = (
    "Which layer widths, dropout rates, L2 strength and learning rate around the documented "
    "network give a higher validation accuracy?"
)


def study_page(
    history: History,
    figures: Mapping[str, Figure],
    confirmed: ConfirmedStudy | None,
    search: Sequence[str],
    importance: Sequence[str],
) -> Page:
    """Return the page of a study.

    Args:
        history: the study's record.
        figures: all that README.md shows, by name.
        confirmed: what fresh seeds left of its best trials; None where nothing was confirmed.
        search: what its search was worth, as Markdown; empty with too few trials.
        importance: of each parameter, as Markdown.
    """
    from mnist_study.pages import Page

    chosen = select(history.results)
    pictures, timeline = _pictures(figures), timeline_of(history)
    return Page(
        kind="study",
        title=title(history),
        question=_QUESTION,
        answer=_answer(history, chosen, confirmed),
        picture=pictures["accuracy_against_size"] if chosen.complete else None,
        table=_table(history, chosen, confirmed),
        sections=_sections(pictures, search, importance, _workers(timeline)),
        appendix=[record_section(history)],
        trials=_trials(history, confirmed, timeline) if history.results else None,
        next_steps=_next_steps(history, confirmed),
    )


def _answer(history: History, chosen: Selection, confirmed: ConfirmedStudy | None) -> list[str]:
    """Answer in two sentences, or say why there is no answer yet."""
    if chosen.best is None:
        return ["No trial has completed, so there is nothing to compare."]
    n_complete, n_trials = len(chosen.complete), len(history.results)
    best = _accuracy(history, chosen.best)
    text = (
        f"The best of {n_trials} trials ({n_complete} complete), **trial {chosen.best.number}**, "
        f"reaches {_percent(best)} of {history.identity_as(StudyIdentity).data.validation_size:,} "
        "validation images"
    )
    if chosen.baseline is None:
        text += "; the documented network (trial 0) has no value"
    elif chosen.baseline is chosen.best:
        text += "; it is the documented network itself"
    else:
        text += f", the documented network {_percent(_accuracy(history, chosen.baseline))}"
    text += ": one run each, 95 % Wilson intervals over the images."
    return [text, "", _confirmed_text(confirmed)]


def _confirmed_text(confirmed: ConfirmedStudy | None) -> str:
    if confirmed is None:
        return (
            "The highest of many noisy values overstates what its configuration reaches: how much "
            "of the lead is left with fresh seeds is not measured yet."
        )
    winner, gain = confirmed.winner, confirmed.gain
    text = (
        f"Over {len(winner.values)} fresh seeds and splits, **trial {winner.candidate.trial}** is "
        f"confirmed at {_percent(winner.mean)}"
    )
    if gain is None:
        return text + ": it is the documented network, and no configuration is shown to be better."
    return text + (
        f", **{100 * gain.estimate:+.2f} points** ({span(gain)}) over the documented network; "
        "these intervals are over seeds and splits."
    )


def _accuracy(history: History, trial: TrialResult) -> Interval:
    """Return a trial's validation accuracy with its interval over the validation images."""
    from mnist_study.stats import wilson_interval

    n_images = history.identity_as(StudyIdentity).data.validation_size
    # The stored share is that of a whole number of images.
    return wilson_interval(round((trial.value or 0.0) * n_images), n_images)


def _percent(interval: Interval) -> str:
    return f"{interval.estimate:.2%} ({100 * interval.low:.2f} to {100 * interval.high:.2f})"


def _table(history: History, chosen: Selection, confirmed: ConfirmedStudy | None) -> list[str]:
    """Return the documented network, the best trial and the confirmed winner beside each other."""
    shown: dict[str, TrialResult] = {}
    if chosen.baseline is not None:
        shown["documented"] = chosen.baseline
    winner = None if confirmed is None else confirmed.winner.candidate.trial
    if chosen.best is not None:
        name = "best and confirmed" if chosen.best.number == winner else "best"
        shown[f"{name}, trial {chosen.best.number}"] = chosen.best
    if winner and (chosen.best is None or winner != chosen.best.number):
        shown[f"confirmed, trial {winner}"] = history.results[winner]
    if not shown:
        return []
    of = {} if confirmed is None else {c.candidate.trial: c for c in confirmed.configurations}
    rows = [["validation accuracy, one run"] + [f"{r.value or 0.0:.2%}" for r in shown.values()]]
    if of:
        means = [of.get(row.number) for row in shown.values()]
        rows.append(
            ["the same, mean over fresh seeds"]
            + ["not confirmed" if one is None else f"{one.mean.estimate:.2%}" for one in means]
        )
        rows.append(
            ["its 95 % interval"]
            + [
                "" if m is None else f"{100 * m.mean.low:.2f} to {100 * m.mean.high:.2f}"
                for m in means
            ]
        )
    rows.append(["parameters"] + [f"{row.n_parameters or 0:,}" for row in shown.values()])
    rows.append(
        ["overfitting gap, points"]
        + [f"{100 * (r.overfitting_gap or 0):.2f}" for r in shown.values()]
    )
    rows.append(["layer widths"] + ["-".join(map(str, r.params.units)) for r in shown.values()])
    for name in ("dropout_1", "dropout_2", "l2", "learning_rate"):
        rows.append([f"`{name}`"] + [f"{getattr(r.params, name):.2g}" for r in shown.values()])
    return markdown_table(["", *shown], rows, left=("",))


def _pictures(figures: Mapping[str, Figure]) -> dict[str, Picture]:
    from mnist_study.pages import Picture

    captions = {**FIGURES, **_CAPTIONS}
    return {name: Picture.of(figure, name, captions[name]) for name, figure in figures.items()}


_CAPTIONS = {
    "accuracy_against_size": "Every trial's validation accuracy and size; point at a mark for its "
    "values, click it for its row in the table of trials.",
    "optimization_history": "Validation accuracy in the order of the trials.",
    "tuning_curves": "What the best of n trials is worth, whatever the order they were run in.",
    "parameter_importances": "Which parameters tell the best tenth of the trials from the others.",
    "slices": "Validation accuracy against each parameter; darker marks are later trials.",
    "parallel_coordinates": "Each line is a trial; the darker, the better.",
    "best_curves": "Validation curves of the best ten trials and of the documented network.",
}


def _sections(
    pictures: Mapping[str, Picture],
    search: Sequence[str],
    importance: Sequence[str],
    workers: Sequence[str],
) -> list[Section]:
    from mnist_study.pages import Section

    return [
        Section(
            "Would more trials pay",
            text=search,
            pictures=[pictures["optimization_history"], pictures["tuning_curves"]],
            is_open=True,
        ),
        Section(
            "Which parameters matter",
            text=importance,
            pictures=[pictures["parameter_importances"], pictures["slices"]],
            is_open=True,
        ),
        Section(
            "Two parameters at once",
            text=[
                "Colour is the mean validation accuracy of the completed trials nearby, weighted "
                "by their distance; where there are none it stays blank. Few noisy trials make "
                "hills that are not there."
            ],
            pictures=[pictures["parallel_coordinates"]],
            widget="contour",
            is_open=True,
        ),
        Section(
            "Two trials compared",
            text=["Choose two here, or tick them in the table of trials."],
            pictures=[pictures["best_curves"]],
            widget="compare",
            is_open=True,
        ),
        Section("What each worker did when", text=workers, widget="timeline", is_open=True),
        Section(
            "All trials",
            text=[
                "Click a column's name to sort by it. Accuracies are shares in [0, 1]; `value` is "
                "validation accuracy at the best epoch, or where the trial was pruned."
            ],
            widget="table",
            is_open=True,
        ),
    ]


def _workers(timeline: Timeline) -> list[str]:
    """Say how busy the workers were, and what the bars are."""
    n, seconds = timeline.n_workers, timeline.seconds
    if not seconds:
        return []
    text = (
        f"{n} {'worker' if n == 1 else 'workers'}, {timeline.busy_share:.0%} of whose "
        f"{_duration(seconds)} went into trials. A bar is a trial; point at it for its values, "
        "click it for its row in the table."
    )
    if timeline.breaks:
        text += " Dashed lines: the study stood still for more than a minute, which is left out."
    return [text]


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"


def _trials(history: History, confirmed: ConfirmedStudy | None, timeline: Timeline) -> Trials:
    from mnist_study.pages import Trials

    results = history.results
    chosen = select(results)
    marks = {} if chosen.baseline is None else {"documented": chosen.baseline.number}
    if chosen.best is not None:
        marks["best"] = chosen.best.number
    if confirmed is not None and confirmed.winner.candidate.trial != BASELINE_NUMBER:
        marks["confirmed"] = confirmed.winner.candidate.trial
    table = trial_table(results)
    space = history.identity_as(StudyIdentity).study.space
    return Trials(
        head=COLUMNS,
        rows={int(cells[0]): cells for cells in table},
        filters=("state",),
        data={
            result.number: trial_data(result) | _bar(timeline.bars[result.number])
            for result in results
        },
        params=[
            {"name": name, "type": r.type, "low": r.low, "high": r.high, "log": r.log}
            for name, r in space.items()
        ],
        marks=marks,
        breaks=[round(seconds, 1) for seconds in timeline.breaks],
    )


def _bar(bar: Bar) -> dict[str, float]:
    """Return a bar of the timeline for the page's script."""
    return {"worker": bar.worker, "begun": round(bar.begun, 1), "ended": round(bar.ended, 1)}


def _next_steps(history: History, confirmed: ConfirmedStudy | None) -> list[str]:
    if confirmed is None:
        command = confirm_command(history)
        return [f"Next: `{command}` retrains the best trials with fresh seeds."]
    return ["Next: `mnist-study promote` trains the confirmed winner on all rows."]
