"""How many fresh-seed runs of a study's best configurations each pruner would let finish.

    python -m mnist_study.bench.survival --home DIR [--top 5] [--seeds 10] [--runs FILE] [--json]

The home holds a study that was run without pruning. Its best configurations are trained again with
fresh seeds, on the study's own split, to the end; then each pruner is replayed over the study, and
over every run as the trial that comes after it. The test set is not read.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mnist_study.bench.measurements import Table, say
from mnist_study.core.config import PrunerConfig
from mnist_study.core.errors import UserFacingError
from mnist_study.core.home import Home
from mnist_study.core.trials import (
    EpochMetrics,
    SeedStream,
    TrialResult,
    TrialSpec,
    TrialState,
    by_value,
    derive_seeds,
    epoch_row,
    select,
)
from mnist_study.data.dataset import TrainingSet, load_training_set
from mnist_study.execution.cluster import ResultEvent, TrialCluster
from mnist_study.search.history import History
from mnist_study.search.survival import pruned_epoch, pruned_history, saved_share
from mnist_study.stats import Interval, wilson_interval

WANTED = 0.9
"""Share of runs that a default pruner has to let finish."""


def candidates(epochs: int) -> dict[str, PrunerConfig]:
    """Return pruners to be compared, by name, for trials of so many epochs."""
    found = {"none": PrunerConfig(kind="none")}
    for share in (0.2, 0.4, 0.6):
        warm_up = round(share * epochs)
        found[f"median from epoch {warm_up}"] = PrunerConfig(
            kind="median", options={"n_startup_trials": 8, "n_warmup_steps": warm_up}
        )
        for percentile in (25.0, 10.0):
            found[f"percentile {percentile:.0f} from epoch {warm_up}"] = PrunerConfig(
                kind="percentile",
                options={
                    "percentile": percentile,
                    "n_startup_trials": 8,
                    "n_warmup_steps": warm_up,
                    "n_min_trials": 8,
                },
            )
    found["successive halving"] = PrunerConfig(kind="successive_halving")
    return found


@dataclass(frozen=True, slots=True)
class Survival:
    """What a pruner does.

    Attributes:
        rate: share of the runs that it lets finish, with Wilson's interval.
        saved: share of the study's training time that it saves.
    """

    rate: Interval
    saved: float


def measure_survival(study: History, runs: Sequence[TrialResult], pruner: PrunerConfig) -> Survival:
    """Replay a pruner over a study and over fresh-seed runs of its best configurations.

    Args:
        study: run without pruning.
        runs: trained to the end.
        pruner: to be replayed.

    Raises:
        ValueError: a trial of the study was pruned.
    """
    search = study.experiment.study
    assert search is not None
    history = pruned_history(study.name, pruner, study.results, search.in_flight)
    survivors = sum(pruned_epoch(study.name, pruner, history, run) is None for run in runs)
    return Survival(wilson_interval(survivors, len(runs)), saved_share(study.results, history))


def train_again(
    study: History, training_set: TrainingSet, *, top: int, n_seeds: int, n_workers: int
) -> list[TrialResult]:
    """Train a study's best configurations with fresh seeds on its own split, to the end."""
    experiment = study.experiment
    assert experiment.study is not None
    best = by_value(select(study.results).complete)[:top]
    specs = [
        TrialSpec(
            number=place * n_seeds + replicate,
            params=trial.params,
            seeds=derive_seeds(
                experiment.study.seed, trial.number, replicate, SeedStream.PRUNER_SURVIVAL
            ),
            training=experiment.training,
            data=experiment.data,
            keeps_model=False,
        )
        for place, trial in enumerate(best)
        for replicate in range(n_seeds)
    ]
    found: dict[int, TrialResult] = {}
    with (
        tempfile.TemporaryDirectory(prefix="mnist-study-bench-") as folder,
        TrialCluster(
            training_set, identity=None, n_workers=n_workers, address=None,
            log_path=Path(folder) / "workers.log",
        ) as cluster,
    ):  # fmt: skip
        waiting = specs[::-1]
        while len(found) < len(specs):
            while waiting and cluster.n_running < cluster.n_slots:
                cluster.submit(waiting.pop())
            for event in cluster.events(0.5):
                if isinstance(event, ResultEvent):
                    found[event.result.number] = event.result
                    say(f"run {len(found)} of {len(specs)}: {event.result.value}")
    return [found[number] for number in sorted(found)]


def main() -> int:
    """Measure every candidate and the study's own pruner."""
    arguments = _parse()
    try:
        (study,) = (
            history
            for history in History.open_all(Home.at(arguments.home).storage_url)
            if history.kind == "study"
        )
        runs = _runs(study, arguments)
        table = survival_table(study, runs)
    except UserFacingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except ValueError as error:
        print(f"error: {arguments.home}: {error}", file=sys.stderr)
        return 1
    print(json.dumps(table.as_json(), indent=2) if arguments.json else "\n".join(table.lines()))
    return 0


def survival_table(study: History, runs: Sequence[TrialResult]) -> Table:
    """Compare the candidates."""
    rows = []
    for name, pruner in candidates(study.experiment.training.epochs).items():
        found = measure_survival(study, runs, pruner)
        rate = found.rate
        rows.append(
            [
                name,
                f"{rate.estimate:.0%} ({rate.low:.0%} to {rate.high:.0%})",
                f"{found.saved:.0%}",
                "yes" if rate.estimate >= WANTED else "no",
            ]
        )
    return Table(
        title=f"pruners over {len(runs)} fresh-seed runs of the best configurations of "
        f"{study.name}, {len(study.results)} trials",
        columns=("pruner", "runs that finish (95 %)", "study's time saved", f"{WANTED:.0%}"),
        rows=rows,
        samples={"values": [run.value for run in runs]},
    )


def _runs(study: History, arguments: argparse.Namespace) -> list[TrialResult]:
    """Train the runs, or read those that an earlier call has kept."""
    kept: Path | None = arguments.runs
    if kept is not None and kept.exists():
        return [
            TrialResult(
                number=number,
                params=study.experiment.baseline.model_validate(run["params"]),
                state=TrialState.COMPLETE,
                epochs=tuple(EpochMetrics(*row) for row in run["epochs"]),
                value=run["value"],
            )
            for number, run in enumerate(json.loads(kept.read_text(encoding="utf-8")))
        ]
    training_set = load_training_set("auto")
    if training_set.content_hash != study.content_hash:
        raise UserFacingError(
            f"{training_set.source}: not the data of {study.name}; set MNIST_STUDY_DATA to them"
        )
    runs = train_again(
        study,
        training_set,
        top=arguments.top,
        n_seeds=arguments.seeds,
        n_workers=arguments.workers or os.cpu_count() or 1,
    )
    if kept is not None:
        content = [
            {
                "params": run.params.model_dump(),
                "epochs": [list(epoch_row(metrics)) for metrics in run.epochs],
                "value": run.value,
            }
            for run in runs
        ]
        kept.write_text(json.dumps(content), encoding="utf-8")
    return runs


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m mnist_study.bench.survival", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--home", type=Path, required=True, help="home of a study without pruning")
    parser.add_argument("--top", type=int, default=5, help="how many configurations (5)")
    parser.add_argument("--seeds", type=int, default=10, help="fresh seeds of each (10)")
    parser.add_argument("--workers", type=int, help="processes that train (one a core)")
    parser.add_argument("--runs", type=Path, help="file to keep the runs in, or to read them from")
    parser.add_argument("--json", action="store_true", help="one document with every sample")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
