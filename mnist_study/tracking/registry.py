"""The registered model: its versions, the champion, and the history of champions.

Only MLflow's public interface is used, so that a SQLite file and a server behave alike. The history
is in tags of the registered model: one tag per move, append-only.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import TypeAdapter

from mnist_study.core.datasets import DIGITS, MNIST
from mnist_study.core.errors import UserFacingError
from mnist_study.tracking.checked_models import (
    FILE_TAG,
    FILES_TAG,
    WEIGHTS_TAG,
    check_layers,
    read_network,
)
from mnist_study.tracking.entities import NOTE_TAG
from mnist_study.tracking.models import model_files
from mnist_study.tracking.store import ArtifactError, TrackingStore, pages

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

CHAMPION, CHALLENGER = "champion", "challenger"
# Other data has another name, so that its model is never mistaken for MNIST's.
_MODEL_NAMES = {MNIST: "mnist-classifier", DIGITS: "mnist-classifier-digits"}
_HISTORY = "champion_history."
# The limit of MySQL and PostgreSQL; SQLite has none.
LONGEST_DESCRIPTION = 5000


class RegistryError(UserFacingError):
    """A request that the registry cannot fulfil."""


@dataclass(frozen=True, slots=True)
class Move:
    """One move of the champion alias.

    Attributes:
        when: local time, ISO 8601.
        event: "promote", "rollback", or "found" for a move that mnist-study did not note itself: of
            a command that was killed right after it, or by hand.
        version: champion from then on.
        reason: why a rejection was overridden, else "".
    """

    when: str
    event: Literal["promote", "rollback", "found"]
    version: str
    reason: str = ""

    def as_document(self) -> dict[str, str]:
        """Return everything under the names above."""
        return asdict(self)


_MOVE = TypeAdapter(Move)


def model_name(dataset: str) -> str:
    """Return the name of the registered model of a data set."""
    return _MODEL_NAMES.get(dataset, f"{dataset}-classifier")


class Registry:
    """The registered model of one data set."""

    def __init__(self, store: TrackingStore, dataset: str) -> None:
        """Take the registry of a store; writes nothing."""
        self.store = store
        self.client = store.client
        self.dataset = dataset
        self.name = model_name(dataset)

    def aliases(self) -> dict[str, str]:
        """Return version by alias; empty where nothing was ever registered."""
        model = self._model()
        return {} if model is None else {k: str(v) for k, v in model.aliases.items()}

    def champion(self) -> ModelVersion | None:
        """Return the champion, None if there is none."""
        version = self.aliases().get(CHAMPION)
        return None if version is None else self.version(version)

    def find_version(self, version: str | None) -> ModelVersion | None:
        """Return a version, None if it is not there."""
        return next((v for v in self.versions() if str(v.version) == version), None)

    def version(self, version: str) -> ModelVersion:
        """Return a version.

        Raises:
            RegistryError: it was deleted.
        """
        found = self.find_version(version)
        if found is None:
            raise RegistryError(
                f"{self.name} has no version {version}, expected the one that an alias or its "
                "history names; it was deleted, or the alias was moved by hand, so promote another "
                "model, or go back with `mnist-study rollback`"
            )
        return found

    def register(
        self, model_id: str, run_id: str, description: str, tags: Mapping[str, str]
    ) -> ModelVersion:
        """Register a logged model as a version, or update the version that it has.

        Args:
            model_id: of the logged model.
            run_id: of the run that made it.
            description: Markdown, at most `LONGEST_DESCRIPTION` characters.
            tags: of the version.
        """
        if self._model() is None:
            self.client.create_registered_model(self.name)
        # The version's own model_id stays empty on SQLite; its source has it on every store.
        source = f"models:/{model_id}"
        known = [version for version in self.versions() if version.source == source]
        version = max(known, key=lambda version: int(version.version), default=None)
        if version is None:
            # On SQLite, MLflow looks up the source in the store that the process points to; a
            # server needs the model's id too.
            with _global_tracking_uri(self.store.uri):
                created = self.client.create_model_version(
                    self.name,
                    source,
                    run_id,
                    dict(tags),
                    description=description,
                    model_id=model_id,
                )
            for other in self.versions():
                # The same request, whose answer was lost before.
                if other.source == source and other.version != created.version:
                    self.client.delete_model_version(self.name, str(other.version))
            return created
        self.tag(version, tags)
        if version.description != description:
            self.client.update_model_version(self.name, version.version, description)
        return version

    def tag(self, version: ModelVersion, tags: Mapping[str, str]) -> None:
        """Set tags of a version; those that it has already are not written again."""
        for key, value in tags.items():
            if version.tags.get(key) != value:
                self.client.set_model_version_tag(self.name, version.version, key, value)

    def read(self, version: ModelVersion) -> bytes:
        """Return the network of a version, a `.keras` file, after every file was checked.

        Args:
            version: with the tags of its promotion.

        Raises:
            ArtifactError: a file is not what was promoted.
        """
        location = self.client.get_model_version_download_uri(self.name, version.version)
        return read_network(self.store, location, version.tags, self._title(version))

    def fetch(self, version: ModelVersion, target: Path) -> Path:
        """Write an MLflow model around the checked network of a version.

        Of the stored model, the network alone is used: the other files name code that MLflow
        executes, and are written again.

        Args:
            version: with the tags of its promotion.
            target: an existing folder.

        Returns:
            An MLflow model directory.

        Raises:
            ArtifactError: a file is not what was promoted.
            ModelError: the network may bring code.
        """
        content = self.read(version)
        check_layers(content, self._title(version))
        model_id = str(version.source).removeprefix("models:/")
        directory = target / "checked"
        for name, written in model_files(content, "", model_id, version.run_id).items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(written)
        return directory

    def check(self, version: ModelVersion) -> Iterator[str]:
        """Yield what is wrong with the files of a version, a line each; changes nothing."""
        try:
            self.read(version)
        except ArtifactError as error:
            yield str(error)
        logged = self._logged_model(version)
        if logged is None:
            yield f"{self._title(version)}: its logged model {version.source} is not in MLflow"
        else:
            for tag in (WEIGHTS_TAG, FILE_TAG, FILES_TAG):
                if version.tags.get(tag) != logged.tags.get(tag):
                    yield (
                        f"{self._title(version)}: its tag {tag} differs from that of its logged "
                        f"model {logged.model_id}; one of them was changed since"
                    )

    def _logged_model(self, version: ModelVersion) -> LoggedModel | None:
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_logged_model(str(version.source).removeprefix("models:/"))
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None

    def _title(self, version: ModelVersion) -> str:
        return f"{self.name} version {version.version}"

    def set_challenger(self, version: ModelVersion) -> None:
        """Point the alias `challenger` to a version."""
        self.client.set_registered_model_alias(self.name, CHALLENGER, version.version)

    def describe(self, text: str) -> None:
        """Write the note of the registered model; one that it has already is not written again."""
        model = self._model()
        if model is not None and model.description != text:
            self.client.update_registered_model(self.name, text)
            self.client.set_registered_model_tag(self.name, NOTE_TAG, text)

    def move_champion(
        self,
        version: ModelVersion,
        event: Literal["promote", "rollback"],
        *,
        from_version: str | None,
        reason: str = "",
    ) -> None:
        """Point the alias `champion` to a version, and append the move to the history.

        Args:
            version: has passed every check.
            event: what moves it.
            from_version: the champion that the decision was about; None for no champion.
            reason: why a rejection was overridden.

        Raises:
            RegistryError: another home on the same server has moved it meanwhile.
        """
        current = self.aliases().get(CHAMPION)
        if current != from_version:
            raise RegistryError(
                f"{self.name}: the champion is version {current or 'none'}, expected "
                f"{from_version or 'none'} as at the beginning: somebody moved it meanwhile; look "
                "at `mnist-study status` and run the command again"
            )
        self.client.set_registered_model_alias(self.name, CHAMPION, version.version)
        self._drop_challenger()
        self._note(event, str(version.version), reason)

    def history(self) -> list[Move]:
        """Return all moves of the champion, oldest first.

        Raises:
            RegistryError: a tag of the history is none of ours.
        """
        model = self._model()
        tags: Mapping[str, str] = {} if model is None else model.tags
        keys = sorted(key for key in tags if key.startswith(_HISTORY))
        return [self._move(key, tags[key]) for key in keys]

    def _move(self, key: str, text: str) -> Move:
        try:
            return _MOVE.validate_json(text)
        except ValueError as error:
            raise RegistryError(
                f"{self.name}: its tag {key} is no move of the champion (found {text[:60]!r}), "
                "expected one as `promote` writes it; restore the tag, or delete it in MLflow's "
                "interface"
            ) from error

    def settle_history(self) -> None:
        """Add a move that is not in the history: of a killed command, or by hand.

        An alias that was moved to a version that is not there has made nothing champion.
        """
        self._drop_challenger()
        champion = self.aliases().get(CHAMPION)
        history = self.history()
        is_noted = bool(history) and history[-1].version == champion
        if champion is not None and not is_noted and self.find_version(champion) is not None:
            self._note("found", champion, "")

    def _drop_challenger(self) -> None:
        """Remove the alias `challenger` from the champion, which challenges nobody."""
        aliases = self.aliases()
        if CHALLENGER in aliases and aliases[CHALLENGER] == aliases.get(CHAMPION):
            self.client.delete_registered_model_alias(self.name, CHALLENGER)

    def _note(self, event: Literal["promote", "rollback", "found"], version: str, why: str) -> None:
        move = Move(time.strftime("%Y-%m-%dT%H:%M:%S"), event, version, why)
        key = f"{_HISTORY}{len(self.history()) + 1:06d}"
        self.client.set_registered_model_tag(self.name, key, json.dumps(move.as_document()))

    def _model(self) -> RegisteredModel | None:
        with self.store:
            models = self.client.search_registered_models(f"name = '{self.name}'")
        return next(iter(models), None)

    def versions(self) -> list[ModelVersion]:
        """Return all versions that were not deleted."""
        with self.store:
            condition = f"name = '{self.name}'"
            return list(
                pages(self.client.search_model_versions, filter_string=condition, max_results=1000)
            )


def champions(history: Sequence[Move]) -> list[str]:
    """Return the versions that rollbacks can return to, in order, the present champion last.

    A rollback removes the last one, so that a second rollback goes further back instead of forward
    again. A rollback that was killed before it was noted, and found later, counts too.
    """
    line: list[str] = []
    for move in history:
        if move.event != "promote" and len(line) > 1 and line[-2] == move.version:
            line.pop()
        elif line[-1:] != [move.version]:
            line.append(move.version)
    return line


@contextmanager
def _global_tracking_uri(uri: str) -> Iterator[None]:
    """Point MLflow's own functions to a store, and restore the setting afterwards."""
    import mlflow

    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
        # MLflow has overwritten it, and this program reads there the address of the user's server.
        if before is not None:
            os.environ["MLFLOW_TRACKING_URI"] = before
