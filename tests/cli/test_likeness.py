"""`windvane sample --like`: a model is asked for what the rules of its annotation find in a picture."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from tests.cli.test_layouts import layout_denoiser, run_with
from windvane.annotate import (
    Annotation,
    annotate,
    find_masks,
    load_annotation,
    load_regions,
    shuffled_regions,
)
from windvane.annotate.dense import Patches
from windvane.annotate.regions.masks import PatchClusters
from windvane.checkpoint import save_model
from windvane.cli.common.conditions.requests import requests_again
from windvane.cli.common.conditions.vocabulary import KnownConditions
from windvane.cli.common.models import open_model
from windvane.data import digits, open_data
from windvane.pictures import read_settings

DATA = digits().subset(slice(0, 40))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Digits on 8 x 8 pixels as grey pictures."""
    path = tmp_path_factory.mktemp("pictures")
    for i, image in enumerate(((DATA.batch(slice(None)) + 1) * 127.5).round().byte().numpy()):
        Image.fromarray(image[0]).save(path / f"{i:03d}.png")
    return path


@pytest.fixture(scope="module")
def data(folder):
    """The same as they are read."""
    return open_data(folder, channels=1, size=8, progress=False)


def conditions(windvane, run, out, **options):
    result = windvane("sample", run, out=out, steps=2, **options)
    assert result.exit_code == 0, result.output
    return [read_settings(file)["condition"] for file in sorted(out.glob("[0-9]*.png"))]


def test_from_a_folder_to_pictures_with_boxes_like_those_of_another(windvane, folder, tmp_path):
    ann, run = tmp_path / "ann", tmp_path / "run"
    grey = ["--set", "data.channels=1", "--set", "data.holdout=0"]
    found = windvane("annotate", folder, "--boxes", *grey, out=ann, dense="patches:3", k=3, features="pca:4")
    assert found.exit_code == 0, found.output
    tiny = ["--set", "model.channels=[8,8]", "--set", "model.layers=1", *grey]
    trained = windvane("train", folder, *tiny, annotation=ann, out=run, steps=1, batch_size=4)
    assert trained.exit_code == 0, trained.output
    regions = load_regions(ann)
    told = conditions(windvane, run, tmp_path / "out", n=2, like=folder / "007.png")
    assert told == [{"boxes": regions.of(7).tolist(), "id": int(regions.ids[7])}] * 2
    chosen = conditions(windvane, run, tmp_path / "chosen", n=1, like=folder / "007.png", cluster=2)
    assert chosen == [{"boxes": regions.of(7).tolist(), "id": 2}]
    # Without the rule of the clusters, ids are drawn as beside boxes drawn by hand.
    Annotation.given(regions.ids, DATA, k=3, source="a file").save(run / "annotations" / "clusters")
    drawn = conditions(windvane, run, tmp_path / "drawn", n=20, like=folder / "007.png")
    assert {value["id"] for value in drawn} == {0, 1, 2}


@pytest.mark.parametrize("words", [["--boxes"], ["--masks", "2"], []])
def test_features_of_a_model_of_ones_own_are_opened_again(windvane, refused, folder, tmp_path, words):
    own, ann, run = tmp_path / "own", tmp_path / "ann", tmp_path / "run"
    grey = ["--set", "data.channels=1", "--set", "data.holdout=0"]
    tiny = ["--set", "model.channels=[8,8]", "--set", "model.layers=1", *grey]
    assert windvane("train", folder, *tiny, out=own, steps=1, batch_size=4).exit_code == 0
    flags = {"k": 3, "features": f"denoiser:{own}", "set": "annotate.stability=0"}
    flags |= {"dense": f"denoiser:{own}"} if words else {}
    found = windvane("annotate", folder, *words, *grey, out=ann, **flags)
    assert found.exit_code == 0, found.output
    assert windvane("train", folder, *tiny, annotation=ann, out=run, steps=1, batch_size=4).exit_code == 0
    told = conditions(windvane, run, tmp_path / "out", n=1, like=folder / "007.png")[0]
    if not words:
        assert told == int(load_annotation(ann).ids[7])
    elif words == ["--boxes"]:
        regions = load_regions(ann)
        assert told == {"boxes": regions.of(7).tolist(), "id": int(regions.ids[7])}
    else:
        mask = requests_again(told, open_model(run).asked, 1).condition().signals["layout"][0].argmax(dim=0)
        assert torch.equal(mask, load_regions(ann).masks[7].long())
    own.rename(tmp_path / "elsewhere")
    said = refused("sample", run, out=tmp_path / "no", like=folder / "007.png")
    assert f"--like needs denoiser:{own}" in said and "there is no run" in said


