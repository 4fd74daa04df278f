"""What the commands leave in their folders, and may one be written to? Asked before any work is done."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from windvane.cli.common.config import EMBEDDED
from windvane.folders import OutputKind
from windvane.locks import replacement_lock

_SEEDS = "[0-9]" * 8 + "*.png"
_PAGE = (b"<footer>Made by windvane ",)
_PLOT = (b"pHYs\x00\x00\x13\xfe\x00\x00\x13\xfe\x01",)  # 130 dots an inch, which photographs do not have
_ARRAYS = {"samples.npz": (b"images.npy", b"seeds.npy")}

SAMPLES = OutputKind(
    "folder of samples",
    "a folder of samples",
    (_SEEDS, "grid.png", "samples.json", "samples.npz"),
    {"samples.json": ("settings", "made", "pictures")},
    _ARRAYS,
)
STEERED = OutputKind(
    "folder of steered samples",
    "a folder of steered samples",
    (*SAMPLES.files, "before_after.png", "sweep.png", "report.json", "report.html", "evaluation.json"),
    {"report.json": ("settings", "strengths"), "evaluation.json": ("strengths",)},
    {**_ARRAYS, "report.html": _PAGE},
)
SEARCH = OutputKind(
    "search",
    "a search",
    ("best.png", "search.json", "state.safetensors", "samples.png", "samples/[0-9][0-9][0-9][0-9]*.png")
    + ("tree/*",),
    {"search.json": ("settings", "scores")},
    {
        "state.safetensors": (b'"about"', b"rounds"),
        "tree/tree.npz": (b"about.npy", b"sums.npy"),
        "tree/states-" + "[0-9a-f]" * 16 + ".bin": (),  # bare numbers
    },
)
SOLVERS = OutputKind(
    "comparison of solvers",
    "a comparison of solvers",
    ("solvers.csv", "solvers.json", "solvers.png"),
    {"solvers.json": ("settings", "reference", "points")},
    {"solvers.csv": (b"solver,budget,calls",), "solvers.png": _PLOT},
)
STITCHED = OutputKind(
    "comparison of stitched models",
    "a comparison of stitched models",
    ("stitch.csv", "stitch.json", "stitch.png"),
    {"stitch.json": ("settings", "points", "alone")},
    {"stitch.csv": (b"fractions,steps,calls",), "stitch.png": _PLOT},
)
DEMO = OutputKind(
    "demo",
    "a demo",
    ("demo.png", "results.json", "table.txt", "report.html"),
    {"results.json": ("seed", "budget", "rows"), "annotation/annotation.json": ("format", "n")},
    {"table.txt": (b"condition", b"real training images"), "report.html": _PAGE},
)
PAGE = OutputKind(
    "page of an annotation", "a page of an annotation", ("report.html", "report.json", "montage.png"), {}
)

_NAMED = ("hub:", "natural:")
_GLOB = "*?["


@contextmanager
def claimed_annotation(out: Path, source: str | None) -> Iterator[None]:
    """Check and hold the folder of an annotation, before its first byte and until the block ends.

    Raises:
        ValueError: what `check_annotation_folder` refuses; another writer holds it.
    """
    check_annotation_folder(out, source)
    with replacement_lock(out, what="the annotation"):
        check_annotation_folder(out, source)  # once more: another may have written before it let go
        yield


def check_annotation_folder(out: Path, source: str | None) -> None:
    """Refuse a folder that an annotation must not take the place of.

    Raises:
        ValueError: the data or a folder above them, the annotation of a run, a file, the folder one is in, or
            a folder with anything else than an annotation in it.
    """
    from windvane.annotate.folder_kinds import ANNOTATION

    out = out.resolve()
    data = _place(source)
    if data is not None and data.is_relative_to(out):
        where = "the data" if data == out else f"above the data, {data}"
        raise ValueError(f"--out is replaced as a whole, and {out} is {where}; name another folder")
    if out.name == "annotations" and is_run(out.parent):
        raise ValueError(
            f"{out} is what the run {out.parent} was trained on, and is not replaced; name another --out"
        )
    ANNOTATION.check(out)


def is_run(folder: Path) -> bool:
    """Whether a training has begun in a folder."""
    return any((folder / name).exists() for name in ("model", "metrics.jsonl", "state/LATEST"))


def check_run_parts(out: Path) -> None:
    """Refuse a folder for a run in which something else lies where the model or the annotation goes."""
    if not any((out / name).exists() for name in ("model", "annotations")):
        return  # the usual case, in which a mistake in the settings is to be found before torch is imported
    from windvane.annotate.folder_kinds import ANNOTATION
    from windvane.checkpoint import MODEL

    for name, kind in (("model", MODEL), ("annotations", ANNOTATION)):
        kind.check(out / name)


def _place(source: str | None) -> Path | None:
    """Where data lie on this disk; of a pattern, the folder that all of its files are under."""
    if not source or source in EMBEDDED or source.startswith(_NAMED):
        return None
    parts = Path(source).parts
    fixed = next((i for i, part in enumerate(parts) if any(mark in part for mark in _GLOB)), len(parts))
    if Path(source).exists():
        fixed = len(parts)
    return Path(*parts[:fixed]).resolve()
