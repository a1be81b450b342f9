"""A driver or worker killed anywhere: the resumed study is the same to the last bit.

Every test runs the command line as a real process and looks at the stores alone. How many kills
the random tests do is `MNIST_STUDY_KILLS`, by default 20.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from pathlib import Path

import psutil
import pytest
from kills_study import N_TRIALS, check, is_training
from study_process import StudyHome, wait_until

from mnist_study.data.dataset import TrainingSet
from mnist_study.execution.cluster import TrialCluster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

N_KILLS = int(os.environ.get("MNIST_STUDY_KILLS", "20"))
REPOSITORY = Path(__file__).parents[2]

# Where the driver writes, in the order in which a study gets there; each kill is resumed by the
# next driver, in the same home.
BEGINNING = [
    ("lay out optuna.db", "before", 1),
    ("lay out optuna.db", "after", 1),
    ("put a database in place", "before", 1),
    ("put a database in place", "after", 1),
    ("create_study", "before", 1),
    ("create_study", "after", 1),
    ("store the identity", "before", 1),
    ("store the identity", "after", 1),
    ("lay out mlflow.db", "before", 1),
    ("put a database in place", "before", 1),
    ("lay out mlflow.db", "after", 1),
    ("create_experiment", "before", 1),
    ("create_experiment", "after", 1),
    ("create_run", "before", 1),
    ("create_run", "after", 1),
    ("update_run", "before", 1),
    ("update_run", "after", 1),
    ("log_batch", "before", 1),
    ("log_batch", "after", 1),
    ("log_inputs", "before", 1),
    ("log_inputs", "after", 1),
    ("upload", "before", 1),
    ("upload", "after", 1),
]
TRIALS = [
    ("create_run", "before", 1),
    ("create_run", "after", 1),
    ("create_run", "after", 2),
    ("log_batch", "before", 2),
    ("log_batch", "after", 2),
    ("log_batch", "after", 4),
    ("create_logged_model", "before", 1),
    ("create_logged_model", "after", 1),
    ("delete_run", "before", 1),
    ("delete_run", "after", 1),
    ("delete_logged_model", "before", 1),
    ("delete_logged_model", "after", 1),
    ("upload", "before", 2),
    ("upload", "after", 2),
    ("finalize_logged_model", "before", 1),
    ("finalize_logged_model", "after", 1),
    ("log_outputs", "before", 1),
    ("log_outputs", "after", 1),
    ("upload", "before", 3),
    ("upload", "after", 3),
    ("set_terminated", "before", 1),
    ("set_terminated", "after", 1),
    ("History.append", "before", 1),
    ("insert a trial", "before", 1),
    ("write a trial's rows", "after", 1),  # and not committed
    ("insert a trial", "after", 1),
    ("History.append", "after", 1),
    ("finalize_logged_model", "after", 2),
    ("set_terminated", "after", 2),
    ("History.append", "after", 2),
]
ENDING = [
    ("note_session", "before", 1),
    ("note_session", "after", 1),
    ("note_session", "before", 2),  # the last trials are stored on the way there
    ("write the report", "before", 1),
    ("write the report", "after", 1),
    ("finish_parent", "before", 1),
    ("upload", "after", 2),
    ("log_batch", "before", 2),
    ("log_batch", "after", 2),
    ("set_terminated", "before", 1),
    ("set_terminated", "after", 1),
    ("finish_parent", "after", 1),
]


def test_a_driver_killed_at_each_write_boundary_resumes_to_the_same_study(
    tmp_path: Path, kills_file: Path, uninterrupted: str
) -> None:
    home = StudyHome(tmp_path, kills_file)
    for point in (*BEGINNING, *TRIALS, *ENDING):
        driver = home.start("--workers", "2", kill_at=point)
        status = driver.wait()
        assert status == -signal.SIGKILL, f"{point} was never reached: {driver.text()}"
        print(*point)
    home.finish("--workers", "2")
    check(home, uninterrupted)


def test_a_driver_killed_at_random_moments_resumes_to_the_same_study(
    tmp_path: Path, kills_file: Path, uninterrupted: str
) -> None:
    rng = random.Random(1)
    n_killed = n_homes = 0
    while n_killed < N_KILLS:
        n_homes += 1
        home = StudyHome(tmp_path / str(n_homes), kills_file)
        while True:
            driver = home.start("--workers", "2")
            delay = rng.uniform(0, 22)
            if wait_until(lambda driver=driver: not driver.is_running, delay):  # type: ignore[misc]
                assert driver.wait() == 0, driver.text()
                break
            driver.kill()
            assert driver.wait() == -signal.SIGKILL
            n_killed += 1
            if n_killed == N_KILLS:
                home.finish("--workers", "2")
                break
        check(home, uninterrupted)
    print(f"{n_killed} drivers killed in {n_homes} homes")


@pytest.mark.parametrize(("n_workers", "share"), [(1, 0.4), (2, 0.6)])
def test_workers_killed_after_a_first_epoch_change_nothing(
    tmp_path: Path, kills_file: Path, uninterrupted: str, n_workers: int, share: float
) -> None:
    """A worker dies when each RUNNING trial in MLflow has an epoch; the driver lives on."""
    rng = random.Random(n_workers)
    n_killed = n_homes = 0
    while n_killed < round(N_KILLS * share):
        n_homes += 1
        home = StudyHome(tmp_path / str(n_homes), kills_file)
        driver = home.start("--workers", str(n_workers))
        while driver.is_running and n_killed < round(N_KILLS * share):
            epochs = home.running_epochs()
            if epochs and all(epochs.values()):
                time.sleep(rng.uniform(0, 0.3))
                workers = driver.workers()
                if workers:
                    rng.choice(workers).send_signal(signal.SIGKILL)
                    n_killed += 1
                    time.sleep(rng.uniform(0, 1))
        assert driver.wait() == 0, driver.text()
        check(home, uninterrupted)
    print(f"{n_killed} of {n_workers} workers killed in {n_homes} homes")


@pytest.mark.parametrize("delay", [4, 8, 12])
def test_no_worker_outlives_a_killed_driver_by_ten_seconds(
    tmp_path: Path, kills_file: Path, delay: int
) -> None:
    driver = StudyHome(tmp_path, kills_file).start("--workers", "2")
    deadline = time.monotonic() + 60
    assert wait_until(lambda: len(driver.workers()) == 2)
    wait_until(lambda: False, min(delay - 4, deadline - time.monotonic()))
    driver.kill()
    assert driver.wait() == -signal.SIGKILL
    assert driver.survivors(10) == []


def test_stopping_while_a_dead_worker_is_replaced_leaves_none_and_raises_nothing(
    tmp_path: Path, digits: TrainingSet
) -> None:
    cluster = TrialCluster(
        digits, identity=None, n_workers=2, address=None, log_path=tmp_path / "workers.log"
    )
    assert cluster._local is not None
    local = cluster._local.cluster
    workers = [psutil.Process(pid) for pid in cluster.worker_pids]
    # Dask holds this lock until a worker that it starts has imported TensorFlow.
    asyncio.run_coroutine_threadsafe(local._lock.acquire(), local.loop.asyncio_loop).result()
    workers[0].kill()
    assert wait_until(lambda: workers[0].pid not in cluster.worker_pids)
    assert wait_until(lambda: len(cluster.worker_pids) == 2)
    workers += [psutil.Process(pid) for pid in cluster.worker_pids]
    cluster.stop()
    assert cluster.worker_pids == []
    assert psutil.wait_procs(workers, timeout=1)[1] == []


SUICIDAL = """\
import os, signal, sys

