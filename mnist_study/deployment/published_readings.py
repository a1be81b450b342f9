"""How often MNIST's test set was read: for what this project has published, and in one home.

The published readings are in a CSV file of the repository, a row for each record that read the test
set; a publication adds the rows of its home, as this prints them:

    python -m mnist_study.deployment.published_readings HOME >> experiments/results/test_set_readings.csv
"""  # noqa: E501

from __future__ import annotations

import csv
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from mnist_study.core.errors import UserFacingError
from mnist_study.core.home import Home
from mnist_study.core.identity import AblationIdentity, FormerAblationIdentity
from mnist_study.core.ledger import readings_made
from mnist_study.core.trials import digest
from mnist_study.search.history import History
from mnist_study.search.storage import NoStudyError

PUBLISHED = Path(__file__).parents[2] / "experiments" / "results" / "test_set_readings.csv"
"""Beside the package in a checkout of the repository; an installed package has none."""
COLUMNS = ["published", "record", "readings", "identity"]


@dataclass(frozen=True, slots=True)
class RecordReadings:
    """The readings of one record, or of one promotion.

    Attributes:
        published: date, ISO 8601.
        record: its kind, of an ablation with its part; "champion" for a promotion.
        readings: how many.
        identity: digest of the record; SHA-256 of the weights for a promotion.
    """

    published: str
    record: str
    readings: int
    identity: str


def published_readings(path: Path = PUBLISHED) -> list[RecordReadings] | None:
    """Return the readings behind what was published; None where there is no such file.

    Raises:
        UserFacingError: a row of the file is none.
    """
    if not path.exists():
        return None
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    try:
        if rows[:1] != [COLUMNS]:
            raise ValueError(f"its columns are {rows[:1]}")
        return [RecordReadings(day, what, int(n), identity) for day, what, n, identity in rows[1:]]
    except ValueError as error:
        raise UserFacingError(
            f"{path}: not a list of readings of the test set ({error}); restore it from git"
        ) from error


def readings_of_home(home: Home) -> list[RecordReadings]:
    """Return the readings of MNIST's test set by the records and promotions of a home."""
    today, rows = time.strftime("%Y-%m-%d"), []
    # Whatever the ledger has beyond the readings of the records was read by a promotion.
    by_promotion = Counter(r.weights_sha256 for r in home.ledger.readings() if r.dataset == "mnist")
    try:
        histories = History.open_all(home.storage_url)
    except NoStudyError:
        histories = []
    for history in histories:
        identity = history.identity
        if identity.data.dataset != "mnist":
            continue
        made = [weights for result in history.results for weights, _ in readings_made(result)]
        by_promotion -= Counter(made)
        if made:
            kind: str = identity.kind
            if isinstance(identity, AblationIdentity | FormerAblationIdentity):
                kind += f" {identity.part}"
            rows.append(RecordReadings(today, kind, len(made), digest(history.results)))
    rows += [RecordReadings(today, "champion", n, weights) for weights, n in by_promotion.items()]
    return rows


def readings_in_all(home: Home, published: Sequence[RecordReadings]) -> int:
    """Count the readings of MNIST's test set in a home and for what was published, each once.

    A published record is taken to be the home's where their identities are equal. One that has
    grown since is counted twice, so the number is never too small.
    """
    of_home = {row.identity for row in readings_of_home(home)}
    n_home = sum(reading.dataset == "mnist" for reading in home.ledger.readings())
    return n_home + sum(row.readings for row in published if row.identity not in of_home)


if __name__ == "__main__":
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerows(astuple(row) for row in readings_of_home(Home(Path(sys.argv[1]))))
