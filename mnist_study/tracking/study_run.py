"""The MLflow run of a study, the parent of its trials' runs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress

from mnist_study.core.provenance import Provenance
from mnist_study.tracking.entities import as_metrics, as_params, as_tags, nonfinite_tag
from mnist_study.tracking.runs import RunContext
from mnist_study.tracking.store import STATE_TAG


class StudyRun:
    """The run of a study: the settings of all trials, and at the end a summary.

    Attributes:
        run_id: in MLflow.
    """

    def __init__(
        self, context: RunContext, existing: str | None, params: Mapping[str, object]
    ) -> None:
        """Create the run or resume an existing one, and set it RUNNING.

        Args:
            context: of the study.
            existing: run id of the study's run, None if there is none.
            params: what is the same for all trials; of those that the run already has, the first
                values stay, because MLflow never changes a parameter.
        """
        self._context = context
        store, provenance = context.store, context.provenance
        tags = {"fingerprint": provenance.fingerprint, "cpu": provenance.cpu}
        if provenance.commit is not None:
            tags["git_dirty"] = str(provenance.dirty).lower()
        if existing is None:
            run = context.create_run(context.identity["study"], tags)
        else:
            run = store.client.get_run(existing)
            store.client.update_run(existing, status="RUNNING")
        self.run_id = str(run.info.run_id)
        known = run.data.params if existing else {}
        new = {name: value for name, value in params.items() if name not in known}
        try:
            store.client.log_batch(
                self.run_id,
                params=as_params(new),
                tags=as_tags({**context.common_tags(), **tags}),
            )
            if run.inputs is None or not run.inputs.dataset_inputs:
                context.log_dataset(self.run_id)
            store.upload(run.info.artifact_uri, _provenance_files(provenance))
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
    ) -> None:
        """Write the summary of the study and end the run.

        Args:
            figures: PNG files by name without ending.
            tables: texts by file name.
            metrics: about the study as a whole.
            tags: about the study as a whole.
            step: of the metrics: the number of finished trials.
        """
        store = self._context.store
        run = store.client.get_run(self.run_id)
        files = {f"summary/{name}.png": content for name, content in figures.items()}
        files |= {f"summary/{name}": text.encode() for name, text in tables.items()}
        if files:
            store.upload(run.info.artifact_uri, files)
        # A finished study that is finished again must not get its points twice.
        known = run.data.metrics
        changed = {name: value for name, value in metrics.items() if known.get(name) != value}
        store.client.log_batch(
            self.run_id,
            metrics=as_metrics(changed, step=step),
            tags=as_tags({**tags, **nonfinite_tag(metrics.items()), STATE_TAG: "COMPLETE"}),
        )
        store.client.set_terminated(self.run_id, "FINISHED")


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
