"""The options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home",
        metavar="DIR",
        help="Folder of the stores (default: MNIST_STUDY_HOME, else mlruns).",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
SeedOption = Annotated[
    int | None,
    typer.Option(
        min=0, max=2**31 - 1, metavar="N", help="Decides every random draw (default: the file's)."
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", help="Local worker processes, one core each (default: all cores)."
    ),
]
DatasetOption = Annotated[
    Literal["auto", "mnist", "digits"],
    typer.Option(help="auto is MNIST, or the digits stand-in where MNIST is out of reach."),
]
DataOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Folder with MNIST as npz or IDX files (default: MNIST_STUDY_DATA, else Keras's "
        "cache, else Keras's download).",
    ),
]
ClusterOption = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Use the workers of a running Dask scheduler, such as tcp://host:8786.",
    ),
]
MixedOption = Annotated[
    bool,
    typer.Option(
        "--allow-mixed",
        help="Resume in spite of other settings, data, packages or CPU; gives up bit-identity.",
    ),
]
