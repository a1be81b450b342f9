"""The command line: `mnist-study COMMAND`. Heavy imports wait until a command needs them."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnist_study.errors import UserFacingError

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(
    name="mnist-study",
    help="A study around one documented MNIST network, the same to the last bit however it is run.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

HomeOption = Annotated[
    Path | None,
    typer.Option("--home", help="Folder of the stores (default MNIST_STUDY_HOME, else mlruns)."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
WorkersOption = Annotated[
    int | None,
    typer.Option(min=1, help="Local worker processes, one core each (default: all cores)."),
]
ClusterOption = Annotated[
    str | None,
    typer.Option(help="Address of a running Dask scheduler, such as tcp://host:8786."),
]


def _console() -> Console:
    """Return the console of messages: stderr, so that stdout carries results alone."""
    from rich.console import Console

    return Console(stderr=True)


def _print(document: dict[str, Any] | list[Any], lines: list[str], as_json: bool) -> None:
    print(json.dumps(document, indent=2) if as_json else "\n".join(lines))


@app.command()
def study(
    file: Annotated[Path, typer.Argument(help="Experiment file.", show_default=True)] = Path(
        "experiments/study.toml"
    ),
    trials: Annotated[
        int | None, typer.Option(min=1, help="Number of trials (default: the file's).")
    ] = None,
    workers: WorkersOption = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of the study (default: the file's).")
    ] = None,
    dataset: Annotated[
        str, typer.Option(help="auto, mnist or digits; auto takes digits if MNIST is out of reach.")
    ] = "auto",
    data: Annotated[
        Path | None, typer.Option(help="Folder with MNIST (default MNIST_STUDY_DATA).")
    ] = None,
    cluster: ClusterOption = None,
    allow_mixed: Annotated[
        bool, typer.Option("--allow-mixed", help="Resume a study begun with other settings.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run or resume the study in FILE."""
    from mnist_study.config import load_experiment, with_overrides
    from mnist_study.live import duration, study_view

    experiment = with_overrides(load_experiment(file), n_trials=trials, seed=seed)
    if dataset not in ("auto", "mnist", "digits"):
        raise typer.BadParameter(f"{dataset!r}; expected auto, mnist or digits")
    console = _console()
    if experiment.study is not None and workers and workers > experiment.study.in_flight / 2:
        _say(
            console,
            f"note: {workers} workers with in_flight {experiment.study.in_flight}: more than half "
            "of it will often wait; in_flight is fixed for the life of a study",
        )
    from mnist_study.data import load_training_set
    from mnist_study.home import Home
    from mnist_study.runner import RunOptions, conduct
    from mnist_study.study_job import study_job

    training_set = load_training_set(dataset, data)  # type: ignore[arg-type]
    _say(console, f"data: {training_set.source}")
    if training_set.dataset == "digits":
        _say(
            console,
            "WARNING: this is the handwritten-digits stand-in, not MNIST; nothing it shows is a "
            "result about MNIST",
        )
    options = RunOptions(
        home=Home.at(home),
        command=_command(),
        n_workers=workers or os.cpu_count() or 1,
        cluster_address=cluster,
        allow_mixed=allow_mixed,
    )
    where = cluster or f"{options.n_workers} worker processes"
    _say(console, f"home: {options.home.path}; starting {where} (TensorFlow takes a few seconds)")
    n_trials = experiment.study.n_trials if experiment.study else 0
    outcome = conduct(
        study_job(experiment, file.read_text(encoding="utf-8"), training_set),
        training_set,
        options,
        lambda results: study_view(console, n_trials, results),
    )
    from mnist_study.report import digest_document, state_counts

    document = digest_document(outcome.history)
    counts = state_counts(outcome.history.results)
    lines = [
        *outcome.findings.lines,
        f"Trials: {', '.join(f'{n} {state}' for state, n in counts.items())}; "
        f"{duration(outcome.times.total)}. Digest {document['digest'][:16]}…",
        f"Report: {outcome.report_folder / 'README.md'}",
        "Next: `mnist-study ui` to compare the runs, `mnist-study status`, `mnist-study digest`.",
    ]
    _print({**document, "findings": outcome.findings.lines, "states": counts}, lines, as_json)


@app.command()
def status(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show progress, best so far, pace and remaining time, from the stores alone."""
    from mnist_study.history import History
    from mnist_study.home import Home
    from mnist_study.status import status_document, status_lines

    histories = History.open_all(Home.at(home).storage_url)
    documents = [status_document(history) for history in histories]
    _print(documents, [line for d in documents for line in status_lines(d)], as_json)


@app.command()
def digest(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Print the digest of each study here, and how many trials it covers."""
    from mnist_study.history import History
    from mnist_study.home import Home
    from mnist_study.report import digest_document

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
    _print(documents, lines, as_json)


@app.command()
def report(
    home: HomeOption = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder to write to (default HOME/reports/STUDY).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the report of each study here again, from the stores."""
    from mnist_study.history import History
    from mnist_study.home import Home
    from mnist_study.study_job import read_study

    place = Home.at(home)
    histories = [h for h in History.open_all(place.storage_url) if h.results]
    if output is not None and len(histories) != 1:
        raise UserFacingError(
            f"--output: {len(histories)} studies with trials in {place.path}, expected one; "
            "leave --output out to write each into its own folder"
        )
    folders = []
    for history in histories:
        folder = output or place.path / "reports" / history.name
        read_study(history).write(folder)
        folders.append(str(folder))
    _print({"written": folders}, [f"written: {folder}" for folder in folders], as_json)


@app.command()
def ui(
    home: HomeOption = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 5000,
    as_json: JsonOption = False,
) -> None:
    """Serve MLflow's UI on the study's stores on 127.0.0.1 until Ctrl-C."""
    from mnist_study.home import Home
    from mnist_study.ui import serve_ui

    serve_ui(Home.at(home), port, lambda url: _print({"url": url}, [f"MLflow UI: {url}"], as_json))


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _command() -> str:
    return " ".join(["mnist-study", *sys.argv[1:]])


def main() -> None:
    """Run the command line; the entry point of `mnist-study`."""
    try:
        app(standalone_mode=True)
    except UserFacingError as error:
        _fail(" ".join(str(error).split()))
    except OSError as error:
        _fail(
            f"{error.filename or 'the system'}: {error.strerror or error}; nothing was lost, "
            "put it right and run the same command again"
        )
    except KeyboardInterrupt:
        _stop("stopped; what had finished is stored, the same command resumes")


def _fail(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    _exit(1)


def _stop(message: str) -> None:
    print(f"\n{message}", file=sys.stderr)
    _exit(130)


def _exit(status: int) -> None:
    """Leave without Dask's orderly shutdown, which takes seconds and prints tracebacks."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
