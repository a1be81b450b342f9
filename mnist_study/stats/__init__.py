"""Pure statistics on arrays: intervals, paired effects, factorial contrasts, decisions.

Accuracies go in as rates in [0, 1]; effects come out in the unit of what went in. All randomness
comes from the `numpy.random.Generator` that is passed in.
"""

from mnist_study.stats.calibration import expected_calibration_error
from mnist_study.stats.crossed import (
    CrossedMeanSquares,
    crossed_mean,
    crossed_mean_squares,
)
from mnist_study.stats.decisions import (
    Direction,
    Equivalence,
    Verdict,
    benjamini_hochberg,
    combine,
    decide,
    equivalence,
    holm,
    outside_p_value,
)
from mnist_study.stats.estimates import (
    Interval,
    RunDistribution,
    TEstimate,
    mean_estimate,
    run_distribution,
)
from mnist_study.stats.factorial import block_contrasts
from mnist_study.stats.paired import (
    PairedEffect,
    cohens_dz,
    contrast_sd,
    mean_effect,
    paired_effect,
    power_of_paired_t,
    probability_positive,
    required_pairs,
    smallest_detectable_effect,
)
from mnist_study.stats.proportions import (
    ClassifierComparison,
    compare_classifiers,
    mcnemar_exact,
    tango_interval,
    wilson_interval,
)
from mnist_study.stats.tuning import (
    TuningCurve,
    best_difference,
    doubling_gain,
    expected_best,
    tuning_curve,
)

__all__ = [
    "ClassifierComparison",
    "CrossedMeanSquares",
    "Direction",
    "Equivalence",
    "Interval",
    "PairedEffect",
    "RunDistribution",
    "TEstimate",
    "TuningCurve",
    "Verdict",
    "benjamini_hochberg",
    "best_difference",
    "block_contrasts",
    "cohens_dz",
    "combine",
    "compare_classifiers",
    "contrast_sd",
    "crossed_mean",
    "crossed_mean_squares",
    "decide",
    "doubling_gain",
    "equivalence",
    "expected_best",
    "expected_calibration_error",
    "holm",
    "mcnemar_exact",
    "mean_effect",
    "mean_estimate",
    "outside_p_value",
    "paired_effect",
    "power_of_paired_t",
    "probability_positive",
    "required_pairs",
    "run_distribution",
    "smallest_detectable_effect",
    "tango_interval",
    "tuning_curve",
    "wilson_interval",
]
