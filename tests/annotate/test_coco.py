"""COCO-style files: what is written, that it comes back, and what is refused."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.annotate.stand_ins import noise_images
from windvane.annotate import BoxAnnotation, MaskAnnotation, Origin, boxes_from_coco, masks_from_coco, to_coco
from windvane.annotate.regions.boxes.coco_export import write_coco
from windvane.annotate.regions.boxes.outlines import filled, from_run_lengths, looked_up, run_lengths

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
    assert second["bbox"] == [0, 0, 3, 2] and second["area"] == 3


def test_neither_boxes_nor_masks_are_crowds():
    """COCO's evaluation ignores crowds, loaders drop them, and true boxes here are none of them either."""
    masks = to_coco(MaskAnnotation(MASK[None], 3, origin=ORIGIN))
    assert {entry["iscrowd"] for entry in masks["annotations"] + to_coco(BOXES)["annotations"]} == {0}
    boxes = boxes_from_coco(masks, crowds=False)
    assert boxes.boxes.tolist() == [[0, 0, 2, 2], [0, 0, 3, 2]]


def test_boxes_round_trip_by_order_and_by_name(tmp_path):
    write_coco(BOXES, tmp_path / "b.json")
    back = boxes_from_coco(tmp_path / "b.json")
    assert torch.equal(back.boxes, BOXES.boxes) and torch.equal(back.owner, BOXES.owner)
    assert (len(back), back.size, back.origin.source) == (3, (6, 8), "coco")
    data = noise_images(2, (1, 6, 8))
    data.names = ["c.png", "a.png"]
    named = boxes_from_coco(to_coco(BOXES, names=["a.png", "b.png", "c.png"]), data=data)
    assert [named.of(i).tolist() for i in range(2)] == [BOXES.of(i).tolist() for i in (2, 0)]
    assert named.origin.fingerprint == data.fingerprint
    assert named.origin.settings == {"other_images": 1}, "b.png is not in the data"


@pytest.mark.parametrize(
    ("names", "listed"),
    [
        (["train/a.png", "train/b.png", "train/c.png"], ["a.png", "b.png", "c.png"]),
        (["a.png", "b.png", "c.png"], ["/there/a.png", "/there/b.png", "/there/c.png"]),
    ],
)
def test_names_may_differ_in_their_folders(names, listed):
    data = noise_images(3, (1, 6, 8))
    data.names = names[::-1]
    named = boxes_from_coco(to_coco(BOXES, names=listed), data=data)
    assert [box.tolist() for box in named.each()] == [BOXES.of(i).tolist() for i in (2, 1, 0)]
    data.names = ["one/a.png", "two/a.png", "one/b.png"]
    with pytest.raises(ValueError, match="not unique"):
        boxes_from_coco(to_coco(BOXES, names=["a.png", "b.png", "x.png"]), data=data)


def test_an_image_that_the_file_has_not_is_named():
    data = noise_images(3, (1, 6, 8))
    data.names = ["a.png", "new.png", "c.png"]
    with pytest.raises(ValueError, match="lists 3 images, and 1 of the data's 3 are not.*first 'new.png'"):
        boxes_from_coco(to_coco(BOXES, names=["a.png", "b.png", "c.png"]), data=data)


def test_a_part_of_unnamed_data_keeps_its_place_in_the_whole():
    data = noise_images(2, (1, 6, 8))
    data.names = ["2", "0"]
    by_place = boxes_from_coco(to_coco(BOXES, names=["a.png", "b.png", "c.png"]), data=data)
    assert [box.tolist() for box in by_place.each()] == [BOXES.of(i).tolist() for i in (2, 0)]


def test_clusters_beside_the_boxes_are_written_and_read():
    boxes = BOXES.with_ids(torch.tensor([4, 0, 2]), 6)
    value = json.loads(json.dumps(to_coco(boxes)))
    assert [image["cluster"] for image in value["images"]] == [4, 0, 2]
    assert [entry["category_id"] for entry in value["annotations"]] == [5, 3, 5]
    assert value["categories"][5] == {"id": 6, "name": "cluster 5"}
    back = boxes_from_coco(value)
    assert back.k == 6 and torch.equal(back.ids, boxes.ids)
    assert boxes_from_coco(to_coco(BOXES)).ids is None
    for wrong in (6, None, True):
        value["images"][1]["cluster"] = wrong
        with pytest.raises(ValueError, match="cluster from 0 to 5"):
            boxes_from_coco(value)


def test_crowds_are_no_boxes_where_none_are_wanted():
    value = to_coco(BOXES)
    value["annotations"][0]["iscrowd"] = 1
    assert boxes_from_coco(value, crowds=False).boxes.tolist() == BOXES.boxes[1:].tolist()
    assert len(boxes_from_coco(value).boxes) == 3


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**36 - 1), st.integers(0, 10**6))
def test_run_lengths_are_looked_up_at_any_pixels(height, width, code, seed):
    inside = torch.tensor([bool(code >> i & 1) for i in range(height * width)]).reshape(height, width)
    numbers = torch.Generator().manual_seed(seed)
    lines, columns = (torch.randint(-1, side + 1, (4,), generator=numbers) for side in (height, width))
    seen = looked_up(run_lengths(inside), (height, width), lines, columns)
    padded = torch.nn.functional.pad(inside, (1, 1, 1, 1))
    assert torch.equal(seen, padded[lines + 1][:, columns + 1])


