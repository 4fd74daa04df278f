"""From the sections of the configuration to the library's objects, by plain arguments."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from windvane.cli.common.models import clip_of
from windvane.cli.common.sections import ModelSection, ProcessSection, SampleSection, TrainSection
from windvane.registry import find

if TYPE_CHECKING:
    from windvane.denoiser import Denoiser, NetworkDenoiser
    from windvane.samplers import Sampler
    from windvane.training.objective import Objective
    from windvane.training.times import TimeSampler

#: Width of the tokens of Self-Guided Diffusion Models.
_TOKEN_WIDTH = 32


def build_denoiser(
    model: ModelSection,
    process: ProcessSection,
    *,
    shape: Sequence[int],
    vector: int | None,
    layout: int | None = None,
    seed: int,
) -> "NetworkDenoiser":
    """A denoiser with fresh weights drawn from `seed`; the global random numbers are left as they were."""
    from windvane.denoiser import NetworkDenoiser
    from windvane.process import process_from_config
    from windvane.randomness import scoped_seed

    noise = process_from_config({"type": process.type, **process.parameters()})
    with scoped_seed(seed):
        network = _network(model, shape=shape, vector=vector, layout=layout)
    return NetworkDenoiser(network, noise, parametrisation=model.prediction, shape=shape)


def _network(model: ModelSection, *, shape: Sequence[int], vector: int | None, layout: int | None) -> Any:
    make: Any = find("network", model.type).load().build
    renamed = {("unet", "layers"): "layers_per_block", ("mlp", "depth"): "blocks"}
    arguments = {renamed.get((model.type, name), name): value for name, value in model.given().items()}
    arguments |= model.options or {}
    if layout is None:
        return make(shape=shape, vector=vector, **arguments)
    if model.type == "mlp":
        raise ValueError("boxes and masks need a network with positions: --set model.type=unet or dit")
    # As published: beside a map the vector also makes tokens that the attention sees.
    tokens = _TOKEN_WIDTH if vector is not None else None
    return make(shape=shape, vector=vector, layout=layout, tokens=tokens, **arguments)


def loop_options(train: TrainSection) -> dict[str, Any]:
    """The settings of the loop, as :func:`windvane.train` calls them."""
    names = {"learning_rate": "lr", "clip": "clip_norm", "ema": "ema_decay", "precision": "mixed_precision"}
    own = ("objective", "objective_options", "corruption", "corruption_options")
    values = train.model_dump(exclude={"condition", "annotation", "loss_weight", "times", *own})
    return {names.get(name, name): value for name, value in values.items()}


def build_objective(train: TrainSection, denoiser: "Denoiser") -> "Objective":
    """The loss by name; by default the one that suits what the network predicts."""
    from windvane.training.objective import Denoising, default_objective

    if train.objective != "denoising":
        return _made("objective", train.objective, train.objective_options or {})
    made = default_objective(denoiser) if train.loss_weight == "auto" else Denoising(train.loss_weight)
    if train.corruption != "noise":
        made.corruption = _made(
            "corruption", train.corruption, train.corruption_options or {}, process=denoiser.process
        )
    return made


def _made(kind: str, name: str, options: dict[str, Any], **known: Any) -> Any:
    """What a row makes with a user's options, and with those of what is known that it takes."""
    row = find(kind, name)
    taken = row.options()
    foreign = [option for option in options if option not in taken or option in known]
    if foreign:
        own = ", ".join(option for option in taken if option not in known) or "none"
        raise ValueError(f"train.{kind}_options.{foreign[0]}: {name} has the options {own}")
    return row.make(**{key: value for key, value in known.items() if key in taken}, **options)


def build_times(train: TrainSection, denoiser: "Denoiser") -> "TimeSampler | None":
    """The law of the training times, or None for the process's usual one."""
    from windvane.training.times import times_named

    return None if train.times == "auto" else times_named(train.times, denoiser.process)


def build_sampler(section: SampleSection, denoiser: "Denoiser | None" = None) -> "Sampler":
    """The solver by name; for a denoiser, under those guidances of `sample.guidance` that guide the step."""
    from windvane.samplers.ancestral import DDIM
    from windvane.samplers.names import as_sampler

    if section.eta and section.sampler != "ddim":
        raise ValueError(f"sample.eta belongs to the sampler ddim, not to {section.sampler}")
    sampler = DDIM(eta=section.eta) if section.eta else as_sampler(section.sampler)
    if denoiser is None or not section.guidance:
        return sampler
    from windvane.cli.common.guidance import guided_sampler_by

    return guided_sampler_by(sampler, denoiser, section)


def sampling_options(denoiser: "Denoiser", section: SampleSection) -> dict[str, Any]:
    """How to sample, for the library's functions: solver, steps, grid, bound and size of a batch."""
    return {
        "sampler": build_sampler(section, denoiser),
        "steps": section.steps,
        "grid": section.grid,
        "clip": clip_of(denoiser, section),
        "batch_size": section.batch_size,
    }


def build_guided(denoiser: "Denoiser", section: SampleSection) -> "Denoiser":
    """The denoiser under classifier-free guidance, or that of `sample.guidance`, by weight and interval."""
    from windvane.guidance import ClassifierFree, constant, interval

    if section.guidance:
        from windvane.cli.common.guidance import guided_by

        return guided_by(denoiser, section)
    if section.interval is None:
        return ClassifierFree(denoiser, constant(section.weight))
    return ClassifierFree(denoiser, interval(section.weight, *section.interval))
