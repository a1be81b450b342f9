"""MLflow's scoring server for a model, and the check that it predicts as in process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mnist_study.core.errors import UserFacingError
from mnist_study.tracking.endpoint import Endpoint

START_SECONDS = 120
ANSWER_SECONDS = 60
END_SECONDS = 3.0
TOLERANCE = 1e-6
"""Largest difference of a served probability from the one in process; float32 rounds at 6e-8."""

_ANY_PORT = Endpoint(0)


class ServingError(UserFacingError):
    """A model that cannot be served, or not correctly."""


@dataclass(frozen=True, slots=True)
class ScoringServer:
    """A running server.

    Attributes:
        url: its address for this machine.
        process: that it runs in.
    """

    url: str
    process: subprocess.Popen[bytes]

    @property
    def port(self) -> int:
        """That it listens at."""
        return int(self.url.rpartition(":")[2])

    def ask(self, images: np.ndarray) -> np.ndarray:
        """Return the server's probabilities, float64 (n, 10).

        Args:
            images: uint8 (n, 28, 28); posted scaled to [0, 1], as the model expects them.

        Raises:
            ServingError: no answer, or one that is no table of ten columns.
        """
        body = json.dumps({"inputs": (images / np.float32(255)).tolist()}).encode()
        request = urllib.request.Request(
            f"{self.url}/invocations", body, {"Content-Type": "application/json"}
        )
        try:
            with _DIRECT.open(request, timeout=ANSWER_SECONDS) as response:
                answers = json.load(response)["predictions"]
            probabilities = np.array([a["probabilities"] for a in answers], dtype=np.float64)
        except (OSError, ValueError, KeyError, TypeError) as error:
            said = error.read().decode() if isinstance(error, urllib.error.HTTPError) else error
            raise ServingError(
                f"the scoring server did not answer to {len(images)} images "
                f"({' '.join(str(said).split())[:300]}); expected their probabilities"
            ) from error
        if probabilities.shape != (len(images), 10):
            raise ServingError(
                f"the scoring server answered with shape {probabilities.shape}, expected "
                f"({len(images)}, 10)"
            )
        return probabilities


_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Connects to this machine without the environment's proxy."""


@contextmanager
def scoring_server(
    model_directory: Path, endpoint: Endpoint = _ANY_PORT
) -> Iterator[ScoringServer]:
    """Run MLflow's scoring server until the block ends.

    Args:
        model_directory: an MLflow model.
        endpoint: where to listen.

    Raises:
        ServingError: the port is taken, or the server ended before it answered.
    """
    endpoint.free_port()  # an error at once, not after a server has started
    from mlflow.pyfunc.scoring_server import get_cmd

    # MLflow's environment is used, and not its command, which would look for uvicorn in PATH.
    _, environment = get_cmd(str(model_directory))
    defaults = {"MLFLOW_DISABLE_TELEMETRY": "true", "TF_CPP_MIN_LOG_LEVEL": "2"}
    command = [
        sys.executable, "-m", "mnist_study.deployment.scoring_process",
        str(model_directory), endpoint.host, str(endpoint.port), *endpoint.names(),
    ]  # fmt: skip
    with (
        tempfile.TemporaryFile() as log,
        # A session of its own: Ctrl-C reaches this program alone, which then ends the server.
        subprocess.Popen(
            command,
            # With Keras's defaults: a user's `keras.json` may not fit the model.
            env=defaults | environment | {"KERAS_BACKEND": "tensorflow", "KERAS_HOME": os.devnull},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            chosen = process.stdout.readline().strip().decode()
            server = ScoringServer(endpoint.url(int(chosen or 0), local=True), process)
            if not chosen or not _wait_for_answer(server):
                log.seek(0)
                last = log.read().decode(errors="replace").strip().splitlines()[-1:]
                state = "did not answer in time" if process.poll() is None else "ended at once"
                raise ServingError(
                    f"the scoring server {state}, expected it to serve; its last words: "
                    f"{' '.join(last) or 'none'}"
                )
            yield server
        finally:
            _end(process)


def serve_check(model_directory: Path, images: np.ndarray, expected: np.ndarray) -> str:
    """Check that a model predicts over HTTP as it does in process.

    Args:
        model_directory: of the registered version.
        images: uint8 (n, 28, 28), none of the test set.
        expected: probabilities in process, (n, 10).

    Returns:
        The result of the comparison as text.

    Raises:
        ServingError: another label, or a probability that is off by more than `TOLERANCE`.
    """
    with scoring_server(model_directory) as server:
        served = server.ask(images)
    n_other = int(np.count_nonzero(served.argmax(axis=1) != expected.argmax(axis=1)))
    largest = float(np.abs(served - expected).max())
    if n_other or not largest <= TOLERANCE:
        raise ServingError(
            f"served and in-process answers to {len(images)} images differ: {n_other} other "
            f"labels, probabilities by up to {largest:.2g}, expected the same labels and at most "
            f"{TOLERANCE:g}; look for another TensorFlow in the server's environment"
        )
    return f"{len(images)} images, same labels, probabilities within {largest:.1e}"


def _wait_for_answer(server: ScoringServer) -> bool:
    """Wait until the server answers; False if it ends or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            _DIRECT.open(f"{server.url}/ping", timeout=ANSWER_SECONDS).close()
        except OSError:
            time.sleep(0.1)
        else:
            return True
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server at once; it has nothing to lose."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
