"""An MLflow store as the rest of the program sees it: client, address and files in one object."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from mnist_study.core.errors import UserFacingError
from mnist_study.core.home import Home
from mnist_study.core.text import first_line
from mnist_study.tracking.connection import TrackingError, connect, explain, mlflow_command
from mnist_study.tracking.patient_client import patiently_on
from mnist_study.tracking.relocation import relocate
from mnist_study.tracking.variables import variables_without_effect

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run
    from mlflow.store.artifact.artifact_repo import ArtifactRepository

STATE_TAG = "state"
TRIAL_TAG = "trial"
BEST_ACCURACY = "best/val_accuracy"
"""Metric of a trial's run: see `trial_run.best_accuracy`; `val/accuracy` is the last epoch's."""
FORMER_BEST_ACCURACY = "value"
"""What earlier versions called it; of PRUNED trials, they stored the last epoch's under it."""
# Opens the experiment on training runs; MLflow's interface would begin with its pages on agents.
_MODEL_TRAINING = {"mlflow.experimentKind": "custom_model_development"}


class ArtifactError(UserFacingError):
    """A file of the store that is missing, or is not what was logged."""


@dataclass(frozen=True, slots=True)
class TrackingStore:
    """An MLflow store that was opened.

    As a context manager it turns errors of the store, raised in the block, into one line that the
    user can act on.

    Attributes:
        client: for runs, models and registry; the process's own MLflow settings stay untouched.
        uri: address of the store.
        artifact_root: folder of all experiments' files; None leaves their place to the server.
        notices: what opening it had to correct, a line each.
    """

    client: MlflowClient
    uri: str
    artifact_root: str | None
    notices: tuple[str, ...] = ()

    @classmethod
    def open(cls, home: Home) -> TrackingStore:
        """Open the store of a home, creating it where it is a file that does not exist.

        Raises:
            TrackingError: the store does not answer, is no database or cannot be written.
        """
        uri = home.tracking_uri
        client = connect(uri)
        notices = variables_without_effect()
        if home.artifact_root is not None:
            database, root = home.mlflow_database, Path(home.artifact_root)
            notices += patiently_on(uri, lambda: relocate(database, root))
        return cls(client, uri, home.artifact_root, tuple(notices))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        if isinstance(error, Exception) and not isinstance(error, UserFacingError):
            known = explain(error, self.uri)
            if known is not None:
                raise known from error

    def experiment_id(self, name: str) -> str:
        """Return the id of an experiment, created if it is missing.

        Raises:
            TrackingError: the experiment is deleted, or keeps its files elsewhere.
        """
        location = None
        if self.artifact_root is not None:
            location = (Path(self.artifact_root).resolve() / name).as_uri()
        experiment = self.client.get_experiment_by_name(name)
        if experiment is None:
            return str(self.client.create_experiment(name, location, _MODEL_TRAINING))
        if experiment.lifecycle_stage != "active":
            raise TrackingError(
                f"MLflow: experiment {name!r} was deleted; restore it with `"
                f"{mlflow_command(self.uri)} experiments restore --experiment-id "
                f"{experiment.experiment_id}`, or give the experiment file another name"
            )
        if location is not None and experiment.artifact_location != location:
            raise TrackingError(
                f"MLflow: experiment {name!r} keeps its files at {experiment.artifact_location}, "
                f"expected {location}; MLflow stores places in full, so move the home back or "
                "choose another"
            )
        return str(experiment.experiment_id)

    def active_experiments(self) -> list[str]:
        """Return the ids of all experiments that are not deleted."""
        from mlflow.entities import ViewType

        experiments = pages(
            self.client.search_experiments, view_type=ViewType.ACTIVE_ONLY, max_results=1000
        )
        return [experiment.experiment_id for experiment in experiments]

    def models_of_run(self, run: Run) -> list[LoggedModel]:
        """Return the logged models of a run, PENDING ones too."""
        return list(
            self.client.search_logged_models(
                [run.info.experiment_id], filter_string=f"source_run_id = '{run.info.run_id}'"
            )
        )

    def delete_with_models(self, run: Run) -> None:
        """Delete a run and its logged models, which MLflow would leave."""
        for model in self.models_of_run(run):
            self.client.delete_logged_model(model.model_id)
        self.client.delete_run(run.info.run_id)

    def interrupt(self, run_id: str) -> None:
        """End a run that its driver has given up."""
        self.client.set_terminated(run_id, "KILLED")
        self.client.set_tag(run_id, STATE_TAG, "INTERRUPTED")

    def upload(self, location: str, files: Mapping[str, bytes]) -> None:
        """Write files, by their relative paths, to the location of a run or a logged model."""
        # What the client's log_artifacts does after asking the store for the location, which costs
        # as much as the writing.
        with tempfile.TemporaryDirectory(prefix="mnist-study-") as directory:
            for name, content in files.items():
                path = Path(directory, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            files_of = self._files(location)
            patiently_on(
                self.uri,
                lambda: files_of.log_artifacts(directory),  # type: ignore[no-untyped-call]
            )

    def fetch(self, location: str, target: Path, path: str = "") -> Path:
        """Copy files into a folder.

        Args:
            location: of a logged model, a run or a registered version.
            target: an existing folder.
            path: of one file or folder at the location; "" copies everything.

        Returns:
            Where the copy is.

        Raises:
            ArtifactError: it is not there.
        """
        from mlflow.exceptions import MlflowException

        try:
            copy = self._files(location).download_artifacts(  # type: ignore[no-untyped-call]
                path, str(target)
            )
        except (OSError, MlflowException) as error:
            raise ArtifactError(
                f"{location}/{path}: cannot be fetched ({first_line(error)}); "
                "expected what was logged there; restore it from a copy of the store"
            ) from error
        return Path(copy)

    def read(self, location: str, path: str) -> bytes:
        """Return the content of one file; as for `fetch`."""
        with tempfile.TemporaryDirectory(prefix="mnist-study-") as folder:
            return self.fetch(location, Path(folder), path).read_bytes()

    def _files(self, location: str) -> ArtifactRepository:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        return get_artifact_repository(location, tracking_uri=self.uri)


def pages(search: Callable[..., Any], **arguments: object) -> Iterator[Any]:
    """Yield the results of all pages of a search in MLflow."""
    token: str | None = None
    while True:
        page = search(**arguments, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def tag_filter(tags: Mapping[str, str]) -> str:
    """Return the condition of a search in MLflow for what has all these tags."""
    return " AND ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
