"""Boxes and masks as annotations: the condition they give, through views; files that are refused."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from tests.annotate.stand_ins import TensorImages, noise_images
from windvane.annotate import (
    Annotation,
    BoxAnnotation,
    MaskAnnotation,
    Origin,
    RegionConditions,
    find_boxes,
    find_masks,
    find_objects,
    load_regions,
    save_regions,
)
from windvane.annotate.dense import Patches
from windvane.annotate.regions.boxes import bounding_boxes, box_masks, iou, lost, normalised_cut
from windvane.annotate.regions.masks import PatchClusters, Views, nearest

DRAWN = Origin("drawn")


def boxes(**changed):
    """Three images of 6 x 8: two boxes, none, one."""
    settings = {
        "boxes": torch.tensor([[0, 0, 3, 2], [5, 1, 8, 6], [2, 2, 4, 5]]),
        "owner": torch.tensor([0, 2, 0]),
        "n": 3,
        "size": (6, 8),
        "origin": DRAWN,
        "ids": torch.tensor([4, 0, 1]),
        "k": 5,
    }
    settings.update(changed)
    return BoxAnnotation(settings.pop("boxes"), **settings)


def masks(n=3, k=4, size=(6, 8), seed=0):
    drawn = torch.randint(k, (n, *size), generator=torch.Generator().manual_seed(seed))
    return MaskAnnotation(drawn, k, origin=DRAWN)


def test_layouts_are_the_union_of_an_images_boxes():
    made = boxes()
    condition = made.condition()
    layout = condition.signals["layout"]
    assert layout.shape == (3, 1, 6, 8)
    drawn = box_masks(made.boxes, (6, 8))
    assert torch.equal(layout[0], torch.maximum(drawn[0], drawn[2]))
    assert layout[1].sum() == 0 and condition.present["layout"].all()
    assert torch.equal(layout[2], drawn[1])
    assert condition.signals["vector"].tolist() == [4, 0, 1]
    assert "vector" not in made.condition(vector=False).signals


def test_rows_are_taken_in_the_order_asked_for_and_more_than_once():
    made = boxes()
    rows = torch.tensor([2, 0, 0, 1])
    taken = made.take(rows)
    of = [made.boxes[made.owner == row].tolist() for row in range(3)]
    assert [box.tolist() for box in made.each()] == of == [made.of(row).tolist() for row in range(3)]
    assert [taken.of(i).tolist() for i in range(4)] == [of[row] for row in rows]
    assert taken.ids.tolist() == [1, 4, 4, 0]
    whole = made.condition().signals["layout"]
    assert torch.equal(made.condition(rows).signals["layout"], whole[rows])
    assert torch.equal(masks().condition(rows).signals["layout"], masks().condition().signals["layout"][rows])


def test_a_batch_does_not_sort_all_boxes_again(monkeypatch):
    made, sort, sorted_ = boxes(), torch.Tensor.argsort, []

    def counted(values, **options):
        sorted_.append(len(values))
        return sort(values, **options)

    monkeypatch.setattr(torch.Tensor, "argsort", counted)
    for row in range(3):
        made.condition(torch.tensor([row]))
    assert sorted_.count(3) == 1, "all three boxes are sorted once; those of a batch are fewer"


def test_masks_are_one_hot_beside_the_ids_that_occur():
    made = masks(k=6, size=(2, 2))
    condition = made.condition()
    for i in range(3):
        for c in range(6):
            inside = made.masks[i] == c
            assert torch.equal(condition.signals["layout"][i, c], inside.float())
            assert condition.signals["vector"][i, c] == float(inside.any())


@given(st.integers(0, 10**6), st.booleans())
def test_conditions_move_with_the_views(seed, resized):
    views = Views.draw(3, (6, 8), crop=(4, 5), flip=True, size=(7, 3) if resized else None, seed=seed)
    for made in (boxes(), masks()):
        still = made.condition().signals["layout"]
        moved = made.condition(views=views).signals["layout"]
        assert torch.equal(moved, views.layouts(still))
        larger = made.condition(views=views, size=(9, 11)).signals["layout"]
        assert torch.equal(larger, nearest(moved, (9, 11)))
    seen = masks().condition(views=views).signals
    assert torch.equal(seen["vector"], seen["layout"].amax(dim=(2, 3)))


def test_views_of_other_images_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        boxes().condition(views=Views.draw(3, (8, 8)))
    with pytest.raises(ValueError, match="do not fit"):
        masks().condition(torch.tensor([0, 1]), views=Views.draw(3, (6, 8)))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"boxes": torch.tensor([[0, 0, 3, 2], [5, 1, 9, 6], [2, 2, 4, 5]])},
            r"box 1, of image 2.*right <= 8",
        ),
        ({"boxes": torch.tensor([[0, 0, 3, 2], [5, 1, 5, 6], [2, 2, 4, 5]])}, "box 1"),
        ({"owner": torch.tensor([0, 3, 0])}, r"0\.\.2"),
        ({"owner": None}, "3 boxes for 2 images"),
        ({"ids": torch.tensor([5, 0, 1])}, r"0\.\.4"),
        ({"k": None}, "go together"),
    ],
)
def test_wrong_boxes_are_refused(changed, said):
    if changed.get("owner", 0) is None:
        changed = {**changed, "n": 2, "ids": None, "k": None}
    with pytest.raises(ValueError, match=said):
        boxes(**changed)


def test_wrong_masks_are_refused():
    values = masks().masks.long()
    values[1, 0, 0] = 255
    with pytest.raises(ValueError, match=r"0\.\.3, got 0\.\.255, first in image 1"):
        MaskAnnotation(values, 4, origin=DRAWN)
    with pytest.raises(ValueError, match="255 ids"):
        MaskAnnotation(values, 256, origin=DRAWN)
    with pytest.raises(ValueError, match="integers"):
        MaskAnnotation(values.float(), 4, origin=DRAWN)


@pytest.mark.parametrize("made", [boxes(), boxes(ids=None, k=None), masks()], ids=["ids", "boxes", "masks"])
def test_files_give_back_what_was_saved(made, tmp_path):
    save_regions(made, tmp_path / "a")
    loaded = load_regions(tmp_path / "a")
    assert type(loaded) is type(made) and loaded.origin == made.origin
    assert loaded.size == made.size and loaded.k == made.k and len(loaded) == len(made)
    for name, signal in made.condition().signals.items():
        assert torch.equal(loaded.condition().signals[name], signal)
    made.save(tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def damaged(folder, **changed):
    described = json.loads((folder / "regions.json").read_text())
    described.update(changed)
    (folder / "regions.json").write_text(json.dumps(described))


def retensored(folder, **changed):
    tensors = load_file(folder / "regions.safetensors")
    tensors.update(changed)
    save_file(tensors, folder / "regions.safetensors")


DAMAGES = {
    "size": (lambda f: damaged(f, size=[6, 7]), "box 1|masks are"),
    "n": (lambda f: damaged(f, n=2), r"0\.\.1|masks are"),
    "format": (lambda f: damaged(f, format=9), "format 9"),
    "kind": (lambda f: damaged(f, kind="dots"), "dots"),
    "settings": (lambda f: damaged(f, made_by="other"), "was changed"),
    "missing key": (lambda f: [p := f / "regions.json", p.write_text('{"format": 1}')], "has no 'source'"),
    "no json": (lambda f: (f / "regions.json").write_text("{"), "damaged"),
    "no file": (lambda f: (f / "regions.safetensors").unlink(), "missing"),
    "half": (lambda f: [p := f / "regions.json", p.write_bytes(p.read_bytes()[:60])], "damaged"),
    "end cut": (lambda f: [p := f / "regions.safetensors", p.write_bytes(p.read_bytes()[:-1])], "damaged"),
    "data": (lambda f: damaged(f, data="0"), "was changed"),
    "k": (lambda f: damaged(f, k=1), r"0\.\.0, got 0\.\.|0\.\.0, got"),
    "cut": (lambda f: (f / "regions.safetensors").write_bytes(b"abc"), "damaged"),
}


@pytest.mark.parametrize("kind", ["boxes", "masks"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_refused_with_the_reason(kind, damage, tmp_path):
    save_regions(boxes() if kind == "boxes" else masks(), tmp_path / "a")
    spoil, said = DAMAGES[damage]
    spoil(tmp_path / "a")
    with pytest.raises(ValueError, match=said):
        load_regions(tmp_path / "a")


def test_changed_tensors_are_refused_with_the_reason(tmp_path):
    save_regions(masks(), tmp_path / "a")
    retensored(tmp_path / "a", masks=torch.full((3, 6, 8), 7, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"0\.\.3, got 7"):
        load_regions(tmp_path / "a")
    save_regions(boxes(), tmp_path / "b")
    retensored(tmp_path / "b", ids=torch.tensor([9, 0, 1]))
    with pytest.raises(ValueError, match=r"0\.\.4, got 0\.\.9"):
        load_regions(tmp_path / "b")
    retensored(tmp_path / "b", ids=torch.tensor([3, 0, 1]))
    with pytest.raises(ValueError, match="was changed"):
        load_regions(tmp_path / "b")


def planted(n=5):
    """A bright square on a noisy background, at another place in every image."""
    numbers = torch.Generator().manual_seed(3)
    images = torch.rand(n, 1, 12, 14, generator=numbers) * 0.1 - 1
    true = torch.empty(n, 4, dtype=torch.int64)
    for i in range(n):
        left, top = (int(torch.randint(end, (), generator=numbers)) for end in (10, 8))
        images[i, :, top : top + 4, left : left + 4] = 0.9
        true[i] = torch.tensor([left, top, left + 4, top + 4])
    return TensorImages(images), true


@pytest.mark.parametrize("method", ["lost", "ncut"])
def test_boxes_are_found_and_say_what_found_them(method):
    data, true = planted()
    labels = Annotation.given(torch.arange(5), data)
    found = find_boxes(data, Patches(1), method=method, labels=labels, batch_size=2, progress=False)
    assert (iou(found.boxes, true) == 1).all()
    assert found.origin.fingerprint == data.fingerprint and found.origin.made_by == Patches(1).name
    assert found.origin.source == method and torch.equal(found.ids, torch.arange(5)) and found.k == 5
    coarse = Patches(4, 2, pad=False)
    found = find_boxes(data, coarse, method=method, progress=False)
    rule = {"lost": lost, "ncut": normalised_cut}[method]
    expected = coarse.grid.to_pixels(rule(coarse(data.images), centre=True).boxes, (12, 14))
    assert torch.equal(found.boxes, expected)


@pytest.mark.parametrize("method", ["lost", "ncut"])
def test_objects_fill_the_boxes_that_are_found(method):
    data, true = planted()
    found = find_objects(data, Patches(1), method=method, batch_size=2, progress=False)
    assert torch.equal(found.masks.float(), box_masks(true, (12, 14))[:, 0]) and found.k == 2
    coarse = Patches(4, 2, pad=False)
    boxed = find_boxes(data, coarse, method=method, progress=False)
    masks = find_objects(data, coarse, method=method, progress=False).masks
    assert torch.equal(bounding_boxes(masks > 0), boxed.boxes)


def test_masks_are_found_and_say_what_found_them():
    data, true = planted()
    segmenter = PatchClusters(Patches(1), 2).fit(data, progress=False)
    found = find_masks(data, segmenter, progress=False)
    assert torch.equal(found.masks.float(), box_masks(true, (12, 14))[:, 0])
    assert found.origin.made_by == segmenter.name and found.origin.settings["extractor"] == Patches(1).name


def test_annotations_of_other_images_or_features_are_refused(tmp_path):
    data, _ = planted()
    found = find_boxes(data, Patches(1), progress=False)
    found.save(tmp_path / "a")
    assert len(load_regions(tmp_path / "a", data=data, made_by=Patches(1).name)) == 5
    with pytest.raises(ValueError, match=r"made by patches\(.*not by patches"):
        load_regions(tmp_path / "a", made_by=Patches(3).name)
    with pytest.raises(ValueError, match="5 images, the data have 4"):
        load_regions(tmp_path / "a", data=noise_images(4, (1, 12, 14)))
    with pytest.raises(ValueError, match=r"12 x 14 pixels, the data have\s+12 x 15"):
        load_regions(tmp_path / "a", data=noise_images(5, (1, 12, 15)))
    with pytest.raises(ValueError, match="other images"):
        load_regions(tmp_path / "a", data=noise_images(5, (1, 12, 14)))
    segmenter = PatchClusters(Patches(1), 2).fit(data, progress=False)
    find_masks(data, segmenter, progress=False).save(tmp_path / "m")
    assert len(load_regions(tmp_path / "m", data=data, made_by=segmenter.name)) == 5
    other = PatchClusters(Patches(1), 2, seed=1).fit(data, progress=False)
    with pytest.raises(
        ValueError, match=r"made by patch-clusters\(.*seed=0.*, not by patch-clusters\(.*seed=1"
    ):
        load_regions(tmp_path / "m", made_by=other.name)
    with pytest.raises(ValueError, match="5 images, the data have 4"):
        load_regions(tmp_path / "m", data=noise_images(4, (1, 12, 14)))
    with pytest.raises(ValueError, match=r"12 x 14 pixels, the data have\s+14 x 12"):
        load_regions(tmp_path / "m", data=TensorImages(data.images.transpose(2, 3)))
    with pytest.raises(ValueError, match="other images"):
        load_regions(tmp_path / "m", data=noise_images(5, (1, 12, 14)))
    with pytest.raises(ValueError, match="unknown method"):
        find_boxes(data, Patches(1), method="best")


@pytest.mark.parametrize(
    "changed",
    [
        {"boxes": torch.tensor([[0, 0, 3, 2], [5, 1, 8, 6], [2, 2, 4, 6]])},
        {"owner": torch.tensor([0, 2, 2])},
        {"ids": torch.tensor([4, 1, 0])},
        {"k": 6},
        {"size": (7, 8)},
        {"ids": None, "k": None},
    ],
    ids=["boxes", "owner", "ids", "k", "size", "no ids"],
)
def test_conditions_of_other_boxes_or_ids_have_another_fingerprint(changed):
    plain = RegionConditions(boxes()).fingerprint
    assert plain == RegionConditions(boxes()).fingerprint
    assert plain != RegionConditions(boxes(**changed)).fingerprint


def test_conditions_on_demand_are_the_rows_asked_for():
    masks = torch.arange(24).reshape(3, 2, 4) % 5
    for regions in (boxes(), MaskAnnotation(masks, 5, origin=DRAWN)):
        made, whole = RegionConditions(regions).index(torch.tensor([2, 0, 2])), regions.condition()
        assert set(made.signals) == {"layout", "vector"} and len(RegionConditions(regions)) == 3
        for name, signal in made.signals.items():
            assert torch.equal(signal, whole.signals[name][[2, 0, 2]])
    other = MaskAnnotation(masks.flip(0), 5, origin=DRAWN)
    assert RegionConditions(regions).fingerprint != RegionConditions(other).fingerprint
