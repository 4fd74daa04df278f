"""`windvane steer` on the demonstration's model, by SDG's protocol (arXiv 2112.05744, section 4).

The command itself is run, as anybody would: guided by 50 texts, by 50 held-out pictures (what is in them;
the same with its layout; their style), and by texts together with styles, six samples each, at several
strengths. How often a sample finds its own guidance again, how varied samples of one guidance are, and the
Fréchet distance to all held-out digits, by judges that did not guide; the unguided row is what chance gives.

    windvane demo --out demo
    python reproductions/steer_command.py demo/runs/none               # two CPU cores, some minutes a seed
"""

import argparse
import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from digit_models import over
from kept import Kept
from results import markdown, record

#: What is asked for -> the flags of the command.
CASES = {
    "texts": ["--evaluate", "text", "--sweep", "0,0.5,1,2"],
    "pictures": ["--evaluate", "like", "--sweep", "0,0.5,1,2"],
    "pictures, preset sdg": ["--evaluate", "like", "--preset", "sdg", "--sweep", "0,0.5,1,2"],
    "pictures with their layout": ["--evaluate", "content", "--sweep", "0,0.5,1"],
    "styles": ["--evaluate", "style", "--sweep", "0,0.5,1"],
    "texts and styles": ["--evaluate", "text+style", "--weights", "text=1,style=0.5", "--sweep", "0,1"],
    "texts and more styles": ["--evaluate", "text+style", "--weights", "text=0.5,style=1", "--sweep", "0,1"],
}
ENDS = {"diversity": 2, "frechet": 2}


def measured(run: Path, flags: list[str], seed: int) -> list[dict[str, float]]:
    """One call of the command: the figures of every strength."""
    with tempfile.TemporaryDirectory() as folder:
        asked = [sys.executable, "-m", "windvane", "steer", str(run), *flags]
        subprocess.run([*asked, "--seed", str(seed), "--out", folder], check=True)
        return json.loads((Path(folder) / "evaluation.json").read_text())["strengths"]


def rows_of(name: str, each: list[list[dict[str, float]]]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of a case, mean and interval over seeds."""
    quantities = [key for key in each[0][0] if key not in ("strength", "samples")]
    rows = []
    for k, first in enumerate(each[0]):
        strength = f"{first['strength']:g}" if first["strength"] else "unguided"
        rows.append([strength, *(over([run[k][q] for run in each], ENDS.get(q, 3)) for q in quantities)])
    return ["strength", *quantities], rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="the demonstration's run without a condition")
    parser.add_argument("--seeds", type=int, nargs="+", default=[500, 1500, 2500])
    parser.add_argument("--keep", type=Path, help="JSON file of figures; what is in it is not run again")
    args = parser.parse_args()
    kept = Kept(args.keep)
    parts = []
    for name, flags in CASES.items():
        each = []
        for seed in args.seeds:
            each.append(kept(f"{name}, {seed}", partial(measured, args.run, flags, seed)))
            print(name, seed, each[-1], flush=True)
        heads, rows = rows_of(name, each)
        told = " ".join(flags)
        parts.append(f"Guided by {name} (`{told}`):\n\n{markdown(heads, rows)}")
    samples = each[0][0]["samples"]
    parts.append(
        f"{samples:.0f} samples at every strength; mean and 95 % interval over seeds {args.seeds} of "
        f"samples, guides and judges."
    )
    body = "\n\n".join(parts)
    print(body)
    record("windvane steer: semantic guidance of the demonstration's model", body)


if __name__ == "__main__":
    main()
