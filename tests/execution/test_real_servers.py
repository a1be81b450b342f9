"""A study whose record is on real servers: PostgreSQL, and MLflow's own server with a password."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
from command_line import ENVIRONMENT, PROGRAM, Ended, written
from PIL import Image
from real_servers import ESCAPED, PASSWORD, mlflow_server, postgres, postgres_programs

from mnist_study.data.dataset import load_training_set

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
N_TRIALS = 40
ON_DIGITS = ("--dataset", "digits")


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
                 "--seeds", "10", *ON_DIGITS)  # fmt: skip
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
    (status,) = [
        found for found in json.loads(servers.done("status", "--json"))
        if found["study"] == "tiny-digits"
    ]  # fmt: skip
    assert status["n_finished"] == N_TRIALS
    assert [champion["version"] for champion in status["champions"]] == [first["version"]]

    changed = next(servers.home.parent.glob("artifacts/**/MLmodel"))
    changed.write_text(changed.read_text() + "\n")
    ended = servers.run("audit")
    assert ended.status == 1
    assert "changed MLmodel" in ended.stdout


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


@pytest.mark.skipif(find_spec("flask_wtf") is None, reason="mlflow[auth] is not installed")
def test_a_server_that_asks_for_a_password_is_served_with_one_and_refuses_without(
    tmp_path: Path,
) -> None:
    config = tmp_path / "auth.ini"
    config.write_text(
        "[mlflow]\ndefault_permission = NO_PERMISSIONS\n"
        f"database_uri = sqlite:///{tmp_path / 'auth.db'}\n"
        f"admin_username = admin\nadmin_password = {PASSWORD}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    with mlflow_server(
        tmp_path, f"sqlite:///{tmp_path / 'mlflow.db'}", "--app-name", "basic-auth",
        MLFLOW_AUTH_CONFIG_PATH=str(config), MLFLOW_FLASK_SERVER_SECRET_KEY="a key",
    ) as address:  # fmt: skip
        arguments = ("study", written(tmp_path), *ON_DIGITS, "--home", tmp_path / "home")
        refused = run(*arguments, environment={"MLFLOW_TRACKING_URI": address})
        assert address in refused.error
        for environment in (
            {
                "MLFLOW_TRACKING_URI": address,
                "MLFLOW_TRACKING_USERNAME": "admin",
                "MLFLOW_TRACKING_PASSWORD": PASSWORD,
            },
            {"MLFLOW_TRACKING_URI": address.replace("//", f"//admin:{ESCAPED}@")},
        ):
            done = run(*arguments, environment=environment)
            assert done.status == 0, done.stderr
            audited = run("audit", *arguments[-2:], environment=environment)
            assert "proven" in audited.stdout, audited.stderr
            for secret in (PASSWORD, ESCAPED):
                assert secret not in done.stdout + done.stderr + audited.stdout + audited.stderr
