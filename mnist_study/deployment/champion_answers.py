"""What every champion there has been answered to the test images, as stored at its promotion."""

from __future__ import annotations

from dataclasses import dataclass

from mnist_study.deployment.stored_answers import (
    ANSWERS,
    ANSWERS_TAG,
    PROMOTION_FOLDER,
    StoredAnswers,
    StoredAnswersError,
)
from mnist_study.tracking.checked_models import check_file
from mnist_study.tracking.registry import Registry, RegistryError
from mnist_study.tracking.store import ArtifactError


@dataclass(frozen=True, slots=True)
class ChampionAnswers:
    """The stored answers of one champion.

    Attributes:
        name: of the model and its version.
        answers: None where they cannot be used.
        problem: why they cannot, else "".
    """

    name: str
    answers: StoredAnswers | None
    problem: str = ""


def champion_answers(registry: Registry) -> list[ChampionAnswers]:
    """Return the answers of every version that was ever champion, in order of their promotion.

    Those that a rollback took away are among them: what they answered was as good as it was.
    """
    versions = list(dict.fromkeys(move.version for move in registry.history()))
    return [_answers_of(registry, version) for version in versions]


def _answers_of(registry: Registry, number: str) -> ChampionAnswers:
    from mlflow.exceptions import MlflowException

    name = f"{registry.name} version {number}"
    try:
        version = registry.version(number)
        expected = version.tags.get(ANSWERS_TAG)
        if expected is None:
            return ChampionAnswers(name, None, f"{name} was made champion without stored answers")
        run = registry.client.get_run(str(version.run_id))
        location = f"{PROMOTION_FOLDER}/{ANSWERS}"
        content = registry.store.read(run.info.artifact_uri, location)
        check_file(content, expected, f"the stored answers of {name}")
        return ChampionAnswers(name, StoredAnswers.from_bytes(content, ANSWERS))
    except (ArtifactError, RegistryError, StoredAnswersError) as error:
        return ChampionAnswers(name, None, str(error))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return ChampionAnswers(name, None, f"{name}: the run with its answers was deleted")
