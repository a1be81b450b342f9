"""README.md shows the figures of the published results."""

from __future__ import annotations

import importlib.util
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


def test_a_claim_comes_with_verdict_read_out_and_replication(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    claim = program.HEADLINE_CLAIM
    text = (
        "- L2 changes test accuracy by one.\n- Finding two.\n\n"
        "Of 2 declared claims: 1 supported, 1 undecided.\n\n"
        "| the document | claim | verdict | found | both executions agree | read at |\n"
        "| --- | --- | --- | --- | --- | --- |\n"
        "| A sentence. | Another claim | **supported** | +1 points | yes | both recipes; n = 8 |\n"
        "| A second. | not tested |  | the reason |  |  |\n"
        f"|  | {claim} | **undecided** | -0.1 to +0.1 points | at 2 of 3 | one recipe; n = 8 |\n\n"
        "| step | change (points) |\n| --- | --- |\n| batch 128 | +0.3 (+0.2 to +0.4) |\n"
        "| configuration found by the search: 8-4-2 | +0.2 (+0.1 to +0.3) |\n"
        "| all steps together | +0.5 (+0.4 to +0.6) |\n"
    )
    monkeypatch.setattr(program, "published", lambda name: text)
    monkeypatch.setattr(program, "RESULTS", tmp_path)
    found = program.ablation_figures()
    assert found["l2_findings"] == "  - L2 changes test accuracy by one."
    assert found["findings"] == "- L2 changes test accuracy by one.\n- Finding two."
    assert found["claims_counted"] == "Of 2 declared claims: 1 supported, 1 undecided"
    assert (found["l2_verdict"], found["l2_agree"]) == ("undecided", "at 2 of 3")
    assert found["l2_n"] == "8"
    assert found["search_gain"] == "+0.2 (+0.1 to +0.3)"
    assert found["steps_gain"] == "+0.5 (+0.4 to +0.6)"
    assert found["claims"].splitlines() == [
        "| Another claim | supported | +1 points | yes | both recipes; n = 8 |",
        f"| {claim} | undecided | -0.1 to +0.1 points | at 2 of 3 | one recipe; n = 8 |",
    ]
    tuned = (
        "- At re-tuned learning rates L2 changes test accuracy by two.\n"
        "- The gap changes.\n\n"
        "Of 1 declared claims: 1 equivalent.\n\n"
        "| the document | claim | verdict | found | both executions agree | read at |\n"
        "| --- | --- | --- | --- | --- | --- |\n"
        "| A sentence. | A third | **equivalent** | +0.01 points | yes | re-tuned; n = 9 |\n\n"
        "Chosen learning rates: 0.001 for 3, 0.002 for 5 of 8 combinations.\n"
    )
    (tmp_path / "ablation_tuned").mkdir()
    texts = {"ablation": text, "ablation_tuned": tuned}
    monkeypatch.setattr(program, "published", texts.get)
    both = program.ablation_figures()
    of_tuned = [tuned.splitlines()[0], f"- {tuned.splitlines()[-1]}"]
    assert both["findings"].splitlines() == [*found["findings"].splitlines(), *of_tuned]
    assert both["l2_findings"].splitlines()[1:] == [f"  {of_tuned[0]}"]
    assert both["claims_counted"] == (
        found["claims_counted"] + "; of 1 with re-tuned learning rates: 1 equivalent"
    )
    assert both["claims"].splitlines()[2:] == [
        "| A third | equivalent | +0.01 points | yes | re-tuned; n = 9 |"
    ]
    texts["ablation"] = text.replace(claim, "L2 does something else")
    with pytest.raises(program.NotFoundError, match="L2 raises test accuracy"):
        program.ablation_figures()


def test_the_table_of_speed_is_that_of_the_benchmark(program: ModuleType) -> None:
    def table(title: str, seconds: dict[str, list[float]]) -> dict[str, Any]:
        rows = [
            {"": name, **dict(zip(SPREAD_COLUMNS, spread_cells(laps, 2), strict=True)),
             "cores": "1.00", "trials/hour": f"{3600 / np.median(laps):,.0f}"}
            for name, laps in seconds.items()
        ]  # fmt: skip
        return {"title": title, "rows": rows, "notes": notes, "samples": seconds}

    notes = ["throughput: 9.90 (asked)", describe_ratio("2 bare trainers at once", [3, 3], [2, 2])]
    ours, script = "our study, 2 workers", "the usual script"
    tables = [
        table("a. Seconds per epoch, batch 32, 48,000 rows", {"trainer": [0.3, 0.4, 0.5]}),
        table("a. Seconds per epoch, batch 128, 48,000 rows", {"trainer": [0.1, 0.2, 0.3]}),
        table("b. Seconds per trial, the documented network", {ours: [6], script: [60]}),
        table(
            "b. Seconds per trial of the documented network, all workers and one; 16 per block",
            {ours: [5, 6, 7], "our study, 1 worker": [9, 10.5, 11]},
        ),
        table("b. Seconds per trial, the study's networks", {ours: [20], script: [90]}),
    ]
    machine = {"cpu": "a processor", "cores": 2}
    of_a = {"machine": machine, "tables": tables[:2]}
    of_b = {"machine": machine, "tables": tables[2:]}
    benchmark = {"parts": {"a": of_a, "b": of_b}}
    values = {
        "n_trials": "60", "gain": "+0.43", "study_seconds": "840", "confirmation_seconds": "1500",
        "candidate_runs": "40", "documented_runs": "30", "confirmation_hardware": "another one",
    }  # fmt: skip
    text = program.SPEED.format(**program.speed_figures(benchmark, values))
    assert "| trainer | 0.40 (0.35 to 0.45) | 0.20 (0.15 to 0.25) | 1.00 |" in text
    assert "| this study, trials per hour | 600 | 180 |" in text
    assert "| ratio | 10.0 | 4.5 |" in text
    assert "2 workers do 1.75 times as many trials" in text
    assert "2 bare trainers at once do 1.50 times as many epochs" in text
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
