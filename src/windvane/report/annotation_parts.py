"""The sections of an annotation's page, each from plain values and images to a piece of HTML."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from windvane.randomness import generator
from windvane.report.annotation_drawing import (
    FOUND,
    PALETTE,
    TRUE,
    bars,
    coloured,
    draw_boxes,
    enlargement,
    paint_masks,
    swatches,
)
from windvane.report.contents import composition, label_names, largest_ids, side_for
from windvane.report.parts import Html, cards, figure, images_row, note, table
from windvane.report.plots import curves

if TYPE_CHECKING:
    from windvane.annotate import Annotation, BoxAnnotation, MaskAnnotation
    from windvane.data import ImageData

_LARGEST = 96
_BARS = 120
_BINS = 24


def thumbnails(images: Tensor, most: int = _LARGEST) -> Tensor:
    """Images ``(B, C, H, W)``, larger ones reduced until no side exceeds ``most``."""
    side = max(images.shape[-2:])
    if side <= most:
        return images
    size = [max(1, round(s * most / side)) for s in images.shape[-2:]]
    return torch.nn.functional.interpolate(images, size=size, mode="bilinear", antialias=True)


def chosen_members(annotation: "Annotation", cluster: int, each: int, seed: int = 0) -> dict[str, Tensor]:
    """Rows of a cluster: nearest to its centre, typical (about the median distance), and at random.

    Ids without distances have no centre, hence random rows alone.
    """
    members = annotation.members(cluster)  # nearest first, where distances are known
    drawn = members[torch.randperm(len(members), generator=generator(seed, 10, cluster))[:each]]
    if annotation.distances is None or len(members) <= each:
        return {"at random" if annotation.distances is None else "all": drawn}
    middle = max(0, min(len(members) // 2 - each // 2, len(members) - each))
    return {"nearest": members[:each], "typical": members[middle : middle + each], "at random": drawn}


def cluster_cards(
    data: "ImageData",
    annotation: "Annotation",
    *,
    each: int = 6,
    most: int = 60,
    boxes: "BoxAnnotation | None" = None,
) -> str:
    """A card for each id, largest first, with its nearest, typical and random members."""
    shown, title = largest_ids(annotation, most)
    names, made = label_names(data), []
    for cluster in shown:
        body = composition(data, annotation.ids == cluster, names) if names and title != "Label" else ""
        for name, rows in chosen_members(annotation, cluster, each if boxes is None else each - 1).items():
            body += f"<p class='sub'>{name}</p>{_members(data, rows, boxes)}"
        size = int(annotation.sizes[cluster])
        made.append((f"{title} {cluster}", f"{size} images, {size / max(len(annotation), 1):.1%}", body))
    left = len(annotation.sizes) - len(shown)
    return cards(made) + (note(f"{left} more, smaller or empty, are not shown.") if left else "")


def _members(data: "ImageData", rows: Tensor, boxes: "BoxAnnotation | None") -> str:
    if boxes is None:
        return images_row(thumbnails(data.batch(rows)), side=side_for(data.shape, 32, 48))
    return boxed(data, boxes, rows, least=48)


def boxed(
    data: "ImageData",
    boxes: "BoxAnnotation",
    rows: Tensor,
    *,
    truth: Sequence[Tensor] | None = None,
    least: int = 96,
) -> str:
    """Images with their boxes, and the true ones in another colour."""
    height, width = data.shape[-2:]
    scale = enlargement(height, width, least)
    large = coloured(data.batch(rows), scale)
    for image, row in zip(large, rows.tolist()):
        if truth is not None:
            draw_boxes(image, truth[row].tolist(), TRUE, scale)
        draw_boxes(image, boxes.of(row).tolist(), FOUND, scale)
    return images_row(large, side=min(large.shape[-2:]))


def masked(data: "ImageData", masks: Tensor, rows: Tensor, *, least: int = 96) -> str:
    """Images under the colours of their masks ``(n, H, W)``."""
    scale = enlargement(data.shape[-2], data.shape[-1], least)
    large = paint_masks(coloured(data.batch(rows), scale), masks[rows], scale)
    return images_row(large, side=min(large.shape[-2:]))


def examples(n: int, count: int = 20, seed: int = 0) -> Tensor:
    """Rows drawn at random to be shown: not the best ones."""
    return torch.randperm(n, generator=generator(seed, 11))[:count].sort().values


def box_section(
    data: "ImageData", boxes: "BoxAnnotation", facts: Mapping[str, Any], truth: Sequence[Tensor] | None
) -> str:
    """Numbers about the boxes, and random images with them."""
    rows = [["found by", _maker(facts)], ["boxes", f"{facts['boxes']:,} in {facts['n']:,} images"]]
    if facts["images_without"]:
        rows.append(["images without a box", f"{facts['images_without']:,}"])
    if facts["area"]:
        spread = "{5%:.0%} to {95%:.0%} of the image, median {50%:.0%}".format(**facts["area"])
        rows.append(["area", spread])
    named = [("found", FOUND)]
    if "truth" in facts:
        known = facts["truth"]
        rows.append(["CorLoc (IoU at least 0.5)", f"{known['corloc']:.1%} of {known['images']:,} images"])
        rows.append(["mean IoU with the nearest true box", f"{known['mean_iou']:.3f}"])
        named.append(("true", TRUE))
    legend = swatches([name for name, _ in named], [-1] * len(named), [colour for _, colour in named])
    return table(["", ""], rows) + legend + boxed(data, boxes, examples(boxes.n), truth=truth)


def mask_section(
    data: "ImageData", masks: "MaskAnnotation", facts: Mapping[str, Any], truth: Tensor | None
) -> str:
    """Numbers about the masks, and random images under them, with the images and the truth beside."""
    rows = [["found by", _maker(facts)], ["ids", f"{facts['k']} in {facts['n']:,} images"]]
    if "truth" in facts:
        known = facts["truth"]
        interval = "" if known["low"] is None else f" ({known['low']:.3f} – {known['high']:.3f})"
        rows.append(["mean IoU, ids matched to classes", f"{known['mean_iou']:.3f}{interval}"])
        rows.append(["pixels right", f"{known['pixel_accuracy']:.1%}"])
        each = ", ".join(f"class {name}: {value:.3f}" for name, value in known["iou"].items())
        rows.append(["IoU of each class", each])
    shown = examples(len(masks), 10)
    names = facts.get("names", [])  # of the categories of a file; pixels beside them have none
    order = sorted(range(masks.k), key=lambda j: -facts["pixels"][j])[:20]
    legend = swatches(
        [f"id {j}" + "".join(f", {name}" for name in names[j : j + 1]) for j in order],
        [facts["pixels"][j] for j in order],
        [PALETTE[j % len(PALETTE)] for j in order],
    )
    scale = enlargement(data.shape[-2], data.shape[-1])
    plain = coloured(data.batch(shown), scale)
    body = table(["", ""], rows) + legend
    body += "<p class='sub'>images</p>" + images_row(plain, side=min(plain.shape[-2:]))
    body += "<p class='sub'>found</p>" + masked(data, masks.masks, shown)
    if truth is not None:
        body += "<p class='sub'>true</p>" + masked(data, truth.to(torch.uint8), shown)
    return body


def _maker(facts: Mapping[str, Any]) -> str:
    maker = str(facts["made_by"]).split("(")[0]
    return f"{facts['source']} on {maker}" if maker not in ("", facts["source"]) else str(facts["source"])


def size_plot(balance: Mapping[str, Any], *, small: int) -> str:
    """Images a cluster: a bar for each, largest first; of many clusters a histogram."""
    sizes = sorted(balance["sizes"], reverse=True)
    if len(sizes) <= _BARS:
        drawn = bars(
            sizes,
            labels=[str(place + 1) for place in range(len(sizes))],
            title="Images in each cluster, largest first",
            x_label="cluster, by size",
            y_label="images",
            line=small,
            line_label=f"{small} images",
        )
    else:
        counts, edges = torch.histogram(torch.tensor(sizes, dtype=torch.float64), _BINS)
        drawn = bars(
            counts.tolist(),
            labels=[f"{edge:.0f}" for edge in edges[:-1].tolist()],
            title="How many clusters have how many images",
            x_label="images in the cluster",
            y_label="clusters",
        )
    return figure(drawn)


def choice_section(choice: Mapping[str, Any]) -> str:
    """The candidates for K, what speaks against each, and the reasoning."""
    rows = []
    for one in choice["candidates"]:
        mark = "recommended" if one["k"] == choice["recommended"] else "; ".join(one["warnings"]) or "safe"
        silhouette = "–" if one["silhouette"] is None else f"{one['silhouette']:.2f}"
        small = f"{one['balance']['images_in_small']:.0%}"
        stable = f"{one['stability']['ami']:.2f}"
        rows.append([one["k"], f"{one['per_cluster']:.0f}", small, stable, silhouette, mark])
    head = ["K", "images a cluster", "in small ones", "AMI of seeds", "silhouette", "verdict"]
    ks = [float(one["k"]) for one in choice["candidates"]]
    lines = {
        "AMI between seeds": (ks, [one["stability"]["ami"] for one in choice["candidates"]]),
        "images in small clusters": (ks, [one["balance"]["images_in_small"] for one in choice["candidates"]]),
    }
    spread = {"inertia": (ks, [one["inertia"] for one in choice["candidates"]])}
    drawn = [
        figure(curves(lines, title="Evidence by number of clusters", x_label="K", markers=True)),
        figure(curves(spread, title="Mean squared distance to the centre", x_label="K", markers=True)),
    ]
    plot = f"<div class='plots'>{''.join(drawn)}</div>" if len(ks) > 1 else ""
    return note(choice["reasoning"]) + table(head, rows, numbers=range(5)) + plot


def stability_section(seeds: Mapping[str, Any] | None, changes: Mapping[str, Any] | None) -> str:
    """Refits from other seeds and on changed images, and how many images keep their id."""
    rows: list[list[Any]] = []
    if seeds is not None:
        name = f"{len(seeds['seeds'])} seeds, every pair"
        lowest = Html(f"{seeds['ami']:.2f}<br><small>lowest {seeds['ami_lowest']:.2f}</small>")
        rows.append([name, lowest, f"{seeds['ari']:.2f}", "–"])
    if changes is not None:
        for name, found in changes["changes"].items():
            rows.append(
                [f"images {name}", f"{found['ami']:.2f}", f"{found['ari']:.2f}", f"{found['kept']:.0%}"]
            )
    head = ["refitted with", "adjusted mutual information", "adjusted Rand index", "keep their id"]
    return table(head, rows, numbers=(1, 2, 3))


def region_stability_section(found: Mapping[str, Any]) -> str:
    """How boxes or masks come back from changed images and from other seeds."""
    rows: list[list[Any]] = []
    if "seeds" in found:
        seeds = found["seeds"]
        lowest = Html(f"{seeds['iou']:.2f}<br><small>lowest {seeds['iou_lowest']:.2f}</small>")
        rows.append([f"{len(seeds['seeds'])} seeds, every pair", lowest, f"{seeds['kept']:.0%}"])
    for name, one in found["changes"].items():
        rows.append([f"images {name}", f"{one['iou']:.2f}", f"{one['kept']:.0%}"])
    kept = "images that keep their box" if found["kind"] == "boxes" else "pixels that keep their id"
    looked = f"{found['images']:,} images drawn at random."
    return table(["found again with", "overlap", kept], rows, numbers=(1, 2)) + note(looked)


def audit_section(found: Mapping[str, Any], *, most: int = 15) -> str:
    """Distances to training images by cluster: those whose samples, or whose members, are nearest first."""
    samples = found["samples"]
    head = ["", f"{found['baseline']}", "median distance"]
    rows: list[list[Any]] = [["all", f"{found['real']['images']:,}", f"{found['real']['median']:.3g}"]]
    if samples is not None:
        head += ["samples", "median distance", "nearer than real"]
        rows[0] += [f"{samples['images']:,}", f"{samples['median']:.3g}", f"{samples['nearer']:.0%}"]
    listed = sorted(found["clusters"], key=_suspicion)
    for one in listed[:most]:
        row = [f"{one['cluster']} ({one['size']} images)", one["real"], _number(one["real_median"])]
        if samples is not None:
            nearer = "–" if one["nearer"] is None else f"{one['nearer']:.0%}"
            row += [one["samples"], _number(one["samples_median"]), nearer]
        rows.append(row)
    left = len(listed) - most
    rest = note(f"{left} more clusters are in report.json.") if left > 0 else ""
    return table(head, rows, numbers=range(1, len(head))) + rest


def _suspicion(row: Mapping[str, Any]) -> tuple[float, float]:
    """Most copies first, then the smallest clusters."""
    return -(row.get("nearer") or 0.0), float(row["size"])


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
