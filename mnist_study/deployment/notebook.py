"""A home's records as pandas tables, for notebooks and scripts: `mnist_study.load(home)`.

Everything is read from the stores when it is asked for; nothing is written.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from mnist_study.core.config import NetworkParams
from mnist_study.core.datasets import AUTO
from mnist_study.core.errors import UserFacingError
from mnist_study.core.home import Home
from mnist_study.core.identity import ConfirmationIdentity
from mnist_study.core.trials import TrialResult, TrialState, digest, select
from mnist_study.deployment.champion import read_answering, registry_of
from mnist_study.experiments.confirmation_results import confirmed, winner
from mnist_study.experiments.replicates import Replicates
from mnist_study.search.history import History
from mnist_study.stats.temperature import with_temperature
from mnist_study.tracking.registry import Registry
from mnist_study.training.process import prepare_tensorflow

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities.model_registry import ModelVersion

_WHOLE = ("best_epoch", "n_parameters")


class NotebookError(UserFacingError):
    """A request that the records of a home cannot answer."""


@dataclass(frozen=True, slots=True)
class ConfirmationTables:
    """What a confirmation found.

    Attributes:
        name: of its record.
        winner: number of the winner among the study's trials.
        configurations: a row for each configuration, indexed by its trial number.
        runs: a row for each run of the second stage.
    """

    name: str
    winner: int
    configurations: pd.DataFrame
    runs: pd.DataFrame


class LoadedHome:
    """The records of a home.

    Attributes:
        home: where the stores are.
    """

    def __init__(self, home: Home) -> None:
        """Take the stores of a home; nothing is read yet."""
        self.home = home

    def __repr__(self) -> str:
        return f"mnist_study.load({str(self.home.path)!r})"

    @property
    def studies(self) -> pd.DataFrame:
        """A row for each record, indexed by its name; all kinds, so also confirmations."""
        import pandas as pd

        rows = []
        for history in self._histories():
            best = select(history.results).best
            rows.append(
                {
                    "name": history.name,
                    "kind": history.kind,
                    "dataset": history.identity.data.dataset,
                    "n_finished": len(history.results),
                    "n_trials": history.n_trials,
                    "best_trial": best.number if best and history.kind == "study" else None,
                    "best_val_accuracy": best.value if best and history.kind == "study" else None,
                    "digest": digest(history.results),
                }
            )
        table = pd.DataFrame(rows).astype({"best_trial": "Int64", "best_val_accuracy": "float64"})
        return table.set_index("name")

    def trials(self, name: str | None = None) -> pd.DataFrame:
        """Return a row for each trial of a record, indexed by trial number.

        Args:
            name: of the record; None takes the home's one study.

        Returns:
            State, parameters as numbers, `value` (validation accuracy in [0, 1], of a PRUNED trial
            its last epoch's), what else was measured, when it was stored, and its MLflow run.
        """
        import pandas as pd

        history = self._one("study", name)
        rows = [
            _row(result) | {"finished_at": when.astimezone(), "run_id": run_id}
            for result, when, run_id in zip(
                history.results, history.finished_at, history.run_ids, strict=True
            )
        ]
        return _typed(pd.DataFrame(rows)).set_index("number")

    def curves(self, name: str | None = None) -> pd.DataFrame:
        """Return the learning curves of a record in long form: number, epoch, metric, value.

        Args:
            name: as for `trials`.
        """
        import pandas as pd

        rows = [
            (result.number, epoch.epoch, metric, value)
            for result in self._one("study", name).results
            for epoch in result.epochs
            for metric, value in epoch.as_metrics().items()
        ]
        table = pd.DataFrame(rows, columns=["number", "epoch", "metric", "value"])
        return table.astype({"metric": "category"})

    def confirmation(self, name: str | None = None) -> ConfirmationTables:
        """Return what a confirmation found.

        Args:
            name: of its record; None takes the one that was stored last.
        """
        import pandas as pd

        history = self._latest("confirm", name)
        configurations = confirmed(history)
        best = winner(configurations)
        replicates = Replicates.of(history.identity_as(ConfirmationIdentity))
        table = pd.DataFrame(
            {
                "trial": c.candidate.trial,
                **c.candidate.params.model_dump(),
                "mean": c.mean.estimate,
                "low": c.mean.low,
                "high": c.mean.high,
                "n_runs": len(c.values),
                "search_value": c.candidate.search_value,
                "n_parameters": c.n_parameters,
                "is_winner": c is best,
            }
            for c in configurations
        )
        runs = []
        for result, run_id in zip(history.results, history.run_ids, strict=True):
            replicate, position = divmod(result.number, len(replicates.candidates))
            trial = replicates.candidates[position].trial
            runs.append({"trial": trial, "replicate": replicate, **_row(result), "run_id": run_id})
        return ConfirmationTables(
            history.name,
            best.candidate.trial,
            table.set_index("trial"),
            _typed(pd.DataFrame(runs)).set_index("number"),
        )

    def ablation(self, name: str | None = None) -> dict[str, pd.DataFrame]:
        """Return the runs of an ablation as tidy tables, by part; the columns are its CSV's.

        Args:
            name: of its main record; None takes the one that was stored last.
        """
        import pandas as pd

        from mnist_study.experiments.ablation.record import AblationRecord
        from mnist_study.experiments.ablation.runs import tidy_table
        from mnist_study.experiments.reports import is_former, is_part

        main = self._latest("ablation", name, skip=lambda h: is_part(h) or is_former(h))
        record = AblationRecord(main)
        table = pd.read_csv(io.StringIO(tidy_table(record.all_runs, record.target)))
        return {str(part): rows.reset_index(drop=True) for part, rows in table.groupby("part")}

    def champion(self, dataset: str = AUTO) -> Champion:
        """Return the champion.

        Args:
            dataset: whose; "auto" prefers MNIST's.

        Raises:
            UserFacingError: there is none.
        """
        registry = registry_of(self.home, dataset)
        version = registry.champion()
        assert version is not None
        return Champion(registry, version)

    def _histories(self) -> list[History]:
        return History.open_all(self.home.storage_url)

    def _one(self, kind: str, name: str | None) -> History:
        """Return the record of a name, or the only one of a kind."""
        histories = self._histories()
        found = [h for h in histories if (h.name == name if name else h.kind == kind)]
        if len(found) != 1:
            names = ", ".join(h.name for h in histories)
            raise NotebookError(
                f"{self.home.path}: found {len(found)} records "
                + (f"named {name!r}" if name else f"of kind {kind}")
                + f", expected one; name one of: {names}"
            )
        return found[0]

    def _latest(
        self, kind: str, name: str | None, *, skip: Callable[[History], bool] = lambda _: False
    ) -> History:
        """Return the record of a name, or of its kind the one that was stored last."""
        if name is not None:
            return self._one(kind, name)
        found = [h for h in self._histories() if h.kind == kind and h.results and not skip(h)]
        if not found:
            raise NotebookError(
                f"{self.home.path}: found no record of kind {kind}; run `mnist-study {kind}` first"
            )
        return max(found, key=lambda h: h.finished_at[-1])


class Champion:
    """The model in use; its file is read, and checked against its hash, at the first question.

    Attributes:
        name: of the registered model.
        version: its version.
        run_id: MLflow run that trained it.
        test_accuracy: in [0, 1], measured once at its promotion.
    """

    def __init__(self, registry: Registry, version: ModelVersion) -> None:
        """Take a version of a registered model."""
        self._registry = registry
        self._version = version
        self.name = registry.name
        self.version = str(version.version)
        self.run_id = str(version.run_id)
        self.test_accuracy = float(version.tags["test_accuracy"])

    def __repr__(self) -> str:
        return f"{self.name} version {self.version}, test accuracy {self.test_accuracy:.2%}"

    def predict(self, images: np.ndarray | Sequence[Any]) -> np.ndarray:
        """Return the digit in each image, int64 (n,).

        Args:
            images: as for `probabilities`.
        """
        labels: np.ndarray = self.probabilities(images).argmax(axis=1)
        return labels

    def probabilities(self, images: np.ndarray | Sequence[Any]) -> np.ndarray:
        """Return the probability of each digit, float64 (n, 10), calibrated as `predict`'s.

        Args:
            images: laid out as MNIST's, light ink on dark paper, (n, 28, 28) or one of (28, 28);
                whole numbers from 0 to 255, or floats from 0 to 1.

        Raises:
            NotebookError: another shape or other numbers.
        """
        network, model, temperature = self._network
        found: np.ndarray = model.probabilities(network, _as_bytes(images))
        return with_temperature(found, temperature)

    @cached_property
    def _network(self) -> tuple[Any, Any, float]:
        """The Keras model, the module that asks it, and the temperature of its promotion."""
        with self._registry.store:
            content = self._registry.read(self._version)
            answering = read_answering(self._registry, self._version, warnings.warn)
        prepare_tensorflow()
        from mnist_study.training import model

        return model.model_from_bytes(content), model, answering.temperature


def _as_bytes(images: np.ndarray | Sequence[Any]) -> np.ndarray:
    """Return images as numbers from 0 to 255, (n, 28, 28)."""
    array = np.asarray(images)
    array = array[None] if array.shape == (28, 28) else array
    if array.ndim != 3 or array.shape[1:] != (28, 28) or array.dtype.kind not in "buif":
        raise NotebookError(
            f"images: found {array.dtype} of shape {array.shape}, expected numbers of shape "
            "(n, 28, 28) or (28, 28)"
        )
    is_share = array.dtype.kind == "f"
    highest = 1.0 if is_share else 255
    if array.size and not (array.min() >= 0 and array.max() <= highest):
        raise NotebookError(
            f"images: found {array.dtype} from {array.min()} to {array.max()}, expected floats "
            "from 0 to 1 or whole numbers from 0 to 255"
        )
    return array * np.float32(255) if is_share else array


def _row(result: TrialResult) -> dict[str, Any]:
    """Return what a trial is, as a row."""
    return {
        "number": result.number,
        "state": result.state.value,
        "value": result.value,
        "best_epoch": result.best_epoch,
        **result.params.model_dump(),
        "restored_train_accuracy": result.restored_train_accuracy,
        "overfitting_gap": result.overfitting_gap,
        "n_parameters": result.n_parameters,
        "epochs_trained": len(result.epochs),
        "train_seconds": result.train_seconds,
        **result.test_metrics,
        "weights_sha256": result.weights_sha256,
        "reason": result.reason,
    }


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """Give the columns their types, also where values are missing or there are no rows."""
    import pandas as pd

    if table.empty:
        return pd.DataFrame({"number": pd.Series(dtype="int64")})
    kinds: dict[str, Any] = dict.fromkeys(_WHOLE, "Int64")
    kinds |= dict.fromkeys(("value", "restored_train_accuracy", "overfitting_gap"), "float64")
    kinds |= {
        name: "int64" if field.annotation is int else "float64"
        for name, field in NetworkParams.model_fields.items()
    }
    kinds["state"] = pd.CategoricalDtype([state.value for state in TrialState])
    return table.astype(kinds)
