"""Each preset equals its paper's update, written out here, on a small exact model."""

import pytest
import torch

from windvane.energies import ClassLogProb, ImageSimilarity, MeasurementNorm, Reference, Reward
from windvane.energies.targets import time_noise
from windvane.guidance import Autoencoder, presets
from windvane.guidance.guided_sampler import derived_noise
from windvane.operators import Matrix
from windvane.samplers import DDIM, DDPM

from .guided_cases import (
    A_S,
    A_T,
    MODEL,
    PROCESS,
    S_S,
    S_T,
    TIMES,
    S,
    T,
    X,
    Z,
    d_of,
    ddim,
    eps_of,
    gradient,
    normal,
    step,
)

OPERATOR = Matrix(normal(2, 3, seed=5))
Y = OPERATOR(normal(1, 3, seed=6))
RESIDUAL = MeasurementNorm(OPERATOR, Y)
NOISY = ClassLogProb(MODEL.class_log_prob, 1, timed=True)
D, EPS = d_of(X), eps_of(X, d_of(X))


def norm(d):
    return -(Y - OPERATOR(d)).square().sum(1).sqrt()


def ancestral(d, eps):
    mean, std = ddim(X, d, eps, eta=1.0)
    return mean, std


def assert_close(a, b):
    assert torch.allclose(a, b, atol=1e-9, rtol=1e-9), float((a - b).abs().max())


def test_adm_shifts_the_ancestral_mean():
    g = gradient(lambda x: MODEL.class_log_prob(x, T)[:, 1], X)
    mean, std = ancestral(D, EPS)
    assert_close(step(presets.adm(NOISY, 2.0), DDPM()), mean + 2.0 * std**2 * g + std * Z)


def test_adm_pushes_the_score_of_ddim():
    g = gradient(lambda x: MODEL.class_log_prob(x, T)[:, 1], X)
    eps = EPS - S_T * 2.0 * g
    expected, _ = ddim(X, (X - S_T * eps) / A_T, eps)
    assert_close(step(presets.adm(NOISY, 2.0, mean_shift=False), DDIM()), expected)


def test_adm_at_scale_one_is_the_conditional_model():
    """With the exact classifier the guided score is the conditional score: p(x) p(c | x) = p(x, c)."""
    from windvane.conditions import Condition

    guided = presets.adm(NOISY, 1.0, mean_shift=False).denoiser(MODEL)
    with torch.no_grad():
        out = guided(X, T.expand(4))
    expected = MODEL(X, T.expand(4), Condition.vector(torch.ones(4, dtype=torch.int64)))
    assert_close(out, expected)


def encoder(x, t):
    return torch.cat([x, x**2], dim=1) * (1 + t.to(x)[:, None])


def test_sdg_looks_at_the_noisy_state_and_a_reference_noised_to_it():
    image = normal(1, 3, seed=8)
    content = ImageSimilarity(encoder, Reference(image, PROCESS, seed=3), timed=True)
    text = ImageSimilarity(encoder, normal(1, 3, seed=9), timed=True)
    y_t = A_T * image + S_T * time_noise(3, T[None], (3,)).double()
    target = encoder(normal(1, 3, seed=9), torch.zeros(1))

    def similarity(x):
        e, r = encoder(x, T.expand(len(x))), encoder(y_t, T[None])
        a = (e * r).sum(1) / (e.norm(dim=1) * r.norm())
        b = (e * target).sum(1) / (e.norm(dim=1) * target.norm())
        return 160 * b + 100 * a

    mean, std = ancestral(D, EPS)
    expected = mean + std**2 * gradient(similarity, X) + std * Z
    assert_close(step(presets.sdg(160 * text + 100 * content, 1.0), DDPM()), expected)


def test_dps():
    g = gradient(lambda x: norm(d_of(x)), X)
    mean, std = ancestral(D, EPS)
    assert_close(step(presets.dps(RESIDUAL, 0.4), DDPM()), mean + std * Z + 0.4 * g)


