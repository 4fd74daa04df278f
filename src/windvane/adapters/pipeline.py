"""A diffusers pipeline as a denoiser."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from windvane.adapters.diffusers_folder import Parts, find_pipeline, parts_of_folder, parts_of_object
from windvane.adapters.diffusers_schedule import Schedule, schedule_of
from windvane.adapters.latent import Latent
from windvane.codec import Codec
from windvane.conditions import Condition
from windvane.convert import x0_from_prediction
from windvane.denoiser import Denoiser, as_times
from windvane.evaluations import record_evaluation


class PipelineDenoiser(Denoiser):
    """The network of an unconditional or class-conditional diffusers pipeline; made by :func:`from_pipeline`.

    ``forward(x_t, t, cond)`` gives D ``(B, *shape)``; gradients reach x_t. The condition's ``"vector"`` is
    class ids ``(B,)``; rows without it, and all of ``cond=None``, have the null class.

    Attributes:
        network: the pipeline's ``UNet2DModel`` or ``DiTTransformer2DModel``, not copied.
        schedule: process, prediction and the network's time, see
            :class:`~windvane.adapters.diffusers_schedule.Schedule`.
        codec: encodes and decodes where x is a latent; None where x is the picture.
        classes: the number of classes, the null class not counted; None: unconditional.
        null_class: the id that stands for no class, or None.
        names: of the classes by id, where the pipeline tells them.
        clip: what the pipeline itself clamps predictions to, for ``sample(clip=...)``; None: it does not.
        notes: what the pipeline does beyond what is done here.
    """

    def __init__(
        self,
        network: nn.Module,
        schedule: Schedule,
        *,
        codec: Codec | None = None,
        null_class: int | None = None,
        names: Mapping[int, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        config: Any = network.config
        channels = int(config.in_channels)
        super().__init__(schedule.process, _shape(channels, config.get("sample_size")))
        out = int(config.get("out_channels") or channels)
        if out not in (channels, 2 * channels):
            raise ValueError(
                f"the network takes {channels} channels and gives {out}; the same number was expected, or "
                "twice as many (the second half then is a learned variance, and is dropped)"
            )
        self.network, self.schedule, self.codec = network, schedule, codec
        self.channels, self.folder = channels, folder
        self.transformer = "num_embeds_ada_norm" in config
        self.classes, self.null_class = _classes(network, null_class)
        self.names = dict(names or {})
        self.clip = schedule.clip
        dropped = ("the learned variance is dropped",) if out != channels else ()
        self.notes = (*schedule.notes, *dropped)

    @property
    def latent(self) -> Codec | None:
        """The former name of ``codec``."""
        warnings.warn("PipelineDenoiser.latent is now codec", DeprecationWarning, stacklevel=2)
        return self.codec

    def decode(self, x: Tensor) -> Tensor:
        """Pictures of x: the latent's, or x itself."""
        return x if self.codec is None else self.codec.decode(x)

    def encode(self, pictures: Tensor) -> Tensor:
        """x of pictures in [-1, 1]: their latent, or the pictures themselves."""
        return pictures if self.codec is None else self.codec.encode(pictures)

    def labels(self, cond: Condition | None, rows: int) -> Tensor | None:
        """The class ids ``(rows,)`` that the network is given; None for an unconditional one.

        Raises:
            ValueError: a condition that the network would ignore, ids out of range, or rows without a class
                where there is no null class.
        """
        given = {} if cond is None else cond.signals
        ignored = [name for name in given if self.classes is None or name != "vector"]
        if ignored:
            taken = "no condition" if self.classes is None else "class ids, Condition.vector(ids)"
            raise ValueError(f"this pipeline takes {taken}; the condition has {', '.join(ignored)}")
        if self.classes is None:
            return None
        device = next(self.network.parameters()).device
        if cond is None:
            self._require_null()
            return torch.full((rows,), self.null_class, device=device)  # type: ignore[arg-type]
        ids, present = given["vector"], cond.present["vector"]
        if len(ids) != rows:
            raise ValueError(f"the condition has {len(ids)} rows, the batch has {rows}; they must agree")
        if ids.ndim != 1 or ids.is_floating_point() or ids.dtype == torch.bool:
            raise ValueError(f"class ids are integers (B,), got {ids.dtype} {tuple(ids.shape)}")
        if ids.device.type == "cpu":
            bad = present.to(ids.device) & ((ids < 0) | (ids >= self._most()))
            if bool(bad.any()):
                raise ValueError(
                    f"class id {int(ids[bad][0])} is out of range for a pipeline of {self.classes} classes"
                )
        if self.null_class is None:
            if not bool(present.all()):
                self._require_null()
            return ids.to(device)
        return torch.where(present.to(device), ids.to(device), self.null_class)

    def _most(self) -> int:
        return max(self.classes or 0, -1 if self.null_class is None else self.null_class + 1)

    def _require_null(self) -> None:
        if self.null_class is None:
            raise ValueError(
                "this pipeline has classes and none that stands for no class: give every row a class, "
                "cond=Condition.vector(ids), with weight 1; or name one, from_pipeline(..., null_class=K)"
            )

    def forward(self, x_t: Tensor, t: Tensor, cond: Condition | None = None) -> Tensor:
        times = as_times(t, len(x_t))
        labels = self.labels(cond, len(x_t))
        record_evaluation(len(x_t))
        parameter = next(self.network.parameters())
        # Networks of scores see data in [0, 1], and their score there is twice the one in [-1, 1].
        score = self.schedule.prediction == "score"
        seen = (x_t + 1) / 2 if score else x_t
        time = self.schedule.network_time(times).to(device=x_t.device, dtype=torch.float32)
        output = self._call(seen.to(parameter.dtype), time, labels)[:, : self.channels].to(x_t.dtype)
        output = output / 2 if score else output
        return x0_from_prediction(self.process, self.schedule.prediction, x_t, output, times)

    def _call(self, x: Tensor, time: Tensor, labels: Tensor | None) -> Tensor:
        if self.transformer:
            return self.network(x, timestep=time, class_labels=labels, return_dict=False)[0]
        return self.network(x, time, class_labels=labels, return_dict=False)[0]


