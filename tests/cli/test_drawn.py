"""Boxes and masks drawn by a user: what is read, what stands beside it, and the network they are asked of."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from tests.cli.test_layouts import SIZE, boxed  # noqa: F401
from windvane.cli.common.builders import build_denoiser
from windvane.cli.common.conditions.files import read_masks
from windvane.cli.common.conditions.requests import requests_for
from windvane.cli.common.conditions.vocabulary import KnownConditions
from windvane.cli.common.models import open_model
from windvane.cli.common.sections import ModelSection, ProcessSection, SampleSection
from windvane.data.decode import Decoder


def test_pictures_of_one_bit_are_masks_of_two_ids(tmp_path):
    levels = np.zeros((8, 8), dtype=bool)
    levels[2:5, 3:] = True
    Image.fromarray(levels).save(tmp_path / "mask.png")
    with Image.open(tmp_path / "mask.png") as opened:
        assert opened.mode == "1"
    masks = read_masks(tmp_path / "mask.png", SIZE, 2).masks
    assert torch.equal(masks[0].bool(), torch.from_numpy(levels))
    with pytest.raises(ValueError, match="holds the id 255; the model knows 3"):
        read_masks(tmp_path / "mask.png", SIZE, 3)


def test_masks_go_where_the_loader_puts_a_picture_of_their_shape(tmp_path):
    """Of a wide picture the middle square is seen; a mask that was squeezed would lie beside its objects."""
    levels = np.zeros((16, 40), dtype=np.uint8)
    levels[4:8, 14:20] = 1
    levels[:, :10], levels[:, 34:] = 1, 1  # cut off
    Image.fromarray(levels).save(tmp_path / "mask.png")
    Image.fromarray(levels * 255).save(tmp_path / "picture.png")
    mask = read_masks(tmp_path / "mask.png", SIZE, 2).masks[0]
    shown = Decoder(SIZE, 1)(tmp_path / "picture.png")[0] > 127
    expected = torch.zeros(SIZE)
    expected[2:4, 1:4] = 1
    assert torch.equal(mask.float(), expected) and torch.equal(mask.bool(), torch.from_numpy(shown))


def test_boxes_have_ids_beside_them(refused, boxed, tmp_path):  # noqa: F811
    """Boxes alone were never seen in training: a request without ids is refused, not quietly changed."""
    file, out = tmp_path / "boxes.json", tmp_path / "out"
    file.write_text(json.dumps([[1, 1, 5, 6]]))
    model, seeds = open_model(boxed), list(range(40))
    plain = requests_for(SampleSection(boxes=str(file)), model.asked, seeds, model=model.folder)
    ids = plain.condition().signals["vector"]
    # As often as in training: 1, 2 and 1 of four images.
    assert ids.bincount(minlength=3).tolist()[1] > 12 and set(ids.tolist()) == {0, 1, 2}
    uniform = SampleSection(boxes=str(file), condition="uniform")
    even = requests_for(uniform, model.asked, seeds, model=model.folder).condition().signals["vector"]
    assert not torch.equal(even, ids)
    said = refused("sample", boxed, out=out, boxes=file, condition="none")
    assert "--condition none: this model has seen boxes beside clusters only" in said
    chosen = SampleSection(boxes=str(file), condition="none", cluster=2)
    told = requests_for(chosen, model.asked, seeds, model=model.folder).condition().signals["vector"]
    assert told.tolist() == [2] * 40
    alone = KnownConditions(0, "boxes", layout=1, size=SIZE)
    nothing = requests_for(SampleSection(boxes=str(file), condition="none"), alone, seeds, model=None)
    assert "vector" not in nothing.condition().signals


@pytest.mark.parametrize(
    ("vector", "layout", "tokens"), [(3, 1, 32), (3, 3, 32), (None, 1, None), (3, None, None)]
)
def test_beside_a_map_the_vector_makes_tokens_as_published(vector, layout, tokens):
    model = ModelSection(type="unet", channels=[8, 8], layers=1)
    built = build_denoiser(model, ProcessSection(), shape=(1, 8, 8), vector=vector, layout=layout, seed=0)
    config = built.network.config
    assert (config["vector"], config["layout"], config["tokens"]) == (vector, layout, tokens)
