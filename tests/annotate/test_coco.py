"""COCO-style files: what is written, that it comes back, and what is refused."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.annotate.stand_ins import noise_images
from windvane.annotate import BoxAnnotation, MaskAnnotation, Origin, boxes_from_coco, masks_from_coco, to_coco
from windvane.annotate.boxes.coco import from_run_lengths, run_lengths, write_coco

ORIGIN = Origin("drawn")
BOXES = BoxAnnotation(
    torch.tensor([[0, 0, 3, 2], [5, 1, 8, 6], [2, 2, 4, 5]]),
    owner=torch.tensor([0, 2, 0]),
    n=3,
    size=(6, 8),
    origin=ORIGIN,
)
MASK = torch.tensor([[0, 0, 2], [2, 0, 2]])


def test_run_lengths_go_down_the_columns_from_the_pixels_outside():
    inside = torch.tensor([[True, False, True], [True, False, False]])
    assert run_lengths(inside) == [0, 2, 2, 1, 1]
    assert run_lengths(~inside) == [2, 2, 1, 1]
    assert run_lengths(torch.zeros(2, 2, dtype=torch.bool)) == [4]
    assert run_lengths(torch.ones(2, 2, dtype=torch.bool)) == [0, 4]


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**36 - 1))
def test_run_lengths_round_trip(height, width, code):
    inside = torch.tensor([bool(code >> i & 1) for i in range(height * width)]).reshape(height, width)
    counts = run_lengths(inside)
    assert sum(counts) == height * width and sum(counts[1::2]) == int(inside.sum())
    assert all(count > 0 for count in counts[1:])
    assert torch.equal(from_run_lengths(counts, (height, width)), inside)


def test_boxes_are_written_as_coco_has_them():
    value = to_coco(BOXES, names=["a.png", "b.png", "c.png"])
    assert value["images"][1] == {"id": 1, "file_name": "b.png", "width": 8, "height": 6}
    second = value["annotations"][1]
    assert second["image_id"] == 2 and second["bbox"] == [5, 1, 3, 5] and second["area"] == 15
    assert [entry["id"] for entry in value["annotations"]] == [1, 2, 3]
    assert {entry["category_id"] for entry in value["annotations"]} == {c["id"] for c in value["categories"]}


def test_masks_are_written_as_coco_has_them():
    value = to_coco(MaskAnnotation(MASK[None], 3, origin=ORIGIN))
    assert [c["id"] for c in value["categories"]] == [1, 2, 3]
    first, second = value["annotations"]
    assert (first["category_id"], second["category_id"]) == (1, 3)
    assert second["segmentation"] == {"size": [2, 3], "counts": [1, 1, 2, 2]}
    assert second["bbox"] == [0, 0, 3, 2] and second["area"] == 3 and second["iscrowd"] == 1


def test_boxes_round_trip_by_order_and_by_name(tmp_path):
    write_coco(BOXES, tmp_path / "b.json")
    back = boxes_from_coco(tmp_path / "b.json")
    assert torch.equal(back.boxes, BOXES.boxes) and torch.equal(back.owner, BOXES.owner)
    assert (len(back), back.size, back.origin.source) == (3, (6, 8), "coco")
    data = noise_images(4, (1, 6, 8))
    data.names = ["c.png", "b.png", "x.png", "a.png"]
    named = boxes_from_coco(to_coco(BOXES, names=["a.png", "b.png", "c.png"]), data=data)
    assert [named.of(i).tolist() for i in range(4)] == [BOXES.of(i).tolist() for i in (2, 1)] + [
        [],
        BOXES.of(0).tolist(),
    ]
    assert named.origin.fingerprint == data.fingerprint


@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 6), st.integers(1, 6), st.integers(0, 10**6))
def test_masks_round_trip(n, k, height, width, seed):
    drawn = torch.randint(k, (n, height, width), generator=torch.Generator().manual_seed(seed))
    value = json.loads(json.dumps(to_coco(MaskAnnotation(drawn, k, origin=ORIGIN))))
    back = masks_from_coco(value)
    assert torch.equal(back.masks.long(), drawn) and back.k == k


def test_pixels_without_an_id_need_a_background():
    value = to_coco(MaskAnnotation(MASK[None], 3, origin=ORIGIN))
    value["annotations"] = value["annotations"][1:]
    with pytest.raises(ValueError, match="3 pixels have no id; give background="):
        masks_from_coco(value)
    assert torch.equal(masks_from_coco(value, background=1).masks[0], torch.where(MASK == 2, 2, 1))


def changed(path, to):
    value = to_coco(BOXES)
    place = value
    for key in path[:-1]:
        place = place[key]
    if to is None:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return value


@pytest.mark.parametrize(
    ("path", "to", "said"),
    [
        (["images", 0, "width"], 9, "one size"),
        (["images", 0, "id"], 1, "same id"),
        (["images"], [], "one size"),
        (["images", 0, "height"], None, "height"),
        (["annotations", 1, "image_id"], 7, "annotation 2 is of image 7"),
        (["annotations", 1, "bbox"], [5, 1, 4, 5], r"box 1, of image 2.*6 x 8"),
        (["annotations", 1, "bbox"], [5, 1, 0, 5], "box 1"),
        (["annotations", 1, "bbox"], [5, 1, 3], "four numbers"),
        (["annotations"], None, "annotations"),
    ],
)
def test_damaged_boxes_are_refused(path, to, said):
    with pytest.raises(ValueError, match=said):
        boxes_from_coco(changed(path, to))


@pytest.mark.parametrize(
    ("key", "to", "said"),
    [
        ("category_id", 9, "category 9"),
        ("segmentation", [[0, 0, 1, 1]], "polygons"),
        ("segmentation", {"size": [3, 2], "counts": [6]}, r"\[3, 2\], not \[2, 3\]"),
        ("segmentation", {"size": [2, 3], "counts": [5]}, "sum to 5"),
        ("segmentation", {"size": [2, 3], "counts": [0, 6]}, "have an id already"),
    ],
)
def test_damaged_masks_are_refused(key, to, said):
    value = to_coco(MaskAnnotation(MASK[None], 3, origin=ORIGIN))
    value["annotations"][1][key] = to
    with pytest.raises(ValueError, match=said):
        masks_from_coco(value)


def test_files_of_other_data_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"6 x 8 pixels, the data have\s+8 x 8"):
        boxes_from_coco(to_coco(BOXES), data=noise_images(3))
    with pytest.raises(ValueError, match="3 images"):
        boxes_from_coco(to_coco(BOXES), data=noise_images(4, (1, 6, 8)))
    with pytest.raises(ValueError, match="there is no file"):
        boxes_from_coco(tmp_path / "none.json")
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(ValueError, match="holds a list"):
        boxes_from_coco(tmp_path / "list.json")
    with pytest.raises(ValueError, match="2 names for 3"):
        to_coco(BOXES, names=["a", "b"])
