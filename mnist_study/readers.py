"""Which function reads which kind of record."""

from __future__ import annotations

from mnist_study.baseline import read_baseline
from mnist_study.confirm import read_confirmation
from mnist_study.history import History
from mnist_study.runner import Findings
from mnist_study.study_job import read_study

_READERS = {"study": read_study, "baseline": read_baseline, "confirm": read_confirmation}


def read_record(history: History) -> Findings:
    """Read a record of any kind, from the stores alone."""
    return _READERS[history.kind](history)
