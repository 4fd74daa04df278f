"""Diffusion trees: values and laws against closed forms, budgets, batches, refusals."""

import math
import warnings

import numpy as np
import pytest
import torch

from tests.search.cases import EDM_PROCESS, affine_law, ancestral, drawn, gaussian, mixture, right
from windvane.conditions import Condition
from windvane.energies import Reward
from windvane.exact import GaussianMixtureDenoiser
from windvane.guidance import ClassifierFree
from windvane.guidance.presets import dps
from windvane.guidance.routed import BySteps, Routed
from windvane.point_set import PointsDenoiser
from windvane.process import PFGMPP
from windvane.samplers import DDIM, DDPM, DPMSolverSDE, Heun
from windvane.search import BestOf, Budget, Chain, DiffusionTree, MeanRank, expansion, run
from windvane.search.nodes import Nodes, pick, soft_value
from windvane.search.selection import Selection


def grown(chain=None, reward=right, *, nfe=None, rollouts=None, batch=16, **settings):
    tree = DiffusionTree(chain or ancestral(), reward, **settings)
    return tree.grow(nfe, rollouts=rollouts, batch=batch, progress=False)


class Even:
    """A selection that expands given nodes in turn."""

    def __init__(self, tree):
        self.tops, self.depth = tree.nodes.children(0), tree.selection.depth

    def finished(self, nodes, node):
        return int(nodes.depth[node]) == self.depth

    def path(self, nodes, number, pending, first):
        return [0, int(self.tops[number % len(self.tops)])]


def test_the_values_are_the_soft_values_of_the_chain():
    """V(x_t) = log E exp(r) = b + a x + var / 2 in closed form for a Gaussian model and a linear reward."""
    chain = Chain(gaussian(), sampler=DDPM(), steps=8, batch_size=4096)
    tree = grown(chain, rollouts=24, branch_at=[3], precision=torch.float32)
    tree.selection = Even(tree)
    tree.grow(rollouts=24 * 400, batch=240, progress=False)
    a, b, var = affine_law(chain, 3)
    tops = tree.nodes.children(0)
    states = tree.state_of(tops).double()
    truth = (a * states + b)[:, 0] + var[0] / 2
    error = torch.from_numpy(tree.nodes.value[tops]) - truth
    guess = right(chain.predict(states.float(), chain.times[3], torch.zeros(len(tops)).long())).double()
    assert len(tops) == 24 and tree.nodes.family(int(tops[0])) >= 400
    assert float(error.square().mean().sqrt()) < 0.1
    assert float(error.mean().abs()) < 0.03
    assert float((truth - guess).mean()) > 0.1, "the usual guess lies below, by Jensen's inequality"


def test_the_root_estimates_the_normalising_constant():
    chain = Chain(gaussian(), sampler=DDPM(), steps=8, batch_size=4096)
    a, b, var = affine_law(chain, 0)
    spread = var + (a * float(chain.process.sigma(chain.times[0]))) ** 2
    truth = float(0.5 * b[0] + 0.125 * spread[0])
    tree = grown(chain, lambda x: 0.5 * right(x), rollouts=3000, batch=64)
    assert tree.log_z() == pytest.approx(truth, abs=0.12)


def test_soft_backups_on_a_tree_by_hand():
    nodes = Nodes()
    left = nodes.add(parent=0, depth=1, log_ratio=0.0, reward=math.nan)
    right_ = nodes.add(parent=0, depth=1, log_ratio=math.log(2), reward=math.nan)
    for parent, reward in ((left, 1.0), (left, 3.0), (right_, -2000.0)):
        nodes.add(parent=parent, depth=2, log_ratio=0.0, reward=reward)
    nodes.back_up([0, left, right_], 2.0)
    value = math.log((math.exp(2) + math.exp(6)) / 2) / 2
    assert nodes.value[left] == pytest.approx(value)
    assert nodes.value[right_] == -2000.0
    assert nodes.value[0] == pytest.approx((2 * value - math.log(2)) / 2)
    nodes.back_up([0, left, right_], math.inf)
    assert nodes.value[0] == 3.0
    assert soft_value(np.array([-1e5, -1e5]), np.zeros(2), 1.0) == -1e5


