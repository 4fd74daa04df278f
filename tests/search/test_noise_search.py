"""Best of n, random and zero-order search, and search over paths: equalities, budgets, invariances."""

import pytest
import torch

from tests.search.cases import EDM_PROCESS, ancestral, mixture, right
from windvane.conditions import Condition
from windvane.energies import Reward
from windvane.exact import GaussianDenoiser, GaussianMixtureDenoiser
from windvane.guidance import ClassifierFree
from windvane.guidance.presets import dps
from windvane.point_set import PointsDenoiser
from windvane.process import PFGMPP, VPLinear
from windvane.randomness import derive_seed
from windvane.samplers import DDIM, DDPM, EVODiff, Heun, UniPC, sample
from windvane.search import (
    BestOf,
    Budget,
    Chain,
    MeanRank,
    Paths,
    RandomNoise,
    ZeroOrder,
    neighbours,
    ranks,
    run,
)
from windvane.search.path_search import _STREAM_START


def quiet_run(*args, **settings):
    return run(*args, progress=False, **settings)


@pytest.mark.parametrize("sampler", [DDIM(), UniPC(), DDPM()], ids=["ddim", "unipc", "ddpm"])
def test_best_of_n_is_the_best_of_plain_sampling(sampler):
    model = mixture()
    found = quiet_run(BestOf(20), Chain(model, sampler=sampler, steps=8, batch_size=7), right, seed=5)
    plain = sample(model, seeds=5, n=20, sampler=sampler, steps=8, progress=False).x
    winner = right(plain).argmax()
    assert torch.allclose(found.x[0], plain[winner], atol=1e-5)
    assert int(found.seeds[0]) == 5 + int(winner)
    assert found.spent.rows == 160 and found.spent.verified == 20


def test_searches_side_by_side_do_not_see_each_other_or_the_batches():
    chains = [ancestral(batch_size=size) for size in (3, 64)]
    small, large = (quiet_run(BestOf(8), chain, right, n=4, seed=2) for chain in chains)
    assert torch.allclose(small.x, large.x, atol=1e-5)
    plain = sample(mixture(), seeds=2, n=32, sampler=DDPM(), steps=10, progress=False).x
    assert torch.allclose(large.score.float(), right(plain).reshape(8, 4).max(0).values, atol=1e-5)


@pytest.mark.parametrize("network", [100, 105, 119, 120])
def test_a_budget_is_used_up_and_not_exceeded(network):
    found = quiet_run(BestOf(), ancestral(), right, n=2, budget=Budget(network=network))
    assert found.spent.rows == network // 20 * 20
    verified = quiet_run(BestOf(), ancestral(), right, n=2, budget=Budget(network=network, verifier=6))
    assert verified.spent.verified == 6 and verified.spent.rows == 60


def test_a_budget_counts_both_rows_of_guidance():
    model = GaussianMixtureDenoiser(
        [0.5, 0.5], [[-1.0, 0.0], [1.0, 0.0]], [0.1, 0.1], EDM_PROCESS, classes=[0, 1]
    )
    cond = Condition.vector(torch.tensor([1]))
    chain = Chain(ClassifierFree(model, 2.0), steps=10, cond=cond)
    found = quiet_run(BestOf(), chain, right, budget=Budget(network=100))
    assert found.spent.rows == 100 and found.spent.verified == 5


def test_a_budget_that_pays_for_nothing_is_refused():
    with pytest.raises(ValueError, match="does not pay for one sample of each of 3 searches: that takes 30"):
        quiet_run(BestOf(), ancestral(), right, n=3, budget=Budget(network=29))


@pytest.mark.parametrize(
    ("method", "used"),
    [(BestOf(), 24), (RandomNoise(final=Chain(mixture(), steps=2)), 24), (ZeroOrder(neighbours=4), 18)],
    ids=["best", "random", "zero"],
)
def test_every_reward_of_a_sample_counts_in_the_budget(method, used):
    """Of 25 verifications two rewards make 12 samples; a round of zero-order search has 4 after the first."""
    both = MeanRank([right, lambda x: -x[:, 1].abs()])
    found = quiet_run(method, Chain(mixture(), steps=2), both, budget=Budget(verifier=25))
    assert found.spent.verified == used
    with pytest.raises(ValueError, match="network rows and 6 verifications"):
        quiet_run(method, Chain(mixture(), steps=2), both, n=3, budget=Budget(verifier=5))


