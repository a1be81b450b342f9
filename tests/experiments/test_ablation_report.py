"""The report of an ablation: what it opens with, reads and leaves out."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from ablation_simulation import draw_ablation, drawn_factorial, small_ablation

from mnist_study.core.identity import AblationIdentity
from mnist_study.data.dataset import TestSet, TrainingSet
from mnist_study.experiments.ablation.design import NONE, PARTS
from mnist_study.experiments.ablation.record import AblationRecord
from mnist_study.experiments.ablation.runs import cell_index
from mnist_study.experiments.ablation.tables import cell_table
from mnist_study.experiments.ablation.text import brief
from mnist_study.experiments.reports import is_part, read_record
from mnist_study.search.history import History


def test_spread_of_a_cell_is_that_of_the_analysis_of_variance_over_splits() -> None:
    data = drawn_factorial(lambda cell, point: 0.01 * ("l2" in cell), seed=8)
    values = 100 * data.values["test_accuracy", "last"][cell_index(NONE)]
    pooled = np.sqrt(np.var(values, axis=1, ddof=1).mean())  # equal numbers: the mean variance
    assert (
        f"| no regularization | last | {values.mean():.3f} ± {pooled:.3f} |" in cell_table(data)[2]
    )


def test_report_opens_with_what_was_found_and_what_could_have_been(
    tmp_path: Path, digits: TrainingSet, digits_test: TestSet
) -> None:
    ablation = small_ablation(tmp_path, n_seeds=4, axes=True)
    history = draw_ablation(tmp_path, ablation, digits, digits_test, {"l2": -0.02})
    record = AblationRecord(history)
    markdown = read_record(history).tables["README.md"]
    assert isinstance(markdown, str)
    top = markdown.partition("## Verdicts")[0].splitlines()
    assert record.analysis is not None
    for decision in record.analysis.decisions:
        (line,) = (t for t in top if t.startswith("- **") and decision.hypothesis.claim in t
                   and "re-tuned" not in t)  # fmt: skip
        assert brief(decision) in line
        heading = line.partition(":**")[0].removeprefix("- **").lower()
        wanted = "equivalent within the margin"
        assert heading == (wanted if decision.verdict == "equivalent" else decision.verdict.value)
    assert any(t.startswith("- **Contradicted:** L2 raises test accuracy (-") for t in top)
    assert any("With each cell's learning rate re-tuned** (2 seeds" in t for t in top)
    assert any("Computed before running: smallest main effect" in t for t in top)
    assert len(top) < 25


def test_report_reads_all_parts_and_is_the_same_twice(
    tmp_path: Path, digits: TrainingSet, digits_test: TestSet
) -> None:
    ablation = small_ablation(tmp_path, n_seeds=4, axes=True)
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
    ablation = small_ablation(tmp_path, n_seeds=4, axes=True)
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
    ablation = small_ablation(tmp_path, n_seeds=2, axes=True)
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
    ablation = small_ablation(tmp_path, axes=True)
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
    history = draw_ablation(
        tmp_path, small_ablation(tmp_path), digits, digits_test, {}, ("factorial",)
    )
    found = read_record(history)
    assert set(found.figures) == {"paired_differences", "interactions", "seeds", "epoch_curves"}
    assert "## Dose-response" not in found.tables["README.md"]
