"""The command line: `mnist-study COMMAND`. Heavy imports wait until a command needs them."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from mnist_study.errors import UserFacingError
from mnist_study.stopping import Stopped, leave, stop_on_signals

if TYPE_CHECKING:
    from rich.console import Console

    from mnist_study.config import ExperimentConfig
    from mnist_study.data import TrainingSet
    from mnist_study.runner import Outcome, RunOptions

app = typer.Typer(
    name="mnist-study",
    help="A study around one documented MNIST network, the same to the last bit however it is run.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # Plain help: no escape codes anywhere, and half the time of a framed one.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

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


def _console() -> Console:
    """Return the console of messages: stderr, so that stdout carries results alone."""
    from rich.console import Console

    return Console(stderr=True)


def _print(document: dict[str, Any] | list[Any], lines: list[str], as_json: bool) -> None:
    print(json.dumps(document, indent=2) if as_json else "\n".join(lines), flush=True)


def _load_data(
    console: Console, dataset: Literal["auto", "mnist", "digits"], data: Path | None
) -> TrainingSet:
    """Load the training images, and say which they are."""
    from mnist_study.data import load_training_set
    from mnist_study.live import say

    training_set = load_training_set(dataset, data)
    say(console, f"data: {training_set.source}")
    if training_set.dataset == "digits":
        say(
            console,
            "WARNING: this is the handwritten-digits stand-in, not MNIST; nothing it shows is a "
            "result about MNIST",
        )
    return training_set


def _fitted(
    experiment: ExperimentConfig, training_set: TrainingSet, console: Console
) -> ExperimentConfig:
    """Return the experiment with as many validation rows as the data can give."""
    from mnist_study.data import validation_rows
    from mnist_study.live import say

    wanted = experiment.data.validation_size
    n_rows = validation_rows(wanted, training_set)
    if n_rows == wanted:
        return experiment
    say(
        console,
        f"validation: {n_rows} of the stand-in's {len(training_set.labels):,} rows, in place of "
        f"{wanted:,} of MNIST's",
    )
    settings = experiment.data.model_copy(update={"validation_size": n_rows})
    return experiment.model_copy(update={"data": settings})


def _options(
    home: Path | None, workers: int | None, cluster: str | None, allow_mixed: bool
) -> RunOptions:
    """Gather what the command line decides about a run."""
    from mnist_study.home import Home
    from mnist_study.runner import RunOptions

    return RunOptions(
        home=Home.at(home),
        command=_command(),
        n_workers=workers or os.cpu_count() or 1,
        cluster_address=cluster,
        allow_mixed=allow_mixed,
    )


@app.command()
def study(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Experiment file.")] = Path(
        "experiments/study.toml"
    ),
    trials: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1_000_000,
            metavar="N",
            help="Number of trials in all, those done before included (default: the file's).",
        ),
    ] = None,
    workers: WorkersOption = None,
    seed: SeedOption = None,
    dataset: DatasetOption = "auto",
    data: DataOption = None,
    cluster: ClusterOption = None,
    allow_mixed: MixedOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run or resume the study in FILE."""
    from mnist_study.config import ConfigError, load_experiment, with_overrides
    from mnist_study.live import say, study_view

    experiment = with_overrides(load_experiment(file), n_trials=trials, seed=seed)
    search = experiment.study
    if search is None:
        raise ConfigError(
            f"{file}: no [study] table, so there is nothing to search; take a file that has one, "
            "such as experiments/study.toml"
        )
    console = _console()
    if workers and not cluster and workers > search.in_flight / 2:
        say(
            console,
            f"note: {workers} workers with in_flight {search.in_flight}: more than half "
            "of it will often wait; in_flight is fixed for the life of a study",
        )
    training_set = _load_data(console, dataset, data)
    experiment = _fitted(experiment, training_set, console)
    from mnist_study.runner import conduct
    from mnist_study.study_job import study_job

    options = _options(home, workers, cluster, allow_mixed)
    say(console, f"home: {options.home.path}")
    n_trials = search.n_trials
    try:
        job = study_job(experiment, file.read_text(encoding="utf-8"), training_set)
    except UserFacingError as error:
        raise ConfigError(f"{file}: {error}") from error
    outcome = conduct(
        job, training_set, options, lambda results: study_view(console, n_trials, results)
    )
    _print_outcome(outcome, home, as_json)