def test_random_search_gives_the_noise_and_a_final_sample_made_from_it():
    model, final = mixture(), Chain(mixture(), sampler=Heun(), steps=12)
    found = quiet_run(RandomNoise(16, final=final), Chain(model, steps=5), right, seed=1)
    again = final.run(final.start(found.noise), found.seeds.tolist())
    assert torch.equal(found.x, again)
    assert torch.allclose(found.score, right(again).double())
    # 16 searches of 5, and 2 * 12 - 1 for Heun's final run.
    assert found.spent.rows == 16 * 5 + 23 and found.spent.verified == 17


def test_random_search_keeps_evaluations_for_the_final_sample():
    final = Chain(mixture(), steps=20)
    budget = Budget(network=100)
    found = quiet_run(RandomNoise(final=final), Chain(mixture(), steps=10), right, budget=budget)
    assert found.spent.rows == 100 and found.spent.verified == 9


def test_neighbours_keep_the_norm_and_the_cosine():
    noise = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    near = neighbours(noise, list(range(6)), cosine=0.9)
    flat, other = noise.flatten(1), near.flatten(1)
    assert torch.allclose(flat.norm(dim=1), other.norm(dim=1), rtol=1e-5)
    cosine = (flat * other).sum(1) / flat.norm(dim=1) ** 2
    assert torch.allclose(cosine, torch.full((6,), 0.9), atol=1e-5)


@pytest.mark.parametrize("sampler", [DDIM(), DDPM()], ids=["ddim", "ddpm"])
def test_zero_order_search_climbs_and_its_noise_reproduces_its_score(sampler):
    chain = Chain(mixture(), sampler=sampler, steps=8)
    found = quiet_run(ZeroOrder(rounds=12, cosine=0.8), chain, right, n=5, seed=3)
    path = torch.tensor([moment.scores[0] for moment in found.history])
    # With fresh noise in every step the starting noise decides little.
    assert (path.diff() >= 0).all() and path[-1] > path[0] + (0.0 if sampler.stochastic else 0.3)
    again = chain.run(chain.start(found.noise), found.seeds.tolist())
    assert torch.equal(again, found.x)
    assert found.spent.rows == 5 * 8 * (1 + 12 * 4)


def test_zero_order_by_hand():
    chain = Chain(mixture(), steps=6)
    found = quiet_run(ZeroOrder(rounds=1, neighbours=3), chain, right, seed=9)
    pivot = chain.noise([9])
    start = chain.run(chain.start(pivot), [9])
    cosine = torch.cosine_similarity(found.noise, pivot)
    if found.score > right(start).double():
        assert torch.allclose(cosine, torch.tensor([0.95]), atol=1e-5)
    else:
        assert torch.equal(found.x, start)
    assert found.score >= right(start).double()


def test_the_pivot_is_the_best_so_far_and_its_neighbours_are_new_every_round():
    chain = Chain(mixture(), steps=3)
    found = quiet_run(ZeroOrder(rounds=8, neighbours=2), chain, right, n=6)
    assert torch.equal(found.memory["pivot"], found.noise)
    assert torch.equal(found.memory["pivot_scores"], found.scores)
    seen = []

    def ever_worse(x):
        seen.append(x)
        return torch.full((len(x),), -float(len(seen)))

    # In six dimensions there are more than two directions across a noise.
    wide = Chain(GaussianDenoiser([0.0] * 6, [0.5] * 6, VPLinear()), steps=3)
    stalled = quiet_run(ZeroOrder(rounds=5, neighbours=3), wide, ever_worse, seed=2)
    assert torch.equal(stalled.noise, wide.noise([2]))
    assert len(torch.cat(seen).unique(dim=0)) == 1 + 5 * 3


def test_a_stalled_search_restarts_and_keeps_the_best():
    chain = Chain(mixture(), steps=6)
    stay = quiet_run(ZeroOrder(rounds=25, cosine=0.99), chain, right, n=6)
    restart = quiet_run(ZeroOrder(rounds=25, cosine=0.99, on_stall="restart"), chain, right, n=6)
    path = torch.tensor([moment.scores[0] for moment in restart.history])
    assert (path.diff() >= 0).all()
    assert restart.score.mean() > stay.score.mean()
    assert not torch.equal(restart.memory["pivot"], restart.noise)


