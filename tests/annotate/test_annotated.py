"""What all annotations can do, whatever they say of the images."""

import re
from pathlib import Path

import pytest
import torch

import windvane
from windvane.annotate import (
    Annotation,
    BoxAnnotation,
    MaskAnnotation,
    Origin,
    draw_ids,
    load_annotation,
    load_regions,
    save_annotation,
)

ORIGIN = Origin("drawn", fingerprint="data")
MADE = {
    "ids": Annotation(torch.tensor([0, 1, 1, 2]), 3, fingerprint="data", shape=(1, 4, 5)),
    "boxes": BoxAnnotation(
        torch.tensor([[0, 0, 2, 2], [1, 1, 5, 4], [2, 0, 4, 3], [0, 1, 1, 2]]),
        size=(4, 5),
        origin=ORIGIN,
        ids=torch.tensor([0, 1, 1, 2]),
        k=3,
    ),
    "masks": MaskAnnotation(torch.arange(80).reshape(4, 4, 5) % 3, 3, origin=ORIGIN),
}
LAYOUTS = {"ids": None, "boxes": (1, (4, 5)), "masks": (3, (4, 5))}


class Images:
    shape, fingerprint = (1, 4, 5), "others"

    def __len__(self):
        return 4


@pytest.mark.parametrize("kind", sorted(MADE))
def test_annotations_share_one_protocol(kind, tmp_path):
    made, rows = MADE[kind], torch.tensor([2, 0])
    assert (made.kind, made.n, made.k, made.layout) == (kind, 4, 3, LAYOUTS[kind])
    assert made.counts == (None if kind == "masks" else [1, 2, 1])
    taken, every = made.take(rows), made.conditions()
    assert len(taken) == 2
    for name, value in taken.conditions().index(torch.arange(2)).signals.items():
        assert torch.equal(value, every.index(rows).signals[name])
    with pytest.raises(ValueError, match="other images"):
        made.check(Images())
    save_annotation(made, tmp_path / "a")
    loaded = load_annotation(tmp_path / "a") if kind == "ids" else load_regions(tmp_path / "a")
    (said, tensors), (again, same) = made.state(), loaded.state()
    assert said == again and all(torch.equal(tensors[name], same[name]) for name in tensors | same)


def test_conditions_are_drawn_as_often_as_in_the_training_images():
    seeds = list(range(20))
    ids = draw_ids(torch.tensor([1, 2, 1]), seeds)
    assert torch.equal(MADE["ids"].drawn(seeds).signals["vector"], ids)
    images = draw_ids(torch.ones(4), seeds)
    for kind in ("boxes", "masks"):
        layout = MADE[kind].condition(images).signals["layout"]
        assert torch.equal(MADE[kind].drawn(seeds).signals["layout"], layout)


def test_nobody_asks_which_kind_an_annotation_is():
    kinds = re.compile(r"isinstance\([^)]*(Annotation|Regions|Annotated)\b")
    package = Path(windvane.__file__).parent
    found = [path.name for path in package.rglob("*.py") for _ in kinds.finditer(path.read_text())]
    assert found == []
