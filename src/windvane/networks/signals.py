"""One signal of a condition, as a network takes it in: its class, its place, its null."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from windvane.conditions import Condition
from windvane.registry import find

#: Where signals enter: added to the time embedding, joined to the input, as tokens of the attention.
ENTRIES = ("add", "concat", "tokens")


class Signal(nn.Module, ABC):
    """What a network makes of one signal; derive from it and register the class to add a kind of signal.

    A row of the registry of kind ``signal`` leads to the class. A condition calls the signal by that row's
    name, or by ``ROW:NAME`` where there are several of one class (``scalar:guidance``, ``scalar:noise``).
    ``forward(cond, rows, device=, dtype=)`` embeds all rows, those without the signal by a fixed null:

    - ``entry = "add"``: ``(rows, width)``, added to the time embedding;
    - ``entry = "concat"``: maps ``(rows, C, h, w)`` of any size, with C as :meth:`input_channels` says;
    - ``entry = "tokens"``: :class:`~windvane.networks.tokens.Tokens` of the network's width of tokens.
    """

    entry: ClassVar[str]
    #: The share of training rows that lose this signal where its probability is not given.
    dropout: ClassVar[float] = 0.1

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    @classmethod
    @abstractmethod
    def build(cls, name: str, size: Any, *, width: int, signals: Mapping[str, Any]) -> "Signal":
        """The signal called ``name`` for a network.

        Args:
            size: what the network was given for it, a JSON value.
            width: that of the time embedding, or of a token for ``entry = "tokens"``.
            signals: all signals of the network and what was given for them.
        """

    @classmethod
    def input_channels(cls, size: Any) -> int:
        """The channels that it adds to the network's input."""
        del size
        return 0

    @classmethod
    def mirrored(cls, values: Tensor, rows: Tensor) -> Tensor:
        """The signal ``(B, *)`` of pictures that are mirrored where ``rows`` ``(B,)`` is true."""
        del rows
        return values

    def check(self, cond: Condition) -> None:
        """Look at values that :meth:`forward` does not wait for on an accelerator."""
        del cond

    @abstractmethod
    def forward(self, cond: Condition | None, rows: int, *, device: torch.device, dtype: torch.dtype) -> Any:
        """The embedding of every row; without a condition, or without this signal in it, the null."""


def signal_class(name: str) -> type[Signal]:
    """The class of a signal by its name in conditions.

    Raises:
        ValueError: nobody has registered it.
    """
    return find("signal", name.partition(":")[0]).load()


def check_condition(cond: Condition | None, rows: int, taken: Sequence[str]) -> None:
    """Refuse what is no condition, has another number of rows, or has a signal the network would ignore."""
    if cond is None:
        return
    if not isinstance(cond, Condition):
        raise ValueError(
            f"cond must be a Condition or None, got {type(cond).__name__}; "
            "Condition.vector(ids) makes one from class ids"
        )
    if len(cond) != rows:
        raise ValueError(f"the condition has {len(cond)} rows, the batch has {rows}; they must agree")
    ignored = [name for name in cond.signals if name not in taken]
    if ignored:
        accepted = ", ".join(taken) or "no signals"
        raise ValueError(
            f"the network takes {accepted}, but the condition has {', '.join(ignored)}; "
            "leave that out of the condition or build the network with it"
        )


def read_signal(
    cond: Condition | None, name: str, device: torch.device
) -> tuple[Tensor, Tensor] | tuple[None, None]:
    """The signal and its ``present`` mask ``(B,)`` on ``device``, or ``(None, None)``."""
    if cond is None or name not in cond.signals:
        return None, None
    return cond.signals[name].to(device), cond.present[name].to(device)


def zero_absent(signal: Tensor, present: Tensor) -> Tensor:
    """``signal`` ``(B, *)`` with exact zeros in the absent rows, whatever they held (NaN included)."""
    mask = present.reshape(-1, *([1] * (signal.ndim - 1)))
    return torch.where(mask, signal, torch.zeros((), dtype=signal.dtype, device=signal.device))
