"""Whether samples, trainings and fits are what they were, bit for bit: hashes recorded, and compared later.

    python benchmarks/unchanged.py before.json                # before a change: records
    python benchmarks/unchanged.py before.json --compare      # after it, on the same machine: compares
    python benchmarks/unchanged.py before.json --compare --part trainings
    python benchmarks/unchanged.py commands.json --commands   # the command line, see unchanged_commands.py

For changes that shall move code and no number. What is refused is recorded by its message. Hashes belong to
one machine and one torch; the file says which.
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from unchanged_commands import command_cases
from unchanged_processes import process_cases
from unchanged_samples import sample_cases
from unchanged_trainings import fit_cases, training_cases

COMMANDS = "commands"
Case = tuple[str, Callable[[], Any]]
PARTS: dict[str, Callable[[], Iterator[Case]]] = {
    "samples": sample_cases,
    "trainings": training_cases,
    "fits": fit_cases,
    COMMANDS: command_cases,
    "processes": process_cases,
}


def told(value: Any) -> str:
    """SHA-256 over tensors and numbers, however they are nested."""
    digest = hashlib.sha256()

    def add(part: Any) -> None:
        if isinstance(part, torch.Tensor):
            flat = part.detach().cpu().contiguous()
            digest.update(f"{flat.dtype}{tuple(flat.shape)}".encode())
            digest.update(flat.reshape(-1).view(torch.uint8).numpy().tobytes())
        elif isinstance(part, dict):
            for key in sorted(part):
                digest.update(str(key).encode())
                add(part[key])
        elif isinstance(part, list | tuple):
            for one in part:
                add(one)
        else:
            digest.update(repr(part).encode())

    add(value)
    return digest.hexdigest()


def outcome(make: Callable[[], Any]) -> str:
    """The hash of what is made, or the refusal."""
    try:
        return told(make())
    except (ValueError, FloatingPointError) as error:
        return f"{type(error).__name__}: {error}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--compare", action="store_true", help="with the file, instead of recording")
    parser.add_argument(
        "--part", choices=PARTS, nargs="+", default=[name for name in PARTS if name != COMMANDS]
    )
    parser.add_argument("--commands", action="store_const", dest="part", const=[COMMANDS])
    args = parser.parse_args()
    torch.set_num_threads(1)
    where = {"torch": torch.__version__, "processor": torch.backends.cpu.get_cpu_capability()}
    before = json.loads(args.file.read_text()) if args.compare else {"where": where, "cases": {}}
    if before["where"] != where:
        print(f"recorded on {before['where']}, this is {where}: last digits may differ for that alone")
    found: dict[str, str] = {}
    for part in args.part:
        begin, known = time.monotonic(), len(found)
        for name, make in PARTS[part]():
            found[f"{part}: {name}"] = outcome(make)
        print(f"{part}: {len(found) - known} cases, {time.monotonic() - begin:.0f} s", flush=True)
    if not args.compare:
        args.file.write_text(json.dumps({"where": where, "cases": found}, indent=1))
        return
    of_parts = {name: value for name, value in before["cases"].items() if name.split(": ")[0] in args.part}
    other = [name for name in {**of_parts, **found} if of_parts.get(name) != found.get(name)]
    for name in other[:40]:
        was, now = (cases.get(name, "not there")[:200] for cases in (of_parts, found))
        print(f"{name}\n  was {was}\n  is  {now}")
    print(f"{len(other)} of {len({**of_parts, **found})} cases differ")
    sys.exit(bool(other))


if __name__ == "__main__":
    main()
