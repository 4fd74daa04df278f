"""Guidance by name is the class itself: options from text, several joined, the weight of a command."""

import pytest
import torch

from tests.guidance.test_autoguidance import COND, MAIN, WEAK, T, X, logits
from windvane.adapters.guiders import GuidedByDiffusers
from windvane.guidance import Autoguidance, ClassifierFree, GradientFree, interval
from windvane.guidance.by_name import Named, guided
from windvane.registry import entries

OPENERS = {"denoiser": {"weak": WEAK}.__getitem__, "classifier": {"sorts": logits}.__getitem__}


def named(*texts, **settings):
    return guided(MAIN, texts, openers=OPENERS, **settings)(X, T, COND)


def same(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_a_name_with_options_is_its_class():
    same(named("cfg:weight=2.5"), ClassifierFree(MAIN, 2.5)(X, T, COND))
    same(named("autoguidance:weak=weak,weight=1.7"), Autoguidance(MAIN, WEAK, 1.7)(X, T, COND))
    made = GradientFree(MAIN, logits, 1.5, sure=0.9, weak=WEAK)
    same(named("gradient-free:classifier=sorts,strength=1.5,sure=0.9,weak=weak"), made(X, T, COND))


def test_the_weight_and_the_window_of_the_command_are_those_of_a_guidance_that_needs_one():
    window = (0.5, 2.0)
    same(named("cfg", weight=3.0), ClassifierFree(MAIN, 3.0)(X, T, COND))
    same(named("cfg", weight=3.0, window=window), ClassifierFree(MAIN, interval(3.0, *window))(X, T, COND))
    same(named("cfg:weight=2", weight=3.0, window=window), named("cfg", weight=2.0, window=window))
    # Its strength has a default of its own, so the weight is not its.
    same(named("gradient-free:classifier=sorts", weight=9.0), GradientFree(MAIN, logits)(X, T, COND))


def test_the_first_is_the_innermost():
    inside = ClassifierFree(MAIN, 2.0)
    same(
        named("cfg:weight=2", "autoguidance:weak=weak,weight=1.5"),
        Autoguidance(inside, WEAK, 1.5)(X, T, COND),
    )


def test_guiders_of_diffusers():
    from diffusers.guiders import AdaptiveProjectedGuidance

    guider = AdaptiveProjectedGuidance(guidance_scale=2.0, eta=0.0, adaptive_projected_guidance_rescale=5.0)
    same(named("apg:eta=0,rescale=5", weight=2.0), GuidedByDiffusers(MAIN, guider)(X, T, COND))
    # All along the conditional prediction and nothing cut: classifier-free guidance, by another way.
    whole = named("apg:rescale=1e9", weight=2.0)
    torch.testing.assert_close(whole, ClassifierFree(MAIN, 2.0)(X, T, COND), rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="'apg' has one weight, and knows no interval"):
        named("apg", window=(0.1, 1.0))


@pytest.mark.parametrize("row", entries("guidance"), ids=lambda row: row.name)
def test_every_name_can_be_given_by_text(row):
    read = Named.read(row.name)
    assert all(read.kinds.get(option) for option in read.required), "no text can give what it needs"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cgf", "there is no guidance 'cgf'; did you mean 'cfg'"),
        ("cfg:wight=2", "'cfg' has the options weight, got 'wight=2'"),
        ("cfg:2", "'cfg' has the options weight, got '2'"),
        ("cfg:weight=much", "weight is a number, got 'much'"),
        ("cfg:weight=true", "weight is a number, got 'true'"),
        ("autoguidance:weight=2", "needs weak: autoguidance:weak=..."),
        ("gradient-free:candidates=3,classifier=sorts", "has the options"),
        ("", "there is no guidance ''"),
    ],
)
def test_what_is_wrong_names_what_would_work(text, message):
    with pytest.raises(ValueError, match=message):
        named(text)


def test_files_are_those_of_models_and_classifiers():
    assert Named.read("gradient-free:classifier=a.pt2,weak=b,strength=2").files() == ["a.pt2", "b"]
    assert Named.read("apg:eta=0").files() == []
