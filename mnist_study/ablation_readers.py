"""How the records of an ablation are read: the main one with all parts, and each part alone."""

from __future__ import annotations

from mnist_study.ablation_rows import runs_of, tidy_digest, tidy_table
from mnist_study.history import History
from mnist_study.runner import Findings


def read_ablation(history: History) -> Findings:
    table = tidy_table(runs_of(history))
    return Findings([f"digest {tidy_digest(table)}"], {}, {"runs.csv": table, "README.md": ""}, {})


def read_part(history: History) -> Findings:
    return read_ablation(history)