def test_lgd():
    r = S_T  # of a variance preserving process, sigma / sqrt(alpha^2 + sigma^2)
    draws = [time_noise(2, T[None], (3,), k).double() for k in range(3)]

    def smoothed(x):
        return torch.stack([norm(d_of(x) + r * d) for d in draws]).exp().mean(0).log()

    mean, _ = ddim(X, D, EPS)
    expected = mean + 0.4 * gradient(smoothed, X)
    assert_close(step(presets.lgd(RESIDUAL, 0.4, draws=3, seed=2), DDIM()), expected)


def test_freedom_with_recurrence():
    def rho(level):
        return 0.3 / (1 + level**2).sqrt()  # 0.3 alpha

    x = X
    for k in range(3):
        g = gradient(lambda z: norm(d_of(z)), x)
        d = d_of(x)
        mean, std = ddim(x, d, eps_of(x, d), eta=0.5)
        noise = Z if k == 0 else derived_noise(Z, 2 * k)
        x_s = mean + std * noise + 0.3 * A_T * g
        ratio = A_T / A_S
        x = ratio * x_s + (S_T**2 - ratio**2 * S_S**2) ** 0.5 * derived_noise(Z, 2 * k + 1)
    assert_close(step(presets.freedom(RESIDUAL, rho, recurrences=3), DDIM(eta=0.5)), x_s)
    outside = presets.freedom(RESIDUAL, rho, recurrences=3, recurrence_window=(0.0, 1e-3))
    assert_close(step(outside, DDIM(eta=0.5)), step(presets.freedom(RESIDUAL, rho), DDIM(eta=0.5)))


def test_freedom_relative_to_the_step():
    g = gradient(lambda x: norm(d_of(x)), X)
    mean, _ = ddim(X, D, EPS)
    length = (mean - X).square().mean(1, keepdim=True).sqrt()
    expected = mean + 0.2 * length * g / g.square().mean(1, keepdim=True).sqrt()
    assert_close(step(presets.freedom(RESIDUAL, 0.2, relative=True), DDIM()), expected)


def test_universal_forward_and_backward():
    eps = EPS - 0.7 * S_T * gradient(lambda x: norm(d_of(x)), X)
    delta = torch.zeros_like(D)
    for _ in range(4):
        delta = delta + 0.05 * gradient(norm, D + delta)
    eps = eps - (A_T / S_T) * delta
    expected, _ = ddim(X, (X - S_T * eps) / A_T, eps)
    guidance = presets.universal(RESIDUAL, 0.7, backward=0.05, backward_iterations=4)
    assert_close(step(guidance, DDIM()), expected)


def test_mpgd_keeps_eps():
    pushed = D + (0.6 / A_S) * gradient(norm, D)
    mean, std = ddim(X, pushed, EPS, eta=0.5)
    assert_close(step(presets.mpgd(RESIDUAL, 0.6), DDIM(eta=0.5)), mean + std * Z)


MIX = normal(3, 2, seed=21)
CURVED = Autoencoder(lambda x: torch.tanh(x @ MIX), lambda z: 1.2 * z @ MIX.T + 0.1 * z[:, :1] ** 2)
LEVEL = float(PROCESS.noise_level(T))
AROUND = (0.9 * LEVEL, 1.1 * LEVEL)


def test_mpgd_takes_the_gradient_through_an_autoencoder():
    """MPGD-AE: D - c grad_D L(G(E(D))), eps kept."""
    g = gradient(lambda d: norm(CURVED.decode(CURVED.encode(d))), D)
    mean, std = ddim(X, D + (0.3 * 0.6 / A_S) * g, EPS, eta=0.5)
    guidance = presets.mpgd(RESIDUAL, 0.6, autoencoder=CURVED, share=0.3, project_window=AROUND)
    assert_close(step(guidance, DDIM(eta=0.5)), mean + std * Z)


