"""The ablation's file: what it may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnist_study.core.config import ConfigError, NetworkParams
from mnist_study.experiments.ablation.config import load_ablation
from mnist_study.experiments.ablation.design import DOCUMENTED, check_claims

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
DEFAULT = (EXPERIMENTS / "ablation.toml").read_text(encoding="utf-8")


def test_default_file_is_valid_and_opens_with_command_duration_and_expectation() -> None:
    ablation = load_ablation(EXPERIMENTS / "ablation.toml")
    assert ablation.params(DOCUMENTED) == NetworkParams(
        units_1=128, units_2=64, units_3=32, dropout_1=0.3, dropout_2=0.2, l2=0.001,
        learning_rate=0.001,
    )  # fmt: skip
    assert ablation.n_seeds >= 20
    assert len(ablation.executions) == 2
    check_claims(ablation)
    head = DEFAULT.partition("\n\n")[0]
    assert all(f"\n#   {word} " in head for word in ("command", "duration", "expect"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("n_seeds = 20", "n_seed = 20", "n_seed"),
        ("n_seeds = 20", "n_seeds = 1", "n_seeds"),
        ("executions = [13, 14]", "executions = [13, 13]", "different seeds"),
        ("executions = [13, 14]", "executions = [13]", "executions"),
        ("n_seeds = 10\n", "n_seeds = 21\n", "stability.n_seeds: found 21, expected 20 or fewer"),
        ("l2 = [0.0, 0.0001,", "l2 = [0.0002, 0.0001,", "dose_response.l2"),
        ("[0.0, 0.5, 1.0, 1.5, 2.0]", "[0.0, 0.5, 1.5, 2.0]", "1 among them"),
        ("[0.001, 0.002, 0.004, 0.008]", "[0.002, 0.004, 0.008]", "0.001 among them"),
        ("other_patiences = [2, 3, 10]", "other_patiences = [2, 5]", "expected different ones"),
        ("[recipes.study]", "[recipes.mine]", "recipes.mine"),
        ("[recipes.documented]", "[recipes.documente]", "recipes"),
        ("overfitting_gap = 0.001\n", "overfitting = 0.001\n", "statistics.margins"),
        ("test_loss = 0.005  #", "test_loss = 0.0  #", "statistics.margins.test_loss"),
        ("test_loss = 0.005  # nats\n", "", "no margin for test_loss"),
        ('against_arms = ["none"]', 'against_arms = ["all"]', "compared with itself"),
        ('against_arms = ["none"]', "against_arms = []", "need against_arms or against_readout"),
        ('effect = "l2"\n', 'effect = "dropout_1:l2"\n', "in this order"),
        ('effect = "l2"\n', 'effect = "l2"\narms = ["all"]\n', "either effect or arms"),
        ("margin = 0.01  # a wider prediction says nothing\n", "", "greatest half-width"),
        ("target = 0.9728\n", "", "target"),
        ('is below one point" = "contradicted"', 'is below one point" = "no"', "found 'no'"),
        (
            '"L2 raises test accuracy on average over the dropouts" =',
            '"L2 helps" =',
            "earlier.verdicts: found 'L2 helps'",
        ),
        ('not_tested = "the document', 'claims = []\n# not_tested = "the document', "not_tested"),
        ("batch_size = 128", "batch_size = 128\npatience = 3", "patience"),
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


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('parts = ["stopping"]', 'parts = ["halting"]', "no part 'halting'"),
        ('arms = ["0.002", "0.004"', 'arms = ["0.003", "0.004"', "no run of '0.003'"),
        ('readouts = ["patience_2", "patience_3"', 'readouts = ["patience_4", "patience_3"',
         "read out at 'patience_4'"),
        ("[activations]", "[other]", "which the file leaves out"),
    ],
)  # fmt: skip
def test_a_claim_about_runs_that_there_are_not_is_refused_before_anything_runs(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    text = DEFAULT.replace(old, new, 1)
    if new == "[other]":
        begin, end = text.index("[other]"), text.index("[steps]")
        text = text[:begin] + text[end:]
    path = tmp_path / "ablation.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        check_claims(load_ablation(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
