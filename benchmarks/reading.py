"""What reading a folder of PNGs costs beside a plain Pillow loop: one worker, processor time, pairs in turn.

The loop opens each file, converts it to RGB, cuts the middle square, scales it and copies the numbers into
one array. ``windvane.data.from_folder`` does that, too, and hashes every file and row, looks at transparency,
depth and rotation, compares miniatures for duplicates and keeps one channel of grey pictures.

Run ``python benchmarks/reading.py``.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from paired import Call, heads, paired
from PIL import Image, ImageOps

from windvane.data import from_folder

sys.path.append(str(Path(__file__).parent.parent / "reproductions"))
from results import markdown, publish  # noqa: E402

COUNT = 600


def write(folder: Path, side: int) -> list[Path]:
    """Smooth pictures with some noise, which compress about as photographs do."""
    numbers = torch.Generator().manual_seed(0)
    smooth = F.interpolate(torch.randn(COUNT, 3, 8, 8, generator=numbers), size=(side, side), mode="bilinear")
    pictures = 128 + 50 * smooth + 6 * torch.randn(COUNT, 3, side, side, generator=numbers)
    paths = []
    for number, picture in enumerate(pictures.clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()):
        paths.append(folder / f"{number:04}.png")
        Image.fromarray(picture).save(paths[-1])
    return paths


def plain(paths: list[Path], size: int) -> Call:
    def run() -> np.ndarray:
        rows = np.empty((len(paths), size, size, 3), np.uint8)
        for number, path in enumerate(paths):
            with Image.open(path) as image:
                rows[number] = ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.LANCZOS)
        return rows

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 96, 128, 256])
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--no-record", action="store_true", help="print only, leave RESULTS.md as it is")
    args = parser.parse_args()
    lines = []
    for side in args.sides:
        with tempfile.TemporaryDirectory() as name:
            paths = write(Path(name), side)

            def ours(name: str = name) -> object:
                return from_folder(name, args.size, workers=1, progress=False)

            label = f"{side} x {side} to {args.size} x {args.size}"
            pair = paired(label, ours, plain(paths, args.size), args.rounds, bar=1.3, per=COUNT)
        lines.append(pair.row())
        print(*lines[-1], flush=True)
    body = markdown(heads("windvane, ms a file", "Pillow, ms"), lines)
    body += f"\n\n{COUNT} PNGs, one worker; processor time, medians of {args.rounds} rounds of pairs in turn."
    publish("What reading PNGs costs", body, keep=not args.no_record)


if __name__ == "__main__":
    main()
