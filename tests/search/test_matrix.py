"""Every search with every kind of sampler, model and process: it runs, or refuses and says why."""

import pytest
import torch

import windvane as wv
from tests.search.cases import mixture, right
from windvane.conditions import Condition
from windvane.denoiser import Denoiser
from windvane.energies import Reward
from windvane.evaluations import count_evaluations
from windvane.exact import GaussianMixtureDenoiser
from windvane.guidance import ClassifierFree
from windvane.guidance.presets import dps
from windvane.guidance.routed import BySteps, Routed
from windvane.point_set import PointsDenoiser
from windvane.process import EDM, PFGMPP, RectifiedFlow, VPCosine, VPLinear, VPTable
from windvane.search import BestOf, Chain, DiffusionTree, FeynmanKac, Paths, RandomNoise, ZeroOrder, run

TABLE = VPLinear().alpha(torch.linspace(0, 1, 101, dtype=torch.float64)[1:]) ** 2
PROCESSES = {
    "vp_linear": VPLinear(),
    "vp_cosine": VPCosine(),
    "edm": EDM(sigma_max=20.0, sigma_min=0.02),
    "flow": RectifiedFlow(),
    "table": VPTable(TABLE.tolist()),
    "pfgmpp": PFGMPP(dof=8.0, sigma_max=20.0, sigma_min=0.02),
}
SAMPLERS = {
    "ddim": wv.DDIM(),
    "euler": wv.Euler(),
    "heun": wv.Heun(),
    "2m": wv.DPMSolverPP(),
    "3s": wv.DPMSolverSinglestep(order=3),
    "unipc": wv.UniPC(order=3),
    "evodiff": wv.EVODiff(),
    "ddpm": wv.DDPM(),
    "eta": wv.DDIM(eta=0.5),
    "churn": wv.Heun(churn=3.0),
    "sde1": wv.DPMSolverSDE(order=1),
    "sde2": wv.DPMSolverSDE(),
}
LEVELS = {"start": 1.0, "forward": 0.5, "backward": 1.0, "unit": "noise_level"}
SEARCHES = ("best", "random", "zero", "paths", "particles", "tree")
POINTS = torch.tensor([[-1.5, 0.0], [1.0, 1.0], [1.0, -1.5]])
FIRST = Condition.vector(torch.tensor([0]))


class TwoClasses(Denoiser):
    """Points of two classes for any noise law: class 0 is the first point, class 1 the others."""

    def __init__(self, process):
        super().__init__(process, (2,))
        self.parts = [PointsDenoiser(points, process) for points in (POINTS, POINTS[:1], POINTS[1:])]

    def forward(self, x_t, t, cond=None):
        if cond is None:
            return self.parts[0](x_t, t)
        signal = cond.signals["vector"]
        rows = torch.where(cond.present["vector"], signal + 1, 0)
        made = torch.stack([part(x_t, t) for part in self.parts])
        return made[rows, torch.arange(len(x_t))]


def model(process):
    return mixture(process) if process.gaussian else PointsDenoiser(POINTS, process)


def guided(process):
    if not process.gaussian:
        return ClassifierFree(TwoClasses(process), 2.0)
    return ClassifierFree(
        GaussianMixtureDenoiser([0.5, 0.5], POINTS[:2].tolist(), [0.05, 0.05], process, classes=[0, 1]), 2.0
    )


def chain_of(kind, process, sampler, steps=4):
    settings = {"sampler": sampler, "steps": steps}
    if kind == "guided":
        return Chain(guided(process), cond=FIRST, **settings)
    if kind == "stitched":
        return Chain(Routed([model(process), model(process)], BySteps((0.5, 0.5))), **settings)
    if kind == "pushed":
        settings["sampler"] = dps(Reward(right), 0.05).sampler(sampler)
    return Chain(model(process), **settings)


def reason(search, sampler, process):
    """Why the mathematics forbids it, or None."""
    chains = search in ("particles", "tree")
    if not process.gaussian and (sampler.stochastic or chains or search == "paths"):
        return "needs Gaussian noise; PFGMPP"
    if search == "paths" and isinstance(sampler, wv.EVODiff):
        return "even in log-SNR"
    if chains and not sampler.stochastic:
        return "adds none: take DDPM"
    if chains and not sampler.traits.gaussian:
        return "has no transition"
    if search == "tree" and sampler == wv.DPMSolverSDE():
        return "predictions of earlier steps"
    return None


def searched(search, chain, final):
    """x ``(1, *)``, its score, and what the search says that it spent."""
    if search == "tree":
        tree = DiffusionTree(chain, right, branch_at=[1, 2]).grow(rollouts=5, batch=4, progress=False)
        x, rewards = tree.best()
        return x, rewards, tree.spent.rows
    methods = {
        "best": BestOf(3),
        "random": RandomNoise(2, final=final),
        "zero": ZeroOrder(rounds=1, neighbours=2),
        "paths": Paths(keep=1, expand=2, **LEVELS),
        "particles": FeynmanKac(particles=4, ess=1.0),
    }
    found = run(methods[search], chain, right, progress=False)
    return found.x, found.score, found.spent.rows


def check_search(search, kind, process, sampler):
    chain, final = chain_of(kind, process, sampler), chain_of(kind, process, sampler, steps=6)
    why = reason(search, sampler, process)
    if why is not None:
        with pytest.raises(ValueError, match=why):
            searched(search, chain, final)
        return
    with count_evaluations() as counted:
        x, score, rows = searched(search, chain, final)
    assert x.shape == (1, 2) and bool(torch.isfinite(x).all())
    torch.testing.assert_close(score, right(x).double(), rtol=1e-3, atol=1e-3)
    assert rows == counted.rows > 0


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("search", SEARCHES)
def test_every_search_with_every_sampler_on_every_process(search, process):
    for sampler in SAMPLERS.values():
        check_search(search, "plain", PROCESSES[process], sampler)


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("kind", ["guided", "stitched", "pushed"])
def test_every_search_over_every_kind_of_model_on_every_process(kind, process):
    for search in SEARCHES:
        for sampler in ("heun", "unipc", "ddpm"):
            check_search(search, kind, PROCESSES[process], SAMPLERS[sampler])


def test_most_of_the_matrix_runs_and_every_refusal_has_its_cases():
    reasons = [
        reason(search, sampler, process)
        for search in SEARCHES
        for sampler in SAMPLERS.values()
        for process in PROCESSES.values()
    ]
    assert reasons.count(None) > 0.6 * len(reasons)
    assert len(set(reasons)) == 6