def test_zero_order_keeps_the_heavy_tails_of_pfgmpp():
    points = torch.tensor([[-1.5, 0.0], [1.0, 1.0], [1.0, -1.5]])
    model = PointsDenoiser(points, PFGMPP(dof=4, sigma_max=20.0, sigma_min=0.02))
    chain = Chain(model, steps=8)
    found = quiet_run(ZeroOrder(rounds=6, cosine=0.6), chain, right, n=4)
    assert torch.allclose(found.noise.norm(dim=1), chain.noise(range(4)).norm(dim=1), rtol=1e-5)
    with pytest.raises(ValueError, match="needs Gaussian noise; PFGMPP"):
        quiet_run(Paths(start=2, forward=0.8, backward=1.2, unit="noise_level"), chain, right)


PATHS = {"start": 2.0, "forward": 0.8, "backward": 1.2, "unit": "noise_level"}


def test_paths_levels_end_at_zero():
    assert Paths(**PATHS).levels() == pytest.approx([2.0, 1.6, 1.2, 0.8, 0.4, 0.0])
    with pytest.raises(ValueError, match="0 < forward < backward"):
        Paths(forward=0.8, backward=0.8)


def test_paths_beat_the_same_evaluations_of_random_search():
    chain = Chain(mixture(), steps=10)
    paths = quiet_run(Paths(**PATHS), chain, right, n=64)
    random = quiet_run(BestOf(), chain, right, n=64, budget=Budget(network=paths.spent.rows + 640))
    assert paths.spent.rows <= random.spent.rows + 640
    assert paths.score.mean() > random.score.mean()
    assert torch.allclose(paths.score, right(paths.x).double())


@pytest.mark.parametrize("rounds", [0, 1, 3])
def test_what_paths_show_is_the_prediction_of_the_best_survivor_at_its_level(rounds):
    chain, method = Chain(mixture(), steps=10), Paths(**PATHS)
    found = quiet_run(method, chain, right, n=3, watch=lambda state: state.rounds == rounds)
    level = torch.tensor(method.levels()[rounds], dtype=torch.float64)
    best = found.memory["survivors"][:, 0]
    predicted = chain.predict(best, chain.process.t_of_noise_level(level), torch.arange(3))
    torch.testing.assert_close(found.x, predicted)
    torch.testing.assert_close(found.score, right(predicted).double())


def test_paths_solve_their_segments_on_the_times_of_the_chain():
    """A round is as many steps as the chain has between its levels, to the last digit of what they make."""
    chain, method = Chain(mixture(), steps=20), Paths(keep=1, expand=1, **PATHS)
    found = quiet_run(method, chain, right, n=3, watch=lambda state: state.rounds == 0)
    last = chain.process.t_of_noise_level(torch.tensor(2.0, dtype=torch.float64))
    above = [t for t in chain.times.tolist() if t > float(last)]
    assert len(above) > 5 and found.spent.rows == 3 * (len(above) + 1)  # and a prediction
    keys = [derive_seed(i, _STREAM_START, 0) for i in range(3)]
    times = torch.tensor([*above, float(last)], dtype=torch.float64)
    made = sample(
        mixture(), seeds=0, n=3, grid=times, start=(chain.start(chain.noise(keys)), above[0]), progress=False
    )
    torch.testing.assert_close(found.memory["survivors"][:, 0], made.x)


@pytest.mark.parametrize("guided", [False, True], ids=["plain", "guided"])
def test_paths_refuse_a_solver_whose_steps_must_be_even_in_log_snr(guided):
    """With advice that can be followed: a grid cannot help, since paths cut the segments themselves."""
    solver = dps(Reward(right), 0.05).sampler(EVODiff()) if guided else EVODiff()
    with pytest.raises(ValueError, match="solves segments that are not even") as refusal:
        quiet_run(Paths(**PATHS), Chain(mixture(), sampler=solver, steps=6), right)
    assert "UniPC()" in str(refusal.value) and "grid=" not in str(refusal.value)


