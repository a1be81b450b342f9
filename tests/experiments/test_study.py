"""The study as a job."""

from __future__ import annotations

import pytest
from synthetic_study import SEARCH

from mnist_study.core.config import ConfigError, DataConfig
from mnist_study.data.dataset import TrainingSet
from mnist_study.experiments.study import study_job


def test_a_name_too_long_for_the_stand_in_is_refused_before_any_work(digits: TrainingSet) -> None:
    data = DataConfig(validation_size=287, split_seed=0)
    long = SEARCH.model_copy(update={"name": "x" * 94, "data": data})
    with pytest.raises(ConfigError, match=r"found 94 characters, .* expected 93 or fewer"):
        study_job(long, digits)
    assert len(study_job(long.model_copy(update={"name": "x" * 93}), digits).name) == 100
