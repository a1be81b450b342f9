"""Pages as HTML: one file with its figures, styles and script, and nothing from the network."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Sequence
from typing import Any

import jinja2
import markdown_it
from markdown_it.rules_core import StateCore
from markupsafe import Markup

from mnist_study.pages.model import Page
from mnist_study.plots.svg import color_rules

_NUMBER = r"[-+]?\d[-+\d.,]*(?: %)?"
_NUMBERS = f"{_NUMBER}(?: to {_NUMBER})?"
"""Such as `97.93` and `97.89 to 97.98`; not an estimate followed by its interval."""


def render(page: Page) -> str:
    """Return a page as HTML; the same page gives the same text."""
    colors = color_rules(picture.svg for picture in page.pictures)
    return _environment().get_template("report.html.j2").render(page=page, colors=colors)


def render_index(entries: Sequence[dict[str, Any]]) -> str:
    """Return the list of reports as HTML.

    Args:
        entries: `href`, and what a report says of itself (see `pages.index`).
    """
    return _environment().get_template("index.html.j2").render(entries=entries)


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mnist_study.pages"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "blocks": _blocks, "inline": _inline, "slug": slug, "svg": Markup, "css": Markup,
    }  # fmt: skip
    environment.policies["json.dumps_kwargs"] = {
        "sort_keys": True, "separators": (",", ":"), "allow_nan": False,
    }  # fmt: skip
    return environment


@functools.cache
def _markdown() -> markdown_it.MarkdownIt:
    """Return the converter; in what it gives, HTML of the text is escaped."""
    converter = markdown_it.MarkdownIt("commonmark", {"html": False}).enable("table")
    # A table that is wider than a telephone is moved under its own edge, not the page.
    converter.add_render_rule("table_open", lambda *_: '<div class="wide"><table>')
    converter.add_render_rule("table_close", lambda *_: "</table></div>")
    converter.core.ruler.push("number_cells", _mark_number_cells)
    return converter


def _mark_number_cells(state: StateCore) -> None:
    """Give cells that hold a number, or an interval, a class: they are not broken over lines."""
    for opening, content in itertools.pairwise(state.tokens):
        if opening.type == "td_open" and re.fullmatch(_NUMBERS, content.content):
            opening.attrJoin("class", "number")


def _blocks(lines: Sequence[str]) -> Markup:
    """Convert paragraphs, tables and lists."""
    return Markup(_whole_percentages(_markdown().render("\n".join(lines))))


def _inline(line: str) -> Markup:
    """Convert a line within a paragraph."""
    return Markup(_whole_percentages(_markdown().renderInline(line)))


def _whole_percentages(html: str) -> str:
    """Keep a number and its percent sign on one line."""
    return re.sub(r"(?<=\d) %", "\u00a0%", html)


def slug(title: str) -> str:
    """Return a title as the name of its place in the page."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
