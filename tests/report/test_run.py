"""The page of a run: it shows what the folder holds, and lacks nothing that would stop it."""

import json
import re
import shutil

import numpy as np
import pytest
import torch

from tests.networks.answering import answering
from windvane.annotate import Annotation, BoxAnnotation, MaskAnnotation, Origin
from windvane.checkpoint import load, save_model
from windvane.conditions import Condition
from windvane.data import ImageData
from windvane.denoiser import NetworkDenoiser
from windvane.guidance import ClassifierFree
from windvane.networks import ConditionedUNet
from windvane.pictures import to_uint8
from windvane.process import VPCosine
from windvane.randomness import scoped_seed
from windvane.report import folder, run_report
from windvane.report.contents import metric_table, training_curves
from windvane.report.run_conditions import beside_boxes, marked
from windvane.runs import Run
from windvane.samplers import DDIM, sample

from .test_page import decoded, read


@pytest.fixture
def data():
    levels = np.random.default_rng(1).integers(0, 256, (40, 1, 8, 8), dtype=np.uint8)
    return ImageData(levels, labels=np.arange(40) % 4, label_names=["3", "ant", "bee", "cat"])


def metric(name, value, **more):
    about = {
        "name": name,
        "value": value,
        "better": "lower",
        "low": None,
        "high": None,
        "extractor": "pixels",
    }
    return about | {"n_samples": 9, "n_reference": 8, "details": {}} | more


def save_tiny_model(path):
    """A model whose output depends on its condition; that of a fresh network is zero."""
    denoiser = answering()
    save_model(path, denoiser, ema=denoiser.network.state_dict())


@pytest.fixture
def run(tmp_path, data):
    made = Run(tmp_path / "my run")
    annotation = Annotation(torch.tensor([0] * 20 + [1] * 15 + [2] * 5), 3, fingerprint=data.fingerprint)
    annotation.save(made.annotations)
    save_tiny_model(made.model)
    for step in (1, 2, 3):
        made.append_metrics({"step": step, "loss": 1 / step, "loss_log_snr_-8": 0.5, "grad_norm": None})
    made.write_status("interrupted", step=3, steps=9, message="stopped by SIGINT")
    made.write_config({"train": {"steps": 9, "note": "<b>"}})
    scan = {"readable": ["a"], "unreadable": [["bad & worse.png", "truncated"]], "exact_duplicates": []}
    (made.path / "scan.json").write_text(json.dumps(scan), encoding="utf-8")
    for weight, value in ((2.0, 1.25), (1.0, 7.5)):
        folder = made.samples / f"w{weight:g}"
        folder.mkdir(parents=True)
        settings = {"weight": weight, "sampler": "ddim", "steps": 5, "step": 3}
        found = {
            "title": "t",
            "settings": settings,
            "metrics": [metric("frechet", value), metric("recall", 0.5)],
        }
        (folder / "metrics.json").write_text(json.dumps(found), encoding="utf-8")
    return made


def test_the_page_shows_the_run(run, data):
    unseen = ImageData(np.random.default_rng(2).integers(0, 256, (10, 1, 8, 8), dtype=np.uint8))
    numbers = {"clusters": 2, "per_cluster": 4, "check": 6, "steps": 2}
    path = run_report(run.path, train=data, held_out=unseen, weights=(1.0, 2.5), **numbers)
    assert path == run.report
    page = path.read_text(encoding="utf-8")
    text, _ = read(page)
    for words in (
        "my run",
        "Model conditioned on 3 clusters",
        "interrupted at step 3 of 9",
        "stopped by SIGINT",
    ):
        assert words in text
    for words in (
        "bad & worse.png",
        "truncated",
        "note: <b>",
        "w = 2.5",
        "label 3 25%",
        "bee",
        "held-out data",
    ):
        assert words in text, words
    assert "20 images, 50.0%" in text and "5 images, 12.5%" in text
    shown = {image.tobytes() for image in decoded(page)}
    assert data.pixels([0])[0, 0].tobytes() in shown, "a member of the largest cluster is missing"


def test_the_main_numbers_come_from_one_evaluation(run):
    told = folder.key_numbers(run, None, None, [], folder.evaluations(run))
    assert told["Fréchet distance at w = 2"] == "1.25" and told["recall at w = 2"] == "0.5"


def test_without_images_or_model_the_rest_is_still_there(run, tmp_path):
    shutil.rmtree(run.model)
    path = run_report(run.path, out=tmp_path / "elsewhere.html")
    text, _ = read(path.read_text(encoding="utf-8"))
    assert "Fréchet distance" in text and "Training loss" in text and "Clusters" not in text
    assert not run.report.exists()


