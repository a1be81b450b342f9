"""The documents name what there is: commands, make targets, modules and rooms."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import typer

from mnist_study.cli import app

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "mnist_study"
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "experiments/reproduce.sh")
# Words that follow the program's name where it is no command.
NO_COMMAND = {"COMMAND"}


def text_of(document: str) -> str:
    return (REPOSITORY / document).read_text(encoding="utf-8")


def code_in(document: str) -> str:
    """Return what a document shows as code: blocks, spans in backticks; of a script all of it.

    The remarks behind the commands of a block are left out.
    """
    text = text_of(document)
    if document.endswith(".sh"):
        return text
    blocks = [line.partition(" #")[0] for line in re.findall(r"^ {4}.*", text, re.M)]
    return "\n".join([*blocks, *re.findall(r"`([^`\n]+)`", text)])


def commands() -> set[str]:
    return set(typer.main.get_group(app).commands)


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.M))


def section(document: str, heading: str) -> str:
    """Return what stands under a heading of the second level."""
    _, _, rest = text_of(document).partition(f"\n## {heading}\n")
    assert rest, f"{document} has no section {heading!r}"
    return rest.partition("\n## ")[0]


def modules_on_disk() -> dict[str, set[str]]:
    """Return the modules of each folder of the package, by the folder's path in it."""
    folders: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        folder = path.parent.relative_to(PACKAGE).as_posix()
        if folder != "." and not path.stem.startswith("__"):
            folders.setdefault(folder, set()).add(path.stem)
    return folders


def module_map() -> dict[str, set[str]]:
    entries = re.findall(
        r"^- `([a-z/]+)`: ([a-z_,\s]+?)(?=\n- |\n*\Z)", section("CONTRIBUTING.md", "Modules"), re.M
    )
    return {folder: set(re.split(r",\s+", names.strip())) for folder, names in entries}


def test_readme_lists_every_command() -> None:
    table = section("README.md", "Commands")
    named = set(re.findall(r"(?:make|mnist-study) ([a-z]+)", table))
    assert commands() - named == set()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_that_a_document_names_exists(document: str) -> None:
    named = set(re.findall(r"\bmnist-study ([A-Za-z]\w*)", code_in(document)))
    assert named - NO_COMMAND <= commands()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_make_target_that_a_document_names_exists(document: str) -> None:
    named = set(re.findall(r"\bmake ([a-z][a-z-]*)", code_in(document)))
    assert named <= make_targets()


def test_every_option_that_the_readme_names_exists() -> None:
    group = typer.main.get_group(app)
    known = {
        option
        for command in group.commands.values()
        for parameter in command.params
        for option in parameter.opts
    }
    assert set(re.findall(r"--[a-z][a-z-]+", code_in("README.md"))) - {"--help"} <= known


def test_the_module_map_is_what_is_on_disk() -> None:
    assert module_map() == modules_on_disk()


def test_every_module_that_contributing_names_by_path_exists() -> None:
    named = re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)`", text_of("CONTRIBUTING.md"))
    assert named
    for path in named:
        assert (PACKAGE / path).exists() or (REPOSITORY / path).exists(), path


def test_the_table_of_rooms_is_what_import_linter_checks() -> None:
    rows = re.findall(r"^\| (`[^\n]+?) \| ", section("CONTRIBUTING.md", "Rooms"), re.M)
    table = [re.findall(r"`(\w+)`", row.split(" | ")[0]) for row in rows]
    contracts = tomllib.loads(text_of("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    assert table == [re.findall(r"\w+", layer) for layer in layers]
    assert {room for row in table for room in row} == {
        folder.partition("/")[0] for folder in modules_on_disk()
    }


def test_continuous_integration_runs_the_test_command_of_the_readme() -> None:
    assert text_of(".ci/run").rstrip().endswith("\nexec make test")
    assert "`make test`" in section("README.md", "Commands")
    assert re.search(r"^test: lint ", text_of("Makefile"), re.M)


def test_no_published_result_names_a_folder_of_the_machine_that_wrote_it() -> None:
    written = [
        path
        for path in (REPOSITORY / "experiments" / "results").rglob("*")
        if path.suffix in {".md", ".json", ".csv"}
    ]
    assert written
    for path in written:
        found = re.findall(r"(?<![\w./<])/[a-z]+/[\w./-]+", path.read_text(encoding="utf-8"))
        assert found == [], path
