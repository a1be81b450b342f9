"""A promotion killed at any step, two at once, and one over a real MLflow server.

Every promotion here is a real process; what it left is read from the stores.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest
from PIL import Image
from promotion_home import GOOD, build_home, run_of_trial
from study_process import KILL_AT, wait_until

from mnist_study.core.home import Home
from mnist_study.data.dataset import load_training_set
from mnist_study.tracking.registry import Registry
from mnist_study.tracking.store import TrackingStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

NAME = "mnist-classifier-digits"
# Every write of a first promotion, in order; each kill is followed by the same command.
FIRST = [
    ("create_run", "before", 1),
    ("create_run", "after", 1),
    ("log_batch", "after", 1),
    ("create_logged_model", "after", 1),
    ("upload", "after", 2),
    ("finalize_logged_model", "after", 1),
    ("log_outputs", "after", 1),
    ("set_terminated", "before", 1),
    ("set_terminated", "after", 1),
    ("write the answers", "before", 1),
    ("write the answers", "after", 1),
    ("Ledger.append", "after", 1),
    ("upload", "before", 1),
    ("upload", "after", 1),
    ("log_metric", "after", 1),
    ("create_registered_model", "after", 1),
    ("create_model_version", "before", 1),
    ("create_model_version", "after", 1),
    ("set_registered_model_alias", "before", 1),
    ("set_registered_model_alias", "after", 1),
    ("ask the server", "before", 1),
    ("set_model_version_tag", "before", 1),
    ("set_model_version_tag", "after", 1),
    ("set_registered_model_alias", "before", 2),
    ("set_registered_model_alias", "after", 2),
]
SECOND = [
    ("write the answers", "before", 1),
    ("Ledger.append", "before", 1),
    ("create_model_version", "after", 1),
    ("set_registered_model_alias", "after", 1),
    ("ask the server", "before", 1),
    ("set_registered_model_alias", "before", 2),
    ("set_registered_model_alias", "after", 2),
]


def start(
    home: Home,
    *arguments: str,
    kill_at: tuple[str, str, int] | None = None,
    cwd: Path | None = None,
) -> subprocess.Popen[str]:
    program = ["-m", "mnist_study"]
    if kill_at is not None:
        program = [str(KILL_AT), kill_at[0], kill_at[1], str(kill_at[2])]
    return subprocess.Popen(
        [sys.executable, *program, *arguments, "--home", str(home.path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=cwd,
        # Handed on to the scoring server, which is known by it.
        env={**os.environ, "MNIST_STUDY_HOME": str(home.path)},
    )


def check_champion(home: Home, *allowed: str | None) -> str | None:
    """Check that the alias is on one of these versions and that it passed every check."""
    registry = Registry(TrackingStore.open(home), "digits")
    version = registry.champion()
    if version is None:
        assert None in allowed
        return None
    assert str(version.version) in allowed
    assert "256 images, same labels" in version.tags["serve_check"]
    weights = [reading.weights_sha256 for reading in home.ledger.readings()]
    assert weights.count(version.tags["weights_sha256"]) == 1
    return str(version.version)


def scoring_processes(home: Home) -> list[psutil.Process]:
    """Return the living scoring servers that commands on this home have started."""
    return [
        process
        for process in psutil.process_iter(["cmdline", "environ"])
        if "mnist_study.deployment.scoring_process" in (process.info["cmdline"] or [])
        and (process.info["environ"] or {}).get("MNIST_STUDY_HOME") == str(home.path)
    ]


def check_record(home: Home, n_versions: int) -> None:
    """Check that nothing half-written is left, and that nothing was done twice."""
    registry = Registry(TrackingStore.open(home), "digits")
    client = registry.client
    assert len(client.search_model_versions(f"name = '{NAME}'")) == n_versions
    experiment = client.get_experiment_by_name("tiny-digits")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.kind = 'final'")
    assert [run.info.status for run in runs] == ["FINISHED"]
    models = client.search_logged_models([experiment.experiment_id])
    assert all(str(model.status) == "READY" for model in models)
    assert [model.tags["kind"] for model in models].count("final") == 1


def test_a_promotion_killed_at_each_step_leaves_a_checked_champion_and_completes(
    tmp_path: Path,
) -> None:
    home = build_home(tmp_path)
    for phase, points, before, after in (
        (("promote",), FIRST, None, "1"),
        (
            ("promote", "--run", run_of_trial(home, GOOD), "--force", "a test"),
            SECOND,
            "1",
            "2",
        ),
    ):
        for point in points:
            process = start(home, *phase, kill_at=point)
            out, err = process.communicate(timeout=240)
            assert process.returncode == -signal.SIGKILL, f"{point}: {out}{err}"
            moved = point == ("set_registered_model_alias", "after", 2)
            check_champion(home, after if moved else before)
            assert wait_until(lambda: not scoring_processes(home), 10)
            print(*point)
        process = start(home, *phase)
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
        assert "champion already" in out
        check_champion(home, after)
        n_models = int(after)
        assert len(home.ledger.readings()) == n_models
        check_record(home, n_models)
    history = Registry(TrackingStore.open(home), "digits").history()
    assert [move.version for move in history] == ["1", "2"]


def test_ctrl_c_while_the_server_runs_ends_everything_and_the_same_command_goes_on(
    tmp_path: Path,
) -> None:
    home = build_home(tmp_path)
    process = start(home, "promote", kill_at=("ask the server", "ctrl-c", 1))
    out, err = process.communicate(timeout=240)
    assert process.returncode == 130, out + err
    assert "Traceback" not in err
    assert "the same command goes on" in err.splitlines()[-1]
    assert wait_until(lambda: not scoring_processes(home), 10)
    check_champion(home, None)
    process = start(home, "promote")
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert check_champion(home, "1") == "1"
    assert len(home.ledger.readings()) == 1


def test_serve_and_predict_use_the_champion_from_the_command_line(tmp_path: Path) -> None:
    home = build_home(tmp_path / "home")
    for command, status, words in (
        (("serve",), 1, "no champion"),
        (("predict", str(tmp_path / "a.png")), 1, "no such file"),
        (("promote",), 0, ""),
    ):
        process = start(home, *command)
        _, err = process.communicate(timeout=240)
        assert process.returncode == status, err
        assert words in err
        assert "Traceback" not in err
    images = load_training_set("digits").images[:3]
    server = start(home, "serve", "--port", "0", "--json")
    try:
        assert server.stdout is not None
        text = ""
        while not text.endswith("}\n"):
            line = server.stdout.readline()
            assert line, server.communicate()[1]
            text += line
        document = json.loads(text)
        assert document["model"] == NAME
        assert document["url"].startswith("http://127.0.0.1:")
        body = json.dumps({"inputs": (images / 255).tolist()}).encode()
        request = urllib.request.Request(
            document["url"], body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            assert len(json.load(response)["predictions"]) == 3
    finally:
        server.send_signal(signal.SIGINT)
        _, err = server.communicate(timeout=60)
    assert server.returncode == 130
    assert "Traceback" not in err
    assert wait_until(lambda: not scoring_processes(home), 10)

    Image.fromarray(images[0]).resize((90, 90)).save(tmp_path / "a.png")
    process = start(home, "predict", str(tmp_path / "a.png"), "--json", "--show", cwd=tmp_path)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    (answer,) = json.loads(out)
    assert answer["answer"] in ("digit", "unsure")
    assert 0 <= answer["runner_up_probability"] <= answer["probability"] <= 1
    assert (answer["model"], answer["version"]) == (NAME, "1")
    assert "trained on the digits stand-in (not MNIST)" in err
    assert (tmp_path / "a-seen.png").exists()


def test_of_two_promotions_at_once_one_wins_and_the_other_says_so(tmp_path: Path) -> None:
    home = build_home(tmp_path)
    both = [start(home, "promote"), start(home, "promote", "--run", run_of_trial(home, GOOD))]
    outputs = [process.communicate(timeout=240) for process in both]
    assert sorted(process.returncode for process in both) == [0, 1]
    loser = next(n for n, process in enumerate(both) if process.returncode == 1)
    (line,) = [row for row in outputs[loser][1].splitlines() if row.startswith("error:")]
    assert "in use by `mnist-study promote" in line
    check_champion(home, "1")
    assert len(home.ledger.readings()) == 1


def test_promotion_and_rollback_work_over_an_mlflow_server(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    home = build_home(tmp_path / "home")
    for arguments in (("promote",), ("promote", "--run", run_of_trial(home, GOOD), "--force", "x")):
        process = start(home, *arguments)
        _, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
    check_champion(home, "2")
    check_record(home, 2)
    process = start(home, "rollback")
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert "version 1 is champion again" in out
    check_champion(home, "1")
    assert not (home.path / "mlflow.db").exists()
