"""What decides the bits of a record: its settings, its data, and the arithmetic of the machine.

Each kind of record has a model here. It is stored as JSON with the record, compared when the record
is resumed, and read back by the reports.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    Discriminator,
    JsonValue,
    SerializerFunctionWrapHandler,
    Tag,
    TypeAdapter,
    model_serializer,
)

from mnist_study.core.config import (
    Activation,
    DataConfig,
    ExperimentConfig,
    Frozen,
    NetworkParams,
    SearchConfig,
    StudyConfig,
    TrainingConfig,
)
from mnist_study.core.environment import EnvironmentIdentity, environment_identity
from mnist_study.core.readouts import ReadoutPoint


class DatasetIdentity(Frozen):
    """The training set of a record.

    Attributes:
        dataset: its name.
        content_hash: SHA-256 of images and labels.
    """

    dataset: str
    content_hash: str


class _Identity(Frozen):
    """The base of the identities of all kinds."""

    environment: EnvironmentIdentity

    @property
    def keeps_models(self) -> bool:
        """Whether each finished trial has a model in MLflow."""
        return True

    def as_document(self) -> dict[str, Any]:
        """Return the identity as JSON stores it."""
        return self.model_dump(mode="json")


class StudyDataIdentity(DataConfig, DatasetIdentity):
    """The training set of a study, and its split."""


class StudyIdentity(_Identity):
    """Everything that decides a study's results, except the number of trials."""

    kind: Literal["study"] = "study"
    data: StudyDataIdentity
    training: TrainingConfig
    baseline: NetworkParams
    study: SearchConfig

    @classmethod
    def of(cls, experiment: ExperimentConfig, dataset: str, content_hash: str) -> StudyIdentity:
        """Describe the study of an experiment.

        Args:
            experiment: with a `study` table.
            dataset: name of the training set.
            content_hash: of its images and labels.
        """
        return cls(
            data=StudyDataIdentity(
                dataset=dataset, content_hash=content_hash, **experiment.data.model_dump()
            ),
            training=experiment.training,
            baseline=experiment.baseline,
            study=SearchConfig.model_validate(experiment.search.model_dump(exclude={"n_trials"})),
            environment=environment_identity(),
        )

    def experiment(self, name: str, n_trials: int) -> ExperimentConfig:
        """Return the settings that the study runs with."""
        return ExperimentConfig(
            name=name,
            data=DataConfig(
                validation_size=self.data.validation_size, split_seed=self.data.split_seed
            ),
            training=self.training,
            baseline=self.baseline,
            study=StudyConfig(n_trials=n_trials, **self.study.model_dump()),
        )


class BaselineDataIdentity(StudyDataIdentity):
    """The training set of a baseline, its split, and the test set."""

    test_content_hash: str


class BaselineIdentity(_Identity):
    """Everything that decides the runs of the documented network."""

    kind: Literal["baseline"] = "baseline"
    data: BaselineDataIdentity
    training: TrainingConfig
    baseline: NetworkParams


class Candidate(Frozen):
    """A configuration to be confirmed.

    Attributes:
        trial: the study's trial that it comes from; 0 is the baseline.
        params: the network.
        search_value: validation accuracy that the search reported; None if the trial has none.
    """

    trial: int
    params: NetworkParams
    search_value: float | None


class ConfirmationDataIdentity(DatasetIdentity):
    """The training set of a confirmation; each replicate has a split of its own.

    Attributes:
        validation_size: rows held out of each split.
        n_rows: of the whole training set; None in records of earlier versions.
    """

    validation_size: int
    n_rows: int | None = None

    @property
    def test_share(self) -> float | None:
        """Validation rows over training rows of a split; None where the record lacks `n_rows`."""
        if self.n_rows is None:
            return None
        return self.validation_size / (self.n_rows - self.validation_size)

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without(handler(self), ("n_rows",))


class ScreeningIdentity(_Identity):
    """Everything that decides the first stage of a confirmation.

    Attributes:
        study: whose best configurations these are.
        candidates: best first, without the documented network.
        n_seeds: replicates of each candidate.
        n_finalists: how many candidates go on to the second stage.
        seed: of the study.
    """

    kind: Literal["screen"] = "screen"
    study: str
    candidates: tuple[Candidate, ...]
    n_seeds: int
    n_finalists: int
    seed: int
    training: TrainingConfig
    data: ConfirmationDataIdentity


class ConfirmationIdentity(_Identity):
    """Everything that decides the second or only stage of a confirmation.

    Attributes:
        study: whose configurations these are.
        candidates: the documented network, then the finalists.
        seed: of the study.
        screening: name of the first stage's record; None without a first stage.
        margin: how much worse than the best the winner may be, a share of the validation rows; None
            in records of earlier versions, which took the smallest network that was not
            significantly worse.
    """

    kind: Literal["confirm"] = "confirm"
    study: str
    candidates: tuple[Candidate, ...]
    seed: int
    training: TrainingConfig
    data: ConfirmationDataIdentity
    screening: str | None = None
    margin: float | None = None

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without(handler(self), ("screening", "margin"))


