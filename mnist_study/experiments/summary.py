"""What a study found, in words, tables and figures, computed from its history alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mnist_study.core.datasets import described
from mnist_study.core.text import error_line
from mnist_study.core.trials import TrialResult, TrialState, digest, select
from mnist_study.experiments.tables import markdown_table, trial_table_markdown
from mnist_study.search.history import History

if TYPE_CHECKING:
    from mnist_study.plots.style import Figure

FIGURES = {
    "optimization_history": "Validation accuracy by trial",
    "parallel_coordinates": "All trials at a glance",
    "slices": "Validation accuracy against each parameter",
    "accuracy_against_size": "Validation accuracy against number of parameters",
    "best_curves": "Curves of the best ten trials and of the documented network",
}


def study_figures(history: History, confirmed: int | None = None) -> dict[str, Figure]:
    """Draw the study's trials, by the names of `FIGURES`.

    Args:
        history: the study's record.
        confirmed: number of the trial that won its confirmation, if there was one.
    """
    from mnist_study import plots

    rows = history.results
    study = history.experiment.search
    return {
        "optimization_history": plots.optimization_history(rows, confirmed),
        "parallel_coordinates": plots.parallel_coordinates(rows, study.space, confirmed),
        "slices": plots.slices(rows, study.space, confirmed),
        "accuracy_against_size": plots.accuracy_against_size(rows, confirmed),
        "best_curves": plots.best_curves(rows, confirmed=confirmed),
    }


def findings(history: History) -> list[str]:
    """Say in a few lines what the study found, against the baseline."""
    best = select(history.results).best
    if best is None or best.value is None:
        return ["No trial has completed, so there is nothing to compare."]
    lines = [
        f"Best trial {best.number}: validation accuracy {best.value:.2%} at epoch "
        f"{best.best_epoch}, {best.n_parameters:,} parameters, overfitting gap "
        f"{100 * (best.overfitting_gap or 0):.2f} points.",
        "  " + describe_params(best.params.model_dump()),
    ]
    baseline = history.results[0]
    if baseline.value is None:
        lines.append(f"The documented network (trial 0) is {baseline.state}: {baseline.reason}")
    elif baseline.number == best.number:
        lines.append("That is the documented network itself: nothing better was found.")
    else:
        lines.append(
            f"Documented network (trial 0): {baseline.value:.2%}, so the best is "
            f"{100 * (best.value - baseline.value):.2f} points above it. The maximum of many noisy "
            "values is optimistic; fresh seeds (`mnist-study confirm`) show by how much."
        )
    return lines


def describe_params(params: Mapping[str, Any]) -> str:
    """Write parameters in one line with sensible digits."""
    return ", ".join(f"{name} {value:.3g}" for name, value in params.items())


def state_counts(results: list[TrialResult]) -> dict[str, int]:
    """Count trials by state."""
    return {str(s): sum(result.state is s for result in results) for s in TrialState}


def fault_lines(results: Sequence[TrialResult]) -> list[str]:
    """Name the trials that FAILED of something else than a diverged loss, and what to do."""
    faults = [result for result in results if result.is_fault]
    if not faults:
        return []
    numbers = ", ".join(str(result.number) for result in faults)
    return [
        f"Failed of something else than a diverged loss: {numbers} (the last of: "
        f"{error_line(faults[-1].reason or '')}); `mnist-study study --retry-failed` runs them "
        "again."
    ]


def digest_document(history: History) -> dict[str, Any]:
    """Return the digest, what it covers, and what of it is not promised to come out again."""
    lost = [result.number for result in history.results if result.lost_worker]
    return {
        "study": history.name,
        "digest": digest(history.results),
        "n_trials": len(history.results),
        "worker_lost": lost,
        "mixed_identities": history.is_mixed,
    }


def digest_line(document: Mapping[str, Any]) -> str:
    """Write a digest document for people."""
    notes = ""
    if document["worker_lost"]:
        notes += f"; worker-lost, outside the promise: {document['worker_lost']}"
    if document["mixed_identities"]:
        notes += "; mixed identities, bit-identity was given up"
    return f"{document['digest']}  {document['study']}  {document['n_trials']} trials{notes}"


def title(history: History) -> str:
    """Name the study and the data it is about, so that digits are never taken for MNIST."""
    return f"Study {history.name} on {data_name(history)}"


def data_name(history: History) -> str:
    """Name the data that a record is about, for the title of its report."""
    return described(history.identity.data.dataset)


def sessions_markdown(history: History) -> list[str]:
    """Return the table of sessions: command, commit and duration of each driver's work.

    A session that has "not ended" was killed, or is at work.
    """
    rows = []
    for session in history.sessions:
        seconds, n_trials = session["seconds"], session["n_trials"]
        rows.append(
            (
                session["begun"],
                f"`{session['command']}`",
                (session["commit"] or "none") + (" (dirty)" if session["dirty"] else ""),
                "not ended" if seconds is None else f"{seconds:.0f}",
                "" if n_trials is None else n_trials,
                session["workers"],
                session["hardware"],
            )
        )
    head = ("begun", "command", "commit", "seconds", "trials", "workers", "hardware")
    return markdown_table(head, rows)


def study_markdown(history: History, search: Sequence[str], importance: Sequence[str]) -> str:
    """Write the report of a study.

    Args:
        history: the study's record.
        search: what its search was worth, as Markdown; empty with too few trials.
        importance: of each parameter, as Markdown.
    """
    data = history.identity.data
    document = digest_document(history)
    counts = ", ".join(f"{n} {state}" for state, n in state_counts(history.results).items())
    lines = [
        f"# {title(history)}",
        "",
        "Written by `mnist-study report` from the study's stores; no figure here was typed.",
        "",
        *findings(history),
        "",
        f"- trials: {len(history.results)} ({counts})",
        f"- digest: `{document['digest']}`",
        f"- data: {data.dataset}, content hash `{data.content_hash}`",
    ]
    if document["worker_lost"]:
        lines.append(f"- worker-lost, outside bit-identity: {document['worker_lost']}")
    if document["mixed_identities"]:
        lines.append("- run with --allow-mixed: bit-identity was given up")
    lines += ["", *sessions_markdown(history)]
    lines += ["", "## Would more trials pay", "", *search, ""]
    lines += ["![The best of n trials](tuning_curves.png)", ""]
    lines += ["## Importance of each parameter", "", *importance, ""]
    lines += ["![Importance of each parameter](parameter_importances.png)", ""]
    lines += ["## Trials", "", trial_table_markdown(history.results).rstrip(), ""]
    for name, caption in FIGURES.items():
        lines += [f"## {caption}", "", f"![{caption}]({name}.png)", ""]
    return "\n".join(lines)
