"""The ablation: what its file may say, what is run, what is read out, and what is concluded."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from ablation_simulation import ablation_text, draw_ablation, drawn_result
from factorial_contrasts import factorial_contrasts
from rich.console import Console

from mnist_study import stats
from mnist_study.cli.preparation import fitted_ablation
from mnist_study.core.config import ConfigError, DataConfig, EarlyStoppingConfig, NetworkParams
from mnist_study.core.config import TrainingConfig as Training
from mnist_study.core.identity import AblationIdentity
from mnist_study.core.ledger import Ledger
from mnist_study.core.trials import Readout, TrainRows, TrialSpec, TrialState, derive_seeds, digest
from mnist_study.data.dataset import (
    DataError,
    TestSet,
    TrainingSet,
    load_test_set,
    split,
    take_rows,
)
from mnist_study.experiments.ablation.analysis import Analysis, Decision, Effect, analyse
from mnist_study.experiments.ablation.config import (
    FACTORS,
    AblationConfig,
    Hypothesis,
    load_ablation,
)
from mnist_study.experiments.ablation.design import (
    CELLS,
    DOCUMENTED,
    NONE,
    PARTS,
    chosen_learning_rates,
    dose_arms,
)
from mnist_study.experiments.ablation.job import ablation_job
from mnist_study.experiments.ablation.record import AblationRecord
from mnist_study.experiments.ablation.runs import (
    Factorial,
    cell_index,
    deviations,
    factorial,
    runs_of,
    tidy_table,
)
from mnist_study.experiments.ablation.tables import cell_table, verdict_table
from mnist_study.experiments.ablation.text import (
    brief,
    detectable_now,
    planned_effect,
    power_line,
    remarks,
    sentence,
)
from mnist_study.experiments.reports import is_part, read_record
from mnist_study.search.history import History

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
DEFAULT = (EXPERIMENTS / "ablation.toml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def digits_test() -> TestSet:
    return load_test_set("digits")


def small(folder: Path, **settings: object) -> AblationConfig:
    path = folder / "ablation.toml"
    path.write_text(ablation_text(**settings))  # type: ignore[arg-type]
    return load_ablation(path)


# --- the file --------------------------------------------------------------------------------


def test_default_file_is_valid_and_opens_with_command_duration_and_expectation() -> None:
    ablation = load_ablation(EXPERIMENTS / "ablation.toml")
    assert ablation.params(DOCUMENTED) == NetworkParams(
        units_1=128, units_2=64, units_3=32, dropout_1=0.3, dropout_2=0.2, l2=0.001,
        learning_rate=0.001,
    )  # fmt: skip
    assert ablation.n_seeds >= 20
    assert len(ablation.split_seeds) >= 3
    head = DEFAULT.partition("\n\n")[0]
    assert all(f"\n#   {word} " in head for word in ("command", "duration", "expect"))


def test_design_detects_a_tenth_of_a_point_and_says_so_from_the_file_alone() -> None:
    ablation = load_ablation(EXPERIMENTS / "ablation.toml")
    # By hand: a main effect of 2^3 cells has 2 sd / sqrt(8 splits) between seeds.
    sd = 2 * ablation.power.run_sd / np.sqrt(8 * len(ablation.split_seeds))
    effect = planned_effect(
        ablation.power, n_factors=3, n_seeds=20, n_splits=3, alpha=ablation.statistics.alpha
    )
    assert stats.power_of_paired_t(effect, sd, ablation.n_seeds) == pytest.approx(0.8, abs=1e-9)
    assert effect <= 0.001
    assert f"{100 * effect:.3f} points" in power_line(ablation)


def test_design_says_what_two_cells_and_holms_correction_cost() -> None:
    ablation = load_ablation(EXPERIMENTS / "ablation.toml")
    run_sd, n_splits, n_seeds = 0.0021, 3, 20
    found = []
    for sd in (2 * run_sd / np.sqrt(8 * n_splits), run_sd * np.sqrt(2 / n_splits)):
        for alpha in (0.05, 0.05 / 11):
            found.append(100 * stats.smallest_detectable_effect(sd, n_seeds, alpha=alpha))
    main, main_first, two, two_first = (f"{effect:.3f}" for effect in found)
    line = power_line(ablation)
    assert f"{main} points by its own test, {main_first} at the strictest step" in line
    assert f"correction of 11 claims; smallest difference between two cells: {two} and" in line
    assert f"and {two_first} points" in line


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("n_seeds = 20", "n_seed = 20", "n_seed"),
        ("n_seeds = 20", "n_seeds = 1", "n_seeds"),
        ("n_seeds = 6  #", "n_seeds = 21  #", "expected 20 or fewer"),
        ("l2 = [0.0, 0.0001,", "l2 = [0.0002, 0.0001,", "dose_response.l2"),
        ("[0.0, 0.5, 1.0, 1.5, 2.0]", "[0.0, 0.5, 1.5, 2.0]", "1 among them"),
        ("[0.00025, 0.0005, 0.001, 0.002, 0.004]", "[0.0005, 0.002]", "0.001 among them"),
        ("calibration_error = 0.001\n", "calibration = 0.001\n", "statistics.margins"),
        ("calibration_error = 0.001\n", "", "no margin for calibration_error"),
        ("test_loss = 0.005  #", "test_loss = 0.0  #", "statistics.margins.test_loss"),
        (
            "control = { on = []",
            'control = { on = ["dropout_2", "l2", "dropout_1"]',
            "the same arm",
        ),
        ('effect = "l2"\n', 'effect = "dropout_1:l2"\n', "in this order"),
        ('effect = "l2"\nreadout = "last"', 'effect = "l2"', "needs a readout"),
        ("split_seeds = [0, 1, 2]", "split_seeds = [0, 1, 0]", "different numbers"),
        ("batch_size = 128", "batch_size = 128\nearly_stopping = { patience = 3 }", "last epoch"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_line(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert DEFAULT.count(old) >= 1, old
    path = tmp_path / "ablation.toml"
    path.write_text(DEFAULT.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        load_ablation(path)
    assert "\n" not in str(caught.value)
    assert message in str(caught.value)


# --- the plan --------------------------------------------------------------------------------


def test_all_cells_share_seeds_and_splits_and_nothing_else_differs(
    tmp_path: Path, digits: TrainingSet, digits_test: TestSet
) -> None:
    ablation = small(tmp_path, n_seeds=3)
    job = ablation_job(ablation, "factorial", "", digits, digits_test)
    assert job is not None
    assert job.n_trials == 8 * 2 * 3
    specs = [job.make_plan().suggest(number, [], []) for number in range(job.n_trials)]
    by_block: dict[object, set[NetworkParams]] = {}
    for spec in specs:
        by_block.setdefault((spec.seeds, spec.data), set()).add(spec.params)
        assert spec.training == ablation.training
        assert spec.train_rows is None
    assert len(by_block) == 6
    assert all(params == {ablation.params(cell) for cell in CELLS} for params in by_block.values())
    assert len({spec.seeds for spec in specs}) == 3


@pytest.mark.parametrize("part", ["factorial", "retuned", "doses", "sizes"])
def test_more_seeds_continue_what_is_there(
    tmp_path: Path, digits: TrainingSet, digits_test: TestSet, part: str
) -> None:
    ablation = small(tmp_path, n_seeds=4, axes=True)
    chosen = dict.fromkeys(CELLS, 0.003)
    few, many = (
        ablation_job(a, part, "", digits, digits_test, chosen)  # type: ignore[arg-type]
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
    ablation = small(tmp_path, axes=True)
    jobs = {
        part: ablation_job(ablation, part, "", digits, digits_test, dict.fromkeys(CELLS, 0.003))
        for part in PARTS
    }
    seeds = {}
    for part, job in jobs.items():
        assert job is not None
        specs = [job.make_plan().suggest(number, [], []) for number in range(job.n_trials)]
        assert (job.test_set is None) == (part == "tuning")
        assert all((spec.readout_rule is None) == (part == "tuning") for spec in specs)
        assert not any(spec.reads_test_set for spec in specs)
        seeds[part] = {spec.seeds for spec in specs}
    assert not seeds["tuning"] & seeds["factorial"]
    assert seeds["retuned"] | seeds["doses"] | seeds["sizes"] <= seeds["factorial"]


def test_a_learning_rate_is_chosen_by_validation_accuracy_and_a_tie_keeps_the_documented_one(
    tmp_path: Path, digits: TrainingSet, digits_test: TestSet
) -> None:
    ablation = small(tmp_path, axes=True)
    job = ablation_job(ablation, "tuning", "", digits, digits_test)
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
    retuned = ablation_job(ablation, "retuned", "", digits, digits_test, chosen)
    assert retuned is not None
    specs = [retuned.make_plan().suggest(n, [], []) for n in range(retuned.n_trials)]
    assert {spec.params.l2 for spec in specs} == {0.001}  # the others keep their runs


def test_doses_do_not_repeat_what_a_cell_has(tmp_path: Path) -> None:
    ablation = load_ablation(EXPERIMENTS / "ablation.toml")
    assert len(dose_arms(ablation)) == 3 + 3
    assert not {arm.params for arm in dose_arms(ablation)} & {ablation.params(c) for c in CELLS}


def test_a_size_as_large_as_the_split_is_refused(
    tmp_path: Path, digits: TrainingSet, digits_test: TestSet
) -> None:
    ablation = small(tmp_path, axes=True)
    sizes = ablation.training_size
    assert sizes is not None
    large = sizes.sizes[0].model_copy(update={"rows": 1150})
    ablation = ablation.model_copy(
        update={"training_size": sizes.model_copy(update={"sizes": (large,)})}
    )
    with pytest.raises(ConfigError, match="fewer than the 1150"):
        ablation_job(ablation, "sizes", "", digits, digits_test)


def test_the_file_for_mnist_runs_on_the_stand_in_with_the_same_shares_of_rows(
    digits: TrainingSet, digits_test: TestSet
) -> None:
    written = load_ablation(EXPERIMENTS / "ablation.toml")
    said = io.StringIO()
    ablation = fitted_ablation(written, digits, Console(file=said))
    assert ablation.validation_size == 287  # 12,000 of 60,000 rows is 287 of 1,437
    assert written.training_size is not None
    assert ablation.training_size is not None
    assert [size.rows for size in ablation.training_size.sizes] == [24, 120, 478]
    assert "287 of the stand-in's 1,437" in said.getvalue()
    assert "24, 120, 478" in said.getvalue()
    job = ablation_job(ablation, "sizes", "", digits, digits_test)
    assert job is not None
    assert job.n_trials == 3 * 2 * written.training_size.n_seeds * len(written.split_seeds)


def test_an_ablation_whose_rows_are_there_stays_as_it_is_written(
    tmp_path: Path, digits: TrainingSet
) -> None:
    ablation, said = small(tmp_path, axes=True), io.StringIO()
    assert fitted_ablation(ablation, digits, Console(file=said)) == ablation
    assert said.getvalue() == ""


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


# --- the read-outs ---------------------------------------------------------------------------

PARAMS = NetworkParams(
    units_1=48, units_2=24, units_3=16, dropout_1=0.0, dropout_2=0.0, l2=0.0, learning_rate=0.02
)
RULE = EarlyStoppingConfig(monitor="val/loss", patience=2)


@pytest.mark.usefixtures("one_thread")
def test_second_read_out_is_what_early_stopping_would_have_kept(
    digits: TrainingSet, digits_test: TestSet
) -> None:
    """Against a run that does stop, and Keras's own measurements of the kept weights."""
    from mnist_study.execution.run_trial import run_trial
    from mnist_study.training import model, trainer

    splits = split(digits, validation_size=287, split_seed=0)
    config = Training(batch_size=64, epochs=25, schedule="constant")
    spec = TrialSpec(
        0, PARAMS, derive_seeds(1), config, DataConfig(validation_size=287, split_seed=0),
        readout_rule=RULE, keeps_model=False,
    )  # fmt: skip
    full = run_trial(spec, splits, test_set=digits_test)
    plain = run_trial(replace(spec, readout_rule=None, keeps_model=True), splits)
    stops = config.model_copy(update={"early_stopping": RULE})
    stopped = run_trial(
        replace(spec, readout_rule=None, training=stops, reads_test_set=True),
        splits,
        test_set=digits_test,
    )
    last, restored = full.readouts
    assert full.model_keras is None
    assert plain.model_keras is not None
    assert digest([replace(full, readouts=())]) == digest([plain])
    assert last.weights_sha256 == full.weights_sha256
    assert (last.epoch, last.epochs_trained) == (25, 25)
    assert len(stopped.epochs) < 25  # otherwise this shows nothing
    assert restored.weights_sha256 == stopped.weights_sha256
    assert (restored.epoch, restored.epochs_trained) == (stopped.best_epoch, len(stopped.epochs))
    assert restored.test_accuracy == stopped.test_metrics["test/accuracy"]
    assert restored.test_loss == pytest.approx(stopped.test_metrics["test/loss"], rel=1e-4)
    assert restored.train_accuracy == stopped.restored_train_accuracy

    trained = trainer.train(PARAMS, spec.seeds, config, splits)
    network = model.build_model(PARAMS, spec.seeds)
    network.set_weights(list(trained.weights))
    probabilities = network.predict(digits_test.images / np.float32(255), verbose=0)
    correct = probabilities.argmax(axis=1) == digits_test.labels
    assert np.array_equal(last.correct_images(360), correct)
    ece = stats.expected_calibration_error(probabilities, digits_test.labels)
    assert last.calibration_error == pytest.approx(ece, abs=1e-5)


