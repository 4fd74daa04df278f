"""COCO files as the world has them: an entry that nothing can be made of costs that entry, and is counted."""

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from windvane.annotate import boxes_from_coco, masks_from_coco
from windvane.annotate.regions.boxes.outlines import decompressed, run_lengths

#: `pycocotools.mask.encode` of a 7 x 9 mask whose rows 2 to 4 are set in columns 3 to 6.
COMPRESSED = "g03400000<"


def value(*entries, **more):
    return {
        "images": [{"id": 1, "file_name": "a.png", "width": 9, "height": 7}],
        "annotations": [{"id": i, "image_id": 1, **entry} for i, entry in enumerate(entries, 1)],
        "categories": [{"id": 4, "name": "cat"}, {"id": 9, "name": "dog"}],
        **more,
    }


def left(annotation):
    return {name: count for name, count in annotation.origin.settings.items() if name != "names"}


GOOD = {"bbox": [1, 1, 3, 2], "category_id": 4}


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        ({"bbox": [2, 3, 4, 0]}, "boxes_of_no_area"),
        ({"bbox": [2, 3, 0, 4]}, "boxes_of_no_area"),
        ({"bbox": [2, 3, -1, 4]}, "boxes_of_no_area"),
        ({"bbox": [9, 0, 2, 2]}, "boxes_outside_of_their_image"),
        ({"bbox": [-5, 0, 2, 2]}, "boxes_outside_of_their_image"),
        ({"bbox": [math.nan, 0, 2, 2]}, "unreadable_boxes"),
        ({"bbox": [0, 0, math.inf, 2]}, "unreadable_boxes"),
        ({"bbox": [0, 0, 10**400, 2]}, "unreadable_boxes"),
        ({"bbox": [0, 0, 2]}, "unreadable_boxes"),
        ({"bbox": []}, "unreadable_boxes"),
        ({"bbox": None}, "unreadable_boxes"),
        ({}, "unreadable_boxes"),
        ({"bbox": [0, 0, 1, 1], "image_id": 77}, "annotations_of_unknown_images"),
        ({"bbox": [0, 0, 1, 1], "image_id": None}, "annotations_of_unknown_images"),
        ({"bbox": [0, 0, 1, 1], "image_id": [1]}, "annotations_of_unknown_images"),
    ],
)
def test_a_box_that_is_none_is_left_out_and_counted(entry, kind):
    found = boxes_from_coco(value(GOOD, entry, GOOD))
    assert found.boxes.tolist() == [[1, 1, 4, 3]] * 2 and left(found) == {kind: 1}
    with pytest.raises(ValueError, match="annotation 2"):
        boxes_from_coco(value(GOOD, entry, GOOD), strict=True)


def test_entries_that_are_no_objects_are_counted_too():
    whole = value(GOOD)
    whole["annotations"] += [None, 7, "box"]
    assert left(boxes_from_coco(whole)) == {"annotations_of_unknown_images": 3}


@pytest.mark.parametrize(
    ("bbox", "pixels"),
    [
        ([6, 1, 4, 2], [6, 1, 9, 3]),
        ([-1, -1, 3, 3], [0, 0, 2, 2]),
        ([0, 0, 9, 8], [0, 0, 9, 7]),
        ([-100, -100, 900, 900], [0, 0, 9, 7]),
    ],
)
def test_a_box_that_leaves_its_image_is_clipped_and_counted(bbox, pixels):
    found = boxes_from_coco(value({"bbox": bbox}))
    assert found.boxes.tolist() == [pixels] and left(found) == {"clipped_boxes": 1}
    assert not left(boxes_from_coco(value({"bbox": [0, 0, 9.4, 7]}))), "rounded edges are no news"


def test_ids_are_the_same_as_numbers_and_as_text():
    whole = value({**GOOD, "image_id": "1"}, {**GOOD, "image_id": 1.0}, GOOD)
    whole["images"][0]["id"] = "1"
    assert len(boxes_from_coco(whole).boxes) == 3
    names = value({**GOOD, "image_id": "x_1"})
    names["images"][0]["id"] = "x_1"
    assert len(boxes_from_coco(names).boxes) == 1


