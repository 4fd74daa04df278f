"""Low-rank adapters put into a network in place: peft's for linear layers, our own where peft has none."""

import copy
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from windvane.randomness import generator, scoped_seed
from windvane.training.noise_aware.encoder import normalisations

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
#: Modules that read the weights of their linear layers themselves, past anything wrapped round those layers.
_READERS = (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)


@dataclass(frozen=True)
class LowRank:
    """Which adapters: W + (alpha / rank) B A, with B = 0 and A Kaiming-uniform at first.

    PPAP (Go et al. 2023, arXiv 2212.05973, section 4.1 and its code): rank 16, alpha 8. For a convolution
    with kernel side k, A is (rank k, C_in k) and B (C_out k, rank k), their product reshaped to the kernel.

    Args:
        targets: names, or ends of names, of the layers ("conv1", "conv2" in a ResNet; "query", "value" in a
            transformer); None is every convolution, linear layer and attention but the last layer.
    """

    rank: int = 16
    alpha: float = 8.0
    targets: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.rank < 1 or not self.alpha > 0:
            raise ValueError(
                f"an adapter has rank >= 1 and alpha > 0, got rank={self.rank}, alpha={self.alpha}"
            )


class LowRankWeight(nn.Module):
    """W -> W + scale (B A) reshaped: a parametrisation, so that whoever reads the weight reads the sum."""

    def __init__(self, weight: Tensor, rank: int, alpha: float, random: torch.Generator) -> None:
        super().__init__()
        side = weight.shape[2] if weight.ndim > 2 else 1
        across = math.prod(weight.shape[3:])
        a = torch.empty(rank * side, weight.shape[1] * across)
        nn.init.kaiming_uniform_(a, a=math.sqrt(5), generator=random)
        self.a = nn.Parameter(a.to(weight))
        self.b = nn.Parameter(weight.new_zeros(weight.shape[0] * side, rank * side))
        self.scale = alpha / rank

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.scale * (self.b @ self.a).reshape(weight.shape)


def add_low_rank(network: nn.Module, settings: LowRank, *, seed: int = 0) -> nn.Module:
    """Put adapters into ``network`` in place; returns it. The outputs do not change.

    Trainable afterwards are the adapters, all biases but the last layer's, and the parameters of
    normalisations (PPAP's choice). Linear layers get peft's adapter, but for those whose weights an
    attention or transformer layer of torch reads by itself; these, convolutions and fused attention
    weights get :class:`LowRankWeight`.

    Raises:
        ValueError: no layer fits the targets, or a target is neither a linear layer nor a convolution; linear
            layers without peft, of which the network is left as it was.
    """
    chosen = _chosen(network, settings.targets)
    also = biases_and_norms(network)
    read_through = {
        id(part) for reader in network.modules() if isinstance(reader, _READERS) for part in reader.modules()
    }
    by_peft = [name for name, part in chosen if isinstance(part, nn.Linear) and id(part) not in read_through]
    if by_peft:
        try:
            from peft import LoraConfig, inject_adapter_in_model
        except ImportError:
            raise ValueError(
                f"low-rank adapters of linear layers ({by_peft[0]}) need the library peft: "
                "pip install 'windvane[adapters]'"
            ) from None
    network.requires_grad_(False)
    for number, (name, part) in enumerate(chosen):
        if name in by_peft:
            continue
        for held in ("weight", "in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
            weight = getattr(part, held, None)
            if isinstance(weight, nn.Parameter):
                made = LowRankWeight(weight, settings.rank, settings.alpha, generator(seed, number))
                parametrize.register_parametrization(part, held, made)
    if by_peft:
        config = LoraConfig(
            r=settings.rank, lora_alpha=settings.alpha,  # type: ignore[arg-type]
            target_modules="|".join(re.escape(name) for name in by_peft),
        )  # fmt: skip
        with scoped_seed(seed):
            inject_adapter_in_model(config, network)
    for part in network.modules():
        if isinstance(part, LowRankWeight):
            part.requires_grad_(True)
    for parameter in also:
        parameter.requires_grad_(True)
    return network


def biases_and_norms(network: nn.Module) -> list[nn.Parameter]:
    """All biases but the last layer's, and the parameters of normalisations: PPAP trains these, too."""
    last = _last(network)
    found = {id(p): p for _, norm in normalisations(network) for p in norm.parameters()}
    for part in network.modules():
        for name in ("bias", "in_proj_bias"):
            bias = getattr(part, name, None)
            if part is not last and isinstance(bias, nn.Parameter):
                found[id(bias)] = bias
    return list(found.values())


def merge(network: nn.Module) -> nn.Module:
    """A copy without adapters whose weights contain them: W + (alpha / rank) B A. The outputs are equal."""
    made = copy.deepcopy(network)
    for part in list(made.modules()):
        if parametrize.is_parametrized(part):
            for name in list(part.parametrizations):  # type: ignore[arg-type]
                parametrize.remove_parametrizations(part, name, leave_parametrized=True)
    for parent in list(made.modules()):
        for name, child in list(parent.named_children()):
            if hasattr(child, "lora_A") and hasattr(child, "get_base_layer"):
                child.merge()  # type: ignore[operator]
                setattr(parent, name, child.get_base_layer())  # type: ignore[operator]
    return made


def _layers(network: nn.Module) -> list[tuple[str, nn.Module]]:
    kinds = (nn.Linear, nn.MultiheadAttention, *_CONVOLUTIONS)
    return [(name, part) for name, part in network.named_modules() if isinstance(part, kinds) and name]


def _last(network: nn.Module) -> nn.Module | None:
    """The last layer in order of registration: of a classifier, what gives the logits."""
    found = [part for part in network.modules() if isinstance(part, (nn.Linear, *_CONVOLUTIONS))]
    return found[-1] if found else None


def _chosen(network: nn.Module, targets: Sequence[str] | None) -> list[tuple[str, nn.Module]]:
    layers = _layers(network)
    if targets is None:
        chosen = [(name, part) for name, part in layers if part is not _last(network)]
    else:
        chosen = [
            (name, part) for name, part in layers if any(name == t or name.endswith(f".{t}") for t in targets)
        ]
        for target in targets:
            if not any(name == target or name.endswith(f".{target}") for name, _ in chosen):
                raise ValueError(f"no linear layer, attention or convolution is called {target!r}")
    if not chosen:
        raise ValueError(
            f"{type(network).__name__} has no linear layer or convolution before its last one to adapt"
        )
    return chosen
