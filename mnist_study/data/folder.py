"""What a folder holds: every array in it and below it, and what is wrong with the other files."""

import io
import os
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

from mnist_study.core.safe_text import printable
from mnist_study.data.arrays import StoredArray, arrays_in
from mnist_study.data.files import (
    DataError,
    Opener,
    Origin,
    Unfit,
    one_line,
    open_regular,
    shown,
)
from mnist_study.data.foreign import PICTURES
from mnist_study.data.names import Kind, Subset, is_likely, kind_of, part_of, set_of

# ~/datasets/torchvision/MNIST/raw is found from ~.
_MOST_DEPTH = 4
_MOST_ENTRIES = 20_000
_MOST_FILES = 300
_MOST_TOLD = 3


@dataclass(frozen=True, slots=True)
class Rejected:
    """A file, or an array in one, that cannot be used.

    Attributes:
        name: path within the folder, with the array's name in an npz at its end.
        file: path within the folder; "" for content in memory.
        reason: what is wrong.
    """

    name: str
    file: str
    reason: Unfit


@dataclass(frozen=True, slots=True)
class Inventory:
    """The arrays of a folder or file, not read yet.

    Attributes:
        origin: the folder or file, for messages.
        root: the folder, also that of a file; None where the content is in memory.
        arrays: likely ones first.
        rejected: what holds no array.
        top: names of what lies directly in the folder; none where a file was named.
        is_whole: whether all files were looked at.
    """

    origin: Origin
    root: Path | None
    arrays: tuple[StoredArray, ...]
    rejected: tuple[Rejected, ...]
    top: tuple[str, ...] = ()
    is_whole: bool = True

    def error(self, rejected: Rejected, expected: str) -> DataError:
        """Return the error that names this file."""
        reason = rejected.reason
        origin = self.origin.inside(rejected.file)
        remedy = reason.remedy or origin.remedy + (origin.other_data if reason.is_whole else "")
        return origin.error(reason.found, reason.expected or expected, remedy)

    def complaint(
        self, part: Subset, kind: Kind, failures: Iterable[Rejected], *, missing: str, expected: str
    ) -> DataError:
        """Return the error that tells best why an array is not there.

        Args:
            part: of the array.
            kind: of the array.
            failures: arrays that seemed to be it.
            missing: what is not found, in words.
            expected: what is looked for, in words.
        """
        for rejected in (
            *failures,
            *(one for one in self.rejected if _is_named(one.name, part, kind)),
            *(one for one in self.rejected if self._may_hold_data(one)),
            *self._only_pictures(),
        ):
            return self.error(rejected, expected)
        cut = "" if self.is_whole else f" (looked at {_MOST_FILES} files, those of likely names)"
        if self.arrays:
            arrays = ", ".join(
                f"{printable(one.name[:200]) or 'an array'} {one.declaration}"
                for one in self.arrays[:4]
            )
            remedy = self.origin.remedy + self.origin.other_data
            return self.origin.error(f"{missing}{cut}, but {arrays}", expected, remedy)
        return self.origin.error(f"a folder with {shown(self.top)}{cut}", expected)

    def _may_hold_data(self, rejected: Rejected) -> bool:
        """Whether a file is of a known form where the data should be, or all that is given."""
        is_near = "/" not in rejected.file or is_likely(rejected.file)
        is_alone = self.top == (rejected.file,)
        return not self.top or is_alone or (rejected.reason.remedy is not None and is_near)

    def _only_pictures(self) -> tuple[Rejected, ...]:
        """Return the first of a folder's picture files, where it holds nothing else to read."""
        pictures = [one for one in self.rejected if one.reason.found in PICTURES]
        return tuple(pictures[:1]) if 2 * len(pictures) > len(self.rejected) else ()

    def passed_over(
        self, part: Subset, kind: Kind, failures: Iterable[Rejected], taken: StoredArray
    ) -> list[str]:
        """Say which broken files lie beside the intact one that is taken instead."""
        named = (one for one in self.rejected if _is_named(one.name, part, kind))
        return [
            f"{printable(one.file)}: {one.reason.found}"
            for one in (*failures, *named)
            if one.file != taken.file and _are_beside(one.file, taken.file)
        ]

    def source(self, taken: Iterable[StoredArray], passed_over: Iterable[str]) -> str:
        """Say in words where the arrays are that were taken, and what beside them is broken."""
        files = list(dict.fromkeys(one.file for one in taken))
        if len(files) == 1:
            text = self.origin.inside(files[0]).label
        else:
            text = f"{' and '.join(printable(one) for one in files)} in {self.origin.label}"
        broken = "; ".join(list(dict.fromkeys(passed_over))[:_MOST_TOLD])
        return printable(f"{text} (passed over {broken})" if broken else text)


