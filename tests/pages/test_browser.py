"""Reports in a real browser: width, dark pages, and what the script does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Page, fresh_browser, needs_browser
from drawn_study import SPACE, make_study
from handmade import MemoryHistory, completed, study_identity

from mnist_study.core.config import load_experiment
from mnist_study.data.dataset import load_test_set, load_training_set
from mnist_study.experiments.baseline import baseline_job, read_baseline
from mnist_study.experiments.study import read_study
from mnist_study.pages import REPORT, write_index

pytestmark = [pytest.mark.browser, needs_browser]

EXPERIMENT = load_experiment(Path(__file__).parents[2] / "experiments" / "smoke.toml")
N_TRIALS = 60


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the reports of a study and of a baseline, and their index."""
    home = tmp_path_factory.mktemp("home")
    search = EXPERIMENT.search.model_copy(update={"space": SPACE})
    experiment = EXPERIMENT.model_copy(update={"study": search})
    study = MemoryHistory(experiment.name, study_identity(experiment))
    for row in make_study(N_TRIALS):
        study.append(row, f"run-{row.number}")
    read_study(study).write(home / "reports" / "study")
    job = baseline_job(EXPERIMENT, load_training_set("digits"), load_test_set("digits"), 6)
    baseline = MemoryHistory(job.name, job.identity)
    for number in range(6):
        metrics = {"test/accuracy": 0.97 + number / 1000, "test/loss": 0.1}
        result = completed(number, EXPERIMENT.baseline, 0.96, test_metrics=metrics)
        baseline.append(result, f"run-{number}")
    read_baseline(baseline).write(home / "reports" / "baseline")
    write_index(home)
    return home


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with fresh_browser() as page:
        page.ask("Runtime.enable")
        yield page


def shown(page: Page, path: Path, width: int = 1400) -> Page:
    """Open a file and wait until its script has run."""
    page.open(path.as_uri(), width=width, height=900)
    for _ in range(200):
        if page.value("document.readyState === 'complete' && location.protocol === 'file:'"):
            return page
    raise AssertionError(f"{path} was not loaded")


def table(page: Page) -> list[list[str]]:
    """Return the cells of the trials that the table shows, in its order."""
    script = (
        "JSON.stringify([...document.querySelectorAll('#trial-table tbody tr:not([hidden])')]"
        ".map(row => [...row.cells].slice(1).map(cell => cell.textContent)))"
    )
    return [list(map(str, row)) for row in json.loads(page.value(script))]


