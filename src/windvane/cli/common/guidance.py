"""Guidance by name for the commands: what a text names is opened from its path."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
