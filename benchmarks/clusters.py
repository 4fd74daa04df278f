"""What clusters cost: k-means by default beside faiss, and choosing their number for twice as many images.

- kmeans: ``Clusters(K)`` on N x D vectors, normalising and final assignment included, beside ``faiss.Kmeans``
  with its 25 rounds of one start; processor time, interleaved, and the mean squared distance to the centres;
- auto: ``candidates``, ``choose_k`` and the fit of the recommended number on n and 2n vectors.

Run ``python benchmarks/clusters.py [kmeans] [auto] --rounds 15``.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from windvane.annotate import Clusters, choose_k
from windvane.annotate.images.choice_of_k import candidates


def groups(n: int, dim: int, count: int, noise: float = 1.0) -> Tensor:
    """Unit vectors round ``count`` centres."""
    numbers = torch.Generator().manual_seed(0)
    centres = torch.randn(count, dim, generator=numbers)
    return F.normalize(
        centres[torch.arange(n) % count] + noise * torch.randn(n, dim, generator=numbers), dim=1
    )


def timed(call: Callable[[], object]) -> float:
    """Seconds of processor time."""
    begin = time.process_time()
    call()
    return time.process_time() - begin


def squares(rows: Tensor, centres: Tensor) -> float:
    return sum(float(torch.cdist(part, centres).amin(1).square().sum()) for part in rows.split(4096)) / len(
        rows
    )


def measure_kmeans(n: int, dim: int, k: int, rounds: int) -> None:
    """One line for vectors of k groups, of fewer groups than clusters, and without groups."""
    import faiss

    flat = F.normalize(torch.randn(n, dim, generator=torch.Generator().manual_seed(5)), dim=1)
    for name, rows in (
        (f"{k} groups", groups(n, dim, k)),
        (f"{k // 5} groups", groups(n, dim, k // 5)),
        ("no groups", flat),
    ):
        ratios, own, other = [], [], []
        for turn in range(rounds):
            means = faiss.Kmeans(dim, k, seed=turn + 1, min_points_per_centroid=1)
            direct = timed(lambda means=means, rows=rows: means.train(rows.numpy()))
            clusters = Clusters(k, seed=turn)
            ratios.append(timed(lambda clusters=clusters, rows=rows: clusters.fit(rows)) / direct)
            own.append(squares(rows, clusters.centres))
            other.append(squares(rows, torch.tensor(means.centroids).reshape(k, dim)))
        print(
            f"{name}: time over faiss {statistics.median(ratios):.2f}, mean square "
            f"{statistics.median(own):.4f}, faiss {statistics.median(other):.4f}",
            flush=True,
        )


def measure_auto(n: int, rounds: int) -> None:
    """Time for 2n over time for n."""

    def run(rows: Tensor) -> None:
        choice = choose_k(rows, candidates(len(rows)), progress=False)
        Clusters(choice.recommended).fit(rows)

    small, large = groups(n, 128, 40), groups(2 * n, 128, 40)
    ratios = []
    for _ in range(rounds):
        base = timed(lambda: run(small))
        ratios.append(timed(lambda: run(large)) / base)
    print(f"--k auto, {n:,} to {2 * n:,} vectors: time x {statistics.median(ratios):.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("parts", nargs="*", help="kmeans, auto; both by default")
    parser.add_argument("--vectors", type=int, nargs=3, default=(50_000, 384, 1000), metavar=("N", "D", "K"))
    parser.add_argument("--auto", type=int, nargs="+", default=[5000, 20_000], help="n of each measurement")
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    parts = args.parts or ["kmeans", "auto"]
    if set(parts) - {"kmeans", "auto"}:
        parser.error("parts are kmeans and auto")
    if "kmeans" in parts:
        measure_kmeans(*args.vectors, args.rounds)
    for n in args.auto if "auto" in parts else ():
        measure_auto(n, args.rounds)


if __name__ == "__main__":
    main()
