import sys

import pytest
import torch

from windvane.metrics import (
    METRICS,
    Pixels,
    evaluate,
    extract_features,
    frechet,
    kernel_distance,
    majority_labels,
    manifold,
    nearest_training,
    within_condition_diversity,
)


class Images:
    """Images in the manner of a data set: read in batches, with labels and a fingerprint."""

    def __init__(self, images, labels=None, fingerprint="a"):
        self.images, self.labels, self.fingerprint = images, labels, fingerprint
        self.largest = 0

    def __len__(self):
        return len(self.images)

    def batch(self, rows):
        self.largest = max(self.largest, len(rows))
        return self.images[rows]


class Means:
    """Mean of each quarter of the picture."""

    name, resize = "quarters", "mean of 2x2 tiles"

    def __call__(self, images):
        return torch.nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)


class Half:
    """Whether the upper half is the brighter one."""

    name = "halves"

    def classify(self, images):
        return torch.stack([images[:, :, 2:].mean((1, 2, 3)), images[:, :, :2].mean((1, 2, 3))], 1)

    def __call__(self, images):
        return self.classify(images).argmax(1)


def pictures(n, seed):
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    images = 0.6 * torch.rand(n, 1, 4, 4, generator=random) - 0.6
    images[labels == 1, :, :2] += 0.5
    images[labels == 0, :, 2:] += 0.5
    return images, labels


@pytest.fixture
def sets():
    (samples, wanted), (unseen, labels), (train, _) = pictures(60, 0), pictures(50, 1), pictures(80, 2)
    return samples, wanted, Images(unseen, labels), Images(train, fingerprint="b")


def named(metrics):
    return {metric.name: metric for metric in metrics}


def test_everything_that_applies_is_measured_and_equals_its_own_function(sets):
    samples, wanted, unseen, train = sets
    found = evaluate(
        samples, unseen, extractor=Means(), train=train, requested=wanted, judge=Half(), progress=False
    )
    assert [metric.name for metric in found] == [name for name in METRICS if name != "cluster_agreement"]
    by = named(found)
    rows, others = Means()(samples), Means()(unseen.images)
    expected = [frechet(rows, others), kernel_distance(rows, others), *manifold(rows, others)]
    for metric in expected:
        assert by[metric.name].value == pytest.approx(metric.value, rel=1e-9)
        assert by[metric.name].low == pytest.approx(metric.low, rel=1e-9)
        assert by[metric.name].extractor == "quarters"
        assert by[metric.name].resize == "mean of 2x2 tiles (from 4x4)"
        assert (by[metric.name].n_samples, by[metric.name].n_reference) == (60, 50)
    copies = nearest_training(samples.flatten(1), train.images.flatten(1), held_out=unseen.images.flatten(1))
    assert by["nearest_train"].value == pytest.approx(copies.distances.mean().item())
    assert by["nearest_train"].extractor == "pixels" and by["nearest_train"].resize == "none (4x4)"
    assert by["agreement"].value == 1.0 and by["agreement"].extractor == "halves"
    real = within_condition_diversity(others, unseen.labels, resamples=0)
    assert by["diversity"].details["reference"] == pytest.approx(real.value)
    assert by["diversity"].value == pytest.approx(within_condition_diversity(rows, wanted).value)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_the_batch_size_does_not_matter(sets, batch_size):
    samples, wanted, unseen, train = sets
    options = {"extractor": Means(), "train": train, "requested": wanted, "annotation": Half()}
    one = evaluate(samples, unseen, batch_size=batch_size, progress=False, **options)
    two = evaluate(samples, unseen, batch_size=1000, progress=False, **options)
    assert [metric.value for metric in one] == pytest.approx([metric.value for metric in two], rel=1e-5)
    assert {metric.name for metric in one} == set(METRICS) - {"agreement"}


def test_no_batch_is_larger_than_asked_for(sets):
    samples, _, unseen, _ = sets
    evaluate(samples, unseen, extractor=Means(), batch_size=8, progress=False)
    assert unseen.largest == 8


