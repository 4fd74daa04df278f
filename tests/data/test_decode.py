"""Formats and policies, against pixel values worked out by hand."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.pngs import chunk, png_file
from windvane.data import Decoder, UnreadableImage
from windvane.data.decode import read_header

from .conftest import colours, encoded

GREY = np.array([[0, 50, 100], [150, 200, 250]], np.uint8)
COLOUR = colours(1, (2, 3))[0]
INTERLEAVED = COLOUR.transpose(1, 2, 0)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "TGA", "GIF", "WEBP", "JPEG2000", "QOI"])
def test_lossless_colour_comes_back_exactly(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    # A palette of 256 holds six colours exactly.
    np.testing.assert_array_equal(Decoder()(encoded(INTERLEAVED, kind, **options)), COLOUR)


def test_jpeg_is_near():
    flat = np.full((16, 16, 3), (200, 30, 90), np.uint8)
    got = Decoder()(encoded(flat, "JPEG", quality=95))
    assert np.abs(got.astype(int) - flat.transpose(2, 0, 1)).max() <= 4


def test_grey_is_repeated_and_colour_becomes_luma():
    np.testing.assert_array_equal(Decoder(channels=3)(encoded(GREY)), np.stack([GREY] * 3))
    np.testing.assert_array_equal(Decoder(channels=1)(encoded(GREY)), GREY[None])
    luma = (COLOUR * np.array([0.299, 0.587, 0.114])[:, None, None]).sum(0)
    got = Decoder(channels=1)(encoded(INTERLEAVED))
    assert got.shape == (1, 2, 3)
    assert np.abs(got[0] - luma).max() <= 0.51


@pytest.mark.parametrize(
    ("alpha", "under"), [("white", 255), ("black", 0), ("drop", None)], ids=["white", "black", "drop"]
)
@pytest.mark.parametrize("grey", [False, True], ids=["RGBA", "LA"])
def test_alpha_is_composited_by_formula(alpha, under, grey):
    base = GREY[..., None] if grey else INTERLEAVED
    cover = np.array([[0, 1, 127], [128, 254, 255]], np.uint8)
    got = Decoder(alpha=alpha)(encoded(np.concatenate([base, cover[..., None]], axis=-1)))
    expected = np.repeat(base, 3, -1).astype(float) if grey else base.astype(float)
    if under is not None:
        a = cover[..., None] / 255
        expected = np.rint(a * expected + (1 - a) * under)
    np.testing.assert_array_equal(got, expected.transpose(2, 0, 1))


def test_transparent_palette_entry_shows_the_background():
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    buffer = io.BytesIO()
    image.save(buffer, "PNG", transparency=1)
    got = Decoder(alpha="white")(buffer.getvalue())
    np.testing.assert_array_equal(got[:, 0].T, [[10, 20, 30], [255, 255, 255], [70, 80, 90]])
    opaque = Decoder(alpha="drop")(buffer.getvalue())
    np.testing.assert_array_equal(opaque[:, 0].T, [[10, 20, 30], [40, 50, 60], [70, 80, 90]])


def test_one_bit_is_black_and_white():
    got = Decoder(channels=1)(encoded(np.array([[True, False, True]])))
    np.testing.assert_array_equal(got, [[[255, 0, 255]]])


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_scale_over_the_full_range(kind):
    deep = np.array([[0, 128, 129], [1000, 32768, 65535]], np.uint16)
    got = Decoder(channels=1)(encoded(deep, kind))
    np.testing.assert_array_equal(got[0], [[0, 0, 1], [4, 128, 255]])
    np.testing.assert_array_equal(got[0], np.rint(deep / 257))


def test_sixteen_bits_stretch_to_their_own_range():
    deep = np.array([[1000, 1500, 2000]], np.uint16)
    np.testing.assert_array_equal(Decoder(channels=1, depth="stretch")(encoded(deep)), [[[0, 128, 255]]])
    flat = np.full((1, 3), 777, np.uint16)
    np.testing.assert_array_equal(Decoder(channels=1, depth="stretch")(encoded(flat)), [[[0, 0, 0]]])


def test_float_tiff_by_both_policies():
    unit = np.array([[0, 0.25, 1]], np.float32)
    np.testing.assert_array_equal(Decoder(channels=1)(encoded(unit, "TIFF")), [[[0, 64, 255]]])
    wide = np.array([[-3, 0, 3]], np.float32)
    with pytest.raises(UnreadableImage, match='-3 to 3 where 0 to 1 .*depth="stretch"'):
        Decoder()(encoded(wide, "TIFF"))
    np.testing.assert_array_equal(
        Decoder(channels=1, depth="stretch")(encoded(wide, "TIFF")), [[[0, 128, 255]]]
    )
    with pytest.raises(UnreadableImage, match="NaN"):
        Decoder(depth="stretch")(encoded(np.array([[0, np.nan]], np.float32), "TIFF"))


def test_whole_numbers_of_32_bits_beyond_16_are_refused_with_the_way_out():
    with pytest.raises(UnreadableImage, match='0 to 65535 are expected; depth="stretch"'):
        Decoder()(encoded(np.array([[0, 70000]], np.int32), "TIFF"))


def test_cmyk_becomes_colour():
    ink = np.zeros((1, 4, 4), np.uint8)
    ink[0] = [(255, 0, 0, 0), (0, 255, 0, 0), (0, 0, 0, 255), (0, 0, 0, 0)]
    got = Decoder()(encoded(ink, "TIFF", mode="CMYK"))
    np.testing.assert_array_equal(got[:, 0].T, [[0, 255, 255], [255, 0, 255], [0, 0, 0], [255, 255, 255]])


def test_inverted_cmyk_of_jpeg_is_not_a_negative():
    ink = np.tile(np.array((0, 0, 0, 0), np.uint8), (8, 8, 1))
    got = Decoder()(encoded(ink, "JPEG", mode="CMYK", quality=100))
    assert got.min() >= 253, "no ink is white paper"
    grey = Decoder(channels=1)(encoded(ink + np.uint8(255), "JPEG", mode="CMYK", quality=100))
    assert grey.max() <= 2, "all ink is black"


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG"])
def test_the_first_frame_counts(kind):
    frames = [Image.fromarray(np.full((4, 5, 3), v, np.uint8)) for v in (30, 220)]
    options = {"lossless": True} if kind == "WEBP" else {}
    buffer = io.BytesIO()
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:], **options)
    np.testing.assert_array_equal(Decoder()(buffer.getvalue()), np.full((3, 4, 5), 30))


# What the stored array [[1, 2, 3], [4, 5, 6]] looks like after each rotation of the EXIF standard.
UPRIGHT = {
    1: [[1, 2, 3], [4, 5, 6]],
    2: [[3, 2, 1], [6, 5, 4]],
    3: [[6, 5, 4], [3, 2, 1]],
    4: [[4, 5, 6], [1, 2, 3]],
    5: [[1, 4], [2, 5], [3, 6]],
    6: [[4, 1], [5, 2], [6, 3]],
    7: [[6, 3], [5, 2], [4, 1]],
    8: [[3, 6], [2, 5], [1, 4]],
}


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_rotation(kind, orientation):
    stored = np.array(UPRIGHT[1], np.uint8) * 40
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    got = Decoder(channels=1)(encoded(stored, kind, exif=exif, **options))
    np.testing.assert_array_equal(got[0], np.array(UPRIGHT[orientation]) * 40)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_unreadable_exif_leaves_the_picture_as_it_is():
    data = encoded(np.full((8, 8), 90, np.uint8), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xffgarbage")
    assert Decoder(channels=1)(data).shape == (1, 8, 8)


def halves(width, height):
    """Left half black, right half white."""
    picture = np.zeros((height, width), np.uint8)
    picture[:, width // 2 :] = 255
    return encoded(picture)


def test_crop_takes_the_centre():
    wide = np.arange(12, dtype=np.uint8)[None].repeat(4, 0) * 20
    got = Decoder(size=4, channels=1, fit="crop")(encoded(wide))
    np.testing.assert_array_equal(got[0], wide[:, 4:8])
    tall = Decoder(size=4, channels=1, fit="crop")(encoded(np.ascontiguousarray(wide.T)))
    np.testing.assert_array_equal(tall[0], wide[:, 4:8].T)


def test_crop_to_another_proportion_scales_by_the_tighter_side():
    # 8 x 16 to 2 x 8: the width decides (factor 2), rows 2..5 of 8 remain.
    rows = np.repeat(np.arange(8, dtype=np.uint8) * 30, 16).reshape(8, 16)
    got = Decoder(size=(2, 8), channels=1, resample="box")(encoded(rows))
    np.testing.assert_array_equal(got[0], [[75] * 8, [135] * 8])


@pytest.mark.parametrize(("alpha", "margin"), [("white", 255), ("black", 0), ("drop", 0)])
def test_pad_fills_the_margin(alpha, margin):
    got = Decoder(size=4, channels=1, fit="pad", alpha=alpha)(encoded(np.full((2, 4), 77, np.uint8)))
    np.testing.assert_array_equal(got[0], [[margin] * 4, [77] * 4, [77] * 4, [margin] * 4])


def test_stretch_ignores_proportions():
    got = Decoder(size=(3, 2), channels=1, fit="stretch", resample="nearest")(halves(10, 6))
    np.testing.assert_array_equal(got[0], [[0, 255]] * 3)


def test_scaling_down_is_antialiased():
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    for resample in ("lanczos", "bicubic", "box"):
        inner = Decoder(size=8, channels=1, resample=resample)(encoded(stripes))[0, :, 1:-1]
        assert np.abs(inner.astype(int) - 127.5).max() <= 3, resample
    aliased = Decoder(size=8, channels=1, resample="nearest")(encoded(stripes))
    assert set(np.unique(aliased)) <= {0, 255}


def test_reduced_decoding_of_large_jpeg_changes_little():
    ramp = np.linspace(0, 255, 1024).astype(np.uint8)
    picture = encoded(np.stack([np.tile(ramp, (1536, 1)), np.tile(ramp[::-1], (1536, 1))] * 2)[:3].transpose(
        1, 2, 0
    ), "JPEG", quality=95)  # fmt: skip
    small = Decoder(size=(24, 16))(picture)
    whole = Image.open(io.BytesIO(picture)).resize((16, 24), Image.Resampling.LANCZOS)
    assert np.abs(small.astype(int) - np.asarray(whole).transpose(2, 0, 1)).max() <= 3


def test_reduced_decoding_never_goes_below_the_target_when_exif_turns_it():
    stripes = np.zeros((64, 1024, 3), np.uint8)
    stripes[:, ::2] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(io.BytesIO(encoded(stripes, "JPEG", exif=exif, quality=95))) as image:
        from windvane.data.decode import _draft_size

        image.draft(None, _draft_size(image.size, (512, 32)))
        assert image.size == (1024, 64)


def test_header_says_what_is_stored():
    header = read_header(encoded(np.zeros((3, 5), np.uint16)))
    assert (header.width, header.height, header.mode, header.format) == (5, 3, "I;16", "PNG")


@pytest.mark.parametrize(
    "settings",
    [
        {"size": 0},
        {"size": (4, -1)},
        {"size": (1, 2, 3)},
        {"size": 2.5},
        {"size": True},
        {"channels": 4},
        {"fit": "squash"},
        {"alpha": "grey"},
        {"depth": "8"},
        {"resample": "sinc"},
        {"max_pixels": 0},
    ],
    ids=str,
)
def test_unknown_policies_are_refused(settings):
    name = next(iter(settings))
    with pytest.raises(ValueError, match=name):
        Decoder(**settings)


def test_sixteen_bit_colour_keeps_its_high_bytes():
    row = b"\0" + struct.pack(">6H", 0x1234, 0xFFFF, 0x00FF, 0x8000, 0x7FFF, 0)
    got = Decoder()(png_file(2, 1, chunk(b"IDAT", zlib.compress(row)), depth=16, kind=2))
    np.testing.assert_array_equal(got[:, 0].T, [[0x12, 0xFF, 0], [0x80, 0x7F, 0]])