@pytest.mark.parametrize("width", [390, 1400])
@pytest.mark.parametrize(
    "name", ["index.html", "reports/study/" + REPORT, "reports/baseline/" + REPORT]
)
def test_no_report_scrolls_sideways(page: Page, home: Path, name: str, width: int) -> None:
    shown(page, home / name, width)
    page.value("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert page.value("innerWidth") == width
    assert page.value("document.documentElement.scrollWidth") <= width


def test_question_answer_picture_and_table_are_on_the_first_screen(page: Page, home: Path) -> None:
    shown(page, home / "reports" / "study" / REPORT)
    table = "document.querySelector('.first .wide')"
    assert page.value(f"{table}.scrollWidth - {table}.clientWidth") == 0
    for selector in ("h1", ".answer", ".first figure", ".first table"):
        bottom = page.value(f"document.querySelector('{selector}').getBoundingClientRect().bottom")
        assert 0 < bottom <= 900, selector


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_figures_have_the_page_s_colours(page: Page, home: Path, scheme: str) -> None:
    page.ask(
        "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}]
    )
    shown(page, home / "reports" / "study" / REPORT)
    brightness = (
        "(s => s.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + Number(b), 0) / 3)"
        "(getComputedStyle(document.{0}).{1})"
    )
    paper = page.value(brightness.replace("{0}", "body").replace("{1}", "backgroundColor"))
    words = page.value(
        brightness.replace("{0}", "querySelector('.first figure svg')").replace("{1}", "fill")
    )
    assert (paper < 60) is (scheme == "dark")
    assert abs(paper - words) > 180
    page.ask("Emulation.setEmulatedMedia", features=[])


def test_the_table_sorts_and_filters(page: Page, home: Path) -> None:
    shown(page, home / "reports" / "study" / REPORT)
    rows = table(page)
    assert len(rows) == N_TRIALS
    names = page.value(
        "[...document.querySelectorAll('#trial-table th button')].map(b => b.textContent).join()"
    ).split(",")
    column = names.index("units_1")
    click = f"document.querySelectorAll('#trial-table th button')[{column}].click()"
    for order in (lambda widths: sorted(widths, reverse=True), sorted):
        page.value(click)
        widths = [int(row[column]) for row in table(page)]
        assert widths == order(widths)
    typed = (
        "(box => { box.value = '%s'; box.dispatchEvent(new Event('input')); })"
        "(document.querySelector('.filters input'))"
    )
    page.value(typed % "units_1>=300 complete")
    kept = table(page)
    expected = [r for r in rows if int(r[column]) >= 300 and r[names.index("state")] == "COMPLETE"]
    assert {row[0] for row in kept} == {row[0] for row in expected}
    assert f"{len(expected)} of {N_TRIALS} trials" in page.text


def test_a_mark_of_a_figure_shows_its_trial_and_leads_to_its_row(page: Page, home: Path) -> None:
    shown(page, home / "reports" / "study" / REPORT)
    mark = "document.querySelector('.first figure a')"
    page.value(f"{mark}.dispatchEvent(new MouseEvent('mouseover', {{bubbles: true}}))")
    tip = str(page.value("document.getElementById('tip').innerText"))
    number = str(page.value(f"{mark}.getAttribute('xlink:href')")).removeprefix("#trial-")
    assert tip.startswith(f"trial {number}")
    assert "learning_rate" in tip
    page.value(
        f"{mark}.dispatchEvent(new MouseEvent('click', {{bubbles: true, cancelable: true}}))"
    )
    row = f"document.getElementById('trial-{number}')"
    assert page.value(f"{row}.classList.contains('hit')")
    assert 0 <= page.value(f"{row}.getBoundingClientRect().top") <= 900


WORDS = (
    "JSON.stringify([...document.querySelectorAll('[data-widget] svg')].flatMap(picture => {"
    "const boxes = [...picture.querySelectorAll('text')].filter(one => one.textContent)"
    ".map(one => [one.textContent, one.getBoundingClientRect()]);"
    "return boxes.flatMap(([a, p], i) => boxes.slice(i + 1)"
    ".filter(([, q]) => Math.min(p.right, q.right) - Math.max(p.left, q.left) > 1"
    " && Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top) > 4).map(([b]) => [a, b])); }))"
)


@pytest.mark.parametrize("width", [390, 1400])
def test_no_two_words_of_a_drawn_widget_overlap_and_none_is_small(
    page: Page, home: Path, width: int
) -> None:
    shown(page, home / "reports" / "study" / REPORT, width)
    assert json.loads(page.value(WORDS)) == []
    scale = (
        "Math.min(...[...document.querySelectorAll('[data-widget] svg')]"
        ".map(one => one.getScreenCTM().a))"
    )
    assert page.value(scale) >= 0.95  # of letters of 11 px


def test_compared_curves_have_the_colours_of_the_figures_and_stay_in_their_frame(
    page: Page, home: Path
) -> None:
    shown(page, home / "reports" / "study" / REPORT)
    compare = "document.querySelector('[data-widget=compare]')"
    colours = page.value(
        f"[...{compare}.querySelectorAll('path')]"
        ".map(path => path.style.stroke + path.getAttribute('clip-path')).join()"
    )
    clip = "url(#compare-frame)"
    assert colours == f"var(--mark){clip},var(--ink){clip}"
    names = page.value(f"{compare}.querySelector('svg').textContent")
    assert "(best)" in names
    assert "(documented)" in names


def test_two_trials_are_compared_and_any_two_parameters_drawn(page: Page, home: Path) -> None:
    shown(page, home / "reports" / "study" / REPORT)
    for number in (3, 5):
        page.value(f"document.querySelector('#trial-{number} input').click()")
    compared = str(page.value("document.querySelector('[data-widget=compare]').innerText"))
    heads = re.findall(r"trial (\d+)[^\n]*\ttrial (\d+)", compared)
    assert heads == [("3", "5")]
    contour = "document.querySelector('[data-widget=contour]')"
    before = page.value(f"{contour}.querySelector('svg').outerHTML")
    page.value(
        f"(box => {{ box.value = 'l2'; box.dispatchEvent(new Event('change')); }})"
        f"({contour}.querySelector('select'))"
    )
    after = str(page.value(f"{contour}.querySelector('svg').outerHTML"))
    assert after != before
    assert "over l2 and" in after


def test_a_report_asks_for_no_other_file_and_its_script_has_no_error(
    page: Page, home: Path
) -> None:
    errors: Any = (
        "(() => { const made = performance.getEntriesByType('resource').map(e => e.name);"
        " return JSON.stringify(made); })()"
    )
    shown(page, home / "reports" / "study" / REPORT)
    assert json.loads(page.value(errors)) == []
    # What the script builds is there, to the last: contour, comparison, timeline.
    assert page.value("document.querySelectorAll('[data-widget] svg').length") == 3
