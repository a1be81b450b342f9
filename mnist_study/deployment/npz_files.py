"""npz files of arrays and a document about them; the same content gives the same bytes."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

_ABOUT = "about"


def to_npz(about: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """Write a document and arrays.

    Args:
        about: what JSON can hold.
        arrays: by name; "about" is taken.
    """
    document = np.frombuffer(json.dumps(about, sort_keys=True).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays, **{_ABOUT: document})  # type: ignore[arg-type]
    return buffer.getvalue()


def from_npz(content: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the document and the arrays that `to_npz` wrote.

    Raises:
        one of `data.files.DAMAGE`, KeyError: the file is damaged or something else.
    """
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    return json.loads(arrays.pop(_ABOUT).tobytes()), arrays
