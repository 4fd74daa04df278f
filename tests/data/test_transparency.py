"""Every PNG mode, depth, transparent colour and background against arithmetic on the stored numbers."""

import io
import itertools
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.pngs import chunk, png_file
from windvane.data import Decoder


def png(values, depth, kind, transparent=None, turn=None):
    """A PNG written by hand: rows of numbers (H, W, channels) at `depth` bits."""
    height, width, _ = values.shape
    rows = b""
    for row in values.reshape(height, -1):
        bits = "".join(f"{v:0{depth}b}" for v in row)
        bits += "0" * (-len(bits) % 8)
        rows += b"\0" + bytes(int(bits[k : k + 8], 2) for k in range(0, len(bits), 8))
    chunks = []
    if turn is not None:
        exif = Image.Exif()
        exif[0x0112] = turn
        chunks.append(chunk(b"eXIf", exif.tobytes()[6:]))
    if transparent is not None:
        chunks.append(chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent)))
    chunks.append(chunk(b"IDAT", zlib.compress(rows)))
    return png_file(width, height, *chunks, depth=depth, kind=kind)


CASES = [(0, 1, d) for d in (1, 2, 4, 8, 16)] + [(2, 3, d) for d in (8, 16)] + [(4, 2, 8), (6, 4, 8)]


@pytest.mark.parametrize(
    ("case", "alpha", "declared"), itertools.product(CASES, ("white", "black", "drop"), (False, True))
)
def test_pixels_are_those_of_the_formula(case, alpha, declared):
    kind, channels, depth = case
    if declared and kind in (4, 6):
        pytest.skip("an alpha channel admits no transparent colour")
    for seed in range(4):
        values = np.random.default_rng(seed).integers(0, 2**depth, (3, 4, channels))
        values[1, :2] = values[0, 0]
        # One number beside the declared colour, in its low bits: opaque.
        values[2, 0] = values[0, 0] ^ 1
        key = tuple(int(v) for v in values[0, 0]) if declared else None
        top = 2**depth - 1
        colour = values[..., : 1 if kind in (0, 4) else 3]
        eight = np.rint(colour / top * 255) if kind != 2 or depth == 8 else colour >> 8
        cover = values[..., -1:] / 255 if kind in (4, 6) else np.ones((3, 4, 1))
        if declared:
            cover = np.where((values == values[0, 0]).all(-1, keepdims=True), 0.0, 1.0)
        if alpha != "drop":
            eight = np.rint(cover * eight + (1 - cover) * (255 if alpha == "white" else 0))
        expected = np.broadcast_to(eight, (3, 4, 3)).transpose(2, 0, 1)
        np.testing.assert_array_equal(Decoder(alpha=alpha)(png(values, depth, kind, key)), expected)


def test_sixteen_bit_grey_keeps_its_transparency():
    buffer = io.BytesIO()
    Image.fromarray(np.array([[1000, 12850]], np.uint16)).save(buffer, "PNG", transparency=1000)
    for alpha, first in (("white", 255), ("black", 0), ("drop", 4)):
        assert Decoder(channels=1, alpha=alpha)(buffer.getvalue()).tolist() == [[[first, 50]]]


def test_transparency_turns_with_the_picture():
    values = np.array([[[1000], [12850], [12850]]])
    got = Decoder(channels=1)(png(values, 16, 0, (1000,), turn=6))
    assert got.tolist() == [[[255], [50], [50]]]
