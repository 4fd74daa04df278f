"""One limit of pixels, the one that is set."""

import io
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from tests.pngs import png_file
from windvane.data import Decoder, UnreadableImage


def header_only(width, height, *, progressive):
    """A JPEG of one colour whose header says another size: nothing as large is ever made."""
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), (200, 30, 30)).save(buffer, "JPEG", progressive=progressive)
    content = bytearray(buffer.getvalue())
    place = next(i for i in range(len(content)) if content[i] == 0xFF and content[i + 1] in (0xC0, 0xC2))
    content[place + 5 : place + 9] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(content)


def test_max_pixels_stands_in_the_place_of_pillows_own_limit():
    """It refused more than 179 million pixels whatever `max_pixels` was, and named no setting."""
    with pytest.raises(UnreadableImage, match=r"20000 x 10000, more than max_pixels=89478485"):
        Decoder(32)(png_file(20_000, 10_000))
    with pytest.raises(UnreadableImage, match="truncated|damaged"):  # it is read
        Decoder(32, max_pixels=200_000_000)(png_file(20_000, 10_000))
    # By draft, an eighth each way.
    assert Decoder(32)(header_only(20_000, 10_000, progressive=False)).shape == (3, 32, 32)
    with pytest.raises(UnreadableImage, match=r"20000 x 10000, more than max_pixels"):
        Decoder(32)(header_only(20_000, 10_000, progressive=True))  # which is held as a whole
    assert Image.MAX_IMAGE_PIXELS == 89_478_485


def test_pillows_limit_comes_back_after_the_last_of_several_threads(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 12345)
    content = png_file(20_000, 10_000)

    def refused(_):
        with pytest.raises(UnreadableImage, match="max_pixels=89478485"):
            Decoder(32)(content)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(refused, range(200)))
    assert Image.MAX_IMAGE_PIXELS == 12345
