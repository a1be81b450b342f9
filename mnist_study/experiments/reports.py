"""Which function reads which kind of record."""

from __future__ import annotations

from mnist_study.core.identity import AblationIdentity, FormerAblationIdentity, ScreeningIdentity
from mnist_study.execution.job import Findings
from mnist_study.experiments.ablation.job import read_ablation, read_part
from mnist_study.experiments.baseline import read_baseline
from mnist_study.experiments.confirmation import read_confirmation, read_screening
from mnist_study.experiments.study import read_study
from mnist_study.search.history import History

_READERS = {
    "study": read_study,
    "baseline": read_baseline,
    "screen": read_screening,
    "confirm": read_confirmation,
}


def read_record(history: History) -> Findings:
    """Read a record of any kind, from the stores alone; none that `is_former`."""
    if history.kind == "ablation":
        return read_part(history) if is_part(history) else read_ablation(history)
    return _READERS[history.kind](history)


def is_part(history: History) -> bool:
    """Whether a record is reported with another one: a part of an ablation, or a screening."""
    identity = history.identity
    if isinstance(identity, AblationIdentity):
        return identity.declared is None
    return isinstance(identity, ScreeningIdentity)


def is_former(history: History) -> bool:
    """Whether an earlier version made this record, whose report stays as it was written."""
    return isinstance(history.identity, FormerAblationIdentity)
