"""Presets of `steer`: which are one by default, what keeps its shape, steps backward and steps made again."""

import pytest
import torch

import windvane as wv
from windvane.energies import Reward
from windvane.guidance import presets
from windvane.process import PFGMPP
from windvane.samplers import BoundDenoiser
from windvane.tasks.steering import METHODS, Wish, check_method, guidance, steer

SHAPE = (1, 4, 4)
ENERGY = Reward(lambda x: -(x - 0.5).square().flatten(1).sum(1), name="half")
TIMED = Reward(lambda x, t: -(x - 0.5).square().flatten(1).sum(1), timed=True, name="half")


@pytest.fixture(scope="module")
def model():
    means = torch.rand(6, 16, generator=torch.Generator().manual_seed(0)) * 1.6 - 0.8
    return wv.GaussianMixtureDenoiser([1.0] * 6, means, [0.1] * 6, wv.VPCosine(), shape=SHAPE)


def drawn(model, preset, weight=1.0, **settings):
    energy = TIMED if METHODS[preset].noisy else ENERGY
    run = {"seeds": 3, "n": 4, "steps": 6, "clip": None, "progress": False, "sampler": wv.DDPM(), **settings}
    return steer(model, [Wish("text", "half", energy, weight)], preset=preset, **run)


ALIKE = [{"dps", "freedom"}, {"universal", "steered"}, {"adm", "sdg"}]


def test_presets_that_push_alike_are_one_by_default(model):
    """As the documentation and --help say."""
    found = {preset: drawn(model, preset).x for preset in METHODS}
    for a in METHODS:
        for b in METHODS:
            alike = a == b or {a, b} in ALIKE
            assert torch.equal(found[a], found[b]) == alike, (a, b)
    own = {preset: drawn(model, preset, paper_scale=True).x for preset in METHODS}
    assert not torch.equal(own["universal"], own["steered"])


def test_tfg_keeps_the_shape_of_its_weights(model):
    """Both pushes of a step are 0.25 h / mean h of the step's length, h = abar_t / abar_s."""
    times = torch.linspace(0.9, 0.0, 7, dtype=torch.float64)
    abar = model.process.alpha(times) ** 2
    h = abar[:-1] / abar[1:]
    x = torch.randn(3, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for number in (0, 1):
        made = guidance(ENERGY, 0.8, "tfg")
        one = type(made)(made.guides[number : number + 1]).sampler(wv.DDIM())
        for k in (0, 2, 5):
            state, denoise = one.init(x, times), BoundDenoiser(model)
            with torch.no_grad():
                pushed, _ = one.step(denoise, x, times[k], times[k + 1], state, None)
                plain, _ = wv.DDIM().step(denoise, x, times[k], times[k + 1], (), None)
            share = ((pushed - plain).square().mean((1, 2, 3)) / (plain - x).square().mean((1, 2, 3))).sqrt()
            expected = 0.8 * METHODS["tfg"].fraction * h[k] / h.mean()
            torch.testing.assert_close(share, expected.expand(3), rtol=1e-6, atol=1e-8)


def test_relative_steps_backward(model):
    """Three steps from D, each a third of the fraction of what noise leaves unknown, and the forward push."""
    x_t, t = torch.randn(5, *SHAPE).double(), torch.full((5,), 0.4, dtype=torch.float64)
    both = guidance(ENERGY, 0.7, "universal", backward=3).denoiser(model)(x_t, t)
    forward = guidance(ENERGY, 0.7, "universal").denoiser(model)(x_t, t)
    alpha, sigma = (float(v[0]) for v in (model.process.alpha(t), model.process.sigma(t)))
    d = model(x_t, t)
    unit = (x_t - alpha * d).flatten(1).square().mean(1).sqrt() / (alpha**2 + sigma**2) ** 0.5
    moved = d
    for _ in range(3):
        at = moved.detach().requires_grad_(True)
        (g,) = torch.autograd.grad(ENERGY(at).sum(), at)
        size = 0.7 * METHODS["universal"].fraction / 3 * unit / g.flatten(1).square().mean(1).sqrt()
        moved = moved + size[:, None, None, None] * g
    torch.testing.assert_close(both - forward, moved - d, rtol=1e-6, atol=1e-9)


def test_steps_backward_at_the_papers_scale(model):
    made = guidance(ENERGY, 0.05, "universal", paper_scale=True, backward=4)
    assert made == presets.universal(ENERGY, 0.05, backward=0.05, backward_iterations=4)
    made = guidance(ENERGY, 0.05, "tfg", paper_scale=True, backward=4)
    theirs = presets.tfg(ENERGY, rho=0.05, mu=0.05, iterations=4)
    assert [(g.weight, g.iterations) for g in made.guides] == [
        (g.weight, g.iterations) for g in theirs.guides
    ]


def test_steps_made_again(model):
    once, thrice = (drawn(model, "freedom", factor=0.2, recurrences=r) for r in (1, 3))
    assert (once.evaluations, thrice.evaluations) == (6, 18)
    own = presets.freedom(ENERGY, 0.2 * METHODS["freedom"].fraction, relative=True, recurrences=3)
    by_hand = wv.sample(model, seeds=3, n=4, steps=6, sampler=own.sampler(wv.DDPM()), progress=False)
    assert torch.equal(thrice.x, by_hand.x)
    plain = drawn(model, "freedom", factor=0.0, recurrences=3)
    assert plain.evaluations == 6, "the unguided arm is plain sampling"
    idle = drawn(model, "freedom", weight=0.0, recurrences=3)
    assert idle.evaluations == 6 and torch.equal(idle.x, plain.x)
    assert "changed nothing" in idle.warnings[0] and "its weight is 0" in idle.warnings[0]


@pytest.mark.parametrize(
    ("preset", "settings", "message"),
    [
        ("dps", {"backward": 2}, "'dps' has no steps backward; those of universal, tfg have"),
        ("tfg", {"backward": 2}, "use them with the paper's own scale"),
        ("universal", {"backward": -1}, "at least 0, got -1"),
        ("magic", {}, "unknown preset 'magic'"),
        (
            "elucd",
            {"paper_scale": True},
            r"'elucd' contain the variance of an ancestral step, which DDIM\(eta=0",
        ),
    ],
)
def test_refusals(preset, settings, message):
    with pytest.raises(ValueError, match=message):
        check_method(preset, wv.DDIM(), wv.VPCosine(), **settings)


def test_what_a_process_forbids_is_found_before_anything_is_made():
    heavy = PFGMPP(dof=16, sigma_max=20.0, sigma_min=0.02)
    with pytest.raises(ValueError, match="a step made again needs Gaussian noise"):
        check_method("dps", wv.DDIM(), heavy, recurrences=2)
    with pytest.raises(ValueError, match="push of the score needs Gaussian noise"):
        check_method("universal", wv.DDIM(), heavy, paper_scale=True)
    for preset in METHODS:
        check_method(preset, wv.DDPM(), wv.VPCosine(), paper_scale=True, recurrences=2)
        check_method(preset, wv.Heun(), heavy)
