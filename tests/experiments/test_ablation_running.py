"""The ablation as real processes: any number of workers, any kill, the same rows to the last bit.

How many kills the slow test does is `MNIST_STUDY_KILLS`, by default 20.
"""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
from ablation_simulation import ablation_text, study_recipe_alone
from study_process import StudyHome, wait_until

from mnist_study.core.ledger import Ledger

N_KILLS = int(os.environ.get("MNIST_STUDY_KILLS", "20"))
NAME = "tiny-ablation-digits"


def a_home(folder: Path, text: str) -> StudyHome:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "ablation.toml"
    file.write_text(text)
    return StudyHome(folder / "home", file, subcommand="ablation")


def finish(home: StudyHome, n_workers: int) -> None:
    driver = home.start("--workers", str(n_workers))
    assert driver.wait(600) == 0, driver.text()


def found(home: StudyHome) -> dict[str, Any]:
    """Return what must be the same in every home: digests and tidy rows."""
    digests = {d["study"]: d["digest"] for d in json.loads(home.command("digest", "--json"))}
    return {"digests": digests, "rows": (home.path / "reports" / NAME / "runs.csv").read_text()}


def check_record(home: StudyHome) -> int:
    """Check stores against each other; return how many runs were read out on the test set."""
    n_read_out = 0
    for audit in json.loads(home.command("audit", "--json")):
        assert audit["findings"] == []
        assert audit["counts"]["models"] == 0
        assert audit["counts"]["metric_points_logged_twice"] == 0
        if not audit["study"].endswith("-tuning"):
            n_read_out += audit["counts"]["finished_trials"]
    return n_read_out


def test_every_reading_of_an_ablation_is_in_the_ledger(tmp_path: Path) -> None:
    """That any number of workers find the same is for the slow test below to show."""
    home = a_home(tmp_path, study_recipe_alone(ablation_text(n_seeds=2, epochs=3)))
    finish(home, 2)
    # 8 cells x 2 executions x 2 seeds, each with 3 read-outs.
    assert check_record(home) == 32
    readings = Ledger(home.path / "test_set_ledger.jsonl").readings()
    assert len(readings) == 32 * 3
    assert sum("test/accuracy_last" in r.result for r in readings) == 32
    first_line = (home.path / "driver.log").read_text().splitlines()[0]
    assert first_line.startswith("smallest main effect on test accuracy")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_all_parts_are_the_same_for_any_workers_and_through_kills(tmp_path: Path) -> None:
    text = ablation_text(n_seeds=2, epochs=3, axes=True)
    wanted: dict[str, Any] = {}
    for n_workers in (1, 2, 3):
        home = a_home(tmp_path / f"workers-{n_workers}", text)
        finish(home, n_workers)
        wanted = wanted or found(home)
        assert found(home) == wanted
        n_read_out = check_record(home)
        readings = Ledger(home.path / "test_set_ledger.jsonl").readings()
        rows = [row.split(",") for row in wanted["rows"].splitlines()]
        assert len(readings) == sum(row[0] != "tuning" for row in rows[1:])
    assert len(wanted["digests"]) == 10

    rng = random.Random(4)
    n_killed = n_homes = 0
    while n_killed < N_KILLS:
        n_homes += 1
        home = a_home(tmp_path / f"killed-{n_homes}", text)
        while True:
            driver = home.start("--workers", "2")
            if wait_until(lambda d=driver: not d.is_running, rng.uniform(2, 40)):  # type: ignore[misc]
                assert driver.wait() == 0, driver.text()
                break
            if rng.random() < 0.5:
                driver.kill()
                driver.wait()
            else:
                workers = driver.workers()
                if workers:
                    rng.choice(workers).kill()
                time.sleep(rng.uniform(0, 2))
                driver.kill()
                driver.wait()
            n_killed += 1
            if n_killed >= N_KILLS:
                finish(home, 2)
                break
        assert found(home) == wanted
        assert check_record(home) == n_read_out
    print(f"{n_killed} kills in {n_homes} homes; {n_read_out} runs read out")
