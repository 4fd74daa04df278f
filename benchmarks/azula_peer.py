"""A network of Windvane as a denoiser of azula, for the benchmarks that time both."""

from typing import Any

from torch import Tensor, nn

from windvane import Condition


def azula_denoiser(network: nn.Module) -> Any:
    """The network on azula's variance preserving schedule; its condition is given as ``cond``.

    Raises:
        ImportError: azula is not installed.
    """
    from azula.denoise import SimpleDenoiser
    from azula.noise import VPSchedule

    class Backbone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: Tensor, t: Tensor, cond: Condition | None = None) -> Tensor:
            return self.network(x, (1000 * t).float().expand(len(x)), cond)

    return SimpleDenoiser(Backbone(), VPSchedule()).eval()
