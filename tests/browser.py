"""Debian's chromium in a fresh profile, asked over its debugging protocol; tornado is Dask's."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tornado.websocket import WebSocketClientConnection, websocket_connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
START_SECONDS = 60.0
PAGE_SECONDS = 120.0

needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="needs chromium: apt-get install chromium"
)


class Page:
    """The one page of a browser; coroutines hide behind ordinary methods."""

    def __init__(self, address: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._socket = self._loop.run_until_complete(_connected(address))
        self._number = 0
        self.ask("Page.enable")

    def ask(self, method: str, **params: Any) -> dict[str, Any]:  # noqa: ANN401
        """Send a command of the protocol and return its result."""
        self._number += 1
        return self._loop.run_until_complete(self._ask(self._number, method, params))

    async def _ask(self, number: int, method: str, params: dict[str, Any]) -> dict[str, Any]:
        message = {"id": number, "method": method, "params": params}
        await self._socket.write_message(json.dumps(message))
        while True:
            received = await asyncio.wait_for(
                asyncio.ensure_future(self._socket.read_message()), PAGE_SECONDS
            )
            answer = json.loads(received or "{}")
            if answer.get("id") == number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def open(self, url: str, *, width: int = 1400, height: int = 900) -> None:
        """Load a page in a window of this size; pages that go on loading are not waited for."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        # By way of an empty page, or an address that differs after `#` alone would load nothing.
        self.ask("Page.navigate", url="about:blank")
        self.ask("Page.navigate", url=url)

    def value(self, expression: str) -> Any:  # noqa: ANN401
        """Return the value of a JavaScript expression."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        return answer["result"].get("value")

    @property
    def text(self) -> str:
        """What a reader sees."""
        return str(self.value("document.body ? document.body.innerText : ''") or "")

    def wait_for(self, *words: str) -> str:
        """Wait until a page shows all of these words; return its text."""
        deadline = time.monotonic() + PAGE_SECONDS
        while time.monotonic() < deadline:
            text = self.text
            if all(word in text for word in words):
                return text
            time.sleep(0.5)
        missing = [word for word in words if word not in text]
        raise AssertionError(f"{missing} did not appear; the page says: {text[:3000]}")

    def screenshot(self, path: Path) -> None:
        """Write a picture of the window as PNG."""
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot")["data"]))

    def close(self) -> None:
        """End the connection."""
        self._socket.close()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()


async def _connected(address: str) -> WebSocketClientConnection:
    return await websocket_connect(address, max_message_size=100_000_000)


@contextmanager
def fresh_browser() -> Iterator[Page]:
    """Yield the page of a browser that has never been anywhere."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as profile:
        command = [
            CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update",
            "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank",
        ]  # fmt: skip
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                page = Page(_address(Path(profile)))
                try:
                    yield page
                finally:
                    page.close()
            finally:
                process.kill()


def _address(profile: Path) -> str:
    """Return where the browser's page listens, once it does."""
    import urllib.request

    port_file = profile / "DevToolsActivePort"
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if port_file.exists() and (lines := port_file.read_text().split()):
            with urllib.request.urlopen(f"http://127.0.0.1:{lines[0]}/json", timeout=30) as answer:
                targets = json.load(answer)
            for target in targets:
                if target["type"] == "page":
                    return str(target["webSocketDebuggerUrl"])
        time.sleep(0.1)
    raise AssertionError("chromium did not start")
