"""What clients send to the served model, in every form of MLflow's protocol, and what they get."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
from typing import Any

import numpy as np
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.pyfunc import PyFuncModel
from mlflow.pyfunc.scoring_server import invocations
from PIL import Image

from mnist_study.data.pictures import read_picture
from mnist_study.deployment.answering import Answering
from mnist_study.deployment.client_example import curl_lines, example_png
from mnist_study.deployment.scoring_model import ScoringModel
from mnist_study.deployment.scoring_process import application


class Network:
    """Says of each image the class that its mean brightness falls into, of ten."""

    def predict(self, scaled: np.ndarray, batch_size: int, verbose: int) -> np.ndarray:
        assert scaled.dtype == np.float32
        assert 0 <= scaled.min() <= scaled.max() <= 1
        rows = np.full((len(scaled), 10), 0.01, np.float32)
        rows[np.arange(len(scaled)), (scaled.mean(axis=(1, 2)) * 9.999).astype(int)] = 0.91
        return rows


NAMES = tuple(f"class {n}" for n in range(10))
# MLflow's has no types.
respond: Any = invocations
SERVED = PyFuncModel(Model(), ScoringModel(Network(), Answering(class_names=NAMES)))


def ask(body: object, content_type: str = "application/json") -> Any:  # noqa: ANN401
    content = body if isinstance(body, str) else json.dumps(body)
    answer = respond(content, content_type, SERVED, None)
    assert answer.status == 200
    return json.loads(answer.response)["predictions"]


def image(level: int) -> list[list[int]]:
    return np.full((28, 28), level).tolist()


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


@pytest.mark.parametrize("key", ["inputs", "instances"])
def test_whole_numbers_to_255_and_fractions_to_1_mean_the_same(key: str) -> None:
    for sent in ([image(204)], image(204), np.full((1, 28, 28, 1), 204).tolist(),
                 np.full((1, 784), 204).tolist()):  # fmt: skip
        (answer,) = ask({key: sent})
        assert answer["label"] == 7
        assert answer["name"] == "class 7"
        assert answer["probabilities"][7] == pytest.approx(0.91)
    (answer,) = ask({key: [np.full((28, 28), 0.8).tolist()]})
    assert answer["label"] == 7


def test_tables_of_784_columns_are_images() -> None:
    table = {"columns": list(range(784)), "data": [[204] * 784, [0] * 784]}
    assert [a["label"] for a in ask({"dataframe_split": table})] == [7, 0]
    csv = ",".join(map(str, range(784))) + "\n" + ",".join(["204"] * 784)
    assert [a["label"] for a in ask(csv, "text/csv")] == [7]


def test_black_and_white_images_of_javascript_are_not_nearly_black() -> None:
    (answer,) = ask({"inputs": [image(1)]})
    assert answer["label"] == 9


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ([image(256)], "whole numbers 256 to 256"),
        ([image(-1)], "whole numbers -1 to -1"),
        ([np.full((28, 28), 1.5).tolist()], "fractions 1.5 to 1.5"),
        ([np.full((28, 28), 128.5).tolist()], "fractions 128.5 to 128.5"),
        ([np.full((28, 28), float("nan")).tolist()], "NaN or infinity"),
        ([np.full((28, 28), float("inf")).tolist()], "NaN or infinity"),
        ([[1, 2, 3]], r"shape \(1, 3\)"),
        ([np.zeros((27, 28)).tolist()], r"shape \(1, 27, 28\)"),
        ([], r"shape \(0,\)"),
        ([[[True] * 28] * 28], "type bool"),
        (["no base64!"], "no base64"),
        ([base64_of(b"no picture")], "picture 1: cannot be read as an image"),
        (["AAAAGGZ0eXBoZWlj" + "A" * 80], "HEIC"),
        ({"a": [1], "b": [2]}, "the names a, b"),
    ],
)
def test_what_is_neither_is_refused_in_one_line(sent: object, words: str) -> None:
    with pytest.raises(MlflowException) as caught:
        ask({"inputs": sent})
    refused: Any = caught.value
    assert refused.get_http_status_code() == 400
    message = json.loads(refused.serialize_as_json())["message"]
    assert re.search(words, message)
    assert "expected" in message
    assert "\n" not in message
    assert len(message) < 300


def test_picture_files_in_base64_are_read_as_predict_reads_them() -> None:
    buffer = io.BytesIO()
    sheet = np.full((200, 300), 240, np.uint8)
    sheet[50:150, 60:74] = sheet[50:150, 200:214] = 20
    Image.fromarray(sheet).save(buffer, "PNG")
    sent = base64_of(buffer.getvalue())
    seen = read_picture(buffer.getvalue(), "two ones").digits
    assert len(seen) == 2
    for body in (
        {"inputs": [sent]},
        {"instances": [{"image": sent}]},
        {"inputs": {"image": [sent]}},
        {"dataframe_split": {"columns": ["image"], "data": [[sent]]}},
        {"dataframe_records": [{"image": sent}]},
        {"inputs": ["data:image/png;base64," + sent]},
    ):
        (answer,) = ask(body)
        assert [tuple(digit["box"]) for digit in answer["digits"]] == [d.box for d in seen]
        for digit, one in zip(answer["digits"], seen, strict=True):
            assert digit["label"] == int(one.image.mean() / 255 * 9.999)
            assert digit["name"] == f"class {digit['label']}"
            assert sum(digit["probabilities"]) == pytest.approx(1)


def test_a_picture_of_nothing_is_no_digit_with_the_reason() -> None:
    buffer = io.BytesIO()
    Image.new("L", (200, 200), 230).save(buffer, "PNG")
    ((digit,),) = (a["digits"] for a in ask({"inputs": [base64_of(buffer.getvalue())]}))
    assert (digit["answer"], digit["label"]) == ("not a digit", None)
    assert "nothing stands out" in digit["reason"]


def test_the_example_of_the_curl_line_is_a_request_that_is_answered() -> None:
    example, _ = curl_lines("http://127.0.0.1:5001/invocations")
    body = re.search(r"-d '(.*)'$", example)
    assert body is not None
    (answer,) = ask(body[1])
    (seen,) = read_picture(example_png(), "example").digits
    assert answer["digits"][0]["label"] == int(seen.image.mean() / 255 * 9.999)


def answered_over_http(content: bytes, content_type: str) -> tuple[int, dict[str, Any]]:
    """Return status and body of the server's answer."""
    app = application(SERVED, ["here"])
    sent: list[Any] = []
    scope = {
        "type": "http", "method": "POST", "path": "/invocations", "raw_path": b"/invocations",
        "query_string": b"",
        "headers": [(b"host", b"here"), (b"content-type", content_type.encode())],
    }  # fmt: skip
    messages = [{"type": "http.request", "body": content, "more_body": False}]

    async def receive() -> Any:  # noqa: ANN401
        while not messages:
            await asyncio.sleep(1)
        return messages.pop()

    async def send(message: Any) -> None:  # noqa: ANN401
        sent.append(message)

    asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], json.loads(body)


