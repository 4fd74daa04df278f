"""A model of Windvane as a diffusers pipeline."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from windvane.adapters.diffusers_folder import EXTRA, INDEX, write_extra
from windvane.adapters.pipeline import PipelineDenoiser
from windvane.checkpoint import unwrapped
from windvane.conditions import Condition
from windvane.denoiser import NetworkDenoiser
from windvane.files import FolderKind, atomic_folder
from windvane.networks import ConditionedUNet
from windvane.networks.diffusers_config import model_config
from windvane.process import Process, RectifiedFlow, VPCosine, VPLinear, VPTable

_PREDICTIONS = {"eps": "epsilon", "v": "v_prediction", "x0": "sample"}
#: A network of Windvane counts time as 1000 t, so the table has the times 0, 1, ..., 1000.
_STEPS = 1001
#: What such a folder consists of; a pipeline of another maker has no EXTRA, and is not replaced.
_KIND = FolderKind(
    "a pipeline",
    {EXTRA: ("null_class",)},
    (INDEX, "scheduler/scheduler_config.json", "unet/config.json", "unet/diffusion_pytorch_model*"),
)


def to_pipeline(denoiser: NetworkDenoiser, path: str | Path) -> Path:
    """Write a U-Net of Windvane as a pipeline folder that diffusers and :func:`from_pipeline` open.

    Variance preserving processes become a ``DDIMPipeline`` whose scheduler has 1001 training steps, index k
    at our t = k / 1000, with alpha_k = alpha(k / 1000) (index 0 has alpha^2 = alpha_1, since no noise at all
    is no step). The rectified flow becomes a ``DDPMPipeline`` with ``FlowMatchEulerDiscreteScheduler``. At
    these times :func:`from_pipeline` gives this denoiser again; diffusers multiplies the betas in float32.

    A model of K classes becomes a U-Net with a table of K + 1, the last for no class, which
    :func:`from_pipeline` knows again. A pipeline of this function at ``path`` is replaced at once.

    Raises:
        ValueError: a denoiser of a pipeline; another network than a U-Net, layouts or tokens as conditions,
            or a process, prediction or time coordinate that diffusers has no scheduler for; something else
            at ``path``.
    """
    if isinstance(denoiser, PipelineDenoiser):
        kept = f"copy its folder {denoiser.folder}" if denoiser.folder else "pipeline.save_pretrained(path)"
        raise ValueError(f"this denoiser was opened from a pipeline of diffusers, and is one already: {kept}")
    network = unwrapped(denoiser.network)
    if not isinstance(network, ConditionedUNet):
        raise ValueError(
            f"no pipeline without text takes a {type(network).__name__}; a ConditionedUNet can be exported"
        )
    others = [name for name in network.conditions.taken if name != "vector"]
    if others:
        raise ValueError(f"diffusers has no unconditional pipeline that takes {', '.join(others)}")
    if denoiser.time != "index":
        raise ValueError(
            f"the network is given {denoiser.time!r} as its time, diffusers gives it the index of the step; "
            "build it with time='index' to export it"
        )
    scheduler = _scheduler(denoiser.process, denoiser.parametrisation)
    unet, classes = _plain_unet(network)
    with atomic_folder(path, _KIND) as folder:
        _pipeline(unet, scheduler).save_pretrained(folder)
        write_extra(folder / EXTRA, null_class=classes)
    return Path(path)


def _pipeline(unet: Any, scheduler: Any) -> Any:
    from diffusers import DDIMPipeline, DDPMPipeline, FlowMatchEulerDiscreteScheduler

    kind = DDPMPipeline if isinstance(scheduler, FlowMatchEulerDiscreteScheduler) else DDIMPipeline
    return kind(unet=unet, scheduler=scheduler)


def _scheduler(process: Process, parametrisation: str) -> Any:
    from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler

    if isinstance(process, RectifiedFlow):
        if parametrisation != "flow":
            raise ValueError(
                f"flow matching in diffusers needs the prediction 'flow', got {parametrisation!r}"
            )
        return FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000)
    if not isinstance(process, (VPLinear, VPCosine, VPTable)):
        raise ValueError(
            f"{type(process).__name__} has no scheduler in diffusers that fits our networks; variance "
            "preserving processes and the rectified flow have"
        )
    if parametrisation not in _PREDICTIONS:
        raise ValueError(
            f"a variance preserving scheduler of diffusers knows the predictions {', '.join(_PREDICTIONS)}, "
            f"this model predicts {parametrisation!r}"
        )
    return DDIMScheduler(
        num_train_timesteps=_STEPS,
        trained_betas=_betas(process),
        prediction_type=_PREDICTIONS[parametrisation],
        clip_sample=False,
        timestep_spacing="trailing",
    )


def _betas(process: Process) -> list[float]:
    """beta_k = 1 - alpha_k^2 / alpha_(k-1)^2 for k = 0 .. 1000."""
    alphas: Tensor = process.alpha(torch.linspace(0, 1, _STEPS, dtype=torch.float64)).square()
    alphas[0] = alphas[1].sqrt()
    return (1 - alphas / torch.cat([alphas.new_ones(1), alphas[:-1]])).tolist()


def _plain_unet(network: ConditionedUNet) -> tuple[Any, int | None]:
    """The U-Net inside, with a table in the place of the embedding of classes; and their number."""
    classes = network.config["vector"]
    if classes is None:
        return network.unet, None
    from diffusers import UNet2DModel

    cond = Condition.vector(torch.arange(classes))
    with torch.no_grad():
        known, null = (network.embed(each, len(cond)).add for each in (cond, None))
    config = {**model_config(network.unet), "class_embed_type": None, "num_class_embeds": classes + 1}
    with torch.random.fork_rng(devices=[]):
        unet = UNet2DModel.from_config(config)
    unet.load_state_dict(network.unet.state_dict(), strict=False)
    table = torch.cat([known, null[:1]])  # type: ignore[list-item,index]
    unet.class_embedding = nn.Embedding.from_pretrained(table.cpu())
    return unet.to(table.dtype), classes
