"""What guidance refuses and reports: wrong energies, wrong choices, and guidance without effect."""

import pytest
import torch

from windvane.denoiser import FunctionDenoiser
from windvane.energies import Reward
from windvane.guidance import (
    Autoencoder,
    GradientGuidance,
    GuidanceWarning,
    Guide,
    Guided,
    Recurrence,
    Variance,
    presets,
)
from windvane.process import EDM
from windvane.samplers import DDIM, DDPM, Heun, sample

from .guided_cases import MODEL, PROCESS, T, X

LEVEL = f"{float(PROCESS.noise_level(T)):.4g}"
GOOD = Reward(lambda x: -x.square().sum(1), name="good")


SETTINGS = [
    {},
    {"through": False, "push": "x0"},
    {"where": "x_t"},
    {"where": "noised", "radius": 0.1, "draws": 2},
]


def evaluate(energy, **settings):
    with torch.no_grad():
        return Guided(MODEL, Guide(energy, **settings))(X, T.expand(4))


def draw(sampler, model=MODEL):
    return sample(model, seeds=0, n=2, sampler=sampler, steps=5, progress=False, dtype=torch.float64)


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda x: x.mean(), ValueError, "one value per sample"),
        (lambda x: x.sum(1) / 0, FloatingPointError, "inf"),
        (lambda x: x.sum(1) * float("nan"), FloatingPointError, "nan in 4 of 4 rows"),
        (lambda x: (x - x.detach()).norm(dim=1).pow(0.5), FloatingPointError, "gradient .* not finite"),
        (lambda x: torch.ones(len(x)), ValueError, "does not depend on x"),
        (lambda x: x.detach().sum(1), ValueError, "does not depend on x"),
        (lambda x: torch.zeros(len(x), requires_grad=True) * 1, ValueError, "does not depend on x"),
        (lambda x: x.round().sum(1), ValueError, "zero in every row"),
        (lambda x: (0 * x).sum(1), ValueError, "zero in every row"),
    ],
)
@pytest.mark.parametrize("mixed", [False, True], ids=["alone", "in a sum"])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_wrong_energy_is_named_with_its_noise_level(function, error, message, mixed, settings):
    energy = Reward(function, name="culprit")
    with pytest.raises(error, match=message) as caught:
        evaluate(GOOD + energy if mixed else energy, **settings)
    assert "'culprit'" in str(caught.value)
    assert LEVEL in str(caught.value)


def test_an_energy_may_fall_silent_after_it_has_spoken():
    """A classifier that has become sure has no gradient left, and that is no mistake."""
    calls = []

    def until_sure(x):
        calls.append(1)
        return x.sum(1) * (1.0 if len(calls) == 1 else 0.0)

    guided = Guided(MODEL, Guide(Reward(until_sure)))
    with torch.no_grad():
        guided(X, T.expand(4))
        assert torch.equal(guided(X, T.expand(4)), MODEL(X, T.expand(4)))


def test_a_denoiser_without_gradient_is_named():
    closed = FunctionDenoiser(lambda x, t, cond: MODEL(x, t).detach(), PROCESS)
    with torch.no_grad(), pytest.raises(ValueError, match="denoiser gives no gradient"):
        Guided(closed, Guide(GOOD))(X, T.expand(4))
    with torch.no_grad():
        Guided(closed, Guide(GOOD, through=False))(X, T.expand(4))


