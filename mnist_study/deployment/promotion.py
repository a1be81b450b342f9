"""Promotion: verify, read the test set once, compare, register, serve, then move the alias.

Each step leaves what the next run of the command finds again: a promotion that was killed resumes,
and the alias points to a checked model at any time.
"""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_study.core.datasets import MNIST, is_mnist
from mnist_study.core.home import Home
from mnist_study.core.interrupts import Stopped, undisturbed
from mnist_study.data.dataset import split
from mnist_study.deployment.calibration import calibrate
from mnist_study.deployment.card_uses import connection_code, stored_card, write_card
from mnist_study.deployment.challenger import (
    Challenger,
    ChallengerError,
    Confirmation,
    finished_confirmation,
    load_challenger,
)
from mnist_study.deployment.final_training import final_run
from mnist_study.deployment.gate import decide
from mnist_study.deployment.model_card import (
    CARD,
    CardFacts,
    card_files,
    card_tags,
    description,
)
from mnist_study.deployment.published_readings import published_readings, readings_in_all
from mnist_study.deployment.serving import serve_check
from mnist_study.deployment.stored_answers import PROMOTION_FOLDER, read_test_answers
from mnist_study.tracking.notes import model_note
from mnist_study.tracking.registry import CHAMPION, Registry, RegistryError, champions
from mnist_study.tracking.store import ArtifactError, TrackingStore

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


SERVE_CHECK_IMAGES = 256


@dataclass(frozen=True, slots=True)
class PromoteOptions:
    """The settings of a promotion.

    Attributes:
        home: where the stores are.
        command: as typed, for the record.
        run_id: run whose model is promoted; None takes the confirmed winner.
        trial: configuration of the confirmation in the winner's place; None takes the winner.
        force: why a rejection by the gate is overridden; None does not override it.
        data_dir: folder with MNIST.
        home_given: the home as it was typed, for the next command; None where it was not.
    """

    home: Home
    command: str
    run_id: str | None = None
    trial: int | None = None
    force: str | None = None
    data_dir: Path | None = None
    home_given: Path | None = None


@dataclass(frozen=True, slots=True)
class PromotionResult:
    """The outcome of a promotion or rollback, as lines of text and as a document."""

    lines: list[str]
    document: dict[str, Any]


def promote(options: PromoteOptions, say: Callable[[str], None]) -> PromotionResult:
    """Make the confirmed winner, or the model of a run, champion.

    Args:
        options: of the command line.
        say: shows progress, a line each.

    Raises:
        UserFacingError: rejected or impossible; the champion stays.
    """
    home = options.home
    confirmation = finished_confirmation(home.storage_url)
    if options.run_id is None and confirmation is None:
        raise ChallengerError(
            f"{home.path}: no finished confirmation here, expected one whose winner can be "
            "promoted; run `mnist-study confirm` to its end, or name a run with --run"
        )
    if options.trial is not None:
        assert confirmation is not None
        confirmation = confirmation.in_favour_of(options.trial)
    if not home.has_mlflow_store:
        raise ChallengerError(
            f"{home.path}: no MLflow store here, expected the runs of a study; give the --home "
            "that holds them"
        )
    try:
        with home.locked(options.command), TrackingStore.open(home) as store:
            return _promote(options, store, confirmation, say)
    except Stopped as stopped:
        stopped.standing = (
            ": the champion was not moved, or was moved to a checked model; `mnist-study status` "
            "says which, and the same command goes on"
        )
        raise


def _promote(
    options: PromoteOptions,
    store: TrackingStore,
    confirmation: Confirmation | None,
    say: Callable[[str], None],
) -> PromotionResult:
    home, run_id = options.home, options.run_id
    if run_id is None:
        assert confirmation is not None
        run_id = final_run(store, confirmation, options.data_dir, say)
    challenger = load_challenger(store, run_id, options.data_dir, say)
    registry = Registry(store, challenger.training_set.dataset)
    registry.settle_history()
    alias = registry.aliases().get(CHAMPION)
    champion = registry.find_version(alias)
    if champion is not None and champion.source == f"models:/{challenger.model.model_id}":
        return _already_champion(home, registry, champion)
    answers = read_test_answers(
        home,
        options.command,
        challenger.network,
        challenger.weights_sha256,
        challenger.training_set.dataset,
        options.data_dir,
        say,
    )
    decision = decide(registry, answers, options.force)
    say(f"gate: {decision.text}" + (f"; overridden: {decision.forced}" if decision.forced else ""))

    answering = calibrate(store, challenger, confirmation, say)
    published = published_readings()
    facts = CardFacts(
        name=registry.name,
        challenger=challenger,
        answers=answers,
        decision=decision,
        answering=answering,
        confirmation=confirmation,
        n_readings=len(home.ledger.readings()),
        n_readings_in_all=None if published is None else readings_in_all(home, published),
        connection=connection_code(home),
    )
    files = card_files(facts)
    version = _register(registry, facts, files)
    say(f"registered as {registry.name} version {version.version}, alias challenger")

    say("starting MLflow's scoring server for the serve check…")
    checked = _serve_check(registry, version, challenger)
    say(f"serve check: {checked}")
    registry.tag(version, {"serve_check": checked})
    # The alias is written last, so that a champion has passed every check.
    with undisturbed():
        registry.move_champion(
            version,
            "promote",
            from_version=alias,
            reason=decision.forced,
        )
        folder = write_card(home, registry.name, files)
    describe_model(registry)
    return _promoted(options, registry, version, champion, facts, folder)


