"""The options that several commands take."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from mnist_study.cli.quiet import be_quiet

HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home",
        metavar="DIR",
        help="Folder of the stores (default: MNIST_STUDY_HOME, else mlruns).",
    ),
]
StudyOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Only this record, if the home has several."),
]
QuietOption = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Print no progress, only warnings, errors and results."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", help="Local worker processes, one core each (default: all cores)."
    ),
]
DatasetOption = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="mnist; digits, a small stand-in; auto, which is mnist, or digits where MNIST is not "
        "available; or a name of your own for other data of MNIST's form, in --data.",
    ),
]
DataOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Folder with the images as npz or IDX files (default: MNIST_STUDY_DATA, else Keras's "
        "cache, else Keras's download).",
    ),
]
HostOption = Annotated[
    str,
    typer.Option(
        metavar="ADDRESS",
        help="Where to listen: beyond 127.0.0.1, as in a container, other machines get in without "
        "a password.",
    ),
]
AllowedHostsOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAMES",
        help="Further names, with commas, under which the server may be asked for, as behind a "
        "proxy.",
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
        help="Resume despite different settings, data, packages or CPU; gives up bit-identity.",
    ),
]


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """The options that all commands that train have in common, in the order of their help."""

    dataset: DatasetOption = "auto"
    data: DataOption = None
    cluster: ClusterOption = None
    allow_mixed: MixedOption = False
    home: HomeOption = None
    as_json: JsonOption = False
    quiet: QuietOption = False


def with_training_options(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command that takes one `TrainingOptions`, as `shared`, have each of them as an option.

    Args:
        command: its other parameters become arguments and options as Typer makes them.
    """

    def flat(**values: Any) -> None:  # noqa: ANN401
        from mnist_study.execution.dask_settings import check_dask_settings

        shared = TrainingOptions(**{name: values.pop(name) for name in names})
        check_dask_settings()
        if shared.quiet:
            be_quiet()
        command(**values, shared=shared)

    hints = get_type_hints(TrainingOptions, include_extras=True)
    names = [field.name for field in fields(TrainingOptions)]
    own = inspect.signature(command, eval_str=True).parameters.values()
    shared = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=hints[field.name],
        )
        for field in fields(TrainingOptions)
    ]
    # Typer reads the signature; the annotations alone would say `**values`.
    parameters = [*(p for p in own if p.name != "shared"), *shared]
    flat.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    flat.__annotations__ = {p.name: p.annotation for p in parameters}
    flat.__name__, flat.__doc__ = command.__name__, command.__doc__
    return flat
