"""Experts by noise range and their low-rank adapters."""

import copy
import sys

import pytest
import torch
from torch import nn

from windvane.energies import ClassLogProb
from windvane.exact import GaussianMixtureDenoiser
from windvane.guidance import presets
from windvane.process import EDM, VPLinear
from windvane.samplers import DDIM, sample
from windvane.training.noise_aware import (
    Experts,
    LowRank,
    LowRankWeight,
    NoiseRanges,
    adapt_guide,
    add_low_rank,
    merge,
    sharpened_kl,
    squared_error,
)

from .small import ENCODERS, PROCESS, Convolutional, Normed, clusters, encoder, filled, normal, seeded


def adapted(name, rank=3, targets=None):
    """A network, and the same with adapters that do something."""
    clean, shape = encoder(name)
    network = add_low_rank(copy.deepcopy(clean), LowRank(rank=rank, alpha=6.0, targets=targets), seed=4)
    return clean, network, normal(5, *shape)


def test_linear_layers_without_peft_name_the_extra_and_are_left_as_they_were(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    network = nn.Sequential(nn.Linear(8, 6), nn.SiLU(), nn.Linear(6, 3))
    before = list(network.state_dict())
    with pytest.raises(ValueError, match=r"need the library peft: pip install 'windvane\[adapters\]'"):
        add_low_rank(network, LowRank(rank=2, alpha=2.0))
    assert list(network.state_dict()) == before and all(p.requires_grad for p in network.parameters())


def stir(network):
    with torch.no_grad():
        for number, (name, parameter) in enumerate(network.named_parameters()):
            if "lora_B" in name or name.endswith(".b"):
                parameter.copy_(0.3 * normal(*parameter.shape, seed=number))
    return network


@pytest.mark.parametrize("name", ENCODERS)
def test_adapters_change_nothing_at_first_and_merging_changes_nothing_ever(name):
    clean, network, x = adapted(name)
    for gradients in (False, True):
        with torch.set_grad_enabled(gradients):
            torch.testing.assert_close(network(x), clean(x), rtol=1e-5, atol=1e-6)
            stir(network)
            changed = network(x)
            assert not torch.allclose(changed, clean(x), atol=1e-2)
            merged = merge(network)
            torch.testing.assert_close(merged(x), changed, rtol=1e-5, atol=1e-5)
            assert merged.state_dict().keys() == clean.state_dict().keys()
            network = add_low_rank(copy.deepcopy(clean), LowRank(rank=3, alpha=6.0), seed=4)


@pytest.mark.parametrize("name", ENCODERS)
def test_what_is_trainable_is_adapters_biases_and_norms_but_not_the_head(name):
    clean, network, _ = adapted(name)
    frozen = {id(p) for p in network.parameters() if not p.requires_grad}
    weights = [p for p in network.parameters() if id(p) in frozen]
    assert all(p.ndim > 1 or len(p) == 4 for p in weights), "only weights, and the head's bias, stay"
    assert not any(
        p.requires_grad for n, p in network.named_parameters() if n.startswith(("head", "layers.7"))
    )
    assert any(isinstance(m, LowRankWeight) for m in network.modules()) == (name != "normed")
    assert any(hasattr(m, "lora_A") for m in network.modules()) == (name != "convolutional")


def test_a_convolutions_adapter_has_the_papers_shapes_and_update():
    clean = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Flatten(), nn.Linear(5, 2))
    network = stir(add_low_rank(copy.deepcopy(clean), LowRank(rank=4, alpha=8.0), seed=1))
    held = network[0].parametrizations.weight[0]
    assert held.a.shape == (4 * 3, 3 * 3) and held.b.shape == (5 * 3, 4 * 3)
    expected = clean[0].weight + 8 / 4 * (held.b @ held.a).reshape(5, 3, 3, 3)
    torch.testing.assert_close(network[0].weight, expected)


def test_targets_choose_layers_by_name():
    network = add_low_rank(seeded(Convolutional), LowRank(targets=("conv1",)))
    assert [n for n, m in network.named_modules() if isinstance(m, LowRankWeight)] == [
        "conv1.parametrizations.weight.0"
    ]
    assert not network.stem.weight.requires_grad and network.stem.bias.requires_grad
    with pytest.raises(ValueError, match="is called 'conv7'"):
        add_low_rank(seeded(Convolutional), LowRank(targets=("conv7",)))
    with pytest.raises(ValueError, match="before its last one"):
        add_low_rank(nn.Sequential(nn.Linear(2, 2)), LowRank())
    with pytest.raises(ValueError, match="rank=0"):
        LowRank(rank=0)


