"""A client's first request to the served model, as commands that can be copied."""

from __future__ import annotations

import base64
import io

from PIL import Image, ImageDraw

_SEVEN = ((8, 6), (19, 6), (13, 22))


def example_png() -> bytes:
    """Return a small picture of a seven, for a client's first request."""
    image = Image.new("L", (28, 28), 0)
    ImageDraw.Draw(image).line(_SEVEN, fill=255, width=3, joint="curve")
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
