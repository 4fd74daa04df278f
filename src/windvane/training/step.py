"""One optimizer step: forward, backward, clipping, AdamW, average."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from windvane.denoiser import Denoiser
from windvane.randomness import derive_seed, seed_default
from windvane.training.ahead import BatchesAhead
from windvane.training.batches import Batch, Batches, share
from windvane.training.checks import check_precision
from windvane.training.ema import EMA
from windvane.training.objective import Objective
from windvane.training.schedules import learning_rate

if TYPE_CHECKING:
    from accelerate import Accelerator

_STREAM_NETWORK = (1 << 41) + 3


class Loss(nn.Module):
    """Denoiser and objective as one module, so that the wrapper for many processes sees a single forward."""

    def __init__(self, denoiser: Denoiser, objective: Objective) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.objective = objective

    def forward(self, batch: Batch) -> Tensor:
        return self.objective(self.denoiser, batch.x0, batch.t, batch.noise, batch.cond)


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


class Stepper:
    """Holds what one step changes: weights, their average, the optimizer.

    ``advance`` works on this process's share of the global batch, in ``accumulate`` parts. Each part's losses
    are summed and divided by the global batch size (times the number of processes, over which gradients are
    averaged), so the gradient is that of the mean over the global batch, however it is cut.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        objective: Objective,
        accelerator: "Accelerator",
        *,
        lr: float,
        weight_decay: float,
        betas: tuple[float, float],
        warmup: int,
        clip_norm: float | None,
        accumulate: int,
        ema_decay: float,
        bf16: bool,
        compile: bool,
    ) -> None:
        self.accelerator = accelerator
        self.device = accelerator.device
        self.denoiser = denoiser.to(self.device).train()
        self.objective, self.lr, self.warmup = objective, lr, warmup
        self.accumulate, self.clip_norm, self.bf16 = accumulate, clip_norm, bf16
        self.parameters = [p for p in denoiser.parameters() if p.requires_grad]
        if not self.parameters:
            raise ValueError("the denoiser has no weights to train (none requires a gradient)")
        check_precision(((n, p) for n, p in denoiser.named_parameters() if p.requires_grad), "the denoiser")
        inner: Any = torch.compile(denoiser) if compile else denoiser
        loss = Loss(inner, objective)
        # One process needs no wrapper, and Accelerate imports all of torch.distributed to make none.
        self.module = loss if accelerator.num_processes == 1 else accelerator.prepare_model(loss)
        # After prepare_model: it gives all processes the weights of the first.
        self.ema = EMA(denoiser, ema_decay)
        fused = all(p.device.type in ("cpu", "cuda") and p.dtype == torch.float32 for p in self.parameters)
        self.optimizer = torch.optim.AdamW(
            self.parameters,
            lr=lr,
            betas=betas,
            weight_decay=weight_decay,
            fused=fused or None,
            foreach=None if fused else True,
        )

    def rate(self, step: int) -> float:
        """The learning rate of ``step``."""
        return learning_rate(step, self.lr, self.warmup)

    def backward(
        self, step: int, batches: Batches, ahead: BatchesAhead | None = None
    ) -> tuple[Batch, Tensor, Tensor]:
        """Gradients of one step; returns this process's batch, its losses ``(b,)`` and the gradient norm.

        With ``ahead`` the batch comes from there, else it is drawn now.
        """
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        batch = (ahead or batches).load(step, *share(batches.batch_size, rank, processes))
        found = []
        with keyed_dropout(derive_seed(batches.seed, _STREAM_NETWORK, step, rank), self.device):
            for number in range(self.accumulate):
                part = batch.part(*share(len(batch), number, self.accumulate)).to(self.device)
                last = number == self.accumulate - 1
                single = last or processes == 1
                with nullcontext() if single else self.accelerator.no_sync(self.module):
                    with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16):
                        losses = self.module(part)
                    self.accelerator.backward(losses.sum() * (processes / batches.batch_size))
                found.append(losses.detach())
        norm = torch.nn.utils.clip_grad_norm_(
            self.parameters, float("inf") if self.clip_norm is None else self.clip_norm
        )
        return batch, torch.cat(found), norm

    def update(self, step: int) -> None:
        """Change the weights by the gradients of ``step``."""
        rate = self.rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.ema.update()

    def state_dict(self) -> dict[str, Any]:
        """Everything :meth:`load_state_dict` needs to continue bit for bit."""
        return {
            "raw": self.denoiser.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`; a network of another shape is a ValueError."""
        try:
            self.denoiser.load_state_dict(state["raw"])
            self.ema.load_state_dict(state["ema"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"the saved training state does not fit this network: {error}") from error