def inventory_of_bytes(content: bytes, origin: Origin) -> Inventory:
    """List the arrays of a file in memory."""
    return _inventory(origin, None, {"": lambda: io.BytesIO(content)})


def inventory_of_file(path: Path, origin: Origin) -> Inventory:
    """List the arrays of one file; the origin is its folder."""
    return _inventory(origin, path.parent, {path.name: partial(open_regular, path)})


def inventory_of_folder(path: Path, origin: Origin, most_depth: int = _MOST_DEPTH) -> Inventory:
    """List the arrays in a folder and so many levels below it.

    Raises:
        OSError: the folder cannot be read.
    """
    with os.scandir(path) as listing:
        top = tuple(entry.name for entry in islice(listing, _MOST_ENTRIES))
    files, closed, is_whole = _files_below(path, most_depth)
    files.sort(key=_likely_first)
    looked_at = {file: partial(open_regular, path / file) for file in files[:_MOST_FILES]}
    inventory = _inventory(origin, path, looked_at)
    return replace(
        inventory,
        rejected=(*inventory.rejected, *closed),
        top=top,
        is_whole=is_whole and len(files) <= _MOST_FILES,
    )


def _inventory(origin: Origin, root: Path | None, files: Mapping[str, Opener]) -> Inventory:
    arrays: list[StoredArray] = []
    rejected: list[Rejected] = []
    for file, open_file in files.items():
        try:
            found, broken = arrays_in(open_file, file)
        except Unfit as unfit:
            rejected.append(Rejected(file, file, unfit))
        else:
            arrays += found
            rejected += [Rejected(f"{file}/{member}", file, unfit) for member, unfit in broken]
    return Inventory(origin, root, tuple(arrays), tuple(rejected))


def _files_below(root: Path, most_depth: int) -> tuple[list[str], list[Rejected], bool]:
    """Walk a folder in breadth: its files but hidden ones, folders that are closed, whether all."""
    files: list[str] = []
    closed: list[Rejected] = []
    folders, n_entries, seen = deque([("", 0)]), 0, set()
    while folders and n_entries < _MOST_ENTRIES:
        folder, depth = folders.popleft()
        try:
            status = os.stat(root / folder)
            with os.scandir(root / folder) as listing:
                entries = sorted(islice(listing, _MOST_ENTRIES), key=lambda entry: entry.name)
        except OSError as error:
            unfit = Unfit(one_line(error), "a readable folder", "let this user read it")
            closed.append(Rejected(folder, folder, unfit))
            continue
        if (status.st_dev, status.st_ino) in seen:
            continue  # a link back
        seen.add((status.st_dev, status.st_ino))
        n_entries += len(entries)
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.name.startswith("."):
                continue  # macOS keeps `._train-images…` beside each file
            if not os.path.isdir(entry.path):
                files.append(path)
            elif depth < most_depth:
                folders.append((path, depth + 1))
    return files, closed, n_entries < _MOST_ENTRIES


def _likely_first(file: str) -> tuple[bool, int, bool, bool, str]:
    """Order files: by name, depth, Keras's own, and what need not be unpacked."""
    name = file.rpartition("/")[2].lower()
    return not is_likely(file), file.count("/"), name != "mnist.npz", name.endswith(".gz"), file


def _is_named(name: str, part: Subset, kind: Kind) -> bool:
    """Whether a file is named as if it held an array; an npz may hold any."""
    is_npz = ".npz" in name.lower()
    return (part_of(name) or (part if is_npz else None)) == part and (
        kind_of(name) or (kind if is_npz else None)
    ) == kind


def _are_beside(one: str, other: str) -> bool:
    same_folder = one.rpartition("/")[0] == other.rpartition("/")[0]
    return same_folder or set_of(one) == set_of(other)
