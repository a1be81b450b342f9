"""Makes `python -m mnist_study` the same as `mnist-study`: the beginning of the program.

It imports nothing that takes time before it can be interrupted in order.
"""

from __future__ import annotations

# Built in, while the module signal imports others.
import _signal  # type: ignore[import-not-found]
import os
import sys


def main() -> None:
    """Run the command line; the entry point of `mnist-study`."""
    for number in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP):
        if _signal.getsignal(number) != _signal.SIG_IGN:
            _signal.signal(number, _stop)
    # Warnings of libraries are for their developers; as errors they would end any command.
    if any(option.startswith("error") for option in sys.warnoptions):
        import warnings

        os.environ.pop("PYTHONWARNINGS", None)
        sys.warnoptions.clear()
        warnings.simplefilter("ignore")
    from mnist_study.cli import main as run

    run()


def _stop(signal_number: int, _: object) -> None:
    """End at once: nothing was begun."""
    os.write(2, b"stopped\n")
    os._exit(128 + signal_number)


if __name__ == "__main__":
    main()
