"""What a study's report says of its search, from records made of synthetic trials."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnist_study.core.config import (
    ExperimentConfig,
    PrunerConfig,
    SamplerConfig,
    StudyConfig,
    load_experiment,
)
from mnist_study.core.environment import environment_identity
from mnist_study.core.identity import (
    Candidate,
    ConfirmationDataIdentity,
    ConfirmationIdentity,
    StudyIdentity,
)
from mnist_study.core.trials import EpochMetrics, TrialResult, TrialState
from mnist_study.experiments.importance import disagreements, importance_markdown
from mnist_study.experiments.study import read_study, study_findings
from mnist_study.experiments.tuning import (
    Search,
    comparable_studies,
    compare_searches,
    search_of,
    seed_sd,
    tuning_lines,
    tuning_markdown,
)
from mnist_study.search.history import History
from mnist_study.search.importance import Importance
from mnist_study.search.plan import SearchPlan
from mnist_study.stats import Interval

EXPERIMENT = load_experiment(Path(__file__).parents[2] / "experiments" / "smoke.toml")


def variant(name: str, **changes: Any) -> ExperimentConfig:  # noqa: ANN401
    """The experiment under another name with some settings of its search replaced."""
    assert EXPERIMENT.study is not None
    study = StudyConfig.model_validate({**EXPERIMENT.study.model_dump(), **changes})
    return EXPERIMENT.model_copy(update={"name": name, "study": study})


NONE = PrunerConfig(kind="none")
RANDOM = variant("by-chance", sampler=SamplerConfig(kind="random"), pruner=NONE)
TPE = variant(
    "by-tpe",
    sampler=SamplerConfig(kind="tpe", n_startup_trials=10),
    pruner=NONE,
)


def record(url: str, experiment: ExperimentConfig, values: Sequence[float | None]) -> History:
    """Store a study whose trials reach these accuracies; None is a failed one."""
    assert experiment.study is not None
    history = History.open(url, experiment.name)
    history.check_identity(StudyIdentity.of(experiment, "digits", "0" * 64), allow_mixed=False)
    history.n_trials = len(values)
    plan = SearchPlan(experiment)
    for number, value in enumerate(values):
        n_completed = max(0, number - experiment.study.in_flight + 1)
        active = [result.params for result in history.results[n_completed:]]
        spec = plan.suggest(number, history.results[:n_completed], active)
        is_failed = value is None
        accuracy = 0.1 if value is None else value
        history.append(
            TrialResult(
                number,
                spec.params,
                TrialState.FAILED if is_failed else TrialState.COMPLETE,
                epochs=(EpochMetrics(1, 0.2, accuracy, 0.3, accuracy),),
                value=value,
                best_epoch=None if is_failed else 1,
                restored_train_accuracy=None if is_failed else accuracy,
                n_parameters=100_000,
                reason="diverged" if is_failed else None,
            ),
            run_id=f"run-{number}",
        )
    return history


def accuracies(n: int, best: float, spread: float, seed: int = 0) -> list[float]:
    """Values of a search around a smooth optimum."""
    return list(best - spread * np.random.default_rng(seed).random(n) ** (2 / 3))


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/optuna.db"


def confirm(url: str, study: History, values: np.ndarray) -> None:
    """Store a confirmation of some of a study's configurations, values (n_replicates, n)."""
    chosen = [study.results[i] for i in range(values.shape[1])]
    history = History.open(url, f"{study.name}-confirm-1")
    identity = ConfirmationIdentity(
        study=study.name,
        candidates=tuple(
            Candidate(trial=r.number, params=r.params, search_value=r.value) for r in chosen
        ),
        seed=0,
        training=EXPERIMENT.training,
        data=ConfirmationDataIdentity(dataset="digits", content_hash="0" * 64, validation_size=287),
        environment=environment_identity(),
    )
    history.check_identity(identity, allow_mixed=False)
    for number, value in enumerate(values.ravel()):
        history.append(
            TrialResult(
                number,
                chosen[number % len(chosen)].params,
                TrialState.COMPLETE,
                epochs=(EpochMetrics(1, 0.2, value, 0.3, value),),
                value=float(value),
                best_epoch=1,
            ),
            run_id=f"confirm-{number}",
        )


# --- whether more trials would pay


def search(values: Sequence[float], noise: float | None) -> Search:
    return Search(tuple(values), tuple(values), learns=False, seed_sd=noise)


