"""A job: a set of trials that is recorded under one name, and how its record is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mnist_study.core.config import DataConfig
from mnist_study.core.identity import Identity
from mnist_study.core.trials import TrialResult, TrialSpec
from mnist_study.data.dataset import TestSet
from mnist_study.search.history import History
from mnist_study.search.plan import Plan


@dataclass(frozen=True, slots=True)
class Findings:
    """The findings of a job, computed from its record.

    Attributes:
        lines: the findings as sentences.
        figures: PNG files by name without ending.
        tables: texts by file name; README.md is the report.
        metrics: of the parent run.
        files: other files by name.
    """

    lines: list[str]
    figures: Mapping[str, bytes]
    tables: Mapping[str, str]
    metrics: Mapping[str, float]
    files: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def all_files(self) -> dict[str, bytes]:
        """The tables, figures and other files, by name."""
        tables = {name: text.encode() for name, text in self.tables.items()}
        figures = {f"{name}.png": content for name, content in self.figures.items()}
        return tables | figures | dict(self.files)

    def write(self, folder: Path) -> None:
        """Write the tables, figures and other files into a folder.

        Raises:
            OSError: one cannot be written; it names the file, as that of a full disk does not.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.all_files.items():
            path = folder / name
            try:
                path.write_bytes(content)
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(path)) from error


@dataclass(frozen=True, slots=True)
class Others:
    """The other jobs of a command, so that its view can show one total and one time left.

    Attributes:
        n_trials: of all of them.
        n_done: of these, finished.
        work_left: of the unfinished ones, in the unit of `Job.work`.
    """

    n_trials: int = 0
    n_done: int = 0
    work_left: float = 0.0


NO_OTHERS = Others()


@dataclass(frozen=True, slots=True)
class Job:
    """A set of trials to be run and recorded under one name, and how to read them.

    Attributes:
        name: of the record in Optuna's storage and of the parent run.
        experiment: name of the MLflow experiment.
        make_plan: what is to be run.
        n_trials: how many trials that is.
        identity: everything that the results are a function of.
        source_text: the experiment file, for the record.
        data: the split, or the first of several.
        params: of the parent run: what is the same for all trials, under few stable names.
        read: turns the finished record into findings.
        draw_trial: draws the curves of a finished trial as PNG.
        test_set: for jobs that read it; each reading goes to the ledger.
        name_trial: names a trial's run, within its experiment; None numbers them by kind or part.
        describe_trial: says what a trial is, for the view; None leaves it to its parameters.
        work: how long a trial takes, as a multiple of any unit; None takes all for alike.
        others: the jobs that the command runs beside this one.
    """

    name: str
    experiment: str
    make_plan: Callable[[], Plan]
    n_trials: int
    identity: Identity
    source_text: str
    data: DataConfig
    params: Mapping[str, Any]
    read: Callable[[History], Findings]
    draw_trial: Callable[[TrialResult], bytes]
    test_set: TestSet | None = None
    name_trial: Callable[[TrialSpec], str] | None = None
    describe_trial: Callable[[int], str] | None = None
    work: Callable[[int], float] | None = None
    others: Others = NO_OTHERS

    def trial_name(self, spec: TrialSpec) -> str:
        """Return the name of a trial's run."""
        if self.name_trial is not None:
            return self.name_trial(spec)
        kind = getattr(self.identity, "part", self.identity.kind)
        return f"{'trial' if kind == 'study' else kind}-{spec.number:03d}"