def test_a_distance_without_interval_is_streamed_to_the_same_value(sets, monkeypatch):
    samples, _, unseen, _ = sets
    whole = named(evaluate(samples, unseen, extractor=Means(), progress=False))["frechet"]
    monkeypatch.setattr(sys.modules["windvane.metrics.evaluate"], "extract_features", None)
    (stream,) = evaluate(
        samples, unseen, extractor=Means(), metrics=["frechet"], resamples=0, batch_size=9, progress=False
    )
    assert stream.value == pytest.approx(whole.value, rel=1e-9)
    assert stream.comparable_with(whole) and stream.low is None


def test_clusters_can_be_judged_through_their_meaning(sets):
    samples, wanted, unseen, _ = sets
    meaning = majority_labels(torch.tensor([0, 1, 2, 3]), torch.tensor([0, 1, 0, 1]))
    clusters = wanted + 2 * (torch.arange(60) % 3 == 0)
    (metric,) = evaluate(
        samples, unseen, extractor=Means(), requested=clusters, judge=Half(), meaning=meaning,
        metrics=["agreement"], progress=False,
    )  # fmt: skip
    assert metric.value == 1.0


def test_the_training_set_as_reference_is_no_unseen_data(sets):
    samples, _, _, train = sets
    for reference in (train, Images(train.images, fingerprint="b")):
        found = named(evaluate(samples, reference, extractor=Means(), train=train, progress=False))
        assert found["copies"].details["baseline"] == "training set, leave one out"
    same = named(
        evaluate(samples, train.images, extractor=Means(), train=train.images.clone(), progress=False)
    )
    assert same["copies"].details["baseline"] == "training set, leave one out"


def test_samples_beyond_the_range_are_clipped_like_pictures():
    wild, tame = torch.full((3, 1, 2, 2), 1.4), torch.ones(3, 1, 2, 2)
    assert torch.equal(extract_features(wild, Pixels()), extract_features(tame, Pixels()))
    vectors = torch.tensor([[7.0, -9.0]])
    assert torch.equal(extract_features(vectors, Pixels()), vectors)


def test_missing_inputs_and_unknown_names_are_refused(sets):
    samples, wanted, unseen, train = sets

    def ask(*names, **more):
        return evaluate(samples, unseen, extractor=Means(), metrics=names, progress=False, **more)

    with pytest.raises(ValueError, match=r"unknown metrics \['fid'\]; known: frechet, kid"):
        ask("fid")
    with pytest.raises(ValueError, match="'copies' also needs: train"):
        ask("copies")
    with pytest.raises(ValueError, match="'agreement' also needs: requested, judge"):
        ask("agreement")
    with pytest.raises(ValueError, match="'agreement' also needs: meaning"):
        ask("agreement", requested=wanted, judge=Half(), annotation=Half())
    with pytest.raises(ValueError, match="no metrics asked for"):
        ask()
    with pytest.raises(ValueError, match="60 samples, but 59 requested ids"):
        ask("diversity", requested=wanted[1:])
    with pytest.raises(ValueError, match="sample set has 4 rows for 4 features"):
        evaluate(samples[:4], unseen, extractor=Means(), metrics=["frechet"], progress=False)


def test_unfit_images_and_extractors_are_refused(sets):
    samples, _, unseen, _ = sets

    def ask(images, extractor=None):
        return evaluate(images, unseen, extractor=extractor or Means(), progress=False)

    with pytest.raises(ValueError, match="magnitude 255"):
        ask(torch.full((9, 1, 4, 4), 255.0))
    with pytest.raises(ValueError, match=r"must be finite; rows 0\.\.8 are not"):
        ask(torch.full((9, 1, 4, 4), torch.nan))
    with pytest.raises(ValueError, match="uint8"):
        ask(torch.zeros(9, 1, 4, 4, dtype=torch.uint8))
    with pytest.raises(ValueError, match="no images"):
        ask(torch.zeros(0, 1, 4, 4))
    with pytest.raises(ValueError, match=r"len\(\) and batch\(indices\), got list"):
        ask([1, 2])
    with pytest.raises(ValueError, match="text attribute `name`"):
        ask(samples, lambda images: images.flatten(1))
    with pytest.raises(ValueError, match=r"quarters must have the shape \(60, D\)"):
        wrong = Means()
        wrong.__class__ = type("Wrong", (Means,), {"__call__": lambda self, images: images})
        ask(samples, wrong)
