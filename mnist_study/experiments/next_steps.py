"""What a command ends with: the next one, and what it needs; and the same for programs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from mnist_study.core.config import ConfigError
from mnist_study.core.trials import select
from mnist_study.experiments.confirmation_results import confirmed, winner
from mnist_study.search.history import History


def next_line(history: History, home: Path | None, data: Path | None = None) -> str:
    """Return the last line of a command that trains: the next command, as it is to be typed.

    Args:
        history: what it recorded.
        home: as it was typed; None where it was not.
        data: in the same way, the folder of the images.
    """
    given = f" --home {shlex.quote(str(home))}" if home else ""
    images = f" --data {shlex.quote(str(data))}" if data else ""
    look = f"`mnist-study ui{given}` to look at the runs"
    dataset = history.identity.data.dataset
    if history.kind == "study" and select(history.results).best is not None:
        again = f"{confirm_command(history)} --dataset {dataset}{images}{given}"
        return f"Next: `{again}` to see what fresh seeds leave; {look}."
    if history.kind == "confirm":
        try:
            trial = winner(confirmed(history)).candidate.trial
        except ConfigError:  # too few runs have completed, which the findings say
            return f"Next: {look}."
        better = f"mnist-study promote --trial {trial}{images}{given}"
        return f"Next: `{better}` to make it champion; {look}."
    return f"Next: {look}."


def confirm_command(study: History) -> str:
    """Return the command that confirms a study, with its name if the home has several."""
    alike = [h for h in study.siblings("study") if h.content_hash == study.content_hash]
    chosen = f" --study {shlex.quote(study.name)}" if alike else ""
    return f"mnist-study confirm{chosen}"


def run_document(history: History) -> dict[str, Any]:
    """Return runs, times with their zone and the best trial of a record, for `--json`.

    Only a study has a best trial; in other records the highest value is luck.
    """
    best = select(history.results).best if history.kind == "study" else None
    times = [moment.astimezone().isoformat("T", "seconds") for moment in history.finished_at]
    return {
        "best_trial": best and best.number,
        "best_val_accuracy": best and best.value,
        "best_params": best and best.params.model_dump(),
        "best_run_id": best and history.run_ids[best.number],
        "run_ids": list(history.run_ids),
        "first_finished_at": min(times, default=None),
        "last_finished_at": max(times, default=None),
    }
