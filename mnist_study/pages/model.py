"""What a report's page says, apart from how it looks.

A page answers a question on its first screen; all else is in sections below it. Texts are Markdown,
in which HTML has no meaning: sentences, tables and lists look on the page as they do in README.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mnist_study.plots.svg import to_svg

if TYPE_CHECKING:
    from mnist_study.plots.style import Figure

REPORT = "report.html"
"""Name of a page's file, beside README.md."""

Markdown = Sequence[str]
"""Lines; blank ones part paragraphs, as in a file."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure with its caption.

    Attributes:
        svg: from `plots.svg.to_svg`.
        caption: one line of Markdown: what is to be seen, and what the marks mean.
        alt: what it shows, for whoever does not see it.
    """

    svg: str
    caption: str
    alt: str

    @classmethod
    def of(cls, figure: Figure, name: str, caption: str) -> Picture:
        """Return a figure as a picture that is called in its page by a name of its own."""
        return cls(svg=to_svg(figure, name), caption=caption, alt=caption.replace("`", ""))


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page below its first screen.

    Attributes:
        title: of the section, unique in its page.
        text: above the pictures.
        pictures: side by side where the screen is wide enough.
        after: text below the pictures.
        widget: what the page's script puts in; all of them need the page's trials.
        is_open: shown at once; other sections are folded, and open on a click.
        summary: shown beside the title of a folded section.
    """

    title: str
    text: Markdown = ()
    pictures: Sequence[Picture] = ()
    after: Markdown = ()
    widget: Literal["", "table", "contour", "compare", "timeline"] = ""
    is_open: bool = False
    summary: str = ""


@dataclass(frozen=True, slots=True)
class Trials:
    """A record's trials, for the table and the page's script.

    Attributes:
        head: names of the table's columns.
        rows: cells by trial number, in the order of the table.
        filters: columns whose values the reader can choose from.
        data: of each trial by number, for the script: `title`, `params`, `value`, `epochs`; for a
            timeline `worker`, a row from 0, `begun` and `ended`, in seconds.
        params: of the search: name, label, range and scale of each parameter.
        marks: trial numbers by what is said of them, such as `documented`.
        unit: what one of them is called.
        breaks: of the timeline, in seconds: where an idle time was left out.
    """

    head: Sequence[str]
    rows: Mapping[int, Sequence[str]]
    filters: Sequence[str]
    data: Mapping[int, Mapping[str, Any]]
    params: Sequence[Mapping[str, Any]]
    marks: Mapping[str, int]
    unit: str = "trial"
    breaks: Sequence[float] = ()

    def document(self) -> dict[str, Any]:
        """Return what the script reads."""
        return {
            "trials": {str(number): dict(trial) for number, trial in self.data.items()},
            "params": [dict(param) for param in self.params],
            "marks": dict(self.marks),
            "unit": self.unit,
            "breaks": list(self.breaks),
        }


@dataclass(frozen=True, slots=True)
class Page:
    """A report.

    Attributes:
        kind: of the record: "study", "baseline", "confirm", "ablation".
        title: names the record and its data.
        question: what was asked; the page's headline.
        answer: one to three sentences with intervals, or a list of verdicts in Markdown.
        picture: the one that shows the answer; None while there is nothing to draw.
        table: the one with the numbers of the answer, as Markdown.
        sections: below the first screen, most wanted first.
        appendix: how it was made: sessions, digest, hashes; always folded.
        trials: for the sections with a widget.
        next_steps: commands that go on from here, each with what it does; Markdown.
    """

    kind: str
    title: str
    question: str
    answer: Markdown
    picture: Picture | None
    table: Markdown
    sections: Sequence[Section]
    appendix: Sequence[Section]
    trials: Trials | None = None
    next_steps: Markdown = ()

    @property
    def pictures(self) -> list[Picture]:
        """All pictures of the page."""
        sections = (*self.sections, *self.appendix)
        first = [] if self.picture is None else [self.picture]
        return [*first, *(picture for section in sections for picture in section.pictures)]
