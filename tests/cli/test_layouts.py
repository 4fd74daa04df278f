"""Boxes and masks on the command line: found, trained on, drawn by hand, and made again."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from windvane.annotate import BoxAnnotation, MaskAnnotation, Origin, load_annotation, load_regions
from windvane.checkpoint import save_model
from windvane.cli.common.conditions.files import read_boxes, read_masks
from windvane.cli.common.conditions.requests import requests_again, requests_for
from windvane.cli.common.conditions.vocabulary import KnownConditions
from windvane.cli.common.models import open_model
from windvane.cli.common.sections import SampleSection
from windvane.data import digits
from windvane.data.scenes import scenes
from windvane.denoiser import NetworkDenoiser
from windvane.networks import ConditionedUNet
from windvane.pictures import read_pixels, read_settings
from windvane.process import VPCosine
from windvane.randomness import scoped_seed

SIZE = (8, 8)


def layout_denoiser(vector, layout):
    with scoped_seed(3):
        network = ConditionedUNet.build(
            shape=(1, *SIZE), vector=vector, layout=layout, channels=(8, 8), layers_per_block=1
        )
        for parameter in network.parameters():
            if not parameter.any():
                parameter.data.normal_(0, 0.3)
    return NetworkDenoiser(network, VPCosine(), parametrisation="v", shape=(1, *SIZE))


def run_with(folder, denoiser, asked, regions):
    state = denoiser.network.state_dict()
    save_model(folder / "model", denoiser, raw=state, ema=state, step=1, extra=asked.to_extra())
    if regions is not None:
        regions.save(folder / "annotations")
    return folder


@pytest.fixture(scope="module")
def boxed(tmp_path_factory):
    boxes = torch.tensor([[0, 0, 4, 4], [2, 2, 8, 8], [1, 0, 3, 8], [5, 5, 7, 7]])
    regions = BoxAnnotation(boxes, size=SIZE, origin=Origin("drawn"), ids=torch.tensor([0, 1, 1, 2]), k=3)
    asked = KnownConditions(3, "boxes", [1, 2, 1], layout=1, size=SIZE)
    return run_with(tmp_path_factory.mktemp("runs") / "boxed", layout_denoiser(3, 1), asked, regions)


@pytest.fixture(scope="module")
def masked(tmp_path_factory):
    masks = torch.zeros(2, *SIZE, dtype=torch.uint8)
    masks[0, :4], masks[1, :, 5:] = 1, 2
    regions = MaskAnnotation(masks, 3, origin=Origin("drawn"))
    asked = KnownConditions(3, "masks", layout=3, size=SIZE)
    return run_with(tmp_path_factory.mktemp("runs") / "masked", layout_denoiser(3, 3), asked, regions)


def test_what_a_layout_model_may_be_asked_for_is_read_from_its_folder(boxed, masked):
    asked = open_model(boxed).asked
    assert (asked.kind, asked.count, asked.layout, asked.size) == ("boxes", 3, 1, SIZE)
    asked = open_model(masked).asked
    assert (asked.kind, asked.count, asked.layout, asked.size) == ("masks", 3, 3, SIZE)


def test_boxes_of_training_images_are_drawn_by_each_seed_alone(boxed):
    model = open_model(boxed)
    found = requests_for(SampleSection(), model.asked, [5, 6, 7, 8], model=model.folder)
    alone = requests_for(SampleSection(), model.asked, [7], model=model.folder)
    assert alone.value(0) == found.value(2)
    regions = load_regions(boxed / "annotations")
    known = [{"boxes": regions.of(i).tolist(), "id": int(regions.ids[i])} for i in range(4)]
    many = requests_for(SampleSection(), model.asked, list(range(60)), model=model.folder)
    values = [many.value(i) for i in range(60)]
    assert all(value in known for value in values) and all(value in values for value in known)


@pytest.mark.parametrize("cluster", [0, 2])
def test_a_chosen_cluster_stands_beside_the_boxes_that_were_drawn_anyway(boxed, cluster):
    model, seeds = open_model(boxed), list(range(12))
    plain = requests_for(SampleSection(), model.asked, seeds, model=model.folder)
    chosen = requests_for(SampleSection(cluster=cluster), model.asked, seeds, model=model.folder)
    for i in seeds:
        assert chosen.value(i) == {"boxes": plain.value(i)["boxes"], "id": cluster}
    assert chosen.condition().signals["vector"].tolist() == [cluster] * 12


def test_a_condition_told_as_json_makes_the_same_condition_again(boxed, masked):
    for run in (boxed, masked):
        model = open_model(run)
        found = requests_for(SampleSection(), model.asked, [0, 1, 2], model=model.folder)
        for position in range(3):
            value = json.loads(json.dumps(found.value(position)))
            again = requests_again(value, model.asked, 2).condition()
            alone = found.take([position, position]).condition()
            for name, signal in alone.signals.items():
                torch.testing.assert_close(again.signals[name].float(), signal.float())


def test_sampled_boxes_and_pictures_are_kept_and_made_again(windvane, boxed, tmp_path):
    out = tmp_path / "out"
    result = windvane("sample", boxed, out=out, n=3, steps=2, seed=4)
    assert result.exit_code == 0, result.output
    settings = read_settings(out / "00000004.png")
    assert set(settings["condition"]) == {"boxes", "id"}
    for name in ("00000004.png", "grid.png"):
        again = windvane("sample", again=out / name, out=tmp_path / "again")
        assert again.exit_code == 0, again.output
        assert "equal" in again.output
    assert "0 of them made now" in windvane("sample", boxed, out=out, n=3, steps=2, seed=4).output


def test_a_grid_of_masks_is_made_again(windvane, masked, tmp_path):
    Image.fromarray(np.repeat(np.arange(2, dtype=np.uint8), 32).reshape(SIZE)).save(tmp_path / "mask.png")
    out = tmp_path / "out"
    result = windvane("sample", masked, mask=tmp_path / "mask.png", out=out, n=3, steps=2)
    assert result.exit_code == 0, result.output
    (tmp_path / "mask.png").unlink()
    again = windvane("sample", again=out / "grid.png")
    assert again.exit_code == 0 and "equal" in again.output, again.output


def test_drawn_boxes_reach_the_network(windvane, boxed, tmp_path):
    file = tmp_path / "boxes.json"
    file.write_text(json.dumps([[[0, 0, 2, 2]], [[4, 4, 8, 8], [0, 0, 1, 1]]]))
    out = tmp_path / "out"
    result = windvane("sample", boxed, out=out, n=3, steps=2, boxes=file, cluster=1)
    assert result.exit_code == 0, result.output
    told = [read_settings(out / f"{seed:08d}.png")["condition"] for seed in range(3)]
    assert told[0] == told[2] == {"boxes": [[0, 0, 2, 2]], "id": 1}
    assert told[1] == {"boxes": [[4, 4, 8, 8], [0, 0, 1, 1]], "id": 1}
    # The same seed under another box is another picture.
    file.write_text(json.dumps([[4, 4, 8, 8]]))
    windvane("sample", boxed, out=tmp_path / "other", n=1, steps=2, boxes=file, cluster=1)
    assert (read_pixels(out / "00000000.png") != read_pixels(tmp_path / "other" / "00000000.png")).any()


def test_drawn_masks_reach_the_network(windvane, masked, tmp_path):
    levels = np.zeros((16, 16), dtype=np.uint8)
    levels[:, 8:] = 2
    Image.fromarray(levels).save(tmp_path / "mask.png")
    result = windvane("sample", masked, out=tmp_path / "out", n=1, steps=2, mask=tmp_path / "mask.png")
    assert result.exit_code == 0, result.output
    value = read_settings(tmp_path / "out" / "00000000.png")["condition"]
    layout = requests_again(value, open_model(masked).asked, 1).condition().signals["layout"][0]
    assert torch.equal(layout[2], torch.tensor([0.0] * 4 + [1.0] * 4).expand(8, 8))
    assert torch.equal(layout[0], 1 - layout[2]) and not layout[1].any()


def test_black_and_white_are_two_ids_and_palettes_are_read_by_index(tmp_path):
    Image.fromarray(np.array([[0, 255], [255, 0]], dtype=np.uint8)).save(tmp_path / "a.png")
    picture = Image.fromarray(np.array([[1, 0], [0, 0]], dtype=np.uint8), mode="P")
    picture.putpalette([200, 10, 10, 3, 250, 40])
    picture.save(tmp_path / "b.png")
    found = read_masks(tmp_path, (2, 2), 2).masks
    assert found.tolist() == [[[0, 1], [1, 0]], [[1, 0], [0, 0]]]


def test_boxes_are_read_from_coco(tmp_path):
    images = [{"id": i, "file_name": f"{i}.png", "width": 8, "height": 8} for i in range(2)]
    entry = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}
    file = tmp_path / "coco.json"
    file.write_text(json.dumps({"images": images, "annotations": [entry]}))
    found = read_boxes(file, SIZE)
    assert len(found) == 2 and len(found.of(0)) == 0 and found.of(1).tolist() == [[1, 2, 4, 6]]
    assert read_boxes(file, (4, 4)).of(1).tolist() == [[0, 1, 2, 3]], "brought to the model's size"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[[0, 0, 9, 4]]", "needs 0 <= left < right <= 8"),
        ("[[0, 0, 4]]", "holds no boxes"),
        ("[]", "holds no boxes"),
        ("{", "holds no JSON"),
    ],
)
def test_useless_boxes_are_refused(refused, boxed, tmp_path, content, reason):
    file = tmp_path / "boxes.json"
    file.write_text(content)
    assert reason in refused("sample", boxed, out=tmp_path / "out", boxes=file)


def test_maps_of_another_kind_are_refused(refused, boxed, masked, model, tmp_path):
    file = tmp_path / "boxes.json"
    file.write_text("[[0, 0, 4, 4]]")
    out = tmp_path / "out"
    assert "trained on masks, not on boxes" in refused("sample", masked, out=out, boxes=file)
    assert "trained on clusters, not on boxes" in refused("sample", model, out=out, boxes=file)
    assert "trained on boxes, not on masks" in refused("sample", boxed, out=out, mask=file)
    assert "no clusters" in refused("sample", masked, out=out, cluster=0)
    Image.fromarray(np.full(SIZE, 7, dtype=np.uint8)).save(tmp_path / "mask.png")
    assert "holds the id 7" in refused("sample", masked, out=out, mask=tmp_path / "mask.png")


def test_without_the_annotation_of_the_run_maps_must_be_drawn(refused, tmp_path):
    asked = KnownConditions(3, "boxes", [1, 2, 1], layout=1, size=SIZE)
    bare = run_with(tmp_path / "bare", layout_denoiser(3, 1), asked, None)
    assert "--boxes FILE" in refused("sample", bare, out=tmp_path / "out")


@pytest.mark.parametrize("kind", ["boxes", "masks"])
def test_from_a_folder_to_pictures(windvane, refused, tmp_path, kind):
    made = scenes(digits(), 24, size=12, seed=2)
    folder, ann, run = tmp_path / "scenes", tmp_path / "ann", tmp_path / "run"
    folder.mkdir()
    for i, image in enumerate(((made.images.batch(slice(None)) + 1) * 127.5).byte().numpy()):
        Image.fromarray(image[0]).save(folder / f"{i:03d}.png")
    words = ["--boxes", "--method", "ncut"] if kind == "boxes" else ["--masks", "2"]
    words += ["--report", "--set", "data.channels=1", "--export", tmp_path / "coco.json"]
    found = windvane("annotate", folder, *words, out=ann, dense="patches:3", k=3, features="pixels")
    assert found.exit_code == 0, found.output
    regions = load_regions(ann)
    assert f"Stability of the {kind}" in (ann / "report.html").read_text(encoding="utf-8")
    again = json.loads((ann / "report.json").read_text(encoding="utf-8"))["region_stability"]
    assert again["kind"] == kind and again["images"] == len(regions)
    assert 0 < again["changes"]["noisy"]["iou"] <= 1 and len(again["changes"]) == 4
    # k-means of masks starts from a seed; the cut between raw patches has none.
    assert again.get("seeds", {}).get("seeds") == ([0, 1, 2] if kind == "masks" else None)
    assert len(regions) == len(json.loads((tmp_path / "coco.json").read_text())["images"])
    tiny = ["model.channels=[8,8]", "model.layers=1", "train.sample_every=2", "train.flip=true"]
    flags = [part for text in tiny for part in ("--set", text)]
    trained = windvane("train", folder, *flags, annotation=ann, out=run, steps=2, batch_size=4)
    assert trained.exit_code == 0, trained.output
    assert open_model(run).asked.kind == kind
    assert (run / "samples" / "step-00000002.png").is_file()
    sampled = windvane("sample", run, out=tmp_path / "out", n=2, steps=2, weight=2)
    assert sampled.exit_code == 0, sampled.output
    more = windvane("train", "--resume", out=run, steps=3)
    assert more.exit_code == 0, more.output
    assert (run / "annotations" / "clusters").is_dir() == (kind == "boxes")
    page = windvane("report", run, weights="1,2.5", clusters=2, steps=2)
    assert page.exit_code == 0, page.output
    told = (run / "report.html").read_text(encoding="utf-8")
    assert f"Model conditioned on {kind}" in told and "w = 2.5" in told and "Training loss" in told
    assert "Image " in told.split("Guided samples")[2], "boxes or masks of training images are sampled"
    assert not (run / "report.json").exists(), "that is the page of a run, not of its annotation"
    assert f"that of this run is in {run / 'annotations'}" in refused("report", run, truth=tmp_path)
    assert "are about a run" in refused("report", ann, weights="1")
    audited = windvane("report", ann, audit=tmp_path / "out")
    assert audited.exit_code == 0, audited.output
    audit = json.loads((ann / "report.json").read_text(encoding="utf-8"))["audit"]
    assert audit["samples"]["images"] == 2 and len(audit["clusters"]) == (3 if kind == "boxes" else 0)
    assert sum(row["samples"] for row in audit["clusters"]) == (2 if kind == "boxes" else 0)
    assert ("no picture in" in refused("report", ann, audit=ann)) and not (ann / "out").exists()


def test_clusters_beside_boxes_are_reported_like_any_clusters(windvane, tmp_path):
    folder, ann = tmp_path / "images", tmp_path / "ann"
    folder.mkdir()
    for i, image in enumerate(((digits().batch(slice(0, 60)) + 1) * 127.5).byte().numpy()):
        Image.fromarray(image[0]).save(folder / f"{i:02d}.png")
    words = ["--boxes", "--report", "--set", "data.channels=1"]
    found = windvane("annotate", folder, *words, out=ann, dense="patches:3", k="auto", features="pca:5")
    assert found.exit_code == 0, found.output
    told = json.loads((ann / "report.json").read_text(encoding="utf-8"))
    for line in (told["choice"]["reasoning"], "stability over 3 seeds", f"{told['k']} clusters of 54 images"):
        assert line in found.output
    assert set(told["area"]) == {"mean", "median"} and told["boxes"]["n"] == 54 and told["kind"] == "boxes"
    page = (ann / "report.html").read_text(encoding="utf-8")
    for words in (
        "How many clusters",
        ">Stability<",
        "by pca features",
        "typical",
        "nearest",
        "boxes by lost",
    ):
        assert words in page, words
    assert told["k"] == load_regions(ann).k == told["choice"]["recommended"]
    clusters = load_annotation(ann / "clusters")
    assert clusters.clusters is not None and clusters.extractor is not None
    assert torch.equal(clusters.ids, load_regions(ann).ids)
    again = windvane("report", ann)
    assert again.exit_code == 0, again.output
    assert json.loads((ann / "report.json").read_text(encoding="utf-8")) == told


def test_a_training_is_not_resumed_on_other_boxes():
    from windvane.annotate import RegionConditions

    boxes = torch.tensor([[0, 0, 4, 4], [2, 2, 8, 8]])
    one = BoxAnnotation(boxes, size=SIZE, origin=Origin("drawn"))
    other = one.take(torch.tensor([1, 0]))
    assert RegionConditions(one).fingerprint != RegionConditions(other).fingerprint
    assert RegionConditions(one).fingerprint == RegionConditions(one.take(torch.tensor([0, 1]))).fingerprint
    rows = torch.tensor([1, 1, 0])
    torch.testing.assert_close(
        RegionConditions(one).index(rows).signals["layout"], one.condition().index(rows).signals["layout"]
    )


def test_maps_of_a_model_of_ones_own_find_boxes(windvane, refused, boxed, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for i, image in enumerate(((digits().batch(slice(0, 6)) + 1) * 127.5).byte().numpy()):
        Image.fromarray(image[0]).save(folder / f"{i}.png")
    options = {"features": "pixels", "k": 2, "set": "data.channels=1"}
    found = windvane(
        "annotate", folder, "--boxes", out=tmp_path / "ann", dense=f"denoiser:{boxed}", **options
    )
    assert found.exit_code == 0, found.output
    assert "denoiser" in load_regions(tmp_path / "ann").origin.made_by
    said = refused("annotate", folder, "--boxes", out=tmp_path / "no", dense="vgg", **options)
    assert "unknown dense features 'vgg'" in said