def test_images_without_an_id_or_a_file_have_no_annotations():
    whole = value(GOOD)
    whole["images"] += [{"width": 9, "height": 7}, {"id": 5, "width": 9, "height": 7, "file_name": None}]
    found = boxes_from_coco(whole)
    assert found.n == 3 and found.owner.tolist() == [0]


@pytest.mark.parametrize(("flag", "taken"), [(1, 1), ("1", 1), (True, 1), (0, 2), ("0", 2), (None, 2)])
def test_crowds_are_flagged_in_several_ways(flag, taken):
    assert len(boxes_from_coco(value(GOOD, {**GOOD, "iscrowd": flag}), crowds=False).boxes) == taken


SQUARE = {"category_id": 4, "segmentation": [[1, 1, 4, 1, 4, 3, 1, 3]]}


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        ({"category_id": 9, "segmentation": []}, "empty_masks"),
        ({"category_id": 9, "segmentation": None}, "empty_masks"),
        ({"category_id": 9}, "empty_masks"),
        ({"category_id": 9, "segmentation": "abc"}, "empty_masks"),
        ({"category_id": 9, "segmentation": {"size": [7, 9], "counts": [3]}}, "unreadable_masks"),
        ({"category_id": 9, "segmentation": {"size": [7, 9], "counts": None}}, "unreadable_masks"),
        ({"category_id": 9, "segmentation": {"size": [7, 9], "counts": "\x7f"}}, "unreadable_masks"),
        ({"category_id": 9, "segmentation": {"size": [7, 9], "counts": [-1, 64]}}, "unreadable_masks"),
        (
            {"category_id": 9, "segmentation": {"size": [9, 7], "counts": [63]}},
            "masks_of_another_size_than_their_image",
        ),
        (
            {"category_id": 9, "segmentation": {"counts": [63]}},
            "masks_of_another_size_than_their_image",
        ),
        ({**SQUARE, "category_id": 5}, "annotations_of_unknown_categories"),
        ({**SQUARE, "category_id": None}, "annotations_of_unknown_categories"),
        ({**SQUARE, "image_id": 3}, "annotations_of_unknown_images"),
    ],
)
def test_a_mask_that_is_none_is_left_out_and_counted(entry, kind):
    found = masks_from_coco(value(SQUARE, entry), background="next")
    alone = masks_from_coco(value(SQUARE), background="next")
    assert torch.equal(found.masks, alone.masks) and left(found) == {kind: 1}
    with pytest.raises(ValueError, match="annotation 2"):
        masks_from_coco(value(SQUARE, entry), background="next", strict=True)


@pytest.mark.parametrize(
    ("polygon", "kind"),
    [
        ([0, 0, 5, 5], "polygons_of_fewer_than_three_corners"),
        ([0, 0, 5, 5, 8, 6, 1], "unreadable_polygons"),
        ([0, 0, math.nan, 5, 8, 6], "unreadable_polygons"),
        ([0, 0, "x", 5, 8, 6], "unreadable_polygons"),
        ([0, 2, 3, 2, 6, 2], "polygons_of_no_area"),
        ([0, 0, 3, 3, 6, 6, 1, 1], "polygons_of_no_area"),
    ],
)
def test_a_polygon_that_is_none_costs_itself_only(polygon, kind):
    alone = masks_from_coco(value(SQUARE), background="next")
    both = {**SQUARE, "segmentation": [polygon, *SQUARE["segmentation"]]}
    found = masks_from_coco(value(both), background="next")
    assert torch.equal(found.masks, alone.masks) and left(found) == {kind: 1}
    only = masks_from_coco(value(SQUARE, {**SQUARE, "segmentation": [polygon]}), background="next")
    assert torch.equal(only.masks, alone.masks) and left(only) == {kind: 1, "empty_masks": 1}


