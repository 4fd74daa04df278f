"""Which judge and which features measure: never those that steered, and none that see nothing."""

import numpy as np
import pytest
import torch

from windvane.data import digits, from_arrays
from windvane.judges import feature_space, judge_and_features, judge_for, kept_judge, poor
from windvane.judges import training as judge_training


@pytest.fixture(autouse=True)
def short_judges(monkeypatch):
    monkeypatch.setitem(judge_training.train_judge.__kwdefaults__, "steps", 3)


def noise(labels=None, *, n=40):
    """Images that have nothing to do with their labels."""
    pictures = np.random.default_rng(0).integers(0, 256, (n, 1, 8, 8), dtype=np.uint8)
    data = from_arrays(pictures)
    data.labels = labels
    return data


def test_a_judge_is_worth_as_much_as_it_knows_beyond_guessing():
    data, said = digits().subset(slice(0, 100)), []
    most = float(data.label_counts().max()) / 100

    class Judge:
        accuracy = 1.9 * most

    assert poor(Judge, data, tell=said.append) and "they are not used" in said[0]
    Judge.accuracy = 2.1 * most
    assert not poor(Judge, data) and len(said) == 1
    halves = noise(torch.arange(40) % 2)  # half are right by guessing: the bar is half-way to certainty
    Judge.accuracy = 0.74
    assert poor(Judge, halves)
    Judge.accuracy = 0.75
    assert not poor(Judge, halves)


def test_a_kept_judge_is_that_of_the_same_images_and_labels(tmp_path, monkeypatch):
    first, second = (kept_judge(noise(torch.arange(40) % k), None, seed=0, cache=tmp_path) for k in (2, 3))
    assert (first.classes, second.classes) == (2, 3) and len(list(tmp_path.iterdir())) == 2

    def never(*given, **named):
        raise AssertionError("a network was trained")

    monkeypatch.setattr(judge_training, "_fit", never)
    again = kept_judge(noise(torch.arange(40) % 2), None, seed=0, cache=tmp_path)
    images = noise().batch(slice(None))
    torch.testing.assert_close(again.classify(images), first.classify(images), rtol=0, atol=0)
    with pytest.raises(AssertionError, match="was trained"):
        kept_judge(noise(torch.arange(40) % 2), None, seed=1, cache=tmp_path)


def test_no_judge_is_made_where_features_are_named_or_labels_are_missing():
    labelled = noise(torch.arange(40) % 2)
    assert judge_for(labelled, None, features="pixels") is None
    assert judge_for(noise(), None) is None
    with pytest.raises(ValueError, match="features judge needs labels, and these images have none"):
        judge_for(noise(), None, features="judge")


def test_named_features_are_fitted_to_the_training_images_and_kept(tmp_path):
    train, reference = noise(n=30), digits().subset(slice(0, 20))
    judge, space = judge_and_features(train, None, reference, features="pca:2", cache=tmp_path)
    own = feature_space(train, features="pca:2")
    images = reference.batch(slice(None))
    assert judge is None and space.name == own.name and len(list(tmp_path.iterdir())) == 1
    torch.testing.assert_close(space(images), own(images))
    kept = feature_space(train, features="pca:2", cache=tmp_path)
    torch.testing.assert_close(kept(images), space(images))
