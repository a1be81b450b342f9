"""The served model: what a client sends, images or picture files, and what it is answered.

The server needs MLflow's interface of a Python function; nothing of a stored model is executed.
"""

from __future__ import annotations

import base64
import binascii
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from mnist_study.data.pictures import ImageError, read_picture
from mnist_study.deployment.answering import ANSWERING, Answering, Judged
from mnist_study.deployment.predicting import answers_to
from mnist_study.tracking.checked_models import KERAS_FILE

if TYPE_CHECKING:
    from mlflow.pyfunc import PyFuncModel

_EXPECTED = (
    "expected images (n, 28, 28), whole numbers 0 to 255 or fractions 0 to 1, light ink on dark "
    "paper; or picture files in base64, as strings"
)
_MOST_IMAGES = 10_000
_MOST_REPEATED = 200
"""Characters of what MLflow says of input that it cannot read."""


class InputRefusedError(MlflowException):
    """Input that no answer can be given to; the client reads one line."""

    def __init__(self, message: str) -> None:
        super().__init__(message, error_code=INVALID_PARAMETER_VALUE)
        self._line = message

    def serialize_as_json(self) -> str:
        """Return the answer to the client; the server would add all of the input to it."""
        return json.dumps({"error_code": self.error_code, "message": self._line})


def refusal(content: bytes) -> str:
    """Return the server's refusal in one line, without the input that it repeats.

    Args:
        content: of the server's answer: MLflow's JSON, or plain text.

    Returns:
        JSON with `error_code` and `message`.
    """
    try:
        said = json.loads(content)
    except ValueError:
        said = content.decode(errors="replace")
    document = said if isinstance(said, dict) else {"message": said}
    message = str(document.get("message", ""))
    line = " ".join(message.partition("\nInput:")[0].split())
    if "expected" not in line:
        line = f"{line[:_MOST_REPEATED]}; {_EXPECTED}"
    return json.dumps({
        "error_code": document.get("error_code", "BAD_REQUEST"), "message": line,
    })  # fmt: skip


class ScoringModel:
    """A network with its levels, behind MLflow's interface of a Python function."""

    def __init__(self, network: Any, answering: Answering) -> None:  # noqa: ANN401
        """Take a network.

        Args:
            network: the Keras model, from images scaled to [0, 1] to probabilities.
            answering: its temperature and levels.
        """
        self._network = network
        self._answering = answering

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> list[Any]:  # noqa: ANN401
        """Answer a request.

        Args:
            model_input: of MLflow's server: an array, a table, or arrays by name.
            params: not used.

        Returns:
            For each image its label and probabilities; for each picture file, its digits.

        Raises:
            InputRefusedError: it is neither images nor pictures.
        """
        values = _values(model_input)
        if values.dtype.kind in "UO" and values.size and _are_texts(values):
            return [self._picture(n, text) for n, text in enumerate(values.ravel().tolist())]
        scaled = _scaled(values)
        probabilities = self._probabilities(scaled)
        images = np.round(scaled * 255).astype(np.uint8)
        judged = self._answering.judge(images, probabilities)
        return [self._document(one) for one in judged]

    def _probabilities(self, scaled: np.ndarray) -> np.ndarray:
        found: np.ndarray = self._network.predict(scaled, batch_size=1000, verbose=0)
        return found

    def _document(self, one: Judged) -> dict[str, Any]:
        return {
            "label": one.label,
            "name": self._answering.name_of(one.label),
            "answer": one.verdict,
            "probabilities": list(one.probabilities),
        }

    def _picture(self, number: int, text: str) -> dict[str, Any]:
        name = f"picture {number + 1}"
        try:
            # Also as a browser's data URL.
            content = base64.b64decode(text.partition(",")[2] or text, validate=True)
            picture = read_picture(content, name)
        except (binascii.Error, ValueError) as error:
            raise InputRefusedError(
                f"{name}: found a string that is no base64 ({error}); {_EXPECTED}"
            ) from error
        except ImageError as error:
            raise InputRefusedError(str(error)) from error
        images = np.array([digit.image for digit in picture.digits], np.uint8)
        probabilities = np.zeros((0, 10))
        if len(images):
            probabilities = self._probabilities(images / np.float32(255))
        judged = self._answering.judge(images, probabilities)
        of_box = {d.box: one for d, one in zip(picture.digits, judged, strict=True)}
        digits = []
        for answer in answers_to(picture, probabilities, self._answering, name, "", ""):
            document = answer.as_document()
            for field in ("image", "model", "version"):
                del document[field]
            if answer.label is not None and answer.box is not None:
                document["probabilities"] = list(of_box[answer.box].probabilities)
            digits.append(document)
        return {"digits": digits}