@pytest.mark.usefixtures("one_thread")
def test_a_run_on_a_part_of_the_rows_trains_and_measures_on_that_part(
    digits: TrainingSet, digits_test: TestSet
) -> None:
    from mnist_study.execution.run_trial import run_trial

    splits = split(digits, validation_size=287, split_seed=0)
    spec = TrialSpec(
        0, PARAMS, derive_seeds(2), Training(batch_size=64, epochs=2, schedule="constant"),
        DataConfig(validation_size=287, split_seed=0), readout_rule=RULE,
        train_rows=TrainRows(100, 3), keeps_model=False,
    )  # fmt: skip
    part = run_trial(spec, splits, test_set=digits_test)
    by_hand = run_trial(
        replace(spec, train_rows=None),
        take_rows(splits, n_rows=100, subset_seed=3),
        test_set=digits_test,
    )
    assert part.readouts == by_hand.readouts
    assert digest([part]) == digest([by_hand])
    assert part.readouts[0].train_accuracy * 100 == pytest.approx(
        round(part.readouts[0].train_accuracy * 100)
    )


def test_read_outs_survive_the_store_and_enter_digest_and_ledger(
    tmp_path: Path, digits: TrainingSet, digits_test: TestSet
) -> None:
    ablation = small(tmp_path)
    history = draw_ablation(tmp_path, ablation, digits, digits_test, {}, ("factorial",))
    again = History.open(f"sqlite:///{tmp_path / 'optuna.db'}", history.name)
    assert [r.readouts for r in again.results] == [r.readouts for r in history.results]
    assert digest(again.results) == digest(history.results)
    assert not again.identity.keeps_models
    first, *others = history.results
    changed = replace(first.readouts[1], test_loss=0.5)
    other = replace(first, readouts=(first.readouts[0], changed))
    assert digest([other, *others]) != digest(history.results)
    assert digest([replace(first, readouts=())]) != digest([first])

    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.record("mnist-study ablation", "digits", first)
    readings = ledger.readings()
    assert [r.weights_sha256 for r in readings] == [r.weights_sha256 for r in first.readouts]
    assert readings[0].result["test/accuracy_last"] == first.readouts[0].test_accuracy
    assert readings[1].result["test/accuracy_restored"] == first.readouts[1].test_accuracy


