"""The benchmark's arithmetic, and that it runs and prints what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mnist_study.bench.driver import draw_params
from mnist_study.bench.measurements import Lap, Table, describe_ratio, interleave, spread_cells
from mnist_study.bench.memory import fit_growth
from mnist_study.bench.results import Part, measured_part, read_parts, write_parts
from mnist_study.core.config import load_experiment

STUDY = Path(__file__).parents[2] / "experiments" / "study.toml"


def test_growth_is_the_slope_and_its_error_is_that_of_least_squares() -> None:
    rng = np.random.default_rng(0)
    trials = np.arange(50)
    readings = 300 + 0.7 * trials + rng.normal(0, 2, 50)
    coefficients, covariance = np.polyfit(trials, readings, 1, cov=True)
    growth = fit_growth(readings)
    assert growth.slope == pytest.approx(coefficients[0], rel=1e-9)
    assert growth.standard_error == pytest.approx(covariance[0, 0] ** 0.5, rel=1e-9)
    assert growth.scatter == pytest.approx(
        (np.square(readings - np.polyval(coefficients, trials)).sum() / 48) ** 0.5, rel=1e-9
    )


def test_candidates_take_turns_and_the_first_round_does_not_count() -> None:
    order: list[str] = []

    def candidate(name: str) -> Lap:
        order.append(name)
        return Lap(wall_seconds=float(len(order)), cpu_seconds=2.0 * len(order))

    laps = interleave(
        {name: lambda name=name: candidate(name) for name in ("ours", "theirs")},  # type: ignore[misc]
        n_rounds=3,
        progress="test",
    )
    assert order == ["ours", "theirs"] * 4
    assert [lap.wall_seconds for lap in laps["ours"]] == [3, 5, 7]
    assert laps["theirs"][0].n_cores == 2


def test_a_ratio_is_that_of_the_medians_with_its_spread_over_rounds() -> None:
    # By round 2, 4 and 30; the medians are 12 and 3.
    text = describe_ratio("ratio", [6, 12, 30], [3, 3, 1], "at least 8")
    assert text == "ratio: 4.00 (quartiles over rounds 3.00 to 17.00; at least 8)"


def test_a_table_prints_its_samples_spread_and_keeps_every_sample() -> None:
    table = Table(
        title="t", columns=("", "median", "quartiles", "min", "max", "n"),
        rows=[["a", *spread_cells([1, 2, 3, 4, 10], 1)]], samples={"a": [1, 2, 3, 4, 10]},
    )  # fmt: skip
    assert table.lines()[-1].split() == ["a", "3.0", "2.0", "to", "4.0", "1.0", "10.0", "5"]
    assert table.as_json()["samples"] == {"a": [1, 2, 3, 4, 10]}


def test_a_part_measured_later_joins_those_measured_before(tmp_path: Path) -> None:
    def part(commit: str, title: str) -> Part:
        machine = {
            "command": "a command", "cpu": "a processor", "cores": 2, "memory_gb": 24.0,
            "load_before": 0.1, "python": "3.11", "packages": {"numpy": "2"}, "commit": commit,
            "dirty": False, "data": "mnist",
        }  # fmt: skip
        table = Table(title, ("", "median"), [["one", "1.5"]], ["a note"], {"one": [1.0, 2.0]})
        return measured_part(machine, [table])

    write_parts(tmp_path, {"b": part("first", "b. of before")})
    write_parts(tmp_path, read_parts(tmp_path) | {"a": part("second", "a. of now")})
    document = json.loads((tmp_path / "benchmark.json").read_text(encoding="utf-8"))
    assert list(document["parts"]) == ["a", "b"]
    commits = {name: one["machine"]["commit"] for name, one in document["parts"].items()}
    assert commits == {"a": "second", "b": "first"}
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    places = [text.index(word) for word in ("second", "a. of now", "first", "b. of before")]
    assert places == sorted(places)
    assert text.count("a note") == 2


@pytest.mark.parametrize("content", ["", "[]", '{"tables": []}', '{"parts": {"a": {}}}'])
def test_a_file_that_is_no_benchmark_is_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "benchmark.json"
    path.write_text(content, encoding="utf-8")
    ended = bench("d", "--output", str(tmp_path), environment={})
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith(f"error: found {path} without measured parts")
    assert path.read_text(encoding="utf-8") == content


def test_drawn_networks_lie_in_the_search_space_and_differ() -> None:
    experiment = load_experiment(STUDY)
    assert experiment.study is not None
    space, rng = experiment.study.space, np.random.default_rng(0)
    drawn = [draw_params(space, experiment.baseline, rng) for _ in range(50)]
    for name, limits in space.items():
        values = [getattr(params, name) for params in drawn]
        assert all(limits.low <= value <= limits.high for value in values)
        assert len(set(values)) > 10
        # On a log scale half of the draws lie below the geometric mean.
        if limits.log:
            middle = (limits.low * limits.high) ** 0.5
            assert 10 <= sum(value < middle for value in values) <= 40


@pytest.mark.slow
def test_the_usual_script_searches_the_space_of_the_study() -> None:
    import optuna

    from mnist_study.bench.usual_script import make_model
    from mnist_study.search.sampler import distributions

    experiment = load_experiment(STUDY)
    assert experiment.study is not None
    study = optuna.create_study()
    study.enqueue_trial(experiment.baseline.model_dump())
    trial = study.ask()
    make_model(trial)
    assert trial.distributions == distributions(experiment.study.space)
    assert trial.params == experiment.baseline.model_dump()


def bench(*arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mnist_study.bench", *arguments],
        capture_output=True, text=True, timeout=1500, env={**os.environ, **environment},
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_quick_benchmark_prints_every_part_and_its_samples(tmp_path: Path) -> None:
    if not os.environ.get("MNIST_STUDY_DATA"):
        pytest.skip("needs MNIST: set MNIST_STUDY_DATA")
    ended = bench("--quick", "--json", "--output", str(tmp_path), environment={})
    assert ended.returncode == 0, ended.stderr
    document = json.loads(ended.stdout)
    tables = [table for part in document["parts"].values() for table in part["tables"]]
    titles = [table["title"][:2] for table in tables]
    assert titles == ["a.", "a.", "b.", "b.", "b.", "c.", "c.", "d."]
    for table in tables:
        assert table["samples"]
        assert table["rows"]
    assert json.loads((tmp_path / "benchmark.json").read_text()) == document
    report = (tmp_path / "README.md").read_text()
    assert all(table["title"] in report for table in tables)


def test_parts_that_need_mnist_say_so_without_it(tmp_path: Path) -> None:
    ended = bench(
        "a",
        "b",
        environment={"MNIST_STUDY_DATA": "", "HOME": str(tmp_path), "no_proxy": ""} | OFFLINE,
    )
    assert ended.returncode == 1
    assert "left out, because it says nothing without MNIST: a, b" in ended.stderr
    assert ended.stderr.splitlines()[-1] == "error: nothing is left to measure without MNIST"


OFFLINE = {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
