"""`windvane report` of an annotation: what counts as true, and what a page takes from the last one."""

import json

import numpy as np
import torch

from windvane.annotate import BoxAnnotation, MaskAnnotation, Origin
from windvane.data import from_folder
from windvane.pictures import save_png, to_picture


def told(windvane, *words, **options):
    made = windvane("report", *words, **options)
    assert made.exit_code == 0, made.output
    return json.loads((words[0] / "report.json").read_text(encoding="utf-8"))


def test_crowds_of_a_file_are_no_true_boxes(windvane, photos, tmp_path):
    """As in COCO's evaluation: a found box that fits a crowd alone has found nothing."""
    data = from_folder(photos, 8, progress=False)
    found = torch.tensor([[0, 0, 4, 4]]).repeat(12, 1)
    BoxAnnotation(found, size=(8, 8), origin=Origin("drawn", fingerprint=data.fingerprint)).save(
        tmp_path / "b"
    )
    entries = [
        {"id": 2 * i + crowd, "image_id": i, "category_id": 1, "bbox": box, "iscrowd": crowd}
        for i in range(12)
        for crowd, box in enumerate([[0, 0, 4, 4] if i < 9 else [4, 4, 4, 4], [0, 0, 4, 4]])
    ]
    images = [{"id": i, "file_name": name, "width": 8, "height": 8} for i, name in enumerate(data.names)]
    value = {"images": images, "annotations": entries, "categories": [{"id": 1, "name": "thing"}]}
    (tmp_path / "true.json").write_text(json.dumps(value))
    known = told(windvane, tmp_path / "b", data=photos, truth=tmp_path / "true.json")["boxes"]["truth"]
    assert known["images"] == 12 and known["corloc"] == 0.75


def test_distances_of_samples_are_those_of_one_page(windvane, photos, tmp_path):
    """The next page, without samples, must not keep them as its own."""
    data = from_folder(photos, 8, progress=False)
    masks = torch.arange(12)[:, None, None].expand(12, 8, 8) % 2
    origin = Origin("drawn", fingerprint=data.fingerprint)
    MaskAnnotation(masks.contiguous(), 2, origin=origin).save(tmp_path / "masks")
    for seed in range(4):
        picture = to_picture(np.full((3, 8, 8), 40 * seed, dtype=np.uint8))
        save_png(picture, tmp_path / "made" / f"{seed:08d}.png", {"seed": seed, "condition": "a mask"})
    audited = told(windvane, tmp_path / "masks", data=photos, audit=tmp_path / "made")
    assert audited["audit"]["samples"]["images"] == 4
    again = told(windvane, tmp_path / "masks", data=photos)
    assert "audit" not in again and again["masks"] == audited["masks"]
