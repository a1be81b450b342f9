"""The commands: their arguments, options and help.

Each imports the module that does its work when it is called, so that `--help` stays fast.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mnist_study.cli.options import (
    AllowedHostsOption,
    DataOption,
    DatasetOption,
    HomeOption,
    HostOption,
    JsonOption,
    StudyOption,
    TrainingOptions,
    WorkersOption,
    with_training_options,
)


@with_training_options
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
            help="Total number of trials, including finished ones (default: the file's).",
        ),
    ] = None,
    workers: WorkersOption = None,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=2**31 - 1,
            metavar="N",
            help="Seed of every random draw (default: the file's).",
        ),
    ] = None,
    retry_failed: Annotated[
        bool,
        typer.Option(
            "--retry-failed",
            help="Run the trials again that failed for another reason than a diverged loss, and "
            "all trials after the first of them, which may depend on it.",
        ),
    ] = False,
    *,
    shared: TrainingOptions,
) -> None:
    """Run or resume the study in FILE."""
    from mnist_study.cli import running

    running.study(file, trials, workers, seed, retry_failed, shared)


@with_training_options
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
            help="Total number of runs, one per seed (default: the file's, else 30).",
        ),
    ] = None,
    workers: WorkersOption = None,
    *,
    shared: TrainingOptions,
) -> None:
    """Train the documented network over N seeds; reads the test set once per run."""
    from mnist_study.cli import running

    running.baseline(file, seeds, workers, shared)


@with_training_options
def confirm(
    top: Annotated[
        int,
        typer.Option(min=1, max=1000, metavar="K", help="Candidates: the best configurations."),
    ] = 6,
    screening_seeds: Annotated[
        int,
        typer.Option(
            min=1, max=1000, metavar="N", help="Fresh seeds and splits for each candidate."
        ),
    ] = 8,
    finalists: Annotated[
        int,
        typer.Option(
            min=1, max=1000, metavar="K", help="Candidates that go on to the second stage."
        ),
    ] = 3,
    seeds: Annotated[
        int,
        typer.Option(
            max=100_000,
            metavar="N",
            help="Other fresh seeds and splits for each finalist and the documented network, 10 or "
            "more.",
        ),
    ] = 30,
    study: StudyOption = None,
    workers: WorkersOption = None,
    *,
    shared: TrainingOptions,
) -> None:
    """Retrain the best configurations and the documented network with fresh seeds."""
    from mnist_study.cli import running

    running.confirm(top, screening_seeds, finalists, seeds, study, workers, shared)


@with_training_options
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
            help="Seeds of each execution, in every cell (default: the file's).",
        ),
    ] = None,
    workers: WorkersOption = None,
    *,
    shared: TrainingOptions,
) -> None:
    """Measure the effect of each part of the regularization, with its uncertainty."""
    from mnist_study.cli import running

    running.ablation(file, seeds, workers, shared)


def status(
    watch: Annotated[
        bool, typer.Option("--watch", help="Print it again when it changes, until all is done.")
    ] = False,
    study: StudyOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show progress, best so far, pace and time left."""
    from mnist_study.cli import reading

    reading.status(home, study, watch, as_json)


def top(
    n: Annotated[int, typer.Argument(metavar="N", min=1, help="How many.")] = 10,
    study: StudyOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the N best trials of a study, with their parameters and MLflow runs."""
    from mnist_study.cli import reading

    reading.top(n, home, study, as_json)


def digest(study: StudyOption = None, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Print each study's digest, and its trials."""
    from mnist_study.cli import reading

    reading.digest(home, study, as_json)


def report(
    home: HomeOption = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder to write to (default: HOME/reports/STUDY)."),
    ] = None,
    study: StudyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the reports again, from the stores."""
    from mnist_study.cli import reading

    reading.report(home, output, study, as_json)


def ui(
    home: HomeOption = None,
    port: Annotated[
        int,
        typer.Option(min=0, max=65535, metavar="N", help="Port to serve at; 0 takes a free one."),
    ] = 5000,
    host: HostOption = "127.0.0.1",
    allowed_hosts: AllowedHostsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Serve MLflow's UI on 127.0.0.1 until Ctrl-C."""
    from mnist_study.cli import reading
    from mnist_study.tracking.endpoint import Endpoint

    reading.ui(home, Endpoint.parse(port, host, allowed_hosts), as_json)


def audit(
    repair: Annotated[
        bool, typer.Option("--repair", help="Repair what a killed driver left behind.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check that runs, models and history in the stores agree; exit status 1 if they do not."""
    from mnist_study.cli import reading

    reading.audit(home, repair, as_json)


def promote(
    run: Annotated[
        str | None,
        typer.Option(
            metavar="RUN_ID", help="Model of this MLflow run (default: the confirmed winner)."
        ),
    ] = None,
    trial: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="This configuration of the confirmation, trained on all rows, in the winner's "
            "place.",
        ),
    ] = None,
    force: Annotated[
        str | None,
        typer.Option(
            metavar="REASON", help="Override a rejection by the gate; the reason is kept on record."
        ),
    ] = None,
    data: DataOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a model champion: check it, measure it once on the test set, compare, serve."""
    from mnist_study.cli import champion

    champion.promote(run, trial, force, data, home, as_json)


def rollback(
    dataset: DatasetOption = "auto", home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Make the previous champion champion again."""
    from mnist_study.cli import champion

    champion.rollback(dataset, home, as_json)


def serve(
    port: Annotated[
        int,
        typer.Option(min=0, max=65535, metavar="N", help="Port to serve at; 0 takes a free one."),
    ] = 5001,
    host: HostOption = "127.0.0.1",
    allowed_hosts: AllowedHostsOption = None,
    dataset: DatasetOption = "auto",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Serve the champion with MLflow's scoring server on 127.0.0.1 until Ctrl-C."""
    from mnist_study.cli import champion
    from mnist_study.tracking.endpoint import Endpoint

    champion.serve(Endpoint.parse(port, host, allowed_hosts), dataset, home, as_json)


def predict(
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE...", help="PNG, JPEG, WebP, GIF, BMP or TIFF files, digits in each."
        ),
    ],
    show: Annotated[
        bool, typer.Option("--show", help="Draw the network's input in ./NAME-seen.png.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for these figures (implies --show)."),
    ] = None,
    dataset: DatasetOption = "auto",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Classify the digits in each image, with probability, runner-up and warnings."""
    from mnist_study.cli import champion

    champion.predict(images, show, output, dataset, home, as_json)


home_app = typer.Typer(
    name="home",
    help="Move the stores of a home: repair, export, import.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_Archive = Annotated[Path, typer.Argument(metavar="FILE", help="Archive, such as home.tar.gz.")]


@home_app.command("repair")
def home_repair(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Correct the paths stored in a moved or copied home; every command does so itself."""
    from mnist_study.cli import homes

    homes.repair(home, as_json)


@home_app.command("export")
def home_export(file: _Archive, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Pack a home into one archive."""
    from mnist_study.cli import homes

    homes.export(file, home, as_json)


@home_app.command("import")
def home_import(file: _Archive, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Unpack an archive into a new home, and audit it."""
    from mnist_study.cli import homes

    homes.bring_back(file, home, as_json)
