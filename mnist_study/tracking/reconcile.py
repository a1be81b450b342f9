"""Reconciling MLflow with a study's history after its driver was killed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mnist_study.core.trials import TrialState
from mnist_study.tracking.store import (
    BEST_ACCURACY,
    FORMER_BEST_ACCURACY,
    STATE_TAG,
    TRIAL_TAG,
    TrackingStore,
    pages,
    tag_filter,
)
from mnist_study.tracking.trial_run import STATUS
from mnist_study.tracking.variables import other_registry

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel as LoggedModel
    from mlflow.entities import Run as Run

SUPERSEDED = "SUPERSEDED"


class StudyRecord:
    """All runs and models of one study in an MLflow store, deleted runs included."""

    def __init__(
        self, store: TrackingStore, experiment_ids: list[str], identity: Mapping[str, str]
    ) -> None:
        """Read the store.

        Args:
            store: to look in.
            experiment_ids: where to look.
            identity: tags by which runs and models of the study are found.
        """
        from mlflow.entities import ViewType

        self._store = store
        of_study = {"experiment_ids": experiment_ids, "filter_string": tag_filter(identity)}
        runs: list[Run] = list(
            pages(
                store.client.search_runs,
                run_view_type=ViewType.ALL,
                max_results=1000,
                **of_study,
            )
        )
        self.children = [run for run in runs if TRIAL_TAG in run.data.tags]
        self.parents = [run for run in runs if TRIAL_TAG not in run.data.tags]
        # The oldest, so that two calls agree; only a user can have made a second one.
        self.parent = min(
            filter(is_live, self.parents), key=lambda run: run.info.start_time, default=None
        )
        self.models: list[LoggedModel] = list(
            pages(store.client.search_logged_models, max_results=100, **of_study)
        )

    def reconcile(self, finished: Mapping[int, str], parent_id: str | None) -> list[str]:
        """Leave exactly one live run per finished trial, under the given parent, and its model.

        Args:
            finished: run id by trial number, as history holds them.
            parent_id: the study's parent run; None leaves its children linked as they are.

        Returns:
            The repairs, a line each; empty if none was needed.
        """
        registered_runs, registered_models = self._registered()
        registered_runs |= {
            model.source_run_id for model in self.models if model.model_id in registered_models
        }
        lines: list[str] = []
        for child in self.children:
            if finished.get(_number(child)) == child.info.run_id:
                lines += self._keep(child, parent_id)
            elif is_live(child):
                lines += self._supersede(child, child.info.run_id in registered_runs)
        kept_runs = set(finished.values()) | registered_runs
        for model in self.models:
            whole = model.source_run_id in kept_runs and str(model.status) == "READY"
            if not whole and model.model_id not in registered_models:
                self._store.client.delete_logged_model(model.model_id)
                lines.append(f"model {model.name} ({model.model_id}) had no finished run: deleted")
        known = {child.info.run_id for child in self.children}
        lines += [
            f"trial {number}: its run {run_id} is missing from MLflow; history has its values"
            for number, run_id in sorted(finished.items())
            if run_id not in known
        ]
        return lines

    def _keep(self, child: Run, parent_id: str | None) -> list[str]:
        """Undo what somebody changed in the run of a finished trial."""
        run_id, lines = child.info.run_id, []
        if not is_live(child):
            self._store.client.restore_run(run_id)
            lines.append(f"trial {_number(child)}: its run {run_id} had been deleted: restored")
        if parent_id and child.data.tags.get("mlflow.parentRunId") != parent_id:
            self._store.client.set_tag(run_id, "mlflow.parentRunId", parent_id)
            lines.append(f"trial {_number(child)}: its run {run_id} had lost its parent: linked")
        if BEST_ACCURACY not in child.data.metrics and FORMER_BEST_ACCURACY in child.data.metrics:
            self._name_best_accuracy(child)
        if child.info.status == "RUNNING":
            status = STATUS[TrialState(child.data.tags[STATE_TAG])]
            self._store.client.set_terminated(run_id, status)
            lines.append(f"trial {_number(child)}: its run {run_id} was still running: ended")
        return lines

    def _name_best_accuracy(self, child: Run) -> None:
        """Give the run of an earlier version the metric by which all runs are compared now."""
        client, run_id = self._store.client, child.info.run_id
        best_epoch = int(child.data.metrics["best_epoch"])
        points = client.get_metric_history(run_id, "val/accuracy")
        best = next(point.value for point in points if point.step == best_epoch)
        step = max(point.step for point in points)
        client.log_metric(run_id, BEST_ACCURACY, best, step=step)

    def _supersede(self, child: Run, is_registered: bool) -> list[str]:
        """Delete the run of an unfinished trial; one with a registered model is only marked."""
        run_id, label = child.info.run_id, f"trial {_number(child)}: run {child.info.run_id}"
        if not is_registered:
            self._store.client.delete_run(run_id)
            return [f"{label} was left unfinished: deleted"]
        if child.data.tags.get(STATE_TAG) == SUPERSEDED:
            return []
        if child.info.status == "RUNNING":
            self._store.client.set_terminated(run_id, "KILLED")
        self._store.client.set_tag(run_id, STATE_TAG, SUPERSEDED)
        return [f"{label} is not in history but has a registered model: kept, marked {SUPERSEDED}"]

    def _registered(self) -> tuple[set[str | None], set[str]]:
        """Return the runs and the logged models that a registered version points to."""
        runs: set[str | None] = set()
        models: set[str] = set()
        clients = [self._store.client, other_registry(self._store.uri)]
        versions = [
            version
            for client in clients
            if client is not None
            for version in pages(client.search_model_versions, max_results=1000)
        ]
        for version in versions:
            if version.run_id:
                runs.add(version.run_id)
            # On some stores the version's own model_id stays empty; its source names the model.
            if (version.source or "").startswith("models:/"):
                models.add(version.source.removeprefix("models:/"))
            if version.model_id:
                models.add(version.model_id)
        return runs, models


def is_live(run: Run) -> bool:
    """Whether a run is not deleted."""
    return bool(run.info.lifecycle_stage == "active")


def _number(child: Run) -> int:
    return int(child.data.tags[TRIAL_TAG])
