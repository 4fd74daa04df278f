"""Gradient guidance: exact posteriors, neutral weights, cost, batches, scales, windows, memory."""

import warnings

import pytest
import torch
from torch import nn

from windvane.conditions import Condition
from windvane.denoiser import FunctionDenoiser, NetworkDenoiser
from windvane.energies import ClassLogProb, Measurement, MeasurementNorm, Reward
from windvane.evaluations import count_evaluations
from windvane.exact import GaussianDenoiser
from windvane.guidance import (
    Autoencoder,
    ClassifierFree,
    GradientGuidance,
    GuidanceWarning,
    Guide,
    Guided,
    Variance,
    VarianceAndSine,
    presets,
)
from windvane.operators import Matrix
from windvane.process import EDM, RectifiedFlow, VPCosine
from windvane.samplers import DDIM, DDPM, BoundDenoiser, Heun, UniPC, sample

from .guided_cases import MODEL, PROCESS, TIMES, S, T, X, Z, gradient, mixture, normal
from .test_matrix import SAMPLERS

OPERATOR = Matrix(normal(2, 3, seed=5))
Y = OPERATOR(normal(1, 3, seed=6))
NORM = MeasurementNorm(OPERATOR, Y)
GAUSSIAN = Measurement(OPERATOR, Y, std=0.5)
NOISY = ClassLogProb(MODEL.class_log_prob, 1, timed=True)
ENCODED = Autoencoder(lambda x: torch.tanh(x), lambda z: 1.1 * z + 0.1 * z**2)
PRESETS = {
    "adm": presets.adm(NOISY, 1.0),
    "adm score": presets.adm(NOISY, 1.0, mean_shift=False),
    "sdg": presets.sdg(NOISY, 2.0),
    "dps": presets.dps(NORM, 0.3),
    "lgd": presets.lgd(NORM, 0.3, draws=2),
    "freedom": presets.freedom(NORM, 0.3),
    "universal": presets.universal(NORM, 0.5, backward=0.05, backward_iterations=2),
    "mpgd": presets.mpgd(NORM, 0.3),
    "mpgd ae": presets.mpgd(NORM, 0.3, autoencoder=ENCODED, share=0.5, project_window=(0.1, 50.0)),
    "mpgd z": presets.mpgd(
        NORM, 0.3, autoencoder=ENCODED, project="latent", share=0.5, project_window=(0.1, 50.0)
    ),
    "tfg": presets.tfg(NORM, rho=0.3, mu=0.1, draws=2, iterations=2),
    "elucd": presets.elucd(NORM, 0.5),
    "steered": presets.steered(NORM, 0.5),
}
every = pytest.mark.parametrize("guidance", PRESETS.values(), ids=PRESETS)
BACKWARDS = {"dps", "lgd", "freedom", "universal", "tfg", "steered"}


def draw(sampler, model=MODEL, n=3, steps=6, **settings):
    return sample(
        model, seeds=3, n=n, sampler=sampler, steps=steps, dtype=torch.float64, progress=False, **settings
    )


@every
@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_weight_zero_is_unguided_bit_for_bit(guidance, sampler):
    if any(isinstance(g.weight, Variance | VarianceAndSine) for g in guidance.guides):
        if not sampler.traits.gaussian:
            with pytest.raises(ValueError, match="needs a sampler with a Gaussian step"):
                draw(guidance.scaled(0.0).sampler(sampler))
            return
    with pytest.warns(GuidanceWarning, match="changed nothing"):
        out = draw(guidance.scaled(0.0).sampler(sampler))
    plain = draw(sampler)
    assert torch.equal(out.x, plain.x)
    assert out.calls == plain.calls
    if sampler == DDPM():
        assert not torch.allclose(draw(guidance.sampler(sampler)).x, plain.x, atol=1e-3)


@every
def test_a_batch_is_its_rows(guidance):
    sampler = guidance.sampler(DDPM())
    assert torch.allclose(draw(sampler).x, draw(sampler, batch_size=1).x, atol=1e-9)


def counting():
    """The model, and a list that grows with every backward pass through it."""
    passes = []

    def function(x, t, cond):
        d = MODEL(x, t)
        if d.requires_grad:
            d.register_hook(lambda g: passes.append(1))
        return d

    counted = FunctionDenoiser(function, PROCESS, shape=(3,))
    return counted, passes


