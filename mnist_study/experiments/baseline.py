"""The documented network over many seeds: does it reproduce its documented numbers?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mnist_study.core.config import ConfigError, EarlyStoppingConfig, ExperimentConfig, name_on
from mnist_study.core.datasets import described, is_mnist
from mnist_study.core.environment import environment_identity
from mnist_study.core.identity import BaselineDataIdentity, BaselineIdentity
from mnist_study.core.trials import (
    SeedStream,
    TrialResult,
    TrialSpec,
    TrialState,
    derive_seeds,
    digest,
)
from mnist_study.data.dataset import TestSet, TrainingSet, fit_split
from mnist_study.execution.job import Findings, Job
from mnist_study.experiments.baseline_page import baseline_page
from mnist_study.experiments.summary import data_name, sessions_markdown
from mnist_study.experiments.tables import markdown_table
from mnist_study.plots import to_pngs, trial_png
from mnist_study.search.history import History
from mnist_study.search.plan import FixedPlan

if TYPE_CHECKING:
    from mnist_study.stats import Interval, RunDistribution

DOCUMENTED_TEST_ACCURACY = 0.9728
FEWEST_SEEDS = 10
"""With fewer, the interval for a new seed is so wide that nearly any number lies in it."""
# "Validation about 97 %": any value that rounds to 97 %.
DOCUMENTED_VALIDATION_RANGE = (0.965, 0.975)


def baseline_job(
    experiment: ExperimentConfig,
    training_set: TrainingSet,
    test_set: TestSet,
    n_seeds: int,
) -> Job:
    """Describe the runs of the documented network.

    Args:
        experiment: with `n_seeds`; its study, if any, is not used.
        training_set: the rows to train on and validate with.
        test_set: read once by every run; each reading goes to the ledger.
        n_seeds: how many runs; more of them continue what is there.

    Raises:
        ConfigError: fewer than two seeds.
        DataError: the split is impossible.
    """
    if n_seeds < 2:
        raise ConfigError(f"--seeds {n_seeds}: expected 2 or more, an interval needs a spread")
    name = name_on(training_set.dataset, experiment.name)
    data = fit_split(experiment.data, training_set)
    identity = BaselineIdentity(
        data=BaselineDataIdentity(
            dataset=training_set.dataset,
            content_hash=training_set.content_hash,
            test_content_hash=test_set.content_hash,
            **data.model_dump(),
        ),
        training=experiment.training,
        baseline=experiment.baseline,
        environment=environment_identity(),
    )

    def specify(number: int) -> TrialSpec:
        return TrialSpec(
            number=number,
            params=experiment.baseline,
            seeds=derive_seeds(data.split_seed, number, SeedStream.BASELINE),
            training=experiment.training,
            data=data,
            reads_test_set=True,
        )

    training = experiment.training
    return Job(
        name=name,
        experiment=name,
        make_plan=lambda: FixedPlan(n_seeds, specify),
        n_trials=n_seeds,
        identity=identity,
        source_text=experiment.source_text,
        data=data,
        params={
            "batch_size": training.batch_size,
            "epochs": training.epochs,
            "schedule": training.schedule,
            **experiment.baseline.model_dump(),
        },
        read=read_baseline,
        draw_trial=trial_png,
        test_set=test_set,
        name_trial=lambda spec: f"baseline-s{spec.number}",
        describe_trial=lambda number: f"seed {number}",
    )


def read_baseline(history: History) -> Findings:
    """Summarize the runs and compare them with the document.

    Raises:
        ConfigError: fewer than two runs are complete.
    """
    from mnist_study.pages import REPORT, render
    from mnist_study.plots.replicates import replicate_accuracies, replicate_curves
    from mnist_study.stats import run_distribution

    runs = complete(history.results)
    if len(runs) < 2:
        raise ConfigError(
            f"{history.name}: {len(runs)} runs are complete, expected 2 or more, an interval needs "
            "a spread; run `mnist-study baseline` to the end"
        )
    test = run_distribution([run.test_metrics["test/accuracy"] for run in runs])
    validation = run_distribution([run.value or 0.0 for run in runs])
    dataset = history.identity.data.dataset
    lines = verdicts(test, validation) if is_mnist(dataset) else [_no_verdict(dataset, test)]
    distributions = {"test accuracy": test, "validation accuracy": validation}
    figures = {
        "accuracies": replicate_accuracies(
            runs,
            {name: (d.mean_interval, d.prediction_interval) for name, d in distributions.items()},
            documented=DOCUMENTED_TEST_ACCURACY if is_mnist(dataset) else None,
        ),
        "accuracy_curves": replicate_curves([run.epochs for run in runs], "accuracy"),
        "loss_curves": replicate_curves([run.epochs for run in runs], "loss"),
    }
    settings = _settings(history, runs)
    page = baseline_page(history, runs, distributions, lines, settings, figures)
    return Findings(
        lines=lines,
        figures=to_pngs(figures),
        tables={
            "README.md": _markdown(history, runs, test, validation, lines, settings),
            REPORT: render(page),
        },
        metrics={
            "baseline/test_accuracy_mean": test.mean,
            "baseline/test_accuracy_sd": test.sd,
            "baseline/val_accuracy_mean": validation.mean,
            "baseline/val_accuracy_sd": validation.sd,
            "baseline/n_seeds": len(runs),
        },
    )


def complete(results: Sequence[TrialResult]) -> list[TrialResult]:
    """Return the runs that came to an end."""
    return [result for result in results if result.state is TrialState.COMPLETE]


def verdicts(test: RunDistribution, validation: RunDistribution) -> list[str]:
    """Say whether the documented numbers lie where a run with a new seed would fall."""
    interval = test.prediction_interval
    inside = interval.contains(DOCUMENTED_TEST_ACCURACY)
    where = "inside" if inside else "outside"
    verdict = "it reproduces" if inside else "it does not reproduce"
    if test.n_runs < FEWEST_SEEDS:
        verdict = f"{test.n_runs} seeds: too few for a verdict, which takes {FEWEST_SEEDS}"
    distance = (DOCUMENTED_TEST_ACCURACY - test.mean) / test.sd if test.sd else float("inf")
    low, high = validation.prediction_interval.low, validation.prediction_interval.high
    about = low < DOCUMENTED_VALIDATION_RANGE[1] and high >= DOCUMENTED_VALIDATION_RANGE[0]
    return [
        f"Test accuracy over {test.n_runs} seeds: mean {test.mean:.2%} "
        f"(95 % interval of the mean {test.mean_interval.low:.2%} to "
        f"{test.mean_interval.high:.2%}), standard deviation {100 * test.sd:.2f} points.",
        f"The documented {DOCUMENTED_TEST_ACCURACY:.4f} lies {where} the 95 % prediction interval "
        f"for a new seed ({interval.low:.4f} to {interval.high:.4f}), {distance:+.1f} standard "
        f"deviations from the mean: {verdict}.",
        f"Validation accuracy: mean {validation.mean:.2%}, 95 % prediction interval {low:.2%} "
        f"to {high:.2%}; the documented 'about 97 %' (what rounds to 97 %) "
        f"{'lies in it' if about else 'does not lie in it'}.",
    ]


def _no_verdict(dataset: str, test: RunDistribution) -> str:
    return (
        f"Test accuracy over {test.n_runs} seeds: mean {test.mean:.2%} (95 % interval of the mean "
        f"{test.mean_interval.low:.2%} to {test.mean_interval.high:.2%}), standard deviation "
        f"{100 * test.sd:.2f} points. The data is {described(dataset)}: the documented numbers "
        "are not compared."
    )


def _markdown(
    history: History,
    runs: Sequence[TrialResult],
    test: RunDistribution,
    validation: RunDistribution,
    lines: Sequence[str],
    settings: Sequence[str],
) -> str:
    """Write the report of the baseline."""
    table = markdown_table(
        ("", "mean", "sd (points)", "95 % interval of the mean", "95 % prediction interval"),
        [
            (name, f"{d.mean:.4f}", f"{100 * d.sd:.3f}", _ends(d.mean_interval),
             _ends(d.prediction_interval))
            for name, d in (("test accuracy", test), ("validation accuracy", validation))
        ],
    )  # fmt: skip
    return "\n".join(
        [
            f"# The documented network over {len(runs)} seeds on " + data_name(history),
            "",
            "Written by `mnist-study baseline` from its stores; no figure here was typed.",
            "",
            *(f"{line}  " for line in lines),
            "",
            *table,
            "",
            *(f"- {item}" for item in settings),
            f"- digest: `{digest(history.results)}` over {len(history.results)} runs",
            f"- the test set was read {len(runs)} times, once a run; see the ledger",
            "",
            *sessions_markdown(history),
            "",
            "![Accuracies of all runs](accuracies.png)",
            "",
            "![Accuracy over epochs](accuracy_curves.png)",
            "",
            "![Loss over epochs](loss_curves.png)",
            "",
        ]
    )


def _settings(history: History, runs: Sequence[TrialResult]) -> list[str]:
    training = history.identity_as(BaselineIdentity).training
    n_failed = len(history.results) - len(runs)
    return [
        f"settings: batch {training.batch_size}, at most {training.epochs} epochs, "
        f"{training.schedule} learning rate, {_stopping_text(training.early_stopping)}",
        f"epochs trained: {min(len(r.epochs) for r in runs)} to "
        f"{max(len(r.epochs) for r in runs)}; failed runs: {n_failed}",
    ]


def _stopping_text(rule: EarlyStoppingConfig | None) -> str:
    if rule is None:
        return "no early stopping"
    return f"early stopping on {rule.monitor} with a patience of {rule.patience} epochs"


def _ends(interval: Interval) -> str:
    return f"{interval.low:.4f} to {interval.high:.4f}"
