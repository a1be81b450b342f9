"""MLflow's scoring server as a process that ends with the one that started it.

Usage: `python -m mnist_study.deployment.scoring_process PORT`, with the model's directory where
MLflow's server looks for it, and a pipe as standard input. Prints the port once it has it, 0 taking
a free one, and ends when the pipe is closed: also when whoever holds it was killed.
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
    # Its user reads this line alone; whatever the server prints belongs to the messages.
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
