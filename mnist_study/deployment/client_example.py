"""A client's first request to the served model, as commands that can be copied."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from mnist_study.tracking.models import example_image


def example_png() -> bytes:
    """Return the example of the stored models as a picture."""
    image = Image.fromarray((255 * example_image()).astype(np.uint8))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def curl_lines(url: str) -> tuple[str, str]:
    """Return two commands that ask a server: with an example, and with a file of the user's."""
    example = base64.b64encode(example_png()).decode()
    curl = f"curl -s --noproxy '*' {url} -H 'Content-Type: application/json'"
    return (
        f"""{curl} -d '{{"inputs": ["{example}"]}}'""",
        f"""printf '{{"inputs": ["%s"]}}' "$(base64 < photo.jpg | tr -d '\\n')" | {curl} -d @-""",
    )