def test_more_trials_are_advised_by_the_gain_against_the_seed_noise() -> None:
    values = [100 * value for value in accuracies(60, 0.98, 0.02)]
    (little,) = tuning_lines(search(values, noise=5.0))
    assert (
        "More trials are unlikely to pay: the seeds alone move one configuration by 5.00" in little
    )
    (much,) = tuning_lines(search(values, noise=1e-6))
    assert "More trials are likely to pay" in much
    (between,) = tuning_lines(search(values, noise=0.03))
    assert "undecided" in between
    (unknown,) = tuning_lines(search(values, noise=None))
    assert "run `mnist-study confirm`, which measures it" in unknown


def test_of_few_trials_nothing_is_advised() -> None:
    (line,) = tuning_lines(search([98.0] * 19, noise=0.1))
    assert "cannot be said from 19 trials" in line
    assert tuning_markdown(search([98.0] * 4, noise=0.1)) == []


def test_table_of_the_best_of_n_has_the_values_of_the_run_and_of_resampling() -> None:
    values = (97.0, 99.0, 98.0, 96.0, 98.0, 97.0, 97.0, 97.0)
    lines = tuning_markdown(search(values, noise=None))
    rows = {cells[1].strip(): cells[2:] for cells in (line.split("|") for line in lines)
            if len(cells) > 3}  # fmt: skip
    assert list(rows) == ["n", "---:", "1", "2", "4", "8"]
    assert rows["1"][0].strip() == "97.00 %"
    assert rows["2"][0].strip() == "99.00 %"
    assert rows["1"][1].strip() == f"{np.mean(values):.2f} %"
    assert rows["8"][1].strip() == "99.00 %"
    assert rows["1"][2].strip().startswith("97.00 % (")
    assert rows["8"][2].strip().endswith("to no limit)")


def test_random_trials_of_a_tpe_study_are_told_from_those_that_learnt(url: str) -> None:
    history = record(url, TPE, [0.9, *accuracies(23, 0.98, 0.02)])
    found = search_of(history)
    # Trial k sees trials 0..k-4, and the first ten results make TPE learn: trials 1 to 12.
    assert found.at_random == tuple(100 * r.value for r in history.results[1:13] if r.value)
    assert len(found.proposed) == 23
    assert found.learns


def test_failed_trials_count_with_nothing(url: str) -> None:
    history = record(url, RANDOM, [0.9, None, 0.97, None, 0.98, 0.96])
    assert search_of(history).proposed == (0.0, 97.0, 0.0, 98.0, 96.0)


# --- seed noise


def test_seed_noise_is_what_configuration_and_split_leave(url: str) -> None:
    study = record(url, RANDOM, [0.9, 0.97, 0.98, 0.96])
    assert seed_sd(study) is None
    rng = np.random.default_rng(0)
    of_split = 0.01 * rng.standard_normal((400, 1))
    of_configuration = np.array([0.0, 0.02, -0.02])
    values = 0.95 + of_split + of_configuration + 0.0007 * rng.standard_normal((400, 3))
    confirm(url, study, values[:40])
    found = seed_sd(study)
    assert found == pytest.approx(0.07, rel=0.15)
    # By hand: two-way analysis of variance without interaction.
    part = 100 * values[:40]
    rest = part - part.mean(0) - part.mean(1)[:, None] + part.mean()
    assert found == pytest.approx(np.sqrt((rest**2).sum() / (39 * 2)))


def test_the_confirmation_of_another_study_is_not_taken(url: str) -> None:
    study = record(url, RANDOM, [0.9, 0.97, 0.98, 0.96])
    other = record(url, TPE, [0.9, 0.97, 0.98, 0.96])
    confirm(url, other, 0.95 + 0.01 * np.random.default_rng(0).standard_normal((5, 3)))
    assert seed_sd(other) is not None
    assert seed_sd(study) is None


# --- two studies of one home


def test_studies_that_differ_in_the_sampler_alone_are_compared(url: str) -> None:
    tpe = record(url, TPE, [0.9, 0.97])
    random = record(url, RANDOM, [0.9, 0.97])
    record(url, variant("other-space", space={"l2": {"type": "float", "low": 1e-4, "high": 1e-2}},
                        sampler=SamplerConfig(kind="random"), pruner=PrunerConfig(kind="none")),
           [0.9])  # fmt: skip
    record(url, variant("other-seed", seed=1, sampler=SamplerConfig(kind="random"),
                        pruner=PrunerConfig(kind="none")), [0.9])  # fmt: skip
    assert [other.name for other in comparable_studies(tpe)] == ["by-chance"]
    assert [other.name for other in comparable_studies(random)] == ["by-tpe"]