def _register(registry: Registry, facts: CardFacts, files: dict[str, bytes]) -> ModelVersion:
    """Store the evidence with the run, register the version, set the alias challenger."""
    run, model = facts.challenger.run, facts.challenger.model
    evidence = {f"{PROMOTION_FOLDER}/{name}": content for name, content in files.items()}
    registry.store.upload(run.info.artifact_uri, evidence)
    for name, value in facts.answers.metrics.items():
        if run.data.metrics.get(name) != value:
            registry.client.log_metric(run.info.run_id, name, value)
    version = registry.register(
        model.model_id, run.info.run_id, description(facts), card_tags(facts, files)
    )
    registry.set_challenger(version)
    return version


def _serve_check(registry: Registry, version: ModelVersion, challenger: Challenger) -> str:
    from mnist_study.training import model

    training_set = challenger.training_set
    # Rows of the training set, split off as for validation: test images are not used for this.
    size = min(SERVE_CHECK_IMAGES, len(training_set.labels) - 1)
    images = split(training_set, validation_size=size, split_seed=0).validation_images
    expected = model.probabilities(challenger.network, images)
    with tempfile.TemporaryDirectory(prefix="mnist-study-") as folder:
        return serve_check(registry.fetch(version, Path(folder)), images, expected)


def describe_model(registry: Registry) -> None:
    """Let the note of the registered model name its champion."""
    champion = registry.champion()
    if champion is None:
        return
    tags = champion.tags
    accuracy = "test accuracy not on record"
    ends = [tags.get(f"test_accuracy{end}") for end in ("", "_low", "_high")]
    if None not in ends:
        mean, low, high = (float(end or 0) for end in ends)
        accuracy = f"test accuracy {mean:.2%} ({low:.2%} to {high:.2%})"
    dataset = tags.get("dataset", MNIST)
    registry.describe(model_note(registry.name, str(champion.version), accuracy, dataset))


def _already_champion(home: Home, registry: Registry, champion: ModelVersion) -> PromotionResult:
    text = (
        f"{registry.name} version {champion.version} is champion already, with the same model; "
        "nothing was done and the test set was not read"
    )
    document = {
        "model": registry.name,
        "version": str(champion.version),
        "already_champion": True,
        "test_set_readings": len(home.ledger.readings()),
    }
    return PromotionResult([text], document)


def _next_commands(options: PromoteOptions, dataset: str) -> str:
    """Return the commands that use the champion, as they are to be typed."""
    home = f" --home {shlex.quote(str(options.home_given))}" if options.home_given else ""
    # Without a name, MNIST's champion answers where there is one.
    given = home if is_mnist(dataset) else f" --dataset {dataset}{home}"
    return f"`mnist-study predict IMAGE{given}`, or `mnist-study serve{given}`"


def _promoted(
    options: PromoteOptions,
    registry: Registry,
    version: ModelVersion,
    champion: ModelVersion | None,
    facts: CardFacts,
    folder: Path,
) -> PromotionResult:
    accuracy = facts.answers.accuracy
    before = "" if champion is None else f", version {champion.version} before it"
    return PromotionResult(
        [
            f"{registry.name} version {version.version} is champion{before}.",
            f"Test accuracy {accuracy.estimate:.2%} ({accuracy.low:.2%} to {accuracy.high:.2%}, "
            f"Wilson) on {len(facts.answers.labels):,} images; readings of the test set so far: "
            f"{facts.n_readings}.",
            f"Model card: {folder / CARD}",
            f"Next: {_next_commands(options, registry.dataset)}.",
        ],
        {
            "model": registry.name,
            "version": str(version.version),
            "already_champion": False,
            "previous_version": None if champion is None else str(champion.version),
            "run_id": facts.challenger.run.info.run_id,
            "weights_sha256": facts.challenger.weights_sha256,
            "test_accuracy": accuracy.estimate,
            "test_accuracy_interval": [accuracy.low, accuracy.high],
            "gate": facts.decision.text,
            "forced": facts.decision.forced,
            "test_set_readings": facts.n_readings,
            "card": str(folder / CARD),
        },
    )


def rollback(home: Home, command: str, registry: Registry) -> PromotionResult:
    """Make the previous champion champion again.

    Raises:
        UserFacingError: there is none, or its model was changed; nothing was moved.
    """
    with home.locked(command), registry.store:
        registry.settle_history()
        line = champions(registry.history())
        if not line:
            raise RegistryError(
                f"{registry.name} has no champion, expected one to go back from; run "
                "`mnist-study promote` first"
            )
        present = registry.aliases().get(CHAMPION)
        is_there = registry.find_version(present) is not None
        # A version that is not there, to which the alias was moved by hand, is in no history.
        earlier = line[:-1] if is_there else line
        before = next(filter(None, map(registry.find_version, reversed(earlier))), None)
        if before is None:
            raise RegistryError(
                f"{registry.name} version {line[0]} is the first champion, expected an earlier one "
                "to go back to; promote another model instead"
            )
        with tempfile.TemporaryDirectory(prefix="mnist-study-") as folder:
            registry.fetch(before, Path(folder))
        with undisturbed():
            registry.move_champion(before, "rollback", from_version=present)
        describe_model(registry)
        card_line = _restore_card(home, registry, before)
    return PromotionResult(
        [
            f"{registry.name} version {before.version} is champion again, "
            f"version {present} no longer.",
            card_line,
        ],
        {"model": registry.name, "version": str(before.version), "from_version": present},
    )


def _restore_card(home: Home, registry: Registry, version: ModelVersion) -> str:
    """Put a version's card in the place of the champion's; return what became of it."""
    try:
        files = stored_card(registry.store, str(version.run_id))
    except ArtifactError as error:  # a champion without its card is better than none
        return f"Its model card could not be restored: {error}"
    return f"Model card: {write_card(home, registry.name, files) / CARD}"
