"""Any experiment file: it is read as it says, or refused in one line that names it."""

from __future__ import annotations

import string
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnist_study.core.config import ConfigError, load_experiment

SEARCH = (Path(__file__).parents[2] / "experiments" / "study.toml").read_text(encoding="utf-8")
LINES = SEARCH.splitlines()
SETTINGS = [number for number, line in enumerate(LINES) if "=" in line.partition("#")[0]]

# What people type in place of a value, some of it TOML and some not.
VALUES = st.one_of(
    st.integers().map(str),
    st.floats().map(str),
    st.booleans().map(lambda value: str(value).lower()),
    st.text(string.printable, max_size=20).map(lambda text: f"'{text}'"),
    st.text(max_size=10),
    st.sampled_from(["[]", "{}", "[1, 2]", "nan", "-inf", "1_000", "0x10", "1e999", '"""']),
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("experiments") / "experiment.toml"


def read(file: Path, content: bytes) -> dict[str, Any] | None:
    """Load a file with this content; return what came out, None where it is refused in a line."""
    file.write_bytes(content)
    try:
        return load_experiment(file).model_dump()
    except ConfigError as error:
        message = str(error)
        assert message.startswith(f"{file}")
        assert "\n" not in message
        assert len(message) < 5000
        return None


@settings(max_examples=60)
@given(data=st.data())
def test_any_value_of_a_setting_is_taken_or_refused(file: Path, data: st.DataObject) -> None:
    lines = list(LINES)
    for number in data.draw(st.lists(st.sampled_from(SETTINGS), min_size=1, max_size=3)):
        name = lines[number].partition("=")[0]
        lines[number] = f"{name}= {data.draw(VALUES)}"
    content = "\n".join(lines)
    result = read(file, content.encode("utf-8", "replace"))
    if result is not None:
        written = tomllib.loads(file.read_text(encoding="utf-8"))
        assert result["name"] == written["name"]
        assert result["training"]["epochs"] == written["training"]["epochs"]
        # A bool is no number, and a number no bool.
        assert isinstance(written["training"]["epochs"], int)
        assert not isinstance(written["training"]["epochs"], bool)


@settings(max_examples=60)
@given(st.lists(st.sampled_from(range(len(LINES))), max_size=6), st.randoms())
def test_lines_that_are_lost_doubled_or_moved_are_taken_or_refused(
    file: Path,
    chosen: list[int],
    random: Any,  # noqa: ANN401
) -> None:
    lines = list(LINES)
    for number in chosen:
        line = lines.pop(min(number, len(lines) - 1))
        for _ in range(random.randrange(3)):
            lines.insert(random.randrange(len(lines) + 1), line)
    read(file, "\n".join(lines).encode())


@settings(max_examples=40)
@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_any_bytes_are_refused(file: Path, content: bytes) -> None:
    assert read(file, content) is None
