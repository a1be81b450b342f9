"""From a confirmed configuration to champion, and back: on the digits stand-in, in one home.

The tests share the home; each leaves version 1, the confirmed winner, as champion.
"""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

import mlflow
import numpy as np
import pytest
from mlflow.entities import LoggedModel
from mlflow.entities.model_registry import ModelVersion
from PIL import Image
from promotion_home import GOOD, UNTRAINED, build_home, run_of_trial

import mnist_study
from mnist_study.core.home import Home
from mnist_study.data.dataset import Splits, load_test_set, load_training_set, split
from mnist_study.data.pictures import read_picture
from mnist_study.deployment import promotion, serving, stored_answers
from mnist_study.deployment.answering import ANSWERING_TAG, Answering
from mnist_study.deployment.challenger import ChallengerError, finished_confirmation
from mnist_study.deployment.champion import (
    champion_document,
    champion_lines,
    read_answering,
    registry_of,
    serve_champion,
)
from mnist_study.deployment.final_training import FinalTraining
from mnist_study.deployment.gate import GateError
from mnist_study.deployment.predicting import predict_files
from mnist_study.deployment.promotion import PromoteOptions, PromotionResult, promote, rollback
from mnist_study.deployment.serving import ScoringServer, ServingError, serve_check
from mnist_study.deployment.stored_answers import StoredAnswers, StoredAnswersError
from mnist_study.execution.audit import audit_home
from mnist_study.stats.temperature import with_temperature
from mnist_study.tracking.checked_models import KERAS_FILE, ModelError, file_tags
from mnist_study.tracking.connection import connect
from mnist_study.tracking.endpoint import Endpoint
from mnist_study.tracking.registry import Move, Registry, RegistryError, champions
from mnist_study.tracking.store import ArtifactError, TrackingStore

NAME = "mnist-classifier-digits"
COMMAND = "mnist-study promote"

# Whatever loads a network here gives TensorFlow its threads for the tests that follow.
pytestmark = pytest.mark.usefixtures("one_thread")


class Said(list[str]):
    """What a command told of its steps."""

    def __call__(self, text: str) -> None:
        self.append(text)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return build_home(tmp_path_factory.mktemp("promotion"))


@pytest.fixture(scope="module")
def promoted(home: Home) -> tuple[PromotionResult, Said]:
    """The first promotion: of the confirmed winner, with MLflow's own server in the check."""
    said = Said()
    return promote(PromoteOptions(home, COMMAND), said), said


@pytest.fixture(scope="module")
def registry(home: Home, promoted: tuple[PromotionResult, Said]) -> Registry:
    return Registry(TrackingStore.open(home), "digits")


@pytest.fixture
def quick_serve_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the server where the test is about something else."""
    monkeypatch.setattr(promotion, "serve_check", lambda *arguments: "not served in this test")


def champion_of(registry: Registry) -> str | None:
    return registry.aliases().get("champion")


def model_of(home: Home, run_id: str) -> LoggedModel:
    store = TrackingStore.open(home)
    (model,) = store.models_of_run(store.client.get_run(run_id))
    return model


@contextmanager
def model_file(home: Home, run_id: str) -> Iterator[Path]:
    """Yield the network file of a run's model, and restore it afterwards."""
    model = model_of(home, run_id)
    path = Path(unquote(urlparse(model.artifact_location).path)) / KERAS_FILE
    content = path.read_bytes()
    try:
        yield path
    finally:
        path.write_bytes(content)


def test_the_winner_becomes_champion_after_one_reading_of_the_test_set(
    home: Home, promoted: tuple[PromotionResult, Said], registry: Registry
) -> None:
    outcome, said = promoted
    # A champion challenges nobody.
    assert registry.aliases() == {"champion": "1"}
    version = registry.champion()
    assert version is not None
    (reading,) = home.ledger.readings()
    assert reading.weights_sha256 == version.tags["weights_sha256"]
    assert reading.result["test/accuracy"] == float(version.tags["test_accuracy"])
    test_set = load_test_set("digits")
    assert version.tags["test_sha256"] == test_set.content_hash
    assert outcome.document["test_set_readings"] == 1
    assert any("reading 1 of the test set, entered in the ledger" in line for line in said)


