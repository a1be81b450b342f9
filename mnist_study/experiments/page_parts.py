"""What the pages of several kinds of records have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mnist_study.core.trials import TrialResult, has_value
from mnist_study.experiments.summary import digest_document, sessions_markdown, state_counts
from mnist_study.search.history import History

if TYPE_CHECKING:
    from mnist_study.pages import Section, Trials
    from mnist_study.stats import Interval


def span(interval: Interval, *, digits: int = 2) -> str:
    """Write the ends of an interval of a difference, given as shares, in points."""
    return f"{100 * interval.low:+.{digits}f} to {100 * interval.high:+.{digits}f}"


def record_section(history: History, *more: str) -> Section:
    """Return the section of a page that says how a record was made.

    Args:
        history: the record.
        more: further items of its list, as Markdown without the dash.
    """
    from mnist_study.pages import Section

    data, document = history.identity.data, digest_document(history)
    counts = ", ".join(f"{n} {state}" for state, n in state_counts(history.results).items() if n)
    items = [
        f"record `{history.name}`: {len(history.results)} runs ({counts})",
        f"digest: `{document['digest']}`",
        f"data: {data.dataset}, content hash `{data.content_hash}`",
        *more,
    ]
    if document["worker_lost"]:
        items.append(f"worker-lost, outside bit-identity: {document['worker_lost']}")
    if document["mixed_identities"]:
        items.append("run with --allow-mixed: bit-identity was given up")
    return Section(
        f"How {history.name} was made",
        text=[*(f"- {item}" for item in items), "", *sessions_markdown(history)],
        summary="commands, commits, machines, digest",
    )


def run_table(results: Sequence[TrialResult], labels: Sequence[str] = ()) -> Trials:
    """Return runs of given configurations as a table, best validation accuracy first.

    Args:
        results: finished runs in any order.
        labels: name of each run's configuration, where there are several.
    """
    from mnist_study.pages import Trials

    reads_test_set = any("test/accuracy" in result.test_metrics for result in results)
    names = dict(zip((result.number for result in results), labels, strict=True)) if labels else {}
    rows = {}
    for result in sorted(results, key=lambda r: (not has_value(r), -(r.value or 0.0), r.number)):
        test = result.test_metrics.get("test/accuracy")
        rows[result.number] = [
            str(result.number),
            *([names[result.number]] if labels else []),
            result.state.value,
            *([_share(test)] if reads_test_set else []),
            _share(result.value if has_value(result) else None),
            "" if result.best_epoch is None else str(result.best_epoch),
            str(len(result.epochs)),
            _share(result.overfitting_gap),
            f"{result.train_seconds:.1f}",
        ]
    return Trials(
        head=[
            "number",
            *(["configuration"] if labels else []),
            "state",
            *(["test_accuracy"] if reads_test_set else []),
            "value",
            "best_epoch",
            "epochs",
            "overfitting_gap",
            "train_seconds",
        ],
        rows=rows,
        filters=("configuration", "state") if labels else ("state",),
        data={result.number: trial_data(result, names.get(result.number)) for result in results},
        params=[],
        marks={},
        unit="run",
    )


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def trial_data(result: TrialResult, label: str | None = None) -> dict[str, Any]:
    """Return what the page's script knows of a trial; JSON has no number for infinity.

    Args:
        result: a finished trial.
        label: name of its configuration.
    """
    value = result.value if has_value(result) else None
    words = [*([label] if label else []), result.state.value.lower()]
    if value is not None:
        words.append(f"validation accuracy {value:.2%}")
    if "test/accuracy" in result.test_metrics:
        words.append(f"test accuracy {result.test_metrics['test/accuracy']:.2%}")
    words.append(f"{len(result.epochs)} epochs")
    if result.n_parameters:
        words.append(f"{result.n_parameters:,} parameters")
    return {
        "title": ", ".join(words),
        "state": result.state.value,
        "value": value,
        "size": result.n_parameters,
        "params": result.params.model_dump(),
        "epochs": [
            round(e.val_accuracy, 6) if 0 <= e.val_accuracy <= 1 else None for e in result.epochs
        ],
    }
