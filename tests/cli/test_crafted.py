"""Pictures and files made to harm: one line that names them, at once and in little memory."""

import json
import time
import zlib

import numpy as np
import pytest

from tests.pngs import chunk, png_file
from windvane.pictures import read_settings, save_png, to_picture


@pytest.fixture(scope="module")
def sampled(model, tmp_path_factory):
    from typer.testing import CliRunner

    from windvane.cli import app

    out = tmp_path_factory.mktemp("sampled")
    words = ["sample", str(model), "--out", str(out), "--n", "1", "--steps", "2"]
    assert CliRunner().invoke(app, words).exit_code == 0
    return out / "00000000.png"


def crafted(source, path, **changes):
    settings = {**read_settings(source), **changes}
    return save_png(to_picture(np.zeros((1, 8, 8), np.uint8)), path, settings)


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": [1]}, {"seed": True}, {"seed": -1}, {"seed": 2**63}, {"seed": 10**400}, {"steps": 10**9},
        {"steps": [1]}, {"model": 3}, {"weights_sha256": None}, {"condition": 10**30}, {"condition": "x"},
        {"condition": {"boxes": [[0] * 4] * 3}}, {"condition": [1]}, {"interval": 7}, {"interval": {}},
        {"format": {}}, {"weight": "1" * 5000}, {"sampler": []},
    ],
    ids=lambda changes: str(changes)[:40],
)  # fmt: skip
def test_crafted_settings_are_refused_at_once(refused, sampled, tmp_path, changes):
    begin = time.process_time()
    line = refused("sample", "--again", crafted(sampled, tmp_path / "x.png", **changes), out=tmp_path / "new")
    assert time.process_time() - begin < 5 and len(line) < 600


@pytest.mark.parametrize("batch", [{"rows": 10**9, "row": 3}, {"rows": "x"}, 7, {"rows": 2, "row": 5}, None])
def test_a_batch_that_cannot_be_is_taken_for_none(windvane, sampled, tmp_path, batch):
    path = crafted(sampled, tmp_path / "x.png", batch=batch)
    result = windvane("sample", "--again", path, out=tmp_path / "new")
    assert result.exit_code in (0, 1) and "Traceback" not in result.output


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "9" * 100_000, "[1]", "{", ""])
def test_deep_or_broken_settings_are_refused(refused, tmp_path, text):
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt("windvane", text)
    Image.new("L", (8, 8)).save(tmp_path / "deep.png", pnginfo=info)
    assert "deep.png" in refused("sample", "--again", tmp_path / "deep.png", out=tmp_path / "new")


def huge(path, side=60_000):
    """A small PNG that says it has side x side pixels."""
    path.write_bytes(png_file(side, side, chunk(b"IDAT", zlib.compress(bytes(1000)))))
    return path


@pytest.mark.parametrize("side", [9_000, 60_000])
def test_a_huge_picture_as_a_reward_is_refused_before_it_is_read(refused, model, tmp_path, side):
    path = huge(tmp_path / "huge.png", side)
    begin = time.process_time()
    line = refused("search", model, reward=f"like:{path}", budget=100, out=tmp_path / "new")
    assert "huge.png" in line and time.process_time() - begin < 5
    assert "huge.png" in refused("sample", "--again", path, out=tmp_path / "new")
    assert "huge.png" in refused("steer", model, measure=f"inpaint:{path}", out=tmp_path / "new", n=1)


@pytest.mark.parametrize("name", ["samples.json", "config.yaml"])
def test_files_nested_too_deeply_are_named(refused, sampled, tmp_path, name):
    (tmp_path / "model").mkdir()
    (tmp_path / name).write_text("[" * 100_000 if name.endswith("json") else "a: " + "[" * 20_000)
    assert name in refused("evaluate", tmp_path)


def test_a_json_of_boxes_nested_too_deeply_is_named(refused, sampled, tmp_path):
    from windvane.cli.common.conditions.files import read_boxes

    (tmp_path / "deep.json").write_text(json.dumps([]) + "[" * 100_000)
    with pytest.raises(ValueError, match=r"deep\.json"):
        read_boxes(tmp_path / "deep.json", (8, 8))
