"""The state of a study, from its history alone."""

from __future__ import annotations

from typing import Any

from mnist_study.history import History
from mnist_study.live import duration
from mnist_study.report import best_trial, state_counts

RECENT = 20


def status_document(history: History) -> dict[str, Any]:
    """Return progress, best so far, pace and remaining time."""
    results, wanted = history.results, history.n_trials
    best = best_trial(results)
    recent = history.finished_at[-RECENT:]
    seconds = (recent[-1] - recent[0]).total_seconds() if len(recent) > 1 else 0.0
    per_hour = 3600 * (len(recent) - 1) / seconds if seconds else None
    left = max(0, wanted - len(results))
    return {
        "study": history.name,
        "n_finished": len(results),
        "n_trials": wanted,
        "states": state_counts(results),
        "best_trial": best.number if best else None,
        "best_val_accuracy": best.value if best else None,
        "baseline_val_accuracy": results[0].value if results else None,
        "trials_per_hour": per_hour,
        "remaining_seconds": 3600 * left / per_hour if per_hour else None,
        "last_finished_at": history.finished_at[-1].isoformat(" ", "seconds") if results else None,
        "worker_lost": [result.number for result in results if result.lost_worker],
        "mixed_identities": history.is_mixed,
    }


def status_lines(document: dict[str, Any]) -> list[str]:
    """Write a status document for people."""
    states = ", ".join(f"{n} {state}" for state, n in document["states"].items())
    lines = [
        f"{document['study']}: {document['n_finished']} of {document['n_trials']} trials ({states})"
    ]
    if document["best_trial"] is not None:
        lines.append(
            f"  best: trial {document['best_trial']}, validation accuracy "
            f"{document['best_val_accuracy']:.2%}"
        )
    if document["baseline_val_accuracy"] is not None:
        lines.append(f"  documented network: {document['baseline_val_accuracy']:.2%}")
    if document["remaining_seconds"]:
        lines.append(
            f"  pace: {document['trials_per_hour']:.0f} trials an hour while it ran, "
            f"{duration(document['remaining_seconds'])} of work left; `mnist-study study` resumes"
        )
    if document["worker_lost"]:
        lines.append(f"  worker-lost, outside the promise: {document['worker_lost']}")
    if document["mixed_identities"]:
        lines.append("  mixed identities: bit-identity was given up")
    return lines
