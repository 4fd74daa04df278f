"""Errors about data name settings that the command line has, and those settings work."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from windvane.cli.common.config import make_config
from windvane.pictures import png_bytes

FAST = {"features": "pixels", "k": 2}


def sources(place):
    """Data that need a setting: what to give as DATA, what is said without it, and what to set."""
    levels = np.random.default_rng(0).integers(0, 256, (12, 3, 8, 3), dtype=np.uint8)
    cells = [png_bytes(Image.fromarray(one)) for one in levels]
    pq.write_table(pa.table({"a": cells, "b": cells}), place / "two.parquet")
    np.save(place / "deep.npy", levels[:, 0].astype(np.uint16) * 257)
    np.save(place / "either.npy", levels)
    np.save(place / "float.npy", levels[:, 0].astype(np.float32))
    (place / "deep").mkdir()
    (place / "large").mkdir()
    for i, one in enumerate(levels):
        Image.fromarray(one[..., 0].astype(np.int32) * 1000).save(place / "deep" / f"{i}.tiff")
        Image.fromarray(one).save(place / "large" / f"{i}.png")
    yield "two.parquet", "--set data.image_column=NAME", "data.image_column=b"
    yield "deep.npy", "--set 'data.value_range=[LOW, HIGH]'", "data.value_range=[0, 65535]"
    yield "either.npy", "--set data.layout=NAME", "data.layout=NCHW"
    yield "float.npy", "--set 'data.value_range=[LOW, HIGH]'", "data.value_range=[0, 255]"
    yield "deep", "--set data.depth=stretch", "data.depth=stretch"
    yield "large", "data.max_pixels=10", "data.max_pixels=24"


def test_what_an_error_names_can_be_set(windvane, tmp_path):
    for name, said, setting in sources(tmp_path):
        words = ["annotate", tmp_path / name, *(["--set", said] if "max_pixels" in said else [])]
        refused = windvane(*words, out=tmp_path / "out", **FAST)
        assert refused.exit_code == 2 and said in refused.stderr, (name, refused.stderr)
        assert not re.search(
            r"(?<!data\.)\b(max_pixels|value_range|layout|image_column|depth)=", refused.stderr
        )
        done = windvane("annotate", tmp_path / name, "--set", setting, out=tmp_path / f"out-{name}", **FAST)
        assert done.exit_code == 0, (name, done.stderr)


def test_images_of_channels_that_no_picture_has_are_refused_before_the_work(refused, tmp_path):
    np.save(tmp_path / "two.npy", np.zeros((12, 8, 8, 2), np.uint8))
    said = refused("annotate", tmp_path / "two.npy", out=tmp_path / "out", **FAST)
    assert "images of 2 channels" in said and not (tmp_path / "out").exists()


def test_labels_are_counted_without_those_that_are_missing(windvane, tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((12, 8, 8), np.uint8), labels=[-1, 0, 1] * 4)
    done = windvane("annotate", tmp_path / "a.npz", out=tmp_path / "out", features="pixels", k=1)
    assert "labels: 2 classes of" in done.stderr, done.stderr


@pytest.mark.parametrize("setting", ["data.layout=ND", "data.depth=half", "data.value_range=[1]"])
def test_wrong_values_are_named(setting):
    with pytest.raises(ValueError, match=setting.partition("=")[0].replace(".", r"\.")):
        make_config(settings=[setting])