def test_sampling_follows_the_products_of_the_shares():
    tree = grown(rollouts=60)
    x, shares = tree.distribution()
    assert float(shares.sum()) == pytest.approx(1)
    nodes, by_hand = tree.nodes, []
    for leaf in nodes.leaves():
        probability, path = 1.0, nodes.path(int(leaf))
        for parent, child in zip(path, path[1:]):
            values = np.exp(nodes.value[nodes.children(parent)])
            probability *= math.exp(nodes.value[child]) / values.sum()
        by_hand.append(probability)
    assert shares.tolist() == pytest.approx(by_hand)
    drawn_x = tree.sample(4000)
    mean = (shares[:, None] * x).sum(0)
    assert torch.allclose(drawn_x.double().mean(0), mean, atol=0.08)
    spent = tree.spent
    assert tree.sample(3, seed=1).shape == (3, 2) and tree.spent == spent


def test_samples_come_to_the_tilted_law():
    """Shares of the three components under p exp(r), r high on the rarest: mean error over 24 seeds."""

    def reward(x):
        return 3.0 * torch.sigmoid(8 * (-0.75 - x[:, 1]))

    def inside(x):
        return torch.stack([x[:, 0] < -0.5, (x[:, 0] > -0.5) & (x[:, 1] > 0), x[:, 1] < -0.75], 1).double()

    chain = ancestral(steps=10, batch_size=4096)
    plain = drawn(chain, 20000, seed=10**6)
    truth = (reward(plain).double().softmax(0)[:, None] * inside(plain)).sum(0)
    untilted = float((inside(plain).mean(0) - truth).abs().sum())
    errors = {400: [], 4000: []}
    for seed in range(24):
        tree = DiffusionTree(chain, reward, seed=seed, branch_at=[4, 6, 8])
        for nfe in errors:
            tree.grow(nfe - tree.spent.rows, progress=False)
            x, shares = tree.distribution()
            errors[nfe].append(float(((shares[:, None] * inside(x)).sum(0) - truth).abs().sum()))
    mean = {nfe: sum(found) / 24 for nfe, found in errors.items()}
    assert mean[400] < 0.7 * untilted
    assert mean[4000] < 0.85 * mean[400]


def test_the_star_finds_more_than_best_of_n_at_equal_evaluations():
    chain = ancestral(steps=10, batch_size=512)

    def far(x):
        return x[:, 0] - 0.3 * x[:, 1].abs()

    stars, plain = [], []
    for seed in range(12):
        settings = {"star": True, "lam": 5.0, "c_uct": 0.3, "widening": 1.0, "exponent": 0.5}
        tree = grown(chain, far, nfe=3000, seed=seed, **settings)
        stars.append(float(tree.best()[1]))
        best = run(BestOf(), chain, far, seed=seed * 10**6, budget=Budget(network=3000), progress=False)
        plain.append(float(best.score))
        assert torch.equal(tree.sample(2)[0], tree.sample(2)[1])
    assert sum(stars) / 12 > sum(plain) / 12 + 0.05


@pytest.mark.parametrize("nfe", [9, 100, 1234])
def test_the_budget_is_not_exceeded_and_what_is_left_pays_for_no_rollout(nfe):
    if nfe < 10:
        assert grown(nfe=nfe).spent.rows == 0
        return
    tree = grown(nfe=nfe)
    assert nfe - 10 < tree.spent.rows <= nfe
    assert tree.spent.verified == len(tree.nodes.leaves())


