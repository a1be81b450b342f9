"""The commands that read the stores: status, digest, report, ui, audit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from itertools import groupby
from pathlib import Path

from mnist_study.cli.output import print_result, say, stderr_console
from mnist_study.core.config import ConfigError
from mnist_study.core.errors import UserFacingError
from mnist_study.core.home import Home
from mnist_study.deployment.champion import champion_document, champion_lines
from mnist_study.deployment.pages import Page, pages_of
from mnist_study.execution.audit import audit_home, audit_lines
from mnist_study.experiments.status import records_of, status_document, status_lines
from mnist_study.experiments.summary import digest_document, digest_line
from mnist_study.experiments.top import top_lines, top_rows
from mnist_study.tracking.endpoint import Endpoint
from mnist_study.tracking.summaries import Summary, log_summaries
from mnist_study.tracking.ui import serve_ui

WATCH_SECONDS = 2.0


def status(home_path: Path | None, study: str | None, watch: bool, as_json: bool) -> None:
    """Show progress, best so far, pace and time left of every study.

    Args:
        home_path: where the stores are.
        study: only this record.
        watch: print it again when it changes, until no command is writing to the home.
        as_json: print a JSON document each time.
    """
    shown: list[str] = []
    while True:
        with Home.at(home_path).to_read() as home:
            holder = home.holder
            documents = [status_document(history, holder) for history in records_of(home, study)]
            champions = champion_document(home)
        lines = [line for document in documents for line in status_lines(document)]
        lines += champion_lines(champions)
        if lines != shown:
            print_result([document | champions for document in documents], lines, as_json)
        if not watch or holder is None:
            return
        shown = lines
        time.sleep(WATCH_SECONDS)


def top(n: int, home_path: Path | None, study: str | None, as_json: bool) -> None:
    """List the best trials of a study.

    Raises:
        UserFacingError: there is not one study; `--study` names one of several.
    """
    with Home.at(home_path).to_read() as home:
        records = records_of(home, study)
        studies = records if study else [record for record in records if record.kind == "study"]
        if len(studies) != 1:
            names = ", ".join(record.name for record in records)
            raise UserFacingError(
                f"{home.path}: found {len(studies)} studies, expected one; name a record with "
                f"--study: {names}"
            )
    rows = top_rows(studies[0], n)
    print_result(rows, top_lines(studies[0], rows), as_json)


def digest(home_path: Path | None, study: str | None, as_json: bool) -> None:
    """Print each study's digest, and what it covers."""
    with Home.at(home_path).to_read() as home:
        documents = [digest_document(history) for history in records_of(home, study)]
    print_result(documents, [digest_line(document) for document in documents], as_json)


def report(home_path: Path | None, output: Path | None, study: str | None, as_json: bool) -> None:
    """Write the reports again, each record's into a folder and beside its run in MLflow.

    For a read-only home they are printed instead.

    Raises:
        UserFacingError: `output` is given and there is not exactly one report, or a record is
            unfinished; the reports of the others are written.
    """
    with Home.at(home_path).to_read() as home:
        _report(home, output, study, as_json)


def _report(home: Home, output: Path | None, study: str | None, as_json: bool) -> None:
    # The statistics and figures of all kinds take seconds to import.
    from mnist_study.experiments.reports import is_former, is_part, read_record
    from mnist_study.pages import REPORT, write_index

    histories = [h for h in records_of(home, study) if h.results]
    for former in filter(is_former, histories):
        say(
            stderr_console(),
            f"{former.name}: an ablation by an earlier version, with one recipe; its report stays "
            "as it was written",
        )
    histories = [h for h in histories if not is_former(h)]
    if output is not None:
        # A record that is reported with another one has no report of its own.
        histories = [h for h in histories if not is_part(h)]
        if len(histories) != 1:
            raise UserFacingError(
                f"--output: found {len(histories)} records in {home.path}, expected one; name it "
                "with --study, or leave --output out to write each into its own folder"
            )
    written: list[Path] = []
    printed: dict[str, str] = {}
    unfinished: list[str] = []
    summaries: list[Summary] = []
    for history in histories:
        folder = output or home.path / "reports" / history.name
        try:
            findings = read_record(history)
        except ConfigError as error:  # raised after the others are written
            unfinished.append(str(error))
            continue
        if output is None and home.is_read_only:
            printed[history.name] = findings.tables["README.md"]
            continue
        findings.write(folder)
        written += [folder / name for name in (REPORT, "README.md") if name in findings.tables][:1]
        logged = {n: c for n, c in findings.all_files.items() if n not in findings.files}
        summaries.append((history.mlflow_identity, logged))
    index = None if output is not None or home.is_read_only else write_index(home.path)
    if written or printed or not unfinished:
        _print_written(home, written, printed, index, as_json)
    if summaries and home.has_mlflow_store and not home.is_read_only:
        log_summaries(home, summaries)
    if unfinished:
        raise UserFacingError("; ".join(unfinished))


def _print_written(
    home: Home, written: list[Path], printed: dict[str, str], index: Path | None, as_json: bool
) -> None:
    """Print the paths of the reports, and the text of those that could not be written."""
    document = {
        "written": [str(path.parent) for path in written],
        "printed": printed,
        "index": None if index is None else str(index),
    }
    lines = [f"written: {path}" for path in (*written, index) if path is not None]
    for name, text in printed.items():
        lines += [f"not written, as {home.path} is read-only (see --output): {name}", "", text]
    print_result(document, lines, as_json)


def ui(home_path: Path | None, endpoint: Endpoint, as_json: bool) -> None:
    """Serve MLflow's UI until Ctrl-C; print the pages worth opening once it answers."""
    home = Home.at(home_path)

    def show(url: str, pages: list[Page]) -> None:
        document = {"url": url, "pages": [page.as_document(url) for page in pages]}
        print_result(document, ui_lines(url, pages), as_json)

    console = stderr_console()
    serve_ui(home, endpoint, partial(say, console), lambda: pages_of(home), show)


def ui_lines(url: str, pages: Sequence[Page]) -> list[str]:
    """Return the addresses as lines of text, those of a record below its name."""
    lines = [f"MLflow UI: {url}"]
    for subject, of_subject in groupby(pages, key=lambda page: page.subject):
        lines += [subject, *(f"  {page.shows}: {url}/{page.path}" for page in of_subject)]
    return lines


def audit(home_path: Path | None, repair: bool, as_json: bool) -> None:
    """Audit every study of a home.

    Raises:
        UserFacingError: the stores are inconsistent.
    """
    with Home.at(home_path).to_read() as home:
        audits = audit_home(home, repair=repair)
    documents = [audit.as_document() for audit in audits]
    print_result(documents, [line for audit in audits for line in audit_lines(audit)], as_json)
    n_found = sum(len(audit.findings) for audit in audits)
    if n_found:
        count = "1 inconsistency" if n_found == 1 else f"{n_found} inconsistencies"
        advice = (
            "no command can repair these"
            if repair
            else "`audit --repair` repairs those that a killed driver left behind"
        )
        raise UserFacingError(f"audit found {count}; {advice}")