def _print_outcome(outcome: Outcome, home: Path | None, as_json: bool) -> None:
    """Say what was found, where it is written and what to type next."""
    from mnist_study.live import duration
    from mnist_study.report import digest_document, state_counts

    document = digest_document(outcome.history)
    counts = state_counts(outcome.history.results)
    states = ", ".join(f"{n} {state}" for state, n in counts.items() if n)
    took = f", trained in {duration(outcome.times.total)}" if outcome.times.total else ""
    there = f" --home {home}" if home else ""
    lines = [
        *outcome.findings.lines,
        f"{document['n_trials']} trials ({states}){took}; digest {document['digest'][:16]}…",
        f"Report: {outcome.report_folder / 'README.md'}",
        f"Next: `mnist-study ui{there}` to look at the runs and their curves.",
    ]
    report = {"report": str(outcome.report_folder), "train_seconds": outcome.times.total}
    found = {"findings": outcome.findings.lines, "states": counts}
    _print({**document, **found, **report}, lines, as_json)


@app.command()
def baseline(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Experiment file.")] = Path(
        "experiments/baseline.toml"
    ),
    seeds: Annotated[
        int | None,
        typer.Option(
            min=2,
            max=100_000,
            metavar="N",
            help="Number of runs in all, one a seed (default: the file's, else 30).",
        ),
    ] = None,
    workers: WorkersOption = None,
    dataset: DatasetOption = "auto",
    data: DataOption = None,
    cluster: ClusterOption = None,
    allow_mixed: MixedOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train the documented network over N seeds; reads the test set once a run."""
    from mnist_study.baseline import baseline_job
    from mnist_study.config import load_experiment
    from mnist_study.data import load_test_set
    from mnist_study.live import study_view
    from mnist_study.runner import conduct

    experiment = load_experiment(file)
    n_seeds = seeds or experiment.n_seeds or 30
    console = _console()
    training_set = _load_data(console, dataset, data)
    experiment = _fitted(experiment, training_set, console)
    test_set = load_test_set(training_set.dataset, data)
    job = baseline_job(
        experiment, file.read_text(encoding="utf-8"), training_set, test_set, n_seeds
    )
    options = _options(home, workers, cluster, allow_mixed)
    outcome = conduct(
        job, training_set, options, lambda results: study_view(console, n_seeds, results)
    )
    _print_outcome(outcome, home, as_json)


@app.command()
def confirm(
    top: Annotated[
        int,
        typer.Option(min=1, max=1000, metavar="K", help="How many of the best configurations."),
    ] = 5,
    seeds: Annotated[
        int,
        typer.Option(
            min=2, max=100_000, metavar="N", help="Fresh seeds and splits for each of them."
        ),
    ] = 10,
    workers: WorkersOption = None,
    dataset: DatasetOption = "auto",
    data: DataOption = None,
    cluster: ClusterOption = None,
    allow_mixed: MixedOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train the K best configurations and the baseline with fresh seeds."""
    from mnist_study.confirm import confirm_job
    from mnist_study.history import History
    from mnist_study.live import study_view
    from mnist_study.runner import conduct

    options = _options(home, workers, cluster, allow_mixed)
    studies = [h for h in History.open_all(options.home.storage_url) if h.kind == "study"]
    if len(studies) != 1:
        names = ", ".join(h.name for h in studies) or "none"
        raise UserFacingError(
            f"{options.home.path} holds {len(studies)} studies ({names}), expected one to confirm; "
            "give the --home that holds just that"
        )
    console = _console()
    training_set = _load_data(console, dataset, data)
    job = confirm_job(studies[0], training_set, top=top, n_seeds=seeds)
    outcome = conduct(
        job, training_set, options, lambda results: study_view(console, job.n_trials, results)
    )
    _print_outcome(outcome, home, as_json)


@app.command()
def ablation(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Experiment file.")] = Path(
        "experiments/ablation.toml"
    ),
    seeds: Annotated[
        int | None,
        typer.Option(
            min=2,
            max=10_000,
            metavar="N",
            help="Seeds of every cell, each crossed with all splits (default: the file's).",
        ),
    ] = None,
    workers: WorkersOption = None,
    dataset: DatasetOption = "auto",
    data: DataOption = None,
    cluster: ClusterOption = None,
    allow_mixed: MixedOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find out what each part of the regularization does, and how sure that is."""
    from mnist_study.ablation.config import load_ablation
    from mnist_study.ablation.power import power_line
    from mnist_study.ablation.runner import run_ablation
    from mnist_study.data import load_test_set
    from mnist_study.live import say, study_view

    settings = load_ablation(file).with_seeds(seeds)
    console = _console()
    say(console, power_line(settings))
    training_set = _load_data(console, dataset, data)
    test_set = load_test_set(training_set.dataset, data)
    outcome = run_ablation(
        settings,
        file.read_text(encoding="utf-8"),
        training_set,
        test_set,
        _options(home, workers, cluster, allow_mixed),
        lambda job, results: study_view(console, job.n_trials, results),
    )
    _print_outcome(outcome, home, as_json)


@app.command()
def status(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show progress, best so far, pace and time left."""
    from mnist_study.champion_status import champion_document, champion_lines
    from mnist_study.history import History
    from mnist_study.home import Home
    from mnist_study.status import status_document, status_lines

    place = Home.at(home)
    histories = History.open_all(place.storage_url)
    documents = [status_document(history, place.holder) for history in histories]
    lines = [line for document in documents for line in status_lines(document)]
    served = champion_document(place)
    _print([d | served for d in documents], [*lines, *champion_lines(served)], as_json)


