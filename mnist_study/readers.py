"""Which function reads which kind of record."""

from __future__ import annotations

from mnist_study.ablation.readers import read_ablation, read_part
from mnist_study.baseline import read_baseline
from mnist_study.confirm import read_confirmation
from mnist_study.history import History
from mnist_study.runner import Findings
from mnist_study.study_job import read_study

_READERS = {"study": read_study, "baseline": read_baseline, "confirm": read_confirmation}


def read_record(history: History) -> Findings:
    """Read a record of any kind, from the stores alone."""
    if history.kind == "ablation":
        return read_part(history) if is_part(history) else read_ablation(history)
    return _READERS[history.kind](history)


def is_part(history: History) -> bool:
    """Whether a record is reported with another one, the ablation's factorial."""
    return bool((history.identity or {}).get("part", "factorial") != "factorial")
