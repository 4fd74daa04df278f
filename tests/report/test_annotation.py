"""The page of an annotation: its numbers by hand, its pictures pixel for pixel, and the same as JSON."""

import json
import math
import re

import numpy as np
import pytest
import torch

from windvane.annotate import Annotation, BoxAnnotation, MaskAnnotation, Origin, annotate
from windvane.annotate.images.robustness import CHANGES, ChangedImages, augmentation_stability, changed
from windvane.data import ImageData, digits, train_and_held_out
from windvane.report import annotation_report
from windvane.report.annotation_audit import audit
from windvane.report.annotation_drawing import FOUND, PALETTE, bars, coloured, draw_boxes, paint_masks
from windvane.report.annotation_facts import box_facts, candidates, largest_boxes, mask_facts
from windvane.report.annotation_parts import audit_section, chosen_members, thumbnails

from .test_page import decoded, read


@pytest.fixture(scope="module")
def parts():
    train, held_out = train_and_held_out(digits(), seed=0)
    return train.subset(slice(0, 240)), held_out.subset(slice(0, 120))


@pytest.fixture(scope="module")
def found(parts):
    return annotate(parts[0], features="pca:10", k=6, restarts=1, progress=False)


def drawn(boxes, n, size=(8, 8), owner=None):
    return BoxAnnotation(
        torch.tensor(boxes), size=size, origin=Origin("lost", "patches(x=1)"), owner=owner, n=n
    )


def test_the_page_and_its_json(parts, found, tmp_path):
    train, held_out = parts
    boxes = drawn([[1, 2, 6, 7]] * 240, 240)
    masks = MaskAnnotation(torch.arange(240)[:, None, None].expand(240, 8, 8) % 2, 2, origin=Origin("stego"))
    samples = train.batch(slice(0, 30))
    path = annotation_report(
        train,
        out=tmp_path,
        ids=found,
        boxes=boxes,
        masks=masks,
        true_boxes=[torch.tensor([[1, 2, 6, 7]])] * 120 + [torch.tensor([[0, 0, 2, 2]])] * 120,
        true_masks=masks.masks.long(),
        held_out=held_out,
        samples=samples,
        sample_ids=found.ids[:30],
        ks=(3, 6),
        progress=False,
    )
    text, _ = read(path.read_text(encoding="utf-8"))
    for words in (
        "6 clusters by pca features, boxes by lost, masks by stego; 240 images of 8 × 8 × 1",
        "K = 6 is the largest candidate",
        "nearest",
        "typical",
        "at random",
        "50.0% of 240 images",
        "samples nearer than real images",
        "images mirrored",
        "100% of the samples are nearer to a training image",
    ):
        assert words in text, words
    told = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert told["boxes"]["truth"]["corloc"] == 0.5 and told["masks"]["truth"]["mean_iou"] == 1
    assert told["audit"]["samples"]["median"] == 0 and told["audit"]["real"]["images"] == 120
    assert told["choice"]["recommended"] == 6 and [c["k"] for c in told["choice"]["candidates"]] == [3, 6]
    assert set(told["augmentations"]["changes"]) == set(CHANGES) and 0 < told["stability"]["ami"] <= 1
    assert told["agreement"] == found.report(train.labels)["agreement"]
    # A member of the largest cluster lies on the page with its box drawn.
    large = coloured(train.batch(found.members(0, 1)), 6)
    draw_boxes(large[0], [[1, 2, 6, 7]], FOUND, 6)
    shown = {image.tobytes() for image in decoded(path.read_text(encoding="utf-8"))}
    assert np.ascontiguousarray(large[0].transpose(1, 2, 0)).tobytes() in shown


def test_ids_that_were_given_have_a_page_too(parts, tmp_path):
    train, held_out = parts
    labels = Annotation.given(train.labels, train, k=10)
    path = annotation_report(train, out=tmp_path, ids=labels, held_out=held_out, progress=False)
    text, _ = read(path.read_text(encoding="utf-8"))
    assert "10 labels (labels)" in text and "Label 3" in text and "at random" in text
    assert "Stability" not in text and "How many clusters" not in text and "typical" not in text
    told = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert told["audit"]["baseline"] == "held-out images"
    assert [row["real"] for row in told["audit"]["clusters"]] == held_out.label_counts().tolist()