@pytest.mark.parametrize("name", PRESETS)
def test_one_evaluation_and_at_most_one_backward_pass_a_step(name):
    counted, passes = counting()
    out = draw(PRESETS[name].sampler(DDPM()), counted)
    assert out.calls == 2 * 6  # the function's own count and the model's inside it: one each a step
    assert len(passes) == (6 if name in BACKWARDS else 0)


def test_a_mixture_still_takes_one_evaluation_and_one_pass():
    counted, passes = counting()
    mixed = presets.dps(NORM, 0.2) + presets.freedom(GAUSSIAN, 0.1) + presets.mpgd(NORM, 0.1)
    out = draw(mixed.sampler(DDIM()), counted)
    assert (out.calls, len(passes)) == (12, 6)
    passes.clear()
    draw((mixed + presets.steered(NORM, 0.1)).sampler(DDIM()), counted)
    assert len(passes) == 12  # one for D and one for x_s


def test_guides_of_one_place_add():
    a, b = Guide(NORM, 0.3, push="score"), Guide(GAUSSIAN, 0.05, push="x0")
    t = T.expand(4)
    with torch.no_grad():
        plain, both = MODEL(X, t), Guided(MODEL, a, b)(X, t)
        apart = Guided(MODEL, a)(X, t) + Guided(MODEL, b)(X, t) - plain
    assert torch.allclose(both, apart, atol=1e-12)
    total = Guide(NORM + 2 * GAUSSIAN, 0.3)
    with torch.no_grad():
        summed = Guided(MODEL, total)(X, t)
        pair = Guided(MODEL, Guide(NORM, 0.3), Guide(GAUSSIAN, 0.6))(X, t)
    assert torch.allclose(summed, pair, atol=1e-12)


COVARIANCE = normal(3, 3, seed=11) @ normal(3, 3, seed=11).T * 0.3 + 0.1 * torch.eye(3, dtype=torch.float64)
MEAN = torch.tensor([0.2, -0.4, 0.1], dtype=torch.float64)


def posterior(std):
    """x0 given y = A x0 + std noise, for x0 ~ N(MEAN, COVARIANCE)."""
    a = OPERATOR.matrix
    gain = COVARIANCE @ a.T @ torch.linalg.inv(a @ COVARIANCE @ a.T + std**2 * torch.eye(2).double())
    return MEAN + gain @ (Y[0] - a @ MEAN), COVARIANCE - gain @ a @ COVARIANCE


def residual_spread(process, t):
    """A Cov(x0 | x_t) A^T, which the approximation of DPS leaves out."""
    alpha, sigma = process.alpha(t), process.sigma(t)
    inner = torch.linalg.inv(alpha**2 * COVARIANCE + sigma**2 * torch.eye(3).double())
    cov = COVARIANCE - alpha**2 * COVARIANCE @ inner @ COVARIANCE
    return OPERATOR.matrix @ cov @ OPERATOR.matrix.T


@pytest.mark.parametrize("process", [VPCosine(), EDM(sigma_max=10.0), RectifiedFlow()], ids=lambda p: p.kind)
def test_linear_gaussian_is_the_exact_posterior_or_the_documented_bias(process):
    """With the exact likelihood N(y; A D, A Cov A^T + std^2) the guided D is the posterior's denoiser.

    With the plain residual N(y; A D, std^2), as in DPS, the covariance of x0 given x_t is left out: the
    push is the exact one with std^2 in place of A Cov A^T + std^2, and so too large.
    """
    std, t = 0.5, torch.tensor(0.4, dtype=torch.float64)
    prior = GaussianDenoiser(MEAN, COVARIANCE, process)
    mean, covariance = posterior(std)
    target = GaussianDenoiser(mean, covariance, process)
    x, times = normal(4, 3, seed=12), t.expand(4)
    spread = residual_spread(process, t) + std**2 * torch.eye(2).double()

    def exact(d):
        r = Y - OPERATOR(d)
        return -0.5 * (r @ torch.linalg.inv(spread) * r).sum(1)

    with torch.no_grad():
        guided = Guided(prior, Guide(Reward(exact)))(x, times)
        assert torch.allclose(guided, target(x, times), atol=1e-8)
        biased = Guided(prior, Guide(Measurement(OPERATOR, Y, std=std)))(x, times)
        d = prior(x, times)
        alpha, sigma = process.alpha(t), process.sigma(t)
        inner = torch.linalg.inv(alpha**2 * COVARIANCE + sigma**2 * torch.eye(3).double())
        cov = COVARIANCE - alpha**2 * COVARIANCE @ inner @ COVARIANCE
        expected = d + (Y - OPERATOR(d)) @ OPERATOR.matrix @ cov / std**2
    assert torch.allclose(biased, expected, atol=1e-8)
    assert (biased - d).norm() > 1.05 * (guided - d).norm()


