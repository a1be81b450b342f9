"""The study as a job: what is to be run, and how its record is read."""

from __future__ import annotations

from mnist_study.core.config import ExperimentConfig, name_on
from mnist_study.core.identity import StudyIdentity
from mnist_study.core.trials import select
from mnist_study.data.dataset import TrainingSet, fit_split
from mnist_study.execution.job import Findings, Job
from mnist_study.experiments.summary import (
    findings,
    state_counts,
    study_figures,
    study_markdown,
)
from mnist_study.experiments.tables import trial_table_csv
from mnist_study.plots import to_pngs, trial_png
from mnist_study.search.history import History
from mnist_study.search.plan import SearchPlan


def study_job(experiment: ExperimentConfig, training_set: TrainingSet) -> Job:
    """Describe the study of an experiment file; on digits its name ends in `-digits`.

    Args:
        experiment: with a [study] table.
        training_set: decides name, number of validation rows and identity.

    Raises:
        UserFacingError: the file has no study, or its pruner or its split is impossible.
    """
    experiment = experiment.model_copy(
        update={
            "name": name_on(training_set.dataset, experiment.name),
            "data": fit_split(experiment.data, training_set),
        }
    )
    plan = SearchPlan(experiment)
    search, training = experiment.search, experiment.training
    stopping = training.early_stopping
    return Job(
        name=experiment.name,
        experiment=experiment.name,
        make_plan=lambda: plan,
        n_trials=plan.n_trials,
        identity=StudyIdentity.of(experiment, training_set.dataset, training_set.content_hash),
        source_text=experiment.source_text,
        data=experiment.data,
        params={
            "batch_size": training.batch_size,
            "epochs": training.epochs,
            "schedule": training.schedule,
            "early_stopping": (
                f"{stopping.monitor}, patience {stopping.patience}" if stopping else "no"
            ),
            "sampler": search.sampler.kind,
            "pruner": search.pruner.kind,
            "seed": search.seed,
            "in_flight": search.in_flight,
            "validation_size": experiment.data.validation_size,
            "split_seed": experiment.data.split_seed,
        },
        read=read_study,
        draw_trial=trial_png,
    )


def read_study(history: History) -> Findings:
    """Read a study's record."""
    best = select(history.results).best
    counts = state_counts(history.results)
    metrics: dict[str, float] = {f"n_{state.lower()}": n for state, n in counts.items()}
    if best is not None and best.value is not None:
        metrics |= {"val/accuracy": best.value, "best_trial": best.number}
    return Findings(
        lines=findings(history),
        figures=to_pngs(study_figures(history)),
        tables={
            "README.md": study_markdown(history),
            "trials.csv": trial_table_csv(history.results),
        },
        metrics=metrics,
    )
