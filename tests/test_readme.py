"""README.md shows the figures of the published results."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from mnist_study.bench.measurements import SPREAD_COLUMNS, describe_ratio, spread_cells

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture
def program() -> ModuleType:
    path = REPOSITORY / "experiments" / "readme.py"
    spec = importlib.util.spec_from_file_location("experiments_readme", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_figures_of_the_readme_are_those_of_the_published_results(program: ModuleType) -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert program.rewritten(text) == text, "run `make readme`"


def test_the_ablation_ends_at_the_configuration_that_was_confirmed(program: ModuleType) -> None:
    document = tomllib.loads((REPOSITORY / "experiments" / "ablation.toml").read_text("utf-8"))
    assert document["steps"]["found"] == program.winner_params()


def test_a_result_that_changes_is_told_and_written(
    program: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text((REPOSITORY / "README.md").read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(program, "README", readme)
    assert program.main(["--check"]) == 0
    found = program.figures() | {"champion": "12.34"}
    monkeypatch.setattr(program, "figures", lambda: found)
    assert program.main(["--check"]) == 1
    assert "make readme" in capsys.readouterr().err
    assert "12.34" not in readme.read_text(encoding="utf-8")
    assert program.main([]) == 0
    assert readme.read_text(encoding="utf-8").count("12.34 %") == 2
    assert program.main(["--check"]) == 0


def test_the_winner_and_what_it_gains_are_read_from_the_confirmation(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        "Winner: trial 4, over 10 fresh seeds and splits; units_1 8, units_2 4, units_3 2, "
        "dropout_1 0.0567, dropout_2 0.276, l2 5.89e-05, learning_rate 0.0017.\n"
        "Over the documented network: +0.43 points (+0.35 to +0.51) over seeds and splits; "
        "+0.31 to +0.55 corrected for the overlap of the training sets.\n\n"
        "| trial | mean (%) | 95 % interval | parameters | |\n|---|---|---|---|---|\n"
        "| 4 | 98.37 | 98.28 to 98.46 | 430,036 | winner |\n\n"
        "Screening:\n\n| seconds | hardware |\n|---|---|\n| 700 | a machine |\n\n"
        "Second stage:\n\n| seconds | hardware |\n|---|---|\n| 800 | another one |\n"
    )
    monkeypatch.setattr(program, "published", lambda name: text)
    found = program.confirmation_figures()
    assert (found["winner"], found["winner_span"]) == ("98.37", "98.28 to 98.46")
    assert (found["winner_widths"], found["winner_trial"]) == ("8-4-2", "4")
    assert (found["gain"], found["gain_span"]) == ("+0.43", "+0.35 to +0.51")
    assert found["gain_corrected"] == "+0.31 to +0.55"
    assert found["confirmation_seconds"] == "1500"
    assert found["confirmation_hardware"] == "another one"


HEAD = (
    "| the document | claim | verdict | found | both executions agree | read at |\n"
    "| --- | --- | --- | --- | --- | --- |\n"
)
SETTINGS = (
    "\n| claim | setting | n (left out) | estimate (interval) |\n| --- | --- | --- | --- |\n"
    "| L2 raises test accuracy without dropout | recipe, last epoch | 8 | -0.1 (-0.2 to 0.0) |\n"
    "|  | recipe, restored | 7 (1) | +0.1 (0.0 to +0.2) |\n"
    "| L2 raises test accuracy with both dropouts | recipe, restored | 7 | +0.3 (0.2 to 0.4) |\n"
    "|  | recipe, last epoch | 8 | +0.5 (0.4 to 0.6) |\n"
)
ABLATION = (
    "- In the recipe (last epoch) L2 changes test accuracy by -0.1 (-0.2 to 0.0) points without "
    "dropout and by +0.5 (+0.4 to +0.6) points with both dropouts.\n"
    "- In the recipe with averaged weights L2 changes test accuracy by -0.1 (-0.2 to 0.0) points "
    "without dropout and by +0.5 (+0.4 to +0.6) points with both dropouts.\n- Finding two.\n\n"
    "Of 6 declared claims: 1 supported, 5 undecided.\n\n" + HEAD +
    "| A sentence. | Another claim | **supported** | +1 points | yes | both recipes; n = 8 |\n"
    "| A second. | not tested |  | the reason |  |  |\n"
    "|  | Dropout and L2 together reduce the overfitting gap | **undecided** | first: 2 | yes "
    "| x |\n"
    "|  | Dropout and L2 together raise test accuracy | **undecided** | first: 3 | yes | x |\n"
    "|  | L2 raises test accuracy on average over the dropouts | **undecided** | first: 0 | yes "
    "| x |\n"
    "|  | L2 raises test accuracy without dropout | **undecided** | 0 | yes | x |\n"
    "|  | L2 raises test accuracy with both dropouts | **undecided** | 0 | yes | x |\n\n"
    "| step | runs | test accuracy (%) | change (points) |\n| --- | --- | --- | --- |\n"
    "| documented recipe | 9 | 97.3 (97.2 to 97.4) |  |\n"
    "| batch 128 | 6 | 97.6 (97.5 to 97.7) | +0.3 (+0.2 to +0.4) |\n"
    "| configuration found: 8-4-2 | 5 | 97.8 (97.7 to 97.9) | +0.2 (+0.1 to +0.3) |\n"
    "| all steps together |  |  | +0.5 (+0.4 to +0.6) |\n" + SETTINGS
)  # fmt: skip
TUNED = (
    "- In the recipe at re-tuned learning rates (last epoch) L2 changes test accuracy by "
    "+0.7 (+0.6 to +0.8) points without dropout and by +0.9 (+0.8 to +1.0) points with both "
    "dropouts.\n- The gap changes.\n\nOf 1 declared claims: 1 equivalent.\n\n" + HEAD +
    "| A sentence. | A third | **equivalent** | +0.01 points | yes | re-tuned; n = 9 |\n\n"
    "Chosen learning rates: 0.001 for 3, 0.002 for 5 of 8 combinations.\n"
)  # fmt: skip


@pytest.fixture
def reports(program: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """The published reports of both ablations, in place of the real ones."""
    texts = {"ablation": ABLATION, "ablation_tuned": TUNED}
    monkeypatch.setattr(program, "published", lambda name: texts[name])
    monkeypatch.setattr(program, "RESULTS", tmp_path)
    return texts


def test_a_claim_comes_with_verdict_read_out_and_replication(
    program: ModuleType, reports: dict[str, str], tmp_path: Path
) -> None:
    found = program.ablation_figures()
    assert found["findings"] == "- Finding two."
    counted = "Of 6 claims, declared before the runs: 1 supported, 5 undecided"
    assert found["claims_counted"] == counted
    assert (found["l2_verdict"], found["l2_found"]) == ("undecided", "0 in the first")
    assert (
        found["claims"].splitlines()[0]
        == "| Another claim | supported | +1 points | yes | both recipes; n = 8 |"
    )
    assert (found["gap_found"], found["all_found"]) == ("2 in the first", "3 in the first")
    assert len(found["claims"].splitlines()) == 6
    (tmp_path / "ablation_tuned").mkdir()
    both = program.ablation_figures()
    assert both["findings"] == f"- Finding two.\n- {TUNED.splitlines()[-1]}"
    assert both["claims_counted"] == f"{counted}; of 1 with re-tuned learning rates: 1 equivalent"
    assert both["claims"].splitlines()[6:] == [
        "| A third | equivalent | +0.01 points | yes | re-tuned; n = 9 |"
    ]
    reports["ablation"] = ABLATION.replace(program.HEADLINE_CLAIM, "L2 does something else")
    with pytest.raises(program.NotFoundError, match="L2 raises test accuracy"):
        program.ablation_figures()


def test_what_a_claim_found_is_told_by_recipe(program: ModuleType) -> None:
    found = "first: -0.5 to -0.1 points (of which -0.2); second: +0.1 points"
    assert program.by_recipe(found) == (
        "-0.5 to -0.1 points in the first and +0.1 points in the second"
    )
    with pytest.raises(program.NotFoundError, match="each recipe"):
        program.by_recipe("-0.5 points")


def test_the_effect_of_l2_stands_at_every_setting_of_both_ablations(
    program: ModuleType, reports: dict[str, str], tmp_path: Path
) -> None:
    of_ablation = [
        "| recipe, last epoch | -0.1 (-0.2 to 0.0) | +0.5 (0.4 to 0.6) | 8 |",
        "| recipe, restored | +0.1 (0.0 to +0.2) | +0.3 (0.2 to 0.4) | 7 (1) |",
    ]
    assert program.ablation_figures()["l2_table"].splitlines() == of_ablation
    (tmp_path / "ablation_tuned").mkdir()
    *first, last = program.ablation_figures()["l2_table"].splitlines()
    assert first == of_ablation
    assert last == (
        f"| recipe at re-tuned learning rates, last epoch, {program.OTHER_SEEDS} "
        "| +0.7 (+0.6 to +0.8) | +0.9 (+0.8 to +1.0) | 9 |"
    )
    reports["ablation"] = ABLATION.replace("|  | recipe, last epoch | 8 |", "|  | other | 8 |")
    with pytest.raises(program.NotFoundError, match="with both dropouts"):
        program.ablation_figures()


def test_executions_that_disagree_are_told_with_the_claim(
    program: ModuleType, reports: dict[str, str]
) -> None:
    assert program.ablation_figures()["l2_agree"].endswith("agree on every sign")
    claim = "with both dropouts | **undecided** | 0 |"
    reports["ablation"] = ABLATION.replace(f"{claim} yes", f"{claim} at 2 of 3")
    told = program.ablation_figures()["l2_agree"]
    assert "yes for “L2 raises test accuracy without dropout”" in told
    assert "at 2 of 3 for “L2 raises test accuracy with both dropouts”" in told


def test_the_steps_to_the_champion_are_told_with_what_each_changes(
    program: ModuleType, reports: dict[str, str]
) -> None:
    found = program.ablation_figures()
    assert found["steps_gain"] == "+0.5 (+0.4 to +0.6)"
    assert found["steps_list"] == "batch 128 (+0.3), configuration found (+0.2)"
    assert (found["steps_mean"], found["steps_runs"]) == ("97.8 % (97.7 to 97.9)", "5")
    reports["ablation"] = ABLATION.replace("all steps together", "altogether")
    with pytest.raises(program.NotFoundError, match="all steps together"):
        program.ablation_figures()


def test_ablations_that_share_a_setting_are_compared_run_by_run(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def write(name: str, accuracies: dict[str, list[float]]) -> None:
        rows = [
            f"study,{arm},{readout},{value}"
            for readout, shift in (("last", 0), ("restored", 9))
            for arm, values in accuracies.items()
            for value in np.asarray(values) + shift
        ]
        text = "\n".join(["part,arm,readout,test_accuracy", *rows, "steps,none,last,5"])
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "runs.csv").write_text(text + "\n")

    monkeypatch.setattr(program, "RESULTS", tmp_path)
    cells = {"none": [1.0, 2.0, 3.0], "l2": [4.0, 6.0]}
    write("ablation", cells)
    write("ablation_tuned", {"none": [3.0, 4.0, 5.0], "l2": [5.0, 7.0]})
    # 2 squared over 1/3 + 1/3 is 6, 1 squared over 2/2 + 2/2 a half.
    assert program.compared_ablations() == {
        "n_common_cells": "2",
        "chi_squared": "6.5",
        "chi_squared_p": f"{np.exp(-6.5 / 2):.2f}",  # of two degrees of freedom
        "chi_squared_told": "more than chance explains",
    }
    write("ablation_tuned", cells)
    assert program.compared_ablations()["chi_squared_told"] == "no more than chance explains"
    write("ablation_tuned", {"none": [3.0, 4.0]})
    with pytest.raises(program.NotFoundError, match="l2"):
        program.compared_ablations()
    write("ablation_tuned", cells | {"l2": [5.0]})
    with pytest.raises(program.NotFoundError, match="single run"):
        program.compared_ablations()


def test_the_recipes_are_those_of_the_experiment_file(program: ModuleType) -> None:
    path = REPOSITORY / "experiments" / "ablation.toml"
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    found = program.recipe_figures()
    for name in ("documented", "study"):
        recipe = document["recipes"][name]
        for value in (recipe["batch_size"], recipe["epochs"], recipe["schedule"]):
            assert str(value) in found[f"{name}_recipe"]


def test_the_table_of_speed_is_that_of_the_benchmark(program: ModuleType) -> None:
    def table(title: str, seconds: dict[str, list[float]], *notes: str) -> dict[str, Any]:
        rows = [
            {"": name, **dict(zip(SPREAD_COLUMNS, spread_cells(laps, 2), strict=True)),
             "cores": "1.00", "trials/hour": f"{3600 / np.median(laps):,.0f}"}
            for name, laps in seconds.items()
        ]  # fmt: skip
        return {"title": title, "rows": rows, "notes": list(notes), "samples": seconds}

    def ratio(numerators: list[float], denominators: list[float]) -> str:
        name = "trials per hour, ours over the usual script"
        return describe_ratio(name, numerators, denominators, "at least 8, aim 15")

    ours, script, alone = "our study, 2 workers", "the usual script", "our study, 1 worker"
    of_ours, of_script, of_one = [5.0, 6.0, 7.0], [55.0, 60.0, 63.0], [9.15, 10.5, 11.97]
    of_ours_study, of_script_study = [20.0, 20.0], [88.0, 92.0]
    tables = [
        table("a. Seconds per epoch, batch 32, 48,000 rows", {"trainer": [0.3, 0.4, 0.5]}),
        table("a. Seconds per epoch, batch 128, 48,000 rows", {"trainer": [0.1, 0.2, 0.3]}),
        table(
            "b. Seconds per trial, the documented network",
            {ours: of_ours, script: of_script}, ratio(of_script, of_ours),
        ),
        table(
            "b. Seconds per trial of the documented network, all workers and one; 16 per block",
            {ours: of_ours, alone: of_one},
            describe_ratio("throughput, 2 workers over 1", of_one, of_ours),
            describe_ratio("2 bare trainers at once", [3, 3], [2, 2]),
        ),
        table(
            "b. Seconds per trial, the study's networks",
            {ours: of_ours_study, script: of_script_study}, ratio(of_script_study, of_ours_study),
        ),
    ]  # fmt: skip
    machine = {"cpu": "a processor", "cores": 2}
    of_a = {"machine": machine, "tables": tables[:2]}
    of_b = {"machine": machine, "tables": tables[2:]}
    benchmark = {"parts": {"a": of_a, "b": of_b}}
    values = {
        "n_trials": "60", "gain": "+0.43", "study_seconds": "840", "confirmation_seconds": "1500",
        "candidate_runs": "40", "documented_runs": "30", "confirmation_hardware": "another one",
    }  # fmt: skip
    text = program.SPEED.format(**values, **program.speed_figures(benchmark, values))
    assert "| trainer | 0.40 (0.35 to 0.45) | 0.20 (0.15 to 0.25) | 1.00 |" in text
    assert "| this study, trials per hour | 600 | 180 |" in text
    # Of the rounds: 11, 10 and 9; 4.4 and 4.6; 1.83, 1.75 and 1.71.
    assert "over rounds) | 10.00 (9.50 to 10.50) | 4.50 (4.45 to 4.55) |" in text
    assert "2 workers do 1.75 times as many trials" in text
    assert "(single rounds: 1.73 to 1.79, quartiles)" in text
    assert "bare trainers at once do\n1.50 times as many epochs as one (1.50 to 1.50)" in text
    assert "30 of the documented network | 36 |" in text  # 100 x 20 and 30 x 6 seconds
    assert "ten of the documented network | 115 |" in text  # 70 x 90 and 10 x 60 seconds
    assert "took 39 minutes on another one." in text  # 840 and 1,500 seconds
    elsewhere = of_b | {"machine": machine | {"cpu": "another"}}
    for parts, told in (
        ({"a": of_a, "b": of_b | {"tables": tables[2:-1]}}, "the study's networks"),
        ({"a": of_a, "b": elsewhere}, "another"),
        ({"b": of_b}, "lacks part a"),
    ):
        with pytest.raises(program.NotFoundError, match=told):
            program.speed_figures({"parts": parts}, values)


def test_a_figure_that_is_not_published_is_an_error_and_nothing_is_written(
    program: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    readme = tmp_path / "README.md"
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    readme.write_text(text, encoding="utf-8")
    monkeypatch.setattr(program, "README", readme)
    monkeypatch.setattr(program, "published", lambda name: "| seconds |\n|---|\n| 3 |\n")
    assert program.main([]) == 1
    assert "error: " in capsys.readouterr().err
    assert readme.read_text(encoding="utf-8") == text


def test_a_result_that_is_not_published_is_told_in_one_line(
    program: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("bench/benchmark.json", "study/README.md", "ablation/runs.csv"):
        results = tmp_path / name.replace("/", "-")
        shutil.copytree(REPOSITORY / "experiments" / "results", results)
        (results / name).unlink()
        monkeypatch.setattr(program, "RESULTS", results)
        assert program.main(["--check"]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"error: found no {name} among the published results")
