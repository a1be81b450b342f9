"""The program: its commands in the order of its help, and how it ends."""

from __future__ import annotations

import errno
import os
import sys
from importlib import metadata
from typing import Annotated, Any, NoReturn

import typer

from mnist_study.cli import commands
from mnist_study.cli.examples import EXAMPLES, SUMMARIES
from mnist_study.cli.invocation import as_typed_here
from mnist_study.cli.options import QuietOption
from mnist_study.cli.quiet import be_quiet
from mnist_study.cli.surroundings import settle_folders, settle_libraries, settle_streams
from mnist_study.core.errors import UserFacingError
from mnist_study.core.interrupts import Stopped, leave, stop_on_signals
from mnist_study.core.safe_text import safe
from mnist_study.core.temporary import (
    is_temporary_folder_full,
    remove_own_folder,
    temporary_folder_error,
    use_own_folder,
)
from mnist_study.execution.dask_settings import explain_settings


def _show_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(safe(f"mnist-study {metadata.version('mnist-study')}"))
        raise typer.Exit


app = typer.Typer(
    name="mnist-study",
    help="A study around one documented MNIST network, the same to the last bit however it is run.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Plain help has no escape codes and takes half the time of Typer's framed help.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for command in (
    commands.study,
    commands.baseline,
    commands.confirm,
    commands.ablation,
    commands.status,
    commands.top,
    commands.digest,
    commands.report,
    commands.ui,
    commands.audit,
    commands.promote,
    commands.rollback,
    commands.serve,
    commands.predict,
):
    name = command.__name__
    app.command(short_help=SUMMARIES[name], epilog=f"Example: {EXAMPLES[name]}")(command)
app.add_typer(commands.home_app)


@app.callback()
def program(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_show_version, help="Print the version and exit."
        ),
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """A study around one documented MNIST network, bit-identical however it is run."""
    be_quiet(quiet=quiet)


_UsageError: Any = typer.BadParameter.__mro__[1]
"""Base of all errors about the command line; the library exports no other class of them."""


def main() -> None:
    """Run the command line; the entry point of `mnist-study`."""
    try:
        stop_on_signals()
        _run()
    # Outside everything else, as a signal comes at any moment, also while an error is told.
    except Stopped as stopped:
        print(safe(f"stopped{stopped.standing}"), file=sys.stderr)
        leave(stopped.status)


def _run() -> None:
    # Files are readable by their user alone; otherwise other users could read models and stores.
    os.umask(0o077)
    settle_streams()
    settle_libraries()
    use_own_folder()
    settle_folders()
    try:
        # Not its own way of ending, so that what it says of the arguments is safe to print.
        sys.exit(app(prog_name="mnist-study", standalone_mode=False))
    except _UsageError as error:
        error.message = safe(error.message)
        error.show()
        sys.exit(error.exit_code)
    except UserFacingError as error:
        _fail(" ".join(str(error).split()))
    except OSError as error:
        if error.errno == errno.ENOSPC and is_temporary_folder_full():
            _fail(str(temporary_folder_error("no space left on the disk")))
        _fail(
            f"{error.filename or 'the system'}: {error.strerror or error}; nothing was lost, "
            "correct this and run the same command again"
        )
    except Exception as error:
        if (known := explain_settings(error)) is None:
            raise
        _fail(str(known))
    finally:
        remove_own_folder()


def _fail(message: str) -> NoReturn:
    print(safe(f"error: {as_typed_here(message)}"), file=sys.stderr)
    leave(1)
