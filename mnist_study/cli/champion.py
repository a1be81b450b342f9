"""The commands about the champion: promote, rollback, serve, predict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mnist_study.cli.options import DataOption, DatasetOption, HomeOption, JsonOption
from mnist_study.cli.output import print_result, stderr_console
from mnist_study.cli.preparation import command_text, storable
from mnist_study.core.errors import UserFacingError


def promote(
    run: Annotated[
        str | None,
        typer.Option(
            metavar="RUN_ID", help="Model of this MLflow run (default: the confirmed winner)."
        ),
    ] = None,
    force: Annotated[
        str | None,
        typer.Option(metavar="REASON", help="Override a refusal of the gate; kept on record."),
    ] = None,
    data: DataOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a model champion: checked, measured once on the test set, compared, served."""
    from mnist_study.cli.progress import say
    from mnist_study.core.home import Home
    from mnist_study.deployment.promotion import PromoteOptions
    from mnist_study.deployment.promotion import promote as promote_model

    if force is not None and not force.strip():
        raise UserFacingError("--force: found no reason, expected one in words; it is kept")
    console = stderr_console()
    reason = None if force is None else storable(force)
    options = PromoteOptions(Home.at(home), command_text(), run_id=run, force=reason, data_dir=data)
    outcome = promote_model(options, lambda text: say(console, text))
    print_result(outcome.document, outcome.lines, as_json)


def rollback(
    dataset: DatasetOption = "auto", home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Make the champion before the present one champion again."""
    from mnist_study.core.home import Home
    from mnist_study.deployment.champion import registry_of
    from mnist_study.deployment.promotion import rollback as roll_back

    place = Home.at(home)
    outcome = roll_back(place, command_text(), registry_of(place, dataset))
    print_result(outcome.document, outcome.lines, as_json)


def serve(
    port: Annotated[
        int,
        typer.Option(min=0, max=65535, metavar="N", help="Port to serve at; 0 takes a free one."),
    ] = 5001,
    dataset: DatasetOption = "auto",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Serve the champion with MLflow's scoring server on 127.0.0.1 until Ctrl-C."""
    from mnist_study.cli.progress import say
    from mnist_study.core.home import Home
    from mnist_study.deployment.champion import serve_champion

    console = stderr_console()
    serve_champion(
        Home.at(home),
        dataset,
        port,
        lambda text: say(console, text),
        lambda document, lines: print_result(document, lines, as_json),
    )


def predict(
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="PNG or JPEG files, a digit in each.")
    ],
    show: Annotated[
        bool, typer.Option("--show", help="Write what the network saw to ./predicted.png.")
    ] = False,
    dataset: DatasetOption = "auto",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Name the digit in each image, with its probability and the runner-up."""
    from mnist_study.cli.progress import say
    from mnist_study.core.home import Home
    from mnist_study.deployment.champion import predict_files

    console = stderr_console()
    picture = Path("predicted.png") if show else None
    found = predict_files(Home.at(home), dataset, images, picture, lambda t: say(console, t))
    print_result(
        [answer.as_document() for answer in found], [str(answer) for answer in found], as_json
    )
    if picture is not None:
        say(console, f"what the network saw: {picture}")
