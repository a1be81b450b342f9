"""The commands that read the stores: status, digest, report, ui, audit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mnist_study.cli.options import HomeOption, JsonOption
from mnist_study.cli.output import print_result
from mnist_study.core.errors import UserFacingError


def status(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show progress, best so far, pace and time left."""
    from mnist_study.core.home import Home
    from mnist_study.deployment.champion import champion_document, champion_lines
    from mnist_study.experiments.status import status_document, status_lines
    from mnist_study.search.history import History

    place = Home.at(home)
    histories = History.open_all(place.storage_url)
    documents = [status_document(history, place.holder) for history in histories]
    lines = [line for document in documents for line in status_lines(document)]
    served = champion_document(place)
    print_result([d | served for d in documents], [*lines, *champion_lines(served)], as_json)


def digest(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Print each study's digest, and its trials."""
    from mnist_study.core.home import Home
    from mnist_study.experiments.summary import digest_document
    from mnist_study.search.history import History

    documents = [digest_document(h) for h in History.open_all(Home.at(home).storage_url)]
    lines = []
    for document in documents:
        outside = ""
        if document["worker_lost"]:
            outside = f"; worker-lost, outside the promise: {document['worker_lost']}"
        if document["mixed_identities"]:
            outside += "; mixed identities, bit-identity was given up"
        lines.append(
            f"{document['digest']}  {document['study']}  {document['n_trials']} trials{outside}"
        )
    print_result(documents, lines, as_json)


def report(
    home: HomeOption = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder to write to (default: HOME/reports/STUDY)."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the reports again, from the stores."""
    from mnist_study.core.config import ConfigError
    from mnist_study.core.home import Home
    from mnist_study.experiments.reports import is_part, read_record
    from mnist_study.search.history import History

    place = Home.at(home)
    histories = [h for h in History.open_all(place.storage_url) if h.results]
    if output is not None:
        # What is reported with another record has no report of its own to be written there.
        histories = [h for h in histories if not is_part(h)]
        if len(histories) != 1:
            raise UserFacingError(
                f"--output: {len(histories)} studies with trials in {place.path}, expected one; "
                "leave --output out to write each into its own folder"
            )
    folders, unfinished = [], []
    for history in histories:
        folder = output or place.path / "reports" / history.name
        try:
            found = read_record(history)
        except ConfigError as error:  # told when the others are written
            unfinished.append(str(error))
            continue
        found.write(folder)
        folders.append(str(folder))
    if folders or not unfinished:
        print_result({"written": folders}, [f"written: {folder}" for folder in folders], as_json)
    if unfinished:
        raise UserFacingError("; ".join(unfinished))


def ui(
    home: HomeOption = None,
    port: Annotated[
        int,
        typer.Option(min=0, max=65535, metavar="N", help="Port to serve at; 0 takes a free one."),
    ] = 5000,
    as_json: JsonOption = False,
) -> None:
    """Serve MLflow's UI on 127.0.0.1 until Ctrl-C."""
    from mnist_study.core.home import Home
    from mnist_study.tracking.ui import serve_ui

    serve_ui(
        Home.at(home), port, lambda url: print_result({"url": url}, [f"MLflow UI: {url}"], as_json)
    )


def audit(
    repair: Annotated[
        bool, typer.Option("--repair", help="Put right what a killed driver left behind.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Prove from the stores that runs, models and history agree; exit 1 if they do not."""
    from mnist_study.core.home import Home
    from mnist_study.execution.audit import audit_home, audit_lines

    audits = audit_home(Home.at(home), repair=repair)
    documents = [audit.as_document() for audit in audits]
    print_result(documents, [line for audit in audits for line in audit_lines(audit)], as_json)
    broken = sum(len(audit.findings) for audit in audits)
    if broken:
        advice = "no command can put these right" if repair else "`audit --repair` puts right what"
        raise UserFacingError(
            f"{broken} findings, expected none; {advice}"
            + ("" if repair else " a killed driver left behind")
        )