def from_pipeline(
    source: Any,
    *,
    null_class: int | None = None,
    revision: str | None = None,
    offline: bool | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> PipelineDenoiser:
    """Open an unconditional or class-conditional diffusers pipeline as a denoiser.

    DDPM, DDIM, PNDM, ScoreSdeVe, LDM (unconditional) and DiT pipelines, and any other of the same parts: a
    ``UNet2DModel`` or a DiT, a scheduler that says how it was trained, and for latents an autoencoder. The
    process has the scheduler's own alphas (:class:`~windvane.process.VPTable`, index k at t = (k + 1) / N),
    or is the rectified flow, or EDM's for scores, whose pictures in [0, 1] are brought to [-1, 1].

    Args:
        source: a pipeline object, a pipeline folder, or a name on the hub (looked up in the local cache
            first).
        null_class: the class that stands for none; known for a DiT, for a U-Net with classes only you know.
        revision: branch, tag or commit on the hub.
        offline: never ask the network; None asks the environment (``HF_HUB_OFFLINE``).
        dtype: of the network's parameters; D keeps the dtype of x_t.

    Raises:
        ValueError: a pipeline that takes text or pictures, a scheduler whose process cannot be expressed,
            missing or damaged files, or no such folder or name; each with its reason.
    """
    parts = _parts(source, revision, offline, dtype)
    autoencoder = parts.autoencoder
    made = PipelineDenoiser(
        parts.network,
        schedule_of(parts.scheduler),
        codec=None if autoencoder is None else Latent(autoencoder),
        null_class=parts.null_class if null_class is None else null_class,
        names=parts.names,
        folder=parts.folder,
    )
    if device is not None or dtype is not None:
        made.to(device=device, dtype=dtype)
    # An object stays in the mode that it is in; samplers switch to evaluation and back.
    return made if parts.folder is None else made.eval()


def _parts(source: Any, revision: str | None, offline: bool | None, dtype: torch.dtype | None) -> Parts:
    if isinstance(source, (str, Path)):
        return parts_of_folder(find_pipeline(source, revision=revision, offline=offline), dtype)
    if not hasattr(source, "components"):
        raise ValueError(
            "from_pipeline takes a diffusers pipeline, a folder of one, or a hub name; "
            f"got {type(source).__name__}"
        )
    return parts_of_object(source)


def _shape(channels: int, size: Any) -> tuple[int, ...] | None:
    if size is None:
        return None
    height, width = (size, size) if isinstance(size, int) else size
    return (channels, int(height), int(width))


def _classes(network: nn.Module, null_class: int | None) -> tuple[int | None, int | None]:
    """The number of classes and the null class, or None."""
    config: Any = network.config
    if "num_embeds_ada_norm" in config:
        count = int(config.num_embeds_ada_norm)
        # The label embedding of a DiT has one row more than there are classes: the dropped label's.
        return count, count if null_class is None else null_class
    if getattr(network, "class_embedding", None) is None:
        if null_class is not None:
            raise ValueError(f"null_class={null_class}: this network has no classes")
        return None, None
    if config.get("class_embed_type") is not None or not config.get("num_class_embeds"):
        raise ValueError(
            f"the U-Net takes class embeddings of type {config.get('class_embed_type')!r}, not class ids; "
            "what makes them is not part of the pipeline"
        )
    rows = int(config.num_class_embeds)
    if null_class is None:
        return rows, None
    if not 0 <= null_class < rows:
        raise ValueError(f"null_class must be one of the network's classes 0 .. {rows - 1}, got {null_class}")
    return (rows - 1 if null_class == rows - 1 else rows), null_class