def test_how_many_clusters_is_asked_without_stability_too(parts, found, tmp_path):
    """`annotate.stability=0` leaves out the seeds of these clusters, not the recommended number."""
    told = {}
    for name, seeds in (("without", ()), ("with", (0, 1, 2))):
        page = annotation_report(
            parts[0], out=tmp_path / name, ids=found, seeds=seeds, changes=(), progress=False
        )
        told[name] = json.loads((page.parent / "report.json").read_text(encoding="utf-8"))
    assert "stability" in told["with"] and "stability" not in told["without"]
    assert told["with"]["choice"] == told["without"]["choice"]


def test_few_images_have_a_page_too(tmp_path):
    for n in (1, 2, 3):
        data = digits().subset(slice(0, n))
        ids = annotate(data, features="pixels", k=1, progress=False)
        page = annotation_report(data, out=tmp_path / str(n), ids=ids, progress=False)
        told = json.loads((page.parent / "report.json").read_text(encoding="utf-8"))
        assert [one["k"] for one in told["choice"]["candidates"]] == [1, 2][:n]
        assert ("audit" in told) == ("Memorisation" in page.read_text(encoding="utf-8")) == (n > 1)


def test_what_does_not_belong_is_refused(parts, found, tmp_path):
    train, held_out = parts
    with pytest.raises(ValueError, match="nothing to report"):
        annotation_report(train, out=tmp_path)
    with pytest.raises(ValueError, match="240 images"):
        annotation_report(held_out, out=tmp_path, ids=found)
    with pytest.raises(ValueError, match="true boxes of 3 images"):
        box_facts(drawn([[0, 0, 1, 1]], 1), [torch.zeros(0, 4)] * 3)
    with pytest.raises(ValueError, match="the id that was asked for"):
        audit(found, train, samples=train.batch(slice(0, 3)))


def test_facts_that_are_known_are_shown_and_kept(parts, found, tmp_path):
    train, _ = parts
    boxes = drawn([[1, 2, 6, 7]] * 240, 240)
    given = Annotation.given(found.ids, train, k=6, source="clusters beside the boxes")
    again = {"iou": 0.75, "kept": 0.5}
    known = {
        "area": {"mean": 0.25},
        "stability": {"seeds": [0, 1], "ami": 0.625, "ari": 0.5, "ami_lowest": 0.25},
        "region_stability": {
            "kind": "boxes",
            "images": 12,
            "changes": {"mirrored": again},
            "seeds": {"seeds": [0, 1, 2], **again, "iou_lowest": 0.125},
        },
        "n": -1,
    }
    page = annotation_report(train, out=tmp_path, ids=given, boxes=boxes, known=known, progress=False)
    html, cell = page.read_text(encoding="utf-8"), "</td><td class='number'>"
    for words in (
        f"2 seeds, every pair{cell}0.62<br><small>lowest 0.25",
        "Stability of the boxes",
        f"3 seeds, every pair{cell}0.75<br><small>lowest 0.12",
        f"images mirrored{cell}0.75{cell}50%",
        "12 images drawn at random",
    ):
        assert words in html, words
    told = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert told["area"] == {"mean": 0.25} and told["region_stability"] == known["region_stability"]
    assert told["n"] == 240 and told["boxes"]["area"]["50%"] == 25 / 64, "the page's own facts are newer"


def test_samples_of_masks_are_looked_at_together(parts, tmp_path):
    train, held_out = parts
    masks = MaskAnnotation(torch.zeros(240, 8, 8, dtype=torch.uint8), 2, origin=Origin("stego"))
    samples = torch.cat([train.batch(slice(0, 10)), held_out.batch(slice(0, 30))])
    page = annotation_report(
        train, out=tmp_path, masks=masks, held_out=held_out, samples=samples, progress=False
    )
    text, _ = read(page.read_text(encoding="utf-8"))
    assert "Memorisation" in text and "nearer than real" in text and "Clusters with most" not in text
    told = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["audit"]
    assert told["clusters"] == [] and told["samples"]["images"] == 40 and told["real"]["images"] == 120
    assert 0.25 <= told["samples"]["nearer"] <= 0.4, "ten copies, and few of the thirty others"
    alone = audit(None, train, samples=samples)
    assert alone["baseline"].startswith("training images")
    with pytest.raises(ValueError, match="cannot be compared"):
        audit(None, train, samples=samples[:, :, :4])
    with pytest.raises(ValueError, match="the id that was asked for"):
        audit(None, train, samples=samples, sample_ids=torch.zeros(40, dtype=torch.int64))