def test_guidance_that_changes_nothing_is_reported():
    with pytest.warns(GuidanceWarning, match=r"nothing in this run \(good\)"):
        draw(presets.dps(GOOD, 0.1, window=(1e-9, 1e-8)).sampler(DDIM()))
    with pytest.warns(GuidanceWarning, match="nothing in this run"):
        draw(presets.dps(GOOD, 1e-30).sampler(DDIM()))
    with pytest.warns(GuidanceWarning, match=f"noise level sigma / alpha = {LEVEL}"):
        evaluate(GOOD, weight=1e-30)
    with pytest.warns(GuidanceWarning):  # a deterministic step has no variance to shift by
        draw(presets.adm(Reward(lambda x, t: x.sum(1), timed=True), 1.0).sampler(DDIM()))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Guide(GOOD, where="noise"), "where in"),
        (lambda: Guide(GOOD, push="eps"), "push in"),
        (lambda: Guide(lambda x: x.sum(1)), r"Reward\(...\)"),
        (lambda: Guide(GOOD, where="x_t", through=False), "no meaning"),
        (lambda: Guide(GOOD, iterations=0), "at least 1"),
        (lambda: Guide(GOOD, iterations=2), "through=False"),
        (
            lambda: Guide(GOOD, iterations=2, through=False, relative=True, push="x0_keep_eps"),
            "relative=True need",
        ),
        (lambda: Guide(GOOD, draws=2), "noised"),
        (lambda: Guide(GOOD, Variance()), "depends on the step"),
        (lambda: Guide(GOOD, limit=0.0), "limit"),
        (lambda: Guide(GOOD, latent=Autoencoder(abs, abs)), "through=False"),
        (lambda: Guide(GOOD, latent=Autoencoder(abs, abs), through=False, push="state"), "moves D"),
        (lambda: Guide(GOOD, window=(2.0, 1.0)), "low < high"),
        (lambda: Guide(GOOD, float("nan")), "finite"),
        (lambda: Guide(GOOD, "big"), "got 'big'"),
        (lambda: presets.adm(GOOD, float("nan")), "finite"),
        (lambda: presets.elucd(GOOD, float("inf")), "finite"),
        (lambda: presets.mpgd(GOOD, float("inf")), "finite"),
        (lambda: presets.tfg(GOOD, rho=float("nan")), "finite"),
        (lambda: evaluate(GOOD, weight=lambda k: 2.0), r"weight of the energy 'good' .* \(4,\), got float"),
        (lambda: evaluate(GOOD, weight=lambda k: k[:1]), r"got \(1,\)"),
        (lambda: evaluate(GOOD, weight=lambda k: k * float("nan")), f"'good' is nan at .* = {LEVEL}"),
        (lambda: draw(presets.tfg(GOOD, radius=float("inf")).sampler(DDIM())), "radius .*'good' is not fin"),
        (lambda: draw(presets.elucd(GOOD, sine=float("nan")).sampler(DDPM())), "'good' is nan at"),
        (lambda: Guided(MODEL), "takes guides"),
        (lambda: presets.dps(GOOD).denoiser(MODEL), "guide the sampler"),
        (lambda: presets.universal(GOOD, recurrences=2).denoiser(MODEL), "repeats steps"),
        (lambda: Recurrence(0), "at least once"),
        (lambda: presets.dps(GOOD).scaled(float("inf")), "finite number, got inf"),
        (
            lambda: presets.universal(GOOD, recurrences=2) + presets.universal(GOOD, recurrences=3),
            "do not mix",
        ),
        (lambda: draw(presets.elucd(GOOD).sampler(Heun())), "DDPM"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("error", [RuntimeError, TypeError, AttributeError, IndexError, ValueError])
@pytest.mark.parametrize("mixed", [False, True], ids=["alone", "in a sum"])
def test_what_an_energy_raises_names_it_with_its_noise_level(error, mixed):
    def broken(x):
        raise error("oh no")

    energy = Reward(broken, name="culprit")
    with pytest.raises(error, match="oh no") as caught:
        evaluate(GOOD + energy if mixed else energy)
    told = " ".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
    assert "'culprit'" in told and LEVEL in told


def test_a_push_that_is_not_finite_is_named_and_not_blamed_on_the_energy():
    steep = Reward(lambda x: -1e6 * x.square().sum(1), name="steep")
    for settings in ({"push": "x0"}, {"push": "x0", "through": False}, {"push": "state"}):
        guidance = GradientGuidance((Guide(steep, 1e306, **settings),))
        with pytest.raises(FloatingPointError, match="push by the energy 'steep' .* weight is too large"):
            draw(guidance.sampler(DDIM()))
    with pytest.raises(FloatingPointError, match=r"'good' is .* reaches .* there: .*weight is too large"):
        draw(presets.steered(GOOD, 1e160).sampler(DDIM()))


def test_only_guidance_adds_to_guidance():
    with pytest.raises(TypeError):
        presets.dps(GOOD) + GOOD
    both = presets.universal(GOOD, recurrences=2) + presets.dps(GOOD)
    assert isinstance(both, GradientGuidance) and both.recurrence.times == 2 and len(both.guides) == 2


def test_recurrence_needs_noise():
    guided = presets.universal(GOOD, recurrences=2).sampler(DDIM())
    assert guided.stochastic and not presets.universal(GOOD).sampler(DDIM()).stochastic
    assert presets.universal(GOOD).sampler(DDPM()).stochastic
    from .guided_cases import TIMES, step

    with pytest.raises(ValueError, match="standard normal noise"):
        step(presets.universal(GOOD, recurrences=2), DDIM(), z=None, times=TIMES)


class Heavy(EDM):
    """A process whose noise is not Gaussian, where D does not give the score."""

    gaussian = False


def test_a_score_push_needs_gaussian_noise_and_others_do_not():
    model = FunctionDenoiser(lambda x, t, cond: 0.5 * x, Heavy(sigma_max=10.0), shape=(3,))
    with pytest.raises(ValueError, match="push of the score needs Gaussian noise"):
        presets.universal(GOOD).denoiser(model)
    assert (
        GOOD(draw(presets.steered(GOOD, 0.3).sampler(DDIM()), model).x).mean()
        > GOOD(draw(DDIM(), model).x).mean()
    )