@pytest.mark.usefixtures("promoted")
def test_a_promotion_leaves_mlflows_global_store_as_it_was(home: Home) -> None:
    assert mlflow.get_tracking_uri() != home.tracking_uri


def test_the_winner_is_trained_on_all_rows_for_the_median_best_epoch(
    home: Home, registry: Registry
) -> None:
    from mnist_study.training import model, trainer

    confirmation = finished_confirmation(home.storage_url)
    assert confirmation is not None
    plan = FinalTraining.of(confirmation.history, confirmation.winner)
    assert plan.n_epochs == confirmation.winner.median_best_epoch
    rows = load_training_set("digits")
    splits = Splits(
        rows.images, rows.labels, rows.images[:7], rows.labels[:7], "digits", rows.content_hash
    )
    config = plan.training.model_copy(update={"early_stopping": None})
    again = trainer.train(
        plan.params, plan.seeds, config, splits, on_epoch=lambda m: m.epoch == plan.n_epochs
    )
    champion = registry.champion()
    assert champion is not None
    assert champion.tags["weights_sha256"] == model.weights_sha256(again.weights)
    metrics = connect(home.tracking_uri).get_run(champion.tags["run_id"]).data.metrics
    # No row was left to validate with, so nothing may look like a validation.
    assert not [name for name in metrics if name.startswith("val/")]


def test_the_run_of_the_champion_names_all_the_rows_it_was_trained_on(
    home: Home, registry: Registry
) -> None:
    champion = registry.champion()
    assert champion is not None
    run = connect(home.tracking_uri).get_run(champion.tags["run_id"])
    assert run.inputs is not None
    (entry,) = run.inputs.dataset_inputs
    rows = load_training_set("digits")
    assert json.loads(entry.dataset.profile or "")["content_sha256"] == rows.content_hash
    tags = {tag.key: tag.value for tag in entry.tags}
    assert (tags["n_train"], tags["n_validation"]) == (str(len(rows.labels)), "0")


def test_a_model_of_the_digits_never_gets_the_name_of_mnists(registry: Registry) -> None:
    names = [model.name for model in registry.client.search_registered_models()]
    assert names == [NAME]
    assert registry.champion().tags["dataset"] == "digits"  # type: ignore[union-attr]


def test_the_card_and_the_tags_say_what_the_stores_hold(
    home: Home, promoted: tuple[PromotionResult, Said], registry: Registry
) -> None:
    version = registry.champion()
    assert version is not None
    card = Path(promoted[0].document["card"]).read_text()
    shown = re.sub(
        r"get-artifact\?path=promotion%2F(\w+\.png)&run_uuid=\w+", r"\1", str(version.description)
    )
    assert shown == card
    stored = home.path / "readouts" / f"digits-{version.tags['weights_sha256'][:16]}.npz"
    answers = StoredAnswers.from_bytes(stored.read_bytes(), "stored")
    assert f"**{answers.accuracy.estimate:.2%}**" in card
    confirmation = finished_confirmation(home.storage_url)
    assert confirmation is not None
    mean = confirmation.winner.mean
    assert f"{mean.estimate:.2%} ({mean.low:.2%} to {mean.high:.2%})" in card
    assert version.tags["confirmed_val_accuracy"] == str(mean.estimate)
    for words in (
        "(not MNIST)",
        version.tags["dataset_sha256"][:16],
        "(its ledger): 1",
        "## Limits",
    ):
        assert words in card
    for digit_class in range(10):
        is_digit = answers.labels == digit_class
        right = int((is_digit & (answers.predicted == digit_class)).sum())
        assert f"| {digit_class} | {is_digit.sum()} | {right} |" in card
    folder = Path(promoted[0].document["card"]).parent
    for name in ("confusion_matrix.png", "confident_errors.png"):
        with Image.open(folder / name) as picture:
            assert picture.width > 300
    files = registry.client.list_artifacts(version.tags["run_id"], "promotion")
    assert {Path(file.path).name for file in files} == {
        "README.md", "confusion_matrix.png", "confident_errors.png", "test_answers.npz",
        "answering.npz",
    }  # fmt: skip


