"""COCO-style files on the command line: photographs of several sizes, with the images held out by default."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from windvane.annotate import load_annotation, load_regions
from windvane.cli.common.conditions.requests import requests_for
from windvane.cli.common.conditions.vocabulary import KnownConditions
from windvane.cli.common.sections import SampleSection

SHAPES = [(48, 64), (60, 40), (50, 50)]


@pytest.fixture
def photos(tmp_path):
    """Thirty photographs with a bright rectangle each, and a COCO file about all of them."""
    numbers = np.random.default_rng(0)
    folder, images, entries = tmp_path / "photos", [], []
    folder.mkdir()
    for i in range(30):
        height, width = SHAPES[i % 3]
        left, top = (int(numbers.integers(side // 2 - 14, side // 2 - 6)) for side in (width, height))
        levels = numbers.integers(0, 60, (height, width, 3), dtype=np.uint8)
        levels[top : top + 18, left : left + 21] = 220
        Image.fromarray(levels).save(folder / f"{i:02d}.png")
        images.append({"id": 500 + i, "file_name": f"{i:02d}.png", "width": width, "height": height})
        corners = [left, top, left + 21, top, left + 21, top + 18, left, top + 18]
        entries.append(
            {
                "id": i,
                "image_id": 500 + i,
                "category_id": 3,
                "bbox": [left, top, 21, 18],
                "segmentation": [corners],
                "iscrowd": 0,
            }
        )
    truth = tmp_path / "truth.json"
    truth.write_text(
        json.dumps({"images": images, "annotations": entries, "categories": [{"id": 3, "name": "thing"}]})
    )
    return folder, truth


def bright(folder, name, side=16):
    """What `--size 16` shows of a photograph: where it is bright."""
    with Image.open(folder / name) as opened:
        cut = min(opened.size)
        left, top = (opened.width - cut) // 2, (opened.height - cut) // 2
        square = opened.convert("L").crop((left, top, left + cut, top + cut)).resize((side, side))
    return torch.from_numpy(np.array(square) > 128)


def test_boxes_of_photographs_are_imported_exported_and_are_the_truth(windvane, photos, tmp_path):
    folder, truth = photos
    options = {"size": 16, "k": 3, "features": "pixels"}
    found = windvane("annotate", folder, "--boxes", coco=truth, out=tmp_path / "ann", **options)
    assert found.exit_code == 0, found.output
    assert "27 boxes in 27 images by coco" in found.output
    assert "left out of the file: 3 other images" in found.output
    regions = load_regions(tmp_path / "ann")
    names = [name for name in sorted(path.name for path in folder.iterdir())]
    shown = torch.stack([bright(folder, name) for name in names])
    inside = regions.condition().signals["layout"][:, 0] > 0
    # Some 27 of the 30 photographs: each box has its own picture, the one that it fits best.
    overlaps = (inside[:, None] & shown).sum((2, 3)) / (inside[:, None] | shown).sum((2, 3))
    assert float(overlaps.max(dim=1).values.min()) > 0.75
    page = windvane("report", tmp_path / "ann", truth=truth)
    assert page.exit_code == 0, page.output
    told = json.loads((tmp_path / "ann" / "report.json").read_text(encoding="utf-8"))
    assert told["boxes"]["truth"]["corloc"] == 1 and told["boxes"]["truth"]["images"] == 27
    assert told["boxes"]["truth"]["mean_iou"] == 1


def test_what_was_exported_comes_back_with_its_clusters(windvane, photos, tmp_path):
    folder, _ = photos
    options = {"size": 16, "features": "pixels", "dense": "patches:3"}
    file = tmp_path / "found.json"
    made = windvane("annotate", folder, "--boxes", k=4, export=file, out=tmp_path / "one", **options)
    assert made.exit_code == 0, made.output
    value = json.loads(file.read_text(encoding="utf-8"))
    assert {(image["height"], image["width"]) for image in value["images"]} == set(SHAPES)
    plainly = {name: value for name, value in options.items() if name != "dense"}
    again = windvane("annotate", folder, "--boxes", k=2, coco=file, out=tmp_path / "two", **plainly)
    assert again.exit_code == 0, again.output
    assert f"4 ids of 27 images: clusters in {file}\n" in again.output
    one, two = (load_regions(tmp_path / name) for name in ("one", "two"))
    assert torch.equal(one.boxes, two.boxes) and torch.equal(one.ids, two.ids) and two.k == 4
    assert torch.equal(load_annotation(tmp_path / "two" / "clusters").ids, one.ids)
    # Boxes of a file may be asked for at any size of the model, with the clusters beside them.
    asked = KnownConditions(4, "boxes", [1] * 4, layout=1, size=(16, 16))
    told = requests_for(SampleSection(boxes=str(file)), asked, [7, 8], model=None)
    assert [told.value(i) for i in (0, 1)] == [
        {"boxes": one.of(i).tolist(), "id": int(one.ids[i])} for i in (0, 1)
    ]
    plain = requests_for(
        SampleSection(boxes=str(file)), KnownConditions(0, "boxes", layout=1, size=(16, 16)), [7], model=None
    )
    assert "vector" not in plain.condition().signals
    at_size = windvane(
        "annotate", folder, "--boxes", k=4, export=file, out=tmp_path / "one", export_pixels="data", **options
    )
    assert at_size.exit_code == 0, at_size.output
    value = json.loads(file.read_text(encoding="utf-8"))
    assert {(image["height"], image["width"]) for image in value["images"]} == {(16, 16)}


def test_masks_from_polygons_and_back(windvane, refused, photos, tmp_path):
    folder, truth = photos
    file = tmp_path / "found.json"
    found = windvane("annotate", folder, masks=2, size=16, coco=truth, export=file, out=tmp_path / "one")
    assert found.exit_code == 0, found.output
    again = windvane("annotate", folder, masks=2, size=16, coco=file, out=tmp_path / "two")
    assert again.exit_code == 0, again.output
    one, two = (load_regions(tmp_path / name) for name in ("one", "two"))
    assert one.k == 2 and torch.equal(one.masks, two.masks)
    # The name of the category is told, kept and written again; the rest of the picture has none.
    assert re.search(r"2 ids, shares of pixels thing \d+%, \d+%", found.output)
    assert json.loads(file.read_text(encoding="utf-8"))["categories"] == [
        {"id": 1, "name": "thing"},
        {"id": 2, "name": "cluster 1"},
    ]
    assert 0.05 < float((one.masks == 0).double().mean()) < 0.25, "the object has id 0, the rest id 1"
    said = refused("annotate", folder, masks=5, size=16, coco=truth, out=tmp_path / "no")
    assert "has masks of 2 ids: give --masks 2" in said
    page = windvane("report", tmp_path / "one", truth=truth)
    assert page.exit_code == 0, page.output
    told = json.loads((tmp_path / "one" / "report.json").read_text(encoding="utf-8"))
    assert told["masks"]["truth"]["mean_iou"] == 1 and told["masks"]["names"] == ["thing"]
    assert "id 0, thing" in (tmp_path / "one" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ({"category_id": 77}, "annotations of unknown categories"),
        ({"segmentation": {"size": [10**7, 10**7], "counts": "abc"}}, "masks of another size"),
        ({"segmentation": [[1, 1, 5, 1, 5, 1e400]]}, "unreadable polygons"),
        ({"segmentation": []}, "empty masks"),
    ],
)
def test_a_file_without_a_usable_mask_makes_no_background_of_all_images(
    windvane, photos, tmp_path, damage, said
):
    """Boxes were refused so, masks gave every pixel the id of those without any, and went on."""
    folder, truth = photos
    value = json.loads(truth.read_text())
    value["annotations"] = [{**entry, **damage} for entry in value["annotations"]]
    truth.write_text(json.dumps(value))
    made = windvane("annotate", folder, masks=2, size=16, coco=truth, out=tmp_path / "ann")
    assert made.exit_code == 2, made.output
    line = made.stderr.splitlines()[-1]
    assert "has no mask that lies in the data's images; left out of the file: " in line and said in line
    assert not (tmp_path / "ann").exists()


def test_a_truth_without_effect_is_refused(windvane, refused, photos, tmp_path):
    folder, truth = photos
    options = {"size": 16, "features": "pixels", "k": 3}
    for words in ([], ["--boxes", "--coco", truth], ["--masks", "2", "--coco", truth]):
        out = tmp_path / "-".join(["ann", *map(str, words[:1])])
        made = windvane("annotate", folder, *words, "--set", "annotate.stability=0", out=out, **options)
        assert made.exit_code == 0, made.output
    before = {page: page.read_bytes() for page in tmp_path.glob("*/report.html")}
    assert "has neither, only ids" in refused("report", tmp_path / "ann", truth=truth)
    value = json.loads(truth.read_text())
    crowds = [{**entry, "iscrowd": 1} for entry in value["annotations"]]
    truth.write_text(json.dumps({**value, "annotations": crowds}))
    assert "has no box in the images" in refused("report", tmp_path / "ann---boxes", truth=truth)
    truth.write_text(json.dumps({**value, "annotations": []}))
    assert "has no mask in the images" in refused("report", tmp_path / "ann---masks", truth=truth)
    assert {page: page.read_bytes() for page in tmp_path.glob("*/report.html")} == before


def test_how_to_find_is_no_question_beside_a_file(refused, photos, tmp_path):
    folder, truth = photos
    out = tmp_path / "no"
    for words in (
        ["--boxes", "--dense", "patches:3"],
        ["--boxes", "--method", "ncut"],
        ["--masks", "2", "--method", "clusters"],
        ["--masks", "2", "--set", "annotate.segmenter=stego"],
    ):
        said = refused("annotate", folder, *words, size=16, coco=truth, out=out)
        assert "would have no effect: --coco takes the" in said
    said = refused("annotate", folder, "--boxes", size=16, export=folder, out=out)
    assert f"--export is a file such as boxes.json, {folder} is a folder" in said and not out.exists()
    said = refused("annotate", folder, "--set", f"annotate.coco={truth}", size=16, out=out)
    assert "annotate: coco is a file of boxes or masks" in said


def test_files_that_do_not_fit_are_named(refused, photos, tmp_path):
    folder, truth = photos
    value = json.loads(truth.read_text())
    options = {"size": 16, "k": 3, "features": "pixels", "out": tmp_path / "ann", "coco": truth}
    for missing in range(5):  # one of them is among the 27
        value["images"].pop(missing)
    value["annotations"] = [entry for entry in value["annotations"] if entry["image_id"] >= 510]
    truth.write_text(json.dumps(value))
    said = refused("annotate", folder, "--boxes", **options)
    assert f"{truth} lists 25 images" in said and "are not among them, first" in said
    truth.write_text("[]")
    assert f"{truth} is no usable COCO file: it holds a list" in refused(
        "annotate", folder, "--boxes", **options
    )
    assert "is original or data" in refused("annotate", folder, "--boxes", **options, export_pixels="half")
