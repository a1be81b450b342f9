"""The page of an ablation: sentences and verdicts first, each verdict once, the rest folded."""

from __future__ import annotations

import pytest

from mnist_study.experiments.ablation.figures import ablation_figures
from mnist_study.experiments.ablation.page import ablation_page
from mnist_study.experiments.ablation.record import AblationRecord
from mnist_study.pages import Page, render
from mnist_study.search.history import History

pytest_plugins = ["ablation_fixtures"]


@pytest.fixture(scope="module")
def page(whole_ablation: History) -> Page:
    record = AblationRecord(whole_ablation)
    return ablation_page(record, ablation_figures(record), "ab", {"runs.csv": 12_000})


def test_the_first_screen_has_every_sentence_with_its_verdict(
    page: Page, whole_ablation: History
) -> None:
    record = AblationRecord(whole_ablation)
    assert record.analysis is not None
    rows = page.table[2:]
    assert len(rows) == len(record.sentences)
    for row, sentence in zip(rows, record.sentences, strict=True):
        assert sentence.text in row
    assert "1 **supported**, 1 **contradicted**" in rows[0]
    assert rows[-1].endswith("| not tested |")
    assert page.picture is not None
    assert "(+" in page.answer[0] or "(-" in page.answer[0]  # an interval


def test_each_verdict_is_stated_once_and_most_sections_are_folded(
    page: Page, whole_ablation: History
) -> None:
    record = AblationRecord(whole_ablation)
    sections = {section.title: "\n".join(section.text) for section in page.sections}
    for sentence in record.sentences:
        for claim in sentence.claims:
            holding = [title for title, text in sections.items() if f"| {claim.claim} | **" in text]
            assert holding == ["Claim by claim"]
    shown = [section for section in page.sections if section.is_open]
    assert sum(len(section.pictures) for section in shown) == 2
    assert len(page.pictures) == 9
    assert not any(section.is_open for section in page.appendix)


def test_the_page_is_small_and_the_same_twice(page: Page, whole_ablation: History) -> None:
    record = AblationRecord(whole_ablation)
    again = ablation_page(record, ablation_figures(record), "ab", {"runs.csv": 12_000})
    text = render(page)
    assert text == render(again)
    assert len(text) < 6_000_000
    assert "http://" not in text.replace("http://www.w3.org", "")
