"""The page of an annotation from folders and files: what was found, the truth, samples of a model."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windvane.cli.common.annotations.labels import REPORT
from windvane.cli.common.config import checked_yaml, make_config
from windvane.cli.common.console import tell
from windvane.cli.common.datasets import check_source, open_parts
from windvane.cli.common.folders import PAGE
from windvane.folders import claimed, note_files
from windvane.hashes import read_sealed
from windvane.locks import replacement_lock
from windvane.pictures import from_uint8, read_pixels, read_settings

if TYPE_CHECKING:
    from torch import Tensor

    from windvane.cli.common.config import Config
    from windvane.cli.common.datasets import Parts
    from windvane.cli.common.stages import Stages
    from windvane.data import ImageData

_IDS, _REGIONS = "annotation.json", "regions.json"


def is_annotation(folder: Path) -> bool:
    """Whether a folder holds ids, boxes or masks."""
    return (folder / _IDS).is_file() or bool(_region_folders(folder))


def _region_folders(folder: Path) -> list[Path]:
    """Folders of boxes or masks: this one, and those directly under it."""
    if not folder.is_dir():
        return []
    return [path for path in (folder, *sorted(folder.iterdir())) if (path / _REGIONS).is_file()]


def config_of(folder: Path, data: str | None) -> "Config":
    """The settings an annotation was made with, of its own or of the run it lies in; the data may be another.

    Raises:
        ValueError: no settings there, and no data named.
    """
    for place in (folder, folder.parent):
        file = place / "config.yaml"
        if file.is_file():
            return make_config(base=checked_yaml(file), flags={"data.source": data})
    if data is None:
        raise ValueError(f"{folder} does not say which images it is about; name them with --data DATA")
    return make_config(flags={"data.source": data, "data.holdout": 0})


def report_folder(
    folder: Path,
    *,
    out: Path | None,
    data: str | None,
    truth: Path | None,
    samples: Path | None,
    device: str,
    progress: bool,
) -> Path:
    """Write the page of the annotation in ``folder``, by default beside it; returns the page's path.

    Raises:
        ValueError: a truth that nothing in the folder can be compared with.
    """
    if truth is not None and not _region_folders(folder):
        raise ValueError(f"--truth is a file of true boxes or masks, and {folder} has neither, only ids")
    config = config_of(folder, data)
    check_source(config.data, told_by=folder if data is None else None)
    with _held(folder, out):
        parts = open_parts(config.data, beside=folder, name_damaged=False)
        return write_report(
            folder,
            parts,
            config=config,
            out=out,
            truth=truth,
            samples=samples,
            device=device,
            progress=progress,
        )


@contextmanager
def _held(folder: Path, out: Path | None) -> Iterator[None]:
    """Hold the folder that a page goes to: the annotation's own, or one with nothing but pages."""
    if out is None or out.resolve() == folder.resolve():
        with replacement_lock(folder, what="the annotation"):
            yield
        return
    with claimed(out, PAGE):
        note_files(out, PAGE, PAGE.files)
        yield


def write_report(
    folder: Path,
    parts: "Parts",
    *,
    config: "Config",
    out: Path | None = None,
    truth: Path | None = None,
    samples: Path | None = None,
    brief: bool = False,
    device: str = "cpu",
    progress: bool = True,
) -> Path:
    """The same of images that are open already; ``brief`` shows what there is and computes nothing."""
    from windvane.annotate import load_annotation, load_regions
    from windvane.report import annotation_report
    from windvane.report.run_conditions import beside_boxes

    ids = load_annotation(folder, data=parts.train) if (folder / _IDS).is_file() else None
    regions: dict[str, Any] = {}
    for place in _region_folders(folder):
        found = load_regions(place, data=parts.train)
        regions[found.kind] = found
        if ids is None and found.ids is not None:
            ids = beside_boxes(found, place, parts.train)
    boxes, masks = regions.get("boxes"), regions.get("masks")
    true_boxes, true_masks = None, None
    if truth is not None:
        true_boxes, true_masks = _truth(truth, parts.train, boxes=boxes is not None, masks=masks is not None)
    made = None if samples is None else read_samples(samples, ids=ids is not None)
    known = _known(folder)
    return annotation_report(
        parts.train,
        out=folder if out is None else out,
        ids=ids,
        boxes=boxes,
        masks=masks,
        true_boxes=true_boxes,
        true_masks=true_masks,
        held_out=parts.held_out,
        samples=None if made is None else _in_channels(made[0], parts.train.shape[0]),
        sample_ids=None if made is None else made[1],
        choice=known.get("choice"),
        known=known,
        seeds=range(config.annotate.stability),
        brief=brief,
        title=folder.resolve().name,
        batch_size=config.annotate.batch_size,
        device=device,
        progress=progress,
    )


