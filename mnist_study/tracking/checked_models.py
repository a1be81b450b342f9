"""Stored models: copied once, checked, and used from the checked copy alone.

Whoever may write to the artifact store can change every file of a model, also those that MLflow
would execute. What a model's files were is recorded as tags, which are in MLflow's database.
"""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from mnist_study.core.errors import UserFacingError
from mnist_study.tracking.store import ArtifactError, TrackingStore

WEIGHTS_TAG = "weights_sha256"
FILE_TAG = "file_sha256"
FILES_TAG = "files_sha256"
"""Of every file by its path, as JSON; models of earlier versions have none."""
KERAS_FILE = "data/model.keras"
"""The network's path within a model's files."""

_CLASSES = {
    "keras": ("Sequential", "DTypePolicy"),
    "keras.layers": ("InputLayer", "Flatten", "Dense", "Dropout"),
    "keras.initializers": ("GlorotUniform", "Zeros"),
    "keras.regularizers": ("L2",),
}
_PARTS = ("metadata.json", "config.json", "model.weights.h5")
_LARGEST_CONFIG = 1 << 20


class ModelError(UserFacingError):
    """A model that is not what was trained."""


def sha256(content: bytes) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def file_tags(files: Mapping[str, bytes]) -> dict[str, str]:
    """Return the tags that identify a model's files.

    Args:
        files: all files of the model, by their relative paths.
    """
    hashes = {name: sha256(files[name]) for name in sorted(files)}
    return {FILE_TAG: hashes[KERAS_FILE], FILES_TAG: json.dumps(hashes)}


def read_network(store: TrackingStore, location: str, tags: Mapping[str, str], name: str) -> bytes:
    """Return a model's `.keras` file after every file of the model was checked.

    Args:
        store: that holds the files.
        location: of a logged model or a registered version.
        tags: recorded when it was made.
        name: of the model, for the message.

    Raises:
        ArtifactError: a file is missing, was added, or differs from what was logged.
        ModelError: the network has parts that this program never writes.
    """
    with tempfile.TemporaryDirectory(prefix="mnist-study-") as folder:
        root = store.fetch(location, Path(folder))
        paths = [path for path in sorted(root.rglob("*")) if path.is_file()]
        files = {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}
    if KERAS_FILE not in files:
        raise ArtifactError(
            f"{name}: its files have no {KERAS_FILE}, expected the network that was logged; "
            "restore it from a copy of the store, or promote another model"
        )
    content = files[KERAS_FILE]
    check_file(content, tags.get(FILE_TAG), name)
    if FILES_TAG in tags:
        _check_all(files, tags[FILES_TAG], name)
    return content


def check_file(content: bytes, expected: str | None, name: str) -> None:
    """Compare a file of a model with the hash that was recorded.

    Raises:
        ArtifactError: they differ.
    """
    actual = sha256(content)
    if actual != expected:
        raise ArtifactError(
            f"{name}: its file has SHA-256 {actual[:12]}…, expected {(expected or 'none')[:12]}… "
            "as recorded when it was made: the file was changed since; restore it from a copy of "
            "the store, or promote another model"
        )


def _check_all(files: Mapping[str, bytes], recorded: str, name: str) -> None:
    try:
        expected = dict(json.loads(recorded))
    except (ValueError, TypeError) as error:
        raise ArtifactError(
            f"{name}: its tag {FILES_TAG} is {recorded[:80]!r}, expected the hashes of its files "
            "as JSON: the tag was changed since; promote another model"
        ) from error
    actual = {file: sha256(content) for file, content in files.items()}
    changed = sorted(k for k in actual.keys() & expected.keys() if actual[k] != expected[k])
    differences = [
        f"{what} {', '.join(names)}"
        for what, names in (
            ("changed", changed),
            ("missing", sorted(expected.keys() - actual.keys())),
            ("added", sorted(actual.keys() - expected.keys())),
        )
        if names
    ]
    if differences:
        raise ArtifactError(
            f"{name}: its files are not those recorded when it was made ({'; '.join(differences)}"
            ", expected none); restore them from a copy of the store, or promote another model"
        )


def check_layers(content: bytes, name: str) -> None:
    """Check, without Keras, that a `.keras` file holds only what this program writes.

    Keras's safe mode refuses known ways to bring code; this admits known layers alone.

    Args:
        content: of the file.
        name: of the model, for the message.

    Raises:
        ModelError: it holds another kind of layer or another file, or is no `.keras` file.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            others = sorted(set(archive.namelist()) - set(_PARTS))
            with archive.open("config.json") as file:
                config = json.loads(file.read(_LARGEST_CONFIG))
        others += sorted(set(_unknown_classes(config)))
    except (zipfile.BadZipFile, KeyError, ValueError, RecursionError, NotImplementedError) as error:
        raise ModelError(
            f"{name}: its network cannot be read ({error}), expected a .keras file as training "
            "writes it; promote another model"
        ) from error
    if others:
        raise ModelError(
            f"{name}: its network holds {', '.join(others)}, expected "
            f"{', '.join(_CLASSES['keras.layers'])} layers alone: others may bring code, and it "
            "was not executed; promote another model"
        )


def _unknown_classes(config: object) -> Iterator[str]:
    """Yield each class in the description of a network that training never writes."""
    if isinstance(config, dict):
        if "class_name" in config:
            module, kind = config.get("module"), config["class_name"]
            if kind not in _CLASSES.get(str(module), ()):
                yield f"{module}.{kind}" if module else str(kind)
        for value in config.values():
            yield from _unknown_classes(value)
    elif isinstance(config, list):
        for value in config:
            yield from _unknown_classes(value)
