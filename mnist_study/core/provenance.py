"""Provenance of a result: code, packages, machine and data."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mnist_study.core.environment import (
    cpu_name,
    instruction_sets,
    onednn_settings,
    package_version,
)

# The packages that can change results, in the order in which they are shown.
_PACKAGES = (
    "mnist-study",
    "keras",
    "tensorflow",
    "numpy",
    "scipy",
    "optuna",
    "mlflow",
    "dask",
    "distributed",
)
_LONGEST_DIFF = 1_000_000


@dataclass(frozen=True, slots=True)
class DatasetRecord:
    """The data set that runs were trained on.

    Attributes:
        name: "mnist", "digits", or the name of a user's own data.
        source: description of where the images came from.
        content_hash: SHA-256 of images and labels, in full.
        n_train: number of training rows.
        n_validation: number of validation rows.
        split_seed: what decided which row is which.
    """

    name: str
    source: str
    content_hash: str
    n_train: int
    n_validation: int
    split_seed: int

    @property
    def digest(self) -> str:
        """The hash's beginning, as long as MLflow's field for it allows (36 characters)."""
        return self.content_hash[:32]


@dataclass(frozen=True, slots=True)
class Provenance:
    """Everything that is needed to reproduce a result.

    Attributes:
        commit: of the code; None where the package is not run from a git checkout.
        dirty: whether the checkout differs from the commit; False without a commit.
        diff: the difference, untracked files by name only.
        python: version.
        packages: version by name.
        cpu: the processor's name.
        instruction_sets: those that select kernels.
        onednn: the settings of oneDNN found in the environment.
        fingerprint: of everything that decides results.
        experiment_file: the content of the experiment file.
    """

    commit: str | None
    dirty: bool
    diff: str
    python: str
    packages: Mapping[str, str]
    cpu: str
    instruction_sets: tuple[str, ...]
    onednn: Mapping[str, str]
    fingerprint: str
    experiment_file: str

    def as_json(self) -> str:
        """Return everything but the diff and the experiment file, which are files of their own."""
        record = {
            "commit": self.commit,
            "dirty": self.dirty,
            "python": self.python,
            "packages": dict(self.packages),
            "cpu": self.cpu,
            "instruction_sets": list(self.instruction_sets),
            "onednn": dict(self.onednn),
            "fingerprint": self.fingerprint,
        }
        return json.dumps(record, indent=2, sort_keys=True) + "\n"


def collect_provenance(*, fingerprint: str, experiment_file: str) -> Provenance:
    """Describe the code, packages and machine of this process.

    Args:
        fingerprint: of everything that decides results.
        experiment_file: the content of the experiment file.
    """
    commit, diff = git_state(Path(__file__).parent)
    return Provenance(
        commit=commit,
        dirty=bool(diff),
        diff=diff,
        python=platform.python_version(),
        packages={name: package_version(name) for name in _PACKAGES},
        cpu=cpu_name(),
        instruction_sets=instruction_sets(),
        onednn=onednn_settings(),
        fingerprint=fingerprint,
        experiment_file=experiment_file,
    )


def git_state(folder: Path) -> tuple[str | None, str]:
    """Return the commit of a checkout and how its files differ from it.

    Args:
        folder: inside the checkout.

    Returns:
        The commit, None if the folder's files are not tracked by git; and the names of untracked
        files with the diff of the tracked ones, "" if there is no difference.
    """
    # A virtual environment may lie inside another project's checkout: then nothing is tracked here.
    if not _git(folder, "ls-files", "--", "."):
        return None, ""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None, ""
    list_untracked = ("ls-files", "--others", "--exclude-standard", "--full-name", ":/")
    untracked = _git(folder, *list_untracked) or ""
    diff = _git(folder, "diff", "HEAD", "--no-ext-diff", "--no-color") or ""
    if len(diff) > _LONGEST_DIFF:
        diff = diff[:_LONGEST_DIFF] + f"\n[cut: {len(diff)} characters in all]\n"
    names = "".join(f"# untracked: {name}\n" for name in untracked.splitlines())
    return commit.strip(), names + diff


def git_problem(folder: Path) -> str | None:
    """Return why git does not report the commit of an existing checkout; None if it does."""
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    if b"dubious ownership" not in done.stderr:
        return None
    return (
        "the code lies in a git repository of another owner, so git does not tell its commit and "
        "no run names it; `git config --global --add safe.directory` with the clone's folder lets "
        "it"
    )


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what a git command prints, None where git or the checkout is missing."""
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace")
