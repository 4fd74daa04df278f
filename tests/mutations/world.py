"""A small world of everything that Windvane writes, the commands that read it, and what they make of it."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from typer.testing import CliRunner

from windvane.cli import app
from windvane.data import digits
from windvane.pictures import read_pixels, read_settings, save_png, to_picture

MLP = ["--set", "model.type=mlp", "--set", "model.width=16", "--set", "model.depth=1"]
MODEL = [*MLP, "--set", "sample.steps=4", "--set", "sample.n=2", "--batch-size", "8"]
DIT = ["--set", "model.type=dit", "--set", "model.heads=2", "--set", "model.patch=4"]
OFTEN = ["--set", "train.checkpoint_every=3", "--set", "train.log_every=2", "--set", "train.sample_every=3"]
KID = ["--metric", "kid", "--features", "pca:4", "--set", "evaluate.bootstrap=20"]
PCA = ["--k", "3", "--features", "pca:4"]
BRIGHT = ["--reward", "brightness"]

MAKING = [
    ["annotate", "data", "--out", "annotation", *PCA],
    ["annotate", "data", "--out", "boxes", "--boxes", "--coco", "boxes.json", *PCA],
    ["train", "--annotation", "annotation", "--out", "run", "--steps", "6", *MODEL, *OFTEN],
    ["train", "--annotation", "boxes", "--out", "run-boxes", "--steps", "2", *MODEL, *DIT],
    ["sample", "run", "--out", "samples", "--n", "5", "--npz"],
    ["evaluate", "samples", *KID],
    ["search", "run", "--out", "random", *BRIGHT, "--method", "random", "--budget", "24"],
    ["search", "run", "--out", "tree", *BRIGHT, "--method", "dts", "--budget", "60", "--n", "2"],
    ["search", "run", "--out", "fk", *BRIGHT, "--method", "fk", "--budget", "64", "--n", "2", "--with",
     "particles=8"],
]  # fmt: skip

#: Which commands read what: the first part of a file's path, and the commands that may trip over it.
READING = {
    "run": [
        ["sample", "run", "--out", "new", "--n", "2"],
        ["train", "--out", "run", "--resume", "--steps", "8"],
        ["report", "run", "--no-samples", "--out", "page.html"],
        ["evaluate", "samples", *KID],
        ["sample", "--again", "samples/00000001.png", "--out", "new"],
        ["sample", "run", "--out", "new", "--n", "1", "--like", "data/3/003.png"],
    ],
    "run-boxes": [
        ["sample", "run-boxes", "--out", "new", "--n", "1", "--boxes", "drawn.json"],
        ["train", "--out", "run-boxes", "--resume", "--steps", "3"],
    ],
    "annotation": [
        ["train", "--annotation", "annotation", "--out", "new", "--steps", "1", *MODEL],
        ["report", "annotation", "--out", "new"],
        ["sample", "--again", "annotation/montage.png", "--out", "new"],
    ],
    "boxes": [
        ["train", "--annotation", "boxes", "--out", "new", "--steps", "1", *MODEL, *DIT],
        ["report", "boxes", "--out", "new"],
    ],
    "samples": [
        ["evaluate", "samples", *KID],
        ["sample", "run", "--out", "samples", "--n", "6", "--npz"],
        ["sample", "--again", "samples/00000001.png", "--out", "new"],
        ["sample", "--again", "samples/grid.png", "--out", "new"],
    ],
    "random": [
        ["search", "run", "--out", "random", *BRIGHT, "--method", "random", "--budget", "40", "--resume"]
    ],
    "tree": [
        ["search", "run", "--out", "tree", *BRIGHT, "--method", "dts", "--budget", "90", "--n", "2",
         "--resume"]
    ],
    "fk": [
        ["search", "run", "--out", "fk", *BRIGHT, "--method", "fk", "--budget", "128", "--n", "2", "--with",
         "particles=8", "--resume"]
    ],
    "cache": [
        ["annotate", "data", "--out", "new", *PCA],
        ["evaluate", "samples", *KID],
        ["train", "data", "--out", "new", "--steps", "1", *MODEL],
    ],
}  # fmt: skip
#: Speeds, times and random names, which are never twice the same.
_VOLATILE = {"images_per_second", "seconds", "evaluations", "machine", "batch", "version", "model"}
_NUMBERS = re.compile(r"\d+(\.\d+)? (s|min|images a second)\b")


@dataclass(frozen=True)
class Outcome:
    """What a command did: its exit code, what it said, and the content of the files that it wrote."""

    code: int
    out: str
    said: str
    files: dict[str, object]
    error: BaseException | None = None


class World:
    """A folder with all that the commands of `MAKING` leave, which can be put back as it was.

    Args:
        place: an empty folder.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.environment = {"WINDVANE_CACHE": str(place / "cache"), "WINDVANE_PROGRESS": "0"}
        _write_data(place)
        for words in MAKING:
            made = self.run(words)
            assert made.code == 0, f"{' '.join(words)}: {made.out}{made.said}"
        self.pristine = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in self.files()}
        self.contents = {self.name(path): content_of(path) for path in self.pristine}
        self.expected = {}

    def files(self) -> list[Path]:
        """Every file there is, in order; names that are random do not change the order of the others."""
        return sorted(path for path in self.place.rglob("*") if path.is_file())

    def targets(self) -> list[Path]:
        """The files that may be damaged: all that Windvane wrote, but for locks and pages."""
        found = [path for path in self.files() if self.part(path) in READING]
        return [path for path in found if path.suffix != ".html" and not path.name.startswith(".")]

    def part(self, path: Path) -> str:
        """The first part of a path: which commands read it."""
        return path.relative_to(self.place).parts[0]

    def restore(self) -> None:
        """Everything as it was when it had been made."""
        for path in self.files():
            if path not in self.pristine:
                path.unlink()
        for path, (content, modified) in self.pristine.items():
            if not path.is_file() or path.stat().st_mtime_ns != modified:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
                os.utime(path, ns=(modified, modified))
        kept = {parent for path in self.pristine for parent in path.parents}
        for folder in sorted(self.place.rglob("*")):
            if folder.is_dir() and folder not in kept:
                shutil.rmtree(folder)

    def baseline(self, words: list[str]) -> Outcome:
        """What a command does when nothing is damaged."""
        key = tuple(words)
        if key not in self.expected:
            self.restore()
            self.expected[key] = self.run(words)
            self.restore()
        return self.expected[key]

    def run(self, words: list[str], *, fresh: bool = False) -> Outcome:
        """Call a command here, in this process or in a fresh one."""
        before = {path: path.stat().st_mtime_ns for path in self.files()}
        with chdir(self.place), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            code, out, said, error = _in_fresh(words, self.environment) if fresh else self._called(words)
        said += "".join(f"{warning.message}\n" for warning in caught)
        written = [path for path in self.files() if before.get(path) != path.stat().st_mtime_ns]
        named = {self.name(path): content_of(path) for path in written}
        return Outcome(code, _NUMBERS.sub("# \\2", out), said, named, error)

    def _called(self, words):
        result = CliRunner().invoke(app, words, env=self.environment)
        error = None if isinstance(result.exception, SystemExit) else result.exception
        return result.exit_code, result.stdout, result.stderr, error

    def difference(self, found: Outcome, words: list[str]) -> list[str]:
        """The files whose content is not what the undamaged command leaves, and "stdout"."""
        usual = self.baseline(words)
        expected = {**self.contents, **usual.files}
        names = sorted({*found.files, *usual.files})
        different = [
            name for name in names if found.files.get(name, expected.get(name)) != expected.get(name)
        ]
        missing = [name for name in usual.files if name not in found.files and not name.startswith("cache/")]
        said = [] if found.out == usual.out else ["stdout"]
        return different + [f"{name} (not written)" for name in missing] + said

    def name(self, path: Path) -> str:
        """A file by its path in the world."""
        return path.relative_to(self.place).as_posix()


