"""Section `train`: the training loop."""

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from windvane.cli.common.sections.base import Section, named

_Share = Annotated[float, Field(ge=0, le=1)]
#: A share, or one for each signal by name and "*" for all together.
_Dropout = Annotated[
    Annotated[_Share, Tag("all")] | Annotated[dict[str, _Share], Tag("each")],
    Discriminator(lambda given: "each" if isinstance(given, dict) else "all"),
]


class TrainSection(Section):
    """Optimisation, checkpoints and what is logged."""

    condition: Literal["clusters", "labels", "regions", "none"] = Field(
        default="none",
        description="what the model is conditioned on; labels are the control, regions are boxes or masks",
    )
    annotation: str | None = Field(
        default=None, description="folder of an annotation to use for clusters or regions"
    )
    steps: int = Field(default=20_000, ge=1, description="optimiser steps")
    batch_size: int = Field(default=64, ge=1, description="images per step, over all processes")
    accumulate: int = Field(default=1, ge=1, description="parts of a process's share of the batch")
    learning_rate: float = Field(default=3e-4, gt=0, description="of AdamW")
    weight_decay: float = Field(default=0.01, ge=0, description="of AdamW")
    warmup: int = Field(default=500, ge=0, description="steps over which the learning rate rises")
    clip: float | None = Field(default=1.0, gt=0, description="largest norm of the gradient")
    ema: float = Field(default=0.999, ge=0, lt=1, description="decay of the averaged weights")
    dropout: _Dropout = Field(default=0.1, description="share of images that lose their condition")
    objective: Annotated[str, named("objective")] = Field(
        default="denoising", description="the loss, by name"
    )
    objective_options: dict[str, Any] | None = Field(default=None, description="its options, of other losses")
    corruption: Annotated[str, named("corruption")] = Field(
        default="noise", description="from pictures to what the network sees"
    )
    corruption_options: dict[str, Any] | None = Field(default=None, description="its options")
    loss_weight: Literal["auto", "x0", "eps", "v", "flow", "min-snr", "edm", "sigmoid"] = Field(
        default="auto", description="weight of the loss over noise levels; auto: what the network predicts"
    )
    times: Literal["auto", "uniform", "stratified", "log-normal", "logit-normal"] = Field(
        default="auto", description="law of the training times; auto: the process's usual one"
    )
    precision: Literal["no", "bf16"] = Field(default="no", description="bf16 runs the network in bfloat16")
    compile: bool = Field(default=False, description="torch.compile the network: slow start, quick steps")
    flip: bool = Field(default=False, description="random horizontal flips")
    seed: int = Field(default=0, ge=0, description="seed of weights, order, noise and times")
    log_every: int = Field(default=50, ge=1, description="steps between lines of metrics.jsonl")
    sample_every: int = Field(default=2_000, ge=0, description="steps between sample grids, 0 for none")
    checkpoint_every: int = Field(default=1_000, ge=1, description="steps between saved states")
    trackers: list[str] = Field(default=[], description="tensorboard, wandb, trackio")

    @model_validator(mode="after")
    def _belongs(self) -> Self:
        """Refuse what would change nothing."""
        if self.objective == "denoising" and self.objective_options:
            raise ValueError("objective_options are those of another objective than denoising")
        if self.corruption == "noise" and self.corruption_options:
            raise ValueError("corruption_options are those of another corruption than noise")
        if self.objective != "denoising" and (self.loss_weight != "auto" or self.corruption != "noise"):
            raise ValueError("loss_weight and corruption belong to the objective denoising")
        return self
