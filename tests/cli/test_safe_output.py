"""What users and stores bring is printed without control characters and passwords."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest
from command_line import refused, run

import mnist_study
from mnist_study.core.safe_text import safe

EVIL = "\x1b]0;title\x07\x1b[31m"


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("study", f"/nowhere/{EVIL}.toml"), 1),
        (("digest", f"--{EVIL}"), 2),
        ((EVIL,), 2),
    ],
)
def test_escape_sequences_in_arguments_do_not_reach_the_terminal(
    arguments: tuple[str, ...], status: int
) -> None:
    ended = run(*arguments)
    assert ended.status == status
    assert "\x1b" not in ended.stderr + ended.stdout
    assert "\x07" not in ended.stderr + ended.stdout
    assert "\\x1b" in ended.stderr


@pytest.mark.parametrize(
    ("variable", "address"),
    [
        ("MLFLOW_TRACKING_URI", "http://user:{}@127.0.0.1:9"),
        ("MLFLOW_TRACKING_URI", "http:/user:{}@127.0.0.1:9"),
        ("MLFLOW_TRACKING_URI", "htp://user:{}@127.0.0.1:9"),
        ("MLFLOW_TRACKING_URI", "user:{}@127.0.0.1:9"),
        ("MLFLOW_TRACKING_URI", "postgresql://user:{}@127.0.0.1:9/name"),
        ("MNIST_STUDY_STORAGE", "postgresql://user:{}@127.0.0.1:9/name"),
        ("MNIST_STUDY_STORAGE", "postgresql:/user:{}@127.0.0.1:9/name"),
        ("MNIST_STUDY_STORAGE", "nothing:{}@127.0.0.1"),
    ],
)
@pytest.mark.parametrize("secret", ["hunter2/x@y", "hunter2"])
def test_a_password_in_an_address_is_not_in_the_error(
    tmp_path: Path, variable: str, address: str, secret: str
) -> None:
    command = "rollback" if variable.startswith("MLFLOW") else "status"
    error = refused(command, "--home", tmp_path, **{variable: address.format(secret)})
    assert "hunter2" not in safe(error, {})


def test_whatever_the_program_prints_goes_through_the_one_function() -> None:
    package = Path(mnist_study.__file__).parent
    printing = [
        f"{path.relative_to(package)}: {text}"
        for path in sorted(package.rglob("*.py"))
        if path.parent.name != "bench"  # which prints its own measurements
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and re.search(r"\b(print|echo|(stderr|stdout)\.write)$", ast.unparse(node.func))
        and "safe" not in (text := ast.unparse(node))
    ]
    assert printing == [
        "deployment/scoring_process.py: print(listener.getsockname()[1], flush=True)"
    ]


def test_a_champions_history_is_shown_without_the_escape_sequences_of_its_tags(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from mnist_study.cli.output import print_result, say, stderr_console

    print_result({"reason": EVIL}, [f"gate overridden: {EVIL}", "[bold]x[/bold]"], False)
    say(stderr_console(), f"[red]{EVIL}[/red]")
    printed = capsys.readouterr()
    assert printed.out == "gate overridden: \\x1b]0;title\\x07\\x1b[31m\n[bold]x[/bold]\n"
    assert printed.err == "[red]\\x1b]0;title\\x07\\x1b[31m[/red]\n"
    print_result({"reason": EVIL, "urls": ["http://a:hunter2@b"]}, [], True)
    printed = capsys.readouterr()
    assert "\x1b" not in printed.out
    assert json.loads(printed.out) == {"reason": EVIL, "urls": ["http://a:***@b"]}
