"""Figures: pure functions from plain records to `matplotlib.figure.Figure`."""

from mnist_study.plots.curves import best_curves, training_curves, trial_png
from mnist_study.plots.importance import parameter_importances
from mnist_study.plots.parallel import parallel_coordinates
from mnist_study.plots.search import optimization_history, slices
from mnist_study.plots.size import accuracy_against_size
from mnist_study.plots.style import to_png, to_pngs

__all__ = [
    "accuracy_against_size",
    "best_curves",
    "optimization_history",
    "parallel_coordinates",
    "parameter_importances",
    "slices",
    "to_png",
    "to_pngs",
    "training_curves",
    "trial_png",
]
