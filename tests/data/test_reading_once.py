"""Reading costs little beside decoding: one worker is the caller, and a file is read once."""

import hashlib
import io
import threading

import numpy as np
import pytest
from PIL import Image

from windvane.data import inspection
from windvane.data.decode import Decoder
from windvane.data.duplicates import thumbnail
from windvane.data.inspection import Entry, inspect
from windvane.data.parallel import ordered_map


def test_one_worker_is_the_caller_and_reads_nothing_ahead():
    begun = []

    def work(item):
        begun.append(item)
        return item, threading.current_thread()

    results = ordered_map(work, range(20), workers=1)
    assert next(results) == (0, threading.current_thread()) and begun == [0]
    assert [item for item, _ in results] == list(range(1, 20))


@pytest.mark.parametrize("channels", [1, 3])
def test_miniatures_average_the_channels_and_round_down(channels):
    pixels = np.random.default_rng(0).integers(0, 256, (channels, 37, 23), dtype=np.uint8)
    grey = pixels.astype(np.float64).mean(axis=0).astype(np.uint8)
    expected = np.asarray(Image.fromarray(grey).resize((9, 8), Image.Resampling.BOX))
    assert (thumbnail(pixels) == expected).all()


@pytest.mark.parametrize("at_once", [1, 100, 1 << 22])
def test_files_of_any_length_are_hashed_and_decoded(tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(inspection, "_AT_ONCE", at_once)
    pixels = np.random.default_rng(1).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = inspect(Entry("a.png", tmp_path / "a.png"), Decoder())
    assert found.problem is None
    assert found.digest == hashlib.sha256((tmp_path / "a.png").read_bytes()).hexdigest()
    assert (found.pixels == pixels.transpose(2, 0, 1)).all()


def test_a_small_file_is_read_once(tmp_path, monkeypatch):
    Image.new("RGB", (5, 4), (10, 20, 30)).save(tmp_path / "a.png")
    given = []
    plain = Decoder.read_handle
    monkeypatch.setattr(Decoder, "read_handle", lambda self, file: given.append(file) or plain(self, file))
    inspect(Entry("a.png", tmp_path / "a.png"), Decoder())
    assert isinstance(given[0], io.BytesIO) and str(given[0].name) == str(tmp_path / "a.png")


def test_an_upright_picture_is_not_copied_to_be_turned(tmp_path, monkeypatch):
    from PIL import ImageOps

    for name, orientation in (("plain.jpg", None), ("turned.jpg", 6)):
        exif = Image.Exif()
        if orientation is not None:
            exif[0x0112] = orientation
        Image.new("RGB", (8, 4)).save(tmp_path / name, exif=exif)
    calls = []
    plain = ImageOps.exif_transpose
    monkeypatch.setattr(ImageOps, "exif_transpose", lambda image: calls.append(image) or plain(image))
    assert Decoder()(tmp_path / "plain.jpg").shape == (3, 4, 8) and not calls
    pixels, header = Decoder().read(tmp_path / "turned.jpg")
    assert pixels.shape == (3, 8, 4) and header.turned and len(calls) == 1