def test_distances_are_to_the_nearest_training_image_of_any_cluster(parts, found):
    train, held_out = parts
    rows, unseen = (
        train.batch(slice(None)).flatten(1).double(),
        held_out.batch(slice(None)).flatten(1).double(),
    )
    ids = found(held_out.batch(slice(None)))
    samples = torch.cat([train.batch(slice(0, 4)), held_out.batch(slice(0, 4))])
    asked = torch.cat([found.ids[:4], ids[:4]])
    told = audit(found, train, held_out=held_out, samples=samples, sample_ids=asked)
    distances = torch.cdist(unseen, rows).min(dim=1).values
    assert told["threshold"] == pytest.approx(float(torch.quantile(distances, 0.05)), rel=1e-6)
    for row in told["clusters"]:
        own = distances[ids == row["cluster"]]
        assert row["real"] == len(own)
        assert row["real_median"] == pytest.approx(float(own.median()), rel=1e-6)
        copies = int((found.ids[:4] == row["cluster"]).sum())
        if row["samples"] and copies == row["samples"]:
            assert row["nearer"] == 1 and row["samples_median"] == 0
    others = audit(found, train)
    assert others["baseline"].startswith("training images")
    gaps = torch.cdist(rows, rows).fill_diagonal_(math.inf).min(dim=1).values
    assert others["real"]["median"] == pytest.approx(float(gaps.median()), rel=1e-6)


def test_training_images_are_read_in_parts(parts, found, monkeypatch):
    """Distances are the same, and no more images are held at a time than are looked at."""
    import windvane.metrics
    from windvane.metrics import features

    train, held_out = parts
    whole = audit(found, train, held_out=held_out, samples=train.batch(slice(0, 9)), sample_ids=found.ids[:9])
    held, extract, split = [], windvane.metrics.extract_features, features.feature_parts
    monkeypatch.setattr(
        windvane.metrics,
        "extract_features",
        lambda images, *a, **n: (held.append(len(images)), extract(images, *a, **n))[1],
    )
    monkeypatch.setattr(
        features, "feature_parts", lambda images, space: split(images, space, values=64 * 50, batch_size=16)
    )
    again = audit(found, train, held_out=held_out, samples=train.batch(slice(0, 9)), sample_ids=found.ids[:9])
    assert max(held) == 120 and len(train) == 240
    assert again["threshold"] == pytest.approx(whole["threshold"], rel=1e-6)
    assert again["samples"]["median"] == 0
    for one, two in zip(again["clusters"], whole["clusters"]):
        assert one["real_median"] == pytest.approx(two["real_median"], rel=1e-6)
    alone, left = audit(found, train, most=50), audit(None, train, most=50)
    assert max(held) == 120 and alone["real"] == left["real"] and alone["real"]["median"] > 0


def test_large_images_are_compared_at_32_pixels():
    levels = np.random.default_rng(0).integers(0, 256, (12, 3, 48, 48), dtype=np.uint8)
    data = ImageData(levels)
    told = audit(Annotation.given(torch.arange(12) % 2, data), data)
    small = torch.nn.functional.interpolate(
        data.batch(slice(None)), size=(32, 32), mode="bilinear", antialias=True, align_corners=False
    )
    gaps = torch.cdist(small.flatten(1), small.flatten(1)).fill_diagonal_(math.inf).min(dim=1).values
    assert told["real"]["median"] == pytest.approx(float(gaps.median()), rel=1e-4)
    assert "size=32" in told["space"]


