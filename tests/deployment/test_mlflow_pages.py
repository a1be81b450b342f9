"""Every link that `ui` prints leads, in a browser that was never there, to what it says."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import fresh_browser, needs_browser
from command_line import ENVIRONMENT, PROGRAM
from handmade import a_history, completed, study_identity
from synthetic_study import make_experiment
from tracked_home import DATASET, PROVENANCE

from mnist_study.core.home import Home
from mnist_study.core.trials import TrialSpec, derive_seeds
from mnist_study.plots import trial_png
from mnist_study.tracking.notes import highlights_of
from mnist_study.tracking.registry import Registry
from mnist_study.tracking.store import TrackingStore
from mnist_study.tracking.tracker import Tracker

pytestmark = [pytest.mark.browser, needs_browser]

EXPERIMENT = make_experiment()
VALUES = (0.90, 0.97, 0.95)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with a study of three trials, a report and a champion, none of them trained."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("MLFLOW_TRACKING_URI", "MNIST_STUDY_STORAGE"):
            patch.delenv(variable, raising=False)
        home = Home(tmp_path_factory.mktemp("browsed"))
        history = a_history(home.path, "seen", study_identity(EXPERIMENT))
        tracker = Tracker(
            home, experiment="seen", identity=history.mlflow_identity, dataset=DATASET,
            provenance=PROVENANCE, draw_trial=trial_png,
        )  # fmt: skip
        tracker.open({})
        for number, value in enumerate(VALUES):
            params = EXPERIMENT.baseline.model_copy(update={"units_1": 128 + number})
            result = completed(
                number, params, value, model_keras=b"no model", weights_sha256="e" * 64,
                restored_train_accuracy=0.99,
            )  # fmt: skip
            tracker.start(
                TrialSpec(
                    number, params, derive_seeds(0, number), EXPERIMENT.training, EXPERIMENT.data
                )
            )
            history.append(result, tracker.finish(result))
        history.n_trials = len(VALUES)
        tracker.finish_parent(
            tables={"report.html": "<p>the report itself</p>"},
            tags={"finding": "Trial 1 is best."},
            lines=["Trial 1 is best."],
            highlights=highlights_of(history.results, history.run_ids),
        )
        tracker.close()
        store = TrackingStore.open(home)
        registry = Registry(store, "digits")
        run = store.client.get_run(history.run_ids[1])
        (model,) = store.models_of_run(run)
        version = registry.register(model.model_id, run.info.run_id, "the card", {"dataset": "x"})
        registry.move_champion(version, "promote", from_version=None)
        home.readouts.mkdir()
    return home


@pytest.fixture(scope="module")
def served(home: Home) -> Iterator[dict[str, Any]]:
    """What `ui --json` prints, while it serves."""
    command = [*PROGRAM, "ui", "--home", str(home.path), "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        try:
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                lines.append(line)
                if line == "}\n":
                    break
            yield json.loads("".join(lines))
        finally:
            process.terminate()


WORDS = {
    "all runs as a table": ("3 matching runs", "trial-001", "0.97", "COMPLETE", "overfitting_gap"),
    "the 3 best compared": ("Comparing 3 Runs from 1 Experiment", "trial-001", "trial-002"),
    "the best against the documented network": ("Comparing 2 Runs from 1 Experiment", "trial-000"),
    "the report": ("summary/report.html",),
    "the champion, version 1": ("Version 1", "champion", "the card"),
}


def test_every_question_has_its_link(served: dict[str, Any]) -> None:
    assert [page["shows"] for page in served["pages"]] == list(WORDS)


@pytest.mark.parametrize("shows", list(WORDS))
def test_a_link_lands_on_what_it_says(served: dict[str, Any], shows: str, tmp_path: Path) -> None:
    (url,) = [page["url"] for page in served["pages"] if page["shows"] == shows]
    with fresh_browser() as page:
        page.open(url)
        page.wait_for(*WORDS[shows])
        page.screenshot(tmp_path / "page.png")
        if shows == "the report":
            source = "document.querySelector('iframe') && document.querySelector('iframe').src"
            assert page.value(source) is not None
