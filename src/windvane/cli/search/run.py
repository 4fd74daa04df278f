"""A search in a folder: the best picture so far, what it cost, and all that is needed to go on."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windvane.cli.common.again.orders import section_values, whole
from windvane.cli.common.builders import build_guided, sampling_options
from windvane.cli.common.conditions.requests import requests_for
from windvane.cli.common.errors import Interrupted, say, warnings_said
from windvane.cli.common.folders import SEARCH
from windvane.cli.common.guidance import settled
from windvane.cli.common.models import open_model
from windvane.cli.common.recipe import sampler_settings
from windvane.cli.common.sections import SampleSection
from windvane.cli.search.files import BEST, INDEX, SearchFolder
from windvane.cli.search.methods import STOCHASTIC, TREES, Settings, build_method, build_tree
from windvane.cli.search.rewards import open_rewards, reward_files
from windvane.damage import reading
from windvane.folders import note_files, read_list
from windvane.hashes import read_sealed
from windvane.pictures import image_grid, save_png, save_pngs, to_picture

if TYPE_CHECKING:
    from torch import Tensor

    from windvane.search import Budget, Chain, Found, Verifier

STATE, TREE = "state.safetensors", "tree"
SAMPLES = "samples"
FILES = "reward_files"


@dataclass(frozen=True)
class SearchOrder:
    """What is asked for; all but the budget must be the same when a search goes on."""

    model: Path
    rewards: list[str]
    method: str
    settings: Settings
    section: SampleSection

    @property
    def tree_batch(self) -> int:
        """Rollouts side by side: a tree depends on it."""
        return min(16, self.section.batch_size)

    def about(self, sha256: str) -> dict[str, Any]:
        """As JSON values."""
        return {
            "weights_sha256": sha256,
            "reward": self.rewards,
            FILES: reward_files(self.rewards),
            **({"tree_batch": self.tree_batch} if self.method in TREES else {}),
            "method": self.method,
            "settings": {name: _json_value(value) for name, value in self.settings.items()},
            "seed": self.section.seed,
            "n": self.section.n,
            "cluster": self.section.cluster,
            **sampler_settings(self.section),
        }

    def request(self, section: SampleSection, budget: "Budget", model: Path) -> dict[str, Any]:
        """What asks for the same search once more, beside its method and the settings of that."""
        rewards = [f"like:{whole(one[5:])}" if one.startswith("like:") else one for one in self.rewards]
        return {
            "model": str(model.resolve()),
            "reward": rewards,
            "sample": section_values(section),
            "budget": {"network": budget.network, "verifier": budget.verifier},
        }


def check_out(out: Path, *, resume: bool) -> None:
    """Refuse to mix searches."""
    SEARCH.check(out)
    if (out / INDEX).exists() and not resume:
        raise ValueError(f"{out} holds a search already; add --resume to go on, or choose another --out")
    if resume and not (out / INDEX).exists():
        raise ValueError(f"there is no search in {out} to go on with; leave out --resume")


def search_model(
    order: SearchOrder,
    *,
    out: Path,
    budget: "Budget",
    resume: bool,
    weight_given: bool,
    device: str,
    until: int | None = None,
) -> dict[str, Any]:
    """Search, leaving everything in ``out``; returns the numbers.

    Args:
        until: keep the best of the first so many network evaluations.
    """

    model = open_model(
        order.model, weights=order.section.weights, device=device, precision=order.section.precision
    )
    section = settled(order.section, model.asked, weight_given=weight_given)
    about = order.about(model.sha256)
    if resume:
        _same(out, about, order.method)
    one = order.method in (*TREES, "fk")
    chain = _chain(model, section, rows=1 if one else section.n)
    verifier = open_rewards(order.rewards, model=order.model, denoiser=model.denoiser)
    told = order.request(section, budget, model.folder)
    folder = SearchFolder(out, about, model.denoiser, told, until)
    note_files(out, SEARCH, [BEST, INDEX, STATE, f"{TREE}/*"])
    with warnings_said():
        if order.method in TREES:
            return _grow(order, chain, verifier, folder, budget, resume=resume)
        return _rounds(order, model, section, chain, verifier, folder, budget, resume=resume, one=one)


def _chain(model: Any, section: SampleSection, *, rows: int, steps: int | None = None) -> "Chain":
    from windvane.search import Chain

    asked = requests_for(
        section, model.asked, list(range(section.seed, section.seed + rows)), model=model.folder
    )
    return Chain(
        build_guided(model.denoiser, section),
        cond=None if asked is None else asked.condition(),
        **{**sampling_options(model.denoiser, section), "steps": steps or section.steps},
    )


def _rounds(
    order: SearchOrder,
    model: Any,
    section: SampleSection,
    chain: "Chain",
    verifier: "Verifier",
    folder: SearchFolder,
    budget: "Budget",
    *,
    resume: bool,
    one: bool,
) -> dict[str, Any]:
    """Every method that works in rounds."""
    from windvane.search import load_found, log_z, resampled, run, save_found
    from windvane.training.stop import StopSignals

    steps = int(order.settings.get("final_steps", 0))
    final = _chain(model, section, rows=section.n, steps=steps) if steps else None
    method, path = build_method(order.method, order.settings, final=final), folder.out / STATE
    before = load_found(path) if resume and path.exists() else None

    def watch(found: "Found") -> bool:
        save_found(found, path)
        folder.note(found.x, found.score.tolist(), found.spent)
        return stop.received is not None

    with StopSignals() as stop:
        found = run(
            method,
            chain,
            verifier,
            n=1 if one else section.n,
            seed=section.seed,
            budget=budget,
            resume=before,
            watch=watch,
        )
    if stop.received is not None:
        _stopped(folder, found.spent.rows)
    x, scores = found.x, found.score.tolist()
    folder.note(x, scores, found.spent, done=True)
    if order.method != "fk":
        return _read(folder.out)
    _draws(folder, resampled(found, section.n, seed=section.seed)[0])
    sweeps, each = found.memory["log_z"].shape[1], order.settings["particles"]
    told = f"{sweeps} sweep{'s' * (sweeps > 1)} of {each} particles"
    return {**_read(folder.out), "made": told, "log_z": float(log_z(found))}


def _grow(
    order: SearchOrder,
    chain: "Chain",
    verifier: "Verifier",
    folder: SearchFolder,
    budget: "Budget",
    *,
    resume: bool,
) -> dict[str, Any]:
    """A tree, grown to the budget; its states are on the disk, and its numbers are saved as it grows."""
    from windvane.search import DiffusionTree
    from windvane.search.tree_files import NAME
    from windvane.search.tree_folder import grow_in_folder
    from windvane.training.stop import StopSignals

    path, section = folder.out / TREE, order.section
    if resume and (path / NAME).exists():
        tree = DiffusionTree.load(path, chain, verifier, on_disk=True)
    else:
        tree = build_tree(order.method, order.settings, chain, verifier, seed=section.seed, folder=path)

    def watch(tree: DiffusionTree) -> bool:
        x, rewards = tree.best()
        folder.note(x, rewards.tolist(), tree.spent)
        return stop.received is not None

    with StopSignals() as stop:
        grow_in_folder(tree, path, budget, batch=order.tree_batch, watch=watch)
    if stop.received is not None:
        _stopped(folder, tree.spent.rows)
    if not tree.grown:
        raise ValueError(f"{budget} does not pay for one sample, which takes {chain.cost():g} network rows")
    x, rewards = tree.best()
    folder.note(x, rewards.tolist(), tree.spent, done=True)
    _draws(folder, tree.best(section.n)[0] if tree.star else tree.sample(section.n, seed=section.seed))
    told = {**_read(folder.out), "made": f"{len(tree)} nodes"}
    return {**told, "log_z": tree.log_z()} if math.isfinite(tree.lam) else told


def _draws(folder: SearchFolder, x: "Tensor") -> None:
    """Samples of a tilted law, or the best few, as one picture and one by one."""
    levels = folder.levels(x)
    noted = read_list(folder.out)
    for name in () if noted is None else noted[1]:  # of an earlier call with a larger --n
        place, stem = Path(name).parent.name, Path(name).stem
        if place == SAMPLES and stem.isdecimal() and int(stem) >= len(levels):
            (folder.out / name).unlink(missing_ok=True)
    names = [f"{SAMPLES}/{number:04d}.png" for number in range(len(levels))]
    note_files(folder.out, SEARCH, ["samples.png", *names])
    save_png(image_grid(levels), folder.out / "samples.png", folder.told("samples.png"))
    places = zip(levels, names, strict=True)
    save_pngs([(to_picture(image), folder.out / name, folder.told(name)) for image, name in places])


def _stopped(folder: SearchFolder, rows: int) -> None:
    raise Interrupted(
        f"after {rows} network evaluations; the best so far is {folder.out / BEST}, the same command with "
        "--resume goes on"
    )


def _json_value(value: Any) -> Any:
    """A setting as a JSON value, which an infinite one is as text."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _same(out: Path, about: dict[str, Any], method: str) -> None:
    """Refuse to go on with other settings; a file of rewards may be mended, and is only told of.

    How many samples are drawn at the end of a method that draws them is no matter of the search.
    """
    free = (FILES, "n") if method in STOCHASTIC else (FILES,)
    known = _read(out)["settings"]
    wanted = json.loads(json.dumps(about))
    for file, sha256 in wanted[FILES].items():
        if known.get(FILES, {}).get(file, sha256) != sha256:
            say(f"{file} has changed since this search began: what was found before keeps its old rewards")
    different = [name for name in wanted if name not in free and known.get(name) != wanted[name]]
    if different:
        told = "; ".join(f"{name} {known.get(name)}, now {wanted[name]}" for name in different)
        raise ValueError(f"the search in {out} has other settings ({told}); choose another --out")


def _read(out: Path) -> dict[str, Any]:
    found = read_sealed(out / INDEX)
    with reading(out / INDEX):
        if not isinstance(found["settings"], dict) or not isinstance(found["scores"], list):
            raise TypeError("its settings or scores are none")
    return found
