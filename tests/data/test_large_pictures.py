"""The memory that large photographs take: 500 MB beside the process, or a refusal in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

_MAKE = """
import json, sys
from PIL import Image, ImageDraw
path, width, height, mode, options = sys.argv[1:]
width, height, options = int(width), int(height), json.loads(options)
light = {"RGB": (230, 228, 220), "RGBA": (230, 228, 220, 255)}
dark = {"RGB": (20, 20, 40), "RGBA": (20, 20, 40, 255), "1": 0}
image = Image.new(mode, (width, height), light.get(mode, 255))
seven = [(width // 3, height // 3), (width // 2, height // 3), (2 * width // 5, 2 * height // 3)]
pen = ImageDraw.Draw(image)
pen.line(seven, fill=dark.get(mode, 20), width=height // 30, joint="curve")
image.save(path, **options)
"""
# The most that this process itself held; what getrusage says may be its parent's.
_READ = """
import json, sys
from pathlib import Path
from mnist_study.core.errors import UserFacingError
from mnist_study.data import segmentation
from mnist_study.data.pictures import read_picture

def megabytes():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1000

bare = megabytes()
try:
    said = [digit.box for digit in read_picture(Path(sys.argv[1]), "photo").digits]
except UserFacingError as error:
    said = str(error)
print(json.dumps([said, megabytes() - bare]))
"""
_SIZES = {108: (12_000, 9_000), 178: (15_420, 11_565)}
_FILES: dict[str, tuple[str, dict[str, object]]] = {
    "baseline.jpg": ("RGB", {"quality": 85}),
    "progressive.jpg": ("RGB", {"quality": 85, "progressive": True}),
    "grey-progressive.jpg": ("L", {"quality": 85, "progressive": True}),
    "colour.png": ("RGB", {"compress_level": 1}),
    "alpha.png": ("RGBA", {"compress_level": 1}),
    "grey.png": ("L", {"compress_level": 1}),
    "colour.webp": ("RGB", {"quality": 60, "method": 0}),
    "grey.gif": ("L", {}),
    "colour.bmp": ("RGB", {}),
    "grey.bmp": ("L", {}),
    "colour.tif": ("RGB", {}),
    "lzw.tif": ("RGB", {"compression": "tiff_lzw"}),
    "grey.tif": ("L", {}),
    "fax.tif": ("1", {"compression": "group4"}),
}
_ALWAYS_READ = {"baseline.jpg", "grey.png", "grey.gif", "grey.bmp"}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("megapixels", _SIZES)
@pytest.mark.parametrize("name", _FILES)
def test_a_large_photograph_takes_500_megabytes_at_most_or_is_refused_in_one_line(
    tmp_path: Path, name: str, megapixels: int
) -> None:
    path, (width, height), (mode, options) = tmp_path / name, _SIZES[megapixels], _FILES[name]
    make = [sys.executable, "-c", _MAKE, str(path), str(width), str(height), mode]
    subprocess.run([*make, json.dumps(options)], check=True)
    read = [sys.executable, "-c", _READ, str(path)]
    done = subprocess.run(read, capture_output=True, text=True, check=True)
    path.unlink()
    said, n_megabytes = json.loads(done.stdout)
    print(f"{name}, {megapixels} megapixels: {n_megabytes:.0f} MB, {said}")
    assert n_megabytes < 500
    if isinstance(said, str):
        assert f"{megapixels} megapixels as " in said
        assert "\n" not in said
        assert name not in _ALWAYS_READ
    else:
        (box,) = said
        seven = np.array([width / 3, height / 3, width / 2, 2 * height / 3])
        np.testing.assert_allclose(box, seven, atol=height / 25)
