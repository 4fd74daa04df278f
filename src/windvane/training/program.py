"""What the steps of a training update, and what they hold fixed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from torch import Tensor, nn

from windvane.training.checks import check_numbers, check_rates
from windvane.training.objective import Objective
from windvane.training.schedules import check_schedule


class Frozen:
    """A module that an objective asks and no step changes: a teacher, an encoder, a judge.

    It is in evaluation mode, its weights have no gradient, and gradients flow through it. No optimizer,
    average or model folder holds it; a training state notes the hash of its weights, and resuming with
    another one is refused. Give it to an objective as an attribute.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module.eval().requires_grad_(False)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name == "module":
            raise AttributeError(name)
        return getattr(self.module, name)

    def __repr__(self) -> str:
        return f"Frozen({type(self.module).__name__})"

    def tensors(self) -> list[Tensor]:
        """Its weights and buffers, in the order of their names."""
        return [value for _, value in sorted(self.module.state_dict().items())]


@dataclass(frozen=True)
class Group:
    """Parameters of an update with a learning rate or weight decay of their own.

    Args:
        rate: times the update's learning rate.
        weight_decay: None: the update's.
    """

    parameters: Sequence[nn.Parameter]
    rate: float = 1.0
    weight_decay: float | None = None


@dataclass(frozen=True, kw_only=True)
class Update:
    """One optimizer (AdamW) and what it descends.

    Args:
        name: of its loss in the log.
        objective: of the model, the batch and the keys.
        parameters: what it changes, or :class:`Group` s of it; None: all trainable weights of the denoiser
            that no other update names.
        every: it is made at steps 0, every, 2 every, ...
        schedule: of the learning rate, see :func:`~windvane.training.schedules.learning_rate`.
    """

    name: str
    objective: Objective
    parameters: Sequence[nn.Parameter] | Sequence[Group] | None = None
    lr: float = 3e-4
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    warmup: int = 500
    clip_norm: float | None = 1.0
    schedule: str = "constant"
    every: int = 1

    def __post_init__(self) -> None:
        check_numbers(every=self.every)
        check_rates(
            lr=self.lr, weight_decay=self.weight_decay, betas=self.betas, warmup=self.warmup,
            clip_norm=self.clip_norm,
        )  # fmt: skip
        check_schedule(self.schedule)


@dataclass(frozen=True)
class Program:
    """The updates of every step, in order, on the same batch with keys of their own.

    The first is the training's own: made at every step, logged by noise level, watched by the sampler of
    times, and followed by the average.

    Args:
        modules: what is trained beside the denoiser, by name: a critic, a head. They are in the training
            state, and in no model folder.
    """

    updates: tuple[Update, ...]
    modules: Mapping[str, nn.Module] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [update.name for update in self.updates]
        if len(set(names)) < len(names):
            raise ValueError(f"updates need names of their own, got {', '.join(names)}")
        if self.updates[0].every != 1:
            raise ValueError(f"the first update is made at every step, got every={self.updates[0].every}")

    def groups(self, model: nn.Module) -> list[list[Group]]:
        """The groups of every update.

        Raises:
            ValueError: weights that two updates name, that nobody holds, or that are frozen.
        """
        held = {id(p) for module in (model, *self.modules.values()) for p in module.parameters()}
        named = [[] if u.parameters is None else _parts(u) for u in self.updates]
        taken: set[int] = set()
        for update, groups in zip(self.updates, named):
            for p in (p for group in groups for p in group.parameters):
                if id(p) in taken:
                    raise ValueError(f"update {update.name!r} names weights that another group has")
                if id(p) not in held:
                    raise ValueError(
                        f"update {update.name!r} names weights of no module of the training; give the module "
                        "as modules={...}"
                    )
                if not p.requires_grad:
                    raise ValueError(f"update {update.name!r} names frozen weights")
                taken.add(id(p))
        codec = getattr(model, "codec", None)  # made before, and no part of what is trained on its latents
        taken |= {id(p) for p in codec.parameters()} if isinstance(codec, nn.Module) else set()
        rest = [p for p in model.parameters() if p.requires_grad and id(p) not in taken]
        return [
            [Group(rest)] if update.parameters is None else groups
            for update, groups in zip(self.updates, named)
        ]

    def frozen(self) -> dict[str, Frozen]:
        """The frozen modules of all objectives, by the name of the update and their place in it."""
        return {
            f"{update.name}{place}": module
            for update in self.updates
            for place, module in _frozen_in(update.objective, 3)
        }


def _parts(update: Update) -> list[Group]:
    parts: list[Any] = list(update.parameters or ())
    if all(isinstance(part, Group) for part in parts):
        return parts
    return [Group(parts)]


def _frozen_in(value: Any, depth: int) -> Iterator[tuple[str, Frozen]]:
    if isinstance(value, Frozen):
        yield "", value
        return
    if depth == 0:
        return
    if isinstance(value, Mapping):
        held = {f"[{key!r}]": part for key, part in value.items()}
    elif isinstance(value, list | tuple):
        held = {f"[{k}]": part for k, part in enumerate(value)}
    elif is_dataclass(value):
        held = {f".{f.name}": getattr(value, f.name) for f in fields(value)}
    else:
        held = {f".{name}": part for name, part in getattr(value, "__dict__", {}).items()}
    for place, part in held.items():
        for inner, module in _frozen_in(part, depth - 1):
            yield place + inner, module