def test_bits_of_images_come_back_in_order() -> None:
    from mnist_study.core.trials import pack_bits

    correct = np.random.default_rng(0).random(1003) > 0.1
    readout = Readout("last", 1, 1, "", 1.0, 0.0, 0.9, 0.1, 0.0, pack_bits(correct))
    assert np.array_equal(readout.correct_images(1003), correct)
    assert pack_bits(np.array([True] + [False] * 7)) == "gA=="  # the highest bit comes first


# --- the statistics --------------------------------------------------------------------------


def drawn_factorial(
    shift: Callable[[tuple[str, ...], str], float],
    *,
    n_seeds: int = 12,
    noise: float = 0.001,
    seed: int = 0,
) -> Factorial:
    """Draw a factorial whose test accuracy and gap are shifted by cell and read-out."""
    rng = np.random.default_rng(seed)
    shape = (2, 2, 2, 3, n_seeds)
    names = ("test_accuracy", "test_loss", "overfitting_gap", "calibration_error",
             "epochs_trained", "accuracy_deviation")  # fmt: skip
    values, correct = {}, {}
    shared = noise * rng.standard_normal((3, n_seeds))
    for point in ("last", "restored"):
        for name in names:
            values[name, point] = 0.02 + shared + noise * rng.standard_normal(shape)
        for cell in CELLS:
            for name in ("test_accuracy", "overfitting_gap"):
                values[name, point][cell_index(cell)] += shift(cell, point)
        correct[point] = rng.random((*shape, 60)) < 0.9
    return Factorial(tuple(range(n_seeds)), 0, values, correct)  # type: ignore[arg-type]


