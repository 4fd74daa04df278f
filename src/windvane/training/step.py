"""One optimizer step: forward, backward, clipping, AdamW, average."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from windvane.denoiser import Denoiser
from windvane.randomness import derive_seed, derive_seeds, seed_default
from windvane.training.ahead import BatchesAhead
from windvane.training.batch import Batch
from windvane.training.batches import Batches, share
from windvane.training.checks import check_precision
from windvane.training.ema import EMA
from windvane.training.objective import Objective
from windvane.training.program import Group, Program, Update
from windvane.training.schedules import learning_rate

if TYPE_CHECKING:
    from accelerate import Accelerator

_STREAM_NETWORK = (1 << 41) + 3
#: Losses ``(b,)`` of an update and the norm of its gradient.
Made = tuple[Tensor, Tensor]


class Loss(nn.Module):
    """Denoiser and objective as one module, so that the wrapper for many processes sees a single forward."""

    def __init__(self, denoiser: Denoiser, objective: Objective, beside: nn.ModuleDict) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.objective = objective
        self.beside = beside  # what else is trained, so that the wrapper knows its weights

    def forward(self, batch: Batch, keys: Tensor) -> Tensor:
        return self.objective(self.denoiser, batch, keys)


@contextmanager
def keyed_dropout(seed: int, device: torch.device) -> Iterator[None]:
    """Within the block the global generators are keyed by ``seed``; afterwards they are as they were.

    Dropout layers know no other generator. Without this a resumed training would draw other masks, and a
    training would change the random numbers of the program around it.
    """
    cpu = torch.get_rng_state()
    accelerator = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    try:
        seed_default(seed)
        if accelerator is not None:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
    finally:
        torch.set_rng_state(cpu)
        if accelerator is not None:
            torch.cuda.set_rng_state(accelerator, device)


class Descent:
    """One update of a program at work: its weights, its optimizer, its loss as a module."""

    def __init__(self, update: Update, groups: Sequence[Group], loss: nn.Module, number: int) -> None:
        self.update, self.number = update, number
        self.module = loss
        self.parameters = [p for group in groups for p in group.parameters]
        self.rates = [group.rate for group in groups]
        if not self.parameters:
            raise ValueError("the denoiser has no weights to train (none requires a gradient)")
        fused = all(p.device.type in ("cpu", "cuda") and p.dtype == torch.float32 for p in self.parameters)
        self.optimizer = torch.optim.AdamW(
            [_torch_group(group) for group in groups],
            lr=update.lr,
            betas=update.betas,
            weight_decay=update.weight_decay,
            fused=fused or None,
            foreach=None if fused else True,
        )

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of ``step`` of ``steps``."""
        of = self.update
        return learning_rate(step, of.lr, of.warmup, of.schedule, steps)

    def descend(self, rate: float) -> None:
        """Change the weights by their gradients."""
        for group, factor in zip(self.optimizer.param_groups, self.rates):
            group["lr"] = rate * factor
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def clip(self) -> Tensor:
        """The norm of the gradient, which is cut to the largest one."""
        most = self.update.clip_norm
        return torch.nn.utils.clip_grad_norm_(self.parameters, float("inf") if most is None else most)


def _torch_group(group: Group) -> dict[str, Any]:
    own = {} if group.weight_decay is None else {"weight_decay": group.weight_decay}
    return {"params": list(group.parameters), **own}


