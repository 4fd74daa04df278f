"""SDG's protocol: targets that travel with their samples, and judges that rank by what was meant."""

import sys

import pytest
import torch

import windvane as wv
from windvane.conditions import Condition
from windvane.randomness import scoped_seed
from windvane.tasks.steering import (
    Candidates,
    Judges,
    image_wish,
    own_eyes,
    picture_candidates,
    protocol,
    steer,
    text_candidates,
    text_wish,
)
from windvane.tasks.steering.measure import map_distances
from windvane.tasks.steering.protocol import dealt
from windvane.text import TextImageEncoder, describe, vocabulary_of

SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def data():
    return wv.open_data("digits")


@pytest.fixture(scope="module")
def model(data):
    means = data.batch(slice(0, 6)).flatten(1)
    return wv.GaussianMixtureDenoiser(
        [1.0] * 6, means, [0.1] * 6, wv.VPCosine(), shape=SHAPE, classes=range(6)
    )


def encoder(data, seed):
    with scoped_seed(seed):
        made = TextImageEncoder(SHAPE, vocabulary_of(describe(data)), width=8)
    return made.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def eyes(data, model):
    return own_eyes(encoder(data, 0), model.process)


@pytest.fixture(scope="module")
def judges(data):
    return Judges(encoder(data, 1), None, None)


@pytest.mark.parametrize("kinds", [("text",), ("like",), ("text", "style")], ids="+".join)
def test_each_sample_follows_its_own_target_in_batches_too(data, model, eyes, judges, kinds, monkeypatch):
    """By hand: one call for each candidate, with the target as an ordinary wish."""
    made = [text_candidates(data, 3) if k == "text" else picture_candidates(data, k, 3) for k in kinds]
    kept = []
    monkeypatch.setattr(
        sys.modules[protocol.__module__], "_measured", lambda images, *rest: kept.append(images)
    )
    run = dict(factors=(0.0, 1.0), seed=4, steps=5, clip=None, progress=False)
    protocol(model, eyes, made, judges, per=2, batch_size=4, **run)
    plain, guided = kept
    sampled = wv.sample(model, seeds=4, n=6, steps=5, progress=False).x
    assert torch.allclose(plain, sampled.clamp(-1, 1), atol=1e-5)
    for k in range(3):
        wishes = [
            text_wish(eyes, one.names[k])
            if one.pictures is None
            else image_wish(eyes, one.kind, one.pictures[k : k + 1], model.process)
            for one in made
        ]
        seeds = [4 + 2 * k, 5 + 2 * k]
        alone = steer(model, wishes, seeds=seeds, steps=5, clip=None, progress=False).x.clamp(-1, 1)
        assert torch.allclose(guided[2 * k : 2 * k + 2], alone, atol=1e-4)
        assert not torch.allclose(plain[2 * k : 2 * k + 2], alone, atol=1e-2)


def test_states_are_decoded_in_parts(data, model, eyes, judges):
    sizes = []

    def decode(x):
        sizes.append(len(x))
        return x

    made = picture_candidates(data, "like", 3)
    protocol(
        model, eyes, made, judges, n=7, batch_size=3, factors=(0.0,), steps=2, decode=decode, progress=False
    )
    assert sizes == [3, 3, 1]


def test_the_models_own_condition_goes_along(data, model, eyes, judges):
    """A class for all: unguided samples then come from that class's mean."""
    made = picture_candidates(data, "like", 3)
    seen = []

    class Keeps(Judges):
        def features(self, images):
            seen.append(images)
            return images.flatten(1).double()

    cond = Condition.vector(torch.tensor([2]))
    keeps = Keeps(judges.encoder, None, None)
    protocol(model, eyes, made, keeps, per=2, factors=(0.0,), steps=20, cond=cond, progress=False)
    near = torch.cdist(seen[0].flatten(1), data.batch(slice(0, 6)).flatten(1)).argmin(1)
    assert (near == 2).all()


@pytest.mark.parametrize("kind", ["text", "like", "content", "style"])
def test_what_is_the_candidate_itself_is_found_first(data, judges, kind):
    if kind == "text":
        made = text_candidates(data, 12)
        with torch.no_grad():
            texts = judges.encoder.text(list(made.names))

        class Reads:  # an image side that sees in picture k the text k
            text = judges.encoder.text

            def image(self, x):
                return texts[x[:, 0, 0, 0].long()]

        rows = torch.arange(12.0).reshape(-1, 1, 1, 1).expand(12, *SHAPE)
        near = made.nearness(Judges(Reads(), None, None), rows)
    else:
        made = picture_candidates(data, kind, 12)
        near = made.nearness(judges, made.pictures)
    assert near.shape == (12, 12) and torch.equal(near.argmax(1), torch.arange(12))


def test_distances_of_maps_by_hand():
    a, b = torch.randn(2, 3, 4, 4), torch.randn(5, 3, 4, 4)
    content = map_distances("content", [a], [b])
    assert content[1, 4] == pytest.approx(float((a[1] - b[4]).square().mean()), rel=1e-4)
    f, g = a[1].flatten(1), b[4].flatten(1)
    expected = float((f @ f.T / 48 - g @ g.T / 48).norm())
    assert map_distances("style", [a], [b])[1, 4] == pytest.approx(expected, rel=1e-4)


def test_samples_are_dealt_as_evenly_as_they_go():
    assert dealt(None, 3, 2).tolist() == [0, 0, 1, 1, 2, 2]
    assert dealt(7, 3, 2).tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert dealt(2, 3, 6).tolist() == [0, 1]


def test_one_sample_of_each_has_no_diversity(data, model, eyes, judges):
    made = picture_candidates(data, "like", 3)
    (found,) = protocol(model, eyes, made, judges, n=3, factors=(0.0,), steps=2, progress=False)
    assert found.diversity is None and found.to_dict()["diversity"] is None


def test_mixtures_need_as_many_of_each(data, model, eyes, judges):
    three, two = picture_candidates(data, "like", 3), picture_candidates(data, "style", 2)
    for kinds in ([three, two], [three, three]):
        with pytest.raises(ValueError, match="of different kinds and as many of each, got 3 of like"):
            protocol(model, eyes, kinds, judges, progress=False)
    assert picture_candidates(data, "like", 3).names != picture_candidates(data, "style", 3).names
    assert Candidates("text", ("a", "b", "c")).first(2).names == ("a", "b")