def analysed(data: Factorial, *hypotheses: Hypothesis) -> Analysis:
    ablation = load_ablation(EXPERIMENTS / "ablation.toml")
    return analyse(data, hypotheses or ablation.hypotheses, ablation.statistics)


def claim(**settings: object) -> Hypothesis:
    given = {"claim": "x", "metric": "test_accuracy", "direction": "increase", "margin": 0.001}
    return Hypothesis.model_validate(given | settings)


def test_effects_are_the_contrasts_of_the_factorial() -> None:
    data = drawn_factorial(lambda cell, point: 0.01 * ("l2" in cell) * (point == "last"))
    found = {(e.outcome, e.name, e.where): e for e in analysed(data).effects}
    for point in ("last", "restored"):
        for wanted in factorial_contrasts(data.values["test_accuracy", point], FACTORS):
            effect = found["test_accuracy", wanted.name, point].contrast
            assert effect.estimate.estimate == pytest.approx(wanted.estimate.estimate, abs=1e-12)
            assert effect.p_value == pytest.approx(wanted.p_value, rel=1e-8)
            per_image = stats.block_contrasts(data.correct[point], FACTORS)[wanted.factors]
            crossed = stats.crossed_mean(per_image.mean(axis=0)).interval()
            got = found["test_accuracy", wanted.name, point].crossed
            assert got is not None
            assert (got.low, got.high) == pytest.approx((crossed.low, crossed.high), abs=1e-12)
    both = np.stack([data.values["test_accuracy", p] for p in ("last", "restored")], axis=3)
    for wanted in factorial_contrasts(both, (*FACTORS, "early_stopping")):
        if "early_stopping" in wanted.factors:
            effect = found["test_accuracy", wanted.name, "both"].contrast
            assert effect.estimate.estimate == pytest.approx(wanted.estimate.estimate, abs=1e-12)
    l2 = found["test_accuracy", "l2", "last"].contrast
    assert l2.interval.contains(0.01)
    assert not l2.interval.contains(0.0)


def test_differences_are_paired_within_seed_and_split() -> None:
    data = drawn_factorial(lambda cell, point: 0.01 * len(cell))
    effect = next(
        e for e in analysed(data).differences
        if (e.outcome, e.where, e.name) == ("test_accuracy", "last", "l2 - none")
    )  # fmt: skip
    on, off = (
        data.values["test_accuracy", "last"][cell_index(cell)].mean(axis=0)
        for cell in (("l2",), NONE)
    )
    wanted = stats.paired_effect(on, off)
    assert effect.contrast.estimate.estimate == pytest.approx(wanted.estimate.estimate, abs=1e-12)
    assert effect.contrast.p_value == pytest.approx(wanted.p_value, rel=1e-8)
    assert effect.improves == wanted.probability_positive.estimate


