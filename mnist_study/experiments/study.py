"""The study as a job: what is to be run, and how its record is read."""

from __future__ import annotations

import numpy as np

from mnist_study.core.config import ExperimentConfig, name_on
from mnist_study.core.identity import StudyIdentity
from mnist_study.core.trials import select
from mnist_study.data.dataset import TrainingSet, fit_split
from mnist_study.execution.job import Findings, Job
from mnist_study.experiments.confirmation_results import confirmation_of
from mnist_study.experiments.importance import Effects, importance_figure, importance_markdown
from mnist_study.experiments.study_page import study_page
from mnist_study.experiments.summary import (
    findings,
    state_counts,
    study_figures,
    study_markdown,
)
from mnist_study.experiments.tables import trial_table_csv
from mnist_study.experiments.tuning import (
    comparable_studies,
    compare_searches,
    search_of,
    tuning_figure,
    tuning_lines,
    tuning_markdown,
)
from mnist_study.plots import to_pngs, trial_png
from mnist_study.search.history import History
from mnist_study.search.importance import importances
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
    """Read a study's record.

    Args:
        history: the record; the home's other records say how much seeds move its values, what
            another sampler found, and what an ablation found that each parameter causes.
    """
    return study_findings(history, _measured_effects(history))


def study_findings(history: History, effects: Effects) -> Findings:
    """Do what `read_study` does, with these effects by name of the parameter."""
    from mnist_study.pages import REPORT, render

    best = select(history.results).best
    counts = state_counts(history.results)
    metrics: dict[str, float] = {f"study/n_{state.lower()}": n for state, n in counts.items()}
    if best is not None and best.value is not None:
        metrics |= {
            "study/best_val_accuracy": best.value,
            "study/best_trial": best.number,
        }
    study = history.identity_as(StudyIdentity).study
    # The same record gives the same report.
    rng = np.random.default_rng(study.seed)
    search = search_of(history)
    advice = tuning_lines(search)
    compared = [
        line for other in comparable_studies(history) for line in _compared(history, other, rng)
    ]
    shares = importances(history.results, study.space, rng=rng)
    n_complete = len(select(history.results).complete)
    confirmation = confirmation_of(history)
    confirmed = None if confirmation is None else confirmation.winner.candidate.trial
    # That the documented network itself won is said where the winner is named.
    figures = study_figures(history, confirmed or None) | {
        "tuning_curves": tuning_figure(search),
        "parameter_importances": importance_figure(shares, n_complete, effects),
    }
    search_lines = [*advice, "", *tuning_markdown(search), "", *(f"- {line}" for line in compared)]
    importance_lines = importance_markdown(shares, n_complete, effects)
    page = study_page(history, figures, confirmation, search_lines, importance_lines)
    return Findings(
        lines=[*findings(history), *advice, *compared],
        figures=to_pngs(figures),
        tables={
            "README.md": study_markdown(history, search_lines, importance_lines),
            REPORT: render(page),
            "trials.csv": trial_table_csv(history.results, history.run_ids),
        },
        metrics=metrics,
    )


def _measured_effects(history: History) -> Effects:
    """Return what an ablation of the same home and data found that parameters cause, by name."""
    ablations = history.siblings("ablation")
    if not ablations:
        return {}
    # Its statistics take seconds to import.
    from mnist_study.experiments.ablation.measured import measured_effects

    return measured_effects(ablations, history.content_hash)


def _compared(history: History, other: History, rng: np.random.Generator) -> list[str]:
    """Compare two studies, the random search as the control whichever is reported."""
    is_control = history.identity_as(StudyIdentity).study.sampler.kind == "random"
    return compare_searches(*((history, other) if is_control else (other, history)), rng)
