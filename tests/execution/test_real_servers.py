"""A study whose record is on real servers: PostgreSQL, and MLflow's own server with a password."""

from __future__ import annotations

import base64
import json
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import ENVIRONMENT, PROGRAM, Ended, written
from PIL import Image
from real_servers import ESCAPED, PASSWORD, mlflow_server, postgres, postgres_programs

from mnist_study.data.dataset import load_training_set

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
N_TRIALS, N_SEEDS, N_SERVED = 40, 10, 3
ON_DIGITS = ("--dataset", "digits")
LOAD = """
import json, sys
import numpy as np
import mnist_study

home = mnist_study.load(sys.argv[1])
images = np.load(sys.argv[2])
print(json.dumps({
    "digest": home.studies.digest["tiny-digits"],
    "trials": len(home.trials("tiny-digits")),
    "epochs": int((home.curves("tiny-digits").metric == "val/accuracy").sum()),
    "confirmed": len(home.confirmation().runs),
    "probabilities": home.champion().probabilities(images).tolist(),
}))
"""


def run(*arguments: str | Path, environment: dict[str, str] | None = None) -> Ended:
    done = subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=1800,
        env=ENVIRONMENT | (environment or {}),
    )
    return Ended(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Servers:
    """The addresses of a study's servers, as the environment names them."""

    environment: dict[str, str]
    home: Path

    def run(self, *arguments: str | Path, home: Path | None = None) -> Ended:
        ended = run(*arguments, "--home", home or self.home, environment=self.environment)
        for secret in (PASSWORD, ESCAPED):
            assert secret not in ended.stdout + ended.stderr
        return ended

    def done(self, *arguments: str | Path) -> str:
        ended = self.run(*arguments)
        assert ended.status == 0, ended.stderr
        return ended.stdout


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    programs = postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL's programs are not installed")
    if find_spec("psycopg") is None:
        pytest.skip("PostgreSQL's driver is not installed: pip install mnist-study[postgres]")
    with postgres(programs) as address:
        yield address


@pytest.fixture(scope="module")
def servers(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("servers")
    with mlflow_server(folder, f"{database}/mlflow") as tracking:
        environment = {
            "MLFLOW_TRACKING_URI": tracking,
            "MNIST_STUDY_STORAGE": f"{database}/optuna",
        }
        yield Servers(environment, folder / "home")


def test_a_study_on_servers_goes_from_its_first_trial_to_a_rollback(
    servers: Servers, tmp_path: Path
) -> None:
    file = written(tmp_path, n_trials=N_TRIALS, epochs=2)
    local = run("study", file, *ON_DIGITS, "--home", tmp_path / "local", "--json")
    assert local.status == 0, local.stderr
    study = json.loads(servers.done("study", file, *ON_DIGITS, "--json"))
    assert study["n_trials"] == N_TRIALS
    assert study["digest"] == json.loads(local.stdout)["digest"]

    servers.done("confirm", "--top", "1", "--screening-seeds", "1", "--finalists", "1",
                 "--seeds", str(N_SEEDS), *ON_DIGITS)  # fmt: skip
    first = json.loads(servers.done("promote", "--json"))
    audits = json.loads(servers.done("audit", "--json"))
    assert [audit["findings"] for audit in audits] == [[]] * len(audits)
    kinds = sorted(audit["kind"] for audit in audits)
    assert kinds == ["confirm", "registered model", "study"]
    other = other_run(servers)
    second = json.loads(servers.done("promote", "--run", other, "--force", "a test", "--json"))
    assert second["previous_version"] == first["version"]
    back = json.loads(servers.done("rollback", "--json"))
    assert (back["version"], back["from_version"]) == (first["version"], second["version"])

    picture = tmp_path / "digit.png"
    Image.fromarray(load_training_set("digits").images[0]).save(picture)
    predicted = servers.run("predict", picture, "--json")  # what it answers is another test's
    assert str(picture) in predicted.stdout, predicted.stderr
    assert [line["version"] for line in json.loads(predicted.stdout)] == [first["version"]]
    (status,) = [
        found for found in json.loads(servers.done("status", "--json"))
        if found["study"] == "tiny-digits"
    ]  # fmt: skip
    assert status["n_finished"] == N_TRIALS
    assert [champion["version"] for champion in status["champions"]] == [first["version"]]

    shutil.rmtree(servers.home / "reports")
    servers.done("report")
    for name in ("tiny-digits", *(a["study"] for a in audits if a["kind"] == "confirm")):
        assert (servers.home / "reports" / name / "README.md").exists()
    images = tmp_path / "images.npy"
    np.save(images, load_training_set("digits").images[:N_SERVED])
    loaded = json.loads(
        subprocess.run(
            [sys.executable, "-c", LOAD, servers.home, images],
            capture_output=True, text=True, check=True, timeout=600,
            env=ENVIRONMENT | servers.environment,
        ).stdout
    )  # fmt: skip
    assert loaded["digest"] == study["digest"]
    assert loaded["trials"] == N_TRIALS
    assert loaded["epochs"] == 2 * N_TRIALS
    assert loaded["confirmed"] == 2 * N_SEEDS
    answers = served(servers, np.load(images))
    labels = np.argmax(loaded["probabilities"], axis=1)  # the server's temperature keeps them
    assert [answer["label"] for answer in answers] == labels.tolist()
    for arguments in (("export", tmp_path / "a.tar.gz"), ("import", tmp_path / "a.tar.gz")):
        refused = servers.run("home", *arguments)
        assert "the stores are where it says" in refused.error
    assert not (tmp_path / "a.tar.gz").exists()
    assert not (servers.home / "mlflow.db").exists()
    assert not (servers.home / "optuna.db").exists()
    audits = json.loads(servers.done("audit", "--json"))
    assert [audit["findings"] for audit in audits] == [[]] * len(audits)

    changed = next(servers.home.parent.glob("artifacts/**/MLmodel"))
    changed.write_text(changed.read_text() + "\n")
    ended = servers.run("audit")
    assert ended.status == 1
    assert "changed MLmodel" in ended.stdout


def served(servers: Servers, images: np.ndarray) -> list[dict[str, Any]]:
    """Return what `serve` answers to images; it is ended as by Ctrl-C."""
    server = subprocess.Popen(
        [*PROGRAM, "serve", "--port", "0", "--json", "--home", str(servers.home)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=ENVIRONMENT | servers.environment,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        lines: list[str] = []
        while not lines or lines[-1] != "}\n":
            lines.append(server.stdout.readline())
            assert lines[-1], server.communicate()[1]
        body = json.dumps({"inputs": (images / 255).tolist()}).encode()
        request = urllib.request.Request(
            json.loads("".join(lines))["url"], body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=300) as response:
            answer: list[dict[str, Any]] = json.load(response)["predictions"]
    finally:
        server.send_signal(signal.SIGINT)
        _, errors = server.communicate(timeout=300)
    assert server.returncode == 130
    assert not any(secret in errors for secret in (PASSWORD, ESCAPED))
    return answer


def other_run(servers: Servers) -> str:
    """Return a run of the study with a model, other than the champion's."""
    from mnist_study.tracking.connection import connect

    client = connect(servers.environment["MLFLOW_TRACKING_URI"])
    experiment = client.get_experiment_by_name("tiny-digits")
    assert experiment is not None
    found = client.search_runs(
        [experiment.experiment_id], "tags.trial = '3' AND tags.kind = 'study'"
    )
    return str(found[0].info.run_id)


def test_a_database_alone_holds_the_record_too(database: str, tmp_path: Path) -> None:
    address = f"{database}/other"
    environment = {"MNIST_STUDY_STORAGE": address}
    home = ("--home", tmp_path / "home")
    done = run("study", written(tmp_path), *ON_DIGITS, *home, environment=environment)
    assert done.status == 0, done.stderr
    assert "proven" in run("audit", *home, environment=environment).stdout
    wrong = {"MNIST_STUDY_STORAGE": address.replace(ESCAPED, "wrong-password")}
    refused = run("status", *home, environment=wrong)
    assert "password authentication failed" in refused.error
    assert "wrong-password" not in refused.error


def as_user(address: str, name: str, password: str) -> dict[str, str]:
    return {
        "MLFLOW_TRACKING_URI": address,
        "MLFLOW_TRACKING_USERNAME": name,
        "MLFLOW_TRACKING_PASSWORD": password,
    }


def add_reader(address: str) -> dict[str, str]:
    """Make a user who may read everything on MLflow's server and write nothing of others."""
    body = json.dumps({"username": "reader", "password": PASSWORD}).encode()
    credentials = base64.b64encode(f"admin:{PASSWORD}".encode()).decode()
    headers = {"Content-Type": "application/json", "Authorization": f"Basic {credentials}"}
    request = urllib.request.Request(f"{address}/api/2.0/mlflow/users/create", body, headers)
    urllib.request.urlopen(request, timeout=60).close()
    return as_user(address, "reader", PASSWORD)


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[str]:
    """The address of MLflow's server that asks for a password."""
    config = tmp_path / "auth.ini"
    config.write_text(
        "[mlflow]\ndefault_permission = READ\n"
        f"database_uri = sqlite:///{tmp_path / 'auth.db'}\n"
        f"admin_username = admin\nadmin_password = {PASSWORD}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    with mlflow_server(
        tmp_path, f"sqlite:///{tmp_path / 'mlflow.db'}", "--app-name", "basic-auth",
        MLFLOW_AUTH_CONFIG_PATH=str(config), MLFLOW_FLASK_SERVER_SECRET_KEY="a key",
    ) as address:  # fmt: skip
        yield address


@pytest.mark.skipif(find_spec("flask_wtf") is None, reason="mlflow[auth] is not installed")
def test_a_server_with_passwords_lets_in_who_has_one_and_write_who_may(
    guarded: str, tmp_path: Path
) -> None:
    home = ("--home", tmp_path / "home")
    arguments = ("study", written(tmp_path), *ON_DIGITS, *home)
    admin, in_address = as_user(guarded, "admin", PASSWORD), f"//admin:{ESCAPED}@"
    said = []

    def run_as(environment: dict[str, str], *command: str | Path) -> Ended:
        ended = run(*command, environment=environment)
        said.append(ended.stdout + ended.stderr)
        return ended

    for stranger in (
        {"MLFLOW_TRACKING_URI": guarded},
        as_user(guarded, "admin", f"{PASSWORD}x"),
        as_user(guarded, "nobody", PASSWORD),
    ):
        error = run_as(stranger, *arguments).error
        assert guarded in error
        assert "name and password of one of its users in MLFLOW_TRACKING_USERNAME" in error
    for environment in (
        admin, {"MLFLOW_TRACKING_URI": guarded.replace("//", in_address)}
    ):  # fmt: skip
        done = run_as(environment, *arguments)
        assert done.status == 0, done.stderr
        assert "proven" in run_as(environment, "audit", *home).stdout

    reader = add_reader(guarded)
    for command in ("status", "digest", "audit"):
        read = run_as(reader, command, *home)
        assert read.status == 0, read.stderr
    error = run_as(reader, *arguments, "--trials", "4").error
    assert "Permission denied" in error
    assert "expected a user who may write there" in error
    assert json.loads(run_as(admin, "digest", *home, "--json").stdout)[0]["n_trials"] == 3
    assert not any(secret in text for text in said for secret in (PASSWORD, ESCAPED))
