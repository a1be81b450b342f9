"""The pages of MLflow's interface that answer a home's questions, each as a link."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mnist_study.core.home import Home
from mnist_study.deployment.champion import champion_document
from mnist_study.experiments.reports import is_part
from mnist_study.search.history import History
from mnist_study.search.storage import NoStudyError
from mnist_study.tracking import links
from mnist_study.tracking.notes import REPORTS, highlights_of
from mnist_study.tracking.store import TrackingStore
from mnist_study.tracking.views import save_views


@dataclass(frozen=True, slots=True)
class Page:
    """A page of MLflow's interface.

    Attributes:
        subject: name of the record or of the registered model that it is about.
        shows: what is to be seen there, in a few words.
        path: after the address of the interface and a slash.
    """

    subject: str
    shows: str
    path: str

    def as_document(self, base: str) -> dict[str, str]:
        """Return everything, with the whole address."""
        return {"subject": self.subject, "shows": self.shows, "url": f"{base}/{self.path}"}


def pages_of(home: Home) -> list[Page]:
    """Return the pages of a home's records and champions; saves the views that they open.

    Raises:
        UserFacingError: a store cannot be read.
    """
    try:
        histories = History.open_all(home.storage_url)
    except NoStudyError:
        return []
    found: list[Page] = []
    with TrackingStore.open(home) as store:
        for history in histories:
            if history.run_ids and not is_part(history):
                found += _pages_of(store, history)
    for champion in champion_document(home)["champions"]:
        name, version = champion["model"], champion["version"]
        path = links.version_page(name, version)
        found.append(Page(name, f"the champion, version {version}", path))
    return found


def _pages_of(store: TrackingStore, history: History) -> Iterator[Page]:
    """Yield the pages of a record; none of one whose runs MLflow has lost, which `audit` tells."""
    from mlflow.exceptions import MlflowException

    try:
        trial = store.client.get_run(history.run_ids[0])
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return
    name, kind, experiment_id = history.name, history.kind, trial.info.experiment_id
    save_views(store, store.client.get_experiment(experiment_id), [kind])
    yield Page(name, "all runs as a table", links.runs_table(experiment_id, kind))
    if kind == "study":
        seen = highlights_of(history.results, history.run_ids)
        if len(seen.best) > 1:
            path = links.comparison(experiment_id, seen.best)
            yield Page(name, f"the {len(seen.best)} best compared", path)
        if seen.best and seen.reference not in (None, seen.best[0]):
            path = links.comparison(experiment_id, [seen.best[0], str(seen.reference)])
            yield Page(name, "the best against the documented network", path)
    parent_id = trial.data.tags.get("mlflow.parentRunId")
    if parent_id is None:
        return
    files = {item.path for item in store.client.list_artifacts(parent_id, "summary")}
    for report in (f"summary/{report}" for report in REPORTS):
        if report in files:
            yield Page(name, "the report", links.artifact_page(experiment_id, parent_id, report))
            return
