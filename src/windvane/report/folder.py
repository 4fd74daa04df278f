"""What the folder of a run says about it: numbers, warnings, previews, data, settings."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from windvane.damage import reading
from windvane.hashes import read_sealed
from windvane.report.parts import note, picture, table
from windvane.runs import Run

if TYPE_CHECKING:
    from windvane.annotate.annotated import Annotated
    from windvane.data import ImageData

_EVALUATE = "run windvane evaluate again, or delete it"
_MOST_PREVIEWS = 3
_MOST_UNREADABLE = 50


def evaluations(run: Run) -> list[dict[str, Any]]:
    """Every metrics.json of the run, by rising guidance weight."""
    files = sorted({*run.samples.glob("*/metrics.json"), *run.path.glob("metrics.json")})
    order = [one for file in files if (one := _evaluation(file)).get("metrics")]
    return sorted(order, key=lambda one: float((one.get("settings") or {}).get("weight", 0)))


def _evaluation(file: Path) -> dict[str, Any]:
    found = read_sealed(file, remedy=_EVALUATE)
    with reading(file, remedy=_EVALUATE):
        for metric in found.get("metrics") or ():
            metric["name"], float(metric["value"])
        float((found.get("settings") or {}).get("weight", 0))
    return found


def subtitle(run: Run, annotation: "Annotated | None") -> str:
    """What the model is conditioned on, and where the training stands."""
    status = run.read_status() or {}
    state = (
        f"{status.get('state', 'unknown')} at step {status.get('step', '?')} of {status.get('steps', '?')}"
    )
    if annotation is None:
        return f"Unconditional model; {state}"
    return f"Model conditioned on {annotation.summary}; {state}"


def key_numbers(
    run: Run,
    train: "ImageData | None",
    annotation: "Annotated | None",
    rows: list[dict[str, Any]],
    evaluations: list[dict[str, Any]],
) -> dict[str, Any]:
    """The tiles at the top of the page."""
    told: dict[str, Any] = {}
    if train is not None:
        told["training images"] = f"{len(train):,}"
        told["image size"] = " × ".join(str(side) for side in (*train.shape[1:], train.shape[0]))
    if annotation is not None and annotation.k:
        told[annotation.title.lower()] = annotation.k
    status = run.read_status()
    if status is not None:
        told["training steps"] = f"{status['step']:,}"
    losses = [row["loss"] for row in rows if row.get("loss") is not None]
    if losses:
        told["last loss"] = f"{losses[-1]:.3g}"
    told |= _best(evaluations)
    return told


def _best(evaluations: list[dict[str, Any]]) -> dict[str, str]:
    """The main numbers of one evaluation, the one with the lowest Fréchet distance."""

    def values(found: dict[str, Any]) -> dict[str, float]:
        return {metric["name"]: metric["value"] for metric in found["metrics"]}

    known = [found for found in evaluations if "frechet" in values(found)]
    if not known:
        return {}
    best = min(known, key=lambda found: values(found)["frechet"])
    weight = (best.get("settings") or {}).get("weight")
    at = f" at w = {weight:g}" if weight is not None else ""
    names = {"frechet": "Fréchet distance", "precision": "precision", "recall": "recall"}
    return {
        f"{title}{at}": f"{values(best)[name]:.3g}" for name, title in names.items() if name in values(best)
    }


def warnings(run: Run) -> list[str]:
    """What a reader must not miss: a training that ended early, images that were left out."""
    status = run.read_status() or {}
    told = []
    if status.get("state") in ("interrupted", "failed"):
        told.append(note(f"This training {status['state']}: {status.get('message', '')}"))
    unreadable = _scan(run).get("unreadable", [])
    if unreadable:
        told.append(note(f"{len(unreadable)} images could not be read and were left out; see Data."))
    return told


def previews(run: Run) -> list[str]:
    """The first, middle and last sample grid of the training."""
    from PIL import Image

    files = sorted(run.samples.glob("step-*.png"))
    chosen = files if len(files) <= _MOST_PREVIEWS else [files[0], files[len(files) // 2], files[-1]]
    made = []
    for file in chosen:
        with reading(file, remedy="delete it"), Image.open(file) as opened:
            made.append(picture(opened.copy(), caption=f"Step {int(file.stem.split('-')[1]):,}"))
    return [f"<div class='plots'>{''.join(made)}</div>"] if made else []


def _scan(run: Run) -> dict[str, Any]:
    file = run.path / "scan.json"
    if not file.is_file():
        return {}
    found = read_sealed(file, remedy="delete it, the page is made without it")
    with reading(file):
        return {**found, "readable": list(found["readable"]), "unreadable": list(found["unreadable"])}


def data_table(
    run: Run,
    train: "ImageData | None",
    held_out: "ImageData | None",
    annotation: "Annotated | None",
) -> str:
    """How many images, and which files were left out."""
    rows: list[list[Any]] = []
    if train is not None:
        rows.append(["trained on", f"{len(train):,} images"])
        rows.append(["held out", f"{len(held_out):,} images" if held_out is not None else "none"])
        used = annotation is not None and annotation.title == "Labels"
        there = "what the model is conditioned on" if used else "present, used for comparison only"
        rows.append(["labels", "none" if train.labels is None else there])
        rows.append(["fingerprint", train.fingerprint[:16]])
    scan = _scan(run)
    if scan:
        rows.append(["readable files", f"{len(scan['readable']):,}"])
        rows.append(["files left out", f"{len(scan['unreadable']):,}"])
        doubles = sum(len(group) - 1 for group in scan.get("exact_duplicates", []))
        if doubles:
            rows.append(["byte-for-byte repeats", f"{doubles:,}"])
    body = table(["", ""], rows) if rows else note("The images were not at hand when this page was made.")
    if scan.get("unreadable"):
        shown = scan["unreadable"][:_MOST_UNREADABLE]
        body += "<br>" + table(["file left out", "reason"], shown)
    return body


def settings_text(run: Run) -> str:
    """The configuration and the versions."""
    import html
    import platform

    import torch

    from windvane._version import __version__

    text = run.config.read_bytes().decode("utf-8", "replace") if run.config.is_file() else "(no config.yaml)"
    versions = f"windvane {__version__}, torch {torch.__version__}, Python {platform.python_version()}"
    return f"<p class='intro'>{html.escape(versions)}</p><pre>{html.escape(text)}</pre>"
