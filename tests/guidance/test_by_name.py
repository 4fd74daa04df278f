"""Guidance by name is the class itself: options from text, several joined, the weight of a command."""

from dataclasses import replace

import pytest
import torch

from tests.guidance.test_autoguidance import COND, MAIN, WEAK, T, X, logits
from windvane.adapters.guiders import GuidedByDiffusers
from windvane.energies import ClassLogProb
from windvane.guidance import Autoguidance, ClassifierFree, GradientFree, KickedSampler, interval
from windvane.guidance.by_name import Named, guided, guided_sampler
from windvane.guidance.methods import guidance
from windvane.operators import Matrix, Measured
from windvane.registry import entries
from windvane.samplers import DDIM, sample

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
    by_energy = row.name in ("energy", "kicked")
    read = Named.read(f"{row.name}:brightness" if by_energy else row.name)
    assert (read.energy is not None) == by_energy and read.wraps == ("sampler" if by_energy else "denoiser")
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
        ("energy", "needs an energy: energy:NAME, with one of class, measure, brightness"),
        ("energy:bright", "there is no energy 'bright'; did you mean 'brightness'"),
        ("energy:brightness=3", "'brightness' has no value, got 'brightness=3'"),
        ("kicked:class=3,near=2", "energy 'class' has the options"),
    ],
)
def test_what_is_wrong_names_what_would_work(text, message):
    with pytest.raises(ValueError, match=message):
        named(text)


def test_files_are_those_of_models_and_classifiers():
    assert Named.read("gradient-free:classifier=a.pt2,weak=b,strength=2").files() == ["a.pt2", "b"]
    assert Named.read("apg:eta=0").files() == []


def stepped(text, **settings):
    sampler = guided_sampler(DDIM(), [text, "cfg:weight=2"], openers=OPENERS, **settings)
    return sample(MAIN, seeds=5, n=3, sampler=sampler, steps=6, progress=False).x


def test_an_energy_by_name_pushes_the_steps_of_the_sampler():
    energy = ClassLogProb(logits, 1, tau_marginal=0.5)
    made = guidance(energy, 2.0, "mpgd").sampler(DDIM())
    expected = sample(MAIN, seeds=5, n=3, sampler=made, steps=6, progress=False).x
    text = "energy:class=1,classifier=sorts,weight=2,preset=mpgd,tau_marginal=0.5"
    same(stepped(text), expected)
    guides = tuple(replace(guide, window=(0.2, 3.0)) for guide in made.guides)
    inside = sample(MAIN, seeds=5, n=3, sampler=replace(made, guides=guides), steps=6, progress=False).x
    same(stepped(text, window=(0.2, 3.0)), inside)
    assert not torch.equal(inside, expected)


def test_a_kick_by_name():
    kicked = KickedSampler(DDIM(), ClassLogProb(logits, 1), size=0.3, sine=0.0)
    expected = sample(MAIN, seeds=5, n=3, sampler=kicked, steps=6, progress=False).x
    same(stepped("kicked:class=1,classifier=sorts,size=0.3,sine=0"), expected)


def test_a_projection_by_name():
    operator = Matrix(torch.tensor([[1.0, 0.0]], dtype=torch.float64))
    openers = {
        "measurement": {
            "there": Measured(operator, torch.tensor([[0.3]], dtype=torch.float64), "there")
        }.__getitem__
    }
    found = guided(MAIN, ["projected:measure=there"], openers=openers)(X, T, None)
    plain, there = MAIN(X, T, None), torch.tensor([0.3], dtype=torch.float64)
    # What is kept within [-1, 1] and on the measurement: here the other number is clamped.
    torch.testing.assert_close(found[:, 0], there.expand(6))
    torch.testing.assert_close(found[:, 1], plain[:, 1].clamp(-1, 1))
    half = guided(MAIN, ["projected:measure=there,weight=0.5"], openers=openers)(X, T, None)
    torch.testing.assert_close(half, 0.5 * (plain + found))
    with pytest.raises(ValueError, match="'projected' has one weight, and knows no interval"):
        guided(MAIN, ["projected:measure=there"], window=(0.1, 1.0), openers=openers)


def test_a_measurement_is_no_file_of_a_model():
    read = Named.read("energy:measure=superres:a.png,preset=dps")
    assert (read.files(), read.measurements()) == ([], ["superres:a.png"])
