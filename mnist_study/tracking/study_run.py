"""The MLflow run of a study, the parent of its trials' runs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from mnist_study.core.provenance import Provenance
from mnist_study.tracking.entities import (
    NOTE_TAG,
    as_metrics,
    as_note,
    as_params,
    as_tags,
    nonfinite_tag,
)
from mnist_study.tracking.notes import NO_HIGHLIGHTS, Highlights, note_experiment, study_note
from mnist_study.tracking.runs import RunContext
from mnist_study.tracking.store import STATE_TAG
from mnist_study.tracking.views import save_views

if TYPE_CHECKING:
    from mlflow.entities import Run

_SUMMARY_TAG = "summary_sha256"


class StudyRun:
    """The run of a study: the settings of all trials, and at the end a summary.

    Attributes:
        run_id: in MLflow.
        is_running: whether it has to be ended; False for one that had ended and stays as it is.
    """

    def __init__(
        self,
        context: RunContext,
        existing: str | None,
        params: Mapping[str, object],
        *,
        is_complete: bool = False,
    ) -> None:
        """Create the run or resume an existing one, and set it RUNNING.

        Args:
            context: of the study.
            existing: run id of the study's run, None if there is none.
            params: what is the same for all trials; of those that the run already has, the first
                values stay, because MLflow never changes a parameter.
            is_complete: no trial is to follow; a run that has ended then stays as it is, so that
                its duration and provenance remain those of the work.
        """
        self._context = context
        client = context.store.client
        tags = {"fingerprint": context.provenance.fingerprint, "cpu": context.provenance.cpu}
        if context.provenance.commit is not None:
            tags["git_dirty"] = str(context.provenance.dirty).lower()
        if existing is None:
            run = context.create_run(context.identity["study"], tags)
        else:
            run = client.get_run(existing)
        self.run_id = str(run.info.run_id)
        self.is_running = not (is_complete and run.info.status == "FINISHED")
        if not self.is_running:
            return
        if existing is not None:
            client.update_run(existing, status="RUNNING")
        known = run.data.params if existing else {}
        new = {name: value for name, value in params.items() if name not in known}
        self._describe(run, new, tags)

    def _describe(self, run: Run, params: Mapping[str, object], tags: Mapping[str, str]) -> None:
        """Write what is known before the first trial; a run that cannot be written is ended."""
        context, store = self._context, self._context.store
        # Former findings stay until there are new ones.
        is_new = NOTE_TAG not in run.data.tags
        note = study_note(context, self.run_id, [], [], NO_HIGHLIGHTS) if is_new else None
        try:
            store.client.log_batch(
                self.run_id,
                params=as_params(params),
                tags=[*as_tags({**context.common_tags(), **tags}), *as_note(note)],
            )
            if run.inputs is None or not run.inputs.dataset_inputs:
                context.log_dataset(self.run_id)
            store.upload(run.info.artifact_uri, _provenance_files(context.provenance))
        except Exception:
            with suppress(Exception):  # the first error is the one to tell
                store.interrupt(self.run_id)
            raise

    def finish(
        self,
        figures: Mapping[str, bytes],
        tables: Mapping[str, str],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        *,
        step: int,
        lines: Sequence[str] = (),
        highlights: Highlights = NO_HIGHLIGHTS,
    ) -> None:
        """Write the summary of the study and end the run; one that is written already stays.

        Args:
            figures: PNG files by name without ending.
            tables: texts by file name.
            metrics: about the study as a whole.
            tags: about the study as a whole.
            step: of the metrics: the number of finished trials.
            lines: the findings in sentences, for the notes.
            highlights: trials that the note leads to.
        """
        store = self._context.store
        run = store.client.get_run(self.run_id)
        files = {f"summary/{name}.png": content for name, content in figures.items()}
        files |= {f"summary/{name}": text.encode() for name, text in tables.items()}
        tags = {**tags, **nonfinite_tag(metrics.items()), STATE_TAG: "COMPLETE"}
        note = study_note(self._context, self.run_id, lines, [*tables], highlights)
        tags[_SUMMARY_TAG] = _sha256_of(files, metrics, {**tags, NOTE_TAG: note})
        if not self.is_running and run.data.tags.get(_SUMMARY_TAG) == tags[_SUMMARY_TAG]:
            return
        if files:
            store.upload(run.info.artifact_uri, files)
        # A finished study that is finished again must not get its points twice.
        known = run.data.metrics
        changed = {name: value for name, value in metrics.items() if known.get(name) != value}
        store.client.log_batch(
            self.run_id,
            metrics=as_metrics(changed, step=step),
            tags=[*as_tags(tags), *as_note(note)],
        )
        if self.is_running:
            store.client.set_terminated(self.run_id, "FINISHED")
        self._show_in_experiment()

    def _show_in_experiment(self) -> None:
        """Write the experiment's note again, and save the view that it leads to."""
        store, experiment_id = self._context.store, self._context.experiment_id
        note_experiment(store, experiment_id)
        experiment = store.client.get_experiment(experiment_id)
        save_views(store, experiment, [self._context.identity["kind"]])


def _sha256_of(files: Mapping[str, bytes], *words: Mapping[str, object]) -> str:
    """Return a hash of the whole summary, by which one that is written already is known."""
    sha = hashlib.sha256(repr([sorted(mapping.items()) for mapping in words]).encode())
    for name, content in sorted(files.items()):
        sha.update(f"\n{name} {hashlib.sha256(content).hexdigest()}".encode())
    return sha.hexdigest()


def _provenance_files(provenance: Provenance) -> dict[str, bytes]:
    files = {
        "provenance/provenance.json": provenance.as_json(),
        "provenance/experiment.toml": provenance.experiment_file,
    }
    if provenance.diff:
        # Named by commit and content, so that resuming with other code keeps the earlier one.
        digest = hashlib.sha256(provenance.diff.encode()).hexdigest()[:12]
        files[f"provenance/{(provenance.commit or '')[:12]}-{digest}.diff"] = provenance.diff
    return {name: text.encode() for name, text in files.items()}
