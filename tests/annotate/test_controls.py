import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.annotate.stand_ins import noise_images
from windvane.annotate import (
    Annotation,
    BoxAnnotation,
    Control,
    GreyImages,
    MaskAnnotation,
    Origin,
    grey,
    moved_regions,
    noisy_ids,
    random_ids,
    shuffled_regions,
    split_ids,
)
from windvane.annotate.images.statistics import similarity

lists = st.lists(st.integers(0, 4), min_size=1, max_size=60).map(torch.tensor)


@given(ids=lists, seed=st.integers(0, 99))
def test_random_ids_keep_the_sizes_and_depend_on_the_seed_alone(ids, seed):
    dealt = random_ids(ids, seed=seed)
    assert torch.equal(dealt.sort().values, ids.sort().values)
    assert torch.equal(dealt, random_ids(ids, seed=seed))


def test_random_ids_carry_no_information():
    ids = torch.arange(1000) % 10
    assert abs(similarity(ids, random_ids(ids, seed=0))["ami"]) < 0.03


@given(ids=lists, ratio=st.floats(0, 1), seed=st.integers(0, 99))
def test_label_noise_changes_exactly_the_ratio(ids, ratio, seed):
    noisy = noisy_ids(ids, ratio=ratio, k=5, seed=seed)
    assert int((noisy != ids).sum()) == round(ratio * len(ids))
    assert int(noisy.min()) >= 0 and int(noisy.max()) < 5


def test_wrong_ids_are_uniform_over_the_others():
    noisy = noisy_ids(torch.full((4000,), 2), ratio=1.0, k=5, seed=0)
    counts = torch.bincount(noisy, minlength=5)
    assert counts[2] == 0
    assert (counts[[0, 1, 3, 4]] - 1000).abs().max() < 120


@given(ids=lists, parts=st.integers(1, 4), seed=st.integers(0, 99))
def test_split_classes_keep_the_class_and_are_even(ids, parts, seed):
    split = split_ids(ids, parts=parts, seed=seed)
    assert torch.equal(split // parts, ids)
    for value in torch.unique(ids).tolist():
        sizes = torch.bincount((split % parts)[ids == value], minlength=parts)
        assert sizes.max() - sizes.min() <= 1


def test_splitting_is_random_within_a_class():
    halves, turns = (torch.arange(2000) >= 1000).long(), torch.arange(2000) % 2
    groups = split_ids(torch.zeros(2000, dtype=torch.int64), parts=2, seed=0)
    assert abs(similarity(groups, halves)["ami"]) < 0.02
    assert abs(similarity(groups, turns)["ami"]) < 0.02


def test_ranges_are_checked():
    ids = torch.tensor([0, 1])
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        noisy_ids(ids, ratio=1.5, k=2, seed=0)
    with pytest.raises(ValueError, match="at least two ids"):
        noisy_ids(torch.tensor([0]), ratio=0.5, k=1, seed=0)
    with pytest.raises(ValueError, match="at least 1"):
        split_ids(ids, parts=0, seed=0)


SIZE = (6, 9)


@st.composite
def box_annotations(draw):
    n = draw(st.integers(1, 8))
    owner = torch.tensor(draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=12)))
    corners = [
        (sorted(draw(st.permutations(range(SIZE[1] + 1)))[:2]), sorted(draw(st.permutations(range(7)))[:2]))
        for _ in owner
    ]
    boxes = torch.tensor([[x[0], y[0], x[1], y[1]] for x, y in corners])
    ids = torch.tensor(draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)))
    return BoxAnnotation(boxes, size=SIZE, origin=Origin("drawn"), owner=owner, n=n, ids=ids, k=3)


def sets_of_boxes(annotation):
    return sorted(sorted(map(tuple, annotation.of(i).tolist())) for i in range(annotation.n))


@given(annotation=box_annotations(), seed=st.integers(0, 99))
def test_shuffled_boxes_are_the_same_sets_on_other_images(annotation, seed):
    dealt = shuffled_regions(annotation, seed=seed)
    assert sets_of_boxes(dealt) == sets_of_boxes(annotation)
    assert torch.equal(dealt.ids, annotation.ids), "image-level ids stay"
    again = shuffled_regions(annotation, seed=seed)
    assert torch.equal(again.boxes, dealt.boxes) and torch.equal(again.owner, dealt.owner)


def test_shuffled_masks_are_the_same_masks_in_another_order():
    masks = torch.arange(40)[:, None, None].expand(40, 2, 3)
    dealt = shuffled_regions(MaskAnnotation(masks, 40, origin=Origin("drawn")), seed=0)
    order = dealt.masks[:, 0, 0].long()
    assert torch.equal(order.sort().values, torch.arange(40))
    assert int((order == torch.arange(40)).sum()) < 6
    assert torch.equal(dealt.masks, masks[order].to(torch.uint8))