def test_many_clusters_make_no_huge_table(found):
    rows = [{"cluster": i, "size": 30 + i, "real": 1, "real_median": 1.0} for i in range(400)]
    told = {"samples": None, "baseline": "b", "real": {"images": 1, "median": 1.0}, "clusters": rows}
    html = audit_section(told)
    assert html.count("<tr>") == 17 and "385 more clusters are in report.json" in html
    assert "0 (30 images)" in html, "the smallest come first"


def test_members_nearest_typical_and_random():
    distances = torch.tensor([float(i) for i in range(30)]).flip(0)
    ids = Annotation(torch.zeros(30, dtype=torch.int64), 1, fingerprint="f", distances=distances)
    chosen = chosen_members(ids, 0, 4)
    assert sorted(distances[chosen["nearest"]].tolist()) == [0, 1, 2, 3]
    assert sorted(distances[chosen["typical"]].tolist()) == [13, 14, 15, 16]
    assert len(set(chosen["at random"].tolist())) == 4
    assert list(chosen_members(ids, 0, 40)) == ["all"] and len(chosen_members(ids, 0, 40)["all"]) == 30


def test_boxes_are_outlined_on_their_own_pixels():
    large = coloured(torch.full((1, 1, 6, 8), -1.0), 4)
    draw_boxes(large[0], [[2, 1, 5, 4]], FOUND, 4)
    painted = (large[0] == np.array(FOUND, dtype=np.uint8)[:, None, None]).all(axis=0)
    lines, columns = np.nonzero(painted)
    assert (lines.min(), lines.max() + 1, columns.min(), columns.max() + 1) == (4, 16, 8, 20)
    assert painted.sum() == 2 * 12 + 2 * 10, "an outline one pixel thick"


def test_masks_are_painted_half_over_the_image():
    image = coloured(torch.tensor([[[[-1.0, 1.0]]]]), 2)
    made = paint_masks(image, torch.tensor([[[0, 1]]]), 2)
    assert made[0, :, 0, 0].tolist() == np.rint(0.5 * np.array(PALETTE[0])).tolist()
    assert made[0, :, 1, 3].tolist() == np.rint(127.5 + 0.5 * np.array(PALETTE[1])).tolist()


def test_large_images_are_shown_small_and_small_ones_as_they_are():
    assert thumbnails(torch.zeros(2, 3, 200, 100)).shape == (2, 3, 96, 48)
    assert thumbnails(torch.zeros(2, 3, 32, 32)).shape == (2, 3, 32, 32)


def test_bars_have_the_heights_of_their_values():
    svg = bars(
        [4, 2, 1], labels=["a", "b", "c"], title="T", x_label="x", y_label="y", line=2, line_label="two"
    )
    heights = [float(h) for h in re.findall(r"<rect[^>]* height='([\d.]+)'", svg)]
    assert heights[0] == pytest.approx(2 * heights[1], rel=1e-3)
    assert heights[1] == pytest.approx(2 * heights[2], rel=1e-3)
    many = bars([1] * 300, labels=[str(i) for i in range(300)], title="", x_label="", y_label="")
    assert 10 <= many.count("text-anchor='middle'") <= 30, "labels would run into each other"


def test_box_facts_by_hand():
    boxes = drawn([[0, 0, 2, 2], [0, 0, 4, 4], [4, 4, 8, 8]], 4, owner=torch.tensor([0, 0, 2]))
    assert largest_boxes(boxes).tolist() == [[0, 0, 4, 4], [0, 0, 0, 0], [4, 4, 8, 8], [0, 0, 0, 0]]
    truth = [
        torch.tensor([[0, 0, 4, 2], [6, 6, 8, 8]]),
        torch.tensor([[0, 0, 8, 8]]),
        torch.tensor([[0, 0, 4, 4]]),
        torch.zeros(0, 4, dtype=torch.int64),
    ]
    told = box_facts(boxes, truth)
    assert told["images_without"] == 2 and told["most_in_an_image"] == 2
    assert told["truth"]["images"] == 3
    assert told["truth"]["corloc"] == pytest.approx(1 / 3), "IoU of exactly one half counts"
    assert told["truth"]["mean_iou"] == pytest.approx(0.5 / 3)


