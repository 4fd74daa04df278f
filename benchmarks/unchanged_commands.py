"""What the commands leave and say, on a few digits: every file, message and picture, as `unchanged.py` looks.

Each case is a file or the output of a command. Pictures count by their pixels and by the settings inside
them, arrays by their values, all else by its text, with the folder it was made in and times of the clock
taken out.
"""

import contextlib
import io
import json
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

NETWORK = "--set model.type=mlp --set model.width=16 --set data.limit=200 --set data.holdout=0.3"
SHORT = f"--steps 5 --batch-size 8 {NETWORK} --set train.sample_every=5 --set sample.steps=4"
COMMANDS = (
    "annotate digits --out ids --k 4 --features pca:4 --set data.limit=200",
    "annotate digits --out boxes --masks 3 --dense patches:2 --set data.limit=120",
    "annotate digits --out boxed --boxes --dense patches:2 --features pca:4 --k 3"
    " --set data.limit=120 --set annotate.stability=0",
    f"train digits --out run --annotate 4 --features pca:4 {SHORT}",
    f"train digits --out weak --annotate 4 --features pca:4 {SHORT} --seed 1",
    f"train digits --out plain {SHORT}",
    f"train digits --out taught --labels {SHORT}",
    "train --out layout --annotation boxed --steps 5 --batch-size 8 --set model.type=unet"
    " --set model.channels=[8,8] --set model.layers=1 --set train.sample_every=5 --set sample.steps=4",
    f"train digits --out plain --resume --steps 8 {NETWORK}",
    f"train digits --out plain {SHORT}",
    "sample run --out samples --n 6 --steps 4 --weight 2 --batch-size 4 --npz",
    "sample run --out samples --n 7 --steps 4 --weight 2 --batch-size 4",
    "sample run --out samples --n 7 --steps 5",
    "sample run --out guided --n 3 --steps 4 --weight 2 --guidance autoguidance:weak=weak --interval 0.3,inf",
    "sample layout --out drawn --n 3 --steps 4 --sampler dpm++2m",
    "sample layout --out placed --n 3 --steps 4 --boxes boxes.json --cluster 1",
    "sample run --out liked --n 2 --steps 4 --like samples/00000000.png",
    "sample plain --out free --n 2 --steps 4 --sampler ddpm --weight 2",
    "sample plain --out free --n 2 --steps 4 --sampler ddpm",
    "sample --again samples/00000001.png --out again",
    "sample --again samples/grid.png --out again",
    "sample --again guided/00000002.png --out again",
    "sample --again placed/00000002.png --out again",
    "sample --again run/samples/step-00000005.png --out again",
    "sample --again ids/montage.png --out again",
    "steer run --out steered --measure superres=2:samples/00000000.png --n 4 --steps 4"
    " --sweep 0,1,2 --cluster 2",
    "steer run --out colours --measure nothing:samples/00000000.png --n 4 --steps 4",
    "steer run --out tall --n 2 --steps 4 --preset dps --measure superres=2:samples/00000000.png",
    "sample --again steered/00000001.png --out again",
    "sample --again steered/before_after.png --out again",
    "sample --again steered/sweep.png --out again",
    "search run --out found --reward brightness --budget 64 --steps 4 --n 2",
    "search run --out found --reward brightness --budget 96 --steps 4 --n 2 --resume",
    "search run --out found --reward darkness --budget 96 --steps 4 --n 2 --resume",
    "search run --out noise --reward darkness --reward like:samples/00000000.png --method zero-order"
    " --with neighbours=2 --budget 64 --steps 4",
    "search run --out tree --reward contrast --method dts --budget 80 --steps 4 --n 3",
    "search run --out particles --reward contrast --method fk --with particles=4 --budget 64 --steps 4 --n 3",
    "sample --again found/best.png --out again",
    "sample --again tree/samples/0001.png --out again",
    "compare-solvers run --out solvers --solvers ddim,heun,unipc2 --calls 4,6 --reference-steps 20 --n 4",
    "stitch weak run --out stitched --n 20 --steps 4 --parts 2 --features pca:4 --budget 1",
    "evaluate run --n 20 --features pca:4 --set sample.steps=4",
    "evaluate samples --features pca:4 --out numbers.json --metric kid --metric diversity",
    "report run --no-samples --out run/state/report.html",
    "report ids --out page",
    "evaluate run --n 2 --features pca:4",
    "settings sample",
    "settings --preset cifar",
    "papers",
    "sample",
    "train digits --out x --annotate 3 --labels",
    "train digits --out x --set train.lr=1",
    "search run --out x --reward brightness",
    "steer run --out x",
    "stitch run --out x",
    "compare-solvers run --calls a",
    "report samples",
    *(
        f"{name} --help"
        for name in (
            *("demo", "annotate", "train", "sample", "steer", "search", "compare-solvers", "stitch"),
            *("evaluate", "report", "settings", "papers", "doctor"),
        )
    ),
    "--help",
)
#: What is measured by a clock, wherever it is told.
_CLOCK = (
    (r'("?(?:seconds|steps_per_second|images_per_second|began|time)"?: )[-+.e\d]+', r"\1T"),
    (r"\b\d+(\.\d+)? (s|min|h)\b( \d+ (s|min))?", "T"),
)
_LEFT_OUT = ("state", "tree.npz", "cache", "metrics.csv", "metrics.jsonl", "status.json")