def test_improvement_is_a_fall_where_less_is_better() -> None:
    data = drawn_factorial(lambda cell, point: 0.01 * ("l2" in cell))
    found = {(e.outcome, e.name, e.where): e.improves for e in analysed(data).effects}
    assert found["test_accuracy", "l2", "last"] == 1.0
    assert found["overfitting_gap", "l2", "last"] == 0.0


def test_declared_interval_over_images_is_that_of_the_mean_squares_of_both_ways() -> None:
    data = drawn_factorial(lambda cell, point: 0.0)
    arms = [{"on": list(on), "readout": "last"} for on in (DOCUMENTED, NONE)]
    both_ends = claim(treatment=arms[0], control=arms[1])
    (decision,) = analysed(data, both_ends).decisions
    on, off = (data.correct["last"][cell_index(cell)] for cell in (DOCUMENTED, NONE))
    wanted = stats.crossed_mean(on.mean(axis=0) - off.mean(axis=0)).interval()
    found = decision.effect.crossed
    assert found is not None
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=1e-12)


def test_a_claim_of_lying_within_leaves_the_test_of_a_difference_exploratory() -> None:
    data = drawn_factorial(lambda cell, point: 0.0)
    analysis = analysed(data, claim(effect="l2", readout="last", direction="within"))
    shown = [*analysis.effects, *analysis.differences, *analysis.stopping]
    assert not any(effect.is_declared for effect in shown)
    assert [e.adjusted for e in shown] == pytest.approx(
        stats.benjamini_hochberg([e.contrast.p_value for e in shown])
    )


@pytest.mark.parametrize(
    ("true_effect", "noise", "margin", "verdict"),
    [
        (0.01, 0.001, 0.001, "supported"),
        (-0.01, 0.001, 0.001, "contradicted"),
        (0.0, 0.0002, 0.005, "equivalent"),
        (0.0, 0.01, 0.0001, "undecided"),
    ],
)
def test_verdict_follows_from_effect_noise_and_margin(
    true_effect: float, noise: float, margin: float, verdict: str
) -> None:
    data = drawn_factorial(lambda cell, point: true_effect * ("l2" in cell), noise=noise, seed=2)
    (decision,) = analysed(data, claim(effect="l2", readout="last", margin=margin)).decisions
    assert decision.verdict.value == verdict


@pytest.mark.parametrize(
    ("level", "verdict"), [(0.0, "supported"), (0.05, "contradicted"), (0.0298, "undecided")]
)
def test_a_claim_of_being_within_a_margin_is_decided_by_the_equivalence_test(
    level: float, verdict: str
) -> None:
    data = drawn_factorial(lambda cell, point: level, noise=0.002, seed=3)
    arm = {"on": list(DOCUMENTED), "readout": "restored"}
    within = claim(metric="overfitting_gap", direction="within", margin=0.05, treatment=arm)
    (decision,) = analysed(data, within).decisions
    assert decision.verdict.value == verdict


def test_declared_family_is_corrected_by_holm_and_the_rest_by_benjamini_and_hochberg() -> None:
    analysis = analysed(drawn_factorial(lambda cell, point: 0.0006 * ("l2" in cell), seed=4))
    raw = [
        d.effect.tost.p_value if d.hypothesis.direction == "within" else d.effect.contrast.p_value
        for d in analysis.decisions
    ]
    holm = stats.holm(raw)
    assert [d.effect.adjusted for d in analysis.decisions] == pytest.approx(holm)
    shown = [*analysis.effects, *analysis.differences, *analysis.stopping]
    rest = [e for e in shown if not e.is_declared]
    wanted = stats.benjamini_hochberg([e.contrast.p_value for e in rest])
    assert [e.adjusted for e in rest] == pytest.approx(wanted)
    # Ten claims are about effects of the tables, which are not exploratory: Holm there too.
    declared = {(e.outcome, e.contrast.p_value): e.adjusted for e in shown if e.is_declared}
    assert len(declared) == 10
    for decision in analysis.decisions[:10]:
        effect = decision.effect
        assert declared[effect.outcome, effect.contrast.p_value] == effect.adjusted


def test_equivalence_of_declared_claims_is_corrected_by_holm_too() -> None:
    """Alone the test finds equivalence, in a family of 40 claims it does not."""
    data = drawn_factorial(lambda cell, point: 0.0, noise=0.001, seed=6)
    alone = claim(effect="l2", readout="last", margin=0.0003)
    (decision,) = analysed(data, alone).decisions
    assert 0.05 / 40 < decision.effect.tost.p_value < 0.05
    assert decision.margin_p == decision.effect.tost.p_value
    assert decision.verdict.value == "equivalent"
    far = claim(effect="dropout_2", readout="restored", margin=1e-6)
    decisions = analysed(data, alone, *[far] * 39).decisions
    assert [d.margin_p for d in decisions] == pytest.approx(
        stats.holm([d.effect.tost.p_value for d in decisions])
    )
    assert decisions[0].verdict.value == "undecided"


