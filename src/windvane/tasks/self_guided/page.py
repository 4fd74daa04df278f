"""The report of the demonstration: one HTML page."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from windvane import report as html
from windvane.annotate import Annotation
from windvane.data import ImageData
from windvane.denoiser import Denoiser
from windvane.metrics import nearest
from windvane.runs import Run
from windvane.tasks.self_guided.experiment import Variant, generate
from windvane.tasks.self_guided.measure import QUANTITIES, Row

if TYPE_CHECKING:
    from PIL.Image import Image


def _number(row: Row, quantity: str) -> str:
    low, high = row.values[quantity].low, row.values[quantity].high
    return f"{row.values[quantity].value:.3g} ({low:.3g} … {high:.3g})"


def _cluster_cards(train: ImageData, annotation: Annotation) -> str:
    made = []
    for cluster in annotation.sizes.argsort(descending=True).tolist():
        shown = html.images_row(train.batch(annotation.members(cluster, 8)), side=32)
        under = f"{int(annotation.sizes[cluster])} images"
        if train.labels is not None:
            counts = torch.bincount(train.labels[annotation.ids == cluster], minlength=10).double()
            shares = {f"digit {d}": float(c / counts.sum()) for d, c in enumerate(counts) if c > 0}
            shown += html.bar(shares, colours={f"digit {d}": d for d in range(10)}, named=2)
        made.append((f"Cluster {cluster}", under, shown))
    return html.cards(made)


def _copies(train: ImageData, annotation: Annotation, denoiser: Denoiser) -> str:
    variant = Variant("self-labels", annotation.ids, annotation.k)
    made, _ = generate(denoiser, variant, n=200, seed=1, weight=1.5)
    real = train.batch(slice(None))
    found = nearest(made.flatten(1), real.flatten(1))
    closest = found.distances[:, 0].argsort()[:10]
    pairs = torch.stack([made[closest], real[found.indices[closest, 0]]], dim=1).flatten(0, 1)
    captions = [f"{float(found.distances[i, 0]):.2f}" if j == 0 else "" for i in closest for j in (0, 1)]
    return html.images_row(pairs, captions=captions, side=40)


def write_page(
    out: Path,
    *,
    rows: Sequence[Row],
    real: dict[str, float],
    train: ImageData,
    annotation: Annotation,
    denoiser: Denoiser,
    picture: "Image",
) -> Path:
    """Write ``out/report.html`` and return its path."""
    heads = ["condition", "weight", *(q if q != "frechet" else "Fréchet distance" for q in QUANTITIES)]
    cells = [[row.name, f"{row.weight:g}", *(_number(row, q) for q in QUANTITIES)] for row in rows]
    cells.append(["real training images", "", *(f"{real[q]:.3g}" for q in QUANTITIES)])
    swept = [row for row in rows if row.name == "self-labels"]
    lines = {
        q: ([row.weight for row in swept], [row.values[q].value for row in swept])
        for q in ("precision", "recall")
    }
    distance = {
        "self-labels": ([r.weight for r in swept], [r.values["frechet"].value for r in swept]),
        "no guidance": ([r.weight for r in swept], [rows[0].values["frechet"].value] * len(swept)),
    }
    losses = {}
    for folder in sorted((out / "runs").iterdir()):
        log = [line for line in Run(folder, create=False).read_metrics() if "loss" in line]
        losses[folder.name] = ([line["step"] for line in log], [line["loss"] for line in log])
    page = html.Report(
        "Self-guided digits", subtitle="Labels found by clustering, used as if a person had given them"
    )
    page.section(
        "Result",
        html.table(heads, cells, numbers=range(1, len(heads))),
        html.curves(distance, title="Fréchet distance", x_label="guidance weight", markers=True),
        html.curves(lines, title="Precision and recall", x_label="guidance weight", markers=True),
        intro=(
            "Mean over sampling seeds with its 95 % interval. Fréchet distance, precision and recall are "
            "taken against held-out digits in the features of a classifier; nearest is the mean pixel "
            "distance to the nearest training image (for the real row: of held-out images)."
        ),
    )
    page.section(
        "Guided samples",
        html.picture(
            picture, caption="Real members of a cluster, then samples at two weights; a row per cluster."
        ),
    )
    page.section(
        "Clusters", _cluster_cards(train, annotation), intro="Real members, nearest to the centre first."
    )
    page.section(
        "Copies",
        html.note("Each pair: a sample, and the training image nearest to it. The ten closest of 200."),
        _copies(train, annotation, denoiser),
    )
    page.section("Training", html.curves(losses, title="Loss", x_label="step", log_y=True))
    return page.write(out / "report.html")