def centres(height, width):
    return tuple(torch.arange(side, dtype=torch.float64) + 0.5 for side in (height, width))


def test_polygons_are_filled_under_the_centres():
    made = filled([[1, 1, 4, 1, 4, 3, 1, 3]], *centres(4, 5))
    assert made.int().tolist() == [[0, 0, 0, 0, 0], [0, 1, 1, 1, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0]]
    triangle = filled([[0, 0, 4, 0, 0, 4]], *centres(4, 4))
    assert triangle.sum(dim=1).tolist() == [3, 2, 1, 0], "centres on the long side belong to the right of it"
    both = filled([[0, 0, 1, 0, 1, 1, 0, 1], [2, 0, 3, 0, 3, 1, 2, 1]], *centres(1, 3))
    assert both.tolist() == [[True, False, True]]
    for wrong in ([0, 0, 1, 1], [0, 0, 1, 0, 1], [0, 0, 1, 0, float("nan"), 1]):
        with pytest.raises(ValueError, match="three corners"):
            filled([wrong], *centres(2, 2))


@given(st.lists(st.tuples(st.floats(0, 7), st.floats(0, 5)), min_size=2, max_size=2), st.integers(1, 9))
def test_polygons_that_share_a_side_tile_the_picture(cut, rows):
    """A quadrilateral cut in two along any line: each centre is in exactly one half."""
    (x0, _), (x1, _) = cut
    left, right = [0, 0, x0, 0, x1, 5, 0, 5], [x0, 0, 7, 0, 7, 5, x1, 5]
    y, x = (torch.linspace(0.25, side - 0.25, rows, dtype=torch.float64) for side in (5, 7))
    one, other = filled([left], y, x), filled([right], y, x)
    assert bool((one ^ other).all())


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
        (["images", 0, "id"], [], "unhashable"),
        (["images"], [], "at least one pixel"),
        (["images", 0, "width"], 0, "at least one pixel"),
        (["images", 0, "height"], None, "need height and width"),
        (["images", 0], "a.png", "no usable COCO file"),
        (["annotations", 1, "image_id"], 7, "annotation 2 is of image 7"),
        (["annotations", 1, "image_id"], [], "annotation 2 is of image"),
        (["annotations", 1, "bbox"], [5, 1, 4, 5], r"annotation 2 .* leaves its image of 6 x 8"),
        (["annotations", 1, "bbox"], [5, 1, 0, 5], "annotation 2"),
        (["annotations", 1, "bbox"], [5, 1, float("nan"), 5], "annotation 2"),
        (["annotations", 1, "bbox"], [5, 1, 3], "four numbers"),
        (["annotations"], None, "annotations"),
    ],
)
def test_damaged_boxes_are_refused(path, to, said):
    with pytest.raises(ValueError, match=said):
        boxes_from_coco(changed(path, to), strict=True)


@pytest.mark.parametrize(
    ("key", "to", "said"),
    [
        ("category_id", 9, "category 9"),
        ("category_id", [1], r"category \[1\], not listed"),
        ("segmentation", [[0, 0, 1, 1]], "three corners"),
        ("segmentation", [[0, 0, 4, 0, 0, 2]], "polygon leaves the image of 2 x 3"),
        ("segmentation", [], "neither run lengths nor polygons"),
        ("segmentation", {"size": [2, 3], "counts": "0!"}, "compressed run lengths are damaged"),
        ("segmentation", {"size": [3, 2], "counts": [6]}, r"\[3, 2\], not \[2, 3\]"),
        ("segmentation", {"size": [2, 3], "counts": [5]}, "sum to 5"),
        ("segmentation", {"size": [2, 3], "counts": [0, 6]}, "have an id already"),
    ],
)
def test_damaged_masks_are_refused(key, to, said):
    value = to_coco(MaskAnnotation(MASK[None], 3, origin=ORIGIN))
    value["annotations"][1][key] = to
    with pytest.raises(ValueError, match=said):
        masks_from_coco(value, background=0, overlap="refuse", strict=True)


def test_files_of_other_data_are_refused(tmp_path):
    with pytest.raises(ValueError, match="3 images"):
        boxes_from_coco(to_coco(BOXES), data=noise_images(4, (1, 6, 8)))
    with pytest.raises(ValueError, match="there is no file"):
        boxes_from_coco(tmp_path / "none.json")
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(ValueError, match="holds a list"):
        boxes_from_coco(tmp_path / "list.json")
    with pytest.raises(ValueError, match="2 names and 3 sizes for 3"):
        to_coco(BOXES, names=["a", "b"])
