"""The page of an ablation: the document's sentences with their verdicts on one screen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from mnist_study.experiments.ablation.analysis import Analysis
from mnist_study.experiments.ablation.answer import answer_lines
from mnist_study.experiments.ablation.record import AblationRecord
from mnist_study.experiments.ablation.report import (
    FIGURES,
    appendix_lines,
    data_with_rates,
    reading_notes,
    section_lines,
)
from mnist_study.experiments.ablation.text import PART_NAMES, percent, summary_line
from mnist_study.experiments.ablation.verdict_tables import claim_table, verdict_table

if TYPE_CHECKING:
    from mnist_study.pages import Page, Picture, Section
    from mnist_study.plots.style import Figure

_PICTURES = {
    "Where the accuracy comes from": "steps",
    "The overfitting gap and its parts": "gap",
    "Early stopping: efficiency": "stopping",
    "Early stopping: stability": "stability",
    "Dose-response": "dose_response",
    "Size of the training set": "training_size",
    "Re-tuned learning rates": "learning_rates",
}
"""The picture of a section, by its title; that of the main part's cells is added."""
_OPEN = (
    "Claim by claim",
    "Where the accuracy comes from",
    "The overfitting gap and its parts",
)
"""The sections that are shown at once; the others open on a click."""


def ablation_page(
    record: AblationRecord,
    figures: Mapping[str, Figure],
    tidy_sha256: str,
    sizes: Mapping[str, int],
) -> Page:
    """Return the page of an ablation.

    Args:
        record: of the ablation.
        figures: all that README.md shows, by name.
        tidy_sha256: digest of the tidy rows.
        sizes: of the data files, by name, in bytes.
    """
    from mnist_study.pages import Page, Picture

    analysis = record.analysis
    confidence = percent(record.statistics.confidence)
    pictures = {
        name: Picture.of(figure, name, FIGURES[name].format(confidence=confidence))
        for name, figure in figures.items()
    }
    page = Page(
        kind="ablation",
        title=f"The regularization of the documented network on {data_with_rates(record)}",
        question="What does the regularization of the documented network do?",
        answer=["Fewer than two seeds are complete in every cell, so there is nothing to compare."],
        picture=None,
        table=[],
        sections=[],
        appendix=[],
    )
    if analysis is None:
        return page
    of_sections = _PICTURES | {f"The cells, {PART_NAMES[record.main_part]}": "epoch_curves"}
    shown = {title: pictures[name] for title, name in of_sections.items() if name in pictures}
    claims = claim_table(record.sentences, analysis.decisions)
    first = ["## Claim by claim", "", *reading_notes(record), *claims]
    return replace(
        page,
        answer=_answer(record, analysis),
        picture=pictures.get("effects"),
        table=verdict_table(record.sentences, analysis.decisions),
        sections=_sections([*first, *section_lines(record, analysis)], shown),
        appendix=_sections(appendix_lines(record, analysis, tidy_sha256, sizes), shown),
        next_steps=["`mnist-study ui` shows every run with its curves."],
    )


def _answer(record: AblationRecord, analysis: Analysis) -> list[str]:
    """Return the first two sentences of the answer, and how many claims have which verdict."""
    first = [line.removeprefix("- ") for line in answer_lines(record, analysis)[:2]]
    sentences = [*first, summary_line(analysis.all_decisions)]
    return [line for sentence in sentences for line in (sentence, "")]


def _sections(lines: Iterable[str], pictures: Mapping[str, Picture]) -> list[Section]:
    """Cut Markdown into sections at its headings, each with its picture, by title."""
    from mnist_study.pages import Section

    found: list[tuple[str, list[str]]] = []
    for line in lines:
        if line.startswith("## "):
            found.append((line.removeprefix("## "), []))
        elif found:
            found[-1][1].append(line)
    return [
        Section(
            title=title,
            text=text,
            pictures=[pictures[title]] if title in pictures else [],
            is_open=title in _OPEN,
        )
        for title, text in found
    ]