@pytest.mark.parametrize(
    ("content", "content_type", "status", "words"),
    [
        (b'{"inputs": [1,', "application/json", 400, "valid JSON"),
        (b'{"inputs": "' + b"7" * 100_000, "application/json", 400, "valid JSON"),
        (b"", "application/json", 400, "valid JSON"),
        (b"\xff\xfe", "application/json", 400, "valid JSON"),
        (b"[1, 2]", "application/json", 400, "Received a list"),
        (b'{"x": 1}', "application/json", 400, "exactly one of the input fields"),
        (b'{"inputs": [[1, 2], [3]]}', "application/json", 400, "inhomogeneous"),
        (b'{"inputs": [[[NaN]]]}', "application/json", 400, "shape"),
        (b"abc", "text/plain", 415, "content types"),
    ],
)
def test_the_server_refuses_in_one_short_line_that_says_what_it_expects(
    content: bytes, content_type: str, status: int, words: str
) -> None:
    found, answer = answered_over_http(content, content_type)
    assert found == status
    assert words in answer["message"]
    assert "expected images (n, 28, 28)" in answer["message"]
    assert "\n" not in answer["message"]
    assert len(answer["message"]) < 400


def test_the_server_passes_on_what_is_answered() -> None:
    status, answer = answered_over_http(
        json.dumps({"inputs": [image(204)]}).encode(), "application/json"
    )
    assert status == 200
    assert answer["predictions"][0]["label"] == 7
