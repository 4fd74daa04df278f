"""All metrics of a set of samples in one call."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from windvane.metrics.agreement import Classifier, as_ids, cluster_agreement, judge_agreement
from windvane.metrics.diversity import within_condition_diversity
from windvane.metrics.features import (
    Extractor,
    Images,
    Pixels,
    extract_features,
    extractor_name,
    extractor_resize,
    image_shape,
    map_images,
)
from windvane.metrics.frechet import frechet, frechet_between
from windvane.metrics.kernel import kernel_distance
from windvane.metrics.manifold import MANIFOLD, manifold
from windvane.metrics.memorisation import nearest_training_images
from windvane.metrics.result import Metric
from windvane.metrics.sanity import sanity, with_distance, with_sanity
from windvane.metrics.statistics import image_statistics

COPIES = ("nearest_train", "copies")
#: Every metric that `evaluate` knows, in the order in which it reports them.
METRICS = ("frechet", "kid", *MANIFOLD, "diversity", "agreement", "cluster_agreement", *COPIES)


def evaluate(
    samples: Images,
    reference: Images,
    *,
    extractor: Extractor,
    train: Images | None = None,
    requested: Tensor | None = None,
    judge: Classifier | None = None,
    meaning: Tensor | None = None,
    annotation: Callable[[Tensor], Tensor] | None = None,
    metrics: Sequence[str] | None = None,
    copy_space: Extractor | None = None,
    k: int = 5,
    allow_few: bool = False,
    resamples: int = 1000,
    level: float = 0.95,
    batch_size: int = 256,
    device: torch.device | str | None = None,
    seed: int = 0,
    progress: bool = True,
) -> list[Metric]:
    """Measure ``samples`` against ``reference``, images that the model was not trained on.

    Precision and density come with what noise, shuffled pixels and real images score in the same features
    (``details["sanity"]``, see :func:`windvane.metrics.sanity.sanity`), and say so where that makes them
    meaningless (``details["unfit"]``).

    Args:
        samples, reference: images (n, C, H, W) in [-1, 1], tensors or sources such as `ImageData`.
        extractor: the feature space of the distances; images go to it on ``device``.
        train: the training images, for `nearest_train` and `copies`; these compare in ``copy_space`` (None:
            pixels) with the reference as the unseen baseline, or with ``train`` itself if it is the
            reference.
        requested: the condition asked for, ids (n,): cluster ids with an ``annotation`` or a ``meaning``,
            labels without.
        judge: a classifier that had no part in making the samples, for `agreement`.
        meaning: label of each cluster id (see `majority_labels`): lets the judge check clusters.
        annotation: images -> ids, for `cluster_agreement`; a `windvane.annotate.Annotation` is one.
        metrics: names from `METRICS`; None is every one that the other arguments allow.
        k: neighbours of precision, recall, density and coverage.
        allow_few: accept a Fréchet distance from no more images than features.
        resamples: bootstrap draws; 0 leaves out the intervals, and a Fréchet distance alone then keeps no
            features in memory.
        seed: of the resampling; no sample depends on it.

    Raises:
        ValueError: an unknown metric, one whose input is missing, or unfit images.
    """
    if requested is not None:
        requested = as_ids(requested, "requested")
        if len(requested) != len(samples):
            raise ValueError(f"{len(samples)} samples, but {len(requested)} requested ids")
    given = {
        "requested": requested is not None,
        "judge": judge is not None,
        "annotation": annotation is not None,
        "meaning": meaning is not None,
        "train": train is not None,
    }
    wanted = _wanted(metrics, given)
    results: list[Metric] = []
    if set(wanted) & {"frechet", "kid", *MANIFOLD, "diversity"}:
        space = extractor_resize(extractor, image_shape(samples))
        found = _in_feature_space(
            samples,
            reference,
            extractor,
            wanted,
            requested=requested,
            annotation=annotation,
            k=k,
            allow_few=allow_few,
            resamples=resamples,
            level=level,
            batch_size=batch_size,
            device=device,
            seed=seed,
            progress=progress,
        )
        checks = {}
        if set(wanted) & set(MANIFOLD):
            checks = sanity(reference, extractor, k=k, batch_size=batch_size, device=device, seed=seed)
        named = [metric.annotated(extractor=extractor_name(extractor), resize=space) for metric in found]
        results += with_sanity(named, checks)
    if requested is not None:
        results += _obedience(
            samples,
            requested,
            judge=judge if "agreement" in wanted else None,
            meaning=meaning,
            annotation=annotation if "cluster_agreement" in wanted else None,
            level=level,
            batch_size=batch_size,
            device=device,
            progress=progress,
        )
    if set(wanted) & set(COPIES) and train is not None:
        copies = nearest_training_images(
            samples,
            train,
            copy_space or Pixels(),
            held_out=None if _same_images(reference, train) else reference,
            batch_size=batch_size,
            device=device,
            progress=progress,
        )
        pair = copies.metrics(resamples=resamples, level=level, seed=seed)
        resize = extractor_resize(copy_space or Pixels(), image_shape(samples))
        results += [with_distance(replace(one, resize=resize)) for one in pair if one.name in wanted]
    return sorted(results, key=lambda metric: METRICS.index(metric.name))


def _wanted(metrics: Sequence[str] | None, given: dict[str, bool]) -> list[str]:
    needs: dict[str, tuple[str, ...]] = {
        "diversity": ("requested",),
        "agreement": ("requested", "judge"),
        "cluster_agreement": ("requested", "annotation"),
        "nearest_train": ("train",),
        "copies": ("train",),
    }
    missing = {name: [need for need in needs.get(name, ()) if not given[need]] for name in METRICS}
    if given["annotation"] and not given["meaning"]:
        # The ids are clusters then, and a judge knows labels only.
        missing["agreement"].append("meaning")
    if metrics is None:
        return [name for name in METRICS if not missing[name]]
    unknown = [name for name in metrics if name not in METRICS]
    if unknown:
        raise ValueError(f"unknown metrics {unknown}; known: {', '.join(METRICS)}")
    if not metrics:
        raise ValueError(f"no metrics asked for; known: {', '.join(METRICS)}")
    for name in metrics:
        if missing[name]:
            raise ValueError(f"the metric {name!r} also needs: {', '.join(missing[name])}")
    return list(metrics)


def _obedience(
    samples: Images,
    requested: Tensor,
    *,
    judge: Classifier | None,
    meaning: Tensor | None,
    annotation: Callable[[Tensor], Tensor] | None,
    level: float,
    batch_size: int,
    device: torch.device | str | None,
    progress: bool,
) -> list[Metric]:
    results: list[Metric] = []
    if judge is not None:
        metric = judge_agreement(
            samples,
            requested,
            judge,
            meaning=meaning,
            batch_size=batch_size,
            level=level,
            device=device,
            progress=progress,
        )
        results.append(metric)
    if annotation is not None:
        names = (getattr(annotation, key, None) for key in ("name", "extractor_name"))
        metric = cluster_agreement(
            samples,
            requested,
            annotation,
            name=next((name for name in names if isinstance(name, str)), "annotation"),
            batch_size=batch_size,
            level=level,
            device=device,
            progress=progress,
        )
        results.append(metric)
    return results


def _in_feature_space(
    samples: Images,
    reference: Images,
    extractor: Extractor,
    wanted: Sequence[str],
    *,
    requested: Tensor | None,
    annotation: Callable[[Tensor], Tensor] | None,
    k: int,
    allow_few: bool,
    resamples: int,
    level: float,
    batch_size: int,
    device: torch.device | str | None,
    seed: int,
    progress: bool,
) -> list[Metric]:
    if set(wanted) == {"frechet"} and not resamples:
        one, two = (
            image_statistics(part, extractor, batch_size=batch_size, device=device, progress=progress)
            for part in (samples, reference)
        )
        value = frechet_between(one, two, allow_few=allow_few)
        metric = Metric(
            name="frechet",
            value=value,
            better="lower",
            level=level,
            n_samples=one.count,
            n_reference=two.count,
            settings={"dimension": one.dimension},
        )
        return [metric]

    def features(images: Images) -> Tensor:
        return extract_features(images, extractor, batch_size=batch_size, device=device, progress=progress)

    rows, others = features(samples), features(reference)
    results: list[Metric] = []
    if "frechet" in wanted:
        results.append(
            frechet(rows, others, allow_few=allow_few, resamples=resamples, level=level, seed=seed)
        )
    if "kid" in wanted:
        results.append(kernel_distance(rows, others, resamples=resamples, level=level, seed=seed))
    if set(wanted) & set(MANIFOLD):
        four = manifold(rows, others, k=k, resamples=resamples, level=level, seed=seed)
        results += [metric for metric in four if metric.name in wanted]
    if "diversity" in wanted and requested is not None:
        metric = within_condition_diversity(rows, requested, resamples=resamples, level=level, seed=seed)
        ids = getattr(reference, "labels", None)
        if annotation is not None:
            ids = map_images(reference, annotation, batch_size=batch_size, device=device, progress=progress)
        if ids is not None:
            known = ids >= 0
            real = within_condition_diversity(others[known], ids[known], resamples=0)
            metric.details["reference"] = real.value
        results.append(metric)
    return results


def _same_images(one: Images, two: Images) -> bool:
    if one is two:
        return True
    if isinstance(one, Tensor) or isinstance(two, Tensor):
        return isinstance(one, Tensor) and isinstance(two, Tensor) and torch.equal(one, two)
    prints = getattr(one, "fingerprint", None), getattr(two, "fingerprint", None)
    return prints[0] is not None and prints[0] == prints[1]
