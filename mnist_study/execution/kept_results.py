"""Results that wait on disk until their record can be written, for a driver that ends before."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from mnist_study.core.identity import Identity
from mnist_study.core.trials import TrialResult, TrialSpec, TrialState
from mnist_study.search.record import read_record, write_record

MAX_RESULTS = 200
MAX_BYTES = 200_000_000
_SUFFIX, _PART = ".result", ".part-"


@dataclass(frozen=True, slots=True)
class Trained:
    """A trial whose training has ended.

    Attributes:
        spec: the trial.
        result: of it.
        begun: when it was handed to a worker, local time.
        ended: when its result arrived.
    """

    spec: TrialSpec
    result: TrialResult
    begun: datetime
    ended: datetime


class KeptResults:
    """The results of one record that wait, a file each.

    A result is taken back only for the very trial that it is of: the file carries a hash of the
    record's identity and of the trial's whole specification, of which a result is a function. So it
    is what training again would give.
    """

    def __init__(self, folder: Path, identity: Identity, n_recorded: int) -> None:
        """Look into the folder, which need not exist, and remove what is recorded already.

        Args:
            folder: of this record alone; its parent has to exist when a result is kept.
            identity: of the record.
            n_recorded: the number of its finished trials.
        """
        self.folder = folder
        self._identity = identity.as_document()
        self._sizes = {
            int(path.stem): path.stat().st_size
            for path in folder.glob(f"*{_SUFFIX}")
            if path.stem.isdecimal()
        }
        for part in folder.glob(f"*{_PART}*"):  # of a driver that was killed while it wrote
            part.unlink()
        for number in [number for number in self._sizes if number < n_recorded]:
            self.remove(number)

    def __len__(self) -> int:
        return len(self._sizes)

    def __contains__(self, number: int) -> bool:
        return number in self._sizes

    @property
    def has_room(self) -> bool:
        """Whether the trials that begin now may be kept too."""
        return len(self._sizes) < MAX_RESULTS and sum(self._sizes.values()) < MAX_BYTES

    def keep(self, trained: Trained) -> None:
        """Write a result; the file is there whole or not at all.

        Raises:
            OSError: it cannot be written.
        """
        result = trained.result
        about = {
            "key": self._key(trained.spec),
            "state": result.state.value,
            "value": result.value,
            "system_attrs": dict(result.system_attrs),
            "has_model": result.model_keras is not None,
            "begun": trained.begun.isoformat(),
            "ended": trained.ended.isoformat(),
            "record": write_record(result),
        }
        content = json.dumps(about).encode() + b"\n" + (result.model_keras or b"")
        path = self._path(result.number)
        part = path.with_suffix(f"{_PART}{os.getpid()}")
        self.folder.mkdir(exist_ok=True)  # without parents: a home that was deleted stays so
        try:
            part.write_bytes(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        self._sizes[result.number] = path.stat().st_size

    def take(self, spec: TrialSpec) -> Trained | None:
        """Return the result of a trial if it is kept; a file of another trial is removed.

        The file of the trial itself stays until `remove`.
        """
        if spec.number not in self._sizes:
            return None
        content = self._path(spec.number).read_bytes()
        sha256, _, content = content.partition(b"\n")
        about: dict[str, Any] = {}
        if hashlib.sha256(content).hexdigest().encode() == sha256:
            head, _, model = content.partition(b"\n")
            about = json.loads(head)
        if about.get("key") != self._key(spec):
            self.remove(spec.number)
            return None
        result = read_record(
            about["record"],
            number=spec.number,
            state=TrialState(about["state"]),
            value=about["value"],
            system_attrs=about["system_attrs"],
            model_keras=model if about["has_model"] else None,
        )
        begun, ended = (datetime.fromisoformat(about[name]) for name in ("begun", "ended"))
        return Trained(spec, result, begun, ended)

    def remove(self, number: int) -> None:
        """Remove the file of a trial, if there is one, and the folder with the last."""
        if self._sizes.pop(number, None) is None:
            return
        self._path(number).unlink(missing_ok=True)
        if not self._sizes and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}{_SUFFIX}"

    def _key(self, spec: TrialSpec) -> str:
        document = [self._identity, _SPEC.dump_python(spec, mode="json")]
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


_SPEC: TypeAdapter[TrialSpec] = TypeAdapter(TrialSpec)
