"""The checks behind `windvane doctor`.

Packages are imported in a process of their own: a broken binary may kill the process that imports it, and
torchvision in the wrong version breaks diffusers and transformers by its mere presence.
"""

import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from windvane._version import __version__
from windvane.cache_folder import cache_folder
from windvane.cli.common.errors import one_line

Answers = dict[str, dict[str, Any]]

LEAST_PYTHON = (3, 11)
OPTIONAL = {
    "pyarrow": "parquet data",
    "datasets": "data sets of the hub",
    "faiss": "faster clustering",
    "peft": "low-rank adapters",
    "pydensecrf": "masks along edges",
    "tensorboard": "tracker",
    "trackio": "tracker",
    "wandb": "tracker",
}
DISTRIBUTIONS = {"faiss": "faiss-cpu"}
# One process for all imports: each line it prints is one answer; after a crash the missing line tells whose.
PROBE = """
import importlib.util, json

def torch_facts():
    import torch
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    mps = bool(getattr(torch.backends, "mps", None) and torch.backends.mps.is_available())
    if float((torch.ones(8, 8) @ torch.ones(8, 8)).sum()) != 512.0:
        raise RuntimeError("a product of matrices comes out wrong")
    return {"version": torch.__version__, "threads": torch.get_num_threads(), "gpus": gpus, "mps": mps}

def torchvision_facts():
    if importlib.util.find_spec("torchvision") is None:
        return {"version": None}
    import torchvision
    return {"version": torchvision.__version__}

def diffusers_facts():
    return installed("diffusers", "UNet2DModel")

def transformers_facts():
    return installed("transformers", "CLIPModel")

def installed(name, part):
    import importlib.metadata
    if not IMPORTS:
        if importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(f"No module named {name!r}")
        return {"version": importlib.metadata.version(name), "imported": False}
    module = __import__(name)
    getattr(module, part)
    return {"version": module.__version__, "imported": True}

for facts in (torch_facts, torchvision_facts, diffusers_facts, transformers_facts):
    name = facts.__name__.removesuffix("_facts")
    try:
        answer = {"name": name, **facts()}
    except BaseException as error:
        answer = {"name": name, "error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
"""
TIMEOUT = 300


@dataclass(frozen=True)
class Finding:
    """One line of the report: `state` is ok, note (worth knowing), warn or bad; `fix` says what to do."""

    name: str
    state: Literal["ok", "note", "warn", "bad"]
    detail: str
    fix: str = ""


def examine(folder: Path, *, imports: bool = False) -> list[Finding]:
    """All findings, in reading order; `imports` also imports diffusers and transformers, which is slow."""
    answers = probe(f"IMPORTS = {imports}\n{PROBE}")
    return [
        _python(),
        *_torch(answers),
        _torchvision(answers),
        _imports("diffusers", answers),
        _imports("transformers", answers),
        _packages(),
        _extras(),
        _hub(),
        _cache(),
        _disk(folder),
        _memory(),
    ]


