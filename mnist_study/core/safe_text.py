"""Text from users and stores made safe to print: no control characters, no passwords.

A file name, a tag in a shared registry or a worker's error may contain escape sequences, which
a terminal would execute, and addresses may contain passwords.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Mapping
from urllib.parse import unquote

HIDDEN = "***"

# Greedy up to the last @ of a word: a password may hold @ and / that nobody has escaped.
_ADDRESS = re.compile(r"([a-z][\w+.-]*:?/+)([^\s/:@'\"`]*):(?:[^\s'\"`]*)@", re.IGNORECASE)
# Without the slashes of an address, or with too few.
_PAIR = re.compile(r"(?<![\w/.%-])([\w.%+-]+):(?!/)[^\s'\"`]+@(?=[\w\[])")
_QUERY = re.compile(r"\b((?:ssl)?(?:password|passwd|pwd|token|secret)=)[^\s&'\"`]+", re.IGNORECASE)
_ADDRESS_VARIABLES = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MNIST_STUDY_STORAGE")
_SECRET_VARIABLES = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "PGPASSWORD")
_SHORTEST_SECRET = 4


def printable(text: str) -> str:
    """Return a text as one line for any terminal, with invisible characters escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or _is_space(c) else repr(c)[1:-1] for c in text)


def without_passwords(text: str) -> str:
    """Return a text with `***` in place of the passwords in its addresses.

    When in doubt too much is hidden: in a word with `://NAME:` everything up to its last `@`.
    """
    if "=" in text:
        text = _QUERY.sub(rf"\1{HIDDEN}", text)
    if "@" in text:
        text = _ADDRESS.sub(rf"\1\2:{HIDDEN}@", text)
        text = _PAIR.sub(rf"\1:{HIDDEN}@", text)
    return text


def shown_address(address: str) -> str:
    """Return the address of a store, taken as one word, without its password."""
    address = _QUERY.sub(rf"\1{HIDDEN}", address)
    head, at, tail = address.rpartition("@")
    if not at:
        return address
    scheme = re.match(r"[\w+.-]*:?/+", head)
    start = scheme.end() if scheme else 0
    user, colon, _ = head[start:].partition(":")
    password = f"{colon}{HIDDEN}" if colon else ""
    return without_passwords(f"{head[:start]}{user}{password}@{tail}")


def has_unescaped_password(address: str) -> bool:
    """Whether the password in an address contains an unescaped `/` or `@`.

    Libraries would take a part of such a password for the host, and print it.
    """
    scheme, slashes, rest = address.partition("://")
    if not slashes or scheme.startswith("sqlite"):
        return False
    credentials = rest.partition("?")[0].rpartition("@")[0]
    user, _, password = credentials.partition(":")
    is_port = re.match(r"\d+(?:/|$)", password)
    return "/" not in user and not is_port and ("/" in password or "@" in password)


def safe(text: str, environment: Mapping[str, str] | None = None) -> str:
    """Return a line without control characters, passwords and secrets of the environment.

    Args:
        text: from any source.
        environment: whose secrets are hidden wherever they occur; None takes the process's.
    """
    for secret in _secrets(os.environ if environment is None else environment):
        text = text.replace(secret, HIDDEN)
    return printable(without_passwords(text))


def _secrets(environment: Mapping[str, str]) -> list[str]:
    """Return the passwords in the environment, as written and as decoded, the longest first."""
    found = {environment.get(name, "") for name in _SECRET_VARIABLES}
    for name in _ADDRESS_VARIABLES:
        head, at, _ = environment.get(name, "").rpartition("@")
        if at:
            scheme = re.match(r"[\w+.-]*:?/+", head)
            password = head[scheme.end() if scheme else 0 :].partition(":")[2]
            found |= {password, unquote(password)}
    return sorted((s for s in found if len(s) >= _SHORTEST_SECRET), key=len, reverse=True)


def _is_space(character: str) -> bool:
    return unicodedata.category(character) == "Zs"
