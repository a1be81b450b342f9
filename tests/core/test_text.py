"""Durations, and text that is safe to show."""

from __future__ import annotations

import pytest

from mnist_study.core.safe_text import (
    has_unescaped_password,
    printable,
    safe,
    shown_address,
    without_passwords,
)
from mnist_study.core.text import duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (89.4, "89 s"), (90, "2 min"), (5399, "90 min"), (9000, "2.5 h")],
)
def test_durations_are_written_with_a_fitting_unit(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    "text",
    [
        "\x1b[31mred\x1b[0m",
        "\x1b]0;another title\x07",
        "a\x9b2Jb",
        "over\rwritten",
        "two\nlines",
        "\u202egnp.exe",
        "zero\u200bwidth",
        "bytes \udcff\udc9b",
        "\x00\x7f\x85",
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    shown.encode()
    assert printable(shown) == shown


def test_visible_text_stays_as_it_is() -> None:
    text = "Ziffern: 数字 ✓ 0\u00a0% [bold]x[/bold]"
    assert printable(text) == text


PASSWORD = "s3cr/t@p:w#d"


@pytest.mark.parametrize(
    "address",
    [
        "http://user:{}@host:5000",
        "https://user:{}@host/path",
        "http:/user:{}@host:5000",
        "htp//user:{}@host",
        "user:{}@host:5000",
        "postgresql+psycopg2://user:{}@host:5432/name?sslmode=require",
        "postgresql://:{}@host/name",
        "postgresql://host/name?user=me&password={}",
        "mysql://user:{}@[::1]/host",
    ],
)
def test_a_password_in_an_address_is_hidden_wherever_it_stands(address: str) -> None:
    given = address.format(PASSWORD)
    for text in (shown_address(given), without_passwords(f"cannot open '{given}' (why: {given})")):
        for part in ("s3cr", "t@p", "w#d"):
            assert part not in text, text
        assert "***" in text
    assert "host" in shown_address(given)


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:5000",
        "sqlite:////home/me@work/mlflow.db",
        "models:/mnist-classifier@champion",
        "tcp://10.0.0.1:8786: no answer",
        "trial 3: 97.10 %, 12 epochs",
        "http://user@host:5000",
    ],
)
def test_what_holds_no_password_stays_as_it_is(text: str) -> None:
    assert without_passwords(text) == text
    assert safe(text, {}) == text


def test_a_password_of_the_environment_is_hidden_also_where_it_stands_alone() -> None:
    environment = {
        "MLFLOW_TRACKING_URI": "http://user:pass%20word@host",
        "MLFLOW_TRACKING_PASSWORD": "other-secret",
        "MNIST_STUDY_STORAGE": "postgresql://user:pa ss/wd@host/name",
    }
    text = "login failed: pass%20word, pass word, other-secret, pa ss/wd"
    assert safe(text, environment) == "login failed: ***, ***, ***, ***"


@pytest.mark.parametrize(
    ("address", "unescaped"),
    [
        ("postgresql://user:pa/ss@host/name", True),
        ("http://user:p@ss@host", True),
        ("http://user:p%40ss@host:5000/path", False),
        ("http://host:5000/a@b", False),
        ("http://host/a:b@c", False),
        ("sqlite:////me:x/@y/optuna.db", False),
        ("postgresql://host/name?password=a/b@c", False),
    ],
)
def test_a_password_that_nobody_can_read_is_recognized(address: str, unescaped: bool) -> None:
    assert has_unescaped_password(address) == unescaped
