"""The tables of an ablation's verdicts, in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mnist_study.experiments.ablation.claims import EarlierEdition, Sentence
from mnist_study.experiments.ablation.decisions import Decision
from mnist_study.experiments.ablation.outcomes import UNITS
from mnist_study.experiments.ablation.tables import count, executions
from mnist_study.experiments.ablation.text import (
    crossed_text,
    effect_text,
    interval_text,
    p_text,
    read_at,
    replicated_text,
    setting_text,
    verdict_text,
)
from mnist_study.experiments.tables import markdown_table
from mnist_study.stats import Verdict


def quoted(sentence: Sentence) -> str:
    """Return the text of a sentence, in quotation marks where these are the document's words."""
    return f"“{sentence.text}”" if sentence.quoted else sentence.text


_CLAIM_COLUMNS = ("claim", "verdict", "found", "both executions agree", "read at")


def _claim_cells(decision: Decision) -> list[str]:
    return [
        decision.claim.claim,
        f"**{verdict_text(decision)}**",
        effect_text(decision),
        replicated_text(decision) if decision.readings else "",
        read_at(decision),
    ]


def sentence_table(
    sentences: Sequence[Sentence], decisions: Sequence[Sequence[Decision]]
) -> list[str]:
    """Return the table of the document's sentences, their claims and verdicts."""
    rows: list[list[str]] = []
    for sentence, of_sentence in zip(sentences, decisions, strict=True):
        if sentence.not_tested is not None:
            rows.append([quoted(sentence), "not tested", "", sentence.not_tested, "", ""])
        for index, decision in enumerate(of_sentence):
            rows.append([quoted(sentence) if index == 0 else "", *_claim_cells(decision)])
    head = ["the document", *_CLAIM_COLUMNS]
    return markdown_table(head, rows)


def verdict_table(
    sentences: Sequence[Sentence], decisions: Sequence[Sequence[Decision]]
) -> list[str]:
    """Return the document's sentences, a row each, with the verdicts on their claims, counted."""
    rows = [
        [quoted(sentence), "not tested" if sentence.not_tested else _counted(of_sentence)]
        for sentence, of_sentence in zip(sentences, decisions, strict=True)
    ]
    return markdown_table(["the document", "verdict"], rows)


def _counted(decisions: Sequence[Decision]) -> str:
    """Return the verdict on one claim, or how many of several claims have which."""
    if len(decisions) == 1:
        return f"**{verdict_text(decisions[0])}**"
    words = ["incomplete" if d.verdict is None else d.verdict.value for d in decisions]
    counts = {word: words.count(word) for word in [*(v.value for v in Verdict), "incomplete"]}
    return ", ".join(f"{n} **{word}**" for word, n in counts.items() if n)


def claim_table(
    sentences: Sequence[Sentence], decisions: Sequence[Sequence[Decision]]
) -> list[str]:
    """Return every claim with its verdict and what was found where; why others are not tested."""
    rows = [_claim_cells(decision) for of_sentence in decisions for decision in of_sentence]
    untested = [
        f"{quoted(sentence)} Not tested: {sentence.not_tested}."
        for sentence in sentences
        if sentence.not_tested
    ]
    return [*markdown_table(_CLAIM_COLUMNS, rows), "", *untested, ""]


def earlier_table(earlier: EarlierEdition, decisions: Iterable[Decision]) -> list[str]:
    """Return the verdicts of an earlier edition beside those on the same claims now."""
    rows = []
    for decision in decisions:
        before = earlier.verdicts.get(decision.claim.claim)
        if before is not None:
            change = "the same" if decision.verdict is before else "**changed**"
            rows.append([decision.claim.claim, before.value, verdict_text(decision), change])
    return markdown_table(["claim", "then", "now", ""], rows)


def reading_table(decisions: Iterable[Decision]) -> list[str]:
    """Return every claim at every setting, with both executions."""
    head = [
        "claim", "setting", "n (left out)", "verdict", "estimate (interval)", "unit",
        "execution 1", "execution 2", "over runs and test images", "adjusted p",
        "adjusted p against the margin",
    ]  # fmt: skip
    rows = []
    for decision in decisions:
        is_level = decision.claim.is_level
        for index, reading in enumerate(decision.readings):
            estimate, metric = reading.estimate, decision.claim.metric
            unit = UNITS[metric].value_unit if is_level else UNITS[metric].unit
            rows.append(
                [
                    decision.claim.claim if index == 0 else "",
                    setting_text(reading.setting),
                    count(estimate),
                    reading.verdict.value,
                    interval_text(metric, estimate.interval, signed=not is_level),
                    unit,
                    *executions(estimate, signed=not is_level),
                    crossed_text(estimate),
                    p_text(reading.adjusted),
                    p_text(reading.margin_p),
                ]
            )
    return markdown_table(head, rows)
