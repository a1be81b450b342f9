"""Files that hold no arrays that can be read here: what they are, and what to do with them."""

import re

from mnist_study.data.files import Unfit, shown

_UNPACK = "unpack it first, and name the folder with --data"
_CONVERT = "convert it to npz with numpy.savez_compressed"
# What a folder of pictures holds, a file an image.
PICTURES = ("a PNG image", "a JPEG image")
_FROM_PICTURES = "put all images into an npz with numpy.savez_compressed, and their labels"
_AGAIN = "download the file again"
# A pickle runs whatever program its author put into it.
_PICKLE = "a pickle, which is never opened"
_TORCH = "a PyTorch file, which is a pickle and never opened"
_FROM_PICKLE = f"where you trust its author, {_CONVERT}"

_MARKS: tuple[tuple[bytes, str, str], ...] = (
    (b"BZh", "a bzip2 file", _UNPACK),
    (b"\xfd7zXZ\x00", "an xz file", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file", _UNPACK),
    (b"\x1f\x9d", "a compress (.Z) file", _UNPACK),
    (b"\x04\x22\x4d\x18", "an lz4 file", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (b"PAR1", "a Parquet file", _CONVERT),
    (b"ARROW1", "an Arrow file", _CONVERT),
    (b"FEA1", "a Feather file", _CONVERT),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", _CONVERT),
    (b"MATLAB 5.0 MAT-file", "a MATLAB file", _CONVERT),
    (b"SQLite format 3\x00", "a SQLite database", _CONVERT),
    (b"\x89PNG\r\n\x1a\n", PICTURES[0], _FROM_PICTURES),
    (b"\xff\xd8\xff", PICTURES[1], _FROM_PICTURES),
    (b"version https://git-lfs", "a Git LFS pointer", "fetch the file itself with `git lfs pull`"),
)
# Names of what has no mark at its beginning.
_ENDINGS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    ((".pkl", ".pickle", ".pck", ".p", ".joblib"), _PICKLE, _FROM_PICKLE),
    ((".pt", ".pth"), _TORCH, _FROM_PICKLE),
    ((".tar", ".tgz"), "a tar archive", _UNPACK),
    ((".arrow",), "an Arrow file", _CONVERT),
    ((".arff",), "an ARFF file", _CONVERT),
)
# What text pickles begin with: of protocol 0 and 1 there is no mark.
_TEXT_PICKLE = re.compile(rb"\(?c[a-z_][\w.]*\n|\([dl]p?\d*\n|\(\(?lp\d|[\]})]q.|\(I\d+\n")


# `5 153:3 154:18`: a label, and the pixels that are not 0.
_LIBSVM = re.compile(r"[-+.\d]+(?:[ \t]+\d+:[-+.\de]+){2}")


def foreign_file(head: bytes, n_bytes: int, name: str) -> Unfit:
    """Say what a file without arrays is.

    Args:
        head: its first bytes, gzip taken off.
        n_bytes: its size as it lies there.
        name: its path; asked where the bytes leave it open.
    """
    if not head:
        return Unfit("an empty file", remedy=_AGAIN)
    for mark, what, remedy in _MARKS:
        if head.startswith(mark):
            return Unfit(what, remedy=remedy)
    if head[257:262] == b"ustar":
        return Unfit("a tar archive", remedy=_UNPACK)
    # Protocols 2 to 5.
    if (head[0] == 0x80 and head[1:2] in b"\2\3\4\5") or _TEXT_PICKLE.match(head):
        return Unfit(_PICKLE, remedy=_FROM_PICKLE)
    plain_name = name.lower().removesuffix(".gz")
    for endings, what, remedy in _ENDINGS:
        if plain_name.endswith(endings):
            return Unfit(what, remedy=remedy)
    if ".tfrecord" in plain_name:
        return Unfit("a TFRecord file", remedy=_CONVERT)
    text = _as_text(head)
    if text is None:
        return Unfit(f"{n_bytes:,} bytes of no known form ({head[:4].hex(' ')} …)")
    return _foreign_text(text)


def foreign_zip(names: list[str]) -> Unfit:
    """Say what a zip archive without arrays is."""
    if any(name.rpartition("/")[2] == "data.pkl" for name in names):
        return Unfit(_TORCH, remedy=_FROM_PICKLE)
    return Unfit(f"a zip archive with {shown(names)}", remedy=_UNPACK)


def _as_text(head: bytes) -> str | None:
    """Return the beginning of a text file, None if this is none."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = head.decode("utf-16", "replace")
    else:
        try:
            # A character may be cut at the end.
            text = head.decode("utf-8-sig") if len(head) < 512 else head[:-3].decode("utf-8-sig")
        except UnicodeDecodeError:
            text = head.decode("latin-1")
    return text if all(one.isprintable() or one in "\t\n\r\f" for one in text) else None


def _foreign_text(text: str) -> Unfit:
    start = text.lstrip().lower()
    if start.startswith(("<!doctype html", "<html", "<head")) or "<html" in start:
        return Unfit("an HTML page, as servers send for an error", remedy=_AGAIN)
    if start.startswith("<"):
        return Unfit("XML text, as servers send for an error", remedy=_AGAIN)
    if start.startswith(("{", "[")):
        return Unfit("JSON text", remedy=_CONVERT)
    if start.startswith("@relation") or "\n@relation" in start:
        return Unfit("an ARFF file", remedy=_CONVERT)
    if _LIBSVM.match(start):
        return Unfit("LIBSVM text", remedy=_CONVERT)
    first_line = start.partition("\n")[0]
    if sum(map(first_line.count, ",;\t")) > 1:
        return Unfit("CSV text", remedy=_CONVERT)
    return Unfit("text")