def test_samples_of_the_exact_posterior():
    """The exact likelihood at x_t, over a whole run: the samples have the posterior's mean and spread."""
    std, prior = 0.5, GaussianDenoiser(MEAN, COVARIANCE, PROCESS)

    def likelihood(x, t):
        d = prior(x, t)
        spread = residual_spread(PROCESS, t[0]) + std**2 * torch.eye(2).double()
        r = Y - OPERATOR(d)
        return -0.5 * (r @ torch.linalg.inv(spread) * r).sum(1)

    guidance = presets.adm(Reward(likelihood, timed=True), 1.0, mean_shift=False)
    out = draw(guidance.sampler(DDIM()), prior, n=1500, steps=40).x
    mean, covariance = posterior(std)
    assert (out.mean(0) - mean).abs().max() < 0.06
    assert (out.T.cov() - covariance).abs().max() < 0.08


def test_scaling_multiplies_every_weight():
    t = T.expand(4)
    for name in ("adm score", "steered"):
        with torch.no_grad():
            plain = MODEL(X, t)
            once = PRESETS[name].denoiser(MODEL)(X, t) - plain
            twice = PRESETS[name].scaled(2.0).denoiser(MODEL)(X, t) - plain
        assert torch.allclose(twice, 2 * once, atol=1e-10)


def test_guided_denoiser_and_guided_sampler_agree():
    for name in ("adm score", "universal", "steered"):
        guidance = PRESETS[name]
        for sampler in (DDIM(), Heun(), UniPC()):
            a = draw(guidance.sampler(sampler))
            b = draw(sampler, guidance.denoiser(MODEL))
            assert torch.allclose(a.x, b.x, atol=1e-10), (name, sampler)
            assert a.calls == b.calls


def test_a_push_of_the_state_makes_a_reused_prediction_anew():
    plain, pushed = draw(UniPC()), draw(PRESETS["dps"].sampler(UniPC()))
    # The last step above zero is not corrected: its prediction is made by the step to zero in any case.
    assert (plain.calls, pushed.calls) == (6, 6 + 4)
    # and the second prediction of a step is pushed nowhere: Heun's cost is its own
    assert draw(PRESETS["dps"].sampler(Heun())).calls == draw(Heun()).calls == 11


def test_works_on_top_of_classifier_free_guidance_and_inside_it():
    cond = Condition.vector(torch.ones(3, dtype=torch.int64))
    outside = draw(PRESETS["steered"].sampler(DDIM()), ClassifierFree(MODEL, 2.0), cond=cond)
    assert outside.rows_per_sample == 12
    inside = draw(DDIM(), ClassifierFree(PRESETS["steered"].denoiser(MODEL), 2.0), cond=cond)
    assert torch.isfinite(inside.x).all() and not torch.allclose(inside.x, outside.x)


def test_targets_per_sample_travel_in_the_condition():
    """Signals that only energies know are hidden from the denoiser, and follow their rows into batches."""
    kinds = Condition({"kind": torch.tensor([0, 1, 0, 1, 1])})
    guidance = presets.adm(ClassLogProb(MODEL.class_log_prob, "kind", timed=True), 3.0, mean_shift=False)
    whole = draw(guidance.sampler(DDIM()), n=5, cond=kinds)
    parts = draw(guidance.sampler(DDIM()), n=5, cond=kinds, batch_size=2)
    assert torch.allclose(whole.x, parts.x, atol=1e-10)
    one = presets.adm(ClassLogProb(MODEL.class_log_prob, 1, timed=True), 3.0, mean_shift=False)
    assert torch.allclose(whole.x[3:], draw(one.sampler(DDIM()), n=5).x[3:], atol=1e-10)
    assert torch.allclose(draw(DDIM(), guidance.denoiser(MODEL), n=5, cond=kinds).x, whole.x, atol=1e-10)


