"""What encryption between driver and workers costs for each trial.

    python -m mnist_study.bench.transport [--rounds 200] [--json]

A trial without the training, with TLS and without, in turn: its task goes to a worker process on
this machine, its live epochs and its model come back.
"""

from __future__ import annotations

import argparse
import json
import sys

import numpy as np

from mnist_study.bench.driver import MODEL_BYTES
from mnist_study.bench.measurements import SPREAD_COLUMNS, Table, hardware, spread_cells
from mnist_study.execution.round_trips import RoundTrips

N_EPOCHS = 20
N_WARM_UP = 5


def measure(n_rounds: int) -> Table:
    """Measure both in turn."""
    with RoundTrips(encrypted=True) as tls, RoundTrips(encrypted=False) as plain:
        ways = {"TLS": tls, "plain TCP": plain}
        laps: dict[str, list[float]] = {name: [] for name in ways}
        for index in range(-N_WARM_UP, n_rounds):
            for name, way in ways.items():
                seconds = way.lap(MODEL_BYTES, N_EPOCHS)
                if index >= 0:
                    laps[name].append(1e3 * seconds)
    extra = np.subtract(laps["TLS"], laps["plain TCP"])
    rows = [[name, *spread_cells(values, 1)] for name, values in laps.items()]
    return Table(
        title=f"Round trip of a trial in ms, {N_EPOCHS} epochs, a model of {MODEL_BYTES:,} bytes",
        columns=("", *SPREAD_COLUMNS),
        rows=[*rows, ["difference by round", *spread_cells(extra.tolist(), 1)]],
        samples=laps,
    )


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m mnist_study.bench.transport", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--rounds", type=int, default=200, help="trials of each (200)")
    parser.add_argument("--json", action="store_true", help="one document with every sample")
    arguments = parser.parse_args()
    table = measure(arguments.rounds)
    if arguments.json:
        print(json.dumps({"machine": hardware(), "tables": [table.as_json()]}, indent=2))
    else:
        print("\n".join(table.lines()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
