"""MLflow's scoring server as a process that ends with its parent.

Usage: `python -m mnist_study.deployment.scoring_process DIRECTORY HOST PORT NAME...`, with the
directory of a checked model, and a pipe as standard input. It answers requests to the names alone,
prints its port (for 0, any free one) and ends when the pipe is closed, which includes the death of
its parent.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_study.tracking.endpoint import Endpoint

if TYPE_CHECKING:
    from mlflow.pyfunc import PyFuncModel
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_REFUSED = 400
"""Status codes from here on are refusals."""


def main() -> None:
    """Serve until standard input ends."""
    directory, host, port, *names = sys.argv[1:]
    listener = Endpoint(int(port), host).listener()
    threading.Thread(target=_end_with_input, daemon=True).start()
    # The parent reads this line alone; the output of the server belongs to the messages.
    print(listener.getsockname()[1], flush=True)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    import uvicorn

    from mnist_study.deployment.scoring_model import load

    served = application(load(Path(directory)), names)
    uvicorn.Server(uvicorn.Config(served, log_level="warning")).run(sockets=[listener])


def application(served: PyFuncModel, names: Sequence[str]) -> ASGIApp:
    """Return MLflow's server of a model, whose refusals are one line each.

    Args:
        served: the model.
        names: of hosts that requests may be sent to.
    """
    from mlflow.pyfunc import scoring_server
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    app = _refusing_in_one_line(scoring_server.init(served))
    return TrustedHostMiddleware(app, allowed_hosts=list(names), www_redirect=False)


def _refusing_in_one_line(app: ASGIApp) -> ASGIApp:
    from starlette.responses import Response

    from mnist_study.deployment.scoring_model import refusal

    async def refusing(scope: Scope, receive: Receive, send: Send) -> None:
        status, parts = 0, list[bytes]()

        async def relay(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start" and message["status"] >= _REFUSED:
                status = message["status"]
            elif not status:
                await send(message)
            else:
                parts.append(message.get("body", b""))
                if not message.get("more_body", False):
                    said = Response(refusal(b"".join(parts)), status, media_type="application/json")
                    await said(scope, receive, send)

        asks = scope["type"] == "http" and scope["path"] == "/invocations"
        await app(scope, receive, relay if asks else send)

    return refusing


def _end_with_input() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
