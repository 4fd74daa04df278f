"""Files that cannot be read: each gives a reason, none gives anything but `UnreadableImage`."""

import errno
import os

import numpy as np
import pytest

from windvane.data import Decoder, UnreadableImage
from windvane.data.errors import TooLittle

from .conftest import colours, encoded, png_head

# Pillow warns about damage before it raises, or instead.
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:PIL"),
    pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning"),
]

INTERLEAVED = colours(1, (2, 3))[0].transpose(1, 2, 0)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"hello, world", "not an image: begins with b'hello, world'"),
        (encoded(INTERLEAVED)[:20], "truncated file"),
        (b"RIFF" + bytes(40), "damaged file: the head of an image"),
        (encoded(colours(1, (50, 50))[0].transpose(1, 2, 0))[:3000], "truncated file"),
        (encoded(colours(1, (50, 50))[0].transpose(1, 2, 0), "JPEG")[:1500], "truncated file"),
        (encoded(colours(1, (50, 50))[0].transpose(1, 2, 0), "GIF")[:1500], "truncated file"),
        (encoded(colours(1, (50, 50))[0].transpose(1, 2, 0), "BMP")[:1500], "truncated file"),
        (png_head(60000, 60000), "too many pixels: 60000 x 60000, more than max_pixels="),
        (png_head(10000, 9000), "too many pixels: 10000 x 9000, more than max_pixels=89478485"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "unsupported kind: HEIC; install pillow-heif"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 5\n", "not an image"),
    ],
    ids=lambda v: v[:20] if isinstance(v, str) else None,
)
def test_what_cannot_be_read_says_why(data, reason):
    with pytest.raises(UnreadableImage) as caught:
        Decoder(size=8)(data)
    assert caught.value.reason.startswith(reason)


def test_flipped_bit_in_png_is_damage():
    data = bytearray(encoded(INTERLEAVED))
    data[data.index(b"IDAT") + 12] ^= 0x10
    with pytest.raises(UnreadableImage, match="damaged|truncated"):
        Decoder()(bytes(data))


def test_every_cut_of_a_file_is_read_or_refused():
    for kind in ("PNG", "JPEG", "GIF", "TIFF", "WEBP"):
        data = encoded(colours(1, (12, 12))[0].transpose(1, 2, 0), kind)
        refused = 0
        for end in range(0, len(data), 11):
            try:
                assert Decoder(size=4)(data[:end]).shape == (3, 4, 4)
            except UnreadableImage:
                refused += 1
        assert refused > 0.5 * len(data) / 11, kind


def test_garbled_bytes_are_read_or_refused():
    generator = np.random.default_rng(3)
    for kind in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "TGA", "PPM", "JPEG2000", "QOI"):
        data = np.frombuffer(encoded(colours(1, (12, 12))[0].transpose(1, 2, 0), kind), np.uint8)
        for _ in range(40):
            broken = data.copy()
            broken[generator.integers(0, len(data), 6)] = generator.integers(0, 256, 6)
            try:
                assert Decoder(size=4, max_pixels=10**6)(broken.tobytes()).shape == (3, 4, 4)
            except UnreadableImage as error:
                assert error.reason


def test_limit_of_pixels_is_a_choice():
    data = encoded(np.zeros((10, 10), np.uint8))
    assert Decoder(max_pixels=100)(data).shape == (3, 10, 10)
    with pytest.raises(UnreadableImage, match="10 x 10, more than max_pixels=99"):
        Decoder(max_pixels=99)(data)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "not enough memory while reading"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "not enough memory while reading"),
        (OSError(errno.EMFILE, "Too many open files"), r"too many open files .*ulimit -n"),
    ],
    ids=["memory", "ENOMEM", "EMFILE"],
)
def test_too_little_memory_and_too_few_handles_are_no_damage(monkeypatch, error, message):
    def fail(*_):
        raise error

    monkeypatch.setattr("windvane.data.decode.to_array", fail)
    with pytest.raises(TooLittle, match=message) as caught:
        Decoder()(encoded(INTERLEAVED))
    assert not isinstance(caught.value, UnreadableImage)


def test_things_that_are_no_files(tmp_path):
    (tmp_path / "x.png").mkdir()
    with pytest.raises(UnreadableImage, match="not a file: a folder"):
        Decoder()(tmp_path / "x.png")
    with pytest.raises(UnreadableImage, match="no such file"):
        Decoder()(tmp_path / "y.png")
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UnreadableImage, match="a pipe"):
        Decoder()(tmp_path / "pipe.png")


def test_permission_denied_is_a_reason(tmp_path, monkeypatch):
    path = tmp_path / "x.png"
    path.write_bytes(encoded(INTERLEAVED))

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(UnreadableImage, match="permission denied"):
        Decoder()(path)


def test_large_jpegs_are_decoded_at_a_fraction_below_the_limit():
    data = encoded(np.full((160, 240, 3), 90, np.uint8), "JPEG")
    picture, header = Decoder(size=8, max_pixels=10_000).read(data)
    assert picture.shape == (3, 8, 8) and (header.width, header.height) == (240, 160)
    for refusing in (Decoder(max_pixels=10_000), Decoder(size=150, max_pixels=10_000)):
        with pytest.raises(UnreadableImage, match="240 x 160, more than max_pixels=10000"):
            refusing(data)