@app.command()
def digest(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Print each study's digest, and its trials."""
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
        Path | None,
        typer.Option(metavar="DIR", help="Folder to write to (default: HOME/reports/STUDY)."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the reports again, from the stores."""
    from mnist_study.history import History
    from mnist_study.home import Home
    from mnist_study.readers import is_part, read_record

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
    folders = []
    for history in histories:
        folder = output or place.path / "reports" / history.name
        read_record(history).write(folder)
        folders.append(str(folder))
    _print({"written": folders}, [f"written: {folder}" for folder in folders], as_json)


@app.command()
def ui(
    home: HomeOption = None,
    port: Annotated[
        int,
        typer.Option(min=0, max=65535, metavar="N", help="Port to serve at; 0 takes a free one."),
    ] = 5000,
    as_json: JsonOption = False,
) -> None:
    """Serve MLflow's UI on 127.0.0.1 until Ctrl-C."""
    from mnist_study.home import Home
    from mnist_study.ui import serve_ui

    serve_ui(Home.at(home), port, lambda url: _print({"url": url}, [f"MLflow UI: {url}"], as_json))


@app.command()
def audit(
    repair: Annotated[
        bool, typer.Option("--repair", help="Put right what a killed driver left behind.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Prove from the stores that runs, models and history agree; exit 1 if they do not."""
    from mnist_study.audit import audit_home, audit_lines
    from mnist_study.home import Home

    audits = audit_home(Home.at(home), repair=repair)
    documents = [audit.as_document() for audit in audits]
    _print(documents, [line for audit in audits for line in audit_lines(audit)], as_json)
    broken = sum(len(audit.findings) for audit in audits)
    if broken:
        advice = "no command can put these right" if repair else "`audit --repair` puts right what"
        raise UserFacingError(
            f"{broken} findings, expected none; {advice}"
            + ("" if repair else " a killed driver left behind")
        )


@app.command()
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
    from mnist_study.home import Home
    from mnist_study.live import say
    from mnist_study.promotion import PromoteOptions
    from mnist_study.promotion import promote as promote_model

    if force is not None and not force.strip():
        raise UserFacingError("--force: found no reason, expected one in words; it is kept")
    console = _console()
    options = PromoteOptions(Home.at(home), _command(), run_id=run, force=force, data_dir=data)
    outcome = promote_model(options, lambda text: say(console, text))
    _print(outcome.document, outcome.lines, as_json)


@app.command()
def rollback(
    dataset: DatasetOption = "auto", home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Make the champion before the present one champion again."""
    from mnist_study.champion import registry_of
    from mnist_study.home import Home
    from mnist_study.rollback import rollback as roll_back

    place = Home.at(home)
    outcome = roll_back(place, _command(), registry_of(place, dataset))
    _print(outcome.document, outcome.lines, as_json)


@app.command()
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
    from mnist_study.champion import serve_champion
    from mnist_study.home import Home
    from mnist_study.live import say

    console = _console()
    serve_champion(
        Home.at(home),
        dataset,
        port,
        lambda text: say(console, text),
        lambda document, lines: _print(document, lines, as_json),
    )


@app.command()
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
    from mnist_study.champion import predict_files
    from mnist_study.home import Home
    from mnist_study.live import say

    console = _console()
    picture = Path("predicted.png") if show else None
    found = predict_files(Home.at(home), dataset, images, picture, lambda t: say(console, t))
    _print([answer.as_document() for answer in found], [str(answer) for answer in found], as_json)
    if picture is not None:
        say(console, f"what the network saw: {picture}")


def _command() -> str:
    return " ".join(["mnist-study", *sys.argv[1:]])


def main() -> None:
    """Run the command line; the entry point of `mnist-study`."""
    stop_on_signals()
    try:
        app(prog_name="mnist-study")
    except UserFacingError as error:
        _fail(" ".join(str(error).split()))
    except OSError as error:
        _fail(
            f"{error.filename or 'the system'}: {error.strerror or error}; nothing was lost, "
            "put it right and run the same command again"
        )
    except Stopped as stopped:
        print(f"stopped{stopped.standing}", file=sys.stderr)
        leave(stopped.status)


def _fail(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    leave(1)


if __name__ == "__main__":
    main()
