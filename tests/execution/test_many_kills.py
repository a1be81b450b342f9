"""One long study under fire, and one long study in peace; run by `make test-faults`.

    MNIST_STUDY_KILLS=200 MNIST_STUDY_SOAK=500 make test-faults

Both take from half an hour to an hour; smaller numbers take less.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from study_process import Driver, StudyHome, wait_until

from mnist_study.search.history import History

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3 * 3600)]

N_KILLS = int(os.environ.get("MNIST_STUDY_KILLS", "200"))
MOST_SECONDS = 30.0
N_SOAK = int(os.environ.get("MNIST_STUDY_SOAK", "500"))


def test_one_study_is_the_same_through_hundreds_of_random_kills(
    tmp_path: Path, kills_file: Path
) -> None:
    """Each kill takes a worker, at whatever moment of its life, or one time in four the driver.

    Where the study ends before all kills are done, it is begun again elsewhere.
    """
    trials = ("--workers", "2", "--trials", str(max(8, N_KILLS // 2)))
    undisturbed = StudyHome(tmp_path / "undisturbed", kills_file)
    start_up = _seconds_to_first_trial(undisturbed, *trials)
    wanted = undisturbed.finish(*trials, timeout=3600)
    rng = random.Random(3)
    killed: Counter[str] = Counter()
    n_homes = n_stored = 0
    while killed["driver"] + killed["worker"] < N_KILLS:
        n_homes += 1
        home = StudyHome(tmp_path / f"killed-{n_homes}", kills_file)
        _kill(home, trials, rng, start_up, killed, wanted["n_trials"])
        n_stored += len(_results(home))
        _check_equal(home, home.finish(*trials, timeout=3600), wanted)
    assert n_stored > 0  # otherwise no kill has met a study that was getting on
    print(
        f"killed: {dict(killed)} in {n_homes} homes; {n_stored} trials were stored meanwhile, "
        f"{wanted['n_trials']} in all, digest {wanted['digest'][:16]}"
    )


def _kill(
    home: StudyHome,
    options: Sequence[str],
    rng: random.Random,
    start_up: float,
    killed: Counter[str],
    n_trials: int,
) -> None:
    """Kill processes of a study until it has ended, or enough are killed."""
    while killed["driver"] + killed["worker"] < N_KILLS and len(_results(home)) < n_trials:
        driver = home.start(*options)
        while driver.is_running and killed["driver"] + killed["worker"] < N_KILLS:
            # By the machine's speed: half of them meet a start, the others a training. A machine
            # that is busy at first may be fast enough later to end each study before a kill.
            longest = min(start_up, MOST_SECONDS) if rng.random() < 0.5 else 3
            _wait_for_end(driver, rng.uniform(0, longest))
            workers = driver.workers()
            if rng.random() < 0.25:
                driver.kill()
                # Workers that die over and over before they train have ended some with status 1.
                killed["driver"] += driver.wait() == -signal.SIGKILL
            elif workers:
                rng.choice(workers).send_signal(signal.SIGKILL)
                killed["worker"] += 1
        status = driver.wait(3600)
        assert status in (0, 1, -signal.SIGKILL), driver.text()
        if status == 1:
            # Workers that die over and over before they train stop the study, and store nothing.
            killed["stopped by that"] += 1
            assert "Traceback" not in driver.text()
            assert "error: " in driver.text()


def _check_equal(home: StudyHome, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert found["digest"] == wanted["digest"]
    assert found["worker_lost"] == []
    audit = home.audit()
    assert audit["findings"] == []
    counts = audit["counts"]
    assert counts["finished_trials"] == counts["trials_with_one_live_run"] == wanted["n_trials"]
    assert counts["metric_points_logged_twice"] == 0


def _seconds_to_first_trial(home: StudyHome, *options: str) -> float:
    """Begin a study and return how long it takes until a trial is stored; leave it resumable."""
    began = time.monotonic()
    driver = home.start(*options)
    assert wait_until(lambda: bool(_results(home)), 1800), driver.text()
    seconds = time.monotonic() - began
    driver.interrupt()
    assert driver.wait() == 130, driver.text()
    return seconds


def _wait_for_end(driver: Driver, seconds: float) -> None:
    wait_until(lambda: not driver.is_running, seconds)


def _results(home: StudyHome) -> list[object]:
    if not (home.path / "optuna.db").exists():
        return []
    histories = History.open_all(f"sqlite:///{home.path / 'optuna.db'}")
    return [result for history in histories for result in history.results]


def test_a_study_of_hundreds_of_trials_leaves_nothing_behind_and_does_not_slow_down(
    tmp_path: Path, tiny_file: Path
) -> None:
    """Memory, open files and temporary files of its processes, and the duration of its trials."""
    home = StudyHome(
        tmp_path / "home", tiny_file, environment={"TMPDIR": str(_folder(tmp_path / "tmp"))}
    )
    driver = home.start("--workers", "2", "--trials", str(N_SOAK))
    samples: list[tuple[int, float, int, int]] = []
    while not wait_until(lambda: not driver.is_running, 10):
        samples.append((len(_results(home)), *_resources(driver), _n_files(tmp_path / "tmp")))
    assert driver.wait() == 0, driver.text()
    (history,) = History.open_all(f"sqlite:///{home.path / 'optuna.db'}")
    seconds = np.array([result.total_seconds for result in history.results])
    fifth = len(seconds) // 5
    early = [s for s in samples if fifth <= s[0] <= 2 * fifth]
    # Once all are trained, the workers are gone.
    late = [s for s in samples if len(seconds) - fifth <= s[0] < len(seconds)]
    assert early
    assert late
    for name, column in (("memory, MB", 1), ("open files", 2), ("temporary files", 3)):
        print(f"{name}: {_median(early, column):.0f} then {_median(late, column):.0f}")
    first, last = (float(np.median(part)) for part in (seconds[:fifth], seconds[-fifth:]))
    print(f"seconds a trial: {first:.3f} in the first fifth, {last:.3f} in the last")
    n_between = 3 * fifth
    # Half a MB a trial, beside what libraries take once, whenever they first need it.
    assert _median(late, 1) - _median(early, 1) < 100 + 0.5 * n_between
    assert _median(late, 2) - _median(early, 2) < 10
    assert _median(late, 3) - _median(early, 3) < 10
    assert _n_files(tmp_path / "tmp") == 0
    assert last < 1.5 * first


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def _median(samples: list[tuple[int, float, int, int]], column: int) -> float:
    return float(np.median([sample[column] for sample in samples]))


def _resources(driver: Driver) -> tuple[float, int]:
    """Return resident memory in MB and open files of a driver with its workers."""
    processes = [driver.process, *driver.workers()]
    memory = n_open = 0
    for process in processes:
        try:
            memory += process.memory_info().rss
            n_open += process.num_fds()
        except psutil.Error:  # it has just ended
            continue
    return memory / 1e6, n_open


def _n_files(folder: Path) -> int:
    return sum(1 for path in folder.rglob("*") if path.is_file())