class AblationDataIdentity(DatasetIdentity):
    """The training set of a part of an ablation, and the test set where the part reads it."""

    n_train: int
    test_content_hash: str | None = None
    n_test: int | None = None

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without(handler(self), ("test_content_hash", "n_test"))


class ArmIdentity(Frozen):
    """What is compared in a part of an ablation: one setting, run with every seed and split.

    Attributes:
        label: unique in its part.
        params: the network.
        training: to the last epoch.
        readouts: of every run; empty for runs that never get the test images.
        cell: the factors that are on, where the arm is a cell.
        n_rows: training rows; None for all of the split.
        all_rows: trained on the validation rows too.
        activation: of the hidden layers.
    """

    label: str
    params: NetworkParams
    training: TrainingConfig
    readouts: tuple[ReadoutPoint, ...]
    cell: tuple[str, ...] | None = None
    n_rows: int | None = None
    all_rows: bool = False
    activation: Activation = "relu"


class DoseIdentity(Frozen):
    """One strength of L2 or dropout."""

    axis: str
    strength: float
    params: NetworkParams


class _AnyAblationIdentity(_Identity):
    """What the ablations of all versions have in common.

    Attributes:
        part: its name.
        data: the training set, and the test set where the part reads it.
        declared: what the file declared before the first run; only in the main part.
    """

    kind: Literal["ablation"] = "ablation"
    part: str
    data: AblationDataIdentity
    declared: dict[str, JsonValue] | None = None
    logs_models: Literal[False] = False

    @property
    def keeps_models(self) -> bool:
        """Whether each finished run has a model in MLflow."""
        return self.logs_models

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without(handler(self), ("declared", "levels"))


class AblationIdentity(_AnyAblationIdentity):
    """Everything that decides the runs of one part of an ablation.

    Attributes:
        executions: a master seed each.
        validation_size: rows held out of each split.
        arms: what is compared.
        levels: the strengths of the dose-response part.
    """

    executions: tuple[int, ...]
    validation_size: int
    arms: tuple[ArmIdentity, ...]
    levels: tuple[DoseIdentity, ...] | None = None


class FormerAblationIdentity(_AnyAblationIdentity):
    """A part of an ablation by an earlier version, with one recipe and seeds crossed with splits.

    Digest, status and audit read its runs; its report is not written again.
    """

    settings: dict[str, JsonValue]
    arms: tuple[dict[str, JsonValue], ...]
    levels: tuple[dict[str, JsonValue], ...] | None = None


def _kind(document: Any) -> str:  # noqa: ANN401
    """Tell the kinds apart, and the ablations of earlier versions, which had one recipe."""
    if not isinstance(document, dict):
        is_former = isinstance(document, FormerAblationIdentity)
        return "former ablation" if is_former else str(getattr(document, "kind", ""))
    is_former = document.get("kind") == "ablation" and "settings" in document
    return "former ablation" if is_former else str(document.get("kind"))


Identity = Annotated[
    Annotated[StudyIdentity, Tag("study")]
    | Annotated[BaselineIdentity, Tag("baseline")]
    | Annotated[ScreeningIdentity, Tag("screen")]
    | Annotated[ConfirmationIdentity, Tag("confirm")]
    | Annotated[AblationIdentity, Tag("ablation")]
    | Annotated[FormerAblationIdentity, Tag("former ablation")],
    Discriminator(_kind),
]
_ADAPTER: TypeAdapter[Identity] = TypeAdapter(Identity)


def parse_identity(stored: str) -> Identity:
    """Read the identity of a record of any kind from its JSON.

    Raises:
        ValueError: it is of no kind, or lacks what its kind needs.
    """
    return _ADAPTER.validate_json(stored)


def fingerprint(identity: Identity) -> str:
    """Return the SHA-256 of everything that decides a record's results."""
    document = identity.as_document()
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def differences(ours: Frozen, theirs: Frozen) -> list[str]:
    """List the entries in which two identities differ, as `key: theirs -> ours`."""
    flat_ours, flat_theirs = (_flatten(of.model_dump(mode="json")) for of in (ours, theirs))
    return [
        f"{key}: {flat_theirs.get(key, 'absent')} -> {flat_ours.get(key, 'absent')}"
        for key in sorted(flat_ours.keys() | flat_theirs.keys())
        if flat_ours.get(key) != flat_theirs.get(key)
    ]


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def _without(document: dict[str, Any], optional: tuple[str, ...]) -> dict[str, Any]:
    """Leave out optional entries that are None, which parts that do not use them never stored."""
    return {k: v for k, v in document.items() if v is not None or k not in optional}
