"""Boxes and masks on disk: a folder that is whole or absent, and is refused with the reason.

``regions.json`` says what they are and what made them; ``regions.safetensors`` holds the tensors. The
image-level annotation whose ids stand beside boxes may lie in the folder ``clusters``; what made the boxes or
masks lies in ``rule`` and ``dense`` (see :mod:`.rule_storage`).
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from windvane.annotate.dense.dense_extractor import DenseExtractor
from windvane.annotate.features.extractor import Images
from windvane.annotate.folder_kinds import ANNOTATION
from windvane.annotate.regions.annotations import BoxAnnotation, MaskAnnotation, Origin
from windvane.annotate.rule_storage import read_rule, write_rule
from windvane.annotate.sealed_pair import checked_pair, read_pair, sealed
from windvane.files import atomic_folder, recover_folder

FORMAT = 1
FILE, TENSORS, BESIDE = "regions.json", "regions.safetensors", "clusters"
Layouts = BoxAnnotation | MaskAnnotation


def save_regions(annotation: Layouts, path: str | Path) -> None:
    """Write boxes or masks as a folder, atomically; an old one at ``path`` is replaced.

    Raises:
        ValueError: ``path`` is a file, or a folder with anything else in it.
    """
    from safetensors.torch import save_file

    if isinstance(annotation, BoxAnnotation):
        tensors = {"boxes": annotation.boxes, "owner": annotation.owner}
        if annotation.ids is not None:
            tensors["ids"] = annotation.ids
    else:
        tensors = {"masks": annotation.masks}
    tensors = {key: value.contiguous() for key, value in tensors.items()}
    origin = annotation.origin
    described: dict[str, Any] = {
        "format": FORMAT,
        "kind": annotation.kind,
        "n": len(annotation),
        "size": list(annotation.size),
        "k": annotation.k,
        "source": origin.source,
        "made_by": origin.made_by,
        "settings": dict(origin.settings),
        "data": origin.fingerprint,
    }
    with atomic_folder(path, ANNOTATION) as folder:
        save_file(tensors, folder / TENSORS)
        (folder / FILE).write_text(json.dumps(sealed(described, tensors), indent=2) + "\n", encoding="utf-8")
        write_rule(origin.rule, folder)


def load_regions(
    path: str | Path,
    *,
    data: Images | None = None,
    made_by: str | None = None,
    extractor: DenseExtractor | None = None,
) -> Layouts:
    """Load what :func:`save_regions` wrote.

    Args:
        path: the folder.
        data: the images it must belong to; None does not ask.
        made_by: the version (``.name``) of the features or the segmenter it must come from; None does not
            ask.
        extractor: the dense features, where they are not saved with it (those of a denoiser); only new images
            need them.

    Raises:
        ValueError: files missing or damaged, boxes or ids out of range, other images or images of another
            size, another version of the features.
    """
    folder = recover_folder(path)
    described, tensors = _read(folder)
    with checked_pair(described, tensors, folder / FILE, folder / TENSORS):
        origin = Origin(described["source"], described["made_by"], described["settings"], described["data"])
        origin = replace(origin, rule=read_rule(folder, origin.made_by, extractor))
        made = _built(described, tensors, origin)
    if made_by is not None and origin.made_by != made_by:
        raise ValueError(
            f"the regions in {folder} were made by {origin.made_by}, not by {made_by}; annotate again"
        )
    if data is not None:
        made.check(data)
    return made


def _built(described: Mapping[str, Any], tensors: Mapping[str, Tensor], origin: Origin) -> Layouts:
    size = (int(described["size"][0]), int(described["size"][1]))
    if described["kind"] == BoxAnnotation.kind:
        return BoxAnnotation(
            tensors["boxes"],
            owner=tensors["owner"],
            n=described["n"],
            size=size,
            origin=origin,
            ids=tensors.get("ids"),
            k=described["k"],
        )
    if described["kind"] != MaskAnnotation.kind:
        raise ValueError(f"it says it holds {described['kind']!r}; known: boxes, masks")
    masks = tensors["masks"]
    if tuple(masks.shape) != (described["n"], *size):
        raise ValueError(
            f"it says {described['n']} images of {size[0]} x {size[1]}, its masks are {tuple(masks.shape)}"
        )
    return MaskAnnotation(masks, described["k"], origin=origin)


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    for name in (FILE, TENSORS):
        if not (folder / name).is_file():
            raise ValueError(f"no boxes or masks in {folder}: {name} is missing")
    described, tensors = read_pair(folder / FILE, folder / TENSORS)
    found = described.get("format")
    if found != FORMAT:
        raise ValueError(f"{folder / FILE} has format {found!r}; this version reads {FORMAT}")
    return described, tensors
