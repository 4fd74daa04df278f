"""Less memory for the backward pass through a network: its blocks are computed twice."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The members of the outermost ModuleLists and Sequentials."""
    for child in module.children():
        if isinstance(child, (nn.ModuleList, nn.Sequential)):
            # diffusers' middle blocks without attention hold None in its place.
            yield from (block for block in child if isinstance(block, nn.Module))
        else:
            yield from _blocks(child)


@contextmanager
def checkpointed_blocks(network: nn.Module | None) -> Iterator[None]:
    """Inside, the network's blocks keep their inputs only, and are run again for the backward pass.

    Blocks are the members of its outermost ``nn.ModuleList`` and ``nn.Sequential`` containers, which is
    where UNets, transformers and residual networks keep theirs. A network without any is left as it is.
    Gradients are equal; the backward pass costs one more forward pass (Chen et al. 2016, arXiv 1604.06174).
    """
    blocks = [] if network is None else list(dict.fromkeys(_blocks(network)))
    before = [block.__dict__.get("forward") for block in blocks]
    for block in blocks:
        block.forward = _checkpointed(block.forward)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for block, own in zip(blocks, before):
            if own is None:
                del block.forward
            else:
                block.forward = own  # type: ignore[method-assign]


def _checkpointed(forward: Callable[..., Any]) -> Callable[..., Any]:
    # nn.Module.forward takes whatever its caller passes, so this has to pass it on.
    def again(*args: Any, **kwargs: Any) -> Any:
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return again