def test_the_most_confidently_wrong_images_are_wrong_and_in_order(home: Home) -> None:
    (path,) = [p for p in (home.path / "readouts").iterdir() if p.name.startswith("digits-")][:1]
    answers = StoredAnswers.from_bytes(path.read_bytes(), "stored")
    rows = answers.error_rows
    assert len(rows)
    assert not answers.correct[rows].any()
    assert (np.diff(answers.confidences[rows]) <= 0).all()
    np.testing.assert_array_equal(answers.error_images, load_test_set("digits").images[rows])


def test_the_champion_promoted_again_is_left_alone_and_reads_nothing(
    home: Home, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        stored_answers, "load_test_set", lambda *_: pytest.fail("read the test set")
    )
    history = registry.history()
    versions = registry.client.search_model_versions(f"name = '{NAME}'")
    outcome = promote(PromoteOptions(home, COMMAND), Said())
    assert outcome.document["already_champion"]
    assert "champion already" in outcome.lines[0]
    assert len(home.ledger.readings()) == outcome.document["test_set_readings"]
    assert registry.history() == history
    assert len(registry.client.search_model_versions(f"name = '{NAME}'")) == len(versions)


def test_a_model_file_changed_by_one_byte_is_refused(home: Home, registry: Registry) -> None:
    run_id = run_of_trial(home, GOOD)
    n_readings = len(home.ledger.readings())
    with model_file(home, run_id) as path:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        done = command(home, "promote", "--run", run_id)
    assert done.returncode == 1
    (line,) = [row for row in done.stderr.splitlines() if row.startswith("error:")]
    assert "the file was changed since" in line
    assert "Traceback" not in done.stderr
    assert champion_of(registry) == "1"
    assert len(home.ledger.readings()) == n_readings


@contextmanager
def foreign_loader(home: Home, run_id: str, marker: Path) -> Iterator[None]:
    """Let a run's stored model name a loader of somebody else's, with the network intact."""
    code = f"def _load_pyfunc(path):\n    open({str(marker)!r}, 'w').close()\n"
    with model_file(home, run_id) as keras_file:
        mlmodel = keras_file.parents[1] / "MLmodel"
        before = mlmodel.read_text()
        changed = before.replace("loader_module: mlflow.keras", "loader_module: foreign_loader")
        assert changed != before
        mlmodel.write_text(changed.replace("data: data", "code: code"))
        foreign = mlmodel.parent / "code" / "foreign_loader.py"
        foreign.parent.mkdir()
        foreign.write_text(code)
        try:
            yield
        finally:
            mlmodel.write_text(before)
            foreign.unlink()
            foreign.parent.rmdir()


def test_a_stored_loader_is_never_executed_and_the_audit_names_it(
    home: Home, registry: Registry, tmp_path: Path
) -> None:
    version, marker = registry.champion(), tmp_path / "executed"
    assert version is not None
    picture = tmp_path / "digit.png"
    Image.fromarray(load_training_set("digits").images[0]).save(picture)

    def found() -> list[str]:
        return [line for audit in audit_home(home) for line in audit.findings if "MLmodel" in line]

    assert not found()
    with foreign_loader(home, str(version.run_id), marker):
        for use in (
            lambda: predict_files(home, "auto", [picture], None, Said()),
            lambda: serve_champion(
                home, "auto", Endpoint(0), Said(), lambda *_: pytest.fail("served")
            ),
        ):
            with pytest.raises(ArtifactError, match=r"changed MLmodel; added code/foreign_loader"):
                use()
        assert any(line.startswith(f"{NAME} version 1: ") for line in found())
    run_id = run_of_trial(home, GOOD)
    with (
        foreign_loader(home, run_id, marker),
        pytest.raises(ArtifactError, match="changed MLmodel"),
    ):
        promote(PromoteOptions(home, COMMAND, run_id=run_id), Said())
    assert not found()
    assert not marker.exists()
    assert champion_of(registry) == "1"


