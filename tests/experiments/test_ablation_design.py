"""The ablation's runs: which are specified, with which seeds, splits and rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ablation_simulation import drawn_result, small_ablation

from mnist_study.core.config import (
    ConfigError,
    EarlyStoppingConfig,
    NetworkParams,
    TrainingConfig,
)
from mnist_study.core.identity import ArmIdentity
from mnist_study.core.trials import Seeds, TrialSpec, TrialState
from mnist_study.data.dataset import (
    DataError,
    TestSet,
    TrainingSet,
    split,
    take_rows,
    with_all_rows,
)
from mnist_study.execution.job import Job
from mnist_study.experiments.ablation.config import load_ablation
from mnist_study.experiments.ablation.design import (
    CELLS,
    PARTS,
    Part,
    chosen_learning_rates,
    fit_ablation,
    part_arms,
)
from mnist_study.experiments.ablation.job import ablation_job
from mnist_study.experiments.ablation.specification import work_of_run

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def specs_of(job: Job | None) -> list[TrialSpec]:
    assert job is not None
    return [job.make_plan().suggest(number, [], []) for number in range(job.n_trials)]


@pytest.mark.parametrize("part", ["documented", "study"])
def test_all_cells_share_seeds_and_splits_and_every_replicate_has_its_own(
    tmp_path: Path, digits: TrainingSet, digits_test: TestSet, part: Part
) -> None:
    ablation = small_ablation(tmp_path, n_seeds=3)
    specs = specs_of(ablation_job(ablation, part, digits, digits_test))
    assert len(specs) == 8 * 2 * 3
    by_replicate: dict[object, set[NetworkParams]] = {}
    for spec in specs:
        by_replicate.setdefault((spec.seeds, spec.data), set()).add(spec.params)
        assert spec.training == ablation.recipes[part].training  # type: ignore[index]
        assert spec.train_rows is None
    assert len(by_replicate) == 6  # two executions of three seeds
    cells = {ablation.params(cell) for cell in CELLS}
    assert all(params == cells for params in by_replicate.values())
    assert len({spec.seeds for spec in specs}) == len({spec.data for spec in specs}) == 6


def test_a_run_is_read_out_at_every_rule_of_its_recipe(
    tmp_path: Path, digits: TrainingSet, digits_test: TestSet
) -> None:
    ablation = small_ablation(tmp_path, epochs=6, axes=True)
    points = {
        p.name: p
        for p in specs_of(ablation_job(ablation, "documented", digits, digits_test))[0].readouts
    }
    assert list(points) == ["last", "restored", "averaged", "patience_1"]
    assert points["restored"].rule == ablation.recipes["documented"].early_stopping
    assert points["patience_1"].rule == EarlyStoppingConfig(monitor="val/loss", patience=1)
    assert points["averaged"].average_from == 4  # the second half of six epochs
    (stopping, *_) = specs_of(ablation_job(ablation, "stopping", digits, digits_test))
    assert stopping.training.epochs == 6
    assert {(p.name, p.until, p.rule and p.rule.patience) for p in stopping.readouts} == {
        ("last@3", 3, None), ("last@6", 6, None), ("patience_1@3", 3, 1), ("patience_2@3", 3, 2),
        ("patience_1@6", 6, 1), ("patience_2@6", 6, 2),
    }  # fmt: skip


def test_each_step_keeps_what_those_before_it_changed(
    tmp_path: Path, digits: TrainingSet, digits_test: TestSet
) -> None:
    ablation = small_ablation(tmp_path, axes=True)
    assert ablation.steps is not None
    steps = specs_of(ablation_job(ablation, "steps", digits, digits_test))[:5]
    assert [
        (s.training.batch_size, s.training.schedule, s.training.epochs, s.params.units, s.all_rows)
        for s in steps
    ] == [
        (128, "constant", 4, (32, 16, 16), False),
        (128, "cosine", 4, (32, 16, 16), False),
        (128, "cosine", 5, (32, 16, 16), False),
        (128, "cosine", 5, (48, 24, 16), False),
        (128, "cosine", 5, (48, 24, 16), True),
    ]
    assert steps[3].params == steps[4].params == ablation.steps.found


def test_parts_share_seeds_and_splits_but_executions_share_none(
    tmp_path: Path, digits: TrainingSet, digits_test: TestSet
) -> None:
    ablation = small_ablation(tmp_path, axes=True)
    parts: list[Part] = [p for p in PARTS if p not in ("tuning", "retuned")]
    places: list[set[tuple[Seeds, int]]] = []
    for part in parts:
        specs = specs_of(ablation_job(ablation, part, digits, digits_test))
        places.append({(spec.seeds, spec.data.split_seed) for spec in specs})
    assert all(place <= places[0] for place in places)
    swapped = ablation.model_copy(update={"executions": (7, 8)})
    others = specs_of(ablation_job(swapped, "documented", digits, digits_test))
    assert not {s.seeds for s in others} & {seeds for seeds, _ in places[0]}
    assert not {s.data.split_seed for s in others} & {at for _, at in places[0]}


@pytest.mark.parametrize("part", ["documented", "study", "retuned", "steps", "doses", "sizes"])
def test_more_seeds_continue_what_is_there(
    tmp_path: Path, digits: TrainingSet, digits_test: TestSet, part: Part
) -> None:
    ablation = small_ablation(tmp_path, n_seeds=4, axes=True)
    chosen = dict.fromkeys(CELLS, 0.003)
    few, many = (
        ablation_job(a, part, digits, digits_test, chosen)
        for a in (
            ablation,
            ablation.model_copy(
                update={
                    "n_seeds": 6,
                    "tuning": ablation.tuning and ablation.tuning.model_copy(update={"n_seeds": 5}),
                }
            ),
        )
    )
    assert few is not None
    assert many is not None
    assert few.identity == many.identity
    assert many.n_trials >= few.n_trials
    for number in range(few.n_trials):
        specs = [job.make_plan().suggest(number, [], []) for job in (few, many)]
        assert specs[0] == specs[1]


def test_tuning_never_holds_the_test_images_and_has_seeds_of_its_own(
    tmp_path: Path, digits: TrainingSet, digits_test: TestSet
) -> None:
    ablation = small_ablation(tmp_path, axes=True)
    jobs = {
        part: ablation_job(ablation, part, digits, digits_test, dict.fromkeys(CELLS, 0.003))
        for part in PARTS
    }
    seeds = {}
    for part, job in jobs.items():
        assert job is not None
        specs = specs_of(job)
        assert (job.test_set is None) == (part == "tuning")
        assert all((not spec.readouts) == (part == "tuning") for spec in specs)
        assert not any(spec.reads_test_set for spec in specs)
        seeds[part] = {spec.seeds for spec in specs}
    assert not seeds["tuning"] & seeds["documented"]
    assert seeds["retuned"] <= seeds["documented"]


def test_a_learning_rate_is_chosen_by_validation_accuracy_and_a_tie_keeps_the_documented_one(
    tmp_path: Path, digits: TrainingSet, digits_test: TestSet
) -> None:
    ablation = small_ablation(tmp_path, axes=True)
    job = ablation_job(ablation, "tuning", digits, digits_test)
    assert job is not None
    results = []
    for number in range(job.n_trials):
        spec = job.make_plan().suggest(number, [], [])
        result = drawn_result(spec, 360, {})
        better = spec.params.l2 > 0 and spec.params.learning_rate == 0.003
        last = replace(result.epochs[-1], val_accuracy=0.96 if better else 0.95)
        results.append(replace(result, epochs=(*result.epochs[:-1], last)))
    chosen = chosen_learning_rates(ablation, results)
    assert chosen == {cell: 0.003 if "l2" in cell else 0.001 for cell in CELLS}
    failed = [
        replace(r, state=TrialState.FAILED) if r.params.learning_rate == 0.003 else r
        for r in results
    ]
    assert set(chosen_learning_rates(ablation, failed).values()) == {0.001}
    retuned = ablation_job(ablation, "retuned", digits, digits_test, chosen)
    assert retuned is not None
    specs = [retuned.make_plan().suggest(n, [], []) for n in range(retuned.n_trials)]
    assert {spec.params.l2 for spec in specs} == {0.001}  # the others keep their runs


def test_doses_do_not_repeat_what_a_cell_has() -> None:
    ablation = load_ablation(EXPERIMENTS / "ablation.toml")
    arms = part_arms(ablation, "doses")
    assert len(arms) == 3 + 3
    assert not {arm.params for arm in arms} & {ablation.params(c) for c in CELLS}


def test_a_size_as_large_as_the_split_is_refused(
    tmp_path: Path, digits: TrainingSet, digits_test: TestSet
) -> None:
    ablation = small_ablation(tmp_path, axes=True)
    sizes = ablation.training_size
    assert sizes is not None
    large = sizes.sizes[0].model_copy(update={"rows": 1150})
    ablation = ablation.model_copy(
        update={"training_size": sizes.model_copy(update={"sizes": (large,)})}
    )
    with pytest.raises(ConfigError, match="fewer than the 1150"):
        ablation_job(ablation, "sizes", digits, digits_test)


def test_the_file_for_mnist_runs_on_the_stand_in_with_the_same_shares_of_rows(
    digits: TrainingSet, digits_test: TestSet
) -> None:
    written = load_ablation(EXPERIMENTS / "ablation.toml")
    ablation = fit_ablation(written, digits)
    assert ablation.validation_size == 287  # 12,000 of 60,000 rows is 287 of 1,437
    assert written.training_size is not None
    assert ablation.training_size is not None
    assert [size.rows for size in ablation.training_size.sizes] == [24, 120, 478]
    job = ablation_job(ablation, "sizes", digits, digits_test)
    assert job is not None
    assert job.n_trials == 3 * 2 * written.training_size.n_seeds * 2


def test_an_ablation_whose_rows_are_there_stays_as_it_is_written(
    tmp_path: Path, digits: TrainingSet
) -> None:
    ablation = small_ablation(tmp_path, axes=True)
    assert fit_ablation(ablation, digits) == ablation


def test_parts_of_the_training_rows_are_nested_and_stratified(digits: TrainingSet) -> None:
    splits = split(digits, validation_size=287, split_seed=0)
    parts = [take_rows(splits, n_rows=n, subset_seed=4) for n in (50, 200, 1150)]
    rows = [{row.tobytes() for row in part.train_images} for part in parts]
    assert rows[0] < rows[1] < rows[2]
    assert np.array_equal(parts[2].train_images, splits.train_images)
    share = np.bincount(splits.train_labels) / len(splits.train_labels)
    assert np.abs(np.bincount(parts[1].train_labels) - 200 * share).max() <= 1
    other = take_rows(splits, n_rows=50, subset_seed=5)
    assert {row.tobytes() for row in other.train_images} != rows[0]
    assert np.array_equal(parts[0].validation_images, splits.validation_images)
    with pytest.raises(DataError, match="expected 1 to the 1150"):
        take_rows(splits, n_rows=1151, subset_seed=0)


def test_all_rows_are_the_training_and_the_validation_rows(digits: TrainingSet) -> None:
    splits = split(digits, validation_size=287, split_seed=0)
    whole = with_all_rows(splits)
    assert len(whole.train_labels) == len(digits.labels)
    rows = {row.tobytes() for row in whole.train_images}
    assert rows == {row.tobytes() for row in digits.images}
    assert np.array_equal(whole.validation_images, splits.validation_images)


def test_no_two_runs_of_an_ablation_share_a_name_and_each_says_what_it_is(
    tmp_path: Path, digits: TrainingSet, digits_test: TestSet
) -> None:
    ablation = small_ablation(tmp_path, n_seeds=2, axes=True)
    names = []
    for part in PARTS:
        job = ablation_job(ablation, part, digits, digits_test, dict.fromkeys(CELLS, 0.003))
        names += [job.trial_name(spec) for spec in specs_of(job)] if job else []
    assert len(set(names)) == len(names)
    assert "study-l2+dropout_1-e2-s01" in names
    job = ablation_job(ablation, "study", digits, digits_test)
    assert job is not None
    assert job.describe_trial is not None
    assert job.work is not None
    spec = specs_of(job)[8 + 1]  # the second cell of the second execution
    described = job.describe_trial(spec.number)
    assert described == f"study: l2, execution 2, seed 1, split {spec.data.split_seed}"
    assert job.work(0) == work_of_run(part_arms(ablation, "study"), 0, 1437)


def test_the_time_left_counts_rows_steps_and_weights() -> None:
    """Seconds of real runs on MNIST, two at once on two cores."""
    documented = NetworkParams(
        units_1=128, units_2=64, units_3=32, dropout_1=0.3, dropout_2=0.2, l2=0.001,
        learning_rate=0.001,
    )  # fmt: skip

    def work(batch_size: int, epochs: int, params: NetworkParams = documented) -> float:
        training = TrainingConfig(batch_size=batch_size, epochs=epochs, schedule="cosine")
        arm = ArmIdentity(label="one", params=params, training=training, readouts=())
        return work_of_run([arm], 0, 48_000)

    assert work(128, 20) / work(32, 30) == pytest.approx(7.8 / 16.0, rel=0.2)
    wide = documented.model_copy(update={"units_1": 449, "units_2": 189, "units_3": 139})
    assert work(128, 20, wide) / work(128, 20) == pytest.approx(25.1 / 7.7, rel=0.2)
    wider = documented.model_copy(update={"units_1": 595, "units_2": 241, "units_3": 147})
    assert work(128, 40, wider) / work(128, 40) == pytest.approx(89.6 / 15.4, rel=0.2)
