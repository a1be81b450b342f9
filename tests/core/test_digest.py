"""The digest of a study: it covers every result and nothing of time and machine."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from synthetic_study import GOOD, INF, NAN, PARAMS

from mnist_study.core.trials import TrialResult, TrialState, digest


def up(value: float) -> float:
    return math.nextafter(value, INF)


def with_epoch(**changes: float) -> TrialResult:
    first = replace(GOOD.epochs[0], **changes)  # type: ignore[arg-type]
    return replace(GOOD, epochs=(first, *GOOD.epochs[1:]))


COVERED = {
    "number": replace(GOOD, number=1),
    "state": replace(GOOD, state=TrialState.PRUNED),
    "value by one bit": replace(GOOD, value=up(0.93)),
    "no value": replace(GOOD, value=None),
    "best_epoch": replace(GOOD, best_epoch=1),
    "weights": replace(GOOD, weights_sha256="cd" * 31 + "ce"),
    "one epoch less": replace(GOOD, epochs=GOOD.epochs[:1]),
    "epochs swapped": replace(GOOD, epochs=GOOD.epochs[::-1]),
    "epoch number": with_epoch(epoch=3),
    **{
        f"{name} by one bit": with_epoch(**{name: up(getattr(GOOD.epochs[0], name))})
        for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
    },
    "NaN": with_epoch(train_loss=NAN),
    "infinity": with_epoch(train_loss=INF),
    **{
        f"{name} by one": replace(GOOD, params=PARAMS.model_copy(update={name: value + 1}))
        for name, value in PARAMS.model_dump().items()
        if isinstance(value, int)
    },
    **{
        f"{name} by one bit": replace(GOOD, params=PARAMS.model_copy(update={name: up(value)}))
        for name, value in PARAMS.model_dump().items()
        if isinstance(value, float)
    },
}


@pytest.mark.parametrize("name", COVERED)
def test_digest_changes_with_every_field_that_it_covers(name: str) -> None:
    assert digest([COVERED[name]]) != digest([GOOD])


def test_digests_of_all_changes_differ_from_each_other() -> None:
    assert len({digest([result]) for result in COVERED.values()}) == len(COVERED)


@pytest.mark.parametrize(
    "change",
    [{"train_seconds": 9.0}, {"total_seconds": 9.0}, {"worker": "other"}, {"model_keras": b"x"}],
    ids=lambda change: next(iter(change)),
)
def test_digest_does_not_change_with_time_or_machine(change: dict[str, Any]) -> None:
    assert digest([replace(GOOD, **change)]) == digest([GOOD])


def test_digest_covers_order_and_number_of_trials() -> None:
    other = replace(GOOD, value=0.5)
    digests = [digest(results) for results in ([], [GOOD], [GOOD, other], [other, GOOD])]
    assert len(set(digests)) == 4
