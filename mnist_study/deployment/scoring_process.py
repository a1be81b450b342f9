"""MLflow's scoring server as a process that ends with its parent.

Usage: `python -m mnist_study.deployment.scoring_process PORT`, with the model's directory in the
environment variables of MLflow's server, and a pipe as standard input. It prints its port (for 0,
any free one) and ends when the pipe is closed, which includes the death of its parent.
"""

from __future__ import annotations

import os
import socket
import sys
import threading


def main() -> None:
    """Serve until standard input ends."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", int(sys.argv[1])))
    threading.Thread(target=_end_with_input, daemon=True).start()
    # The parent reads this line alone; the output of the server belongs to the messages.
    print(listener.getsockname()[1], flush=True)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    import uvicorn
    from mlflow.pyfunc.scoring_server.app import app  # loads the model

    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


def _end_with_input() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
