"""A study of some seconds on the digits, to be killed and resumed, and its check."""

from __future__ import annotations

from study_process import Driver, StudyHome, wait_until

# Small batches make epochs of a third of a second, so that a kill finds a trial at work.
EXPERIMENT = """\
name = "kills"

[data]
validation_size = 287
split_seed = 0

[training]
batch_size = 2
epochs = 5
schedule = "cosine"

[baseline]
units_1 = 128
units_2 = 64
units_3 = 32
dropout_1 = 0.3
dropout_2 = 0.2
l2 = 0.001
learning_rate = 0.001

[study]
n_trials = 8
seed = 1
in_flight = 4
sampler = { kind = "tpe", n_startup_trials = 3 }
pruner = { kind = "median", options = { n_startup_trials = 2, n_warmup_steps = 1 } }

[study.space]
units_1 = { type = "int", low = 64, high = 256, log = true }
units_2 = { type = "int", low = 32, high = 128, log = true }
units_3 = { type = "int", low = 16, high = 64, log = true }
dropout_1 = { type = "float", low = 0.0, high = 0.6 }
dropout_2 = { type = "float", low = 0.0, high = 0.6 }
l2 = { type = "float", low = 1e-7, high = 1e-2, log = true }
learning_rate = { type = "float", low = 2e-4, high = 1e-2, log = true }
"""
N_TRIALS = 8


def check(home: StudyHome, digest: str) -> None:
    """Check a finished study against the undisturbed one, and its record."""
    assert home.digest()["digest"] == digest
    audit = home.audit()
    assert audit["findings"] == []
    counts = audit["counts"]
    assert counts["finished_trials"] == counts["trials_with_one_live_run"] == N_TRIALS
    assert counts["models"] == N_TRIALS
    for nothing in (
        "runs_left_running", "interrupted_runs", "models_without_a_live_run",
        "metric_points_logged_twice",
    ):  # fmt: skip
        assert counts[nothing] == 0, nothing


def is_training(home: StudyHome, driver: Driver) -> bool:
    """Wait until a trial has an epoch."""
    return wait_until(lambda: not driver.is_running or any(home.running_epochs().values()), 90)
