"""The page of an annotation: what was found in the images, how far to trust it, and the same as JSON."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windvane.annotate.control_spec import of_labels
from windvane.files import atomic_write_json
from windvane.hashes import sealed
from windvane.invocation import made_by
from windvane.pictures import save_png
from windvane.report.annotation_montage import montage
from windvane.report.annotation_parts import (
    audit_section,
    box_section,
    choice_section,
    cluster_cards,
    mask_section,
    region_stability_section,
    size_plot,
    stability_section,
)
from windvane.report.page import Report
from windvane.report.parts import facts, note, table

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from windvane.annotate import Annotation, BoxAnnotation, ChoiceOfK, MaskAnnotation
    from windvane.annotate.images.robustness import Change
    from windvane.data import ImageData

PAGE, FACTS, MONTAGE = "report.html", "report.json", "montage.png"


def annotation_report(
    data: "ImageData",
    *,
    out: str | Path,
    ids: "Annotation | None" = None,
    boxes: "BoxAnnotation | None" = None,
    masks: "MaskAnnotation | None" = None,
    true_boxes: "Sequence[Tensor] | None" = None,
    true_masks: "Tensor | None" = None,
    held_out: "ImageData | None" = None,
    samples: "Tensor | None" = None,
    sample_ids: "Tensor | None" = None,
    choice: "ChoiceOfK | Mapping[str, Any] | None" = None,
    known: Mapping[str, Any] | None = None,
    ks: Sequence[int] | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    changes: "Sequence[Change] | None" = None,
    brief: bool = False,
    title: str = "Annotation",
    batch_size: int = 256,
    device: "str | torch.device | None" = None,
    progress: bool = True,
) -> Path:
    """Write ``report.html``, ``report.json`` and ``montage.png`` of an annotation into a folder; returns the
    page's path.

    Labels, true boxes and true masks are compared with what was found and used for nothing else.

    Args:
        data: the images that were annotated.
        out: the folder.
        ids, boxes, masks: what was found in them; at least one.
        true_boxes: ``(m_i, 4)`` for each image, (left, top, right, bottom); gives CorLoc.
        true_masks: class ids ``(n, H, W)``, 255 not counted; gives mean IoU with matched ids.
        held_out: images that were not annotated, for the distances to training images.
        samples: of a model trained on these ids, ``(m, C, H, W)`` in [-1, 1].
        sample_ids: the id each was asked for, ``(m,)``; None where there are no ids, as beside masks.
        choice: evidence about the number of clusters that is there already, or its ``to_dict()``.
        known: facts that are there already, kept in the JSON. "stability" and "choice" are shown where the
            page can find none; "region_stability", of
            :func:`windvane.annotate.regions.robustness.region_stability`, always.
        ks: else numbers of clusters to compare; None takes a quarter to four times the present one, () none.
        seeds: of refits, for stability; fewer than two compare nothing.
        changes: of the images, for stability; None takes all, () none.
        brief: show what there is and compute nothing: no refits, no comparison with training images, and
            ``report.json`` stays as it is.
        title: of the page.
        batch_size, device, progress: of the features.

    Raises:
        ValueError: nothing to report on, or an annotation of other images.
    """
    for found in (ids, boxes, masks):
        if found is not None:
            found.check(data)
    if ids is None and boxes is None and masks is None:
        raise ValueError("nothing to report on: give ids, boxes or masks")
    from windvane.annotate.work import Work
    from windvane.report.annotation_audit import audit
    from windvane.report.annotation_facts import box_facts, id_facts, mask_facts

    known = known or {}
    if brief:
        ks, seeds, changes = (), (), ()
    told: dict[str, Any] = {"n": len(data), "data": data.fingerprint}
    if ids is not None:
        told |= id_facts(
            ids,
            data,
            Work(batch_size, device, progress=progress),
            ks=ks,
            choice=choice,
            seeds=seeds,
            changes=changes,
        )
        told |= {key: known[key] for key in ("choice", "stability") if key in known and key not in told}
    # A single image has no other that its distance could be compared with.
    if (ids is not None or samples is not None) and len(data) > 1 and not brief:
        told["audit"] = audit(ids, data, held_out=held_out, samples=samples, sample_ids=sample_ids)
    if boxes is not None:
        told["boxes"] = box_facts(boxes, true_boxes)
    if masks is not None:
        told["masks"] = mask_facts(masks, true_masks)
    page = Report(title, subtitle=_subtitle(told, data))
    page.section("Summary", facts(_key_numbers(told, data)), *_warnings(told))
    if ids is not None:
        _id_sections(page, told, data, ids, boxes)
    if boxes is not None:
        page.section("Boxes", box_section(data, boxes, told["boxes"], true_boxes), intro=_AT_RANDOM)
    if masks is not None:
        page.section("Masks", mask_section(data, masks, told["masks"], true_masks), intro=_AT_RANDOM)
    if "region_stability" in known:
        kept = known["region_stability"]
        page.section(f"Stability of the {kept['kind']}", region_stability_section(kept), intro=_REGIONS)
    if "audit" in told:
        page.section("Memorisation", audit_section(told["audit"]), intro=_audit_intro(told["audit"]))
    page.section("Made from", table(["", ""], _origin(told)))
    if not brief:
        atomic_write_json(Path(out) / FACTS, sealed({**known, **told}))
    about = {"task": "montage", "data": data.fingerprint, **made_by()}
    save_png(montage(data, ids=ids, boxes=boxes, masks=masks), Path(out) / MONTAGE, about)
    return page.write(Path(out) / PAGE)


_AT_RANDOM = "Images drawn at random, not chosen."
_CHOICE = (
    "The largest safe number of clusters: enough images in each, and clusters that come back from another "
    "seed. Silhouette is shown and not used, since it does not predict the quality of guided samples."
)
_STABILITY = (
    "1 is the same partition, 0 is chance. Refits on changed images show whether clusters hang on what the "
    "picture shows, or on where and how; the last column assigns by the frozen centres."
)
_REGIONS = (
    "Found again in changed images and moved back, and found by what was learnt from other seeds. Overlap is "
    "intersection over union; boxes are kept if it is at least a half, masks pixel by pixel."
)
_CARDS = (
    "Largest first. Nearest to the centre, then those at about the median distance, then at random: only the "
    "last two show what a cluster really holds."
)


def _id_sections(
    page: Report,
    told: Mapping[str, Any],
    data: "ImageData",
    ids: "Annotation",
    boxes: "BoxAnnotation | None",
) -> None:
    from windvane.annotate.images.statistics import MEMORISATION_BELOW

    if "choice" in told:
        page.section("How many clusters", choice_section(told["choice"]), intro=_CHOICE)
    page.section("Sizes", size_plot(told["balance"], small=MEMORISATION_BELOW))
    if "stability" in told or "augmentations" in told:
        page.section(
            "Stability",
            stability_section(told.get("stability"), told.get("augmentations")),
            intro=_STABILITY,
        )
    if "agreement" in told and not of_labels(told["source"]):
        found = told["agreement"]
        rows = [
            ["normalised mutual information", f"{found['nmi']:.3f}"],
            ["purity (grows with the number of clusters)", f"{found['purity']:.3f}"],
            ["adjusted Rand index", f"{found['ari']:.3f}"],
            ["images with a label", f"{found['rows']:,.0f}"],
        ]
        page.section(
            "Agreement with labels",
            table(["", ""], rows, numbers=[1]),
            intro="Labels were not used; agreement with them is no measure of how well the clusters guide.",
        )
    title = "Labels" if told["source"] == "labels" else "Clusters"
    page.section(title, cluster_cards(data, ids, boxes=boxes), intro=_CARDS if ids.clusters else "")


def _subtitle(told: Mapping[str, Any], data: "ImageData") -> str:
    parts = []
    if "source" in told:
        maker = (told["extractor"] or "").split("(")[0]
        by = f" by {maker} features" if maker else f" ({told['source']})"
        parts.append(f"{told['k']} {'labels' if told['source'] == 'labels' else 'clusters'}{by}")
    for kind in ("boxes", "masks"):
        if kind in told:
            parts.append(f"{kind} by {told[kind]['source']}")
    shape = " × ".join(str(side) for side in (*data.shape[1:], data.shape[0]))
    return f"{', '.join(parts)}; {len(data):,} images of {shape}"


def _key_numbers(told: Mapping[str, Any], data: "ImageData") -> dict[str, Any]:
    numbers: dict[str, Any] = {"images": f"{len(data):,}"}
    if "balance" in told:
        sizes = told["balance"]
        numbers["labels" if told["source"] == "labels" else "clusters"] = told["k"]
        numbers["images in the smallest, largest"] = f"{sizes['smallest']}, {sizes['largest']}"
        numbers["equal clusters with this entropy"] = f"{sizes['effective']:.1f}"
    if "choice" in told:
        numbers["recommended clusters"] = told["choice"]["recommended"]
    if "stability" in told:
        numbers["agreement of seeds (AMI)"] = f"{told['stability']['ami']:.2f}"
    if "agreement" in told and not of_labels(told["source"]):
        numbers["agreement with labels (NMI)"] = f"{told['agreement']['nmi']:.2f}"
    if "truth" in told.get("boxes", {}):
        numbers["CorLoc of the boxes"] = f"{told['boxes']['truth']['corloc']:.1%}"
    if "truth" in told.get("masks", {}):
        numbers["mean IoU of the masks"] = f"{told['masks']['truth']['mean_iou']:.3f}"
    if told.get("audit", {}).get("samples"):
        numbers["samples nearer than real images"] = f"{told['audit']['samples']['nearer']:.0%}"
    return numbers


def _warnings(told: Mapping[str, Any]) -> list[str]:
    made = []
    if "balance" in told and told["balance"]["small"]:
        small = told["balance"]
        made.append(
            note(
                f"{small['small']} of {told['k']} hold under 20 images, {small['images_in_small']:.0%} of "
                "all: a model comes close to copying them."
            )
        )
    if "choice" in told and told["choice"]["recommended"] != told["k"]:
        made.append(
            note(
                f"{told['choice']['recommended']} clusters are recommended, these are {told['k']}; see below."
            )
        )
    samples = told.get("audit", {}).get("samples")
    if samples is not None and samples["nearer"] > 2 * told["audit"]["quantile"]:
        made.append(
            note(
                f"{samples['nearer']:.0%} of the samples are nearer to a training image than 95 % of real "
                "images are."
            )
        )
    return made


def _audit_intro(found: Mapping[str, Any]) -> str:
    intro = (
        f"Distance to the nearest training image, in {found['space'].split('(')[0]}, of {found['baseline']}"
    )
    if not found["clusters"]:
        return (
            f"{intro} and of samples. Nearer than real: below the distance that 5 % of the real images have."
        )
    if found["samples"] is None:
        return f"{intro}: what samples of each cluster should be compared with. Smallest clusters first."
    return (
        f"{intro} and of samples. Nearer than real: below the distance that 5 % of the real images have; "
        "a model that copies nothing has about 5 %. Clusters with most of it first."
    )


def _origin(told: Mapping[str, Any]) -> list[list[Any]]:
    rows: list[list[Any]] = [["images", f"{told['n']:,}"], ["fingerprint", told["data"][:16]]]
    if "source" in told:
        rows += [["ids", told["source"]], ["features", told["extractor"] or "none"]]
    if "clusters" in told:
        rows.append(["k-means", ", ".join(f"{name} {value}" for name, value in told["clusters"].items())])
    for kind in ("boxes", "masks"):
        if kind in told:
            rows.append([kind, f"{told[kind]['source']}, {told[kind]['made_by'] or 'given'}"])
    return rows