def test_mpgd_steps_in_the_latent():
    """MPGD-Z: z - c grad_z L(G(z)) from z = E(D), and D is what it decodes to, eps kept."""
    z = CURVED.encode(D)
    z = z + (0.3 * 0.6 / A_S) * gradient(lambda latent: norm(CURVED.decode(latent)), z)
    mean, std = ddim(X, CURVED.decode(z), EPS, eta=0.5)
    guidance = presets.mpgd(
        RESIDUAL, 0.6, autoencoder=CURVED, project="latent", share=0.3, project_window=AROUND
    )
    assert_close(step(guidance, DDIM(eta=0.5)), mean + std * Z)


@pytest.mark.parametrize("project", ["gradient", "latent"])
def test_mpgd_projects_in_its_window_only(project):
    plain = step(presets.mpgd(RESIDUAL, 0.6), DDIM())
    for window in ((1.1 * LEVEL, 2 * LEVEL), (0.1 * LEVEL, 0.9 * LEVEL)):
        guidance = presets.mpgd(
            RESIDUAL, 0.6, autoencoder=CURVED, project=project, share=0.3, project_window=window
        )
        assert_close(step(guidance, DDIM()), plain)
    inside = presets.mpgd(RESIDUAL, 0.6, autoencoder=CURVED, project=project, project_window=AROUND)
    assert (step(inside, DDIM()) - plain).abs().max() > 1e-3
    whole = presets.mpgd(
        RESIDUAL, 0.6, autoencoder=CURVED, project=project, project_window=(0.0, 9e9), window=AROUND
    )
    assert_close(step(whole, DDIM()), step(inside, DDIM()))


def test_universal_and_tfg_made_again():
    """Their k and N_recur: after x_s back to x_t = renoise(x_s), guided anew; delta starts at 0 again."""

    def steps(once):
        x = X
        for k in range(3):
            x_s = once(x, Z if k == 0 else derived_noise(Z, 2 * k))
            ratio = A_T / A_S
            x = ratio * x_s + (S_T**2 - ratio**2 * S_S**2) ** 0.5 * derived_noise(Z, 2 * k + 1)
        return x_s

    def universal(x, z):
        d = d_of(x)
        eps = eps_of(x, d) - 0.7 * S_T * gradient(lambda v: norm(d_of(v)), x)
        return ddim(x, (x - S_T * eps) / A_T, eps)[0]

    def tfg(x, z):
        d = d_of(x)
        mean, std = ddim(x, d, eps_of(x, d), eta=1.0)
        pushes = (A_S / A_T) * 0.5 * gradient(lambda v: norm(d_of(v)), x) + A_S * 0.25 * gradient(norm, d)
        return mean + std * z + pushes

    assert_close(step(presets.universal(RESIDUAL, 0.7, recurrences=3), DDIM()), steps(universal))
    guidance = presets.tfg(RESIDUAL, rho=0.5, mu=0.25, radius=0.0, draws=1, recurrences=3, shape="constant")
    assert_close(step(guidance, DDIM(eta=1.0)), steps(tfg))


def test_tfg_contains_the_others():
    """The table of special cases: with one of rho and mu off and constant shape."""
    off = {"radius": 0.0, "draws": 1, "shape": "constant"}
    assert_close(
        step(presets.tfg(RESIDUAL, rho=0.4 * A_T / A_S, mu=0.0, **off), DDPM()),
        step(presets.dps(RESIDUAL, 0.4), DDPM()),
    )
    assert_close(
        step(presets.tfg(RESIDUAL, rho=0.0, mu=0.6 / A_S, **off), DDIM(eta=0.5)),
        step(presets.mpgd(RESIDUAL, 0.6), DDIM(eta=0.5)),
    )
    smoothed = {"radius": 1.0, "draws": 3, "shape": "constant", "seed": 2}
    assert_close(
        step(presets.tfg(RESIDUAL, rho=0.4 * A_T / A_S, mu=0.0, **smoothed), DDIM()),
        step(presets.lgd(RESIDUAL, 0.4, draws=3, seed=2), DDIM()),
    )