def test_a_champion_of_an_earlier_version_is_served_with_a_loader_of_this_program(
    home: Home, registry: Registry, tmp_path: Path
) -> None:
    version, marker = registry.champion(), tmp_path / "executed"
    assert version is not None
    tags = {name: value for name, value in version.tags.items() if name != "files_sha256"}
    version = replace_tags(version, tags)
    with foreign_loader(home, str(version.run_id), marker):
        directory = registry.fetch(version, tmp_path)
        pyfunc = mlflow.pyfunc.load_model(str(directory))
        assert pyfunc.predict(np.zeros((1, 28, 28), np.float32)).shape == (1, 10)
    assert "foreign" not in (directory / "MLmodel").read_text()
    assert not (directory / "code").exists()
    assert not marker.exists()


def replace_tags(version: Any, tags: dict[str, str]) -> Any:  # noqa: ANN401
    changed = copy.copy(version)
    changed._tags = tags
    return changed


def test_a_network_that_brings_code_is_refused_in_one_line(
    home: Home, registry: Registry, tmp_path: Path
) -> None:
    import keras

    from mnist_study.training.model import NetworkFileError, model_from_bytes

    network = keras.Sequential(
        [
            keras.Input((28, 28)),
            keras.layers.Lambda(lambda images: images),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ]
    )
    network.save(tmp_path / "lambda.keras")
    content = (tmp_path / "lambda.keras").read_bytes()
    with pytest.raises(NetworkFileError, match="the network cannot be loaded"):
        model_from_bytes(content)
    run_id = run_of_trial(home, GOOD)
    client, model = connect(home.tracking_uri), model_of(home, run_id)
    before = {name: model.tags[name] for name in ("file_sha256", "files_sha256")}
    with model_file(home, run_id) as path:
        path.write_bytes(content)
        root = path.parents[1]
        files = {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}
        client.set_logged_model_tags(model.model_id, file_tags(files))
        with pytest.raises(ModelError, match=r"holds .*keras\.layers\.Lambda") as refused:
            promote(PromoteOptions(home, COMMAND, run_id=run_id), Said())
    client.set_logged_model_tags(model.model_id, before)
    assert "\n" not in str(refused.value)


def test_weights_are_checked_also_where_the_file_was_exchanged_with_its_hash(
    home: Home, registry: Registry
) -> None:
    import hashlib

    run_id, other_id = run_of_trial(home, GOOD), run_of_trial(home, UNTRAINED)
    client, model = connect(home.tracking_uri), model_of(home, run_id)
    before = {name: model.tags[name] for name in ("file_sha256", "files_sha256")}
    with model_file(home, run_id) as path, model_file(home, other_id) as other:
        path.write_bytes(other.read_bytes())
        digest = hashlib.sha256(other.read_bytes()).hexdigest()
        hashes = json.loads(model.tags["files_sha256"]) | {KERAS_FILE: digest}
        tags = {"file_sha256": digest, "files_sha256": json.dumps(hashes)}
        client.set_logged_model_tags(model.model_id, tags)
        with pytest.raises(ModelError, match="its weights have SHA-256"):
            promote(PromoteOptions(home, COMMAND, run_id=run_id), Said())
    client.set_logged_model_tags(model.model_id, before)
    assert champion_of(registry) == "1"


