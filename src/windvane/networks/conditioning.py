"""The one place where a network turns a condition into what it computes with."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from windvane.conditions import Condition
from windvane.networks.layout import LayoutInput
from windvane.networks.signals import ENTRIES, check_condition, signal_class
from windvane.networks.tokens import Tokens, joined


class Embedding(NamedTuple):
    """An embedded condition, by where it enters; what the network has no input for is None or empty.

    ``add`` ``(B, E)`` is added to the time embedding, the maps ``(B, C, h, w)`` of ``concat`` are joined to
    the input by :meth:`with_maps`, and ``tokens`` take part in the attention. Perturbations attach here.
    """

    add: Tensor | None = None
    concat: tuple[Tensor, ...] = ()
    tokens: Tokens | None = None

    def with_maps(self, x: Tensor) -> Tensor:
        """``x`` ``(B, *, H, W)`` and the channels of all maps, resized by nearest pixel centres."""
        for maps in self.concat:
            x = LayoutInput.join(x, maps)
        return x

    @property
    def vector(self) -> Tensor | None:
        """The former name of ``add``."""
        warnings.warn("Embedding.vector is now Embedding.add", DeprecationWarning, stacklevel=2)
        return self.add

    @property
    def layout(self) -> Tensor | None:
        """The first of ``concat``, which it was called when there was one."""
        warnings.warn("Embedding.layout is now Embedding.concat", DeprecationWarning, stacklevel=2)
        return self.concat[0] if self.concat else None


def signal_sizes(signals: Mapping[str, Any] | None = None, **named: int | None) -> dict[str, Any]:
    """What is given for each signal, by name: the arguments of a network of their own, then ``signals``."""
    sizes: dict[str, Any] = {name: size for name, size in named.items() if size is not None}
    twice = sorted(sizes.keys() & (signals or {}).keys())
    if twice:
        raise ValueError(f"{', '.join(twice)} is given twice, by its own argument and in signals")
    return sizes | dict(signals or {})


def entering(sizes: Mapping[str, Any], entry: str) -> list[str]:
    """The names of the signals that enter there."""
    return [name for name in sizes if signal_class(name).entry == entry]


def input_channels(sizes: Mapping[str, Any]) -> int:
    """The channels that all signals add to the input."""
    return sum(signal_class(name).input_channels(size) for name, size in sizes.items())


def check_input_channels(received: int, data: int, sizes: Mapping[str, Any]) -> None:
    """Refuse a backbone whose input channels are not the data's and those of the signals."""
    expected = data + input_channels(sizes)
    if received != expected:
        maps = ", ".join(f"{name}={sizes[name]}" for name in entering(sizes, "concat")) or "layout=None"
        raise ValueError(
            f"the backbone takes {received} channels, but {data} data channels with {maps} make "
            f"{expected} (a layout of C channels adds C + 1); build it with in_channels={expected}"
        )


class ConditionInput(nn.Module):
    """The condition inputs of a network: any signals of the registry, each under its name.

    Args:
        width: E, the width of the time embedding that signals are added to.
        signals: name -> what the signal's class is built from (``{"scalar:guidance": {}}``).
        vector: K, the number of classes or the length of the vector; as ``signals={"vector": K}``.
        layout: C, the channels of the map.
        tokens: the width of tokens. With tokens, the vector makes tokens too.
        entries: where this network lets signals in.

    Raises:
        ValueError: an unknown signal, or one that enters where this network has no place.
    """

    def __init__(
        self,
        width: int,
        signals: Mapping[str, Any] | None = None,
        *,
        vector: int | None = None,
        layout: int | None = None,
        tokens: int | None = None,
        entries: Sequence[str] = ENTRIES,
    ) -> None:
        super().__init__()
        self.sizes = signal_sizes(signals, vector=vector, layout=layout, tokens=tokens)
        self.taken = tuple(self.sizes)
        for name in ("vector", "layout", "tokens"):  # networks of other packages ask for these
            if name not in self.sizes:
                self.register_module(name, None)
        widths = {"add": width, "concat": width, "tokens": self.sizes.get("tokens")}
        for name, size in self.sizes.items():
            kind = signal_class(name)
            if kind.entry not in entries or widths[kind.entry] is None:
                why = "tokens=WIDTH gives it one" if kind.entry in entries else f"it has {', '.join(entries)}"
                raise ValueError(f"the network has no place {kind.entry!r} for the signal {name!r}; {why}")
            width_there: Any = widths[kind.entry]
            self.add_module(name, kind.build(name, size, width=width_there, signals=self.sizes))

    def config(self, *own: str) -> dict[str, Any]:
        """As JSON values: the signals ``own`` by name (None: not there), the others under ``signals``."""
        others = {name: size for name, size in self.sizes.items() if name not in own}
        return {name: self.sizes.get(name) for name in own} | ({"signals": others} if others else {})

    def check(self, cond: Condition | None, rows: int) -> None:
        """Check a condition fully: on an accelerator too, which waits for the device, the range of ids."""
        check_condition(cond, rows, self.taken)
        for name in () if cond is None else cond.signals:
            self._modules[name].check(cond)  # type: ignore[union-attr,operator]

    def timed_tokens(self, embedding: Embedding, time: Tensor) -> Tokens | None:
        """The tokens of a condition after those of ``time`` ``(B,)``, normalised; None without tokens."""
        if embedding.tokens is None:
            return None
        tokens: Any = self._modules["tokens"]
        return tokens.join_time(embedding.tokens, time)

    def forward(
        self, cond: Condition | None, rows: int, *, device: torch.device, dtype: torch.dtype
    ) -> Embedding:
        check_condition(cond, rows, self.taken)
        add, concat, tokens = None, [], None
        for name in self.taken:
            signal: Any = self._modules[name]
            part = signal(cond, rows, device=device, dtype=dtype)
            if signal.entry == "add":
                add = part if add is None else add + part
            elif signal.entry == "concat":
                concat.append(part)
            else:
                tokens = part if tokens is None else joined(tokens, part)
        return Embedding(add, tuple(concat), tokens)
