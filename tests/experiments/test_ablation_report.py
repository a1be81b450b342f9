"""The report of an ablation: what it opens with, reads and leaves out."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from ablation_simulation import draw_ablation, small_ablation

from mnist_study.core.identity import AblationIdentity
from mnist_study.data.dataset import TestSet, TrainingSet
from mnist_study.experiments.ablation.comparisons import level
from mnist_study.experiments.ablation.config import AblationConfig
from mnist_study.experiments.ablation.design import CELLS, NONE, PARTS, Part
from mnist_study.experiments.ablation.job import ablation_job
from mnist_study.experiments.ablation.measured import measured_effects
from mnist_study.experiments.ablation.record import AblationRecord
from mnist_study.experiments.reports import is_part, read_record
from mnist_study.search.history import History

pytest_plugins = ["ablation_fixtures"]

FACTORIALS: tuple[Part, ...] = ("documented", "study")


def test_report_opens_with_every_sentence_its_verdict_and_whether_it_was_replicated(
    whole_ablation: History,
) -> None:
    markdown = read_record(whole_ablation).tables["README.md"]
    top = markdown.partition("![")[0]  # what stands before the first picture
    assert len(top.splitlines()) < 24
    assert re.search(r"In the study's recipe .* L2 changes test accuracy by -\d", top)
    assert re.search(r"training accuracy by [+-]\d.*, test accuracy by [+-]\d", top)
    assert re.search(
        r"\| “L2 helps” \| L2 raises test accuracy \| \*\*contradicted\*\* "
        r"\| documented recipe: -\d\.\d+ to -\d\.\d+ points; study's recipe: .* points \| yes "
        r"\| both recipes: last epoch, restored, averaged weights; n = 10 \|",
        top,
    )
    assert "| It is elegant. | not tested |  | nothing measures elegance |" in top
    for sentence in AblationRecord(whole_ablation).sentences:
        for claim in sentence.claims:
            assert top.count(claim.claim) == 1
    assert "smallest main effect on test accuracy detectable" in markdown
    earlier = markdown.partition("## Verdicts of the edition before this one")[2]
    assert "They rested on one seed. One seed decides nothing." in earlier
    assert "| L2 raises test accuracy | supported | contradicted | **changed** |" in earlier


def test_the_factorial_with_re_tuned_rates_is_reported_like_those_of_the_recipes(
    whole_ablation: History,
) -> None:
    record = AblationRecord(whole_ablation)
    markdown = read_record(whole_ablation).tables["README.md"]
    name = "study's recipe, rates re-tuned"
    top, _, below = markdown.partition("![")
    assert "at re-tuned learning rates (last epoch) L2 changes test accuracy by " in top
    rates = list(record.chosen.values())
    n_kept = rates.count(record.documented_rate)
    assert 0 < n_kept < len(CELLS)  # or nothing here says which runs are used again
    (chosen,) = re.findall(
        r"^Chosen learning rates: (.*) of 8 combinations; documented: 0.001\.", below, re.M
    )
    assert chosen == ", ".join(f"{rate:g} for {rates.count(rate)}" for rate in sorted(set(rates)))
    assert f"| {name} | last epoch | no regularization |" in below  # of the gap
    assert f"| test accuracy | {name} | last epoch | l2 | 4 |" in below
    assert f"| test accuracy | {name} | last epoch | all - none | 4 |" in below
    sections = dict(re.findall(r"^## The cells, (.*)\n((?:.*\n)+?)(?=^## )", markdown, re.M))
    assert list(sections) == ["documented recipe", "study's recipe", name]
    rows = [
        re.findall(r"^\| .* \| last epoch \|.*", sections[of], re.M) for of in list(sections)[1:]
    ]
    same = [fixed == retuned for fixed, retuned in zip(*rows, strict=True)]
    assert same == [record.chosen[cell] == record.documented_rate for cell in CELLS]


def test_the_answer_names_the_largest_step(whole_ablation: History) -> None:
    markdown = read_record(whole_ablation).tables["README.md"]
    (table,) = re.findall(r"^\| step \|.*\n\| ---.*\n((?:\|.*\n)+)", markdown, re.M)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    changes = [row[3].split(" ")[0] for row in rows if row[3]]
    *steps, whole = changes
    assert f"test accuracy rises by {whole} (" in markdown
    largest = max(steps, key=float)
    assert f"the largest of its {len(steps)} steps, {largest} (" in markdown


def test_report_reads_all_parts_and_is_the_same_twice(
    tmp_path: Path, whole_ablation: History, ablation_folder: Path
) -> None:
    history = whole_ablation
    url = f"sqlite:///{ablation_folder / 'optuna.db'}"
    (main,) = (h for h in History.open_all(url) if not is_part(h))
    assert main.name == history.name
    texts = []
    for name in ("one", "two"):
        read_record(main).write(tmp_path / name)
        texts.append({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()})
    assert texts[0] == texts[1]
    figures = {name for name in texts[0] if name.endswith(".png")}
    assert len(figures) == 9
    markdown = texts[0]["README.md"].decode()
    assert set(re.findall(r"\((\w+\.png)\)", markdown)) == figures
    assert "the digits stand-in (not MNIST)" in markdown

    record = AblationRecord(history)
    assert set(record.parts) == set(PARTS)
    readings = sum(len(r.readouts) for h in record.parts.values() for r in h.results)
    assert f"was read {readings:,} times" in markdown
    # A number of the report by hand: the mean and spread of a cell at the last epoch.
    accuracies = np.array(
        [
            [run.result.readouts[0].test_accuracy for run in record.runs["documented"]
             if run.arm.cell == NONE and run.execution == execution]
            for execution in (0, 1)
        ]
    )  # fmt: skip
    spread = np.sqrt(accuracies.var(axis=1, ddof=1).mean())
    wanted = f"| {100 * accuracies.mean():.3f} ± {100 * spread:.3f} |"
    assert f"| no regularization | last epoch {wanted}" in markdown


def test_curves_take_the_runs_of_the_factorial_where_they_fit(whole_ablation: History) -> None:
    record = AblationRecord(whole_ablation)
    for axis, xs in (("l2", [0.0, 0.0003, 0.001]), ("dropout", [0.0, 1.0, 2.0])):
        curve = record.dose_curves[axis]
        assert [place.x for place in curve] == xs
        assert [place.is_documented for place in curve] == [x in (0.001, 1.0) for x in xs]
        assert {place.part for place in curve} == {"study", "doses"}
        for place in curve:
            estimate = record.estimate("test_accuracy", level(place.key("last")))
            assert estimate is not None
            assert estimate.pooled.n_pairs == (10 if place.part == "study" else 4)
    assert [place.x for place in record.size_curves[NONE]] == [200, 1150]


def test_a_part_that_was_run_with_other_settings_is_left_out_and_named(
    tmp_path: Path, digits: TrainingSet, digits_test: TestSet
) -> None:
    """`--allow-mixed` lets such a part be stored beside the others."""
    ablation = small_ablation(tmp_path, n_seeds=3, axes=True)
    history = draw_ablation(tmp_path, ablation, digits, digits_test, {}, FACTORIALS)
    assert AblationRecord(history).excluded == {}
    other = ablation.model_copy(update={"executions": (8, 9)})
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    _copy_part(url, other, "doses", digits, digits_test, history)
    record = AblationRecord(history)
    assert set(record.parts) == set(FACTORIALS)
    assert list(record.excluded) == ["doses"]
    found = read_record(history)
    note = "Part doses is left out: it was run with other settings (executions: [8, 9] -> [5, 6])."
    assert note in found.lines
    assert note in found.tables["README.md"]
    assert "## Dose-response" not in found.tables["README.md"]


def _copy_part(
    url: str,
    ablation: AblationConfig,
    part: Part,
    digits: TrainingSet,
    digits_test: TestSet,
    results_of: History,
) -> None:
    job = ablation_job(ablation, part, digits, digits_test)
    assert job is not None
    target = History.open(url, job.name)
    target.check_identity(job.identity, allow_mixed=False)
    for number in range(len(target.identity_as(AblationIdentity).arms)):
        target.append(results_of.results[number], f"other-{number}")


def test_an_ablation_interrupted_in_all_its_parts_is_reported(
    tmp_path: Path, whole_ablation: History, digits: TrainingSet, digits_test: TestSet
) -> None:
    """Each part has a single run of each arm, which has no spread."""
    ablation = small_ablation(tmp_path, n_seeds=2, epochs=8, axes=True)
    stopped = draw_ablation(tmp_path, ablation, digits, digits_test, {}, FACTORIALS)
    for part in PARTS[2:]:
        source = whole_ablation.sibling(f"{whole_ablation.name}-{part}")
        assert source is not None
        target = History.open(f"sqlite:///{tmp_path / 'optuna.db'}", source.name)
        target.check_identity(source.identity, allow_mixed=False)
        for number in range(len(source.identity_as(AblationIdentity).arms)):
            target.append(source.results[number], f"run-{number}")
    found = read_record(stopped)
    assert set(AblationRecord(stopped).parts) == set(PARTS)
    assert "| documented recipe: batch 64" not in found.tables["README.md"]  # no pair of steps
    assert re.search(r"\bnan\b", found.tables["README.md"]) is None


@pytest.mark.usefixtures("whole_ablation")
def test_other_parts_say_where_they_are_reported(ablation_folder: Path) -> None:
    url = f"sqlite:///{ablation_folder / 'optuna.db'}"
    parts = [h for h in History.open_all(url) if is_part(h)]
    assert len(parts) == len(PARTS) - 1
    for part in parts:
        assert "report of tiny-ablation-digits" in read_record(part).tables["README.md"]


def test_the_documented_recipe_alone_is_reported(
    tmp_path: Path, digits: TrainingSet, digits_test: TestSet
) -> None:
    history = draw_ablation(
        tmp_path, small_ablation(tmp_path), digits, digits_test, {}, ("documented",)
    )
    found = read_record(history)
    assert set(found.figures) == {"effects", "gap", "epoch_curves"}
    assert "## Dose-response" not in found.tables["README.md"]
    assert measured_effects([history], digits.content_hash) == {}


def test_a_study_of_the_same_data_is_told_what_each_parameter_causes(
    tmp_path: Path, digits: TrainingSet, digits_test: TestSet
) -> None:
    ablation = small_ablation(tmp_path, n_seeds=4)
    history = draw_ablation(tmp_path, ablation, digits, digits_test, {"l2": -0.02}, FACTORIALS)
    effects = measured_effects([history], digits.content_hash)
    assert set(effects) == {"l2", "dropout_1", "dropout_2"}
    assert effects["l2"].high < -1  # points
    assert measured_effects([history], "of other data") == {}
