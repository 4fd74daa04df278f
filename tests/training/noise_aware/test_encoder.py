"""Time-adaptive normalisation: equal to the clean encoder at first, its formula afterwards."""

import copy

import pytest
import torch
from torch import nn

from windvane.energies import ClassLogProb
from windvane.guidance import presets
from windvane.networks import time_embedding
from windvane.process import EDM
from windvane.training.noise_aware import NoiseAware, noise_aware

from .small import ENCODERS, PROCESS, Normed, encoder, normal, seeded

TIMES = torch.tensor([0.0, 0.1, 0.5, 0.99], dtype=torch.float64)


def stirred(made, seed=7):
    """Time layers as after a training."""
    layer = made.scale_shift
    layer.weight.data.copy_(0.1 * normal(*layer.weight.shape, seed=seed))
    layer.bias.data.copy_(0.1 * normal(*layer.bias.shape, seed=seed + 1))
    return made


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("grad", [False, True])
def test_at_first_it_is_the_clean_encoder_exactly(name, grad):
    clean, shape = encoder(name)
    made, x = noise_aware(clean, PROCESS), normal(4, *shape)
    with torch.set_grad_enabled(grad):
        # A transformer's fused fast path, taken without gradients, rounds otherwise than the plain one.
        close = dict(rtol=0, atol=1e-6 if name == "attending" and not grad else 0)
        torch.testing.assert_close(made(x, TIMES), clean(x), **close)
        stirred(made)
        assert not torch.allclose(made(x, TIMES), clean(x), atol=1e-3)


def test_the_scale_and_shift_follow_the_formula_for_each_kind_of_norm():
    for norm, x, view in (
        (nn.BatchNorm2d(3), normal(4, 3, 2, 2), (4, 3, 1, 1)),
        (nn.BatchNorm1d(3), normal(4, 3), (4, 3)),
        (nn.InstanceNorm1d(3), normal(4, 3, 5), (4, 3, 1)),
        (nn.GroupNorm(1, 3), normal(4, 3, 5), (4, 3, 1)),
        (nn.LayerNorm(3), normal(4, 5, 3), (4, 1, 3)),
        (nn.LayerNorm((2, 3)), normal(4, 5, 2, 3), (4, 1, 2, 3)),
        (nn.RMSNorm(3), normal(4, 5, 3), (4, 1, 3)),
    ):
        norm.eval()
        made = stirred(noise_aware(nn.Sequential(norm).eval(), PROCESS))
        ((a, b),) = made.pairs(TIMES)
        expected = norm(x) * (1 + a.reshape(view)) + b.reshape(view)
        torch.testing.assert_close(made(x, TIMES), expected, msg=type(norm).__name__)
        assert not torch.allclose(a[0], a[1], atol=1e-4), "the scale should depend on the time"


def test_rows_have_times_of_their_own_and_do_not_see_each_other():
    for name in ENCODERS:
        clean, shape = encoder(name)
        made, x = stirred(noise_aware(clean, PROCESS)), normal(4, *shape)
        alone = torch.cat([made(x[i : i + 1], TIMES[i]) for i in range(4)])
        torch.testing.assert_close(made(x, TIMES), alone, rtol=1e-5, atol=1e-5)


def test_the_encoder_given_is_untouched_and_copies_are_independent():
    clean, shape = encoder("convolutional")
    before, x = copy.deepcopy(clean.state_dict()), normal(4, *shape)
    made = stirred(noise_aware(clean, PROCESS))
    twin = copy.deepcopy(made)
    assert torch.equal(twin(x, TIMES), made(x, TIMES))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(1.5)
    assert not torch.allclose(twin(x, TIMES), made(x, TIMES))
    assert all(torch.equal(before[key], value) for key, value in clean.state_dict().items())
    assert torch.equal(made.encoder(x), made.encoder(x)), "without a time the encoder's norms are plain"
    fresh = noise_aware(clean, PROCESS)
    fresh.load_state_dict(twin.state_dict())
    assert torch.equal(fresh(x, TIMES), twin(x, TIMES))


def test_a_variance_exploding_state_is_seen_at_unit_scale_and_by_log_snr():
    clean, shape = encoder("normed")
    process, x = EDM(sigma_max=40.0), normal(4, *shape)
    made = noise_aware(clean, process)
    t = torch.tensor([0.0, 0.001, 0.1, 1.0], dtype=torch.float64)
    sigma = 40 * t
    seen = x / torch.sqrt(1 + sigma**2)[:, None].float()
    assert torch.equal(made(x, t), clean(seen)) and made.time == "log_snr"
    assert noise_aware(clean, PROCESS).time == "index"
    a, _ = stirred(made).pairs(t)[0]
    assert torch.isfinite(a).all()


