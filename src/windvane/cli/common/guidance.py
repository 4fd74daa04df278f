"""Guidance by name for the commands: what a text names is opened from its path."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windvane.cli.common.conditions.vocabulary import KnownConditions
from windvane.cli.common.models import check_model_path, model_hash, open_model
from windvane.cli.common.sections import SampleSection
from windvane.hashes import file_hash

if TYPE_CHECKING:
    from windvane.denoiser import Denoiser
    from windvane.samplers import Sampler


def _openers(denoiser: "Denoiser", section: SampleSection) -> dict[str, Callable[[str], Any]]:
    """What opens the files of a guidance, for use beside the denoiser."""
    from windvane.adapters import load_classifier
    from windvane.tasks.steering.measurements import open_measure

    device = str(next((tensor.device for tensor in denoiser.parameters()), "cpu"))

    def opened(path: str) -> "Denoiser":
        return open_model(path, weights=section.weights, device=device, precision=section.precision).denoiser

    return {
        "denoiser": opened,
        "classifier": lambda path: load_classifier(path, device=device),
        "measurement": lambda text: open_measure(text, denoiser.shape or ()),
    }


def guided_by(denoiser: "Denoiser", section: SampleSection) -> "Denoiser":
    """The denoiser under those guidances of the section that change its prediction."""
    from windvane.guidance.by_name import guided

    return guided(
        denoiser, section.guidance or (), weight=section.weight, window=section.interval,
        openers=_openers(denoiser, section),
    )  # fmt: skip


def guided_sampler_by(sampler: "Sampler", denoiser: "Denoiser", section: SampleSection) -> "Sampler":
    """The sampler under those guidances of the section that guide its step."""
    from windvane.guidance.by_name import guided_sampler

    openers = _openers(denoiser, section)
    return guided_sampler(sampler, section.guidance or (), window=section.interval, openers=openers)


def settled_guidance(section: SampleSection) -> SampleSection:
    """The section with whole paths in its guidance, checked before anything is sampled.

    Raises:
        ValueError: no such guidance or option, or a model that is not there.
    """
    if not section.guidance:
        return section
    from windvane.guidance.by_name import Named
    from windvane.tasks.steering.measurements import measured_files

    texts = []
    for text in section.guidance:
        named = Named.read(text)
        for file in named.files():
            if not Path(file).exists():
                check_model_path(file)
            text = text.replace(f"={file}", f"={Path(file).resolve()}") if Path(file).exists() else text
        for measure in named.measurements():
            whole = measure
            for file in measured_files(measure):
                if not Path(file).is_file():
                    raise ValueError(f"there is no {file}, which the guidance {text!r} names")
                whole = whole.replace(file, str(Path(file).resolve()))
            text = text.replace(measure, whole)
        texts.append(text)
    return section.model_copy(update={"guidance": texts})


def settled(section: SampleSection, asked: KnownConditions | None, *, weight_given: bool) -> SampleSection:
    """The section with a weight that has an effect; a weight given in vain is refused.

    Without a condition there is nothing to contrast: the weight is then 0, the unconditional model. Paths in
    `sample.guidance` become whole ones.
    """
    section = settled_guidance(section)
    if asked is not None and asked.kind == "vectors" and section.condition != "none":
        raise ValueError(
            f"this model is conditioned on vectors of {asked.count} numbers, which the command line has none "
            "of: --condition none, or in Python cond=Condition.vector(vectors)"
        )
    if section.cluster is not None and (asked is None or asked.kind == "masks" or not asked.count):
        trained = "without a condition" if asked is None else f"on {asked.kind} alone"
        raise ValueError(f"--cluster: this model was trained {trained}, it has no clusters")
    if section.cluster is not None and asked is not None and section.cluster >= asked.count:
        raise ValueError(f"--cluster {section.cluster}: the model has {asked.count}, 0 to {asked.count - 1}")
    drawn = any(given is not None for given in (section.boxes, section.mask, section.like))
    if asked is not None and (section.cluster is not None or section.condition != "none" or drawn):
        return section
    if section.guidance:
        return section.model_copy(update={"condition": "none"})
    if weight_given and section.weight != 0:
        why = "the model was trained without a condition" if asked is None else "--condition none was given"
        raise ValueError(f"--weight {section.weight:g} would guide nothing: {why}")
    return section.model_copy(update={"weight": 0.0, "interval": None, "condition": "none"})


def guidance_files(section: SampleSection) -> dict[str, str]:
    """The models and files of the section's guidance, with the hash of what each holds."""
    if not section.guidance:
        return {}
    from windvane.guidance.by_name import Named
    from windvane.tasks.steering.measurements import measured_files

    found = {}
    files: list[str] = []
    for named in map(Named.read, section.guidance):
        files += named.files()
        files += [file for measure in named.measurements() for file in measured_files(measure)]
    for file in files:
        if Path(file).is_file():
            found[file] = file_hash(file)
        elif Path(file).is_dir():
            found[file] = model_hash(Path(file), section.weights)
    return found
