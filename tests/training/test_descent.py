"""The loop of small fits, against torch's own optimizers step by step."""

import math

import pytest
import torch
from torch import nn

from windvane.training.descent import descend, warm_cosine


@pytest.mark.parametrize("decay", [None, 0.1])
def test_it_is_the_optimizer_of_torch(decay):
    ours, theirs = (nn.Parameter(torch.tensor([2.0, -1.0])) for _ in range(2))
    targets = torch.randn(12, 2, generator=torch.Generator().manual_seed(0))
    rate = warm_cosine(12)
    losses = descend(
        lambda k: (ours - targets[k]).square().sum(), [ours], steps=12, lr=0.3, rate=rate, weight_decay=decay,
        clip_norm=0.5, name="it", progress=False,
    )  # fmt: skip
    kind = torch.optim.Adam if decay is None else torch.optim.AdamW
    optimiser = kind([theirs], lr=0.3, **({} if decay is None else {"weight_decay": decay}))
    for k in range(12):
        optimiser.param_groups[0]["lr"] = 0.3 * rate(k)
        loss = (theirs - targets[k]).square().sum()
        assert losses[k] == loss.item()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([theirs], 0.5)
        optimiser.step()
    assert torch.equal(ours, theirs) and ours.grad is None


def test_it_works_where_gradients_are_off_and_stops_at_what_is_not_finite():
    value = nn.Parameter(torch.tensor([1.0]))
    with torch.no_grad():
        descend(lambda k: value.square().sum(), [value], steps=3, lr=0.1, name="it", progress=False)
    assert value < 1
    with pytest.raises(ValueError, match="it: the loss became inf at step 2; try a rate below 0.1"):
        descend(
            lambda k: (value * (math.inf if k == 2 else 1)).abs().sum(), [value], steps=5, lr=0.1, name="it",
            progress=False, error=ValueError,
        )  # fmt: skip


def test_the_rate_rises_and_falls():
    rates = [warm_cosine(100)(k) for k in range(100)]
    assert rates[:4] == [0.2, 0.4, 0.6, 0.8] and max(rates) == rates[4] < 1
    assert rates[50] == pytest.approx(0.5) and rates[-1] < 1e-3
