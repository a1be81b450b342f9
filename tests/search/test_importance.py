"""Importances: what they find, when they are withheld, and what their intervals cover."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from mnist_study.core.config import FloatRange, NetworkParams, Range
from mnist_study.core.trials import TrialResult, TrialState
from mnist_study.search.importance import Importance, importances

SPACE: dict[str, Range] = {
    "dropout_1": FloatRange(type="float", low=0.0, high=0.6),
    "l2": FloatRange(type="float", low=1e-7, high=1e-2, log=True),
    "learning_rate": FloatRange(type="float", low=2e-4, high=1e-2, log=True),
}
BASELINE: dict[str, Any] = dict(units_1=128, units_2=64, units_3=32, dropout_2=0.2)


def make_trials(n_trials: int, seed: int = 0, noise: float = 0.0) -> list[TrialResult]:
    """Trials whose accuracy the learning rate decides, and the seeds as far as there is noise."""
    rng = np.random.default_rng(seed)
    trials = []
    for number in range(n_trials):
        params = NetworkParams(
            **BASELINE,
            dropout_1=float(rng.uniform(0, 0.6)),
            l2=float(10 ** rng.uniform(-7, -2)),
            learning_rate=float(10 ** rng.uniform(-3.69, -2)),
        )
        value = 0.98 - 0.004 * abs(math.log10(params.learning_rate) + 2.6)
        value += noise * float(rng.standard_normal())
        trials.append(TrialResult(number, params, TrialState.COMPLETE, value=value))
    return trials


def ranked(
    trials: list[TrialResult], seed: int = 0, n_resamples: int = 40
) -> dict[str, Importance]:
    return importances(trials, SPACE, rng=np.random.default_rng(seed), n_resamples=n_resamples)


def test_the_parameter_that_decides_comes_first_and_leads_the_resamples() -> None:
    found = ranked(make_trials(120))
    assert next(iter(found)) == "learning_rate"
    first = found["learning_rate"]
    assert first.share > 0.5
    assert first.leads > 0.9
    assert first.low > max(other.high for name, other in found.items() if name != "learning_rate")
    assert sum(one.share for one in found.values()) == pytest.approx(1)
    shares = [one.share for one in found.values()]
    assert shares == sorted(shares, reverse=True)


def test_of_noise_alone_no_parameter_leads_clearly() -> None:
    found = ranked(make_trials(60, noise=10.0))
    first, *others = found.values()
    assert first.leads < 0.9
    assert any(other.high > first.low for other in others)


def test_intervals_shrink_with_the_number_of_trials() -> None:
    few, many = (ranked(make_trials(n, noise=0.002)) for n in (50, 600))

    def width(found: dict[str, Importance]) -> float:
        return sum(one.high - one.low for one in found.values())

    assert width(many) < 0.6 * width(few)


@pytest.mark.parametrize(("n_complete", "n_found"), [(49, 0), (50, 3)])
def test_fewer_than_fifty_completed_trials_are_not_ranked(n_complete: int, n_found: int) -> None:
    trials = make_trials(n_complete)
    pruned = [
        TrialResult(n_complete + i, trials[i].params, TrialState.PRUNED, value=0.97)
        for i in range(20)
    ]
    assert len(ranked([*trials, *pruned], n_resamples=2)) == n_found


def test_equal_trials_are_not_ranked() -> None:
    trials = [make_trials(1)[0]] * 60
    assert ranked(trials, n_resamples=2) == {}


def test_intervals_depend_on_the_generator_alone() -> None:
    trials = make_trials(50, noise=0.002)
    first = ranked(trials, seed=1, n_resamples=5)
    assert ranked(trials[::-1], seed=1, n_resamples=5) == first
    assert ranked(trials, seed=2, n_resamples=5) != first


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    ranked(make_trials(50), n_resamples=2)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