def test_lying_outside_a_margin_is_corrected_by_holm_too() -> None:
    """Alone the interval lies outside, in a family of 40 claims too little so."""
    data = drawn_factorial(lambda cell, point: 0.03, noise=0.002, seed=3)
    arm = {"on": list(DOCUMENTED), "readout": "restored"}
    probe = claim(metric="overfitting_gap", direction="within", margin=0.05, treatment=arm)
    estimate = analysed(data, probe).decisions[0].effect.contrast.estimate
    margin = estimate.estimate - 2.5 * estimate.standard_error
    within = probe.model_copy(update={"margin": margin})
    (decision,) = analysed(data, within).decisions
    assert decision.effect.contrast.interval.low > margin
    assert decision.verdict.value == "contradicted"
    other = claim(effect="l2", readout="last")
    family = analysed(data, *[other] * 39, within).decisions
    p_values = [d.effect.contrast.p_value for d in family[:39]]
    wanted = stats.holm([*p_values, stats.outside_p_value(estimate, margin)])[-1]
    assert family[-1].margin_p == pytest.approx(wanted)
    assert family[-1].margin_p > 0.05
    assert family[-1].verdict.value == "undecided"


def test_two_seeds_say_nothing_about_how_much_seeds_differ() -> None:
    """Both lie equally far from their median, so that the difference seems free of error."""
    accuracy = np.random.default_rng(0).normal(0.97, 0.002, (2, 2, 2, 3, 2))
    data = drawn_factorial(lambda cell, point: 0.0, n_seeds=2)
    for point in ("last", "restored"):
        data.values["accuracy_deviation", point][:] = deviations(accuracy)
        accuracy = accuracy + np.random.default_rng(1).normal(0, 0.002, accuracy.shape)
    stable = claim(
        metric="accuracy_deviation", direction="decrease", margin=0.0002,
        treatment={"on": list(FACTORS), "readout": "restored"},
        control={"on": list(FACTORS), "readout": "last"},
    )  # fmt: skip
    analysis = analysed(data, stable)
    (decision,) = analysis.decisions
    assert decision.verdict == "undecided"
    assert decision.effect.contrast.interval.high == np.inf
    found = [e for e in analysis.effects if e.outcome == "accuracy_deviation"]
    assert {effect.contrast.p_value for effect in found} == {1.0}
    assert not any(effect.tost.p_value < 0.5 for effect in found)


def test_a_seed_that_lacks_a_run_is_left_out_of_every_cell(
    tmp_path: Path, digits: TrainingSet, digits_test: TestSet
) -> None:
    history = draw_ablation(
        tmp_path, small(tmp_path, n_seeds=4), digits, digits_test, {}, ("factorial",)
    )
    runs = runs_of(history)
    broken = next(r for r in runs if r.seed == 2 and r.cell == ("l2",))
    runs[runs.index(broken)] = replace(
        broken, result=replace(broken.result, state=TrialState.FAILED, readouts=())
    )
    data = factorial(runs, 360)
    assert data is not None
    assert data.seeds == (0, 1, 3)
    assert data.n_dropped == 1
    kept = data.values["test_accuracy", "last"][cell_index(DOCUMENTED)]
    wanted = [
        [
            next(r for r in runs if (r.cell, r.split, r.seed) == (DOCUMENTED, i, j))
            .readout("last")
            .test_accuracy
            for j in data.seeds
        ]
        for i in (0, 1)
    ]
    assert kept.tolist() == wanted


# --- in words --------------------------------------------------------------------------------


def decided(
    estimate: float, error: float, verdict: str, *, crossed: stats.Interval | None = None
) -> Decision:
    t_estimate = stats.TEstimate(estimate, error, 19)
    contrast = replace(
        stats.contrast_of_blocks(np.zeros((1, 20)), ["l2"]),
        estimate=t_estimate,
        interval=t_estimate.interval(),
        p_value=t_estimate.p_value,
    )
    hypothesis = claim(effect="l2", readout="last", margin=0.001)
    tost = stats.equivalence(t_estimate, hypothesis.margin)
    effect = Effect("test_accuracy", "last", contrast, tost, t_estimate.p_value, True, crossed)
    return Decision(hypothesis, effect, 0.04, stats.Verdict(verdict))


@pytest.mark.parametrize(
    ("estimate", "error", "verdict", "wanted"),
    [
        (0.005, 0.001, "supported", []),
        (-0.005, 0.001, "contradicted", []),
        (0.0015, 0.0004, "supported", ["perhaps smaller than the margin of 0.100"]),
        (-0.0008, 0.0002, "contradicted", ["perhaps smaller than the margin of 0.100"]),
        (0.0005, 0.0001, "supported", ["smaller than the margin of 0.100"]),
        (-0.0005, 0.0001, "contradicted", ["smaller than the margin of 0.100"]),
        (0.0025, 0.001, "undecided", ["not told from none after the correction"]),
        (0.0005, 0.001, "undecided", []),
        (0.0001, 0.0001, "equivalent", []),
    ],
)
def test_a_difference_says_whether_its_interval_exceeds_the_margin(
    estimate: float, error: float, verdict: str, wanted: list[str]
) -> None:
    decision = decided(estimate, error, verdict)
    assert remarks(decision) == wanted
    for remark in wanted:
        assert remark in sentence(decision)
        assert remark in brief(decision)
        assert f"**{verdict}**, {remark}" in verdict_table([decision], None, 0.05)[2]


