"""From images to their annotation, in one call; what was computed before is read and not computed again."""

import warnings
from pathlib import Path

import torch
from torch import Tensor

from windvane.annotate.features.by_name import features_from
from windvane.annotate.features.extraction import extracted
from windvane.annotate.features.extractor import FeatureExtractor, Images, learns, text_key
from windvane.annotate.features.fitting import learnt
from windvane.annotate.images.annotation import Annotation
from windvane.annotate.images.clusters import Backend, Clusters
from windvane.annotate.process_group import Group
from windvane.annotate.sealed_pair import FORMAT
from windvane.annotate.work import Work
from windvane.files import discard
from windvane.registry import known_names


def annotate(
    data: Images,
    *,
    features: str | FeatureExtractor = "selfsup",
    k: int,
    seed: int = 0,
    normalise: bool = True,
    restarts: int | None = None,
    backend: Backend = "auto",
    flip: bool = False,
    cache: str | Path | None = None,
    batch_size: int = 256,
    device: str | torch.device | None = None,
    group: Group | None = None,
    progress: bool = True,
) -> Annotation:
    """Cluster ids for every image of a data set, and the frozen rule for new images.

    k = onehot(f(g(x); D)): features, learnt on the data first where they need it, then k-means on unit
    vectors. Source: Self-Guided Diffusion Models (Hu et al. 2023, arXiv 2210.06462), section 3.

    Args:
        data: the images; labels are not looked at.
        features: a text such as "pixels", "pca", "selfsup", "hub:facebook/dinov2-small", or an extractor;
            one that is not fitted yet is fitted on the data.
        k: the number of clusters.
        seed: of the clusters, and of a self-supervised encoder named by a text.
        normalise: L2-normalise the features before clustering.
        restarts: initialisations of k-means; None chooses by the size, see :class:`Clusters`.
        backend: of k-means, see :class:`Clusters`.
        flip: mirror images count as the same: average features with those of the mirror image, and mirror
            the views of a self-supervised encoder named by a text.
        cache: a folder; the same data, features, k and seed are read from it and not computed again, and a
            killed run goes on there: with the encoder it had learnt and the features it had extracted.
        batch_size: images per call of the extractor.
        device: where to compute features; None leaves an extractor where it is.
        group: processes that share the extraction and all make this call; they need a ``cache``. The result
            is the same in all of them, and for any number of them.
        progress: show bars.

    Raises:
        ValueError: k larger than the number of images, unknown features, a backend that is not installed.
    """
    clusters = Clusters(k, seed=seed, normalise=normalise, restarts=restarts, backend=backend)
    return annotated(data, Work.of(batch_size, device, cache, group, progress), features, clusters, flip)


def annotated(
    data: Images, work: Work, features: str | FeatureExtractor, clusters: Clusters, flip: bool = False
) -> Annotation:
    """:func:`annotate`, by the work as one value and clusters that are not fitted yet."""
    k, seed, group = clusters.k, clusters.seed, work.group
    if k > len(data):
        raise ValueError(f"k={k} clusters need at least as many images, got {len(data)}")
    clusters.check_backend()
    extractor = features_from(features, seed=seed, flip=flip) if isinstance(features, str) else features
    unfitted = extractor if learns(extractor) and not extractor.fitted else None
    recipe = extractor.name if unfitted is None else unfitted.recipe
    kept = None
    if work.cache is not None and (unfitted is None or unfitted.kind in known_names("features")):
        parts = (FORMAT, recipe, unfitted is not None, clusters.settings(), flip, data.fingerprint)
        kept = Path(work.cache) / f"annotation-{text_key(*parts)}"
        # An extractor that was given stays in use; one to be fitted is loaded with the annotation.
        found = _read_kept(kept, data, extractor if unfitted is None else None)
        if group.agree(found is not None) and found is not None:
            return found
    if unfitted is not None:
        extractor = learnt(unfitted, data, work)
    values = extracted(extractor, data, work, flip)
    # One process decides: k-means may round in another way where another number of threads adds up.
    centres, sizes, ids = group.first(lambda: _clustered(clusters, values))
    clusters.restored(centres, sizes)
    distances = (clusters.prepared(values) - centres[ids]).square().sum(dim=1)
    made = Annotation(
        ids,
        k,
        fingerprint=data.fingerprint,
        clusters=clusters,
        extractor=extractor,
        flip=flip,
        distances=distances,
        shape=data.shape,
    )
    if kept is not None and group.rank == 0:
        discard(kept)  # what was damaged
        made.save(kept)
    group.wait()
    return made


def _clustered(clusters: Clusters, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    ids = clusters.fit(values).assign(values)
    return clusters.centres, clusters.sizes, ids


def _read_kept(kept: Path, data: Images, extractor: FeatureExtractor | None) -> Annotation | None:
    if not kept.exists():
        return None
    try:
        return Annotation.load(kept, data=data, extractor=extractor)
    except ValueError as error:
        # A cache may be thrown away at any time, so damage costs time but is no error.
        warnings.warn(f"annotated again: {error}", stacklevel=3)
        return None