def test_an_expansion_costs_the_steps_that_are_left():
    tree = grown(rollouts=200, batch=1)
    nodes = tree.nodes
    depths = nodes.depth[: len(nodes)]
    # Every node but the root was made by the steps from its parent's level to its own.
    made = sum(tree.levels[d] - tree.levels[d - 1] for d in depths[1:].tolist())
    assert tree.spent.rows == made and tree.grown == 200
    assert nodes.visits[0] == 201


def test_verifier_calls_are_a_budget_too():
    tree = DiffusionTree(ancestral(), right)
    tree.grow(verifications=25, progress=False)
    assert tree.spent.verified == 25


def test_a_batch_spreads_as_single_rollouts_do():
    serial, batched = grown(rollouts=256, batch=1), grown(rollouts=256, batch=32)
    # One batch that piled onto one node would make it a family of its own.
    deepest = [max(tree.nodes.family(node) for node in range(1, len(tree))) for tree in (serial, batched)]
    assert deepest[1] <= 2 * deepest[0]
    ratio = serial.nodes.family(0) / batched.nodes.family(0)
    assert 0.9 < ratio < 1.1
    assert abs(serial.log_z() - batched.log_z()) < 0.35


def test_the_batch_size_of_the_network_changes_nothing():
    small, large = grown(ancestral(batch_size=3), rollouts=50), grown(ancestral(batch_size=64), rollouts=50)
    assert np.allclose(small.nodes.reward, large.nodes.reward, atol=1e-2, equal_nan=True)
    assert (small.nodes.parent == large.nodes.parent).all()


def test_progressive_widening_by_hand():
    """A node has another child while it has fewer than C N^alpha of them."""
    for rollouts in (36, 40):  # the last choice of 36 finds 6 children, exactly what 36 visits allow
        tree = grown(rollouts=rollouts, batch=1, widening=1.0, exponent=0.5)
        visits = int(tree.nodes.visits[0])
        assert tree.nodes.family(0) == math.ceil(math.sqrt(visits - 1) - 1e-9)
    full = grown(rollouts=31, batch=1)  # 2 N^0.8 > N below 32 visits
    assert full.nodes.family(0) == 31


@pytest.mark.parametrize("batch", [1, 16])
def test_visits_are_one_and_a_rollout_each_that_came_through(batch):
    """A rollout is counted by the leaf that it made or came back to, and by every node above that leaf."""
    tree = grown(rollouts=120, batch=batch, widening=1.0, exponent=0.5)
    nodes = tree.nodes
    expected = np.ones(len(nodes), dtype=np.int64)
    for leaf in nodes.leaves().tolist():
        expected[nodes.path(leaf)[:-1]] += nodes.visits[leaf]
    expected[nodes.leaves()] = nodes.visits[nodes.leaves()]
    assert nodes.visits[: len(nodes)].tolist() == expected.tolist()
    assert int(nodes.visits[nodes.leaves()].sum()) == tree.grown == 120


@pytest.mark.parametrize("c_uct", [0.0, 0.3, 1.0, 3.0])
def test_the_star_descends_by_value_and_bonus(c_uct):
    """argmax v + c sqrt(log N / N_child), written out for three children; more c, and rarer ones win."""
    nodes, values, visits = Nodes(), [1.0, 0.6, -1.0], [30, 6, 1]
    for value in values:
        nodes.add(parent=0, depth=1, log_ratio=0.0, reward=value)
    nodes.visits[:4] = [38, *visits]
    chosen = Selection(1, 1.0, 0.01, 0.5, True, c_uct, 0.0, 0).path(nodes, 0, {}, 4)
    scores = [v + c_uct * math.sqrt(math.log(38) / n) for v, n in zip(values, visits)]
    assert chosen == [0, 1 + int(np.argmax(scores))]
    assert chosen[1] == {0.0: 1, 0.3: 1, 1.0: 2, 3.0: 3}[c_uct]


def test_exploring_mixes_even_shares_into_the_choice():
    shares = np.log([0.9, 0.1])
    for explore, edge in ((0.0, 0.9), (0.4, 0.6 * 0.9 + 0.4 / 2), (1.0, 0.5)):
        assert [pick(shares, edge - 1e-3, explore), pick(shares, edge + 1e-3, explore)] == [0, 1]