def test_a_difference_that_other_images_might_not_show_says_so() -> None:
    wide = stats.Interval(0.005, -0.001, 0.011)
    decision = decided(0.005, 0.001, "supported", crossed=wide)
    assert remarks(decision) == ["on these test images only"]
    narrow = stats.Interval(0.005, 0.001, 0.009)
    assert remarks(decided(0.005, 0.001, "supported", crossed=narrow)) == []


def test_sentence_gives_the_corrected_p_values() -> None:
    text = sentence(decided(0.0001, 0.0003, "equivalent"))
    assert "adjusted p = 0.743; equivalence within 0.100, adjusted p = 0.040" in text


def test_detectable_effect_now_is_that_of_the_spread_between_seeds() -> None:
    blocks = np.random.default_rng(0).normal(0, 0.002, (3, 20))
    contrast = stats.contrast_of_blocks(blocks, ["l2"])
    tost = stats.equivalence(contrast.estimate, 0.001)
    effect = Effect("test_accuracy", "last", contrast, tost, 1.0)
    sd = float(np.std(blocks.mean(axis=0), ddof=1))
    wanted = stats.smallest_detectable_effect(sd, 20, alpha=0.05, power=0.8)
    assert detectable_now(effect, 20, alpha=0.05, power=0.8) == pytest.approx(wanted)


def test_spread_of_a_cell_is_that_of_the_analysis_of_variance_over_splits() -> None:
    data = drawn_factorial(lambda cell, point: 0.01 * ("l2" in cell), seed=8)
    values = 100 * data.values["test_accuracy", "last"][cell_index(NONE)]
    pooled = np.sqrt(np.var(values, axis=1, ddof=1).mean())  # equal numbers: the mean variance
    assert (
        f"| no regularization | last | {values.mean():.3f} ± {pooled:.3f} |" in cell_table(data)[2]
    )


def test_deviations_are_those_of_brown_and_forsythes_test() -> None:
    first, second = np.random.default_rng(1).normal(0, [[1.0], [1.5]], (2, 20))
    of_first, of_second = deviations(np.stack([first, second]))
    oracle = scipy.stats.levene(first, second, center="median")
    found = scipy.stats.ttest_ind(of_first, of_second)
    assert found.statistic**2 == pytest.approx(oracle.statistic, rel=1e-8)
    assert found.pvalue == pytest.approx(oracle.pvalue, rel=1e-8)


# --- the report ------------------------------------------------------------------------------


def test_every_run_stands_at_the_seed_split_and_cell_of_its_specification(
    tmp_path: Path, digits: TrainingSet, digits_test: TestSet
) -> None:
    """All comparisons are paired by these places."""
    ablation = small(tmp_path, n_seeds=3)
    history = draw_ablation(tmp_path, ablation, digits, digits_test, {}, ("factorial",))
    job = ablation_job(ablation, "factorial", "", digits, digits_test)
    assert job is not None
    specs = [job.make_plan().suggest(number, [], []) for number in range(job.n_trials)]
    seeds = list(dict.fromkeys(spec.seeds for spec in specs))
    runs = runs_of(history)
    assert len(runs) == len(specs)
    for run, spec in zip(runs, specs, strict=True):
        assert seeds[run.seed] == spec.seeds
        assert ablation.split_seeds[run.split] == spec.data.split_seed
        assert run.cell is not None
        assert ablation.params(run.cell) == spec.params == run.result.params


def test_report_opens_with_what_was_found_and_what_could_have_been(
    tmp_path: Path, digits: TrainingSet, digits_test: TestSet
) -> None:
    ablation = small(tmp_path, n_seeds=4, axes=True)
    history = draw_ablation(tmp_path, ablation, digits, digits_test, {"l2": -0.02})
    record = AblationRecord(history)
    markdown = read_record(history).tables["README.md"]
    assert isinstance(markdown, str)
    top = markdown.partition("## Verdicts")[0].splitlines()
    assert record.analysis is not None
    for decision in record.analysis.decisions:
        (line,) = (t for t in top if t.startswith("- **") and decision.hypothesis.claim in t
                   and "chosen anew" not in t)  # fmt: skip
        assert brief(decision) in line
        heading = line.partition(":**")[0].removeprefix("- **").lower()
        wanted = "no difference that counts"
        assert heading == (wanted if decision.verdict == "equivalent" else decision.verdict.value)
    assert any(t.startswith("- **Contradicted:** L2 raises test accuracy (-") for t in top)
    assert any("With the learning rate of each cell chosen anew** (2 seeds" in t for t in top)
    assert any("Computed before running: smallest main effect" in t for t in top)
    assert len(top) < 25


