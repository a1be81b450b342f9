"""The kinds of experiment, each a job and its report: study, baseline, confirmation, ablation."""
