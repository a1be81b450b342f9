"""Notes in MLflow: what an experiment, a run or a model is, what was found, and where to look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mnist_study.core.datasets import described
from mnist_study.core.text import first_line
from mnist_study.core.trials import TrialResult, TrialState, by_value, select
from mnist_study.tracking import links
from mnist_study.tracking.entities import NOTE_TAG
from mnist_study.tracking.runs import RunContext
from mnist_study.tracking.store import TrackingStore, pages

if TYPE_CHECKING:
    from mlflow.entities import Run

FINDING_TAG = "finding"
REPORTS = ("report.html", "README.md")
N_BEST = 10
# MLflow's limit for tags of experiments; those of runs may be longer.
_LONGEST = 5000
_KINDS = {
    "study": "A search: configurations around the documented network, which is trial 0.",
    "baseline": "The documented network over seeds, measured on the test set.",
    "screen": "First stage of a confirmation: the study's best configurations, each trained again "
    "with a few fresh seeds and splits.",
    "confirm": "Second stage of a confirmation: the finalists and the documented network, trained "
    "again with other fresh seeds and splits; these runs alone decide the winner.",
    "ablation": "An ablation: what each part of the regularization contributes.",
}
_LOSSES = (
    "`train/loss` and `val/loss` are cross-entropy plus the L2 penalty, which differs from trial "
    "to trial; `test/loss` is without penalty."
)


@dataclass(frozen=True, slots=True)
class Highlights:
    """The trials of a study that its note leads to.

    Attributes:
        best: run ids of the best COMPLETE trials, the best first.
        reference: run id of the documented network.
    """

    best: tuple[str, ...] = ()
    reference: str | None = None


NO_HIGHLIGHTS = Highlights()


def highlights_of(results: Sequence[TrialResult], run_ids: Sequence[str]) -> Highlights:
    """Return the trials of a study that are worth a look.

    Args:
        results: its trials in order; the first is the documented network.
        run_ids: of each.
    """
    best = by_value(select(results).complete)[:N_BEST]
    return Highlights(
        tuple(run_ids[result.number] for result in best), run_ids[0] if run_ids else None
    )


def cut(text: str) -> str:
    """Return a note, cut to a length that every store takes."""
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def study_note(
    context: RunContext,
    run_id: str,
    lines: Sequence[str],
    files: Sequence[str],
    highlights: Highlights,
) -> str:
    """Return the note of a study's own run.

    Args:
        context: of the study.
        run_id: of that run.
        lines: what was found, in sentences; none while trials are running.
        files: names in the run's folder `summary`.
        highlights: trials to lead to.
    """
    experiment_id, kind = context.experiment_id, context.identity["kind"]
    found = [f"- {line.strip()}" for line in lines] or ["Not finished; findings come at its end."]
    places = [("all runs as a table", links.runs_table(experiment_id, kind))]
    best, reference = highlights.best, highlights.reference
    if len(best) > 1:
        places.append((f"the {len(best)} best compared", links.comparison(experiment_id, best)))
    if best and reference is not None and reference != best[0]:
        pair = links.comparison(experiment_id, [best[0], reference])
        places.append(("the best against the documented network", pair))
    for name in REPORTS:
        if name in files:
            places.append(("report", links.artifact_page(experiment_id, run_id, f"summary/{name}")))
            break
    return cut(
        "\n".join(
            [
                f"{_KINDS.get(kind, kind)} Data: {described(context.dataset.name)}.",
                "",
                *found,
                "",
                _line_of(places),
            ]
        )
    )


def trial_note(context: RunContext, parent_id: str, name: str, result: TrialResult) -> str:
    """Return the note of a trial's run.

    Args:
        context: of the study.
        parent_id: run id of the study's run.
        name: of the trial's run.
        result: of the trial.
    """
    experiment_id, kind = context.experiment_id, context.identity["kind"]
    params = ", ".join(f"{name} {value:.3g}" for name, value in result.params.model_dump().items())
    parent = links.run_page(experiment_id, parent_id)
    return cut(
        "\n".join(
            [
                f"{name} of [{context.identity['study']}]({parent}), on "
                f"{described(context.dataset.name)}: {_outcome(result)}.",
                "",
                params + ".",
                "",
                _LOSSES,
                "",
                _line_of([("all runs as a table", links.runs_table(experiment_id, kind))]),
            ]
        )
    )


def _outcome(result: TrialResult) -> str:
    """Say how a trial ended."""
    state, n_epochs = str(result.state), len(result.epochs)
    if result.state is TrialState.FAILED or result.best_epoch is None:
        return f"{state}, {first_line(result.reason or 'no reason was given')}"
    best = result.epochs[result.best_epoch - 1].val_accuracy
    text = (
        f"{state} after {n_epochs} epochs, best validation accuracy {best:.2%} at epoch "
        f"{result.best_epoch}"
    )
    if result.overfitting_gap is not None:
        text += f", overfitting gap {100 * result.overfitting_gap:.2f} points"
    if result.test_metrics:
        text += f", test accuracy {result.test_metrics['test/accuracy']:.2%}"
    return text


def note_experiment(store: TrackingStore, experiment_id: str) -> None:
    """Write the note of an experiment from the findings of the records in it."""
    runs: list[Run] = sorted(
        pages(
            store.client.search_runs,
            experiment_ids=[experiment_id],
            filter_string=f"tags.{FINDING_TAG} LIKE '%'",
            max_results=1000,
        ),
        key=lambda run: run.info.start_time,
    )
    experiment = store.client.get_experiment(experiment_id)
    text: list[str] = []
    for run in runs:
        tags, run_id = run.data.tags, run.info.run_id
        kind = tags.get("kind", "")
        places = [
            ("the record", links.run_page(experiment_id, run_id)),
            ("all its runs as a table", links.runs_table(experiment_id, kind)),
        ]
        name = tags.get("study", run.info.run_name)
        text += [f"**{name}**: {_line_of(places)}", "", tags[FINDING_TAG], ""]
        text += [_KINDS.get(kind, kind), ""]
    text += [
        "Written by `mnist-study`. One run for each record, with its trials below it; a trial's "
        "`best/val_accuracy` is the validation accuracy at the epoch whose weights were kept, its "
        f"`val/accuracy` that of the last epoch. {_LOSSES}"
    ]
    content = cut("\n".join(text))
    if experiment.tags.get(NOTE_TAG) != content:
        store.client.set_experiment_tag(experiment_id, NOTE_TAG, content)


def model_note(model: str, champion: str, accuracy: str, dataset: str) -> str:
    """Return the note of a registered model.

    Args:
        model: its name.
        champion: the champion's version.
        accuracy: of the champion on the test set, in words.
        dataset: that its versions were trained on.
    """
    return (
        f"Classifiers of single handwritten digits, 28x28 pixels, trained on {described(dataset)}; "
        "each version was measured once on the test set and has a card of its own.\n\n"
        f"- champion: [version {champion}]({links.version_page(model, champion)}), {accuracy}\n"
        "- the alias `champion` is what `mnist-study predict` and `serve` use; `mnist-study "
        "promote` and `rollback` move it after their checks"
    )


def _line_of(places: Sequence[tuple[str, str]]) -> str:
    return " · ".join(f"[{label}]({address})" for label, address in places)