@pytest.mark.usefixtures("quick_serve_check")
def test_a_worse_challenger_is_refused_unless_forced_with_a_reason_and_rolled_back(
    home: Home, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = PromoteOptions(home, COMMAND, run_id=run_of_trial(home, UNTRAINED))
    n_readings = len(home.ledger.readings())
    with pytest.raises(GateError, match="significantly worse"):
        promote(options, Said())
    assert champion_of(registry) == "1"
    assert len(home.ledger.readings()) == n_readings + 1
    # Its answers are known now, and the champion's from its own promotion.
    monkeypatch.setattr(
        stored_answers, "load_test_set", lambda *_: pytest.fail("read the test set")
    )
    promote(replace(options, force="to see it fail"), Said())
    forced = registry.champion()
    assert forced is not None
    assert forced.tags["forced"] == "to see it fail"
    assert "**rejection overridden**: to see it fail" in (forced.description or "")
    assert registry.history()[-1].reason == "to see it fail"
    assert any("to see it fail" in line for line in champion_lines(champion_document(home)))
    assert len(home.ledger.readings()) == n_readings + 1

    card = home.path / "reports" / NAME / "README.md"
    assert "rejection overridden" in card.read_text()
    outcome = rollback(home, "mnist-study rollback", registry_of(home, "auto"))
    assert outcome.document["version"] == champion_of(registry) == "1"
    # The card that lies there is again that of the champion.
    assert "rejection overridden" not in card.read_text()
    assert str(registry.version("1").tags["weights_sha256"]) in card.read_text()
    assert outcome.lines[-1] == f"Model card: {card}"
    events = [(move.event, move.version) for move in registry.history()]
    assert events[-2:] == [("promote", str(forced.version)), ("rollback", "1")]
    with pytest.raises(RegistryError, match="is the first champion"):
        rollback(home, "mnist-study rollback", registry)
    assert champion_of(registry) == "1"


def test_a_failed_serve_check_leaves_the_champion(
    home: Home, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> str:
        raise ServingError("served and in-process answers differ")

    monkeypatch.setattr(promotion, "serve_check", fail)
    history = registry.history()
    with pytest.raises(ServingError):
        promote(PromoteOptions(home, COMMAND, run_id=run_of_trial(home, GOOD), force="x"), Said())
    assert champion_of(registry) == "1"
    assert registry.history() == history
    assert registry.aliases()["challenger"] != "1"  # it may be looked at there


def test_a_champion_moved_meanwhile_from_elsewhere_is_not_overwritten(
    home: Home, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = run_of_trial(home, UNTRAINED)

    def meanwhile(*_: object) -> str:
        (other,) = [
            v for v in registry.client.search_model_versions(f"name = '{NAME}'")
            if v.run_id == run_id
        ]  # fmt: skip
        registry.client.set_registered_model_alias(NAME, "champion", other.version)
        return "checked"

    monkeypatch.setattr(promotion, "serve_check", meanwhile)
    try:
        with pytest.raises(RegistryError, match="somebody moved it meanwhile"):
            promote(PromoteOptions(home, COMMAND, run_id=run_id, force="x"), Said())
    finally:
        registry.client.set_registered_model_alias(NAME, "champion", "1")


def test_served_answers_are_those_in_process(
    home: Home, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mnist_study.training import model

    for name in ("http_proxy", "HTTP_PROXY"):  # leads out of this machine, and not into it
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    version = registry.champion()
    assert version is not None
    directory = registry.fetch(version, tmp_path)
    network = model.model_from_bytes((directory / KERAS_FILE).read_bytes())
    images = split(load_training_set("digits"), validation_size=256, split_seed=0).validation_images
    expected = model.probabilities(network, images)
    with serving.scoring_server(directory) as server:
        served = server.ask(images)
        assert np.abs(served - expected).max() <= 1e-6
        assert (served.argmax(axis=1) == expected.argmax(axis=1)).all()
        # A page whose name was made to lead here does not get in.
        asked = urllib.request.Request(f"{server.url}/ping", headers={"Host": "elsewhere.example"})
        with pytest.raises(urllib.error.HTTPError, match="400"):
            serving._DIRECT.open(asked, timeout=20)

        @contextmanager
        def running(_: Path) -> Iterator[ScoringServer]:
            yield server

        monkeypatch.setattr(serving, "scoring_server", running)
        assert "256 images, same labels" in serve_check(directory, images, expected)
        with pytest.raises(ServingError, match="expected the same labels"):
            serve_check(directory, images, expected + 2e-6)
        with pytest.raises(ServingError, match="other labels"):
            serve_check(directory, images, expected[:, ::-1])
        with pytest.raises(ServingError, match="did not answer"):
            server.ask(images[:, :5])
    assert server.process.poll() is not None


def test_a_second_promotion_says_who_is_at_it(home: Home, registry: Registry) -> None:
    with home.locked("mnist-study promote --run abc"):
        done = command(home, "promote")
    assert done.returncode == 1
    (line,) = [row for row in done.stderr.splitlines() if row.startswith("error:")]
    assert "in use by `mnist-study promote --run abc`" in line
    assert champion_of(registry) == "1"


def test_a_move_that_a_killed_driver_did_not_note_is_noted_by_the_next(
    home: Home, registry: Registry
) -> None:
    history = registry.history()
    last = max(
        (v for v in registry.client.search_model_versions(f"name = '{NAME}'")),
        key=lambda v: int(v.version),
    )
    registry.client.set_registered_model_alias(NAME, "champion", last.version)
    rollback(home, "mnist-study rollback", registry)
    events = [(move.event, move.version) for move in registry.history()[len(history) :]]
    assert events == [("found", str(last.version)), ("rollback", "1")]


def test_a_reading_that_is_not_in_the_ledger_yet_is_entered_and_not_repeated(
    home: Home, registry: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    version = registry.champion()
    assert version is not None
    weights = version.tags["weights_sha256"]
    other = Home(tmp_path)
    other.readouts.mkdir()
    name = f"digits-{weights[:16]}.npz"
    (other.readouts / name).write_bytes((home.readouts / name).read_bytes())
    monkeypatch.setattr(
        stored_answers, "load_test_set", lambda *_: pytest.fail("read the test set")
    )
    for _ in range(2):
        stored_answers.read_test_answers(other, COMMAND, None, weights, "digits", None, Said())
        assert [r.weights_sha256 for r in other.ledger.readings()] == [weights]
    (other.readouts / name).write_bytes(b"half a file")
    with pytest.raises(StoredAnswersError, match="remove it to have the test set read again"):
        stored_answers.read_test_answers(other, COMMAND, None, weights, "digits", None, Said())


def read_levels(home: Home, registry: Registry) -> Answering:
    version = registry.champion()
    assert version is not None
    said = Said()
    levels = read_answering(registry, version, said)
    assert not said
    return levels


def test_predict_gives_the_champions_own_answers_with_its_temperature(
    home: Home, registry: Registry, tmp_path: Path
) -> None:
    from mnist_study.training import model

    version = registry.champion()
    assert version is not None
    (tmp_path / "model").mkdir()
    directory = registry.fetch(version, tmp_path / "model")
    network = model.model_from_bytes((directory / KERAS_FILE).read_bytes())
    paths, images = [], []
    for number, image in enumerate(load_training_set("digits").images[:20]):
        path = tmp_path / f"{number}.png"
        Image.fromarray(image).resize((60, 60)).save(path)
        (digit,) = read_picture(path, "").digits
        images.append(digit.image)  # laid out as MNIST's are
        Image.fromarray(255 - images[-1] if number % 2 else images[-1]).save(path)
        paths.append(path)
    levels = read_levels(home, registry)
    expected = with_temperature(model.probabilities(network, np.stack(images)), levels.temperature)
    found = predict_files(home, "auto", paths, tmp_path / "seen", Said())
    assert not found.errors
    answers = {a.image: a for a in found.answers}
    for path, row in zip(paths, expected, strict=True):
        answer = answers[str(path)]
        if answer.answer == "not a digit":
            assert answer.label is None
            continue
        assert (answer.label, answer.probability) == (row.argmax(), row.max())
        assert answer.runner_up == np.argsort(row)[-2]
        assert (answer.answer == "unsure") == (row.max() < levels.least_probability)
    assert len([a for a in answers.values() if a.answer == "digit"]) > 10
    assert levels.temperature != 1
    in_notebook = mnist_study.load(home.path).champion().probabilities(np.stack(images))
    assert in_notebook == pytest.approx(expected)
    assert found.shown == [tmp_path / "seen" / f"{n}-seen.png" for n in range(20)]
    with Image.open(found.shown[0]) as picture:
        assert picture.width > 300


def test_levels_come_from_rows_that_the_replicate_never_saw(home: Home, registry: Registry) -> None:
    levels = read_levels(home, registry)
    facts = levels.facts
    assert facts["n_rows"] == 287
    assert "confirmation run" in facts["rows"]
    assert facts["answered"] >= 0.97
    assert facts["answered"] + facts["unsure"] + facts["not_a_digit"] == pytest.approx(1)
    version = registry.champion()
    assert version is not None
    assert float(version.tags["temperature"]) == levels.temperature
    card = version.description
    said = f"answered: {facts['answered']:.2%}, of which {facts['errors_of_answered']:.2%} wrongly"
    assert card is not None
    assert said in card
    # The stand-in's digits fill their images, and pictures that are read do not.
    assert levels.familiarity is None
    assert facts["not_a_digit"] == 0


def test_a_bad_file_costs_its_own_answer_alone(
    home: Home, registry: Registry, tmp_path: Path
) -> None:
    good, bad, none = (tmp_path / name for name in ("good.png", "bad.heic", "none.png"))
    digits = load_training_set("digits").images
    two = Image.new("L", (300, 120), 240)
    for left, image in ((30, digits[0]), (170, digits[1])):
        two.paste(Image.fromarray(240 - image // 255 * 220).resize((84, 84)), (left, 18))
    two.save(good)
    bad.write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    done = command(home, "predict", str(good), str(bad), str(none), "--json")
    assert done.returncode == 1
    answers = json.loads(done.stdout)
    assert {answer["image"] for answer in answers} == {str(good)}
    lefts = [answer["box"][0] for answer in answers]
    assert lefts == sorted(lefts)
    errors = [row for row in done.stderr.splitlines() if row.startswith("error:")]
    assert [words in row for words, row in zip(("HEIC", "no such file"), errors, strict=True)] == [
        True, True,
    ]  # fmt: skip
    assert "Traceback" not in done.stderr


def test_a_champion_without_levels_answers_with_temperature_1_and_says_so(
    home: Home, registry: Registry
) -> None:
    version = registry.champion()
    assert version is not None
    tags = {k: v for k, v in version.tags.items() if k != ANSWERING_TAG}
    said = Said()
    levels = read_answering(registry, copy_of(version, tags), said)
    assert (levels.temperature, levels.least_probability, levels.familiarity) == (1.0, 0.0, None)
    assert "promoted without levels" in said[0]
    changed = copy_of(version, version.tags | {ANSWERING_TAG: "0" * 64})
    with pytest.raises(ArtifactError, match="the file was changed since"):
        read_answering(registry, changed, said)


def copy_of(version: ModelVersion, tags: dict[str, str]) -> Any:  # noqa: ANN401
    return SimpleNamespace(version=version.version, run_id=version.run_id, tags=tags)


def test_rollbacks_go_one_further_back_each_time_and_never_forth() -> None:
    def history(*moves: str) -> list[Move]:
        names: dict[str, Any] = {"p": "promote", "r": "rollback", "f": "found"}
        return [Move("", names[move[0]], move[1:]) for move in moves]

    assert champions(history()) == []
    assert champions(history("p1", "p2", "p3", "r2")) == ["1", "2"]
    assert champions(history("p1", "p2", "p3", "r2", "r1")) == ["1"]
    assert champions(history("p1", "p2", "r1", "p3")) == ["1", "3"]
    # A rollback that was killed before it was noted, and one by somebody's hand.
    assert champions(history("p1", "p2", "f1")) == ["1"]
    assert champions(history("p1", "p2", "p3", "f1")) == ["1", "2", "3", "1"]


@pytest.mark.parametrize(("run_id", "words"), [("0" * 32, "no such run"), ("no id", "no such run")])
def test_a_run_that_is_not_there_is_refused(
    home: Home, registry: Registry, run_id: str, words: str
) -> None:
    with pytest.raises(ChallengerError, match=words):
        promote(PromoteOptions(home, COMMAND, run_id=run_id), Said())


def test_a_run_without_a_model_is_refused(home: Home, registry: Registry) -> None:
    client = connect(home.tracking_uri)
    parent = client.get_run(run_of_trial(home, 0)).data.tags["mlflow.parentRunId"]
    with pytest.raises(ChallengerError, match="0 finished models"):
        promote(PromoteOptions(home, COMMAND, run_id=parent), Said())


@pytest.mark.parametrize(
    "use",
    [
        lambda home: promote(PromoteOptions(home, COMMAND), Said()),
        lambda home: promote(PromoteOptions(home, COMMAND, run_id="x"), Said()),
        lambda home: registry_of(home, "auto"),
    ],
)
def test_a_home_without_a_study_is_refused_and_not_created(
    tmp_path: Path, use: Callable[[Home], object]
) -> None:
    with pytest.raises((ChallengerError, RegistryError), match="no "):
        use(Home(tmp_path / "none"))
    assert not (tmp_path / "none").exists()


def command(home: Home, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "mnist_study", *arguments, "--home", str(home.path)],
        capture_output=True,
        text=True,
        timeout=400,
        env={**os.environ},
    )


def test_status_counts_the_readings_and_names_the_champion(home: Home, registry: Registry) -> None:
    done = command(home, "status", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)[0]
    assert document["test_set_readings"] == len(home.ledger.readings())
    (champion,) = document["champions"]
    assert (champion["model"], champion["version"]) == (NAME, "1")
    assert champion["history"][0]["event"] == "promote"


@pytest.mark.usefixtures("promoted")
def test_the_readmes_lines_for_notebooks_run(home: Home, registry: Registry) -> None:
    readme = Path(__file__).parents[2] / "README.md"
    lines = readme.read_text(encoding="utf-8").partition("import mnist_study\n")[2]
    code = lines.partition("```")[0].replace('"mlruns"', repr(str(home.path)))
    images = load_training_set("digits").images[:5]
    namespace: dict[str, Any] = {"mnist_study": mnist_study, "images": images}
    exec(code, namespace)
    assert namespace["labels"].shape == (5,)
    assert set(namespace["curves"].number) == set(namespace["best"].index)
    loaded = namespace["home"]
    assert set(loaded.confirmation().configurations.index) >= {0, loaded.confirmation().winner}
    champion, version = loaded.champion(), registry.champion()
    assert version is not None
    assert (champion.name, champion.version) == (NAME, str(version.version))
    assert str(champion.test_accuracy) == version.tags["test_accuracy"]
    note = registry.client.get_registered_model(NAME).description
    assert f"champion: [version {champion.version}](#/models/{NAME}/versions/" in str(note)


def test_the_lines_of_a_card_load_its_own_model_as_they_stand(
    promoted: tuple[PromotionResult, Said], registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = Path(promoted[0].document["card"]).read_text(encoding="utf-8")
    code = text.partition("```python\n")[2].partition("```")[0]
    namespace: dict[str, Any] = {}
    # MLflow writes the address that it is given there; this takes it back at the end.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    try:
        exec(code, namespace)
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
    assert namespace["probabilities"].shape == (1, 10)
    assert namespace["probabilities"].sum() == pytest.approx(1.0, abs=1e-5)
    version = registry.champion()
    assert version is not None
    assert str(version.source).removeprefix("models:/") in code


def test_the_pictures_of_a_card_are_where_mlflows_server_shows_them(
    promoted: tuple[PromotionResult, Said], registry: Registry
) -> None:
    version = registry.version("1")
    addresses = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", version.description or "")
    assert len(addresses) == 2
    files = {file.path for file in registry.client.list_artifacts(str(version.run_id), "promotion")}
    for address in addresses:
        asked = urlparse(address)
        # Relative to the server, whatever page shows the card.
        assert (asked.scheme, asked.netloc, asked.path) == ("", "", "get-artifact")
        query = parse_qs(asked.query)
        assert query["run_uuid"] == [version.run_id]
        assert query["path"][0] in files
