"""The page of the baseline: whether the documented network reproduces its documented numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mnist_study.core.datasets import is_mnist
from mnist_study.core.trials import TrialResult
from mnist_study.experiments.page_parts import record_section, run_table
from mnist_study.experiments.summary import data_name
from mnist_study.experiments.tables import markdown_table
from mnist_study.search.history import History

if TYPE_CHECKING:
    from mnist_study.pages import Page
    from mnist_study.plots.style import Figure
    from mnist_study.stats import Interval, RunDistribution

_CAPTIONS = {
    "accuracies": "Each dot is a run; thick line: 95 % interval of the mean, thin line: where a "
    "run with a new seed falls with 95 %. Point at a dot for its values.",
    "accuracy_curves": "Accuracy of each run by epoch, and the mean of all.",
    "loss_curves": "Loss of each run by epoch, with the L2 penalty, and the mean of all.",
}


def baseline_page(
    history: History,
    runs: Sequence[TrialResult],
    distributions: Mapping[str, RunDistribution],
    lines: Sequence[str],
    settings: Sequence[str],
    figures: Mapping[str, Figure],
) -> Page:
    """Return the page of the baseline.

    Args:
        history: its record.
        runs: that came to an end.
        distributions: of their accuracies, by name.
        lines: the verdicts, or why there are none.
        settings: of the training and what became of it, a sentence each.
        figures: all that README.md shows, by name, `accuracies` among them.
    """
    from mnist_study.pages import Page, Picture, Section

    pictures = {name: Picture.of(f, name, _CAPTIONS[name]) for name, f in figures.items()}
    question = f"How accurate is the documented network over {len(runs)} seeds?"
    if is_mnist(history.identity.data.dataset):
        question = "Does the documented network reproduce its documented numbers?"
    return Page(
        kind="baseline",
        title=f"The documented network over {len(runs)} seeds on {data_name(history)}",
        question=question,
        answer=[line for sentence in lines for line in (sentence, "")],
        picture=pictures.pop("accuracies"),
        table=_table(distributions),
        sections=[
            Section(
                "How the runs went",
                text=[f"- {item}" for item in settings],
                pictures=list(pictures.values()),
                is_open=True,
            ),
            Section("Two runs compared", widget="compare", is_open=True),
            Section(
                "All runs",
                text=["Click a column's name to sort by it. Accuracies are shares in [0, 1]."],
                widget="table",
                is_open=True,
            ),
        ],
        appendix=[record_section(history, f"the test set was read {len(runs)} times, once a run")],
        trials=run_table(history.results),
    )


def _table(distributions: Mapping[str, RunDistribution]) -> list[str]:
    return markdown_table(
        ("", *distributions),
        [
            ["mean, %", *(f"{100 * d.mean:.2f}" for d in distributions.values())],
            [
                "95 % interval of the mean",
                *(_ends(d.mean_interval) for d in distributions.values()),
            ],
            [
                "95 % prediction interval for a new seed",
                *(_ends(d.prediction_interval) for d in distributions.values()),
            ],
            ["standard deviation, points", *(f"{100 * d.sd:.2f}" for d in distributions.values())],
            ["runs", *(str(d.n_runs) for d in distributions.values())],
        ],
        left=("",),
    )


def _ends(interval: Interval) -> str:
    return f"{100 * interval.low:.2f} to {100 * interval.high:.2f}"
