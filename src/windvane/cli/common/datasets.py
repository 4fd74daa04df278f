"""Opening the data of a section, and saying what was found."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windvane.cache_folder import cache_folder
from windvane.cli.common.config import EMBEDDED
from windvane.cli.common.errors import say
from windvane.cli.common.sections import DataSection, EvaluateSection

if TYPE_CHECKING:
    from windvane.data import ImageData, Scan
    from windvane.judges import Judge

_PREFIXES = ("hub:", "natural:")
_MOST_NAMED = 10
#: What errors of the library call an argument, and what it is here.
_FLAGS = {
    "give size=": "give --size N",
    "strict=True": "--strict",
    'labels="folders"': "--set data.labels=folders",
    'depth="stretch"': "--set data.depth=stretch",
    "max_pixels=": "data.max_pixels=",
    "image_column=": "--set data.image_column=NAME",
    "state layout= as": "state --set data.layout=NAME as",
    "value_range=(low, high)": "--set 'data.value_range=[LOW, HIGH]'",
}


@dataclass(frozen=True)
class Parts:
    """The images of a run: those it trains on, and those it does not (None if none are held out)."""

    train: "ImageData"
    held_out: "ImageData | None"


def check_source(section: DataSection, *, wanted: str = "data", told_by: Path | None = None) -> str:
    """The source, if one is given and, where it is a path, exists; costs nothing.

    `told_by` is the file that names it, where the user did not.
    """
    source = section.source
    if not source:
        raise ValueError(
            f"no {wanted} given: name a folder of images, a .parquet, .npy or .npz file, or digits"
        )
    named = source in EMBEDDED or source.startswith(_PREFIXES)
    if not named and not any(mark in source for mark in "*?[") and not Path(source).exists():
        if told_by is not None:
            raise ValueError(
                f"there is no {source!r}, where {told_by} says that the images are; if they were moved, say "
                "where to: --set data.source=PLACE"
            )
        raise ValueError(
            f"there is no {source!r}; give digits, a folder, a .parquet, .npy or .npz file, or hub:NAME"
        )
    return source


def open_images(section: DataSection, *, quiet: bool = False, name_damaged: bool = True) -> "ImageData":
    """All images of the section; files that cannot be read are named on standard error, or only counted."""
    from windvane.data import open_data

    source = check_source(section)
    spec = f"{source}:{section.split}" if section.split else source
    try:
        data = open_data(
            spec,
            size=section.size,
            channels=section.channels,
            cache=usable_cache("images") if section.cache else None,
            strict=section.strict,
            labels=section.labels,
            names=section.names,
            max_pixels=section.max_pixels,
            image_column=section.image_column,
            label_column=section.label_column,
            layout=section.layout,
            value_range=section.value_range,
            depth=section.depth,
            progress=not quiet,
        )
    except ValueError as error:
        raise ValueError(_in_flags(str(error))) from None
    if not quiet:
        report_scan(data.scan, named=name_damaged)
    if section.limit is not None and section.limit < len(data):
        data = data.split((section.limit / len(data),), section.seed)[0]
    if len(data.shape) != 3:
        raise ValueError(f"{source!r} holds vectors of shape {data.shape}; the command line works on images")
    if data.shape[0] not in (1, 3, 4):
        raise ValueError(
            f"{source!r} holds images of {data.shape[0]} channels; the command line draws 1 (grey), 3 "
            "(colour) or 4 (with alpha)"
        )
    return data


def _in_flags(text: str) -> str:
    """What the library says, which speaks of arguments, as a user of this room gives them."""
    for argument, flag in _FLAGS.items():
        text = text.replace(argument, flag)
    return text


def open_parts(
    section: DataSection, *, beside: Path | None = None, quiet: bool = False, name_damaged: bool = True
) -> Parts:
    """The images to train on and the ones held out, the same for the same section on every machine.

    Where no channels are asked for they follow the pictures, or what lies `beside` them: a run, a model or an
    annotation of three channels, made of grey pictures by earlier versions, goes on with three.
    """
    from windvane.cli.common.channels import made_of_others, noted_channels

    noted = noted_channels(beside) if beside is not None and section.channels is None else None
    if noted is not None:
        section = section.model_copy(update={"channels": noted})
    parts = _parts(section, quiet=quiet, name_damaged=name_damaged)
    grey = section.channels is None and parts.train.scan is not None and parts.train.shape[0] == 1
    if beside is not None and grey and made_of_others(beside, parts.train):
        return _parts(section.model_copy(update={"channels": 3}), quiet=True)
    if not quiet:
        _report_labels(section, parts.train)
    if grey and not quiet:
        say("all pictures are grey: one channel is kept (--set data.channels=3 makes three equal ones)")
    return parts


def _report_labels(section: DataSection, data: "ImageData") -> None:
    """Say what was taken as labels and from where, or why nothing was; nothing of what is embedded."""
    from windvane.data.folder_labels import folder_labels, why_no_classes
    from windvane.data.scan import printable

    source = str(section.source)
    if section.labels == "none" or source in EMBEDDED or source.startswith("natural:"):
        return
    if data.labels is not None:
        names = data.label_names
        count = int((data.labels.unique() >= 0).sum()) if names is None else len(names)
        shown = ", ".join(printable(name) for name in (names or [])[:5]) + (", ..." if count > 5 else "")
        named = (
            "numbers without names (--names FILE gives them)"
            if names is None
            else f"named by {data.names_from} ({shown})"
        )
        say(
            f"labels: {count} classes of {printable(source)}, {named}, for evaluation only; --set "
            "data.labels=none takes none"
        )
        return
    found = [] if data.scan is None else data.scan.readable
    # Rows of a parquet file may have paths for names, which are no folders here.
    here = data.scan is not None and bool(found) and (Path(data.scan.root) / found[0]).is_file()
    why = why_no_classes(found) if here else None
    if why and folder_labels(found)[0] is not None:
        say(
            f"no labels: the folders do not look like classes ({printable(why)}); "
            "--set data.labels=folders takes them"
        )


def _parts(section: DataSection, *, quiet: bool, name_damaged: bool = True) -> Parts:
    from windvane.data import train_and_held_out

    data = open_images(section, quiet=quiet, name_damaged=name_damaged)
    if section.holdout == 0:
        return Parts(data, None)
    try:
        return Parts(*train_and_held_out(data, section.holdout, section.seed))
    except ValueError:
        raise ValueError(
            f"of {len(data)} images a share of {section.holdout:g} cannot be held out; "
            "--set data.holdout=0 uses all of them"
        ) from None


def reference_images(
    section: DataSection, reference: str | None, parts: Parts | None, shape: Sequence[int]
) -> "ImageData":
    """What pictures of ``shape`` (C, H, W) are compared with: images by name, or those held out."""
    if reference is not None:
        size = shape[1] if shape[1] == shape[2] else None
        images = section.model_copy(
            update={
                "source": reference, "names": None, "size": size, "channels": shape[0], "limit": None
            }
        )  # fmt: skip
        return open_images(images)
    assert parts is not None
    if parts.held_out is not None:
        return parts.held_out
    say("no images were held out from training: the reference is the training set itself, which flatters")
    return parts.train


def eyes(parts: Parts | None, reference: "ImageData", section: EvaluateSection) -> "tuple[Judge | None, Any]":
    """A judge where labels make one, and the feature space that pictures are measured in."""
    from windvane.judges import judge_and_features

    train, held_out = (parts.train, parts.held_out) if parts else (None, None)
    return judge_and_features(
        train,
        held_out,
        reference,
        features=section.features,
        seed=section.seed,
        cache=usable_cache("judges"),
        tell=say,
    )


def report_scan(scan: "Scan | None", *, named: bool = True) -> None:
    """Name or count what could not be read; say nothing when all is well."""
    if scan is not None and scan.exact_duplicates:
        files = sum(len(group) for group in scan.exact_duplicates)
        say(
            f"{files} files are duplicates, in {len(scan.exact_duplicates)} groups; a group is never on both "
            "sides of what is held out"
        )
    if scan is not None and scan.ignored:
        kinds = ", ".join(f"{n} x {kind}" for kind, n in list(scan.ignored.items())[:6])
        say(f"{sum(scan.ignored.values())} other files are ignored: {kinds}")
    if scan is None or not scan.unreadable:
        return
    from windvane.data.scan import printable

    total = len(scan.readable) + len(scan.unreadable)
    say(f"{len(scan.unreadable)} of {total} images cannot be read and are left out{':' if named else ''}")
    if not named:
        return
    for name, reason in scan.unreadable[:_MOST_NAMED]:
        say(f"- {printable(name)}: {_in_flags(reason)}")
    if len(scan.unreadable) > _MOST_NAMED:
        say(f"- and {len(scan.unreadable) - _MOST_NAMED} more; scan.json in the output folder has them all")


def usable_cache(name: str) -> Path | None:
    """The cache folder for `name`, or None where it cannot be written: a cache is never a reason to stop."""
    folder = cache_folder() / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".probe"
        probe.touch()
        probe.unlink(missing_ok=True)
    except OSError:
        return None
    return folder
