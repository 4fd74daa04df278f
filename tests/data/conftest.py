"""Small pictures and files shared by the tests of the data room."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.pngs import chunk, png_file


def colours(n=1, size=(6, 8), channels=3, seed=0):
    """n random pictures (n, C, H, W) uint8."""
    shape = (n, channels, *size)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(values, kind="PNG", mode=None, **options):
    """The bytes of an image file of an array in Pillow's layout."""
    image = Image.fromarray(np.asarray(values)) if mode is None else Image.fromarray(np.asarray(values), mode)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def save(path, pixels, **options):
    """Write (C, H, W) uint8 pixels as an image file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(path, **options)
    return path


def png_head(width, height):
    """A valid PNG whose header promises a size and whose data are empty."""
    return png_file(width, height, chunk(b"IDAT", b""), kind=2)


@pytest.fixture
def damaged(tmp_path):
    """A folder with three good pictures and every kind of bad one; (folder, reasons by name)."""
    root = tmp_path / "pictures"
    for i, picture in enumerate(colours(3, (40, 50))):
        save(root / f"good{i}.png", picture)
    noise = encoded(colours(1, (60, 80), seed=5)[0].transpose(1, 2, 0), "JPEG", quality=95)
    (root / "cut.jpg").write_bytes(noise[: len(noise) // 2])
    png = encoded(colours(1, (60, 80), seed=6)[0].transpose(1, 2, 0))
    (root / "cut.png").write_bytes(png[: len(png) // 2])
    (root / "empty.png").write_bytes(b"")
    (root / "text.jpg").write_text("this is no picture")
    (root / "huge.png").write_bytes(png_head(60000, 60000))
    (root / "large.png").write_bytes(png_head(12000, 9000))
    (root / "loop.png").symlink_to(root / "loop.png")
    (root / "dangling.png").symlink_to(root / "nowhere.png")
    (root / "note.txt").write_text("a note")
    (root / "meta.json").write_text("{}")
    (root / ".DS_Store").write_bytes(b"x")
    (root / "._good0.png").write_bytes(b"x")
    (root / "folder.png").mkdir()
    reasons = {
        "cut.jpg": "truncated file",
        "cut.png": "truncated file",
        "empty.png": "empty file",
        "text.jpg": "not an image",
        "huge.png": "too many pixels",
        "large.png": "too many pixels",
        "loop.png": "symbolic link loop",
        "dangling.png": "broken symbolic link",
    }
    return root, reasons