def test_exploring_is_asked_for_at_every_node():
    """Shares of 0.999 and 0.001 in 400 rollouts: mixed by half with even ones, the second gets a quarter."""
    nodes = Nodes()
    for value in (math.log(999), 0.0):
        nodes.add(parent=0, depth=1, log_ratio=0.0, reward=value)
    nodes.visits[0] = 10**6
    for explore, low, high in ((0.0, 0.0, 0.02), (0.5, 0.19, 0.31), (1.0, 0.42, 0.58)):
        selection = Selection(1, 1.0, 1e-6, 0.5, False, 0.0, explore, 0)
        second = sum(selection.path(nodes, number, {}, 3) == [0, 2] for number in range(400)) / 400
        assert low <= second <= high, explore


def test_a_tree_that_only_comes_back_to_its_leaves_stops_with_the_reason(monkeypatch):
    """With exponent 0.05 the third child takes a million visits; rollouts may be limited themselves."""
    monkeypatch.setattr(expansion, "IDLE_ROLLOUTS", 100)
    barren = {"widening": 1.0, "exponent": 0.05}
    with pytest.warns(UserWarning, match="rollouts came back to finished samples.*exponent=0.05"):
        tree = grown(nfe=2000, **barren)
    assert tree.spent.rows < 2000 and 100 < tree.grown < 1000
    best, spent = tree.best(), tree.spent
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert tree.grow(rollouts=300, progress=False).spent == spent, "it is kept, and grows by rollouts"
        assert torch.equal(tree.best()[0], best[0])
        assert grown(rollouts=1000, **barren).grown == 1000
        # The settings of the documentation never wait so long for the next child.
        for settings in ({}, {"star": True, "widening": 1.0, "exponent": 0.5, "lam": 5.0}):
            assert grown(nfe=5000, **settings).spent.rows > 4990


def test_best_is_sorted_and_states_are_the_samples():
    tree = grown(rollouts=80)
    x, rewards = tree.best(5)
    assert (rewards.diff() <= 0).all() and torch.allclose(right(x).double(), rewards)
    assert float(rewards[0]) == np.nanmax(tree.nodes.reward)


def test_every_rollout_is_a_plain_path_of_the_chain():
    """From a stored state, the chain with the node's key gives the child's state."""
    from windvane.randomness import derive_seed
    from windvane.search.rollouts import _STREAM_NODE

    tree = grown(rollouts=50, precision=torch.float32)
    nodes, chain = tree.nodes, tree.chain
    for node in range(5, len(nodes), 17):
        parent, depth = int(nodes.parent[node]), int(nodes.depth[node])
        key = [derive_seed(0, _STREAM_NODE, node)]
        x = chain.start(chain.noise(key)) if parent == 0 else tree.state_of([parent])
        x = chain.run(x, key, first=tree.levels[depth - 1], last=tree.levels[depth])
        assert torch.allclose(x, tree.state_of([node]), atol=1e-5)


def test_prior_draws_may_be_nodes():
    tree = grown(rollouts=100, branch_at=[0, 5])
    top = tree.state_of(tree.nodes.children(0)[:1])
    assert float(top.abs().max()) > 0.1 and tree.levels == (0, 0, 5, 10)
    assert tree.spent.rows <= 1000


class Fresh(Even):
    """A selection that draws a new child of the root every time."""

    def path(self, nodes, number, pending, first):
        return [0]


