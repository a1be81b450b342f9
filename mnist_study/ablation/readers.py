"""How the records of an ablation are read: the main one with all parts, and each part alone."""

from __future__ import annotations

from mnist_study.ablation.figures import ablation_figures
from mnist_study.ablation.record import AblationRecord
from mnist_study.ablation.report import ablation_lines, ablation_markdown
from mnist_study.ablation.rows import runs_of, tidy_digest, tidy_table
from mnist_study.history import History
from mnist_study.report import digest_document, sessions_markdown, state_counts
from mnist_study.runner import Findings


def read_ablation(history: History) -> Findings:
    """Read the factorial's record together with all parts beside it."""
    record = AblationRecord(history)
    table = tidy_table(run for runs in record.runs.values() for run in runs)
    figures = ablation_figures(record)
    data = record.data
    metrics: dict[str, float] = {}
    if data is not None:
        metrics = {"n_seeds": data.n_seeds, "n_runs": len(history.results)}
    return Findings(
        lines=ablation_lines(record),
        figures=figures,
        tables={
            "README.md": ablation_markdown(record, tidy_digest(table), figures),
            "runs.csv": table,
        },
        metrics=metrics,
    )


def read_part(history: History) -> Findings:
    """Read one of the other parts: its runs, and where the report is."""
    identity = history.identity or {}
    table = tidy_table(runs_of(history))
    counts = ", ".join(f"{n} {state}" for state, n in state_counts(history.results).items() if n)
    main = history.name.removesuffix(f"-{identity['part']}")
    line = f"Part {identity['part']} of the ablation {main}: {len(history.results)} runs, {counts}."
    text = [
        f"# {line}",
        "",
        f"Its figures and numbers are in the report of {main}, which reads all parts together.",
        "",
        f"- digest: `{digest_document(history)['digest']}`",
        f"- digest of the tidy rows (`runs.csv`): `{tidy_digest(table)}`",
        "",
        *sessions_markdown(history),
        "",
    ]
    return Findings([line], {}, {"README.md": "\n".join(text), "runs.csv": table}, {})
