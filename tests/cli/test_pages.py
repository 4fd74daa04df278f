"""The shell blocks of two pages run as they stand, one after the other, on tiny data with tiny networks.

Only `--set` is added, for sizes and steps; what a line means is the page's business.
"""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.test_docs import ROOT, blocks
from windvane.cli import app

TINY = {
    "annotate": [
        "data.channels=1",
        "annotate.features=selfsup:3",
        "annotate.dense=restoration:3",
        "annotate.stability=2",
    ],
    "train": [
        "data.channels=1",
        "model.channels=[8,8]",
        "model.layers=1",
        "train.steps=2",
        "train.batch_size=4",
        "train.sample_every=0",
        "sample.steps=2",
    ],
    "sample": ["sample.steps=2"],
    "report": [],
}


def photos(folder, shapes):
    """Forty pictures in two folders, each with a bright thing; returns what COCO would say of them."""
    numbers, images, entries = np.random.default_rng(0), [], []
    for i in range(40):
        height, width = shapes[i % len(shapes)]
        levels = numbers.integers(0, 90, (height, width), dtype=np.uint8)
        x, y, wide, high = (int(v) for v in (width // 3, height // 4, width // 3, height // 2))
        levels[y : y + high, x : x + wide] += 120
        name = f"{'ab'[i % 2]}/{i:02d}.png"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(levels).save(folder / name)
        images.append({"id": i, "file_name": name, "width": width, "height": height})
        outline = [x, y, x + wide, y, x + wide, y + high, x, y + high]
        entry = {
            "image_id": i,
            "category_id": 1 + i % 2,
            "bbox": [x, y, wide, high],
            "segmentation": [outline],
        }
        entries.append({"id": i, "iscrowd": 0, **entry})
    categories = [{"id": 1, "name": "odd"}, {"id": 2, "name": "even"}]
    return {"images": images, "annotations": entries, "categories": categories}


def commands(page):
    """The page's command lines, in order."""
    for _, code in blocks(page, "sh"):
        for row in code.replace("\\\n", " ").splitlines():
            words = shlex.split(row, comments=True)
            if words:
                assert words[0] == "windvane", f"{page.name}: {row}"
                yield words[1:]


def run(page):
    """Run them in the current folder; returns how often each command came."""
    seen = []
    for words in commands(page):
        idle = "annotate.dense" if "--coco" in words else None  # refused beside boxes that are known
        tiny = [text for text in TINY[words[0]] if text.partition("=")[0] != idle]
        result = CliRunner().invoke(app, [*words, *(part for text in tiny for part in ("--set", text))])
        assert result.exit_code == 0, f"{shlex.join(words)}\n{result.output}"
        if "--out" in words:
            assert Path(words[words.index("--out") + 1]).exists()
        seen.append(words[0])
    return {name: seen.count(name) for name in TINY}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_from_a_folder_to_boxes_and_masks():
    page = ROOT / "docs" / "boxes_and_masks.md"
    truth = json.dumps(photos(Path("photos"), [(40, 52), (48, 36)]))
    for name in ("known.json", "true.json"):
        Path(name).write_text(truth, encoding="utf-8")
    Path("where.json").write_text(next(code for _, code in blocks(page, "json")), encoding="utf-8")
    Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4) % 6).save("drawn.png")
    Image.fromarray(np.full((50, 40, 3), 90, dtype=np.uint8)).save("one.png")
    assert run(page) == {"annotate": 6, "train": 2, "sample": 3, "report": 4}
    told = json.loads(Path("boxes/report.json").read_text(encoding="utf-8"))
    assert "corloc" in told["boxes"]["truth"] and told["audit"]["samples"]["images"] == 16
    assert json.loads(Path("masks/report.json").read_text(encoding="utf-8"))["audit"]["clusters"] == []
    assert "Guided samples" in Path("masks-run/report.html").read_text(encoding="utf-8")
    assert len(list(Path("boxes-samples").glob("0*.png"))) == 16


def test_choose_an_annotation():
    photos(Path("photos"), [(12, 12)])
    assert run(ROOT / "docs" / "choose_annotation.md") == {
        "annotate": 5,
        "train": 2,
        "sample": 1,
        "report": 1,
    }
    told = json.loads(Path("labels/report.json").read_text(encoding="utf-8"))
    assert told["k"] == 30 and told["audit"]["samples"]["images"] == 300
