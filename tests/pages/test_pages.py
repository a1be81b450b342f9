"""Pages: safe whatever a record's texts say, self-contained, and the same bytes each time."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mnist_study.pages import INDEX, REPORT, Page, Picture, Section, Trials, render, write_index
from mnist_study.plots import style
from mnist_study.plots.svg import color_rules, on_dark, to_svg

EVIL = '<img src=x onerror=alert(1)> "quoted" </script><script>alert(2)</script> & {{ 7 * 7 }}'


@style.styled
def drawing() -> style.Figure:
    figure = style.new_figure(3.0, 2.0)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=style.BEST, gid="line")
    axes.plot([0.5], [0.5], "o", color=style.INK, url="#trial-3")
    axes.fill_between([0, 1], [0, 0], [1, 1], color=style.BAND, clip_on=True)
    axes.set_xlabel("x")
    return figure


PICTURE = Picture.of(drawing(), "drawing", "A line, and `3`")
TRIALS = Trials(
    head=["number", "state", "reason"],
    rows={3: ["3", "FAILED", EVIL]},
    filters=["state"],
    data={3: {"title": EVIL, "params": {}, "value": None, "epochs": [None], "state": "FAILED"}},
    params=[],
    marks={"documented": 3},
)
PAGE = Page(
    kind="study",
    title=f"Study {EVIL}",
    question="Which one?",
    answer=["It is **this one** (1 to 2).", "", EVIL],
    picture=PICTURE,
    table=["| | mean |", "| --- | ---: |", f"| {EVIL} | 1.0 |"],
    sections=[
        Section("Open", text=["- a list", f"- {EVIL}"], is_open=True),
        Section("Folded", pictures=[Picture.of(drawing(), "second", "Again")], summary=EVIL),
        Section("All", widget="table", is_open=True),
        Section("Compared", widget="compare"),
    ],
    appendix=[Section("How it was made", text=["`digest`"])],
    trials=TRIALS,
    next_steps=["Next: `mnist-study confirm`"],
)


class Elements(HTMLParser):
    """Collects tags with their attributes, and what stands in scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self._in: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in = [tag]

    def handle_endtag(self, tag: str) -> None:
        self._in = []

    def handle_data(self, data: str) -> None:
        if self._in == ["script"]:
            self.scripts.append(data)
        elif self._in != ["style"]:
            self.words.append(data)


def test_texts_of_a_record_are_text_on_the_page_and_nothing_else() -> None:
    page = Elements(render(PAGE))
    assert not [attributes for tag, attributes in page.tags if tag == "img"]
    assert not [a for _, a in page.tags if any(name.startswith("on") for name in a)]
    # Head, trials and the page's own script: nothing that a text brought along.
    assert sum(tag == "script" for tag, _ in page.tags) == 3
    head, trials, _ = page.scripts
    assert json.loads(head)["title"] == f"Study {EVIL}"
    assert json.loads(trials)["trials"]["3"]["title"] == EVIL
    assert "{{ 7 * 7 }}" in "".join(page.words)
    assert "49" not in "".join(page.words)


def test_a_page_asks_the_network_for_nothing() -> None:
    page = Elements(render(PAGE))
    for tag, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "action", "data"):
            address = attributes.get(name) or ""
            assert address.startswith("#") or not address, (tag, address)
    policy = [a["content"] for t, a in page.tags if a.get("http-equiv")]
    assert policy[0] is not None
    assert policy[0].startswith("default-src 'none';")
    assert "url(http" not in render(PAGE)
    assert "@import" not in render(PAGE)


def test_the_same_page_gives_the_same_bytes() -> None:
    again = replace(PAGE, picture=Picture.of(drawing(), "drawing", "A line, and `3`"))
    assert render(again) == render(PAGE)


def test_every_id_of_a_page_is_there_once_and_every_link_within_it_leads_somewhere() -> None:
    page = Elements(render(PAGE))
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    links = {a.get("href") or a.get("xlink:href") for t, a in page.tags if t in ("a", "use")}
    assert {link[1:] for link in links if link} <= {str(name) for name in ids}
    assert {"#trial-3", "#open", "#folded", "#appendix"} <= links


