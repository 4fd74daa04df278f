"""Rewards: what one does to the images it is given stays with it."""

import pytest
import torch

from tests.search.cases import ancestral, mixture
from windvane.search import (
    BestOf,
    Chain,
    DiffusionTree,
    FeynmanKac,
    MeanRank,
    Paths,
    RandomNoise,
    Verifier,
    ZeroOrder,
    run,
)


def pure(x):
    return ((x + 1) / 2)[:, 0]


def in_place(x):
    return x.add_(1).div_(2)[:, 0]


def height(x):
    return -x[:, 1].abs()


PATHS = {"start": 2.0, "forward": 0.8, "backward": 1.2, "unit": "noise_level"}
METHODS = {
    "best": BestOf(12),
    "random": RandomNoise(12, final=Chain(mixture(), steps=5)),
    "zero": ZeroOrder(rounds=3),
    "paths": Paths(**PATHS),
    "particles": FeynmanKac(particles=16, ess=1.0, sweeps=2),
}


def assert_same(one, other):
    assert torch.equal(one.x, other.x) and torch.equal(one.scores, other.scores)
    assert all(torch.equal(one.memory[name], value) for name, value in other.memory.items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", METHODS)
def test_a_reward_that_changes_its_images_in_place_changes_no_search(name, dtype):
    chain = ancestral(steps=4, batch_size=8, dtype=dtype)
    found = [run(METHODS[name], chain, reward, n=2, progress=False) for reward in (pure, in_place)]
    assert_same(*found)


def test_nor_does_it_change_a_tree():
    settings = {"branch_at": [1, 3], "precision": torch.float32}
    trees = [DiffusionTree(ancestral(steps=4), reward, **settings) for reward in (pure, in_place)]
    first, second = (tree.grow(rollouts=40, progress=False) for tree in trees)
    for one, other in zip(first.best(10), second.best(10)):
        assert torch.equal(one, other)
    assert first.log_z() == second.log_z()


@pytest.mark.parametrize("name", ["best", "zero", "paths"])
def test_nor_what_the_next_reward_sees(name):
    chain = ancestral(steps=4)
    found = [run(METHODS[name], chain, MeanRank([r, height]), progress=False) for r in (pure, in_place)]
    assert_same(*found)


def test_the_images_are_those_that_were_given():
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    before = x.clone()
    scores = Verifier([in_place, height]).scores(x)
    assert torch.equal(x, before)
    assert torch.equal(scores, torch.stack([pure(x), height(x)], dim=1).double())
