"""The parent run of a study: what all its trials share, and at the end its summary."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress

from mnist_study.core.provenance import Provenance
from mnist_study.tracking.store import STATE_TAG, RunStore, as_metrics, as_tags, nonfinite_tag


def open_parent(store: RunStore, existing: str | None, params: Mapping[str, object]) -> str:
    """Create the parent run or take up an existing one, and set it RUNNING.

    Args:
        store: of the study.
        existing: run id of the parent run, None if there is none.
        params: what is the same for all trials; of those that the run already has, the first
            values stay, because MLflow never changes a parameter.

    Returns:
        Its run id.
    """
    from mlflow.entities import Param

    client, provenance = store.client, store.provenance
    tags = {
        **store.common_tags(),
        "fingerprint": provenance.fingerprint,
        "cpu": provenance.cpu,
    }
    if provenance.commit is not None:
        tags["git_dirty"] = str(provenance.dirty).lower()
    known: Mapping[str, str] = {}
    if existing is None:
        run = client.create_run(store.experiment_id, tags=tags, run_name=store.identity["study"])
    else:
        run = client.get_run(existing)
        known = run.data.params
        client.update_run(existing, status="RUNNING")
    run_id = str(run.info.run_id)
    try:
        new = [Param(name, str(value)) for name, value in params.items() if name not in known]
        client.log_batch(run_id, params=new, tags=as_tags(tags))
        if run.inputs is None or not run.inputs.dataset_inputs:
            store.log_dataset(run_id)
        files = _provenance_files(provenance)
        store.upload(run.info.artifact_uri, {name: text.encode() for name, text in files.items()})
    except Exception:
        with suppress(Exception):  # the first error is the one to tell
            store.interrupt(run_id)
        raise
    return run_id


def finish_parent(
    store: RunStore,
    run_id: str,
    *,
    figures: Mapping[str, bytes],
    tables: Mapping[str, str],
    metrics: Mapping[str, float],
    tags: Mapping[str, str],
    step: int,
) -> None:
    """Write the summary of a study into its parent run and end it.

    Args:
        store: of the study.
        run_id: of the parent run.
        figures: PNG files by name without ending.
        tables: texts by file name.
        metrics: about the study as a whole.
        tags: about the study as a whole.
        step: of the metrics: how many trials they are about.
    """
    run = store.client.get_run(run_id)
    files = {f"summary/{name}.png": content for name, content in figures.items()}
    files |= {f"summary/{name}": text.encode() for name, text in tables.items()}
    if files:
        store.upload(run.info.artifact_uri, files)
    # A finished study that is finished again must not get its points twice.
    known = run.data.metrics
    changed = {name: value for name, value in metrics.items() if known.get(name) != value}
    store.client.log_batch(
        run_id,
        metrics=as_metrics(changed, step=step),
        tags=as_tags({**tags, **nonfinite_tag(metrics.items()), STATE_TAG: "COMPLETE"}),
    )
    store.client.set_terminated(run_id, "FINISHED")


def _provenance_files(provenance: Provenance) -> dict[str, str]:
    files = {
        "provenance/provenance.json": provenance.as_json(),
        "provenance/experiment.toml": provenance.experiment_file,
    }
    if provenance.diff:
        # Named by commit and content, so that resuming with other code keeps the earlier one.
        digest = hashlib.sha256(provenance.diff.encode()).hexdigest()[:12]
        files[f"provenance/{(provenance.commit or '')[:12]}-{digest}.diff"] = provenance.diff
    return files