def test_one_polygon_may_be_written_without_its_list_and_beside_run_lengths():
    alone = masks_from_coco(value(SQUARE), background="next").masks
    flat = masks_from_coco(value({**SQUARE, "segmentation": SQUARE["segmentation"][0]}), background="next")
    assert torch.equal(flat.masks, alone)
    whole = [SQUARE["segmentation"][0], {"size": [7, 9], "counts": COMPRESSED}]
    mixed = masks_from_coco(value({**SQUARE, "segmentation": whole}), background="next").masks
    assert torch.equal(mixed == 0, (alone == 0) | (expected() == 1))


def expected():
    mask = torch.zeros(1, 7, 9, dtype=torch.uint8)
    mask[0, 2:5, 3:7] = 1
    return mask


def test_polygons_beyond_the_edge_are_clipped_and_counted():
    found = masks_from_coco(value({**SQUARE, "segmentation": [[-2, -2, 11, -2, 11, 3, -2, 3]]}), background=1)
    assert (found.masks[0, :3] == 0).all() and (found.masks[0, 3:] == 1).all()
    assert left(found) == {"clipped_polygons": 1}


def compressed(runs):
    """The reference tools' way of writing, turned round."""
    text = ""
    for i, run in enumerate(runs):
        number = run - (runs[i - 2] if i > 2 else 0)
        more = True
        while more:
            low = number & 31
            number >>= 5
            more = number != -1 if low & 16 else number != 0
            text += chr(48 + (low | (32 if more else 0)))
    return text


@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 40), st.sampled_from([0.02, 0.5, 0.98]))
def test_compressed_run_lengths_are_those_of_the_reference_tools(seed, height, width, share):
    mask = torch.rand(height, width, generator=torch.Generator().manual_seed(seed)) < share
    runs = run_lengths(mask)
    assert decompressed(compressed(runs)) == runs == decompressed(compressed(runs).encode())


def test_masks_of_compressed_run_lengths_and_of_float_categories():
    entry = {"category_id": 9.0, "iscrowd": 1, "segmentation": {"size": [7, 9], "counts": COMPRESSED}}
    found = masks_from_coco(value(entry), background=0)
    assert torch.equal(found.masks, expected()) and not left(found)
    loose = {"category_id": "9", "segmentation": {"size": [7.0, 9.0], "counts": [float(v) for v in (23,)]}}
    runs = decompressed(COMPRESSED)
    loose["segmentation"]["counts"] = [float(run) for run in runs]
    assert torch.equal(masks_from_coco(value(loose), background=0).masks, expected())


def test_files_that_list_no_categories_have_those_of_their_masks():
    found = masks_from_coco(value(SQUARE, categories=[]), background="next")
    assert found.k == 2 and found.origin.settings["names"] == ["4"]


LARGE = {"category_id": 4, "segmentation": [[0, 0, 9, 0, 9, 7, 0, 7]]}
SMALL = {"category_id": 9, "segmentation": [[2, 2, 5, 2, 5, 5, 2, 5]]}


@pytest.mark.parametrize("order", [(LARGE, SMALL), (SMALL, LARGE)])
def test_of_overlapping_masks_the_smaller_or_the_later_is_on_top(order):
    inner = (slice(0, 1), slice(2, 5), slice(2, 5))
    smaller = masks_from_coco(value(*order))
    assert (smaller.masks[inner] == 1).all() and int((smaller.masks == 1).sum()) == 9
    assert left(smaller) == {"overlapping_masks": 1}
    later = masks_from_coco(value(*order), background="next", overlap="later")
    assert (later.masks[inner] == (1 if order[1] is SMALL else 0)).all()
    with pytest.raises(ValueError, match="annotation 2 covers 9 pixels that have an id already"):
        masks_from_coco(value(*order), overlap="refuse")
    with pytest.raises(ValueError, match="known: smaller, later, refuse"):
        masks_from_coco(value(*order), overlap="under")


def test_json_that_is_nested_too_deeply_is_refused(tmp_path):
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="nested too deeply"):
        boxes_from_coco(tmp_path / "deep.json")
    (tmp_path / "good.json").write_text(json.dumps(value(GOOD)))
    assert len(boxes_from_coco(tmp_path / "good.json").boxes) == 1
