"""The read-outs of a run, against a run that does stop early and Keras's own measurements."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ablation_simulation import draw_ablation, small_ablation

from mnist_study import stats
from mnist_study.core.config import DataConfig, EarlyStoppingConfig, NetworkParams
from mnist_study.core.config import TrainingConfig as Training
from mnist_study.core.ledger import Ledger
from mnist_study.core.readouts import Readout, ReadoutPoint
from mnist_study.core.trials import TrainRows, TrialSpec, derive_seeds, digest
from mnist_study.data.dataset import TestSet, TrainingSet, split, take_rows
from mnist_study.search.history import History

PARAMS = NetworkParams(
    units_1=48, units_2=24, units_3=16, dropout_1=0.0, dropout_2=0.0, l2=0.0, learning_rate=0.02
)
RULE = EarlyStoppingConfig(monitor="val/loss", patience=2)
POINTS = (
    ReadoutPoint("last"),
    ReadoutPoint("restored", rule=RULE),
    ReadoutPoint("averaged", average_from=13),
    ReadoutPoint("last@7", until=7),
    ReadoutPoint("patient@7", until=7, rule=RULE.model_copy(update={"patience": 20})),
)


@pytest.mark.usefixtures("one_thread")
def test_read_outs_are_what_runs_of_their_own_would_have_kept(
    digits: TrainingSet, digits_test: TestSet
) -> None:
    """Against a run that does stop, and Keras's own measurements of the kept weights."""
    from mnist_study.execution.run_trial import run_trial
    from mnist_study.training import model, trainer

    splits = split(digits, validation_size=287, split_seed=0)
    config = Training(batch_size=64, epochs=25, schedule="constant")
    spec = TrialSpec(
        0, PARAMS, derive_seeds(1), config, DataConfig(validation_size=287, split_seed=0),
        readouts=POINTS, keeps_model=False,
    )  # fmt: skip
    full = run_trial(spec, splits, test_set=digits_test)
    plain = run_trial(replace(spec, readouts=(), keeps_model=True), splits)
    stops = config.model_copy(update={"early_stopping": RULE})
    stopped = run_trial(
        replace(spec, readouts=(), training=stops, reads_test_set=True),
        splits,
        test_set=digits_test,
    )
    last, restored, averaged, seventh, patient = full.readouts
    assert full.model_keras is None
    assert plain.model_keras is not None
    assert digest([replace(full, readouts=())]) == digest([plain])
    assert last.weights_sha256 == full.weights_sha256
    assert (last.epoch, last.epochs_trained) == (25, 25)
    assert len(stopped.epochs) < 25  # otherwise this shows nothing
    assert restored.weights_sha256 == stopped.weights_sha256
    assert (restored.epoch, restored.epochs_trained) == (stopped.best_epoch, len(stopped.epochs))
    assert restored.test_accuracy == stopped.test_metrics["test/accuracy"]
    assert restored.test_loss == pytest.approx(stopped.test_metrics["test/loss"], rel=1e-4)
    assert restored.train_accuracy == stopped.restored_train_accuracy

    # Each cap is a run of its own that ends there, and the average that of single epochs.
    def weights_after(n: int) -> list[np.ndarray]:
        ended: list[np.ndarray] = []
        stop = trainer.train(PARAMS, spec.seeds, config, splits, on_epoch=lambda m: m.epoch == n)
        ended.extend(stop.weights)
        return ended

    assert seventh.weights_sha256 == model.weights_sha256(weights_after(7))
    best = min(full.epochs[:7], key=lambda e: e.val_loss).epoch
    assert patient.weights_sha256 == model.weights_sha256(weights_after(best))
    assert (seventh.epochs_trained, patient.epochs_trained) == (7, 7)
    singles = [weights_after(n) for n in range(13, 26)]
    means = [
        np.mean(of, axis=0, dtype=np.float64).astype("float32") for of in zip(*singles, strict=True)
    ]
    assert averaged.weights_sha256 == model.weights_sha256(means)
    assert averaged.kernel_norms[0] == pytest.approx(float(np.linalg.norm(means[0])), rel=1e-6)
    assert last.val_accuracy == full.epochs[-1].val_accuracy

    trained = trainer.train(PARAMS, spec.seeds, config, splits)
    network = model.build_model(PARAMS, spec.seeds)
    network.set_weights(list(trained.weights))
    probabilities = network.predict(digits_test.images / np.float32(255), verbose=0)
    correct = probabilities.argmax(axis=1) == digits_test.labels
    assert np.array_equal(last.correct_images(360), correct)
    ece = stats.expected_calibration_error(probabilities, digits_test.labels)
    assert last.calibration_error == pytest.approx(ece, abs=1e-5)


@pytest.mark.usefixtures("one_thread")
def test_a_run_on_a_part_of_the_rows_trains_and_measures_on_that_part(
    digits: TrainingSet, digits_test: TestSet
) -> None:
    from mnist_study.execution.run_trial import run_trial

    splits = split(digits, validation_size=287, split_seed=0)
    spec = TrialSpec(
        0, PARAMS, derive_seeds(2), Training(batch_size=64, epochs=2, schedule="constant"),
        DataConfig(validation_size=287, split_seed=0), readouts=POINTS[:2],
        train_rows=TrainRows(100, 3), keeps_model=False,
    )  # fmt: skip
    part = run_trial(spec, splits, test_set=digits_test)
    by_hand = run_trial(
        replace(spec, train_rows=None),
        take_rows(splits, n_rows=100, subset_seed=3),
        test_set=digits_test,
    )
    assert part.readouts == by_hand.readouts
    assert digest([part]) == digest([by_hand])
    assert part.readouts[0].train_accuracy * 100 == pytest.approx(
        round(part.readouts[0].train_accuracy * 100)
    )


def test_read_outs_survive_the_store_and_enter_digest_and_ledger(
    tmp_path: Path, digits: TrainingSet, digits_test: TestSet
) -> None:
    ablation = small_ablation(tmp_path)
    history = draw_ablation(tmp_path, ablation, digits, digits_test, {}, ("documented",))
    again = History.open(f"sqlite:///{tmp_path / 'optuna.db'}", history.name)
    assert [r.readouts for r in again.results] == [r.readouts for r in history.results]
    assert digest(again.results) == digest(history.results)
    assert not again.identity.keeps_models
    first, *others = history.results
    changed = replace(first.readouts[1], test_loss=0.5)
    other = replace(first, readouts=(first.readouts[0], changed))
    assert digest([other, *others]) != digest(history.results)
    assert digest([replace(first, readouts=())]) != digest([first])

    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.record("mnist-study ablation", "digits", first)
    readings = ledger.readings()
    assert [r.weights_sha256 for r in readings] == [r.weights_sha256 for r in first.readouts]
    assert readings[0].result["test/accuracy_last"] == first.readouts[0].test_accuracy
    assert readings[1].result["test/accuracy_restored"] == first.readouts[1].test_accuracy


def test_bits_of_images_come_back_in_order() -> None:
    from mnist_study.core.readouts import pack_bits

    correct = np.random.default_rng(0).random(1003) > 0.1
    readout = Readout("last", 1, 1, "", 1.0, 0.0, 0.9, 0.1, 0.0, pack_bits(correct))
    assert np.array_equal(readout.correct_images(1003), correct)
    assert pack_bits(np.array([True] + [False] * 7)) == "gA=="  # the highest bit comes first
