"""The arithmetic of the benchmarks about many workers."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from synthetic_study import STUDY_FILE

from mnist_study.bench.driver import draw_params
from mnist_study.bench.in_flight import busy_share, fit, scaled
from mnist_study.bench.many_workers import SleepingWorkers
from mnist_study.core.config import ExperimentConfig, load_experiment
from mnist_study.core.trials import TrialSpec, derive_seeds
from mnist_study.execution.cluster import EpochEvent, ResultEvent


@pytest.fixture
def experiment() -> ExperimentConfig:
    return load_experiment(STUDY_FILE)


def test_workers_wait_where_the_oldest_trial_in_flight_has_not_ended() -> None:
    # Two workers, two in flight: trial 2 starts when trial 0 has ended, though trial 1 is done.
    lengths = np.array([4.0, 1.0, 1.0, 1.0])
    assert busy_share(lengths, in_flight=2, n_workers=2) == pytest.approx(7 / (2 * 5))
    assert busy_share(lengths, in_flight=4, n_workers=2) == pytest.approx(7 / (2 * 4))
    assert busy_share(lengths, in_flight=1, n_workers=2) == pytest.approx(0.5)
    assert busy_share(np.ones(64), in_flight=8, n_workers=8) == pytest.approx(1.0)


def test_the_surrogate_predicts_what_it_was_fitted_to(experiment: ExperimentConfig) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(60):
        params = draw_params(experiment.search.space, experiment.baseline, rng)
        log_error = -4 + 0.5 * scaled(experiment, params.model_dump())[0] + rng.normal(0, 0.02)
        values = {name: str(value) for name, value in params.model_dump().items()}
        rows.append({**values, "state": "COMPLETE", "value": str(1 - np.exp(log_error))})
    rows.append({**rows[0], "state": "FAILED", "value": ""})
    surrogate = fit(experiment, rows)
    assert surrogate.r_squared > 0.8
    assert surrogate.noise == pytest.approx(0.02, rel=0.5)
    params = draw_params(experiment.search.space, experiment.baseline, rng)
    point = scaled(experiment, params.model_dump())
    assert ((point >= 0) & (point <= 1)).all()
    assert surrogate.log_error(params) == pytest.approx(-4 + 0.5 * point[0], abs=0.1)


def test_sleeping_workers_send_every_epoch_and_then_the_result(
    experiment: ExperimentConfig,
) -> None:
    training = experiment.training.model_copy(update={"epochs": 3})
    workers = SleepingWorkers(n_slots=2, seconds=0.05)
    spec = TrialSpec(0, experiment.baseline, derive_seeds(0, 0), training, experiment.data)
    for number in range(2):
        workers.submit(replace(spec, number=number))
    assert workers.n_running == 2
    events, deadline = [], time.monotonic() + 20
    while workers.n_running and time.monotonic() < deadline:
        events += list(workers.events(0.5))
    for number in range(2):
        epochs = [
            e.metrics.epoch for e in events if isinstance(e, EpochEvent) and e.number == number
        ]
        assert epochs == [1, 2, 3]
    results = [event.result.number for event in events if isinstance(event, ResultEvent)]
    assert sorted(results) == [0, 1]
    assert workers.busy_seconds == pytest.approx(0.1, rel=0.9)
