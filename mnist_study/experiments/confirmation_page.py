"""The page of a confirmation: what is left of the best trials with fresh seeds and splits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mnist_study.core.identity import ConfirmationIdentity
from mnist_study.experiments.confirmation_results import Confirmed
from mnist_study.experiments.page_parts import record_section, run_table, span
from mnist_study.experiments.summary import data_name
from mnist_study.experiments.tables import markdown_table
from mnist_study.search.history import History

if TYPE_CHECKING:
    from mnist_study.pages import Page
    from mnist_study.plots.style import Figure


def confirmation_page(
    history: History,
    configurations: Sequence[Confirmed],
    first: Confirmed,
    lines: Sequence[str],
    parts: Sequence[tuple[str, Sequence[str]]],
    figure: Figure,
    screening: History | None,
) -> Page:
    """Return the page of a confirmation.

    Args:
        history: the record of the second stage.
        configurations: all that were confirmed, the documented network first.
        first: the winner.
        lines: of `confirmation_lines`.
        parts: title and Markdown of what README.md has beside them.
        figure: of `confirmed_values`.
        screening: the record of the first stage, if there was one.
    """
    from mnist_study.pages import Page, Picture, Section

    identity = history.identity_as(ConfirmationIdentity)
    names = [_name(c) for c in configurations]
    return Page(
        kind="confirm",
        title=f"Confirmation of study {identity.study} on {data_name(history)}",
        question="Do the study's best trials stay ahead of the documented network with fresh seeds "
        "and splits, and which one wins?",
        answer=[lines[0], "", *([lines[2]] if first is not configurations[0] else [lines[1]])],
        picture=Picture.of(
            figure,
            "confirmed_values",
            "Above, each run and the mean with its 95 % interval over seeds and splits; below, the "
            "difference to the best, paired. Diamonds: the value in the search.",
        ),
        table=_table(configurations, first),
        sections=[
            Section("Why this winner", text=_list(lines[1:]), is_open=True),
            *(Section(title, text=text, is_open=True) for title, text in parts),
            Section("Two runs compared", widget="compare"),
            Section("All runs", widget="table"),
        ],
        appendix=[
            record_section(history),
            *([] if screening is None else [record_section(screening)]),
        ],
        trials=run_table(
            history.results,
            labels=[names[result.number % len(names)] for result in history.results],
        ),
        next_steps=["Next: `mnist-study promote` trains the winner on all rows and measures it."],
    )


def _table(configurations: Sequence[Confirmed], first: Confirmed) -> list[str]:
    documented = configurations[0]
    rows = []
    for c in sorted(configurations, key=lambda c: -c.mean.estimate):
        is_best = c.to_best is None
        rows.append(
            [
                _name(c) + (" (winner)" if c is first else ""),
                f"{100 * c.mean.estimate:.2f}",
                f"{100 * c.mean.low:.2f} to {100 * c.mean.high:.2f}",
                "best" if is_best or c.to_best is None else _points(c),
                f"{c.n_parameters:,}",
            ]
        )
    head = ("", "mean, %", "95 % interval", "minus the best, points", "parameters")
    return [
        *markdown_table(head, rows, left=("",)),
        "",
        f"{len(documented.values)} fresh seeds and splits each.",
    ]


def _points(c: Confirmed) -> str:
    assert c.to_best is not None
    return f"{100 * c.to_best.interval.estimate:+.2f} ({span(c.to_best.interval)})"


def _name(c: Confirmed) -> str:
    return "documented" if c.candidate.trial == 0 else f"trial {c.candidate.trial}"


def _list(lines: Sequence[str]) -> list[str]:
    return [f"- {line}" for line in lines]