def test_sections_are_open_or_folded_and_tables_move_under_their_own_edge() -> None:
    text = render(PAGE)
    assert '<section id="open">' in text
    assert '<details id="folded">' in text
    assert '<div class="wide"><table>' in text
    assert '<td style="text-align:right" class="number">1.0</td>' in text


@pytest.mark.parametrize(
    ("cell", "is_number"),
    [
        ("97.93", True),
        ("1,437", True),
        ("98.26 %", True),
        ("+0.42 to +0.49", True),
        ("+0.46 (+0.42 to +0.49)", False),
        ("128-64-32", True),
        ("trial 4", False),
        ("0.3 per cell", False),
        ("3 of 6 settings have runs", False),
    ],
)
def test_numbers_and_intervals_are_not_broken_over_lines(cell: str, is_number: bool) -> None:
    page = render(replace(PAGE, table=["| a |", "| --- |", f"| {cell} |"]))
    assert ('<td class="number">' in page.partition('class="numbers"')[2]) is is_number


def test_a_figure_keeps_its_classes_and_links_and_has_no_date() -> None:
    svg = to_svg(drawing(), "named")
    assert 'class="line"' in svg
    assert 'xlink:href="#trial-3"' in svg
    assert "Date" not in svg
    assert "<metadata" not in svg
    assert re.search(r'viewBox="0 0 216 144"', svg)


def test_drawing_as_svg_leaves_the_figure_as_it_is() -> None:
    figure = drawing()
    before = style.to_png(figure)
    to_svg(figure, "named")
    assert style.to_png(figure) == before


def test_the_settings_of_a_user_do_not_change_a_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib

    expected = to_svg(drawing(), "named")
    for key, value in {"savefig.bbox": "tight", "svg.fonttype": "none", "savefig.dpi": 30}.items():
        monkeypatch.setitem(matplotlib.rcParams, key, value)
    assert to_svg(drawing(), "named") == expected


def test_every_colour_of_a_figure_has_a_value_on_light_and_on_dark_pages() -> None:
    svg = to_svg(drawing(), "named")
    used = set(re.findall(r"var\((--c[0-9a-f]{6})\)", svg))
    assert f"--c{style.BEST[1:].lower()}" in used
    assert not re.search(r": #[0-9a-f]{6}", svg)
    light, dark = color_rules([svg]).split("@media")
    for name in used:
        assert f"{name}:#{name[3:]};" in light
        assert f"{name}:{on_dark('#' + name[3:])};" in dark


def luminance(color: str) -> float:
    """The relative luminance of WCAG 2."""
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


# Rules, bands and pruned trials are meant to stand back.
READ = [c for c in style.ON_DARK if c not in ("#FFFFFF", style.RULE, style.BAND, style.GREY)]


@pytest.mark.parametrize("color", READ)
def test_what_is_to_be_read_stands_out_on_both_pages(color: str) -> None:
    least = 4.5 if color in (style.INK, style.MUTED, style.BLACK) else 3.0
    assert contrast(color, "#FFFFFF") >= least
    assert contrast(style.ON_DARK[color], style.ON_DARK["#FFFFFF"]) >= least


def test_the_index_lists_the_reports_of_a_home_and_nothing_else(tmp_path: Path) -> None:
    assert write_index(tmp_path) is None
    for folder, kind, title in (
        ("z-baseline", "baseline", "The documented network"),
        ("a study", "study", "Study one"),
    ):
        (tmp_path / "reports" / folder).mkdir(parents=True)
        text = render(replace(PAGE, kind=kind, title=title, question=f"{title}?"))
        (tmp_path / "reports" / folder / REPORT).write_text(text, encoding="utf-8")
    (tmp_path / "reports" / "other").mkdir()
    (tmp_path / "reports" / "other" / REPORT).write_text("<html>not ours</html>")
    index = write_index(tmp_path)
    assert index == tmp_path / INDEX
    text = index.read_text(encoding="utf-8")
    links = re.findall(r'<h2><a href="([^"]+)">([^<]+)</a>', text)
    assert links == [
        ("reports/a%20study/report.html", "Study one?"),
        ("reports/z-baseline/report.html", "The documented network?"),
    ]
    assert "<strong>this one</strong>" in text
    assert "not ours" not in text
    assert "<img" not in text
