"""A conditional U-Net around diffusers' ``UNet2DModel``."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from windvane.networks.attention import attend_to, install_token_attention
from windvane.networks.base import Network
from windvane.networks.conditioning import (
    ConditionInput,
    Embedding,
    check_input_channels,
    entering,
    input_channels,
    signal_sizes,
)
from windvane.networks.diffusers_class import diffusers_class
from windvane.networks.diffusers_config import model_config
from windvane.networks.unet_plan import unet_config


class ConditionedUNet(Network):
    """A ``UNet2DModel`` with a vector, a layout, tokens and other signals as conditions; any, or none.

    - vector: embedded and added to the time embedding, which modulates every residual block
      (``class_embed_type="identity"``);
    - layout: ``C + 1`` channels concatenated to the input (the map and its presence);
    - tokens: extra keys and values in every attention layer (``torch.compile`` breaks its graph there;
      without tokens it makes one graph).

    :meth:`build` makes one for a shape. The U-Net inside stays a plain diffusers model that diffusers saves
    and opens.

    Args:
        unet: a ``UNet2DModel``; ``in_channels = out_channels + layout + 1`` with a layout, else
            ``out_channels``; other signals add what they say.
        vector: K, the number of classes or the length of the vector.
        layout: C, the channels of the map.
        tokens: the width of tokens (32 in the Self-Guided paper).
        signals: other signals by name, see :class:`~windvane.networks.ConditionInput`.
    """

    kind: ClassVar[str] = "conditioned_unet"
    diffusers_part: ClassVar[str | None] = "unet"
    unet: Any

    def __init__(
        self,
        unet: Any,
        *,
        vector: int | None = None,
        layout: int | None = None,
        tokens: int | None = None,
        signals: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        config, sizes = unet.config, signal_sizes(signals, vector=vector, layout=layout, tokens=tokens)
        check_input_channels(config.in_channels, config.out_channels, sizes)
        embeds = unet.class_embedding is not None
        if embeds and config.class_embed_type != "identity":
            raise ValueError(
                f"the U-Net embeds classes itself (class_embed_type={config.class_embed_type!r}); "
                "only 'identity', which leaves that to the vector condition, works here"
            )
        added = entering(sizes, "add")
        if added and not embeds:
            raise ValueError(f"a {added[0]} condition needs a U-Net with class_embed_type='identity'")
        self.unet = unet
        self.width: int = unet.time_embedding.linear_2.out_features
        self.conditions = ConditionInput(self.width, sizes)
        tokens = sizes.get("tokens")
        self.token_layers = None if tokens is None else install_token_attention(unet, tokens)

    @classmethod
    def build(
        cls,
        *,
        shape: Sequence[int],
        vector: int | None = None,
        layout: int | None = None,
        tokens: int | None = None,
        signals: Mapping[str, Any] | None = None,
        channels: Sequence[int] = (64, 128),
        layers_per_block: int = 2,
        attention: Sequence[int] = (-1,),
        head_channels: int | None = None,
        norm_groups: int | None = None,
        dropout: float = 0.0,
    ) -> "ConditionedUNet":
        """A U-Net for images ``(C, H, W)``.

        Args:
            channels: of each level, from full size down; each further level halves the size, which must
                divide.
            layers_per_block: residual blocks of each level.
            attention: the levels with attention, by position in ``channels``; the default is the lowest.
                The middle of the network has attention if any level has.
            head_channels: of one attention head; by default the largest common divisor up to 64.
            norm_groups: of the group norms; by default the most, up to 32, with at least 4 channels each.
            dropout: in the residual blocks.
        """
        UNet2DModel = diffusers_class("UNet2DModel")

        sizes = signal_sizes(signals, vector=vector, layout=layout, tokens=tokens)
        plan = unet_config(
            shape=shape,
            channels=channels,
            layers_per_block=layers_per_block,
            attention=attention,
            head_channels=head_channels,
            norm_groups=norm_groups,
            dropout=dropout,
            extra_channels=input_channels(sizes),
            embeds_vector=bool(entering(sizes, "add")),
        )
        unet = UNet2DModel(**plan)
        _start_at_zero(unet)
        return cls(unet, signals=sizes)

    @property
    def config(self) -> dict[str, Any]:
        return {"unet": model_config(self.unet), **self.conditions.config("vector", "layout", "tokens")}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "ConditionedUNet":
        UNet2DModel = diffusers_class("UNet2DModel")

        unet = UNet2DModel.from_config(config["unet"])
        named = {name: config[name] for name in ("vector", "layout", "tokens")}
        return cls(unet, **named, signals=config.get("signals"))

    def layers(self) -> dict[str, nn.Module]:
        """``down.i.j``, ``mid.j``, ``up.i.j``: block i, layer j, after its attention if it has one."""
        blocks = [(f"down.{i}", block) for i, block in enumerate(self.unet.down_blocks)]
        blocks += [] if self.unet.mid_block is None else [("mid", self.unet.mid_block)]
        blocks += [(f"up.{i}", block) for i, block in enumerate(self.unet.up_blocks)]
        named: dict[str, nn.Module] = {}
        for name, block in blocks:
            attentions = getattr(block, "attentions", None) or []
            for j, layer in enumerate(block.resnets):
                # The middle block ends with a residual layer, the others with the attention of the last one.
                attention = attentions[j] if name != "mid" and j < len(attentions) else None
                named[f"{name}.{j}"] = layer if attention is None else attention
        return named

    def set_gradient_checkpointing(self, enabled: bool = True) -> None:
        if enabled:
            self.unet.enable_gradient_checkpointing()
        else:
            self.unet.disable_gradient_checkpointing()

    def run(self, x: Tensor, time: Tensor, embedding: Embedding) -> Tensor:
        added = embedding.add
        if added is None and self.unet.class_embedding is not None:
            added = torch.zeros(len(x), self.width, device=x.device, dtype=x.dtype)
        x = embedding.with_maps(x)
        if embedding.tokens is None:
            return self.unet(x, time, class_labels=added, return_dict=False)[0]
        with attend_to(self.conditions.timed_tokens(embedding, time)):
            return self.unet(x, time, class_labels=added, return_dict=False)[0]


def _start_at_zero(unet: Any) -> None:
    # Each residual branch and the output begin at zero, so that the network begins as a constant (Ho et al.
    # 2020; Dhariwal and Nichol 2021); diffusers leaves torch's defaults.
    from diffusers.models.attention_processor import Attention
    from diffusers.models.resnet import ResnetBlock2D

    last: list[Any] = [layer.conv2 for layer in unet.modules() if isinstance(layer, ResnetBlock2D)]
    last += [layer.to_out[0] for layer in unet.modules() if isinstance(layer, Attention)]
    for layer in [*last, unet.conv_out]:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
