"""Running trials: Dask workers, the study loop, one command's work, the audit of its record."""