def test_paths_stop_at_the_budget():
    chain = Chain(mixture(), steps=10)
    found = quiet_run(Paths(**PATHS), chain, right, n=4, budget=Budget(network=300))
    assert found.spent.rows <= 300 and 0 < found.rounds < 5
    with pytest.raises(ValueError, match="above the chain's first time"):
        quiet_run(Paths(start=0.9, forward=0.5, backward=0.6), Chain(mixture(VPLinear())), right)


def test_paths_begin_again_while_the_budget_pays_for_a_whole_search():
    """The best of three searches from other noise; the first is that of one search alone."""
    chain, shown = Chain(mixture(), steps=10), []
    once = quiet_run(Paths(**PATHS), chain, right, n=3)
    method = Paths(**PATHS, repeats=3)
    thrice = quiet_run(
        method, chain, right, n=3, watch=lambda found: shown.append((found.rounds, found.score)) and False
    )
    whole = dict(shown)
    assert torch.equal(whole[5], once.score) and list(whole) == list(range(18))
    assert thrice.spent.rows == 3 * once.spent.rows and thrice.done
    assert torch.equal(thrice.score, right(thrice.x).double())
    # Until a later search ends, what the first found stays the result; then the better of both.
    assert all(torch.equal(whole[k], once.score) for k in range(6, 11))
    assert (whole[11] >= whole[5]).all() and (whole[17] >= whole[11]).all()
    assert not torch.equal(whole[17], whole[5])
    rows = once.spent.rows
    for budget, times in ((2 * rows - 1, 1), (2 * rows, 2), (3 * rows + 7, 3)):
        endless = Paths(**PATHS, repeats=None)
        found = quiet_run(endless, chain, right, n=3, budget=Budget(network=budget))
        assert found.spent.rows == times * rows
        assert torch.equal(found.score, whole[6 * times - 1])
    part = quiet_run(method, chain, right, n=3, watch=lambda found: found.rounds == 8)
    assert torch.equal(quiet_run(method, chain, right, n=3, resume=part).x, thrice.x)
    with pytest.raises(ValueError, match="say how many searches"):
        quiet_run(Paths(**PATHS, repeats=None), chain, right)


def test_ranks_share_ties():
    found = ranks(torch.tensor([[3.0, 1.0, 3.0, 2.0]]))
    assert found.tolist() == [[3.5, 1.0, 3.5, 2.0]]


def test_mean_rank_does_not_care_about_scales():
    """The winner has the best mean rank, written out; a reward times a thousand changes nothing."""
    model = mixture()
    plain = sample(model, seeds=0, n=30, steps=8, progress=False).x
    first, second = plain[:, 0], -plain[:, 1].abs()
    mean = (first.argsort().argsort() + second.argsort().argsort()).float() / 2
    for scale in (1.0, 1000.0):
        verifier = MeanRank([right, lambda x, s=scale: -s * x[:, 1].abs()])
        found = quiet_run(BestOf(30), Chain(model, steps=8, batch_size=8), verifier)
        assert mean[int(found.seeds[0])] == mean.max()
        assert found.spent.verified == 60


@pytest.mark.parametrize(
    "method", [BestOf(40), ZeroOrder(rounds=8), Paths(**PATHS)], ids=["best", "zero", "paths"]
)
def test_stopped_and_resumed_equals_one_run(method):
    chain = Chain(mixture(), steps=10, batch_size=8)
    whole = quiet_run(method, chain, right, n=3, seed=4)
    part = quiet_run(method, chain, right, n=3, seed=4, watch=lambda found: found.rounds == 2)
    assert not part.done and part.rounds == 2
    resumed = quiet_run(method, chain, right, n=3, seed=4, resume=part)
    assert torch.equal(resumed.x, whole.x) and resumed.history == whole.history
    assert resumed.spent == whole.spent


def test_a_condition_has_a_row_for_each_search():
    model = GaussianMixtureDenoiser(
        [0.5, 0.5], [[-3.0, 0.0], [3.0, 0.0]], [0.1, 0.1], EDM_PROCESS, classes=[0, 1]
    )
    chain = Chain(model, steps=10, cond=Condition.vector(torch.tensor([0, 1])))
    found = quiet_run(BestOf(4), chain, lambda x: x[:, 1], n=2)
    assert found.x[0, 0] < 0 < found.x[1, 0]
    with pytest.raises(ValueError, match="2 rows for 3 searches"):
        quiet_run(BestOf(4), chain, right, n=3)