def load(directory: Path) -> PyFuncModel:
    """Load a checked network and its levels as a model of MLflow's server.

    Args:
        directory: that this program has written; no file of it names code.
    """
    import mlflow.pyfunc
    from mlflow.models import Model

    from mnist_study.training import model

    network = model.model_from_bytes((directory / KERAS_FILE).read_bytes())
    levels, answering = directory / ANSWERING, Answering()
    if levels.exists():
        answering = Answering.from_bytes(levels.read_bytes(), str(levels))
    served: PyFuncModel = mlflow.pyfunc.PyFuncModel(Model(), ScoringModel(network, answering))
    return served


def _values(model_input: Any) -> np.ndarray:  # noqa: ANN401
    """Return what was sent as one array, whatever form it came in."""
    import pandas as pd

    if isinstance(model_input, dict):
        if len(model_input) != 1:
            raise InputRefusedError(f"found the names {', '.join(model_input)}; {_EXPECTED}")
        model_input = next(iter(model_input.values()))
    if isinstance(model_input, pd.DataFrame):
        model_input = model_input.to_numpy()
        if model_input.dtype == object and model_input.shape[1] == 1:
            model_input = model_input[:, 0]
    if isinstance(model_input, list) and all(
        isinstance(item, dict) and len(item) == 1 for item in model_input
    ):
        model_input = [next(iter(item.values())) for item in model_input]
    try:
        return np.asarray(model_input)
    except ValueError as error:
        raise InputRefusedError(
            f"found lists of different lengths ({error}); {_EXPECTED}"
        ) from error


def _are_texts(values: np.ndarray) -> bool:
    return all(isinstance(value, str) for value in values.ravel().tolist())


def _scaled(values: np.ndarray) -> np.ndarray:
    """Return images as float32 (n, 28, 28), 0 to 1; the type says what numbers mean.

    Raises:
        InputRefusedError: another shape, or numbers that are neither.
    """
    shape = values.shape
    if shape == (28, 28):
        values = values[None]
    elif len(shape) == 2 and shape[1] == 784:
        values = values.reshape(-1, 28, 28)
    elif len(shape) == 4 and shape[1:] == (28, 28, 1):
        values = values[..., 0]
    if values.ndim != 3 or values.shape[1:] != (28, 28) or not 0 < len(values) <= _MOST_IMAGES:
        raise InputRefusedError(f"found the shape {shape}; {_EXPECTED}")
    if values.dtype.kind in "iu":
        low, high = int(values.min()), int(values.max())
        if low < 0 or high > 255:
            raise InputRefusedError(f"found whole numbers {low} to {high}; {_EXPECTED}")
        # JavaScript writes 1.0 as 1: black and white images, where 1 is white.
        return values.astype(np.float32) / np.float32(1 if high <= 1 else 255)
    if values.dtype.kind != "f":
        raise InputRefusedError(f"found values of type {values.dtype}; {_EXPECTED}")
    if not np.isfinite(values).all():
        raise InputRefusedError(f"found NaN or infinity; {_EXPECTED}")
    if values.min() < 0 or values.max() > 1:
        raise InputRefusedError(
            f"found fractions {values.min():g} to {values.max():g}; {_EXPECTED}: divide by 255, or "
            "send whole numbers"
        )
    return values.astype(np.float32)