@pytest.mark.parametrize(
    ("time", "coordinate"),
    [("index", lambda t: 1000 * t), ("log_snr", lambda t: (-50 * PROCESS.log_snr(t)).clamp(-1500, 1500))],
    ids=["index", "log_snr"],
)
def test_the_time_layers_see_sinusoids_of_an_index_up_to_a_thousand(time, coordinate):
    """relu(MLP(sinusoids)) and one affine map, (a, b) norm by norm; a later time has a larger coordinate."""
    clean, _ = encoder("normed")
    made = stirred(noise_aware(clean, PROCESS, time=time, frequencies=16, width=8))
    first, _, second, _ = made.embed
    h = torch.relu(first(time_embedding(coordinate(TIMES), 16).float()))
    flat = made.scale_shift(torch.relu(second(h)))
    expected = [(flat[:, :32], flat[:, 32:64]), (flat[:, 64:96], flat[:, 96:])]
    for (a, b), (scale, shift) in zip(made.pairs(TIMES), expected, strict=True):
        torch.testing.assert_close(a, scale)
        torch.testing.assert_close(b, shift)
    assert (coordinate(TIMES).diff() > 0).all()


def test_only_chosen_modules_stay_trainable():
    clean, _ = encoder("convolutional")
    clean.requires_grad_(False)
    all_of_it = noise_aware(clean, PROCESS)
    assert all(p.requires_grad for p in all_of_it.parameters())
    some = noise_aware(clean, PROCESS, trainable=("head", "ln"))
    names = {name for name, p in some.named_parameters() if p.requires_grad}
    assert {n.split(".")[1] for n in names if n.startswith("encoder.")} == {"head", "ln"}
    assert {n.split(".")[0] for n in names} == {"encoder", "embed", "scale_shift"}


def test_preprocessing_comes_after_the_noise():
    clean, shape = encoder("normed")
    x = normal(4, *shape)
    made = noise_aware(clean, PROCESS, preprocess=lambda v: 2 * v + 1)
    assert torch.equal(made(x, TIMES), clean(2 * x + 1))


def test_its_gradient_reaches_x_t_through_an_energy_and_guides():
    from windvane.exact import GaussianDenoiser
    from windvane.samplers import DDIM, sample

    clean, shape = encoder("normed")
    made = stirred(noise_aware(clean, PROCESS))
    energy = ClassLogProb(made, 2, timed=True)
    x = normal(3, *shape).requires_grad_(True)
    (g,) = torch.autograd.grad(energy(x, 0.4).sum(), x)
    shift = torch.zeros_like(x)
    shift[:, 0] = 1e-3
    times = torch.full((3,), 0.4, dtype=torch.float64)
    with torch.no_grad():
        slope = (energy(x + shift, times) - energy(x - shift, times)) / 2e-3
    torch.testing.assert_close(g[:, 0], slope, rtol=2e-2, atol=2e-3)
    model = GaussianDenoiser([0.0] * 6, [0.5] * 6, PROCESS)
    guided = presets.adm(energy, 3.0, mean_shift=False).sampler(DDIM())
    for_class = [
        energy(sample(model, seeds=0, n=32, steps=8, sampler=s, progress=False).x).mean()
        for s in (guided, DDIM())
    ]
    assert for_class[0] > for_class[1]


def test_refusals():
    with pytest.raises(ValueError, match="no BatchNorm"):
        noise_aware(nn.Linear(2, 2), PROCESS)
    with pytest.raises(ValueError, match=r"no modules \['layer4'\]; it has layers"):
        noise_aware(seeded(Normed), PROCESS, trainable=("layer4",))
    with pytest.raises(ValueError, match="unknown time coordinate 'steps'"):
        noise_aware(seeded(Normed), PROCESS, time="steps")
    with pytest.raises(ValueError, match="noise-aware already"):
        noise_aware(noise_aware(seeded(Normed), PROCESS), PROCESS)

    class Turned(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.LayerNorm(3)

        def forward(self, x):
            return self.norm(x.transpose(0, 1))

    with pytest.raises(ValueError, match="'norm' got 5 rows for a batch of 4"):
        noise_aware(Turned(), PROCESS)(normal(4, 5, 3), 0.5)
    assert isinstance(noise_aware(Turned(), PROCESS), NoiseAware)