def test_mask_facts_match_ids_to_classes():
    masks = MaskAnnotation(torch.tensor([[[0, 0, 1, 1]], [[1, 1, 1, 0]]]), 3, origin=Origin("stego"))
    told = mask_facts(masks, torch.tensor([[[1, 1, 0, 0]], [[0, 0, 0, 0]]]))
    assert told["pixels"] == [3 / 8, 5 / 8, 0] and told["images"] == [2, 2, 0]
    assert told["truth"]["iou"] == {"0": pytest.approx(5 / 6), "1": pytest.approx(2 / 3)}
    assert told["truth"]["mean_iou"] == pytest.approx((5 / 6 + 2 / 3) / 2)
    assert told["truth"]["pixel_accuracy"] == pytest.approx(7 / 8)


def test_candidates_lie_round_the_present_number():
    assert candidates(30, 1200) == [8, 15, 30, 60, 120]
    assert candidates(2, 20) == [2, 4] and candidates(50, 60) == [12, 50]


@pytest.mark.parametrize("change", CHANGES)
def test_changes_are_small_and_depend_on_the_row_alone(change):
    images = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    made = changed(images, range(6), change, seed=3)
    one = torch.cat([changed(images[i : i + 1], [i], change, seed=3) for i in range(6)])
    assert torch.equal(made, one)
    assert not torch.equal(made, images) and float(made.abs().max()) <= 1
    if change == "mirrored":
        assert torch.equal(made.flip(-1), images)
    if change == "darker":
        torch.testing.assert_close((made + 1) / 0.8 - 1, images)
    if change == "noisy":
        inside = made.abs() < 1
        assert 0.08 < float((made - images)[inside].std()) < 0.12
    if change == "shifted":
        for image, other in zip(images, made):
            places = [
                (y, x)
                for y in range(-2, 3)
                for x in range(-2, 3)
                if torch.equal(image[:, 2:14, 2:14], other[:, 2 + y : 14 + y, 2 + x : 14 + x])
            ]
            assert len(places) == 1


def test_stability_over_changes_tells_what_features_ignore(parts):
    train, _ = parts

    class Brightness:
        """Sees the sorted rows' means only: mirroring left to right changes nothing."""

        name, dim = "row means", 8

        def __call__(self, images):
            return images.mean(dim=(1, 3))

    found = annotate(train, features=Brightness(), k=5, restarts=1, progress=False)
    told = augmentation_stability(found, train, changes=("mirrored", "shifted"), progress=False)
    assert told["images"] == 240
    assert told["changes"]["mirrored"] == {"kept": 1.0, "ami": pytest.approx(1), "ari": pytest.approx(1)}
    assert told["changes"]["shifted"]["kept"] < 0.8
    with pytest.raises(ValueError, match="without features"):
        augmentation_stability(Annotation.given(train.labels, train), train)


def test_changed_images_are_rows_of_the_data(parts):
    train, _ = parts
    seen = ChangedImages(train, torch.tensor([5, 9, 2]), "darker")
    torch.testing.assert_close(seen.batch(slice(1, 3)), changed(train.batch([9, 2]), [9, 2], "darker"))
    assert len(seen) == 3 and seen.fingerprint != train.fingerprint
    plain = ChangedImages(train, torch.tensor([5, 9, 2]), None)
    assert torch.equal(plain.batch(slice(None)), train.batch([5, 9, 2]))


def test_colour_images_have_a_page(tmp_path):
    levels = np.random.default_rng(0).integers(0, 256, (30, 3, 8, 8), dtype=np.uint8)
    data = ImageData(levels)
    found = annotate(data, features="pixels", k=2, restarts=1, progress=False)
    path = annotation_report(data, out=tmp_path, ids=found, seeds=(), changes=(), progress=False)
    shown = [image for image in decoded(path.read_text(encoding="utf-8")) if image.ndim == 3]
    assert any(
        image.tobytes() == levels[int(found.members(0, 1))].transpose(1, 2, 0).tobytes() for image in shown
    )
    assert "Stability" not in path.read_text(encoding="utf-8")