@pytest.mark.parametrize("shape", ["increase", "decrease", "constant"])
def test_tfg(shape):
    abar = PROCESS.alpha(TIMES) ** 2
    ratios = abar[:-1] / abar[1:]
    h = {"increase": ratios, "decrease": 1 - ratios, "constant": torch.ones_like(ratios)}[shape]
    h = float(h[3] / h.mean())
    draws = [time_noise(0, T[None], (3,), k).double() for k in range(2)]

    def f(z):
        return torch.stack([norm(z + 0.1 * S_T * d) for d in draws]).exp().mean(0).log()

    variance = 0.5 * h * gradient(lambda x: f(d_of(x)), X)
    delta = torch.zeros_like(D)
    for _ in range(4):
        delta = delta + 0.25 * h * gradient(f, D + delta)
    mean, std = ancestral(D, EPS)
    expected = mean + std * Z + (A_S / A_T) * variance + A_S * delta
    guidance = presets.tfg(RESIDUAL, rho=0.5, mu=0.25, radius=0.1, draws=2, iterations=4, shape=shape)
    assert_close(step(guidance, DDIM(eta=1.0)), expected)


def test_elucd():
    def logits(x):
        return MODEL.class_log_prob(x, 0.3)

    energy = ClassLogProb(logits, 1, tau_marginal=0.5)
    g = gradient(lambda d: logits(d)[:, 1] - (0.5 * logits(d)).exp().sum(1).log(), D)
    variances = []
    for t, s in zip(TIMES[:4], TIMES[1:5]):
        a_t, a_s = PROCESS.alpha(t), PROCESS.alpha(s)
        variances.append(float(PROCESS.sigma(s) ** 2 / PROCESS.sigma(t) ** 2 * (1 - a_t**2 / a_s**2)))
    weight = variances[3] + 0.3 * max(variances) * float(torch.sin(torch.pi * T))
    mean, std = ancestral(D, EPS)
    assert abs(std**2 - variances[3]) < 1e-12
    assert_close(step(presets.elucd(energy, 1.5), DDPM()), mean + 1.5 * weight * g + std * Z)


def test_steered():
    pushed = D + S_T * 0.8 * gradient(lambda x: norm(d_of(x)), X)
    mean, std = ddim(X, pushed, eps_of(X, pushed), eta=1.0)
    assert_close(step(presets.steered(RESIDUAL, 0.8), DDIM(eta=1.0)), mean + std * Z)


def test_the_last_step_is_pushed_too():
    t, s = TIMES[-2], TIMES[-1]
    g = gradient(lambda x: norm(MODEL(x, t.expand(4))), X)
    out = step(presets.dps(RESIDUAL, 0.4), DDPM(), t=t, s=s)
    assert_close(out, MODEL(X, t.expand(4)) + 0.4 * g)


def test_a_mean_shift_wants_a_number():
    with pytest.raises(ValueError, match="mean_shift=False"):
        presets.adm(NOISY, lambda level: level)


def test_autoencoders_give_back_what_they_are_given():
    lossy = Autoencoder(lambda x: x[:, :2], lambda z: z)
    for project in ("gradient", "latent"):
        guidance = presets.mpgd(
            Reward(lambda x: -x.square().sum(1)),
            0.6,
            autoencoder=lossy,
            project=project,
            project_window=AROUND,
        )
        with pytest.raises(ValueError, match=r"\(4, 3\) into \(4, 2\)"):
            step(guidance, DDIM())
    with pytest.raises(ValueError, match="'gradient' or 'latent', got 'both'"):
        presets.mpgd(RESIDUAL, autoencoder=CURVED, project="both")


def test_shapes_are_known():
    with pytest.raises(ValueError, match="increase, decrease"):
        presets.tfg(Reward(lambda x: x.sum(1)), shape="up")


def test_times_of_the_case():
    """The step under test is inside the grid, so that grid-dependent weights are tested at all."""
    assert TIMES[3] == T and TIMES[4] == S
