"""The short help line and the example of each command."""

EXAMPLES = {
    "study": "mnist-study study experiments/study.toml --trials 100 --workers 4",
    "baseline": "mnist-study baseline --seeds 30",
    "confirm": "mnist-study confirm --top 6 --finalists 3 --seeds 30",
    "ablation": "mnist-study ablation experiments/ablation.toml --seeds 10",
    "status": "mnist-study status --watch",
    "top": "mnist-study top 10",
    "digest": "mnist-study digest --home mlruns",
    "report": "mnist-study report --study mnist-mlp",
    "ui": "mnist-study ui --port 0",
    "audit": "mnist-study audit --repair",
    "promote": "mnist-study promote --trial 24",
    "rollback": "mnist-study rollback",
    "serve": "mnist-study serve --port 5001",
    "predict": "mnist-study predict seven.png --show",
}

SUMMARIES = {
    "study": "Run or resume the study in FILE.",
    "baseline": "Train the documented network over N seeds.",
    "confirm": "Train the best configurations again with fresh seeds.",
    "ablation": "Measure the effect of each part of the regularization.",
    "status": "Show progress, best so far, pace and time left.",
    "top": "List the N best trials of a study.",
    "digest": "Print each study's digest, and its trials.",
    "report": "Write the reports again, from the stores.",
    "ui": "Serve MLflow's UI; print the pages worth opening.",
    "audit": "Prove that runs, models and history agree.",
    "promote": "Make a model champion, after its checks.",
    "rollback": "Make the previous champion champion again.",
    "serve": "Serve the champion with MLflow's scoring server.",
    "predict": "Name the digit in each image.",
}
"""Each fits beside the longest name of a command in 80 columns."""