def probe(code: str) -> dict[str, dict[str, Any]]:
    """Run `code` in a fresh Python: its answers by name; what it did not come to is named under `""`."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        return {"": {"error": f"no answer within {TIMEOUT} s"}}
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    answers = {line.pop("name"): line for line in lines}
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        answers[""] = {"error": f"the import ended Python with code {done.returncode}: {last}"}
    return answers


def _error(name: str, answers: Answers) -> str | None:
    answer = answers.get(name) or answers.get("") or {"error": "no answer"}
    return one_line(answer["error"]) if "error" in answer else None


def _python() -> Finding:
    detail = (
        f"{platform.python_version()} on {platform.system()} {platform.machine()}, windvane {__version__}"
    )
    if sys.version_info < LEAST_PYTHON:
        return Finding("python", "bad", detail, "install Python 3.11 or newer")
    return Finding("python", "ok", detail)


def _torch(answers: Answers) -> list[Finding]:
    error = _error("torch", answers)
    if error:
        return [Finding("torch", "bad", error, "install PyTorch again; pytorch.org gives the command")]
    found = answers["torch"]
    gpus = ", ".join(found["gpus"]) or ("Apple GPU (MPS)" if found["mps"] else "")
    return [
        Finding("torch", "ok", f"{found['version']}, {found['threads']} threads of {os.cpu_count()} cores"),
        Finding("gpu", "ok", gpus) if gpus else Finding("gpu", "note", "none; everything runs on the CPU"),
    ]


def _torchvision(answers: Answers) -> Finding:
    error = _error("torchvision", answers)
    if error:
        return Finding(
            "torchvision",
            "bad",
            f"installed, but does not import ({error}); diffusers and transformers fail while it is there",
            "pip uninstall torchvision (windvane does not use it), or install the build that matches torch",
        )
    version = answers["torchvision"]["version"]
    return Finding("torchvision", "ok", f"{version}, imports" if version else "not installed, and not needed")


def _imports(name: str, answers: Answers) -> Finding:
    error = _error(name, answers)
    if error:
        return Finding(
            name, "bad", error, f"pip install --force-reinstall {name}, after the lines above are ok"
        )
    imported = answers[name].get("imported", True)
    how = "imports" if imported else "installed; windvane doctor --imports tries it"
    return Finding(name, "ok", f"{answers[name]['version']}, {how}")


def _packages() -> Finding:
    """The installed versions against what the package asks for."""
    wrong, shown = [], []
    try:
        wanted = importlib.metadata.requires("windvane") or []
    except importlib.metadata.PackageNotFoundError:
        return Finding(
            "packages", "warn", "windvane is not installed, it runs from a folder", "pip install -e ."
        )
    for line in wanted:
        if "extra ==" in line:
            continue
        name, least = _requirement(line)
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{name} is missing")
            continue
        shown.append(f"{name} {version}")
        if least and _numbers(version) < _numbers(least):
            wrong.append(f"{name} {version} is older than {least}")
    if wrong:
        return Finding("packages", "bad", "; ".join(wrong), "pip install --upgrade windvane")
    return Finding("packages", "ok", ", ".join(shown))


def _extras() -> Finding:
    present = [name for name in OPTIONAL if importlib.util.find_spec(name) is not None]
    absent = [f"{name} ({what})" for name, what in OPTIONAL.items() if name not in present]
    shown = ", ".join(f"{name} {_version(DISTRIBUTIONS.get(name, name))}" for name in present) or "none"
    return Finding("extras", "note", f"{shown}" + (f"; not installed: {', '.join(absent)}" if absent else ""))


def _hub() -> Finding:
    offline = os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")
    return Finding(
        "hub", "note", "offline mode is on" if offline else "reached only for names that start with hub:"
    )


def _cache() -> Finding:
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Finding(
            "cache", "bad", f"{folder}: {error.strerror}", "set WINDVANE_CACHE to a folder you can write"
        )
    return Finding("cache", "ok", f"{folder} can be written")


def _disk(folder: Path) -> Finding:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Finding(
            "disk", "bad", f"{folder.resolve()}: {error.strerror}", "choose a folder you can write"
        )
    free = shutil.disk_usage(folder).free / 2**30
    if free < 2:
        return Finding("disk", "warn", f"{free:.1f} GiB free", "a run with checkpoints may need more")
    return Finding("disk", "ok", f"{free:.0f} GiB free at {folder.resolve()}")


def _memory() -> Finding:
    try:
        import psutil
    except ImportError:
        return Finding("memory", "note", "unknown, psutil is not installed")
    memory = psutil.virtual_memory()
    detail = f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free"
    return Finding("memory", "warn" if memory.available < 2**30 else "ok", detail)


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "unknown version"


def _requirement(line: str) -> tuple[str, str | None]:
    """`torch>=2.5` -> ("torch", "2.5")."""
    name = re.match(r"[A-Za-z0-9._-]+", line)
    least = re.search(r">=\s*([0-9.]+)", line)
    return (name.group() if name else line), (least.group(1) if least else None)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])
