"""What commands cost before they work, beside the import that they cannot do without.

- nothing is opened (papers, settings) or no network is (doctor, annotate by principal components, report of
  an annotation): beside ``import torch``;
- a small network of the library's own (train, sample, report): beside ``import torch``;
- a network of diffusers (sample): beside the import of its class alone, with peft hidden from diffusers.

Every round runs all of them one after the other, each in a fresh process, on digits and with networks so
small that the work itself is next to nothing; times are processor time of the process and its children.
Run ``python benchmarks/start.py``.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "reproductions"))
from results import markdown, publish  # noqa: E402

TORCH = "import torch"
CLASS = """
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name.startswith("peft") else found(name, *rest)
from diffusers import UNet2DModel
"""
MLP = ("--set", "model.type=mlp", "--set", "model.width=16")
UNET = ("--set", "model.type=unet", "--set", "model.channels=[8,8]", "--set", "model.layers=1")
FEW = ("--batch-size", "8", "--set", "data.holdout=0.5")
DRAWN = ("--n", "1", "--steps", "2", "--out", "new")


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "windvane", "--quiet", *words]


#: Name, what is run, beside what, and the ratio that is asked for.
ROWS = [
    ("papers", command("papers"), "torch", 1.2),
    ("settings", command("settings"), "torch", 1.2),
    ("doctor", command("doctor"), "torch", 1.2),
    (
        "annotate, pca",
        command("annotate", "digits", "--features", "pca:8", "--k", "10", "--out", "new"),
        "torch",
        1.2,
    ),
    ("report of an annotation", command("report", "labels"), "torch", 1.2),
    ("report of an MLP", command("report", "mlp", "--out", "new/page.html"), "torch", 1.5),
    ("train an MLP", command("train", "digits", *MLP, *FEW, "--steps", "2", "--out", "new"), "torch", 1.5),
    ("sample from an MLP", command("sample", "mlp", *DRAWN), "torch", 1.5),
    ("sample from a U-Net", command("sample", "unet", *DRAWN), "class", 1.15),
]


def processor_time(words: list[str], folder: Path) -> float:
    """Seconds of a process and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    shutil.rmtree(folder / "new", ignore_errors=True)
    (folder / "new").mkdir()
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: {done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def prepared(folder: Path) -> None:
    """An annotation and two runs to look at."""
    annotate = command("annotate", "digits", "--features", "pca:8", "--k", "10", "--out", "labels")
    for words in (
        annotate,
        command("train", "digits", *MLP, *FEW, "--steps", "2", "--out", "mlp"),
        command("train", "digits", *UNET, *FEW, "--steps", "2", "--out", "unet"),
    ):
        processor_time(words, folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--no-record", action="store_true", help="print only, leave RESULTS.md as it is")
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    beside = {"torch": [sys.executable, "-c", TORCH], "class": [sys.executable, "-c", CLASS]}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        # Compiled sources are kept, as in an installation.
        os.environ |= {
            "WINDVANE_CACHE": str(folder / "cache"),
            "PYTHONPYCACHEPREFIX": str(folder / "compiled"),
        }
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        prepared(folder)
        everything = {**beside, **{name: words for name, words, _, _ in ROWS}}
        for words in everything.values():
            processor_time(words, folder)
        spent: dict[str, list[float]] = {name: [] for name in everything}
        for _ in range(args.rounds):
            for name, words in everything.items():
                spent[name].append(processor_time(words, folder))
    lines = []
    for name, _, other, most in ROWS:
        ratio = statistics.median(a / b for a, b in zip(spent[name], spent[other]))
        lines.append([name, f"{statistics.median(spent[name]):.2f}", other, f"{ratio:.2f}", f"{most:g}"])
    body = markdown(["command", "seconds", "beside", "ratio", "at most"], lines)
    alone = {name: f"{statistics.median(spent[name]):.2f} s" for name in beside}
    body += f"\n\nProcessor time, medians of {args.rounds} rounds; `import torch` {alone['torch']}, "
    body += f"the class alone {alone['class']}."
    publish("What commands cost before they work", body, keep=not args.no_record)


if __name__ == "__main__":
    main()
