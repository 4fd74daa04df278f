"""Best of n by several rewards: the winner among all candidates, with few of them in memory."""

import torch

from tests.search.cases import mixture, right
from windvane.samplers import sample
from windvane.search import BestOf, Chain, MeanRank, load_found, ranks, run, save_found
from windvane.search.candidates import undominated


def low(x):
    return -x[:, 1]


def searched(method, chain, **settings):
    return run(method, chain, MeanRank([right, low]), progress=False, **settings)


def test_the_winner_by_rank_is_that_of_all_candidates_though_few_are_kept():
    chain = Chain(mixture(), steps=4, batch_size=32)
    found = searched(BestOf(500), chain, n=2, seed=3)
    plain = sample(mixture(), seeds=3, n=1000, steps=4, progress=False).x.reshape(500, 2, 2).transpose(0, 1)
    scores = torch.stack([torch.stack([right(x), low(x)], dim=1) for x in plain]).double()
    winner = ranks(scores.transpose(1, 2)).mean(1).argmax(1)
    at = torch.arange(2)
    assert torch.equal(found.seeds, 3 + 2 * winner + at)
    torch.testing.assert_close(found.x, plain[at, winner])
    torch.testing.assert_close(found.noise, chain.noise(found.seeds))
    torch.testing.assert_close(found.scores, scores[at, winner])
    assert found.memory["all_scores"].shape == (2, 500, 2)
    assert len(found.memory["front_x"]) == int(found.memory["front_sizes"].sum()) < 60


def test_stopped_after_every_round_it_ends_at_the_same_winner(tmp_path):
    chain = Chain(mixture(), steps=4, batch_size=16)
    whole, part = searched(BestOf(200), chain, n=2), None
    while part is None or int(part.memory["tried"]) < 200:
        part = searched(BestOf(200), chain, n=2, resume=part, watch=lambda found: True)
        part = load_found(save_found(part, tmp_path / "state.safetensors"))
    assert torch.equal(part.x, whole.x) and torch.equal(part.seeds, whole.seeds)
    assert all(torch.equal(part.memory[name], values) for name, values in whole.memory.items())


def winners(scores):
    """The winner among the first 1, 2, ... of m candidates ``(m, K)``."""
    return [int(ranks(scores[:m].T[None])[0].mean(0).argmax()) for m in range(1, len(scores) + 1)]


def test_ranks_shift_and_an_earlier_candidate_wins_again():
    """Scores for which a winner loses its place to another one and has it back later, one at a time."""
    draw = torch.Generator().manual_seed(0)
    for _ in range(1000):
        scores = torch.rand(9, 2, generator=draw, dtype=torch.float64)
        path = winners(scores)
        changes = [w for w, before in zip(path[1:], path) if w != before]
        if len(set(changes)) < len(changes):
            break
    else:
        raise AssertionError("there is no such path")
    asked = [0, 0]

    def scripted(k):
        def reward(x):
            asked[k] += len(x)
            return scores[asked[k] - len(x) : asked[k], k]

        return reward

    seen = []
    run(
        BestOf(9), Chain(mixture(), steps=2, batch_size=1), MeanRank([scripted(0), scripted(1)]),
        watch=lambda found: seen.append(int(found.seeds[0])) and False, progress=False,
    )  # fmt: skip
    assert seen == path


def test_undominated_by_hand():
    scores = torch.tensor([[1.0, 5.0], [2.0, 2.0], [2.0, 2.0], [0.5, 5.0], [3.0, 1.0], [2.0, 1.5]])
    assert undominated(scores).tolist() == [True, True, False, False, True, False]
    draw = torch.Generator().manual_seed(0)
    for _ in range(20):
        many = torch.randint(0, 6, (40, 3), generator=draw).double()
        best = ranks(many.T[None]).mean(1).argmax()
        assert undominated(many)[best]