def test_a_proposal_is_weighed_back_to_the_target():
    """With paths that do not depend on each other the root is importance sampling of Z, in closed form."""
    chain = Chain(gaussian(), sampler=DDPM(), steps=10, batch_size=512)
    a, b, var = affine_law(chain, 0)
    truth = float(b[0] + (var + (a * float(chain.process.sigma(chain.times[0]))) ** 2)[0] / 2)
    found = {}
    for corrected in (True, False):
        proposal = dps(Reward(right), 0.15).sampler(DDPM())
        tree = grown(chain, right, rollouts=1, proposal=proposal, corrected=corrected)
        tree.selection = Fresh(tree)
        tree.grow(rollouts=3000, batch=256, progress=False)
        found[corrected] = tree.log_z()
        assert bool(np.any(tree.nodes.log_ratio[: len(tree.nodes)])) == corrected
    assert found[True] == pytest.approx(truth, abs=0.08)
    assert found[False] > truth + 0.12


def test_guided_and_stitched_models_are_searched():
    model = GaussianMixtureDenoiser(
        [0.5, 0.5], [[-1.0, 0.0], [1.0, 0.0]], [0.1, 0.1], EDM_PROCESS, classes=[0, 1]
    )
    cond = Condition.vector(torch.tensor([1]))
    guided = Chain(ClassifierFree(model, 2.0), sampler=DDPM(), steps=10, cond=cond)
    tree = grown(guided, lambda x: x[:, 1], nfe=1000)
    assert 980 < tree.spent.rows <= 1000
    assert (tree.distribution()[0][:, 0] > 0).all()
    routed = Routed([mixture(), mixture()], BySteps((0.5, 0.5)))
    alone, both = grown(rollouts=40), grown(Chain(routed, sampler=DDPM(), steps=10), rollouts=40)
    assert np.array_equal(alone.nodes.reward, both.nodes.reward, equal_nan=True)
    pushed = Chain(mixture(), sampler=dps(Reward(right), 0.1).sampler(DDPM()), steps=10)
    assert grown(pushed, rollouts=30).spent.rows > 0


@pytest.mark.parametrize(
    ("chain", "match"),
    [
        (lambda: Chain(mixture(), sampler=DDIM(), steps=5), "branches by the noise that a step adds"),
        (lambda: Chain(mixture(), sampler=Heun(churn=5.0), steps=5), "has no transition"),
        (lambda: Chain(mixture(), sampler=DPMSolverSDE(), steps=5), "predictions of earlier steps"),
        (
            lambda: Chain(
                PointsDenoiser(torch.eye(2), PFGMPP(dof=8, sigma_max=20.0, sigma_min=0.02)),
                sampler=DDPM(),
                steps=5,
            ),
            "needs Gaussian noise; PFGMPP",
        ),
    ],
    ids=["deterministic", "churn", "history", "pfgmpp"],
)
def test_chains_that_cannot_branch_are_refused_with_the_reason(chain, match):
    with pytest.raises(ValueError, match=match):
        DiffusionTree(chain(), right)


def test_a_memoryless_sde_solver_is_taken():
    chain = Chain(mixture(), sampler=DPMSolverSDE(order=1), steps=10)
    assert grown(chain, rollouts=20).spent.rows > 0


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"lam": 0.0}, "lam > 0"),
        ({"exponent": 0.0}, "0 < exponent"),
        ({"branch_at": [5, 3]}, "increasing steps from 0 to 9"),
        ({"precision": torch.float64}, "float16 or float32"),
        ({"proposal": DDPM()}, "guides the chain's own steps"),
        ({"explore": 2.0}, "0 <= explore <= 1"),
    ],
    ids=["lam", "exponent", "branch_at", "precision", "proposal", "explore"],
)
def test_wrong_settings_are_refused(settings, match):
    with pytest.raises(ValueError, match=match):
        DiffusionTree(ancestral(), right, **settings)


def test_ranks_and_empty_trees_are_refused():
    with pytest.raises(ValueError, match="ranks exist among candidates only"):
        DiffusionTree(ancestral(), MeanRank([right, right]))
    with pytest.raises(ValueError, match="grow it first"):
        DiffusionTree(ancestral(), right).best()
    with pytest.raises(ValueError, match="how far to grow"):
        DiffusionTree(ancestral(), right).grow()