def test_report_reads_all_parts_and_is_the_same_twice(
    tmp_path: Path, digits: TrainingSet, digits_test: TestSet
) -> None:
    ablation = small(tmp_path, n_seeds=4, axes=True)
    history = draw_ablation(tmp_path, ablation, digits, digits_test, {"l2": -0.02})
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    texts = []
    for name in ("one", "two"):
        (main,) = (h for h in History.open_all(url) if not is_part(h))
        assert main.name == history.name
        read_record(main).write(tmp_path / name)
        texts.append({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()})
    assert texts[0] == texts[1]
    figures = {name for name in texts[0] if name.endswith(".png")}
    assert len(figures) == 7
    markdown = texts[0]["README.md"].decode()
    assert {f for f in re.findall(r"\((\w+\.png)\)", markdown)} == figures
    assert "| L2 raises test accuracy | **contradicted** |" in markdown
    assert "the digits stand-in (not MNIST)" in markdown
    assert "smallest main effect on test accuracy" in markdown

    record = AblationRecord(history)
    n_runs = sum(len(h.results) for h in record.parts.values())
    n_tuning = len(record.parts["tuning"].results)
    assert set(record.parts) == set(PARTS)
    assert f"was read {2 * (n_runs - n_tuning)} times" in markdown
    rows = texts[0]["runs.csv"].decode().splitlines()
    assert len(rows) - 1 == 2 * (n_runs - n_tuning) + n_tuning
    # A number of the report by hand: the mean of a cell's test accuracy at the last epoch.
    accuracies = [
        r.readouts[0].test_accuracy for r in history.results if r.params == ablation.params(NONE)
    ]
    assert f"| no regularization | last | {100 * np.mean(accuracies):.3f} ±" in markdown


def test_curves_take_the_runs_of_the_factorial_where_they_fit(
    tmp_path: Path, digits: TrainingSet, digits_test: TestSet
) -> None:
    ablation = small(tmp_path, n_seeds=4, axes=True)
    record = AblationRecord(draw_ablation(tmp_path, ablation, digits, digits_test, {}))
    for axis, xs in (("l2", [0.0, 0.0003, 0.001]), ("dropout", [0.0, 1.0, 2.0])):
        curve = record.dose_curves[axis]
        assert [place.x for place in curve] == xs
        assert [place.is_documented for place in curve] == [x in (0.001, 1.0) for x in xs]
        assert {len(place.runs) for place in curve} == {2 * 2}
        assert {run.part for place in curve for run in place.runs} == {"factorial", "doses"}
    assert [place.x for place in record.size_curves[NONE]] == [200, 1150]
    assert record.retuned is not None
    assert record.retuned.seeds == (0, 1)


@pytest.mark.parametrize("n_blocks", [2, 4])
def test_an_ablation_interrupted_in_its_axes_is_reported(
    tmp_path: Path, digits: TrainingSet, digits_test: TestSet, n_blocks: int
) -> None:
    """One seed has no spread; two have a curve."""
    ablation = small(tmp_path, n_seeds=2, axes=True)
    whole = draw_ablation(tmp_path, ablation, digits, digits_test, {})
    for part in ("doses", "sizes"):
        folder = tmp_path / part
        folder.mkdir()
        stopped = draw_ablation(folder, ablation, digits, digits_test, {}, ("factorial",))
        source = whole.sibling(f"{whole.name}-{part}")
        assert source is not None
        target = History.open(f"sqlite:///{folder / 'optuna.db'}", source.name)
        target.check_identity(source.identity, allow_mixed=False)
        for number in range(n_blocks * len(source.identity_as(AblationIdentity).arms)):
            target.append(source.results[number], f"run-{number}")
        found = read_record(stopped)
        heading = {"doses": "## Dose-response", "sizes": "## Size of the training set"}[part]
        name = {"doses": "dose_response", "sizes": "training_size"}[part]
        is_drawn = n_blocks == 4
        assert (heading in found.tables["README.md"]) == (name in found.figures) == is_drawn


def test_other_parts_say_where_they_are_reported(
    tmp_path: Path, digits: TrainingSet, digits_test: TestSet
) -> None:
    ablation = small(tmp_path, axes=True)
    draw_ablation(tmp_path, ablation, digits, digits_test, {})
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    parts = [h for h in History.open_all(url) if is_part(h)]
    assert len(parts) == 4
    for part in parts:
        found = read_record(part)
        assert "report of tiny-ablation-digits" in found.tables["README.md"]


def test_factorial_alone_is_reported(
    tmp_path: Path, digits: TrainingSet, digits_test: TestSet
) -> None:
    history = draw_ablation(tmp_path, small(tmp_path), digits, digits_test, {}, ("factorial",))
    found = read_record(history)
    assert set(found.figures) == {"paired_differences", "interactions", "seeds", "epoch_curves"}
    assert "## Dose-response" not in found.tables["README.md"]


def test_tidy_rows_hold_what_was_read_out(
    tmp_path: Path, digits: TrainingSet, digits_test: TestSet
) -> None:
    history = draw_ablation(tmp_path, small(tmp_path), digits, digits_test, {}, ("factorial",))
    run = runs_of(history)[0]
    header, first, *_ = (line.split(",") for line in tidy_table([run]).splitlines())
    row = dict(zip(header, first, strict=True))
    readout = asdict(run.readout("last"))
    for name in ("test_accuracy", "test_loss", "calibration_error", "train_accuracy"):
        assert float(row[name]) == readout[name]
    assert float(row["overfitting_gap"]) == readout["train_accuracy"] - readout["test_accuracy"]
    assert (row["part"], row["readout"], row["seed"], row["split"]) == (
        "factorial", "last", "0", "0",
    )  # fmt: skip