def test_samples_on_the_page_are_the_seeds_at_each_weight(run, data):
    page = run_report(
        run.path, train=data, weights=(3.0,), clusters=1, per_cluster=2, check=2, steps=2, seed=5
    )
    guided = ClassifierFree(load(run.model), 3.0)
    cond = Condition.vector(torch.zeros(2, dtype=torch.int64))
    wanted = to_uint8(sample(guided, seeds=5, n=2, cond=cond, sampler=DDIM(), steps=2, clip=1.0).x)
    shown = {image.tobytes() for image in decoded(page.read_text(encoding="utf-8"))}
    assert {image[0].tobytes() for image in wanted} <= shown


def test_images_of_another_run_are_refused(run, data):
    with pytest.raises(ValueError, match="annotate again"):
        run_report(run.path, train=data.subset(list(reversed(range(40)))))
    with pytest.raises(ValueError, match="no run folder"):
        run_report(run.path / "none")


def test_the_metric_table_has_a_column_for_each_evaluation():
    one = {
        "settings": {"weight": 1, "sampler": "ddim", "steps": 5, "step": 3},
        "metrics": [metric("kid", 1.0)],
    }
    two = {"title": "by hand", "metrics": [metric("recall", 0.25, better="higher", low=0.1, high=0.4)]}
    text, _ = read(metric_table([one, two]))
    assert "w = 1, ddim 5, step 3" in text and "by hand" in text
    assert "KID ↓" in text and "recall ↑" in text and "0.1 – 0.4" in text and text.count("–") == 3


def test_curves_leave_out_what_was_not_logged():
    rows = [{"step": 1, "loss": None}, {"step": 2, "loss": -0.5, "lr": 0.1}]
    text, _ = read(training_curves(rows))
    assert "Training loss" in text and "Learning rate" in text and "Gradient norm" not in text


def regions_of(kind, data):
    corner = torch.arange(40) % 4
    boxes = BoxAnnotation(
        torch.stack([corner, corner, corner + 3, corner + 4], dim=1),
        size=(8, 8),
        origin=Origin("lost", fingerprint=data.fingerprint),
        ids=torch.arange(40) % 3,
        k=3,
    )
    if kind == "boxes":
        return boxes
    masks = (torch.arange(40)[:, None, None] + torch.arange(8)[:, None] + torch.arange(8) // 3) % 3
    return MaskAnnotation(masks, 3, origin=Origin("stego", fingerprint=data.fingerprint))


@pytest.mark.parametrize("kind", ["boxes", "masks"])
def test_a_run_of_boxes_or_masks_shows_what_was_asked_for(tmp_path, data, kind):
    made, regions = Run(tmp_path / "run"), regions_of(kind, data)
    regions.save(made.annotations)
    with scoped_seed(0):
        network = ConditionedUNet.build(
            shape=(1, 8, 8), vector=3, layout=1 if kind == "boxes" else 3, channels=(8, 8), layers_per_block=1
        )
        for parameter in network.parameters():
            if not parameter.any():
                parameter.data.normal_(0, 0.3)
    denoiser = NetworkDenoiser(network, VPCosine(), parametrisation="v", shape=(1, 8, 8))
    save_model(made.model, denoiser, ema=denoiser.network.state_dict())
    numbers = {"clusters": 2, "per_cluster": 2, "check": 3, "steps": 2, "weights": (1.0, 3.0), "seed": 5}
    page = run_report(made.path, train=data, **numbers).read_text(encoding="utf-8")
    text, _ = read(page)
    told = {
        "boxes": "Model conditioned on boxes by lost beside 3 clusters",
        "masks": "masks of 3 ids by stego",
    }
    assert told[kind] in text and "Unconditional" not in text and "Guided samples" in text
    assert kind.capitalize() in text and ("Clusters" in text) == (kind == "boxes")
    shown = {image.tobytes() for image in decoded(page)}
    row = int(re.search(r"Image (\d+)", text).group(1))
    asked = regions.take(torch.tensor([row, row]))
    plain = sample(
        ClassifierFree(load(made.model), 3.0),
        seeds=5,
        n=2,
        cond=asked.condition(),
        sampler=DDIM(),
        steps=2,
        clip=1.0,
    )
    for image in marked(plain.x, asked):
        assert np.ascontiguousarray(image.transpose(1, 2, 0)).tobytes() in shown
    real = marked(data.batch([row]), regions.take(torch.tensor([row])))[0]
    assert np.ascontiguousarray(real.transpose(1, 2, 0)).tobytes() in shown


def test_clusters_that_lie_beside_the_boxes_give_the_cards_their_order(tmp_path, data):
    boxes = regions_of("boxes", data)
    boxes.save(tmp_path)
    assert beside_boxes(boxes, tmp_path, data).distances is None
    clusters = Annotation(boxes.ids, 3, fingerprint=data.fingerprint, distances=torch.arange(40).float())
    clusters.save(tmp_path / "clusters")
    assert torch.equal(beside_boxes(boxes, tmp_path, data).distances, clusters.distances)
    other = boxes.with_ids(boxes.ids.flip(0), 3)
    assert beside_boxes(other, tmp_path, data).source == "clusters beside the boxes"