def test_masks_like_those_of_a_folder_of_pictures(windvane, folder, data, tmp_path):
    masks = find_masks(data, PatchClusters(Patches(3), 3).fit(data, progress=False), progress=False)
    asked = KnownConditions(3, "masks", layout=3, size=(8, 8))
    run = run_with(tmp_path / "run", layout_denoiser(3, 3), asked, masks)
    few = tmp_path / "few"
    few.mkdir()
    for i in (4, 9):
        # Larger and coloured; what counts is the picture as training would see it.
        with Image.open(folder / f"{i:03d}.png") as opened:
            opened.convert("RGB").resize((32, 32), Image.Resampling.NEAREST).save(few / f"{i}.png")
    told = conditions(windvane, run, tmp_path / "out", n=3, like=few)
    asked = open_model(run).asked
    maps = [requests_again(value, asked, 1).condition().signals["layout"][0].argmax(dim=0) for value in told]
    assert [bool((maps[i] == masks.masks[j]).all()) for i, j in enumerate((4, 9, 4))] == [True] * 3


def test_clusters_like_that_of_a_picture(windvane, folder, data, tmp_path, model):
    run, labels = tmp_path / "run", annotate(data, features="pca", k=4, progress=False)
    opened = open_model(model)
    state = opened.denoiser.network.state_dict()
    asked = KnownConditions(4, "clusters", labels.sizes.tolist())
    save_model(run / "model", opened.denoiser, ema=state, step=1, extra=asked.to_extra())
    labels.save(run / "annotations")
    told = conditions(windvane, run, tmp_path / "out", n=2, like=folder / "003.png")
    assert told == [int(load_annotation(run / "annotations").ids[3])] * 2


def test_likeness_is_refused_where_no_rule_finds_it(refused, folder, data, model, unconditional, tmp_path):
    out, like = tmp_path / "out", folder / "000.png"
    assert "trained without a condition" in refused("sample", unconditional, out=out, like=like)
    assert "annotation.json" in refused("sample", model, out=out, like=like)
    assert "leave out --cluster" in refused("sample", model, out=out, like=like, cluster=1)
    masks = find_masks(data, PatchClusters(Patches(3), 3).fit(data, progress=False), progress=False)
    asked = KnownConditions(3, "masks", layout=3, size=(8, 8))
    run = run_with(tmp_path / "run", layout_denoiser(3, 3), asked, shuffled_regions(masks, seed=0))
    said = refused("sample", run, out=out, like=like)
    assert "masks (patch-clusters, dealt to other images) come without the rule" in said
    Image.fromarray(np.zeros((8, 8), dtype=np.uint8)).save(tmp_path / "mask.png")
    said = refused("sample", run, out=out, like=like, mask=tmp_path / "mask.png")
    assert "not beside --mask" in said
    masks.save(run / "annotations")
    assert "there is no picture" in refused("sample", run, out=out, like=tmp_path / "none.png")
    (tmp_path / "empty").mkdir()
    assert "there is no picture in" in refused("sample", run, out=out, like=tmp_path / "empty")
    system = tmp_path / "empty"
    (system / "._a.png").write_bytes(b"left by a system")
    (system / "folder.png").mkdir()
    os.mkfifo(system / "pipe.png")
    assert "there is no picture in" in refused("sample", run, out=out, like=system)
    assert "is no file but a pipe" in refused("sample", run, out=out, like=system / "pipe.png")
    (system / "damaged.png").write_bytes(b"nothing")
    assert "damaged.png: not an image" in refused("sample", run, out=out, like=system)
    (tmp_path / "bad.png").write_bytes(b"nothing")
    assert "bad.png" in refused("sample", run, out=out, like=tmp_path / "bad.png")


def test_labels_are_found_by_no_rule(refused, folder, tmp_path, model):
    run, opened = tmp_path / "run", open_model(model)
    asked = KnownConditions(4, "labels", [10] * 4)
    state = opened.denoiser.network.state_dict()
    save_model(run / "model", opened.denoiser, ema=state, step=1, extra=asked.to_extra())
    Annotation.given(torch.arange(40) % 4, DATA, source="labels").save(run / "annotations")
    said = refused("sample", run, out=tmp_path / "out", like=folder / "000.png")
    assert "trained on labels, which no rule finds" in said