def test_ranges_are_half_open_equal_in_time_and_a_boundary_is_the_noisier_experts():
    ranges = NoiseRanges(PROCESS, 4)
    assert ranges.edges == (1.0, 0.75, 0.5, 0.25, 0.0)
    t = torch.tensor([0.0, 0.1, 0.2499, 0.25, 0.4, 0.5, 0.7499, 0.75, 1.0], dtype=torch.float64)
    expected = [3 - min(int(4 * float(time)), 3) for time in t]
    assert ranges.route(PROCESS, t).tolist() == expected == [3, 3, 3, 2, 2, 1, 1, 0, 0]
    assert NoiseRanges(PROCESS, 1).route(PROCESS, t).tolist() == [0] * 9
    with pytest.raises(ValueError, match="at least one range"):
        NoiseRanges(PROCESS, 0)


@pytest.mark.parametrize("process", [PROCESS, VPLinear(), EDM(sigma_max=20.0)], ids=lambda p: p.kind)
def test_times_drawn_for_an_expert_are_its_own(process):
    ranges = NoiseRanges(process, 5)
    for number in range(5):
        drawn = ranges.times(number).draw(200, torch.Generator().manual_seed(number))
        assert ranges.route(process, drawn).tolist() == [number] * 200
        assert process.t_min <= float(drawn.min()) and float(drawn.max()) <= process.t_max
    if process.kind == "edm":
        lmbda = process.log_snr(torch.tensor(ranges.edges[:-1], dtype=torch.float64))
        torch.testing.assert_close(lmbda.diff(), lmbda.diff()[:1].expand(4))


class Constant(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x):
        return torch.full((len(x), 2), self.value) + 0 * x.sum()


def test_each_row_is_answered_by_the_expert_of_its_own_time():
    experts = Experts([Constant(float(k)) for k in range(4)], NoiseRanges(PROCESS, 4))
    t = torch.tensor([0.3, 0.9, 0.1, 0.3, 0.6], dtype=torch.float64)
    assert experts(normal(5, 3), t)[:, 0].tolist() == [2.0, 0.0, 3.0, 2.0, 1.0]
    calls = []
    for expert in experts.experts:
        expert.register_forward_hook(lambda module, inputs, out: calls.append((module.value, len(out))))
    experts(normal(5, 3), 0.3)
    experts(normal(5, 3), t)
    assert calls == [(2.0, 5), (0.0, 1), (1.0, 1), (2.0, 2), (3.0, 1)]
    with pytest.raises(ValueError, match="need as many experts, got 1"):
        Experts([Constant(0.0)], NoiseRanges(PROCESS, 2))


def test_the_distances_are_their_formulas():
    teacher, student = normal(3, 4), normal(3, 4, seed=1)
    p, q = (teacher / 0.25).softmax(1), student.softmax(1)
    torch.testing.assert_close(sharpened_kl(0.25)(teacher, student), (p * (p / q).log()).sum(1))
    maps = (normal(3, 4, 2, 5), normal(3, 4, 2, 5, seed=1))
    pixels = [sharpened_kl(0.5)(maps[0][:, :, i, j], maps[1][:, :, i, j]) for i in range(2) for j in range(5)]
    torch.testing.assert_close(sharpened_kl(0.5)(*maps), torch.stack(pixels).mean(0))
    torch.testing.assert_close(squared_error(*maps), ((maps[0] - maps[1]) ** 2).mean((1, 2, 3)))
    with pytest.raises(ValueError, match="temperature"):
        sharpened_kl(0.0)


def guide_and_samples():
    """A classifier of clean clusters, and an exact model of the same clusters to draw from."""
    corners = torch.eye(6)[:4] * 2 - 0.5
    model = GaussianMixtureDenoiser([0.25] * 4, corners.tolist(), [0.0225] * 4, PROCESS)
    x, labels = clusters()
    guide = seeded(Normed)
    optimiser = torch.optim.Adam(guide.parameters(), lr=3e-3)
    for _ in range(80):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(guide(x), labels).backward()
        optimiser.step()
    drawn = sample(model, seeds=0, n=400, steps=15, progress=False).x
    return model, guide.eval(), drawn


