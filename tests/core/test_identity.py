"""What decides a record's bits: stored as before, compared by value, independent of releases."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from mnist_study.core.config import (
    EarlyStoppingConfig,
    NetworkParams,
    TrainingConfig,
    load_experiment,
    with_overrides,
)
from mnist_study.core.environment import RESULTS_VERSION, environment_identity
from mnist_study.core.identity import (
    AblationIdentity,
    ArmIdentity,
    FormerAblationIdentity,
    StudyIdentity,
    differences,
    fingerprint,
    parse_identity,
)
from mnist_study.core.readouts import ReadoutPoint
from mnist_study.core.trials import SeedStream, derive_seed, derive_seeds

EXPERIMENT = load_experiment(Path(__file__).parents[2] / "experiments" / "smoke.toml")
IDENTITY = StudyIdentity.of(EXPERIMENT, "digits", "ab" * 32)

ENVIRONMENT = {"packages": {"mnist-study": "0.1.0"}, "instruction_sets": "avx2", "onednn": {}}
PARAMS = {
    "units_1": 128, "units_2": 64, "units_3": 32, "dropout_1": 0.3, "dropout_2": 0.2, "l2": 0.001,
    "learning_rate": 0.001,
}  # fmt: skip
TRAINING = {"batch_size": 32, "epochs": 6, "schedule": "cosine", "early_stopping": None}
# As the first release wrote them, a kind each.
STORED: dict[str, dict[str, Any]] = {
    "study": {
        "kind": "study",
        "data": {"dataset": "mnist", "content_hash": "ab", "validation_size": 9, "split_seed": 0},
        "training": TRAINING,
        "baseline": PARAMS,
        "study": {
            "seed": 0, "in_flight": 4, "sampler": {"kind": "tpe", "n_startup_trials": 5},
            "pruner": {"kind": "median", "options": {"n_warmup_steps": 2}},
            "space": {"l2": {"type": "float", "low": 1e-7, "high": 0.01, "log": True}},
        },
        "environment": ENVIRONMENT,
    },
    "baseline": {
        "kind": "baseline",
        "data": {
            "dataset": "mnist", "content_hash": "ab", "validation_size": 9, "split_seed": 0,
            "test_content_hash": "cd",
        },
        "training": TRAINING,
        "baseline": PARAMS,
        "environment": ENVIRONMENT,
    },
    "confirm": {
        "kind": "confirm",
        "study": "a-study",
        "candidates": [{"trial": 0, "params": PARAMS, "search_value": None}],
        "seed": 0,
        "training": TRAINING,
        "data": {"dataset": "mnist", "content_hash": "ab", "validation_size": 9},
        "environment": ENVIRONMENT,
    },
    "ablation": {
        "kind": "ablation",
        "part": "tuning",
        "logs_models": False,
        "settings": {
            "seed": 1, "validation_size": 9, "split_seeds": [0, 1], "training": TRAINING,
            "early_stopping": {"monitor": "val/loss", "patience": 5, "min_delta": 0.0},
            "network": {"units_1": 128, "units_2": 64, "units_3": 32, "learning_rate": 0.001},
            "factors": {
                name: {"off": 0.0, "on": PARAMS[name]} for name in ("l2", "dropout_1", "dropout_2")
            },
        },
        "arms": [
            {"label": "none", "cell": [], "params": PARAMS, "n_rows": None, "epochs": 6},
            {"label": "l2 0.1", "cell": None, "params": PARAMS, "n_rows": 24, "epochs": 6},
        ],
        "data": {"dataset": "mnist", "content_hash": "ab", "n_train": 100},
        "environment": ENVIRONMENT,
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", STORED)
def test_identity_stored_by_the_first_release_is_read_and_written_unchanged(kind: str) -> None:
    identity = parse_identity(json.dumps(STORED[kind]))
    assert identity.kind == kind
    assert identity.as_document() == STORED[kind]


@pytest.mark.parametrize("damage", [{"kind": "other"}, {"kind": None}, {"baseline": None}])
def test_identity_of_no_kind_or_with_a_part_missing_is_refused(damage: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"kind|baseline"):
        parse_identity(json.dumps(STORED["study"] | damage))


def test_an_ablation_with_one_recipe_is_told_from_those_of_today() -> None:
    former = parse_identity(json.dumps(STORED["ablation"]))
    assert isinstance(former, FormerAblationIdentity)
    assert not {"declared", "levels"} & former.as_document().keys()
    today = AblationIdentity.model_validate(
        {
            "part": "study",
            "executions": (1, 2),
            "validation_size": 9,
            "arms": (),
            "data": former.data,
            "environment": former.environment,
        }
    )
    assert not {"declared", "levels"} & today.as_document().keys()
    assert parse_identity(json.dumps(today.as_document())) == today


def test_read_outs_of_an_arm_are_stored_with_their_rules() -> None:
    point = ReadoutPoint("patience_3", until=24, rule=EarlyStoppingConfig(patience=3))
    arm = ArmIdentity(
        label="all",
        params=NetworkParams.model_validate(PARAMS),
        training=TrainingConfig.model_validate(TRAINING),
        readouts=(point, ReadoutPoint("averaged", average_from=4)),
    )
    assert ArmIdentity.model_validate_json(arm.model_dump_json()) == arm


def test_fingerprint_depends_on_values_alone() -> None:
    again = parse_identity(json.dumps(IDENTITY.as_document(), sort_keys=True))
    assert fingerprint(again) == fingerprint(IDENTITY)
    other_seed = with_overrides(EXPERIMENT, n_trials=None, seed=5)
    assert fingerprint(StudyIdentity.of(other_seed, "digits", "ab" * 32)) != fingerprint(IDENTITY)


def test_differences_show_both_values_of_what_differs_alone() -> None:
    other_seed = StudyIdentity.of(with_overrides(EXPERIMENT, n_trials=9, seed=5), "mnist", "cd")
    assert differences(other_seed, IDENTITY) == [
        f"data.content_hash: {'ab' * 32} -> cd",
        "data.dataset: digits -> mnist",
        "study.seed: 0 -> 5",
    ]
    assert differences(IDENTITY, IDENTITY) == []


def test_a_release_that_changes_no_result_is_no_other_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before, version = environment_identity(), metadata.version
    monkeypatch.setattr(
        metadata, "version", lambda name: "9.9" if name == "mnist-study" else version(name)
    )
    assert environment_identity() == before
    assert before.packages["mnist-study"] == RESULTS_VERSION
    monkeypatch.setattr(metadata, "version", lambda name: "9.9")
    assert "packages.keras" in " ".join(differences(environment_identity(), before))


def test_no_two_kinds_of_run_share_a_seed() -> None:
    seeds = [derive_seeds(7, number) for number in range(50)]
    seeds += [derive_seeds(7, number, stream) for stream in SeedStream for number in range(50)]
    every = [seed for of in seeds for seed in (of.init_seed, of.dropout_seed, of.shuffle_seed)]
    assert len(set(every)) == len(every) == 3 * 50 * (1 + len(SeedStream))
    assert derive_seed(7, 3) == derive_seeds(7, 3).init_seed
