"""Guidance by name for the commands: what a text names is opened from its path."""

from pathlib import Path
from typing import TYPE_CHECKING

from windvane.cli.common.models import check_model_path, model_hash, open_model
from windvane.cli.common.sections import SampleSection
from windvane.hashes import file_hash

if TYPE_CHECKING:
    from windvane.denoiser import Denoiser


def guided_by(denoiser: "Denoiser", section: SampleSection) -> "Denoiser":
    """The denoiser under the guidances that the section names."""
    from windvane.adapters import load_classifier
    from windvane.guidance.by_name import guided

    device = str(next((tensor.device for tensor in denoiser.parameters()), "cpu"))

    def opened(path: str) -> "Denoiser":
        return open_model(path, weights=section.weights, device=device, precision=section.precision).denoiser

    openers = {"denoiser": opened, "classifier": lambda path: load_classifier(path, device=device)}
    named = section.guidance or ()
    return guided(denoiser, named, weight=section.weight, window=section.interval, openers=openers)


def settled_guidance(section: SampleSection) -> SampleSection:
    """The section with whole paths in its guidance, checked before anything is sampled.

    Raises:
        ValueError: no such guidance or option, or a model that is not there.
    """
    if not section.guidance:
        return section
    from windvane.guidance.by_name import Named

    texts = []
    for text in section.guidance:
        named = Named.read(text)
        for file in named.files():
            if not Path(file).exists():
                check_model_path(file)
            text = text.replace(f"={file}", f"={Path(file).resolve()}") if Path(file).exists() else text
        texts.append(text)
    return section.model_copy(update={"guidance": texts})


def guidance_files(section: SampleSection) -> dict[str, str]:
    """The models and files of the section's guidance, with the hash of what each holds."""
    if not section.guidance:
        return {}
    from windvane.guidance.by_name import Named

    found = {}
    for file in (file for text in section.guidance for file in Named.read(text).files()):
        if Path(file).is_file():
            found[file] = file_hash(file)
        elif Path(file).is_dir():
            found[file] = model_hash(Path(file), section.weights)
    return found