def test_a_window_guides_inside_and_costs_nothing_outside():
    level = PROCESS.noise_level(TIMES)
    window = (float(level[4]), float(level[2]))
    guided = Guided(MODEL, Guide(NORM, 0.3, window=window))
    free = Guided(MODEL, Guide(NORM, 0.3))
    times = TIMES[1:5]  # outside, at the upper edge (inside), inside, at the lower edge (outside)
    with torch.no_grad():
        out, everywhere, plain = guided(X, times), free(X, times), MODEL(X, times)
    inside = torch.tensor([False, True, True, False])
    assert torch.equal(out[inside], everywhere[inside])
    assert torch.equal(out[~inside], plain[~inside])
    assert not torch.allclose(everywhere[~inside], plain[~inside])
    seen = []

    def watched(x):
        seen.append(len(x))
        return NORM(x)

    with torch.no_grad():
        Guided(MODEL, Guide(Reward(watched), window=window))(X[:1], TIMES[1:2])
    assert seen == []


def test_a_step_in_the_latent_moves_rows_in_the_window_only():
    level = PROCESS.noise_level(TIMES)
    window = (float(level[4]), float(level[2]))
    guide = Guide(NORM, 0.3, through=False, push="x0", latent=ENCODED, window=window)
    with torch.no_grad():
        out, plain = Guided(MODEL, guide)(X, TIMES[1:5]), MODEL(X, TIMES[1:5])
    inside = torch.tensor([False, True, True, False])
    assert torch.equal(out[~inside], plain[~inside])
    assert ((out - plain)[inside].abs().amax(1) > 1e-3).all()


def test_relative_pushes_have_the_fraction_asked_for():
    t = T.expand(4)
    with torch.no_grad():
        d = MODEL(X, t)
        pushed = Guided(MODEL, Guide(1e3 * GAUSSIAN, 0.1, relative=True))(X, t)
        weak = Guided(MODEL, Guide(1e-3 * GAUSSIAN, 0.1, relative=True))(X, t)
    alpha, sigma = float(PROCESS.alpha(T)), float(PROCESS.sigma(T))
    eps, moved = (X - alpha * d) / sigma, (X - alpha * pushed) / sigma
    ratio = (moved - eps).square().mean(1).sqrt() / eps.square().mean(1).sqrt()
    # alpha^2 + sigma^2 = 1: the fraction of eps fades with alpha.
    assert torch.allclose(ratio, torch.full((4,), 0.1 * alpha, dtype=torch.float64))
    assert torch.allclose(pushed, weak, atol=1e-9)


def test_relative_pushes_do_not_explode_at_high_noise():
    """sigma / alpha is 1e3 there; the push of D stays at the data's scale."""
    t = torch.full((4,), 0.9995, dtype=torch.float64)
    assert PROCESS.noise_level(t)[0] > 500
    with torch.no_grad():
        push = Guided(MODEL, Guide(GAUSSIAN, 0.1, relative=True))(X, t) - MODEL(X, t)
    assert torch.allclose(push.square().mean(1).sqrt(), 0.1 * X.square().mean(1).sqrt(), rtol=0.02)


def test_a_limit_caps_large_pushes_and_leaves_small_ones():
    t = T.expand(4)
    with torch.no_grad():
        d = MODEL(X, t)
        strong = Guided(MODEL, Guide(GAUSSIAN, 1e4, limit=0.2))(X, t)
        small, free = (Guided(MODEL, Guide(GAUSSIAN, 1e-3, limit=m))(X, t) for m in (0.2, None))
    alpha = float(PROCESS.alpha(T))
    unit = (X - alpha * d).square().mean(1).sqrt()  # alpha^2 + sigma^2 = 1
    assert torch.allclose((strong - d).square().mean(1).sqrt() / unit, torch.full((4,), 0.2).double())
    assert torch.allclose(small, free, atol=1e-12)
    limited = GradientGuidance((Guide(NORM, 1e4, push="state", limit=0.3),)).sampler(DDIM())
    with torch.no_grad():
        denoise = BoundDenoiser(MODEL)
        out, _ = limited.step(denoise, X, T, S, limited.init(X, TIMES), None)
        plain, _ = DDIM().step(denoise, X, T, S, (), None)
    step = (plain - X).square().mean(1).sqrt()
    assert torch.allclose((out - plain).square().mean(1).sqrt() / step, torch.full((4,), 0.3).double())


