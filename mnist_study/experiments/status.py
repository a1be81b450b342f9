"""The state of a study, from its history alone."""

from __future__ import annotations

import statistics
from datetime import datetime
from itertools import pairwise
from typing import Any

from mnist_study.core.errors import UserFacingError
from mnist_study.core.home import Home
from mnist_study.core.text import duration
from mnist_study.core.trials import select
from mnist_study.execution.stores import open_histories
from mnist_study.experiments.summary import fault_lines, state_counts
from mnist_study.search.history import History

RECENT = 20
# A gap between two trials so many times longer than the usual one is a pause.
LONGEST_GAP = 20


def records_of(home: Home, name: str | None) -> list[History]:
    """Return the records of a home, or the one of a name.

    Raises:
        UserFacingError: there is none, or none of that name.
    """
    histories = open_histories(home)
    found = [history for history in histories if name in (None, history.name)]
    if not found:
        names = ", ".join(history.name for history in histories)
        raise UserFacingError(f"--study {name}: no such record in {home.path}, expected: {names}")
    return found


def status_document(history: History, holder: str | None = None) -> dict[str, Any]:
    """Return progress, best so far, pace and remaining time.

    Args:
        history: of the study.
        holder: the command that holds its home now, if any.
    """
    results, wanted = history.results, history.n_trials
    # Only a study searches; of other records the best run is luck and the first nothing special.
    is_search = history.kind == "study"
    best = select(results).best if is_search else None
    per_hour = _trials_per_hour(history.finished_at[-RECENT:])
    left = max(0, wanted - len(results))
    return {
        "study": history.name,
        "kind": history.kind,
        "home_in_use_by": holder,
        "n_finished": len(results),
        "n_trials": wanted,
        "states": state_counts(results),
        "best_trial": best.number if best else None,
        "best_val_accuracy": best.value if best else None,
        "baseline_val_accuracy": results[0].value if results and is_search else None,
        "trials_per_hour": per_hour,
        "remaining_seconds": 3600 * left / per_hour if per_hour else None,
        "last_finished_at": (
            max(history.finished_at).astimezone().isoformat(" ", "seconds") if results else None
        ),
        "faults": fault_lines(results),
        "worker_lost": [result.number for result in results if result.lost_worker],
        "mixed_identities": history.is_mixed,
    }


def _trials_per_hour(finished_at: list[datetime]) -> float | None:
    """Return the pace while the study ran; pauses between two sittings do not count."""
    # Trials end in any order, and are stored in that of their numbers.
    moments = sorted(finished_at)
    seconds = [(after - before).total_seconds() for before, after in pairwise(moments)]
    if not seconds:
        return None
    longest = LONGEST_GAP * statistics.mean(sorted(seconds)[: len(seconds) // 2 + 1])
    running = [gap for gap in seconds if gap <= longest] or seconds
    return 3600 * len(running) / sum(running) if sum(running) else None


def status_lines(document: dict[str, Any]) -> list[str]:
    """Write a status document for people."""
    states = ", ".join(f"{n} {state}" for state, n in document["states"].items())
    unit = "trials" if document["kind"] == "study" else "runs"
    done = f"{document['n_finished']} of {document['n_trials']} {unit}"
    lines = [f"{document['study']} ({document['kind']}): {done} ({states})"]
    if document["best_trial"] is not None:
        lines.append(
            f"  best: trial {document['best_trial']}, validation accuracy "
            f"{document['best_val_accuracy']:.2%}"
        )
    if document["baseline_val_accuracy"] is not None:
        lines.append(f"  documented network: {document['baseline_val_accuracy']:.2%}")
    if document["remaining_seconds"]:
        lines.append(
            f"  pace: {document['trials_per_hour']:.0f} {unit} an hour, "
            f"{duration(document['remaining_seconds'])} of work left"
        )
    if document["home_in_use_by"]:
        lines.append(f"  its home is in use by {document['home_in_use_by']}")
    elif document["n_finished"] < document["n_trials"]:
        lines.append("  not running; the command that began it resumes it")
    lines += [f"  {line}" for line in document["faults"]]
    if document["worker_lost"]:
        lines.append(f"  worker-lost, outside the promise: {document['worker_lost']}")
    if document["mixed_identities"]:
        lines.append("  mixed identities: bit-identity was given up")
    return lines
