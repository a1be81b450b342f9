"""Optuna: sampler, pruner, plans, and the append-only history of finished trials."""
