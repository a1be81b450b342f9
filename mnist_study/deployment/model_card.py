"""The model card of a registered model: network, data, accuracy, evidence, limits and use."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mnist_study.core.datasets import described, is_mnist
from mnist_study.core.trials import digest
from mnist_study.deployment.answering import ANSWERING, ANSWERING_TAG, Answering
from mnist_study.deployment.card_uses import loading_code, picture_address
from mnist_study.deployment.challenger import Challenger, Confirmation
from mnist_study.deployment.gate import GateDecision
from mnist_study.deployment.stored_answers import (
    ANSWERS,
    ANSWERS_TAG,
    PROMOTION_FOLDER,
    StoredAnswers,
)
from mnist_study.experiments.summary import describe_params
from mnist_study.experiments.tables import markdown_table
from mnist_study.tracking.checked_models import FILE_TAG, FILES_TAG
from mnist_study.tracking.registry import LONGEST_DESCRIPTION
from mnist_study.tracking.store import BEST_ACCURACY, FORMER_BEST_ACCURACY

CARD = "README.md"
CONFUSION, ERRORS = "confusion_matrix.png", "confident_errors.png"
_SHOWN_PACKAGES = ("tensorflow", "keras", "numpy", "mlflow")


@dataclass(frozen=True, slots=True)
class CardFacts:
    """The facts of a model card, from the stores.

    Attributes:
        name: of the registered model.
        challenger: the run, its model and their provenance.
        answers: its one reading of the test set.
        decision: of the gate.
        answering: temperature and levels, from validation rows.
        confirmation: of its study, if there is one.
        n_readings: of the test set by anything in this home, this one included.
        n_readings_in_all: those and the ones behind everything that the project has published; None
            where these are not known.
        connection: lines of Python that connect MLflow with the store.
    """

    name: str
    challenger: Challenger
    answers: StoredAnswers
    decision: GateDecision
    answering: Answering
    confirmation: Confirmation | None
    n_readings: int
    n_readings_in_all: int | None
    connection: Sequence[str] = ('mlflow.set_tracking_uri("sqlite:///mlruns/mlflow.db")',)

    @property
    def data_name(self) -> str:
        """The data set for a text; nothing else is called MNIST."""
        return described(self.challenger.training_set.dataset)

    @property
    def n_rows(self) -> int | None:
        """Number of training rows of a final training; None for other runs."""
        is_final = self.challenger.run.data.tags.get("kind") == "final"
        return len(self.challenger.training_set.labels) if is_final else None


def card_files(facts: CardFacts) -> dict[str, bytes]:
    """Return the card, its pictures and the stored answers, by file name."""
    from mnist_study.plots import to_png
    from mnist_study.plots.answers import confident_errors, confusion_matrix

    answers = facts.answers
    rows = answers.error_rows
    errors = confident_errors(
        answers.error_images,
        labels=answers.labels[rows],
        predicted=answers.predicted[rows],
        confidences=answers.confidences[rows],
        n_wrong=int(np.count_nonzero(~answers.correct)),
    )
    return {
        CARD: card_markdown(facts).encode(),
        CONFUSION: to_png(confusion_matrix(answers.labels, answers.predicted)),
        ERRORS: to_png(errors),
        ANSWERS: answers.to_bytes(),
        ANSWERING: facts.answering.to_bytes(),
    }


def description(facts: CardFacts) -> str:
    """Return the card as MLflow's page of the version shows it, in the length that it allows."""
    text, run_id = card_markdown(facts), facts.challenger.run.info.run_id
    for name in (CONFUSION, ERRORS):
        text = text.replace(f"]({name})", f"]({picture_address(run_id, name)})")
    if len(text) <= LONGEST_DESCRIPTION:
        return text
    rest = f"\n\n(the whole card is an artifact of run {run_id})\n"
    return text[: LONGEST_DESCRIPTION - len(rest)] + rest


