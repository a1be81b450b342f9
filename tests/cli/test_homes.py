"""A home as one archive: brought back elsewhere it has the same digests and a clean audit."""

from __future__ import annotations

import gzip
import json
import random
import shutil
import sqlite3
import tarfile
from pathlib import Path

import pytest
from command_line import Finished, run

from mnist_study.core.home import Home, HomeError
from mnist_study.execution.archive import ArchiveError, export_home, import_home


@pytest.fixture(scope="module")
def archive(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("archive") / "home.tar.gz"
    ended = run("home", "export", file, "--home", finished.home, "--json")
    assert ended.status == 0, ended
    digests = json.loads(ended.stdout)["digests"]
    assert digests == {"tiny-digits": json.loads(finished.study.stdout)["digest"]}
    return file


def test_a_home_brought_back_elsewhere_has_equal_digests_and_a_clean_audit(
    archive: Path, finished: Finished, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "a home" / "über %41?{x}"
    elsewhere.parent.mkdir()
    ended = run("home", "import", archive, "--home", elsewhere, "--json")
    assert ended.status == 0, ended
    document = json.loads(ended.stdout)
    assert document["digests"]["tiny-digits"] == json.loads(finished.study.stdout)["digest"]
    assert [audit["findings"] for audit in document["audit"]] == [[]]
    with sqlite3.connect(elsewhere / "mlflow.db") as database:
        uris = [uri for (uri,) in database.execute("SELECT artifact_uri FROM runs")]
    assert uris
    assert all(uri.startswith((elsewhere / "artifacts").resolve().as_uri()) for uri in uris)
    assert list(elsewhere.parent.iterdir()) == [elsewhere]


def test_tilde_in_the_name_of_an_archive_is_the_users_folder(
    finished: Finished, tmp_path: Path
) -> None:
    ended = run("home", "export", "~/a.gz", "--home", finished.home, HOME=str(tmp_path))
    assert ended.status == 0, ended
    assert (tmp_path / "a.gz").exists()


def test_a_file_that_is_there_and_a_home_that_is_there_are_left_alone(
    archive: Path, finished: Finished, tmp_path: Path
) -> None:
    before = archive.read_bytes()
    with pytest.raises(ArchiveError, match="it is there already; choose another name"):
        export_home(Home.at(finished.home), archive)
    assert archive.read_bytes() == before
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    with pytest.raises(ArchiveError, match="it is there and not empty"):
        import_home(archive, Home.at(full))
    assert [path.name for path in full.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("damage", ["cut", "text", "missing", "no manifest", "digest"])
def test_what_is_no_whole_archive_is_refused_and_leaves_no_home(
    archive: Path, tmp_path: Path, damage: str
) -> None:
    file = tmp_path / "home.tar.gz"
    if damage == "cut":
        file.write_bytes(archive.read_bytes()[:-2000])
    elif damage == "text":
        file.write_text("<html>not here</html>")
    elif damage in ("no manifest", "digest"):
        _repack(archive, file, with_manifest=damage == "digest")
    home = tmp_path / "home"
    with pytest.raises(ArchiveError, match="expected") as caught:
        import_home(file, Home.at(home))
    assert "\n" not in str(caught.value)
    assert not home.exists()
    assert {path.name for path in tmp_path.iterdir()} <= {"home.tar.gz", "unpacked"}


def _repack(archive: Path, file: Path, *, with_manifest: bool) -> None:
    """Pack again without the manifest, or with one that promises another digest."""
    folder = file.parent / "unpacked"
    with tarfile.open(archive) as known:
        known.extractall(folder, filter="data")
    manifest = folder / "manifest.json"
    if with_manifest:
        document = json.loads(manifest.read_text())
        manifest.write_text(json.dumps(document | {"digests": {"tiny-digits": "ab" * 32}}))
    else:
        manifest.unlink()
    with tarfile.open(file, "w:gz") as changed:
        for path in sorted(folder.iterdir()):
            changed.add(path, path.name)


def test_damage_anywhere_is_one_line_and_leaves_no_home(archive: Path, tmp_path: Path) -> None:
    whole, file, home = archive.read_bytes(), tmp_path / "home.tar.gz", tmp_path / "home"
    rng = random.Random(0)
    for _ in range(8):
        damaged = bytearray(whole)
        damaged[rng.randrange(100, len(whole))] ^= 1 << rng.randrange(8)
        file.write_bytes(damaged)
        with pytest.raises(ArchiveError, match=r"copy it again|no whole archive"):
            import_home(file, Home.at(home))
        assert [path.name for path in tmp_path.iterdir()] == ["home.tar.gz"]


def test_an_archive_that_a_browser_has_unzipped_is_brought_back(
    archive: Path, tmp_path: Path
) -> None:
    file = tmp_path / "home.tar"
    file.write_bytes(gzip.decompress(archive.read_bytes()))
    assert import_home(file, Home.at(tmp_path / "home")).keys() == {"tiny-digits"}


def test_files_that_lie_on_another_disk_are_packed(finished: Finished, tmp_path: Path) -> None:
    home = shutil.copytree(finished.home, tmp_path / "home")
    (home / "artifacts").rename(tmp_path / "disk")
    (home / "artifacts").symlink_to(tmp_path / "disk")
    export_home(Home.at(home), tmp_path / "home.tar.gz")
    shutil.rmtree(tmp_path / "disk")
    ended = run("home", "import", tmp_path / "home.tar.gz", "--home", tmp_path / "back", "--json")
    assert ended.status == 0, ended
    assert not (tmp_path / "back" / "artifacts").is_symlink()


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("none/home.tar.gz", "none: no such folder; expected one to write"),
        ("home/artifacts/home.tar.gz", "it would lie among the files that it packs"),
        ("link/tiny-digits/home.tar.gz", "it would lie among the files that it packs"),
    ],
)
def test_a_place_where_no_archive_can_be_is_named(
    finished: Finished, tmp_path: Path, place: str, message: str
) -> None:
    home = shutil.copytree(finished.home, tmp_path / "home")
    (tmp_path / "link").symlink_to(home / "artifacts")
    before = sorted(home.rglob("*"))
    with pytest.raises(ArchiveError, match=message):
        export_home(Home.at(home), tmp_path / place)
    assert sorted(home.rglob("*")) == before


def test_a_member_that_would_lie_outside_is_refused(tmp_path: Path) -> None:
    (tmp_path / "evil").write_text("x")
    file = tmp_path / "home.tar.gz"
    with tarfile.open(file, "w:gz") as archive:
        archive.add(tmp_path / "evil", "../escaped")
    with pytest.raises(ArchiveError, match="no whole archive of a home"):
        import_home(file, Home.at(tmp_path / "in" / "home"))
    assert not (tmp_path / "in" / "escaped").exists()
    assert not (tmp_path / "escaped").exists()


def test_a_home_in_use_is_not_packed(finished: Finished, tmp_path: Path) -> None:
    home = Home.at(shutil.copytree(finished.home, tmp_path / "home"))
    with home.locked("mnist-study study"), pytest.raises(HomeError, match="in use"):
        export_home(home, tmp_path / "home.tar.gz")
    assert not (tmp_path / "home.tar.gz").exists()


def test_stores_on_a_server_are_not_packed(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MNIST_STUDY_STORAGE", "postgresql://user@127.0.0.1/name")
    with pytest.raises(ArchiveError, match="MNIST_STUDY_STORAGE: the stores are where it says"):
        export_home(Home.at(finished.home), tmp_path / "home.tar.gz")


def test_a_moved_home_is_repaired_once(finished: Finished, tmp_path: Path) -> None:
    moved = shutil.copytree(finished.home, tmp_path / "moved")
    said = [run("home", "repair", "--home", moved).stdout for _ in range(2)]
    assert "this home was moved or copied" in said[0]
    assert "nothing to repair" in said[1]
