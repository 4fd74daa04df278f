"""Rewards by name: built-in ones, a class, a likeness, or a function in a file of the user's own."""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windvane.cli.common.config import make_config
from windvane.cli.common.models import pictures_of, run_config
from windvane.hashes import file_hash

if TYPE_CHECKING:
    from torch import Tensor

    from windvane.denoiser import Denoiser
    from windvane.search import Verifier

NAMES = ("brightness", "darkness", "contrast", "smoothness")
HELP = f"{', '.join(NAMES)}, class:K, like:PICTURE, or FILE.py:NAME"


def is_code(spec: str) -> bool:
    """Whether a reward may name a function in a file of code, which runs when it is opened."""
    return ".py:" in spec


def check_rewards(specs: list[str]) -> None:
    """Refuse early, before torch is imported, what cannot be a reward."""
    if not specs:
        raise ValueError(f"which reward? --reward {HELP}")
    for spec in specs:
        kind, _, rest = spec.partition(":")
        if spec in NAMES:
            continue
        if kind == "class" and rest.isdigit():
            continue
        if kind == "like" and rest:
            if not Path(rest).is_file():
                raise ValueError(f"--reward {spec}: there is no picture {rest}")
            continue
        file, _, name = spec.rpartition(":")
        if file.endswith(".py") and name:
            if not Path(file).is_file():
                raise ValueError(f"--reward {spec}: there is no file {file}")
            continue
        raise ValueError(f"unknown reward {spec!r}; take {HELP}")


def reward_files(specs: list[str]) -> dict[str, str]:
    """The files that rewards come from, and the SHA-256 of each."""
    found = {}
    for spec in specs:
        kind, _, rest = spec.partition(":")
        name = rest if kind == "like" else spec.rpartition(":")[0]
        if kind == "like" or is_code(spec):
            found[name] = file_hash(name)
    return found


def open_rewards(specs: list[str], *, model: Path, denoiser: "Denoiser") -> "Verifier":
    """The verifier of one reward, or of several by their mean rank; of pictures, even of latents."""
    from windvane.denoiser import NetworkDenoiser
    from windvane.search import MeanRank, as_verifier

    rewards = [_open(spec, model=model) for spec in specs]
    if not isinstance(denoiser, NetworkDenoiser):  # searches of pipelines name rewards as they are given
        rewards = [_of_pictures(reward, spec, denoiser) for reward, spec in zip(rewards, specs)]
    return MeanRank(rewards) if len(rewards) > 1 else as_verifier(rewards[0])


def _of_pictures(reward: Any, spec: str, denoiser: "Denoiser") -> Any:
    def decoded(x: "Tensor") -> "Tensor":
        return reward(pictures_of(denoiser, x))

    decoded.__name__ = spec
    return decoded


def _open(spec: str, *, model: Path) -> Any:
    from windvane.search import BUILTIN

    if spec in BUILTIN:
        return BUILTIN[spec]
    kind, _, rest = spec.partition(":")
    if kind == "class" and rest.isdigit():
        return _class(int(rest), model)
    if kind == "like":
        return _like(Path(rest))
    file, _, name = spec.rpartition(":")
    return _own(Path(file), name)


def _class(number: int, model: Path) -> Any:
    """log p(class) by the classifier that `windvane evaluate` trains on the labels of the run's images."""
    from windvane.cli.common.datasets import open_parts, usable_cache
    from windvane.cli.common.errors import say
    from windvane.energies import ClassLogProb
    from windvane.judges import judge_for

    base = run_config(model)
    if not base:
        raise ValueError(
            f"--reward class:{number} needs a run that tells what it was trained on; {model} does not. "
            "Give --reward FILE.py:NAME with a classifier of your own"
        )
    config = make_config(base=base, flags={"evaluate.features": "judge"})
    parts = open_parts(config.data, beside=model, quiet=True)
    if parts.train.labels is None:
        raise ValueError(f"--reward class:{number} needs labels, and the images of {model} have none")
    judge = judge_for(
        parts.train,
        parts.held_out,
        features="judge",
        seed=config.evaluate.seed,
        cache=usable_cache("judges"),
        tell=say,
    )
    if judge is None or number >= judge.classes:
        known = "none" if judge is None else f"0 to {judge.classes - 1}"
        raise ValueError(f"--reward class:{number}: the classes are {known}")
    return ClassLogProb(judge.classify, number, name=f"class:{number}")


def _like(path: Path) -> Any:
    """Minus the mean squared difference to a picture, decoded as the loader decodes images."""
    import torch

    from windvane.tasks.steering.measurements import read_picture

    known = {channels: read_picture(path, channels=channels) for channels in (1, 3)}

    def like(images: torch.Tensor) -> torch.Tensor:
        wanted = known.get(images.shape[1])
        if wanted is None or images.shape[1:] != wanted.shape:
            has = tuple(known[3].shape if wanted is None else wanted.shape)
            raise ValueError(f"{path} is {has}, the samples are {tuple(images.shape[1:])}")
        return -(images - wanted.to(images)).square().flatten(1).mean(1)

    return like


def _own(path: Path, name: str) -> Any:
    """A function of images, or an energy, from a Python file."""
    spec = importlib.util.spec_from_file_location(f"windvane_reward_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"{path} could not be imported: {type(error).__name__}: {error}") from error
    found = getattr(module, name, None)
    if not callable(found):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ValueError(f"{path} has no function or energy {name!r}; it has {', '.join(known) or 'none'}")
    return found