def test_clipping_stops_no_gradient():
    """The energy sees the prediction before it is clipped, and the sampler after."""
    guidance = presets.dps(Reward(lambda x: -(x - 3).square().sum(1)), 0.05)
    out = draw(guidance.sampler(DDIM()), clip=0.2)
    held = draw(DDIM(), clip=0.2)
    assert (out.x - held.x).abs().min() > 1e-3
    guided = draw(PRESETS["steered"].sampler(DDIM()), clip=0.2)
    assert guided.x.abs().max() <= 0.2 + 1e-12


def test_transition_is_the_step():
    for name in ("dps", "elucd", "mpgd"):
        guided = PRESETS[name].sampler(DDPM())
        with torch.no_grad():
            state, denoise = guided.init(X, TIMES), BoundDenoiser(MODEL)
            mean, std, _ = guided.transition(denoise, X, T, S, state)
            out, _ = guided.step(denoise, X, T, S, state, Z)
        assert torch.allclose(mean + std * Z, out, atol=1e-12)
    assert not PRESETS["dps"].sampler(Heun()).traits.gaussian
    assert not presets.freedom(NORM, 0.1, recurrences=2).sampler(DDPM()).traits.gaussian


def test_gradients_flow_through_guidance():
    guided = Guided(MODEL, Guide(GAUSSIAN, 0.1), Guide(GAUSSIAN, 0.1, through=False, push="x0", iterations=2))
    x = X[:2].clone().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda z: guided(z, T.expand(2)), (x,), atol=1e-6)
    y = Y.clone().requires_grad_(True)
    out = draw(presets.dps(Measurement(OPERATOR, y), 0.3).sampler(DDIM()), grad=True)
    (back,) = torch.autograd.grad(out.x.sum(), y)
    assert back.abs().max() > 1e-3


def test_recurrence_brings_the_energy_up_and_counts():
    once, often = (presets.freedom(NORM, 0.15, recurrences=r).sampler(DDIM()) for r in (1, 4))
    a, b = draw(once, n=64, steps=8), draw(often, n=64, steps=8)
    assert (a.calls, b.calls) == (8, 32)
    assert NORM(b.x).mean() > NORM(a.x).mean()
    assert torch.allclose(draw(often).x, draw(often, batch_size=1).x, atol=1e-9)


class Deep(nn.Module):
    """A network of blocks, as real ones are."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(3, 64), nn.Tanh(), nn.Linear(64, 3)) for _ in "abcd"
        )
        for k, weight in enumerate(self.parameters()):
            weight.data = 0.3 * normal(*weight.shape, seed=k)

    def forward(self, x, time, cond):
        for block in self.blocks:
            x = x + block(x)
        return x


@pytest.mark.parametrize("where", ["denoiser", "sampler"])
def test_low_memory_holds_less_and_gives_equal_pushes(where):
    network = NetworkDenoiser(Deep(), PROCESS, parametrisation="x0", shape=(3,))
    network.requires_grad_(False)
    results = []
    for low_memory in (False, True):
        held = []
        guidance = presets.steered(NORM, 0.3)

        def pack(tensor, held=held):
            held.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept), count_evaluations() as count:
            if where == "denoiser":
                with torch.no_grad():
                    out = guidance.denoiser(network, low_memory=low_memory)(X, T.expand(4))
            else:
                out = draw(guidance.sampler(DDIM(), low_memory=low_memory), network).x
        results.append((out, sum(held), count.calls))
    (a, much, calls), (b, little, again) = results
    assert torch.equal(a, b)
    assert little < 0.5 * much
    assert calls == again
    assert "forward" not in network.network.blocks[0].__dict__


def test_the_rectified_flow_starts_where_there_is_no_data():
    """At t = 1 alpha is 0: no guide acts there, and nothing divides by it."""
    model = mixture(RectifiedFlow())
    for guidance in (presets.steered(NORM, 0.3), presets.dps(NORM, 0.3), presets.tfg(NORM, rho=0.1, mu=0.1)):
        assert torch.isfinite(draw(guidance.sampler(DDIM()), model).x).all()


def test_no_warning_without_need():
    with warnings.catch_warnings():
        warnings.simplefilter("error", GuidanceWarning)
        draw(PRESETS["dps"].sampler(DDIM()))
        draw(DDIM(), PRESETS["steered"].denoiser(MODEL))


def test_a_gradient_of_the_case_is_not_zero():
    assert gradient(lambda x: NORM(MODEL(x, T.expand(4))), X).norm() > 1e-2
