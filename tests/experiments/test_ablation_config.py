"""The ablation's file: what it may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnist_study.core.config import ConfigError, NetworkParams
from mnist_study.experiments.ablation.config import load_ablation
from mnist_study.experiments.ablation.design import DOCUMENTED

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
DEFAULT = (EXPERIMENTS / "ablation.toml").read_text(encoding="utf-8")


def test_default_file_is_valid_and_opens_with_command_duration_and_expectation() -> None:
    ablation = load_ablation(EXPERIMENTS / "ablation.toml")
    assert ablation.params(DOCUMENTED) == NetworkParams(
        units_1=128, units_2=64, units_3=32, dropout_1=0.3, dropout_2=0.2, l2=0.001,
        learning_rate=0.001,
    )  # fmt: skip
    assert ablation.n_seeds >= 20
    assert len(ablation.split_seeds) >= 3
    head = DEFAULT.partition("\n\n")[0]
    assert all(f"\n#   {word} " in head for word in ("command", "duration", "expect"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("n_seeds = 20", "n_seed = 20", "n_seed"),
        ("n_seeds = 20", "n_seeds = 1", "n_seeds"),
        ("n_seeds = 6  #", "n_seeds = 21  #", "expected 20 or fewer"),
        ("l2 = [0.0, 0.0001,", "l2 = [0.0002, 0.0001,", "dose_response.l2"),
        ("[0.0, 0.5, 1.0, 1.5, 2.0]", "[0.0, 0.5, 1.5, 2.0]", "1 among them"),
        ("[0.00025, 0.0005, 0.001, 0.002, 0.004]", "[0.0005, 0.002]", "0.001 among them"),
        ("calibration_error = 0.001\n", "calibration = 0.001\n", "statistics.margins"),
        ("calibration_error = 0.001\n", "", "no margin for calibration_error"),
        ("test_loss = 0.005  #", "test_loss = 0.0  #", "statistics.margins.test_loss"),
        (
            "control = { on = []",
            'control = { on = ["dropout_2", "l2", "dropout_1"]',
            "the same cell at the same read-out",
        ),
        ('effect = "l2"\n', 'effect = "dropout_1:l2"\n', "in this order"),
        ('effect = "l2"\nreadout = "last"', 'effect = "l2"', "needs a readout"),
        ("split_seeds = [0, 1, 2]", "split_seeds = [0, 1, 0]", "different numbers"),
        ("batch_size = 128", "batch_size = 128\nearly_stopping = { patience = 3 }", "last epoch"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_line(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert DEFAULT.count(old) >= 1, old
    path = tmp_path / "ablation.toml"
    path.write_text(DEFAULT.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        load_ablation(path)
    assert "\n" not in str(caught.value)
    assert message in str(caught.value)