@given(annotation=box_annotations(), seed=st.integers(0, 99))
def test_moved_boxes_keep_their_sizes_and_owners(annotation, seed):
    moved = moved_regions(annotation, seed=seed)  # the constructor checks that they lie in the image
    assert torch.equal(
        moved.boxes[:, 2:] - moved.boxes[:, :2], annotation.boxes[:, 2:] - annotation.boxes[:, :2]
    )
    assert torch.equal(moved.owner, annotation.owner) and torch.equal(moved.ids, annotation.ids)


def test_moved_boxes_are_anywhere_alike():
    boxes = torch.tensor([[0, 0, 2, 3]]).repeat(7000, 1)
    moved = moved_regions(BoxAnnotation(boxes, size=SIZE, origin=Origin("drawn")), seed=0)
    across, down = torch.bincount(moved.boxes[:, 0]), torch.bincount(moved.boxes[:, 1])
    assert len(across) == 8 and len(down) == 4
    assert (across - 7000 / 8).abs().max() < 130 and (down - 7000 / 4).abs().max() < 160


def test_moved_masks_are_rolled():
    masks = torch.randint(0, 4, (30, *SIZE), generator=torch.Generator().manual_seed(0))
    moved = moved_regions(MaskAnnotation(masks, 4, origin=Origin("drawn")), seed=0).masks.long()
    shifts = []
    for mask, other in zip(masks, moved):
        found = [(y, x) for y in range(6) for x in range(9) if torch.equal(mask.roll((y, x), (0, 1)), other)]
        assert len(found) == 1
        shifts += found
    assert len({y for y, _ in shifts}) == 6 and len({x for _, x in shifts}) > 5


def test_grey_images_are_the_luma_in_every_channel():
    images = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    made = grey(images)
    wanted = 0.299 * images[:, 0] + 0.587 * images[:, 1] + 0.114 * images[:, 2]
    assert made.shape == images.shape
    for channel in range(3):
        torch.testing.assert_close(made[:, channel], wanted)
    torch.testing.assert_close(grey(made), made)
    one = images[:, :1]
    assert torch.equal(grey(one), one)
    data = noise_images(5, (3, 4, 4))
    view = GreyImages(data)
    torch.testing.assert_close(view.batch(slice(1, 3)), grey(data.images[1:3]))
    assert len(view) == 5 and view.fingerprint != data.fingerprint
    with pytest.raises(ValueError, match="1 or 3 channels"):
        GreyImages(noise_images(5, (2, 4, 4)))


def annotated():
    ids = torch.arange(60) % 3
    return Annotation(ids, 3, fingerprint="f", distances=torch.rand(60)), torch.arange(60) % 5


@pytest.mark.parametrize(
    ("text", "k", "wanted"),
    [
        ("random", 3, lambda ids, labels: random_ids(ids, seed=4)),
        ("noise:0.25", 3, lambda ids, labels: noisy_ids(ids, ratio=0.25, k=3, seed=4)),
        ("split:2", 6, lambda ids, labels: split_ids(ids, parts=2, seed=4)),
        ("grey", 3, lambda ids, labels: ids),
        ("labels", 5, lambda ids, labels: labels),
        ("labels+random", 5, lambda ids, labels: random_ids(labels, seed=4)),
        ("labels+noise:0.5", 5, lambda ids, labels: noisy_ids(labels, ratio=0.5, k=5, seed=4)),
        ("labels+split:4", 20, lambda ids, labels: split_ids(labels, parts=4, seed=4)),
    ],
)
def test_controls_by_name(text, k, wanted):
    annotation, labels = annotated()
    made = Control.read(text).apply(annotation, labels, seed=4)
    assert torch.equal(made.ids, wanted(annotation.ids, labels)) and made.k == k
    assert made.fingerprint == "f" and made.clusters is None
    assert (made.source == "labels") == (text == "labels")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rand",
        "noise",
        "noise:2",
        "noise:x",
        "split:1",
        "split:2.5",
        "labels+grey",
        "labels+labels",
        "grey+random",
        "random:3",
    ],
)
def test_unknown_controls_are_refused(text):
    with pytest.raises(ValueError, match="known: random"):
        Control.read(text)


def test_controls_of_labels_need_labels():
    annotation, labels = annotated()
    for wrong in (None, labels[:5], labels - 1):
        with pytest.raises(ValueError, match="a label for every image"):
            Control.read("labels+random").apply(annotation, wrong)
