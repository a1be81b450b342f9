"""A home that was moved or copied is the same home: locations follow it, and only it."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tracked_home import TrackedHome, complete, spec

from mnist_study.core.home import Home
from mnist_study.tracking.relocation import relocate
from mnist_study.tracking.store import TrackingStore


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one recorded trial; to be copied before it is used."""
    path = tmp_path_factory.mktemp("of 100 % ?") / "home"
    TrackedHome(Home(path)).recorded()
    return path


def locations(home: Path) -> set[str]:
    """Every location of artifacts that the home's database holds, but MLflow's own default."""
    with closing(sqlite3.connect(home / "mlflow.db")) as database:
        rows = [
            *database.execute("SELECT artifact_location FROM experiments WHERE name != 'Default'"),
            *database.execute("SELECT artifact_uri FROM runs"),
            *database.execute("SELECT artifact_location FROM logged_models"),
        ]
    return {location for (location,) in rows}


@pytest.mark.parametrize("how", ["moved", "copied"])
def test_locations_follow_a_home_that_was_moved_or_copied(
    recorded: Path, tmp_path: Path, how: str
) -> None:
    first, second = tmp_path / "a", tmp_path / "b with blanks/home"
    shutil.copytree(recorded, first)
    TrackingStore.open(Home(first))
    before = locations(first)
    (shutil.move if how == "moved" else shutil.copytree)(first, second)
    store = TrackingStore.open(Home(second))
    here = (second / "artifacts").as_uri() + "/"
    assert len(locations(second)) == len(before) == 4
    assert all(location.startswith(here) for location in locations(second))
    assert "moved or copied" in " ".join(store.notices)
    if how == "copied":
        assert locations(first) == before
        shutil.rmtree(first)  # what is read from here on is the copy's
    (model,) = TrackedHome(Home(second)).models()
    assert store.read(model.artifact_location, "data/model.keras") == b"not really a model"


def test_a_moved_home_goes_on_with_its_study(recorded: Path, tmp_path: Path) -> None:
    home = TrackedHome(Home(Path(shutil.copytree(recorded, tmp_path / "home"))))
    run_id = home.children()[0].info.run_id
    tracker = home.tracker()
    (notice,) = tracker.open({0: run_id})
    assert "moved or copied" in notice
    tracker.start(spec(1))
    tracker.finish(complete(1))
    tracker.close()
    assert len(home.children()) == 2
    assert all(str(tmp_path) in location for location in locations(home.home.path))


def test_a_home_in_its_place_is_left_alone(recorded: Path, tmp_path: Path) -> None:
    home = Path(shutil.copytree(recorded, tmp_path / "home"))
    assert len(relocate(home / "mlflow.db", home / "artifacts")) == 1
    assert relocate(home / "mlflow.db", home / "artifacts") == []


@pytest.mark.parametrize(
    "location",
    ["s3://bucket/artifacts/experiment", "file:///elsewhere/of-a-user", "mlflow-artifacts:/7"],
)
def test_files_that_a_user_keeps_elsewhere_stay_there(
    recorded: Path, tmp_path: Path, location: str
) -> None:
    home = Path(shutil.copytree(recorded, tmp_path / "home"))
    relocate(home / "mlflow.db", home / "artifacts")
    with closing(sqlite3.connect(home / "mlflow.db")) as database:
        database.execute("UPDATE experiments SET artifact_location = ?", (location,))
        database.commit()
    assert relocate(home / "mlflow.db", home / "artifacts") == []


def test_an_experiment_whose_files_were_not_moved_along_is_not_touched(
    recorded: Path, tmp_path: Path
) -> None:
    home = Path(shutil.copytree(recorded, tmp_path / "home"))
    shutil.rmtree(home / "artifacts")
    assert relocate(home / "mlflow.db", home / "artifacts") == []
