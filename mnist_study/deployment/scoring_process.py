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
from pathlib import Path

from mnist_study.tracking.endpoint import Endpoint


def main() -> None:
    """Serve until standard input ends."""
    directory, host, port, *names = sys.argv[1:]
    listener = Endpoint(int(port), host).listener()
    threading.Thread(target=_end_with_input, daemon=True).start()
    # The parent reads this line alone; the output of the server belongs to the messages.
    print(listener.getsockname()[1], flush=True)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    import uvicorn
    from mlflow.pyfunc import scoring_server
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from mnist_study.deployment.scoring_model import load

    app = scoring_server.init(load(Path(directory)))
    guarded = TrustedHostMiddleware(app, allowed_hosts=names, www_redirect=False)
    uvicorn.Server(uvicorn.Config(guarded, log_level="warning")).run(sockets=[listener])


def _end_with_input() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