if "--multiprocessing-fork" in sys.orig_argv and "spawn_main" in " ".join(sys.orig_argv):
    from mnist_study.execution import worker

    run_trial = worker.run_trial

    def deadly(spec, *arguments, **options):
        if spec.number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return run_trial(spec, *arguments, **options)

    worker.run_trial = deadly
"""


def test_a_trial_that_keeps_killing_its_worker_is_given_up_and_named(
    tmp_path: Path, kills_file: Path
) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "sitecustomize.py").write_text(SUICIDAL)
    paths = filter(None, (str(code), os.environ.get("PYTHONPATH")))
    home = StudyHome(tmp_path / "home", kills_file, {"PYTHONPATH": os.pathsep.join(paths)})
    document = home.finish("--workers", "2")
    assert document["n_trials"] == N_TRIALS
    assert document["worker_lost"] == [2]
    assert "outside the promise: [2]" in home.command("digest")
    assert "outside the promise: [2]" in home.command("status")
    audit = home.audit()
    assert audit["findings"] == []
    assert audit["counts"]["models"] == N_TRIALS - 1
    assert home.start().wait() == 0  # not tried again: history is append-only
    assert home.digest() == document


@pytest.mark.parametrize("moment", ["start-up", "workers starting", "training"])
def test_ctrl_c_ends_within_ten_seconds_and_loses_nothing(
    tmp_path: Path, kills_file: Path, uninterrupted: str, moment: str
) -> None:
    home = StudyHome(tmp_path, kills_file)
    driver = home.start("--workers", "2")
    if moment == "start-up":
        time.sleep(1.5)
    elif moment == "workers starting":
        assert wait_until(lambda: len(driver.workers()) == 2)
        time.sleep(1)
    else:
        assert wait_until(lambda: any(home.running_epochs().values()))
    interrupted = time.monotonic()
    driver.interrupt()
    assert driver.wait(10) == 130, driver.text()
    assert time.monotonic() - interrupted < 10
    assert driver.survivors(1) == []
    assert "stopped" in driver.text()
    assert "Traceback" not in driver.text()
    if (tmp_path / "optuna.db").exists():
        audit = home.audit()
        assert audit["findings"] == []
        assert audit["counts"]["runs_left_running"] == 0
    home.finish("--workers", "2")
    check(home, uninterrupted)


@pytest.mark.parametrize(
    "point",
    ["create_run", "create_logged_model", "log_outputs", "set_terminated", "History.append"],
)
def test_ctrl_c_while_a_trial_is_written_leaves_its_run_and_history_agreeing(
    tmp_path: Path, kills_file: Path, point: str
) -> None:
    home = StudyHome(tmp_path, kills_file)
    driver = home.start("--workers", "2", kill_at=(point, "ctrl-c", 2))
    assert driver.wait(60) == 130, driver.text()
    assert home.audit()["counts"]["finished_trials"] <= 2


def test_audit_finds_what_a_kill_left_and_repairs_it(
    tmp_path: Path, kills_file: Path, uninterrupted: str
) -> None:
    home = StudyHome(tmp_path, kills_file)
    assert home.start("--workers", "2", kill_at=("set_terminated", "after", 2)).wait() == -9
    audit = home.audit(status=1)
    assert audit["counts"]["runs_left_running"] >= 1
    assert audit["findings"]
    repaired = home.audit("--repair")
    assert repaired["repaired"]
    assert repaired["findings"] == []
    assert home.audit("--repair")["repaired"] == []
    home.finish("--workers", "2")
    check(home, uninterrupted)


@pytest.mark.parametrize("n_workers", [1, 3])
def test_the_number_of_workers_changes_nothing(
    tmp_path: Path, kills_file: Path, uninterrupted: str, n_workers: int
) -> None:
    home = StudyHome(tmp_path, kills_file)
    home.finish("--workers", str(n_workers))
    check(home, uninterrupted)


@pytest.mark.timeout(3600)
def test_the_number_of_workers_changes_nothing_on_mnist(tmp_path: Path) -> None:
    if not os.environ.get("MNIST_STUDY_DATA"):
        pytest.skip("needs MNIST: set MNIST_STUDY_DATA")
    digests = {}
    for n_workers in (1, 2, 3):
        home = StudyHome(
            tmp_path / str(n_workers),
            REPOSITORY / "experiments" / "study.toml",
            arguments=("--dataset", "mnist", "--trials", "16"),
        )
        document = home.finish("--workers", str(n_workers), timeout=1200)
        assert document["n_trials"] == 16
        assert home.audit()["findings"] == []
        digests[n_workers] = document["digest"]
    print(digests)
    assert len(set(digests.values())) == 1


# The screening has 6 runs, the second stage 20; the third and the last kill lie between records.
CONFIRM_KILLS = [
    ("log_outputs", "after", 1),
    ("History.append", "after", 4),
    ("write the report", "before", 1),
    ("create_run", "after", 2),
    ("History.append", "before", 7),
    ("write the report", "before", 2),
]


def test_a_confirmation_is_the_same_for_any_workers_and_through_kills(
    tmp_path: Path, kills_file: Path
) -> None:
    digests = {}
    for name, n_workers, kills in (
        ("1", 1, []), ("2", 2, []), ("killed", 2, CONFIRM_KILLS),
    ):  # fmt: skip
        StudyHome(tmp_path / name, kills_file).finish("--workers", "2", "--trials", "4")
        confirmation = StudyHome(
            tmp_path / name, None, subcommand="confirm",
            arguments=(
                "--dataset", "digits", "--top", "3", "--screening-seeds", "2",
                "--finalists", "1", "--seeds", "10",
            ),
        )  # fmt: skip
        workers = ("--workers", str(n_workers))
        for point in kills:
            driver = confirmation.start(*workers, kill_at=point)
            assert driver.wait() == -signal.SIGKILL, f"{point} was never reached: {driver.text()}"
        driver = confirmation.start(*workers)
        assert driver.wait() == 0, driver.text()
        documents = json.loads(confirmation.command("digest", "--json"))
        assert [document["n_trials"] for document in documents] == [4, 20, 6]
        digests[name] = [document["digest"] for document in documents]
        audits = json.loads(confirmation.command("audit", "--json"))
        assert [audit["findings"] for audit in audits] == [[], [], []]
    assert len({tuple(found) for found in digests.values()}) == 1


def test_a_frozen_local_worker_is_waited_for(
    tmp_path: Path, kills_file: Path, uninterrupted: str
) -> None:
    impatience = {"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "5s"}
    home = StudyHome(tmp_path / "home", kills_file, impatience)
    driver = home.start("--workers", "2")
    assert is_training(home, driver)
    frozen = driver.workers()[0]
    frozen.suspend()
    time.sleep(15)
    frozen.resume()
    assert driver.wait() == 0, driver.text()
    assert "died" not in driver.text()
    check(home, uninterrupted)
