"""`make` in clones and environments that are not as one would wish, with a program that echoes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
ECHOING = """\
#!/bin/sh
'''exec' "{python}" "$0" "$@"
' '''
import os, sys
print(*sys.argv[1:], os.environ.get("PYTHONPATH"), os.environ.get("PIP_USER"), sep="|")
"""

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


@pytest.fixture(params=["a clone", "python projects/python"])
def clone(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A clone with a space in its path, set up with a program that prints its arguments."""
    clone = tmp_path / str(request.param)
    (clone / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(REPOSITORY / "Makefile", clone)
    for name in ("requirements.lock", "pyproject.toml", "a b.png", "c.png"):
        (clone / name).touch()
    python = clone / ".venv" / "bin" / "python"
    python.symlink_to(sys.executable)
    (clone / ".venv" / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).parent}\n")
    program = clone / ".venv" / "bin" / "mnist-study"
    program.write_text(ECHOING.format(python=python))
    program.chmod(0o755)
    (clone / ".venv" / ".ready").touch()
    return clone


def make(clone: Path, *arguments: str, **environment: str) -> str:
    # Without what a `make` that runs these tests tells the ones below it.
    inherited = {name: os.environ[name] for name in os.environ if not name.startswith("MAKE")}
    done = subprocess.run(
        ["make", *arguments],
        cwd=clone,
        capture_output=True,
        text=True,
        env={**inherited, "PYTHON": "false", **environment},  # so that nothing is installed
    )
    assert done.returncode == 0, done
    return done.stdout


def say_in_place(clone: Path, program: str) -> None:
    """Let a clone run another program, in an environment that says it is where it was made."""
    for name, text in (("mnist-study", program), ("python", "#!/bin/sh\n")):
        (clone / ".venv" / "bin" / name).unlink()
        (clone / ".venv" / "bin" / name).write_text(text)
        (clone / ".venv" / "bin" / name).chmod(0o755)


@pytest.mark.parametrize(
    ("images", "arguments"),
    [
        ("c.png", "c.png"),
        ("a b.png", "a b.png"),
        ("'a b.png' c.png", "a b.png|c.png"),
        ("*.png", "a b.png|c.png"),
        ("c.png no.png", "c.png|no.png"),
    ],
)
def test_images_may_have_spaces_in_their_names(clone: Path, images: str, arguments: str) -> None:
    assert make(clone, "predict", f"IMAGES={images}") == f"predict|{arguments}|None|0\n"


@pytest.mark.parametrize("command", ["study", "baseline", "ablation"])
def test_file_names_the_experiment(clone: Path, command: str) -> None:
    assert make(clone, command, "FILE=my file.toml").startswith(f"{command}|my file.toml|")
    default = "experiments/study.toml|" if command == "study" else ""
    assert make(clone, command).startswith(f"{command}|{default}None")


def test_settings_of_other_pythons_do_not_reach_this_one(clone: Path) -> None:
    foreign = {"PYTHONPATH": "/else", "PIP_USER": "1", "PIP_REQUIRE_VIRTUALENV": "1"}
    foreign |= dict.fromkeys(("PIP_PYTHON", "PIP_ROOT", "PIP_REQUIREMENT"), "/else")
    foreign |= dict.fromkeys(("PIP_DRY_RUN", "PIP_REQUIRE_HASHES", "PYTHONOPTIMIZE"), "1")
    assert make(clone, "status", **foreign) == "status|None|0\n"
    say_in_place(clone, "#!/bin/sh\nenv\n")
    seen = {line.partition("=")[0] for line in make(clone, "status", **foreign).splitlines()}
    assert not seen & (set(foreign) - {"PIP_USER"})


def test_targets_asked_for_at_once_are_made_one_after_the_other(clone: Path) -> None:
    say_in_place(clone, "#!/bin/sh\necho begin; sleep 0.1; echo end\n")
    assert make(clone, "-j4", "study", "confirm") == "begin\nend\n" * 2


def test_environment_that_was_moved_is_made_again(clone: Path, tmp_path: Path) -> None:
    assert "again" not in make(clone, "-n", "status")
    moved = clone.rename(tmp_path / "moved")
    assert "made elsewhere or its Python is gone: making it again" in make(moved, "-n", "status")


def test_environment_whose_python_is_gone_is_made_again(clone: Path) -> None:
    (clone / ".venv" / "bin" / "python").unlink()
    (clone / ".venv" / "bin" / "python").symlink_to("/no/such/python")
    assert "making it again" in make(clone, "-n", "status")


def test_environment_reached_by_a_link_is_the_same(clone: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(clone)
    assert make(tmp_path / "link", "status") == "status|None|0\n"