def card_tags(facts: CardFacts, files: dict[str, bytes]) -> dict[str, str]:
    """Return the facts of the card as tags of the version."""
    challenger, answers, accuracy = facts.challenger, facts.answers, facts.answers.accuracy
    run, logged = challenger.run, challenger.model.tags
    tags = {
        "dataset": facts.challenger.training_set.dataset,
        "dataset_sha256": challenger.training_set.content_hash,
        "test_sha256": answers.test_sha256,
        "weights_sha256": challenger.weights_sha256,
        **{name: logged[name] for name in (FILE_TAG, FILES_TAG) if name in logged},
        **{k: str(v) for k, v in challenger.params.model_dump().items()},
        "n_parameters": f"{run.data.metrics['n_parameters']:.0f}",
        "test_accuracy": str(accuracy.estimate),
        "test_accuracy_low": str(accuracy.low),
        "test_accuracy_high": str(accuracy.high),
        "test_loss": str(answers.test_loss),
        "n_test_images": str(len(answers.labels)),
        "test_set_readings": str(facts.n_readings),
        ANSWERS_TAG: hashlib.sha256(files[ANSWERS]).hexdigest(),
        ANSWERING_TAG: hashlib.sha256(files[ANSWERING]).hexdigest(),
        "temperature": str(facts.answering.temperature),
        "least_probability": str(facts.answering.least_probability),
        "recall_by_class": json.dumps([round(row[2], 6) for row in per_class(answers)]),
        "gate": facts.decision.text,
        "run_id": run.info.run_id,
        "run_kind": run.data.tags.get("kind", ""),
        "study": run.data.tags.get("study", ""),
        "commit": str(challenger.provenance["commit"]),
        "dirty": str(challenger.provenance["dirty"]).lower(),
        "cpu": challenger.provenance["cpu"],
        "python": challenger.provenance["python"],
        "packages": json.dumps(challenger.provenance["packages"], sort_keys=True),
        "card": f"{run.info.artifact_uri}/{PROMOTION_FOLDER}/{CARD}",
    }
    if facts.answering.class_names is not None:
        tags["class_names"] = json.dumps(facts.answering.class_names)
    if facts.decision.forced:
        tags["forced"] = facts.decision.forced
    confirmation = facts.confirmation
    confirmed = confirmation and confirmation.of_params(challenger.params)
    if confirmation and confirmed:
        tags |= {
            "confirmation": confirmation.history.name,
            "confirmation_digest": digest(confirmation.history.results),
            "confirmed_val_accuracy": str(confirmed.mean.estimate),
            "confirmed_val_accuracy_low": str(confirmed.mean.low),
            "confirmed_val_accuracy_high": str(confirmed.mean.high),
        }
    return tags


def per_class(answers: StoredAnswers) -> list[tuple[int, int, float, float]]:
    """Return for each digit: number of images, of right ones, recall and precision.

    Precision is NaN for a digit that was never answered.
    """
    rows = []
    for digit_class in range(10):
        is_digit, said = answers.labels == digit_class, answers.predicted == digit_class
        n_right = int(np.count_nonzero(is_digit & said))
        n, n_said = int(is_digit.sum()), int(said.sum())
        rows.append((n, n_right, n_right / n, n_right / n_said if n_said else float("nan")))
    return rows


def card_markdown(facts: CardFacts) -> str:
    """Return the card as Markdown."""
    challenger, answers, accuracy = facts.challenger, facts.answers, facts.answers.accuracy
    run = challenger.run
    how = (
        f"trained once more on all {facts.n_rows:,} training rows"
        if facts.n_rows
        else "as its run trained it, on the training rows of its split"
    )
    lines = [
        f"# {facts.name}: trial "
        f"{run.data.tags.get('study_trial', run.data.tags.get('trial', '?'))} of study "
        f"{run.data.tags.get('study', '?')}",
        "",
        f"A classifier of single handwritten digits, 28x28 pixels, trained on {facts.data_name}. "
        "Written by `mnist-study promote` from the stores.",
        "",
        f"- network: 784 - {' - '.join(map(str, challenger.params.units))} - 10, "
        f"{run.data.metrics['n_parameters']:,.0f} parameters; {how}",
        f"- configuration: {describe_params(challenger.params.model_dump())}",
        f"- training data: content hash `{challenger.training_set.content_hash[:16]}…`",
        f"- validation accuracy: {_validation(facts)}",
        f"- test accuracy: **{accuracy.estimate:.2%}** ({accuracy.low:.2%} to {accuracy.high:.2%}, "
        f"Wilson 95 %) on {len(answers.labels):,} images, content hash "
        f"`{answers.test_sha256[:16]}…`; cross-entropy {answers.test_loss:.4f}",
        f"- the test set was read once for this model, on {answers.when}; readings by anything "
        f"in this home (its ledger): {facts.n_readings}",
        *_readings_in_all(facts),
        f"- gate: {facts.decision.text}"
        + (f"; **rejection overridden**: {facts.decision.forced}" if facts.decision.forced else ""),
        "",
        *markdown_table(
            ("digit", "images", "right", "recall", "precision"),
            [
                (_class_title(facts, digit_class), n, n_right, f"{recall:.4f}", f"{precision:.4f}")
                for digit_class, (n, n_right, recall, precision) in enumerate(per_class(answers))
            ],
        ),
        "",
        f"![Confusion matrix]({CONFUSION})",
        "",
        f"![Most confidently wrong]({ERRORS})",
        "",
        "## Levels",
        "",
        *_levels(facts.answering),
        "",
        "## Limits",
        "",
        *_limits(facts),
        "",
        "## Provenance",
        "",
        *_provenance(facts),
        "",
        "## Use",
        "",
        "```python",
        *loading_code(list(facts.connection), challenger.model.model_id),
        "```",
        "",
    ]
    return "\n".join(lines)