class Stepper:
    """Holds what one step changes: weights, their average, the optimizers of a program.

    A step works on this process's share of the global batch, in ``accumulate`` parts. Each part's losses
    are summed and divided by the global batch size (times the number of processes, over which gradients are
    averaged), so the gradient is that of the mean over the global batch, however it is cut.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        program: Program,
        accelerator: "Accelerator",
        *,
        accumulate: int,
        ema_decay: float,
        bf16: bool,
        compile: bool,
    ) -> None:
        self.accelerator, self.program = accelerator, program
        self.device = accelerator.device
        self.denoiser = denoiser.to(self.device).train()
        self.accumulate, self.bf16 = accumulate, bf16
        self.beside = nn.ModuleDict(dict(program.modules)).to(self.device).train()
        self.frozen = program.frozen()
        for teacher in self.frozen.values():
            teacher.module.to(self.device)
        groups = program.groups(self.denoiser)
        trained = [(n, p) for n, p in (*denoiser.named_parameters(), *self.beside.named_parameters())]
        check_precision(((n, p) for n, p in trained if p.requires_grad), "the denoiser")
        inner: Any = torch.compile(denoiser) if compile else denoiser
        self.descents: list[Descent] = []
        for number, (update, own) in enumerate(zip(program.updates, groups)):
            loss: nn.Module = Loss(inner, update.objective, self.beside)
            if accelerator.num_processes > 1:
                # One process needs no wrapper, and Accelerate imports all of torch.distributed to make none.
                with only_trained(groups, number):
                    loss = accelerator.prepare_model(loss)
            self.descents.append(Descent(update, own, loss, number))
        self.groups = groups
        # After prepare_model: it gives all processes the weights of the first.
        self.ema = EMA(denoiser, ema_decay)

    @property
    def main(self) -> Descent:
        """The training's own update."""
        return self.descents[0]

    def backward(
        self, step: int, batches: Batches, ahead: BatchesAhead | None = None
    ) -> tuple[Batch, Tensor, Tensor]:
        """Gradients of one step; returns this process's batch, its losses ``(b,)`` and the gradient norm.

        With ``ahead`` the batch comes from there, else it is drawn now.
        """
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        batch = (ahead or batches).load(step, *share(batches.batch_size, rank, processes))
        losses, norm = self._gradients(self.main, step, batch, batches)
        return batch, losses, norm

    def _gradients(self, descent: Descent, step: int, batch: Batch, batches: Batches) -> Made:
        """Gradients of an update; this process's losses and the gradient norm."""
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        found, number = [], descent.number
        stream = (step, rank, number) if number else (step, rank)
        with (
            keyed_dropout(derive_seed(batches.seed, _STREAM_NETWORK, *stream), self.device),
            only_trained(self.groups, number),
        ):
            for k in range(self.accumulate):
                part = batch.part(*share(len(batch), k, self.accumulate)).to(self.device)
                keys = keys_of_update(part.keys, number)
                single = k == self.accumulate - 1 or processes == 1
                with nullcontext() if single else self.accelerator.no_sync(descent.module):
                    with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16):
                        losses = descent.module(part, keys)
                    self.accelerator.backward(losses.sum() * (processes / batches.batch_size))
                found.append(losses.detach())
        return torch.cat(found), descent.clip()

    def update(
        self, step: int, steps: int, batch: Batch, batches: Batches
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Change the weights by the gradients of ``step``, then make the other updates due at it.

        Returns the losses and gradient norms of the others by name.
        """
        self.main.descend(self.main.rate(step, steps))
        self.ema.update()
        found = {}
        for descent in self.descents[1:]:
            if step % descent.update.every == 0:
                found[descent.update.name] = self._gradients(descent, step, batch, batches)
                descent.descend(descent.rate(step, steps))
        return found

    def state_dict(self) -> dict[str, Any]:
        """Everything :meth:`load_state_dict` needs to continue bit for bit."""
        state: dict[str, Any] = {
            "raw": self.denoiser.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.main.optimizer.state_dict(),
        }
        if len(self.descents) > 1 or len(self.beside):
            state["beside"] = self.beside.state_dict()
            state["optimizers"] = [descent.optimizer.state_dict() for descent in self.descents[1:]]
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`; a network of another shape is a ValueError."""
        try:
            self.denoiser.load_state_dict(state["raw"])
            self.ema.load_state_dict(state["ema"])
            self.main.optimizer.load_state_dict(state["optimizer"])
            self.beside.load_state_dict(state.get("beside", {}))
            for descent, saved in zip(self.descents[1:], state.get("optimizers", ()), strict=True):
                descent.optimizer.load_state_dict(saved)
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"the saved training state does not fit this network: {error}") from error


def keys_of_update(keys: Tensor, number: int) -> Tensor:
    """The keys of the update ``number`` of a step: those of the batch for the first."""
    return keys if number == 0 else torch.from_numpy(derive_seeds(number, _STREAM_NETWORK, keys.numpy()))


@contextmanager
def only_trained(groups: Sequence[Sequence[Group]], number: int) -> Iterator[None]:
    """Within the block only the weights of one update take gradients; nothing changes where there is one."""
    others = [p for k, own in enumerate(groups) if k != number for group in own for p in group.parameters]
    for parameter in others:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in others:
            parameter.requires_grad_(True)
