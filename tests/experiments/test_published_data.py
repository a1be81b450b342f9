"""A reader computes every published interval again, with numpy alone."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mnist_study.experiments.reports import read_record
from mnist_study.search.history import History

pytest_plugins = ["ablation_fixtures"]

RESULTS = Path(__file__).parents[2] / "experiments" / "results"


@pytest.fixture(scope="module")
def published(whole_ablation: History, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    read_record(whole_ablation).write(folder)
    return folder


def recompute(folder: Path) -> tuple[int, str]:
    """Run the script where this project cannot be imported."""
    done = subprocess.run(
        [sys.executable, "-I", str(RESULTS / "recompute.py"), str(folder)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_every_interval_and_accuracy_is_found_again(published: Path) -> None:
    status, said = recompute(published)
    assert status == 0, said
    with (published / "effects.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["high"] not in ("inf", "nan")]
    assert f"{len(rows)} intervals computed again, 0 differ" in said
    assert {row["execution"] for row in rows} == {"all", "0", "1"}
    tables = {"claims", "effects", "differences", "steps", "levels"}
    assert {row["table"] for row in rows} == tables
    assert {row["kind"] for row in rows} == {"mean", "prediction", "crossed"}


@pytest.mark.parametrize("name", sorted(path.parent.name for path in RESULTS.glob("*/runs.npz")))
def test_the_published_intervals_are_found_again(name: str) -> None:
    status, said = recompute(RESULTS / name)
    assert status == 0, said
    assert "0 differ" in said


def test_the_script_needs_nothing_but_numpy() -> None:
    text = (RESULTS / "recompute.py").read_text()
    imports = {line.split()[1] for line in text.splitlines() if line.startswith(("import", "from"))}
    assert imports == {"__future__", "csv", "json", "sys", "pathlib", "numpy"}


def test_a_changed_number_is_found(published: Path, tmp_path: Path) -> None:
    for name in ("runs.csv", "effects.csv", "runs.npz"):
        (tmp_path / name).write_bytes((published / name).read_bytes())
    rows = (published / "effects.csv").read_text().splitlines()[:40]  # the rest takes seconds
    cells = rows[1].split(",", 12)
    rows[1] = ",".join([*cells[:10], repr(float(cells[10]) + 0.001), *cells[11:]])
    (tmp_path / "effects.csv").write_text("\n".join(rows) + "\n")
    status, said = recompute(tmp_path)
    assert status == 1
    assert f"differs: {cells[0]} {cells[2]}" in said

    rows = (published / "effects.csv").read_text().splitlines()[:40]
    (tmp_path / "effects.csv").write_text("\n".join(rows) + "\n")
    with np.load(published / "runs.npz") as arrays:
        kept = dict(arrays)
    kept["answers/documented/l2/last"][0, 0, 0] ^= 0x80
    np.savez_compressed(tmp_path / "runs.npz", **kept)
    status, said = recompute(tmp_path)
    assert status == 1
    assert "differs: documented l2 last 0 0" in said