def test_the_better_search_is_named_with_an_interval(url: str) -> None:
    control = record(url, RANDOM, [0.9, *accuracies(30, 0.97, 0.02)])
    better = record(url, TPE, [0.9, *accuracies(30, 0.99, 0.02, seed=1)])
    lines = compare_searches(control, better, np.random.default_rng(0))
    assert lines[0].startswith(
        "by-tpe (TPE) against by-chance (random), expected best of 1 trial: +"
    )
    assert "expected best of 5 trials: +" in lines[1]
    assert lines[1].endswith("by-tpe (TPE) is better.")
    assert "two single values, without an interval" in lines[2]
    (mirrored, *_) = compare_searches(better, control, np.random.default_rng(0))
    assert mirrored.endswith("by-tpe (TPE) is better.")


def test_equal_searches_are_not_told_apart(url: str) -> None:
    control = record(url, RANDOM, [0.9, *accuracies(30, 0.98, 0.02)])
    other = record(url, TPE, [0.9, *accuracies(30, 0.98, 0.02, seed=1)])
    lines = compare_searches(control, other, np.random.default_rng(0))
    assert lines[0].endswith("neither is shown to be better.")


def test_too_few_trials_are_not_compared(url: str) -> None:
    control, other = record(url, RANDOM, [0.9, 0.97]), record(url, TPE, [0.9, 0.97])
    (line,) = compare_searches(control, other, np.random.default_rng(0))
    assert "it takes 6 of each" in line


# --- the report


def test_report_shows_the_search_and_withholds_a_ranking_of_few_trials(url: str) -> None:
    history = record(url, TPE, [0.9, *accuracies(23, 0.98, 0.02)])
    record(url, RANDOM, [0.9, *accuracies(23, 0.98, 0.02, seed=1)])
    found = read_study(history)
    text = found.tables["README.md"]
    assert "| n | best so far, as run | random trials: expected |" in text
    assert "Twice as many trials like these" in text
    assert "by-tpe (TPE) against by-chance (random)" in text
    assert "The ranking is withheld: 24 trials completed, and it takes 50" in text
    assert {"tuning_curves", "parameter_importances"} <= set(found.figures)
    for name in found.figures:
        assert f"({name}.png)" in text
    # The same record gives the same report.
    again = read_study(history)
    assert again.tables == found.tables
    assert again.figures == found.figures


@pytest.mark.parametrize("values", [[0.9], [0.9, None], [None, None]])
def test_report_of_a_study_that_has_hardly_begun(url: str, values: list[float | None]) -> None:
    found = read_study(record(url, TPE, values))
    assert "cannot be said from" in found.tables["README.md"]


def test_report_ranks_fifty_trials_beside_the_effects_it_is_given(url: str) -> None:
    history = record(url, RANDOM, [0.9, *accuracies(50, 0.98, 0.02)])
    effects = {"l2": Interval(0.2, 0.1, 0.3), "dropout_1": Interval(-0.1, -0.2, 0.0)}
    found = study_findings(history, effects)
    text = found.tables["README.md"]
    assert "effect on test accuracy, ablation (points)" in text
    assert "+0.20 (+0.10 to +0.30)" in text
    assert "alike" in text or "They disagree" in text
    assert (
        found.figures["parameter_importances"]
        != read_study(history).figures["parameter_importances"]
    )


# --- importances in words

FOUND = {
    "dropout_1": Importance(0.5, 0.3, 0.7, 0.8),
    "l2": Importance(0.3, 0.1, 0.4, 0.2),
    "units_1": Importance(0.2, 0.1, 0.25, 0.0),
}
Maker = Callable[[float], Interval]


def effect(value: float) -> Interval:
    return Interval(value, value - 0.05, value + 0.05)


def test_disagreement_of_importance_and_effect_is_named() -> None:
    (line,) = disagreements(FOUND, {"l2": effect(-0.2), "dropout_1": effect(0.1)})
    assert "importance puts dropout_1 before l2, the ablation l2 before dropout_1" in line
    assert "(the intervals of the importances overlap)" in line


def test_agreement_of_importance_and_effect_is_named() -> None:
    (line,) = disagreements(FOUND, {"l2": effect(-0.1), "dropout_1": effect(0.2)})
    assert line.startswith("Importance and the ablation's effect order dropout_1 and l2 alike.")


def test_one_effect_makes_no_order() -> None:
    assert disagreements(FOUND, {"l2": effect(-0.1)}) == []


def test_an_interval_that_overlaps_makes_no_ranking() -> None:
    assert "no ranking can be read" in importance_markdown(FOUND, 60, {})[-1]
    clear = {**FOUND, "dropout_1": Importance(0.5, 0.45, 0.7, 1.0)}
    assert "its interval above all others" in importance_markdown(clear, 60, {})[-1]
