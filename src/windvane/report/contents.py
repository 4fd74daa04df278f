"""The sections of a run's page, each from plain data to a piece of HTML."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from windvane.report.parts import Html, bar, cards, figure, images_row, note, table, value_cell
from windvane.report.plots import curves

if TYPE_CHECKING:
    from torch import Tensor

    from windvane.annotate import Annotation
    from windvane.data import ImageData
    from windvane.metrics import Memorisation

_MEMBERS = 12
_MOST_CARDS = 60
_ARROWS = {"lower": "↓", "higher": "↑"}
#: Names of metrics as a reader knows them.
TITLES = {
    "frechet": "Fréchet distance",
    "kid": "KID",
    "nearest_train": "nearest training image",
    "cluster_agreement": "cluster agreement",
}


def side_for(shape: Sequence[int], least: int = 40, most: int = 96) -> int:
    """How large to show an image: small ones enlarged, large ones reduced by the browser."""
    return max(least, min(most, min(shape[-2:])))


def largest_ids(annotation: "Annotation", most: int) -> tuple[list[int], str]:
    """At most so many ids that have members, largest first, and what one of them is called."""
    order = annotation.sizes.argsort(descending=True, stable=True).tolist()
    shown = [cluster for cluster in order if int(annotation.sizes[cluster])][:most]
    return shown, "Label" if annotation.source == "labels" else "Cluster"


def cluster_cards(data: "ImageData", annotation: "Annotation", *, most: int = _MOST_CARDS) -> str:
    """A card per id, largest first: size, labels where there are any, members nearest to the centre."""
    shown, title = largest_ids(annotation, most)
    names, made = label_names(data), []
    for cluster in shown:
        rows = annotation.members(cluster, _MEMBERS)
        body = images_row(data.batch(rows), side=side_for(data.shape, 36, 56))
        if names and annotation.source != "labels":
            body = composition(data, annotation.ids == cluster, names) + body
        size = int(annotation.sizes[cluster])
        made.append((f"{title} {cluster}", f"{size} images, {size / max(len(annotation), 1):.1%}", body))
    left = len(annotation.sizes) - len(shown)
    return cards(made) + (note(f"{left} more, smaller or empty, are not shown.") if left else "")


def label_names(data: "ImageData") -> list[str]:
    """Names of the labels, none where there are no labels."""
    if data.labels is None:
        return []
    names = data.label_names or [str(label) for label in range(int(data.labels.max()) + 1)]
    return [f"label {name}" if name.isdecimal() else name for name in names]


def composition(data: "ImageData", rows: "Tensor", names: Sequence[str]) -> str:
    """A bar of the labels of some rows."""
    assert data.labels is not None
    labels = data.labels[rows]
    found = {names[label]: int((labels == label).sum()) for label in labels[labels >= 0].unique().tolist()}
    total = max(sum(found.values()), 1)
    shares = {name: count / total for name, count in found.items()}
    return bar(shares, colours={name: number for number, name in enumerate(names)})


def guided_table(
    rows: Sequence[tuple[str, Any, Sequence[Any]]], weights: Sequence[float], *, side: int
) -> str:
    """Clusters downwards, guidance weights to the right: (name, real members, samples at each weight)."""
    head = ["", "real members", *(_weight_title(weight) for weight in weights)]
    body = [
        [
            Html(f"<h3>{name}</h3>"),
            Html(images_row(real, side=side)),
            *(Html(images_row(made, side=side)) for made in samples),
        ]
        for name, real, samples in rows
    ]
    return table(head, body)


def _weight_title(weight: float) -> str:
    known = {0.0: "w = 0, unconditional", 1.0: "w = 1, conditional"}
    return known.get(weight, f"w = {weight:g}")


def training_curves(rows: Sequence[Mapping[str, Any]]) -> str:
    """Loss, loss by noise level, gap of the average, gradient norm and learning rate over the steps."""

    def line(name: str) -> tuple[list[float], list[float]] | None:
        pairs = [(row["step"], row[name]) for row in rows if row.get(name) is not None and "step" in row]
        return ([x for x, _ in pairs], [y for _, y in pairs]) if pairs else None

    def plot(title: str, names: Mapping[str, str], *, log: bool = False) -> str:
        found = {label: series for name, label in names.items() if (series := line(name)) is not None}
        if not found:
            return ""
        positive = all(value > 0 for _, values in found.values() for value in values)
        markers = max(len(x) for x, _ in found.values()) < 3
        made = curves(found, title=title, x_label="step", log_y=log and positive, markers=markers)
        return figure(made)

    prefix = "loss_log_snr_"
    levels = sorted(
        {name for row in rows for name in row if name.startswith(prefix)},
        key=lambda n: float(n[len(prefix) :]),
    )
    plots = [
        plot("Training loss", {"loss": "loss"}, log=True),
        plot(
            "Loss by noise level (log-SNR)", {name: f"λ ≈ {name[len(prefix) :]}" for name in levels}, log=True
        ),
        plot("Gradient norm", {"grad_norm": "mean", "grad_norm_max": "largest"}, log=True),
        plot("Distance of the average from the raw weights", {"ema_gap": "EMA gap"}),
        plot("Learning rate", {"lr": "learning rate"}),
        plot("Speed (images per second)", {"images_per_second": "speed"}),
    ]
    return f"<div class='plots'>{''.join(plots)}</div>"


def metric_table(evaluations: Sequence[Mapping[str, Any]]) -> str:
    """One row per metric, one column per evaluation; intervals under the values."""
    names = list(dict.fromkeys(metric["name"] for found in evaluations for metric in found["metrics"]))
    head = ["metric", *(_column_title(found) for found in evaluations), "measured in"]
    body: list[list[Any]] = []
    for name in names:
        cells: list[Any] = []
        space, arrow = "", ""
        for found in evaluations:
            metric = next((one for one in found["metrics"] if one["name"] == name), None)
            if metric is None:
                cells.append("–")
                continue
            cells.append(value_cell(metric["value"], metric.get("low"), metric.get("high")))
            arrow = _ARROWS.get(metric.get("better", ""), "")
            space = _space(metric)
        body.append([f"{TITLES.get(name, name.replace('_', ' '))} {arrow}", *cells, space])
    return table(head, body, numbers=range(1, len(evaluations) + 1))


def _column_title(found: Mapping[str, Any]) -> str:
    settings = found.get("settings") or {}
    if "weight" not in settings:
        return str(found.get("title", "samples"))
    return f"w = {settings['weight']:g}, {settings['sampler']} {settings['steps']}, step {settings['step']}"


def _space(metric: Mapping[str, Any]) -> str:
    counts = f"N = {metric['n_samples']}"
    if metric.get("n_reference"):
        counts += f" against {metric['n_reference']}"
    baseline = metric.get("details", {}).get("baseline_mean")
    beside = (
        f"; {metric['details']['baseline']}: {baseline:.4g}"
        if baseline and metric["name"] != "copies"
        else ""
    )
    return f"{metric['extractor'].split('(')[0]}, {counts}{beside}"


def memorisation(found: "Memorisation", samples: "Tensor", data: "ImageData", *, pairs: int = 12) -> str:
    """The samples nearest to the training set beside their nearest training images."""
    chosen = found.closest(pairs)
    side = side_for(data.shape, 44, 72)
    contents = []
    for row in chosen.tolist():
        nearest = int(found.indices[row])
        both = images_row(
            [samples[row].numpy(), data[nearest].numpy()], captions=["sample", "training"], side=side
        )
        mark = " – nearer than expected" if bool(found.copies[row]) else ""
        contents.append((f"{float(found.distances[row]):.3g}", f"{data.names[nearest]}{mark}", both))
    levels = found.quantiles()
    head = ["distance to the nearest training image", *(f"{level:.0%} quantile" for level in levels)]
    rows = [
        ["samples", *(f"{pair[0]:.3g}" for pair in levels.values())],
        [found.baseline_kind, *(f"{pair[1]:.3g}" for pair in levels.values())],
    ]
    share = float(found.copies.double().mean())
    verdict = (
        f"{share:.1%} of the samples are nearer to a training image than {found.quantile:.0%} of "
        f"{found.baseline_kind} are; a generator that copies nothing has about {found.quantile:.0%}."
    )
    return (
        table(head, rows, numbers=range(1, len(head))) + f"<p class='intro'>{verdict}</p>" + cards(contents)
    )
