"""The commands about the champion: promote, rollback, serve, predict."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import typer

from mnist_study.cli.invocation import command_text, storable
from mnist_study.cli.output import print_result, say, stderr_console
from mnist_study.core.errors import UserFacingError
from mnist_study.core.home import Home
from mnist_study.core.paths import expanded
from mnist_study.deployment import promotion
from mnist_study.deployment.champion import registry_of, serve_champion
from mnist_study.deployment.predicting import predict_files
from mnist_study.tracking.endpoint import Endpoint


def promote(
    run_id: str | None,
    trial: int | None,
    force: str | None,
    data_dir: Path | None,
    home_path: Path | None,
    as_json: bool,
) -> None:
    """Make a model champion.

    Args:
        run_id: whose model; None takes the confirmed winner.
        trial: number of the configuration in the winner's place; None takes the winner.
        force: why a rejection by the gate is overridden; None does not.
        data_dir: folder with MNIST.
        home_path: where the stores are.
        as_json: print a JSON document.
    """
    if run_id is not None and trial is not None:
        raise UserFacingError(
            "--run and --trial: found both, expected one of them; each names a model"
        )
    if force is not None and not force.strip():
        raise UserFacingError(
            "--force: found an empty reason, expected words; the reason is kept on record"
        )
    options = promotion.PromoteOptions(
        Home.at(home_path),
        command_text(),
        run_id=run_id,
        trial=trial,
        home_given=home_path,
        force=None if force is None else storable(force),
        data_dir=data_dir,
    )
    result = promotion.promote(options, partial(say, stderr_console()))
    print_result(result.document, result.lines, as_json)


def rollback(dataset: str, home_path: Path | None, as_json: bool) -> None:
    """Make the previous champion champion again."""
    home = Home.at(home_path)
    result = promotion.rollback(home, command_text(), registry_of(home, dataset))
    print_result(result.document, result.lines, as_json)


def serve(endpoint: Endpoint, dataset: str, home_path: Path | None, as_json: bool) -> None:
    """Serve the champion until Ctrl-C."""
    serve_champion(
        Home.at(home_path),
        dataset,
        endpoint,
        partial(say, stderr_console()),
        lambda document, lines: print_result(document, lines, as_json),
    )


def predict(
    images: list[Path],
    show: bool,
    output: Path | None,
    dataset: str,
    home_path: Path | None,
    as_json: bool,
) -> None:
    """Name the digits in each image.

    Args:
        images: picture files.
        show: write what the network saw of each.
        output: folder for that, which implies `show`; None takes the present one.
        dataset: whose champion.
        home_path: where the stores are.
        as_json: print a JSON document.
    """
    console = stderr_console()
    folder = expanded(output) if output is not None else Path() if show else None
    files = [expanded(image) for image in images]
    found = predict_files(Home.at(home_path), dataset, files, folder, partial(say, console))
    if found.answers or as_json:
        print_result(
            [answer.as_document() for answer in found.answers],
            [str(answer) for answer in found.answers],
            as_json,
        )
    for path in found.shown:
        say(console, f"what the network saw: {path}")
    for error in found.errors:
        say(console, f"error: {' '.join(str(error).split())}")
    if found.errors:
        raise typer.Exit(1)
