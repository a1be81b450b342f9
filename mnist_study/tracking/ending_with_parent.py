"""A command that ends with its parent, however the parent ends.

Usage: `python -m mnist_study.tracking.ending_with_parent COMMAND...`, in a session of its own and
with a pipe as standard input, whose other end the parent holds: the system closes it even if the
parent is killed. Then every process of the command's group is ended.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

END_SECONDS = 2.0


def main() -> None:
    """Run the command until it ends, or standard input does."""
    command = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    ending = threading.Event()
    threading.Thread(target=_end_with_command, args=(command, ending), daemon=True).start()
    while os.read(sys.stdin.fileno(), 1024):
        pass
    ending.set()
    # This process belongs to the group too, and has to outlive the request to the others.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end_group(os.getpgrp(), command)


def _end_with_command(command: subprocess.Popen[bytes], ending: threading.Event) -> None:
    status = command.wait()
    if not ending.is_set():  # else its own children may be left
        os._exit(status if status >= 0 else 128 - status)


def end_group(group: int, leader: subprocess.Popen[bytes]) -> None:
    """End a process and its group, at first with a request."""
    for request in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(group, request)
            leader.wait(END_SECONDS)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


if __name__ == "__main__":
    main()
