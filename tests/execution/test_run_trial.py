"""Running one trial in a worker."""

from __future__ import annotations

import gc
import json
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import psutil
import pytest
from keras_reference import load_model, scaled
from synthetic_study import SEARCH
from training_runs import EXPLODING, PARAMS, RESTLESS, SEEDS, TWO_EPOCHS, UNITS, stopping_config

from mnist_study.core.config import DataConfig, NetworkParams, PrunerConfig, TrainingConfig
from mnist_study.core.trials import (
    EpochMetrics,
    PruneView,
    TrialResult,
    TrialSpec,
    TrialState,
    select,
)
from mnist_study.data.dataset import Splits
from mnist_study.execution import run_trial as trial_module
from mnist_study.execution.run_trial import run_trial
from mnist_study.search.plan import SearchPlan
from mnist_study.training import trainer as trainer_module
from mnist_study.training.model import build_model, weights_sha256
from mnist_study.training.trainer import train

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_trial_that_waits_for_another_of_its_process_has_not_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If the process dies, the one that trained is to blame, and not those that waited."""
    first = SearchPlan(SEARCH).suggest(0, [], [])
    specs = [first, replace(first, number=1)]
    begun: list[int] = []
    training, go_on = threading.Event(), threading.Event()

    def slow(spec: TrialSpec, *_: object) -> None:
        training.set()
        go_on.wait(10)

    monkeypatch.setattr(trial_module, "_run_trial", slow)
    threads = [
        threading.Thread(
            target=lambda spec=spec: trial_module.run_trial(
                spec, cast("Any", None), on_start=lambda: begun.append(spec.number)
            )
        )
        for spec in specs
    ]
    threads[0].start()
    assert training.wait(10)
    threads[1].start()
    time.sleep(0.2)
    assert begun == [0]
    go_on.set()
    for thread in threads:
        thread.join()
    assert begun == [0, 1]


def trial_spec(
    params: NetworkParams, config: TrainingConfig, view: PruneView | None = None
) -> TrialSpec:
    data = DataConfig(validation_size=437, split_seed=0)
    return TrialSpec(0, params, SEEDS, config, data, view)


def test_trials_at_once_in_one_process_are_those_that_run_alone(some_rows: Splits) -> None:
    # A Dask worker of several threads; both want the one graph of this batch size.
    widths = (32, 48, 40, 56)
    specs = [
        trial_spec(PARAMS.model_copy(update={"units_1": units}), TWO_EPOCHS) for units in widths
    ]
    alone = [run_trial(spec, some_rows) for spec in specs]
    with ThreadPoolExecutor(max_workers=len(specs)) as pool:
        at_once = list(pool.map(lambda spec: run_trial(spec, some_rows), specs))
    assert [r.weights_sha256 for r in at_once] == [r.weights_sha256 for r in alone]
    assert [r.epochs for r in at_once] == [r.epochs for r in alone]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_trials(some_rows: Splits) -> None:
    rng = np.random.default_rng(0)
    one_epoch = TrainingConfig(batch_size=32, epochs=1, schedule="constant")

    def resident_megabytes_after(n_trials: int) -> float:
        for _ in range(n_trials):
            units = [int(n) for n in rng.integers(16, 64, 3)]
            params = PARAMS.model_copy(update=dict(zip(UNITS, units, strict=True)))
            assert run_trial(trial_spec(params, one_epoch), some_rows).state is TrialState.COMPLETE
        gc.collect()
        return float(psutil.Process().memory_info().rss) / 2**20

    before = resident_megabytes_after(20)
    # Keras keeps about 1 MB of every model unless it is told to forget.
    assert resident_megabytes_after(100) - before < 100 * 0.5


def test_diverged_trial_is_failed_with_its_reason_and_never_best(some_rows: Splits) -> None:
    view = PruneView("study", PrunerConfig(kind="threshold", options={"lower": 1.0}), ())
    result = run_trial(trial_spec(EXPLODING, TWO_EPOCHS, view), some_rows)
    # The pruner would have ended it too, but a diverged trial is FAILED, not PRUNED.
    assert result.state is TrialState.FAILED
    assert result.reason is not None
    assert result.reason.startswith("diverged at epoch 1: training loss ")
    kept = (result.value, result.best_epoch, result.model_keras, result.weights_sha256)
    assert kept == (None, None, None, None)
    assert len(result.epochs) == 1
    good = TrialResult(1, PARAMS, TrialState.COMPLETE, value=0.1)
    assert select([result, good]).best is good
    assert select([result]).best is None


def test_error_while_training_is_a_failed_trial_with_its_traceback(
    some_rows: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("made up for this test")

    monkeypatch.setattr(trainer_module, "train", broken)
    result = run_trial(trial_spec(PARAMS, TWO_EPOCHS), some_rows)
    assert result.state is TrialState.FAILED
    assert result.reason is not None
    assert "Traceback" in result.reason
    assert "made up for this test" in result.reason


def test_complete_trial_reports_its_best_epoch_and_the_model_of_it(some_rows: Splits) -> None:
    config = stopping_config("val/loss", 2)
    trained = train(RESTLESS, SEEDS, config, some_rows)
    told: list[EpochMetrics] = []
    result = run_trial(trial_spec(RESTLESS, config), some_rows, on_epoch=told.append)
    assert result.state is TrialState.COMPLETE
    assert result.epochs == trained.epochs == tuple(told)
    assert result.best_epoch == trained.best_epoch < len(result.epochs)
    assert result.value == trained.epochs[trained.best_epoch - 1].val_accuracy
    assert result.weights_sha256 == weights_sha256(trained.weights)
    assert result.n_parameters == sum(weight.size for weight in trained.weights)
    assert result.overfitting_gap == trained.restored_train_accuracy - result.value
    assert result.reason is None


def test_pruned_trial_reports_its_last_epoch_and_still_carries_a_model(some_rows: Splits) -> None:
    options: dict[str, int | float | str | bool] = {"lower": 0.9999, "n_warmup_steps": 3}
    view = PruneView("study", PrunerConfig(kind="threshold", options=options), ())
    config = TrainingConfig(batch_size=32, epochs=5, schedule="constant")
    result = run_trial(trial_spec(PARAMS, config, view), some_rows)
    assert result.state is TrialState.PRUNED
    assert result.reason == "pruned at epoch 3"
    assert len(result.epochs) == 3
    assert result.value == result.epochs[-1].val_accuracy
    assert result.model_keras is not None


def test_saved_model_predicts_the_same_and_carries_no_optimizer(
    some_rows: Splits, tmp_path: Path
) -> None:
    result = run_trial(trial_spec(PARAMS, TWO_EPOCHS), some_rows)
    assert result.model_keras is not None
    loaded = load_model(result.model_keras, tmp_path)
    trained = build_model(PARAMS, SEEDS)
    trained.set_weights(list(train(PARAMS, SEEDS, TWO_EPOCHS, some_rows).weights))
    images = scaled(some_rows.validation_images, "float32")
    predicted = loaded.predict(images, verbose=0)
    assert predicted.tobytes() == trained.predict(images, verbose=0).tobytes()
    right = np.mean(predicted.argmax(axis=1) == some_rows.validation_labels)
    assert right == pytest.approx(result.value, abs=1e-12)
    assert weights_sha256(loaded.get_weights()) == result.weights_sha256
    assert getattr(loaded, "optimizer", None) is None
    # Weights once, not thrice: Adam's two moments would treble the file.
    assert result.n_parameters is not None
    assert len(result.model_keras) < 2 * 4 * result.n_parameters + 50_000
    with zipfile.ZipFile(tmp_path / "loaded.keras") as archive:
        assert json.loads(archive.read("config.json")).get("compile_config") == {}