def command_cases() -> Iterator[tuple[str, Callable[[], Any]]]:
    """Every command in turn, in one folder: what it says, then each file that it wrote or changed."""
    os.environ["WINDVANE_PROGRESS"] = "0"
    before = Path.cwd(), os.environ.get("WINDVANE_CACHE")
    root = str(Path(tempfile.gettempdir()).resolve() / "windvane-unchanged-commands")
    shutil.rmtree(root, ignore_errors=True)  # always the same, since its name stands in what is hashed
    os.makedirs(root)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, root)
        os.chdir(root)
        os.environ["WINDVANE_CACHE"] = str(Path(root) / "cache")
        Path("boxes.json").write_text("[[1, 1, 5, 6]]")
        known: dict[str, Any] = {}
        try:
            for number, command in enumerate(COMMANDS):
                name = f"{number:02d} {command}"
                said = _said(command, root)
                yield name, partial(_same, said)
                for path in sorted(Path().rglob("*")):
                    if not path.is_file() or any(
                        part in _LEFT_OUT or part.startswith("states-") for part in path.parts
                    ):
                        continue
                    stamp = path.stat().st_mtime_ns, path.stat().st_size
                    if known.get(str(path)) != stamp:
                        known[str(path)] = stamp
                        yield f"{name} > {path}", partial(_same, _content(path, root))
        finally:
            os.chdir(before[0])
            os.environ.pop("WINDVANE_CACHE")
            if before[1] is not None:
                os.environ["WINDVANE_CACHE"] = before[1]


def _same(value: Any) -> Any:
    return value


def _said(command: str, root: str) -> list[Any]:
    from windvane.cli import app

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = app(shlex.split(command), standalone_mode=False)
    return [code, *(_plain(text.getvalue(), root) for text in (out, err))]


def _plain(text: str, root: str) -> str:
    text = text.replace(str(Path(root).resolve()), "ROOT").replace(root, "ROOT")
    for pattern, instead in _CLOCK:
        text = re.sub(pattern, instead, text)
    return text


def _content(path: Path, root: str) -> Any:
    if path.suffix == ".png":
        with Image.open(path) as opened:
            pixels = np.asarray(opened).tobytes()
            return [opened.size, opened.mode, pixels, [_plain(str(one), root) for one in opened.info.items()]]
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return {name: [arrays[name].dtype.str, arrays[name].tolist()] for name in arrays}
    if path.name == "solvers.csv":  # its last column is time
        return [line.rpartition(",")[0] for line in path.read_text().splitlines()]
    data = path.read_bytes()
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return data
    with contextlib.suppress(ValueError):  # the seal is over the times, too
        tree = json.loads(text)
        if isinstance(tree, dict):
            text = json.dumps({key: value for key, value in tree.items() if key != "sha256"}, indent=1)
    return [line for line in _plain(text, root).splitlines() if not line.startswith("# sha256")]


if __name__ == "__main__":
    for case, content in command_cases():
        if " > " not in case:
            print(case, *content(), sep="\n", file=sys.stdout)
