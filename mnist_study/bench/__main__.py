"""Run the benchmark: `python -m mnist_study.bench [a] [b] [c] [d] [--quick] [--output DIR]`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from mnist_study.bench.measurements import Table, hardware, say
from mnist_study.bench.results import (
    as_document,
    heading,
    measured_part,
    read_parts,
    write_parts,
)
from mnist_study.core.config import ExperimentConfig, load_experiment
from mnist_study.core.errors import UserFacingError
from mnist_study.data.dataset import TrainingSet, load_training_set, split

PARTS = {
    "a": "seconds per epoch",
    "b": "seconds per trial",
    "c": "driver time per trial",
    "d": "memory growth per trial",
}
NEEDS_MNIST = ("a", "b")
EXPERIMENT = Path(__file__).parents[2] / "experiments" / "study.toml"


def main() -> int:
    """Run the parts asked for and print what they measured."""
    arguments = _parse()
    parts = sorted(set(arguments.parts)) or list(PARTS)
    try:
        measured = read_parts(arguments.output) if arguments.output is not None else {}
        experiment = load_experiment(arguments.experiment)
        training_set = load_training_set("auto")
    except UserFacingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if training_set.dataset != "mnist":
        say(f"not MNIST but {training_set.source}; set MNIST_STUDY_DATA to a folder with MNIST")
        left_out = [part for part in parts if part in NEEDS_MNIST]
        parts = [part for part in parts if part not in NEEDS_MNIST]
        if left_out:
            say(f"left out, because it says nothing without MNIST: {', '.join(left_out)}")
        if not parts:
            print("error: nothing is left to measure without MNIST", file=sys.stderr)
            return 1
        experiment = experiment.model_copy(
            update={"data": experiment.data.model_copy(update={"validation_size": 360})}
        )
    machine = hardware() | {
        "command": " ".join(["python -m mnist_study.bench", *sys.argv[1:]]),
        "data": f"{training_set.dataset}, content hash {training_set.content_hash}",
    }
    if not arguments.json:
        print("\n".join(heading(machine)), flush=True)
    for part in parts:
        tables = _measure(part, experiment, training_set, is_quick=arguments.quick)
        measured[part] = measured_part(machine, tables)
        if not arguments.json:
            for table in tables:
                print("\n" + "\n".join(table.lines()), flush=True)
        if arguments.output is not None:
            write_parts(arguments.output, measured)
    if arguments.json:
        print(as_document({part: measured[part] for part in parts}), end="")
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m mnist_study.bench",
        description="Speed and memory, measured in turn with what they are compared to.",
    )
    help_parts = "; ".join(f"{letter}: {text}" for letter, text in PARTS.items())
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help=f"{help_parts} (all)")
    parser.add_argument("--quick", action="store_true", help="few rounds: a look, not a result")
    parser.add_argument("--json", action="store_true", help="one document with every sample")
    parser.add_argument(
        "--output",
        type=Path,
        help="a folder for README.md and benchmark.json, written after each part; what they "
        "hold of other parts stays",
    )
    parser.add_argument("--experiment", type=Path, default=EXPERIMENT, help="experiment file")
    return parser.parse_args()


def _measure(
    part: str, experiment: ExperimentConfig, training_set: TrainingSet, *, is_quick: bool
) -> list[Table]:
    # Each part imports its own: a driver is measured in a process without TensorFlow.
    splits = split(
        training_set,
        validation_size=experiment.data.validation_size,
        split_seed=experiment.data.split_seed,
    )
    n_workers = os.cpu_count() or 1
    if part == "a":
        from mnist_study.bench.epochs import measure_epochs

        return measure_epochs(experiment, splits, n_rounds=3 if is_quick else 11)
    if part == "b":
        from mnist_study.bench.trials import measure_scaling, measure_trials, of_documented

        n_blocks = 1 if is_quick else 3
        # Of wide networks the matrix products, which both have to compute, are the larger part.
        against_script = [
            measure_trials(
                chosen,
                training_set,
                splits,
                networks=networks,
                n_workers=n_workers,
                n_blocks=n_blocks,
                block_size=2 if is_quick else 6,
            )
            for networks, chosen in (
                ("the documented network", of_documented(experiment)),
                ("the study's networks", experiment),
            )
        ]
        against_itself = measure_scaling(
            experiment,
            training_set,
            splits,
            n_workers=n_workers,
            n_blocks=n_blocks,
            block_size=4 if is_quick else 16,
        )
        return [*against_script, against_itself]
    if part == "c":
        from mnist_study.bench.driver import measure_driver

        is_mnist = training_set.dataset == "mnist"
        return measure_driver(
            experiment,
            training_set,
            n_workers=n_workers,
            sizes=(60,) if is_quick else (60, 1000),
            n_trials=8 if is_quick else 20,
            n_real_trials=(4 if is_quick else 16) if is_mnist else 0,
        )
    from mnist_study.bench.memory import measure_memory

    n_trials = 60 if is_quick else 200
    n_warm_up = 20 if is_quick else 40
    return [measure_memory(experiment, splits, n_trials=n_trials, n_warm_up=n_warm_up)]


if __name__ == "__main__":
    sys.exit(main())
