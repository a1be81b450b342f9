"""A registry that somebody has edited by hand."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tracked_home import TrackedHome, complete, spec

from mnist_study.core.home import Home
from mnist_study.deployment import promotion
from mnist_study.deployment.champion import champion_document, champion_lines
from mnist_study.deployment.promotion import rollback
from mnist_study.tracking.registry import Registry, RegistryError
from mnist_study.tracking.store import TrackingStore


@pytest.fixture
def registry(tracked: TrackedHome, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """Two versions, each of which was made champion, the second the last."""
    tracker = tracked.tracker()
    tracker.open({})
    for number in range(2):
        tracker.start(spec(number))
        tracker.finish(complete(number))
    tracker.close()
    registry = Registry(TrackingStore.open(tracked.home), "digits")
    before = None
    for model in sorted(tracked.models(), key=lambda model: str(model.name)):
        assert model.source_run_id is not None
        version = registry.register(model.model_id, model.source_run_id, "", {})
        registry.move_champion(version, "promote", from_version=before)
        before = str(version.version)
    tracked.home.readouts.mkdir()
    # What a model's files are is for other tests to check.
    monkeypatch.setattr(Registry, "fetch", lambda *_: Path())
    return registry


def point_champion_to(home: Home, version: int) -> None:
    with closing(sqlite3.connect(home.path / "mlflow.db")) as connection, connection:
        connection.execute("UPDATE registered_model_aliases SET version = ?", (version,))


def test_alias_of_a_version_that_is_not_there_is_told_and_can_be_taken_back(
    tracked: TrackedHome, registry: Registry
) -> None:
    point_champion_to(tracked.home, 9)
    with pytest.raises(RegistryError, match=r"has no version 9.*moved by hand"):
        registry.champion()
    lines = champion_lines(champion_document(tracked.home))
    assert "champion: mnist-classifier-digits version 9, which is not there" in "\n".join(lines)
    outcome = rollback(tracked.home, "mnist-study rollback", registry)
    assert outcome.document["version"] == "2"
    assert registry.aliases()["champion"] == "2"
    assert [move.version for move in registry.history()] == ["1", "2", "2"]
    assert rollback(tracked.home, "mnist-study rollback", registry).document["version"] == "1"
    with pytest.raises(RegistryError, match="is the first champion"):
        rollback(tracked.home, "mnist-study rollback", registry)


@pytest.mark.parametrize(
    "tag", ["what", "{}", '"x"', '{"when": "x", "event": "stolen", "version": "1"}', "[1]", ""]
)
def test_tag_of_the_history_that_is_none_of_ours_is_one_line(
    tracked: TrackedHome, registry: Registry, tag: str
) -> None:
    registry.client.set_registered_model_tag(registry.name, "champion_history.000002", tag)
    with pytest.raises(RegistryError, match=r"its tag champion_history\.000002 is no move"):
        champion_document(tracked.home)
    with pytest.raises(RegistryError, match="delete it in MLflow's interface"):
        promotion.rollback(tracked.home, "mnist-study rollback", registry)


def test_version_that_was_registered_twice_as_an_answer_was_lost_is_one_version(
    tracked: TrackedHome, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = tracked.recorded(0, "another-study")
    (model,) = [m for m in tracked.models() if m.source_run_id == run_id]
    create = type(registry.client._client).create_model_version  # type: ignore[attr-defined]

    def twice(*arguments: object, **options: object) -> object:
        create(*arguments, **options)
        return create(*arguments, **options)

    monkeypatch.setattr("mlflow.MlflowClient.create_model_version", twice)
    version = registry.register(model.model_id, run_id, "", {})
    same = [v.version for v in registry.versions() if v.source == version.source]
    assert same == [version.version]
