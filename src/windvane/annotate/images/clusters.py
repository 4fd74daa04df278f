"""Cluster ids as labels: k-means on unit-length features, normalised in one place."""

import warnings
from typing import Any, Literal, Self, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from windvane.annotate.images.id_draws import Source, draw_ids
from windvane.annotate.images.lloyd import lloyd
from windvane.annotate.images.nearest_centres import Nearest, nearest
from windvane.arguments import attributes
from windvane.conditions import Condition
from windvane.randomness import derive_seed, generator, seed_range

Backend = Literal["auto", "sklearn", "lloyd", "faiss"]

#: Above so many distances a round, one start of 30 rounds has to do, and "auto" takes "lloyd".
MUCH = 10_000_000


class Clusters:
    """k-means with Euclidean distance on L2-normalised features: f(g(x); D) in Self-Guided Diffusion
    Models (Hu et al. 2023, arXiv 2210.06462, section 3).

        centres = argmin sum_i min_c |v_i - m_c|^2,  v = g / |g|;   id(x) = argmin_c |v(x) - m_c|^2.

    Features are normalised by one method, used for fitting and for assigning alike; the published code
    assigns unnormalised features, which favours long centres. Clusters are numbered by falling size.

    Args:
        k: the number of clusters.
        seed: of the initial centres; the same seed gives the same clusters.
        normalise: L2-normalise; a zero vector stays zero.
        restarts: independent initialisations, of which the one with the lowest sum of squares is kept; None
            takes 4, or 1 where there is much to do: more than 10 million distances a round (vectors times k).
        iterations: at most so many rounds of k-means; None takes 100, or, where there is much to do, 30 as
            published.
        backend: "sklearn"; "lloyd", see :func:`windvane.annotate.images.lloyd.lloyd`; "faiss" (needs the
            faiss extra); or "auto": lloyd where there is much to do, sklearn elsewhere. The same settings
            give the same clusters whatever is installed. lloyd and faiss learn the centres on at most 256
            vectors a cluster, drawn at random (lloyd on 65,536 at least).
    """

    def __init__(
        self,
        k: int,
        *,
        seed: int = 0,
        normalise: bool = True,
        restarts: int | None = None,
        iterations: int | None = None,
        backend: Backend = "auto",
    ) -> None:
        if any(number is not None and number < 1 for number in (k, restarts, iterations)):
            raise ValueError(
                f"k, restarts and iterations must be at least 1, got {k}, {restarts}, {iterations}"
            )
        if backend not in get_args(Backend):
            raise ValueError(f"unknown backend {backend!r}; known: {', '.join(get_args(Backend))}")
        self.k, self.seed, self.normalise = k, seed, normalise
        self.restarts, self.iterations, self.backend = restarts, iterations, backend
        self._centres: Tensor | None = None
        self._sizes: Tensor | None = None

    @property
    def dim(self) -> int:
        """The length of the one-hot condition: k."""
        return self.k

    @property
    def centres(self) -> Tensor:
        """Centres ``(k, D)``, float32."""
        return self._fitted()[0]

    @property
    def sizes(self) -> Tensor:
        """Training images per cluster ``(k,)``, int64."""
        return self._fitted()[1]

    def _fitted(self) -> tuple[Tensor, Tensor]:
        if self._centres is None or self._sizes is None:
            raise ValueError("the clusters are not fitted yet: call .fit(features) first")
        return self._centres, self._sizes

    def prepared(self, features: Tensor) -> Tensor:
        """Features as k-means sees them, float32 on the CPU: the only place where they are normalised."""
        if features.ndim != 2:
            raise ValueError(f"features must have shape (n, D), got {tuple(features.shape)}")
        rows = features.detach().to("cpu", torch.float32)
        return F.normalize(rows, dim=1) if self.normalise else rows

    def fit(self, features: Tensor) -> Self:
        """Find the centres of features ``(n, D)``.

        Raises:
            ValueError: k > n, fewer than k different features, or values that are not finite.
        """
        rows = self.prepared(features)
        if self.k > len(rows):
            raise ValueError(f"k={self.k} clusters need at least as many images, got {len(rows)}")
        if not torch.isfinite(rows).all():
            raise ValueError("the features contain values that are not finite")
        self.check_backend()
        centres, before = self._centred(rows)
        distinct = len(torch.unique(centres, dim=0))
        if distinct < self.k:
            raise ValueError(f"k={self.k} clusters, but there are only {distinct} different features")
        found = nearest(rows, centres, before)
        sizes = torch.bincount(found.ids, minlength=self.k)
        order = sizes.argsort(descending=True, stable=True)
        self._centres = centres[order].contiguous()
        # Ties go to the lower id, so where there are any, another order of the centres decides otherwise.
        self._sizes = (
            torch.bincount(nearest(rows, self._centres).ids, minlength=self.k) if found.ties else sizes[order]
        )
        return self

    def _centred(self, rows: Tensor) -> tuple[Tensor, Nearest | None]:
        """Centres in any order, and the last search of the nearest, where there was one."""
        match self.used_backend(len(rows)):
            case "faiss":
                return self._faiss(rows), None
            case "lloyd":
                restarts, iterations = self.effort(len(rows))
                numbers = generator(self.seed, 41)
                return lloyd(rows, self.k, restarts=restarts, iterations=iterations, generator=numbers)
        return self._sklearn(rows), None

    def check_backend(self) -> None:
        """Refuse, before any work is done, a backend that is not installed.

        Raises:
            ValueError: faiss is asked for, and is not installed.
        """
        if self.backend != "faiss":
            return
        try:
            import faiss  # noqa: F401
        except ImportError as error:
            raise ValueError(
                "backend='faiss' needs the extra: pip install 'windvane[faiss]'; "
                "backend='auto' does without, as fast"
            ) from error

    def used_backend(self, n: int) -> Backend:
        """What clusters ``n`` vectors: by their number alone, not by what is installed."""
        if self.backend != "auto":
            return self.backend
        return "lloyd" if n * self.k > MUCH else "sklearn"

    def effort(self, n: int) -> tuple[int, int]:
        """Restarts and rounds of k-means on ``n`` vectors."""
        usual = (4, 100) if n * self.k <= MUCH else (1, 30)
        restarts = usual[0] if self.restarts is None else self.restarts
        return restarts, usual[1] if self.iterations is None else self.iterations

    def _sklearn(self, rows: Tensor) -> Tensor:
        from sklearn.cluster import KMeans
        from sklearn.exceptions import ConvergenceWarning

        seed = derive_seed(self.seed) % 2**32
        restarts, iterations = self.effort(len(rows))
        means = KMeans(self.k, n_init=restarts, max_iter=iterations, random_state=seed)
        with warnings.catch_warnings():
            # Too few different points are refused by fit with a message of its own.
            warnings.simplefilter("ignore", ConvergenceWarning)
            means.fit(rows.numpy())
        return torch.from_numpy(means.cluster_centers_).float()

    def _faiss(self, rows: Tensor) -> Tensor:
        import faiss

        restarts, iterations = self.effort(len(rows))
        means = faiss.Kmeans(
            rows.shape[1],
            self.k,
            niter=iterations,
            nredo=restarts,
            seed=derive_seed(self.seed) % 2**31,
            min_points_per_centroid=1,
        )
        means.train(rows.numpy())
        return torch.tensor(means.centroids).reshape(self.k, -1).float()

    def assign(self, features: Tensor) -> Tensor:
        """The nearest centre of each feature ``(n, D)``: ids int64 ``(n,)``; ties go to the lower id.

        Raises:
            ValueError: features of another dimension than the centres, or not finite.
        """
        rows, centres = self.prepared(features), self.centres
        if rows.shape[1] != centres.shape[1]:
            raise ValueError(f"features have {rows.shape[1]} dimensions, the centres {centres.shape[1]}")
        if not torch.isfinite(rows).all():
            raise ValueError("the features contain values that are not finite")
        return nearest(rows, centres).ids

    def inertia(self, features: Tensor) -> float:
        """The sum of squared distances of features ``(n, D)`` to their centres."""
        rows = self.prepared(features)
        return float((rows - self.centres[nearest(rows, self.centres).ids]).double().square().sum())

    def draw(self, n: int, seed: int = 0, source: Source = "empirical") -> Tensor:
        """Ids int64 ``(n,)`` for new samples; the i-th depends on ``seed + i`` alone.

        Args:
            n: how many.
            seed: of the first.
            source: "empirical" (as often as in the training images) or "uniform".
        """
        return draw_ids(self.sizes, seed_range(seed, n), source)

    def condition(self, ids: Tensor) -> Condition:
        """Ids ``(n,)`` as a condition.

        Raises:
            ValueError: ids outside 0..k-1.
        """
        return Condition.vector(checked_ids(ids, self.k))

    def settings(self) -> dict[str, Any]:
        """What rebuilds these clusters, besides centres and sizes."""
        return attributes(self, "k", "seed", "normalise", "restarts", "iterations", "backend")

    def restored(self, centres: Tensor, sizes: Tensor) -> Self:
        """These clusters with stored centres ``(k, D)`` and sizes ``(k,)``.

        Raises:
            ValueError: other shapes, or centres that are not finite.
        """
        if centres.ndim != 2 or len(centres) != self.k or sizes.shape != (self.k,):
            raise ValueError(
                f"centres {tuple(centres.shape)} and sizes {tuple(sizes.shape)} do not fit k={self.k}"
            )
        if not torch.isfinite(centres).all():
            raise ValueError("the centres contain values that are not finite")
        self._centres, self._sizes = centres.float(), sizes.long()
        return self


def checked_ids(ids: Tensor, k: int) -> Tensor:
    """Ids as int64 ``(n,)``, all of them in 0..k-1."""
    if ids.ndim != 1 or ids.is_floating_point() or ids.dtype == torch.bool:
        raise ValueError(f"ids must be integers of shape (n,), got {ids.dtype} {tuple(ids.shape)}")
    if len(ids) and not (0 <= int(ids.min()) and int(ids.max()) < k):
        raise ValueError(f"ids must lie in 0..{k - 1}, got {int(ids.min())}..{int(ids.max())}")
    return ids.long()