def _in_fresh(words, environment):
    done = subprocess.run(
        [sys.executable, "-m", "windvane", *words],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )
    return done.returncode, done.stdout, done.stderr, None


def _write_data(place: Path) -> None:
    """A folder of digits, and boxes on them as a file."""
    images, boxes = digits(), []
    for row in range(48):
        label = int(images.labels[row])
        (place / "data" / str(label)).mkdir(parents=True, exist_ok=True)
        save_png(to_picture(images.batch([row])[0]), place / "data" / str(label) / f"{row:03d}.png")
        boxes.append({"id": row + 1, "image_id": row, "category_id": 1, "bbox": [1, 1, 4, 5], "area": 20})
    names = [f"{int(images.labels[row])}/{row:03d}.png" for row in range(48)]
    told = {
        "images": [{"id": i, "file_name": n, "height": 8, "width": 8} for i, n in enumerate(names)],
        "annotations": boxes,
        "categories": [{"id": 1, "name": "digit"}],
    }
    (place / "boxes.json").write_text(json.dumps(told))
    alone = {**told, "images": told["images"][:1], "annotations": boxes[:1]}
    (place / "drawn.json").write_text(json.dumps(alone))


def content_of(path: Path) -> object:
    """What a file says, without times and random names; equal for two runs of the same command."""
    try:
        return _content_of(path)
    except Exception:  # damaged: compared by its bytes
        return hashlib.sha256(path.read_bytes()).hexdigest()


def _content_of(path: Path) -> object:
    if path.suffix == ".png":
        settings = read_settings(path) if "data" not in path.parts else {}
        return (read_pixels(path).tobytes(), _steady(settings))
    if path.suffix == ".json":
        return _steady(json.loads(path.read_text()))
    if path.suffix == ".jsonl":
        return [_steady(json.loads(line)) for line in path.read_text().splitlines()]
    if path.suffix == ".pt":
        return _hashed(torch.load(path, weights_only=True))
    if path.suffix == ".npz" and path.name == "samples.npz":
        with np.load(path) as found:
            return {name: found[name].tobytes() for name in found.files}
    if path.suffix in (".html", ".csv", ".bin", ".npz") or path.name in (".lock", ".owner"):
        return ""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _hashed(value):
    if isinstance(value, torch.Tensor):
        return hashlib.sha256(
            value.detach().contiguous().flatten().view(torch.uint8).numpy().data
        ).hexdigest()
    if isinstance(value, dict):
        return {key: _hashed(inner) for key, inner in value.items()}
    return [_hashed(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _steady(value):
    if isinstance(value, dict):
        return {key: _steady(inner) for key, inner in value.items() if key not in _VOLATILE}
    return [_steady(inner) for inner in value] if isinstance(value, list) else value