def show_page(
    config: "Config", out: Path, parts: "Parts", device: str, stages: "Stages", *, report: bool
) -> None:
    """Show what `windvane annotate` found: a page and a picture, always; and say what comes next."""
    from windvane.progress import progress_enabled
    from windvane.report.annotation import MONTAGE

    with stages("page"):
        page = write_report(
            out, parts, config=config, brief=not report, device=device, progress=progress_enabled()
        )
    tell(f"to look at: {page} and {page.parent / MONTAGE}")
    tell(f"annotation in {out}; next: windvane train {config.data.source} --annotation {out} --out RUN")


def _known(folder: Path) -> dict[str, Any]:
    """What `windvane annotate` or an earlier page found out; of clusters beside boxes as if they were alone.

    Distances of samples are those of one page.
    """
    file = folder / REPORT
    if not file.is_file():
        return {}
    found = read_sealed(file, remedy="delete it, the page is made without it")
    found.pop("audit", None)
    beside = found.get("clusters")
    if isinstance(beside, dict) and "balance" in beside:
        return {**found, **beside}
    return found


def _truth(
    file: Path, data: "ImageData", *, boxes: bool, masks: bool
) -> "tuple[list[Tensor] | None, Tensor | None]":
    """True boxes of every image and true masks of a COCO-style file, as far as they are asked for.

    Regions marked as crowds are no boxes, as in COCO's own evaluation; pixels without a mask are one class
    more.

    Raises:
        ValueError: nothing in the file lies in the images.
    """
    from windvane.annotate import boxes_from_coco, masks_from_coco

    true_boxes = None
    if boxes:
        found = boxes_from_coco(file, data=data, crowds=False)
        true_boxes = found.each() if len(found.boxes) else None
    true_masks = masks_from_coco(file, data=data, background="next").masks if masks else None
    if true_masks is not None and int(true_masks.min()) == int(true_masks.max()):
        true_masks = None  # one class everywhere, usually no mask at all: everything would agree
    if true_boxes is None and true_masks is None:
        kind = "box" if boxes else "mask"
        raise ValueError(
            f"{file} has no {kind} in the images of this annotation, so there is nothing to compare"
        )
    return true_boxes, true_masks


def _in_channels(pictures: "Tensor", channels: int) -> "Tensor":
    """One channel of three equal ones where the images have one; else the pictures as they are."""
    equal = channels == 1 and pictures.shape[1] == 3 and bool((pictures[:, 1:] == pictures[:, :1]).all())
    return pictures[:, :1] if equal else pictures


def read_samples(folder: Path, *, ids: bool = True) -> "tuple[Tensor, Tensor | None]":
    """The pictures of `windvane sample`, ``(m, C, H, W)`` in [-1, 1], and the ids they were asked for.

    Args:
        ids: the ids that were asked for, alone or beside boxes; False takes the pictures of any condition,
            and gives no ids.

    Raises:
        ValueError: no pictures that say what they were asked for, or pictures of different sizes.
    """
    import numpy as np
    import torch

    images, found = [], []
    for file in sorted(folder.glob("[0-9]*.png")):
        asked = read_settings(file).get("condition")
        number = asked.get("id") if isinstance(asked, dict) else asked
        if isinstance(number, int) if ids else asked is not None:
            images.append(read_pixels(file))
            found.append(number)
    if not images:
        what = "which cluster it was" if ids else "what it was"
        raise ValueError(f"no picture in {folder} says {what} asked for")
    if len({one.shape for one in images}) > 1:
        raise ValueError(f"the pictures in {folder} have different sizes")
    made = torch.from_numpy(from_uint8(np.stack(images)))
    return made, torch.tensor(found) if ids else None
