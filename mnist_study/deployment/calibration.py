"""The levels of a champion, fitted at its promotion on rows that its kind of network never saw.

A model of a trial has its own validation rows. The final model was trained on all rows, so the
levels come from a confirmation run of the same configuration, whose validation rows it never saw.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mnist_study.core.identity import ConfirmationIdentity
from mnist_study.core.trials import TrialState
from mnist_study.data.dataset import Splits, split
from mnist_study.data.other_drawings import other_drawings
from mnist_study.data.pens import digits_of_other_pens
from mnist_study.data.pictures import share_laid_out
from mnist_study.deployment.answering import Answering
from mnist_study.deployment.challenger import (
    Challenger,
    ChallengerError,
    Confirmation,
    network_of_run,
)
from mnist_study.experiments.replicates import Replicates
from mnist_study.stats.calibration import expected_calibration_error
from mnist_study.stats.familiarity import Familiarity, fit_familiarity
from mnist_study.stats.temperature import fit_temperature, with_temperature
from mnist_study.tracking.checked_models import ModelError
from mnist_study.tracking.store import ArtifactError, TrackingStore

UNFAMILIAR_SHARE, UNSURE_SHARE = 0.0125, 0.005
"""Of the validation images: taken for no digit, and answered with doubt. The rest is answered."""
_MOST_DRAWINGS = 20_000
_SEED = 0
_SAMPLE, _LEAST_LAID_OUT = 500, 0.95


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """A network and rows that it was not trained on.

    Attributes:
        network: the Keras model.
        splits: that it was trained on and validated with.
        about: in words, whose rows these are.
    """

    network: Any
    splits: Splits
    about: str


def calibrate(
    store: TrackingStore,
    challenger: Challenger,
    confirmation: Confirmation | None,
    say: Callable[[str], None],
) -> Answering:
    """Fit temperature and levels on validation rows; the test set has no part in it.

    Args:
        store: that holds the runs.
        challenger: to be promoted.
        confirmation: of its study, if there is one.
        say: shows progress, a line each.

    Returns:
        The levels; temperature 1 and none where no validation rows are known.
    """
    names = challenger.training_set.class_names
    rows = _validation_rows(store, challenger, confirmation, say)
    if rows is None:
        say("no validation rows of this configuration are known: temperature 1, no levels")
        return Answering(class_names=names)
    say(f"fitting temperature and levels on {rows.about}…")
    from mnist_study.training import model

    raw = model.probabilities(rows.network, rows.splits.validation_images)
    return fit_levels(raw, rows.splits, rows.about, names)


def fit_levels(
    raw: np.ndarray, splits: Splits, about: str, names: tuple[str, ...] | None
) -> Answering:
    """Fit temperature and levels to what a network says of its validation images.

    Args:
        raw: its probabilities, (n, 10).
        splits: that it was trained on.
        about: in words, whose rows these are.
        names: of the classes, where the data has them.
    """
    images, labels = splits.validation_images, splits.validation_labels.astype(int)
    temperature = fit_temperature(raw, labels)
    calibrated = with_temperature(raw, temperature)
    familiarity = _familiarity(splits)
    sure, is_familiar, least_familiarity = calibrated.max(axis=1), np.ones(len(labels), bool), 0.0
    if familiarity is not None:
        familiar = familiarity.of(images)
        least_familiarity = float(np.quantile(familiar, UNFAMILIAR_SHARE, method="lower"))
        is_familiar = familiar >= least_familiarity
    share = UNSURE_SHARE / is_familiar.mean()
    least_probability = float(np.quantile(sure[is_familiar], share, method="lower"))
    is_answered = is_familiar & (sure >= least_probability)
    is_wrong = calibrated.argmax(axis=1) != labels
    facts = {
        "rows": about,
        "n_rows": len(labels),
        "answered": float(is_answered.mean()),
        "not_a_digit": float((~is_familiar).mean()),
        "unsure": float((is_familiar & ~is_answered).mean()),
        "errors": float(is_wrong.mean()),
        "errors_of_answered": float(is_wrong[is_answered].mean()),
        "calibration_error": expected_calibration_error(calibrated, labels),
        "calibration_error_before": expected_calibration_error(raw, labels),
    }
    return Answering(temperature, least_probability, least_familiarity, familiarity, names, facts)


def _familiarity(splits: Splits) -> Familiarity | None:
    """Train what tells training images from other drawings.

    Returns:
        None for images that are not laid out as MNIST's: they would be told from drawings, and
        from pictures that are read, by that alone.
    """
    images, labels = splits.train_images, splits.train_labels
    if share_laid_out(images[:_SAMPLE]) < _LEAST_LAID_OUT:
        return None
    order = np.random.default_rng(_SEED).permutation(len(images))[: 2 * _MOST_DRAWINGS]
    n_drawings = min(len(images), _MOST_DRAWINGS)
    drawings = other_drawings(images, n_drawings, _SEED)
    # So that the pen does not tell a photographed digit from the training images.
    redrawn, classes = digits_of_other_pens(images, labels, n_drawings // 3, _SEED + 1)
    return fit_familiarity(
        np.concatenate([images[order], redrawn]),
        np.concatenate([labels[order], classes]),
        drawings,
        seed=_SEED,
    )


def _validation_rows(
    store: TrackingStore,
    challenger: Challenger,
    confirmation: Confirmation | None,
    say: Callable[[str], None],
) -> _Rows | None:
    run, training_set = challenger.run, challenger.training_set
    if run.data.tags.get("kind") != "final":
        n_rows = _n_validation(store, challenger)
        split_seed = run.data.tags.get("split_seed")
        if not n_rows or split_seed is None or "train_rows" in run.data.tags:
            return None
        splits = split(training_set, validation_size=n_rows, split_seed=int(split_seed))
        return _Rows(challenger.network, splits, f"the {n_rows:,} validation rows of its run")
    if confirmation is None or confirmation.content_hash != training_set.content_hash:
        return None
    return _rows_of_replicate(store, challenger, confirmation, say)


def _rows_of_replicate(
    store: TrackingStore,
    challenger: Challenger,
    confirmation: Confirmation,
    say: Callable[[str], None],
) -> _Rows | None:
    """Return the first confirmation run of the configuration whose model can be used."""
    history = confirmation.history
    replicates = Replicates.of(history.identity_as(ConfirmationIdentity))
    for result, run_id in zip(history.results, history.run_ids, strict=True):
        spec = replicates.specify(result.number)
        if spec.params != challenger.params or result.state is not TrialState.COMPLETE:
            continue
        try:
            network = network_of_run(store, run_id)
        except (ChallengerError, ModelError, ArtifactError) as error:
            say(f"no levels from confirmation run {result.number}: {error}")
            continue
        splits = split(
            challenger.training_set,
            validation_size=spec.data.validation_size,
            split_seed=spec.data.split_seed,
        )
        about = (
            f"the {spec.data.validation_size:,} validation rows of confirmation run "
            f"{result.number}, a network of the same configuration"
        )
        return _Rows(network, splits, about)
    return None


def _n_validation(store: TrackingStore, challenger: Challenger) -> int:
    parent_id = challenger.run.data.tags.get("mlflow.parentRunId")
    owner = store.client.get_run(parent_id) if parent_id else challenger.run
    inputs = owner.inputs.dataset_inputs if owner.inputs else []
    tags = {tag.key: tag.value for entry in inputs[:1] for tag in entry.tags}
    return int(tags.get("n_validation", "0"))
