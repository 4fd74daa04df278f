"""Whether a feature space can tell real pictures from noise: what no model made, measured as samples are."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from windvane.metrics.features import Extractor, Images, extract_features
from windvane.metrics.manifold import manifold
from windvane.metrics.result import Metric
from windvane.randomness import generator

#: The rows of a sanity check, in the order in which they are told.
ROWS = ("noise", "shuffled pixels", "real images")
_MOST = 500
#: Noise that scores more than this share of what real images score makes a metric meaningless.
_BLIND = 0.5
#: Samples this many times as far from the training images as held-out ones are look unlike them.
_FAR = 1.5
#: Metrics that noise must score badly in; recall and coverage of noise are low in any space.
_JUDGED = ("precision", "density")


def sanity(
    reference: Images,
    extractor: Extractor,
    *,
    k: int = 5,
    batch_size: int = 256,
    device: torch.device | str | None = None,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Precision, recall, density and coverage of pictures that no model made, by row of :data:`ROWS`.

    Half of the reference (at most 500 images) is the reference here. Against it stand as many pictures of
    normal noise with the mean and spread of each channel, the other half with the pixels of each image
    shuffled, and the other half itself.

    Returns:
        {} where there are too few images for two halves of more than k, or they are no pictures.
    """
    order = torch.randperm(len(reference), generator=generator(seed, 91))[: 2 * _MOST]
    real, held = order[0::2], order[1::2]
    if min(len(real), len(held)) <= k:
        return {}
    images = _taken(reference, real, batch_size)
    if images.ndim != 4:
        return {}
    random = generator(seed, 92)
    mean, deviation = (f(images.movedim(1, 0).flatten(1), 1) for f in (torch.mean, torch.std))
    noise = torch.randn(images.shape, generator=random) * deviation[:, None, None] + mean[:, None, None]
    noise = noise.clamp(-1, 1)
    places = torch.rand((len(images), 1, images[0, 0].numel()), generator=random).argsort(-1)
    flat = images.flatten(2)
    shuffled = flat.gather(2, places.expand_as(flat)).reshape(images.shape)

    def features(pictures: Tensor) -> Tensor:
        return extract_features(pictures, extractor, batch_size=batch_size, device=device)

    others = features(_taken(reference, held, batch_size))
    found = {}
    for name, pictures in zip(ROWS, (noise, shuffled, images)):
        four = manifold(features(pictures), others, k=k, resamples=0)
        found[name] = {metric.name: metric.value for metric in four}
    return found


def with_sanity(metrics: Sequence[Metric], rows: dict[str, dict[str, float]]) -> list[Metric]:
    """The metrics with ``details["sanity"]``; where noise scores well, ``details["unfit"]`` says so."""
    return [_told(metric, rows) if rows and metric.name in rows[ROWS[0]] else metric for metric in metrics]


def with_distance(metric: Metric) -> Metric:
    """`nearest_train`; where samples are far beyond held-out images, ``details["beyond"]`` says so."""
    baseline = metric.details.get("baseline_mean")
    if metric.name != "nearest_train" or not baseline or metric.value < _FAR * baseline:
        return metric
    told = (
        f"the nearest training image is {metric.value / baseline:.2g} times as far from samples as from "
        f"{metric.details['baseline']}: they look unlike the data, whatever precision says"
    )
    return replace(metric, details={**metric.details, "beyond": told})


def _told(metric: Metric, rows: dict[str, dict[str, float]]) -> Metric:
    values = {name: row[metric.name] for name, row in rows.items()}
    details = {**metric.details, "sanity": values}
    real = values[ROWS[-1]]
    for name in ROWS[:-1]:
        if metric.name in _JUDGED and values[name] > _BLIND * real:
            details["unfit"] = (
                f"says nothing in these features, which do not tell {name} from real images: {name} scores "
                f"{values[name]:.3g}, real images {real:.3g}"
            )
            break
    return replace(metric, details=details)


def _taken(images: Images, rows: Tensor, batch_size: int) -> Tensor:
    parts = (images[r] if isinstance(images, Tensor) else images.batch(r) for r in rows.split(batch_size))
    return torch.cat([part.detach().to("cpu", torch.float32) for part in parts])
