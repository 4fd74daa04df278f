"""COCO files about the pictures of a folder: other sizes than the data's, parts of the images, and back."""

import numpy as np
import pytest
import torch
from PIL import Image

from windvane.annotate import (
    BoxAnnotation,
    MaskAnnotation,
    Origin,
    boxes_from_coco,
    masks_from_coco,
    original_sizes,
    to_coco,
)
from windvane.data import ImageData, from_folder, train_and_held_out

#: (height, width), and a bright rectangle (left, top, right, bottom) that survives the crop to a square.
PICTURES = [((48, 64), (20, 10, 44, 40)), ((60, 40), (6, 22, 30, 46)), ((50, 50), (5, 30, 45, 45))]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Twelve pictures of three shapes, and what COCO would say of them: a box and a polygon each."""
    folder = tmp_path_factory.mktemp("photos")
    images, entries, grain = [], [], np.random.default_rng(0)
    for i in range(12):
        (height, width), (left, top, right, bottom) = PICTURES[i % 3]
        # No two may be near-duplicates, which would lie on one side of the split.
        levels = np.kron(grain.integers(0, 90, (6, 6)), np.ones((10, 11)))[:height, :width].astype(np.uint8)
        levels[top:bottom, left:right] = 220
        Image.fromarray(levels).save(folder / f"{i:02d}.png")
        images.append({"id": 100 + i, "file_name": f"{i:02d}.png", "width": width, "height": height})
        corners = [left, top, right, top, right, bottom, left, bottom]
        box = {"bbox": [left, top, right - left, bottom - top], "segmentation": [corners]}
        entries.append({"id": i, "image_id": 100 + i, "category_id": 7, "iscrowd": 0, **box})
    return folder, {"images": images, "annotations": entries, "categories": [{"id": 7, "name": "thing"}]}


def opened(folder, size=16):
    return from_folder(folder, size, channels=1, progress=False)


def test_sizes_that_the_file_does_not_tell_are_those_of_the_pictures(photos):
    folder, value = photos
    bare = [{"id": image["id"], "file_name": image["file_name"]} for image in value["images"]]
    for data in (opened(folder), train_and_held_out(opened(folder), 0.25, 0)[0]):
        told, untold = (
            boxes_from_coco({**value, "images": images}, data=data) for images in (value["images"], bare)
        )
        assert torch.equal(told.boxes, untold.boxes) and torch.equal(told.owner, untold.owner)
    array = ImageData(opened(folder).batch(slice(None)).mul(127).add(128).byte().numpy())
    with pytest.raises(ValueError, match="its images need height and width"):
        boxes_from_coco({**value, "images": bare}, data=array)


def test_boxes_and_polygons_of_photographs_lie_on_what_the_loader_shows(photos):
    folder, value = photos
    train, held_out = train_and_held_out(opened(folder), 0.25, 0)
    assert (len(train), len(held_out)) == (9, 3)
    boxes = boxes_from_coco(value, data=train)
    masks = masks_from_coco(value, data=train, background="next")
    assert boxes.origin.settings == {"other_images": 3} and masks.k == 2
    bright = train.batch(slice(None))[:, 0] > 0
    for image, box, mask in zip(bright, boxes.each(), masks.masks):
        left, top, right, bottom = box[0].tolist()
        inside = torch.zeros(16, 16, dtype=torch.bool)
        inside[top:bottom, left:right] = True
        assert torch.equal(inside, mask == 0), "a rectangle is its own box"
        # The loader averages at the border, so a pixel there may fall on either side.
        assert int((inside & image).sum()) / int((inside | image).sum()) > 0.8


def test_what_the_crop_cuts_off_is_left_out_and_counted(photos):
    folder, value = photos
    data = opened(folder)
    beside = {**value["annotations"][0], "bbox": [0, 0, 7, 48]}  # the crop of 64 x 48 begins at column 8
    partly = {**value["annotations"][0], "bbox": [0, 0, 14, 48]}
    found = boxes_from_coco({**value, "annotations": [beside, partly]}, data=data)
    assert found.boxes.tolist() == [[0, 0, 2, 16]] and found.owner.tolist() == [0]
    assert found.origin.settings == {"outside_boxes": 1}


def test_original_pixels_there_and_back(photos):
    folder, _ = photos
    data = opened(folder)
    sizes = original_sizes(data)
    assert sizes == [PICTURES[i % 3][0] for i in range(12)]
    numbers = torch.Generator().manual_seed(0)
    corner = torch.randint(0, 8, (12, 2), generator=numbers)
    boxes = BoxAnnotation(
        torch.cat([corner, corner + torch.randint(1, 9, (12, 2), generator=numbers)], dim=1),
        size=(16, 16),
        origin=Origin("drawn"),
    )
    value = to_coco(boxes, names=data.names, sizes=sizes)
    assert [(image["height"], image["width"]) for image in value["images"]] == sizes
    x, y, width, height = value["annotations"][0]["bbox"]
    left, top, right, bottom = boxes.boxes[0].tolist()  # 3 pixels of the picture each, after 8 cut off
    assert (x, y, width, height) == (8 + 3 * left, 3 * top, 3 * (right - left), 3 * (bottom - top))
    assert torch.equal(boxes_from_coco(value, data=data).boxes, boxes.boxes)
    masks = MaskAnnotation(torch.randint(3, (12, 16, 16), generator=numbers), 3, origin=Origin("drawn"))
    value = to_coco(masks, names=data.names, sizes=sizes)
    assert value["annotations"][0]["segmentation"]["size"] == [48, 64]
    first = sum(entry["area"] for entry in value["annotations"] if entry["image_id"] == 0)
    assert first == 48 * 48, "what the crop cut off has no mask"
    assert torch.equal(masks_from_coco(value, data=data).masks, masks.masks)


def test_sizes_that_are_not_the_pictures_are_refused(photos):
    folder, value = photos
    data = opened(folder)
    images = [dict(image) for image in value["images"]]
    images[0] |= {"width": 48, "height": 64}
    with pytest.raises(ValueError, match="'00.png' has 64 x 48 pixels .*, the picture has 48 x 64"):
        boxes_from_coco({**value, "images": images}, data=data)
    # A file about a reduced copy of the pictures has their proportions.
    images[0] |= {"width": 32, "height": 24}
    half = {**value["annotations"][0], "bbox": [10, 5, 12, 15]}
    found = boxes_from_coco({**value, "images": images, "annotations": [half]}, data=data)
    assert torch.equal(found.boxes, boxes_from_coco(value, data=data).boxes[:1])
    # One about the data's own pixels needs no picture at all.
    images = [{**image, "width": 16, "height": 16} for image in value["images"]]
    small = {**half, "bbox": [1, 2, 3, 4]}
    found = boxes_from_coco({**value, "images": images, "annotations": [small]}, data=data)
    assert found.boxes.tolist() == [[1, 2, 4, 6]]


def test_pictures_that_exif_turns_are_as_they_are_shown(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (64, 48)).save(tmp_path / "turned.jpg", exif=exif)
    Image.new("L", (64, 48)).save(tmp_path / "upright.jpg")
    kept = tmp_path / "cache"
    for _ in range(2):  # the second time from the cache
        data = from_folder(tmp_path, 16, channels=1, cache=kept, progress=False)
        assert data.scan.turned == ["turned.jpg"] and data.scan.dimensions == [(64, 48)] * 2
        assert original_sizes(data) == [(64, 48), (48, 64)]


def test_names_of_other_pictures_are_never_taken_by_order(photos):
    folder, value = photos
    images = [{**image, "file_name": f"other{i}.png"} for i, image in enumerate(value["images"])]
    with pytest.raises(ValueError, match="12 images whose file names are not those of the data's 12"):
        boxes_from_coco({**value, "images": images}, data=opened(folder))


def test_masks_of_one_category_may_overlap_and_others_may_not(photos):
    folder, value = photos
    data = opened(folder)
    twice = [*value["annotations"], value["annotations"][0]]
    masks = masks_from_coco({**value, "annotations": twice}, data=data, background="next")
    assert torch.equal(masks.masks, masks_from_coco(value, data=data, background=1).masks)
    other = {**value["annotations"][0], "category_id": 8}
    more = {**value, "annotations": [*value["annotations"], other], "categories": [{"id": 7}, {"id": 8}]}
    with pytest.raises(ValueError, match="pixels that have an id already"):
        masks_from_coco(more, data=data, background="next", overlap="refuse")