def test_experts_learn_from_the_models_own_samples_and_guide_better_than_the_clean_guide():
    model, guide, drawn = guide_and_samples()
    state = copy.deepcopy(guide.state_dict())
    experts = adapt_guide(guide, drawn, PROCESS, experts=3, steps=240, lr=3e-3, batch_size=64,
                          adapter=LowRank(rank=8), progress=False)  # fmt: skip
    assert all(torch.equal(state[k], v) for k, v in guide.state_dict().items())
    x, labels = clusters(seed=5)
    times = torch.linspace(0, 1, len(x), dtype=torch.float64)
    plain = experts.merged()
    torch.testing.assert_close(plain(x, times), experts(x, times), rtol=1e-4, atol=1e-4)
    assert plain.experts[0].state_dict().keys() == guide.state_dict().keys() and plain.share == experts.share

    def surprise(classify):
        level = torch.tensor(0.6, dtype=torch.float64)
        noisy = torch.cat([PROCESS.perturb(x, level, normal(*x.shape, seed=seed)) for seed in range(8, 12)])
        return torch.nn.functional.cross_entropy(classify(noisy), labels.repeat(4)).item()

    assert surprise(lambda v: experts(v, 0.6)) < 0.95 * surprise(guide)
    wanted = torch.arange(200) % 4

    def reached(energy):
        sampler = presets.adm(energy, 2.0, mean_shift=False).sampler(DDIM())
        found = sample(model, seeds=1, n=200, sampler=sampler, steps=15, progress=False).x
        return float((torch.cdist(found, torch.eye(6)[:4] * 2 - 0.5).argmin(1) == wanted).double().mean())

    assert reached(ClassLogProb(experts, wanted, timed=True)) > reached(ClassLogProb(guide, wanted))


def test_experts_share_what_is_frozen_and_count_what_is_not():
    _, guide, drawn = guide_and_samples()
    quick = dict(experts=3, steps=3, batch_size=8, lr=1e-2, progress=False)
    found = adapt_guide(guide, drawn, PROCESS, adapter=LowRank(rank=2), **quick)
    first, second = (dict(found.experts[k].named_parameters()) for k in (0, 1))
    shared = {name for name in first if first[name] is second[name]}
    assert shared == {name for name in first if "base_layer.weight" in name or name.startswith("layers.7")}
    own = sum(p.numel() for name, p in first.items() if name not in shared)
    assert found.trained == (own,) * 3 and found.total == sum(p.numel() for p in guide.parameters())
    assert found.share == own / found.total
    assert [len(losses) for losses in found.losses] == [1, 1, 1]
    statistics = [expert.get_buffer("layers.2.running_mean") for expert in found.experts]
    assert not torch.equal(statistics[0], statistics[1]), "batch statistics are estimated for each expert"
    whole = adapt_guide(guide, drawn, PROCESS, adapter=None, **quick)
    assert whole.share == 1.0


def test_the_first_expert_trained_is_the_least_noisy_and_others_start_where_it_ended_if_asked():
    _, guide, drawn = guide_and_samples()
    quick = dict(experts=2, steps=2, batch_size=8, lr=1e-2, adapter=None, progress=False)
    warm = adapt_guide(guide, drawn, PROCESS, warm_start=True, **quick)
    cold = adapt_guide(guide, drawn, PROCESS, warm_start=False, **quick)
    again = adapt_guide(guide, drawn, PROCESS, warm_start=True, **quick)
    of = lambda experts, k: torch.cat([p.flatten() for p in experts.experts[k].parameters()])  # noqa: E731
    assert torch.equal(of(warm, 1), of(cold, 1)) and not torch.equal(of(warm, 0), of(cold, 0))
    assert torch.equal(of(warm, 0), of(again, 0)), "the same seed gives the same experts"
    assert of(warm, 0).sub(of(warm, 1)).norm() < of(cold, 0).sub(of(cold, 1)).norm() * 1.5


def test_dense_regression_and_a_map_in_front():
    guide = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 1, 1))
    guide = filled(guide)
    drawn = normal(40, 1, 4, 4)
    made = adapt_guide(guide, drawn, PROCESS, experts=2, steps=8, batch_size=16, lr=1e-2, adapter=LowRank(2),
                       distance=squared_error, preprocess=lambda x: x / 2, progress=False)  # fmt: skip
    assert made(drawn[:3], 0.2).shape == (3, 1, 4, 4)
    torch.testing.assert_close(made(drawn[:3], 0.2), made.experts[1](drawn[:3] / 2))
    with pytest.raises(ValueError, match="at least as many steps"):
        adapt_guide(guide, drawn, PROCESS, experts=5, steps=4)
