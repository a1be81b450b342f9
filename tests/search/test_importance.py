"""Importance of parameters, computed and drawn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from drawn_study import OF_STATE, SPACE, STUDY, draw_importances, make_params, make_row, words

from mnist_study.core.trials import TrialState
from mnist_study.search.importance import importances


def test_importances_name_the_parameter_that_decides() -> None:
    rng = np.random.default_rng(1)
    rows = []
    for number in range(120):
        params = make_params(rng)
        value = 0.98 - 0.004 * abs(math.log10(params.learning_rate) + 2.6)
        rows.append(make_row(number, value, params=params))
    shares = importances(rows, SPACE)
    assert next(iter(shares)) == "learning_rate"
    assert shares["learning_rate"] > 0.5
    assert sum(shares.values()) == pytest.approx(1)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    assert importances(rows, SPACE) == shares


def test_importances_count_complete_trials_only() -> None:
    only_complete = importances(OF_STATE[TrialState.COMPLETE], SPACE)
    assert importances(STUDY, SPACE) == only_complete


@pytest.mark.parametrize(("n_complete", "warns"), [(49, True), (50, False)])
def test_importances_below_fifty_completed_trials_say_so(n_complete: int, warns: bool) -> None:
    rng = np.random.default_rng(2)
    rows = [make_row(k, 0.97 + 1e-4 * k, params=make_params(rng)) for k in range(n_complete)]
    figure = draw_importances(rows)
    assert ("Not reliable" in words(figure)) is warns
    assert f"{n_complete} completed trials" in words(figure)
    assert len(figure.axes[0].patches) == 7


def test_importances_of_equal_trials_say_why_there_are_none() -> None:
    rows = [make_row(0, 0.97), make_row(1, 0.98)]
    assert importances(rows, SPACE) == {}
    assert "at least two distinct completed trials" in words(draw_importances(rows))


def test_importances_print_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    draw_importances(STUDY)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
