"""MLflow: the runs, models and registry of a study, written by one thread."""