def _readings_in_all(facts: CardFacts) -> Sequence[str]:
    """Say how worn the test set is by all of the project, and not by this home alone."""
    if not is_mnist(facts.challenger.training_set.dataset):
        return []
    if facts.n_readings_in_all is None:
        return [
            "- readings behind the models and ablations that the project has published: not known "
            "to an installation without experiments/results/test_set_readings.csv"
        ]
    return [
        "- readings by this home and behind all models and ablations that the project has "
        f"published (experiments/results/test_set_readings.csv): {facts.n_readings_in_all:,}; "
        "choices of its authors may rest on any of them"
    ]


def _validation(facts: CardFacts) -> str:
    confirmation = facts.confirmation
    confirmed = confirmation and confirmation.of_params(facts.challenger.params)
    if confirmation and confirmed:
        mean = confirmed.mean
        return (
            f"{mean.estimate:.2%} ({mean.low:.2%} to {mean.high:.2%}), mean over "
            f"{len(confirmed.values)} fresh seeds and splits of this configuration"
        )
    metrics = facts.challenger.run.data.metrics
    value = metrics.get(BEST_ACCURACY, metrics.get(FORMER_BEST_ACCURACY))
    if value is None:
        return "none known"
    return f"{value:.2%} in this one run; the configuration was not confirmed with fresh seeds"


def _class_title(facts: CardFacts, digit_class: int) -> str:
    name = facts.answering.name_of(digit_class)
    return str(digit_class) if name is None else f"{digit_class} {name}"


def _levels(answering: Answering) -> Sequence[str]:
    known = answering.facts
    if not known:
        return ["- none: no validation rows of this configuration are known; temperature 1"]
    return [
        f"- from {known['rows']}; no test image",
        f"- temperature {answering.temperature:.3f}: expected calibration error "
        f"{known['calibration_error']:.4f}, without it {known['calibration_error_before']:.4f}",
        f'- "not a digit" below familiarity {answering.least_familiarity:.4f}: '
        f"{known['not_a_digit']:.2%} of these images",
        f'- "unsure" below probability {answering.least_probability:.4f}: {known["unsure"]:.2%} of '
        "them",
        f"- answered: {known['answered']:.2%}, of which {known['errors_of_answered']:.2%} wrongly; "
        f"without levels {known['errors']:.2%} are wrong",
    ]


def _limits(facts: CardFacts) -> Sequence[str]:
    lines = [
        "- One digit an image, centred and scaled as MNIST's are; `mnist-study predict` does that.",
        "- The network itself always answers a digit, whatever it is shown. The levels refuse most "
        "of what is none; letters that look like digits are answered.",
        "- The interval covers the choice of test images, not another seed of training.",
    ]
    if not is_mnist(facts.challenger.training_set.dataset):
        lines.append(f"- Trained on {facts.data_name}: nothing here is a result about MNIST.")
    return lines


def _provenance(facts: CardFacts) -> Sequence[str]:
    challenger = facts.challenger
    known = challenger.provenance
    packages = ", ".join(f"{name} {known['packages'][name]}" for name in _SHOWN_PACKAGES)
    lines = [
        f"- run `{challenger.run.info.run_id}`, model `{challenger.model.model_id}`",
        f"- weights `{challenger.weights_sha256}`",
        f"- commit {known['commit'] or 'unknown'}" + (" (dirty)" if known["dirty"] else ""),
        f"- {packages}, Python {known['python']}; {known['cpu']}",
    ]
    if facts.confirmation and facts.confirmation.of_params(challenger.params):
        history = facts.confirmation.history
        lines.append(f"- confirmation {history.name}, digest `{digest(history.results)}`")
    return lines
