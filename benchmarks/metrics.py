"""What metrics and features cost beside torchmetrics, faiss and scikit-learn.

- pca: ``PCA(20)`` of 1500 images of 3072 numbers, beside scikit-learn's randomised method;
- kid: the kernel distance of 4000 x D features with its interval, beside torchmetrics' ``poly_mmd``;
- manifold: precision, recall, density and coverage with intervals, beside the formulas of their authors' code
  (``prdc``) with NumPy and scikit-learn;
- nearest, nearest of 5: beside faiss' exact index;
- frechet: 2000 x 256 with interval and bias, beside torchmetrics' value alone.

Every round runs both of a pair, their order turned each time; times are processor time on one thread.
Run ``python benchmarks/metrics.py``.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from paired import Call, paired
from torch import Tensor

sys.path.append(str(Path(__file__).parent.parent / "reproductions"))
from results import markdown, publish  # noqa: E402

from windvane.annotate import PCA  # noqa: E402
from windvane.metrics import frechet, kernel_distance, manifold  # noqa: E402
from windvane.metrics.distances import nearest  # noqa: E402


class Images:
    """Images in memory, as the extractors read them."""

    def __init__(self, images: Tensor) -> None:
        self.images, self.shape = images, tuple(images.shape[1:])

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, rows: slice | Tensor) -> Tensor:
        return self.images[rows]


def numbers(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def principal_components(images: Tensor) -> tuple[Call, Call]:
    from sklearn.decomposition import PCA as Randomised

    data, flat = Images(images), images.flatten(1).numpy()

    def theirs() -> object:
        return Randomised(20, svd_solver="randomized", random_state=0).fit(flat)

    return lambda: PCA(20).fit(data, progress=False), theirs


def balls(real: np.ndarray, fake: np.ndarray, k: int = 5) -> tuple[float, ...]:
    """Precision, recall, density and coverage as prdc computes them."""
    from sklearn.metrics import pairwise_distances

    def reach(rows: np.ndarray) -> np.ndarray:
        distances = pairwise_distances(rows, rows)
        return np.partition(distances, k, axis=1)[:, : k + 1].max(1)

    inner, outer, across = reach(real), reach(fake), pairwise_distances(real, fake)
    inside = across < inner[:, None]
    return (
        inside.any(0).mean(),
        (across < outer[None]).any(1).mean(),
        inside.sum(0).mean() / k,
        (across.min(1) < inner).mean(),
    )


def exact_index(rows: Tensor, reference: Tensor, k: int) -> object:
    import faiss

    faiss.omp_set_num_threads(1)
    index = faiss.IndexFlatL2(rows.shape[1])
    index.add(reference.numpy())
    return index.search(rows.numpy(), k)


def plain_frechet(rows: Tensor, reference: Tensor) -> Tensor:
    from torchmetrics.image.fid import _compute_fid

    a, b = rows.double(), reference.double()
    return _compute_fid(a.mean(0), a.T.cov(), b.mean(0), b.T.cov())


def pairs(n: int, dims: list[int]) -> dict[str, tuple[Call, Call]]:
    """Our call and the other's, by name."""
    from torchmetrics.image.kid import poly_mmd

    smooth = F.interpolate(numbers(1500, 3, 8, 8, seed=0), size=(32, 32), mode="bilinear")
    noise = numbers(1500, 3, 32, 32, seed=1)
    found = {
        "pca, 1500 smooth images": principal_components(smooth + 0.3 * noise),
        "pca, 1500 images of noise": principal_components(noise),
    }
    for dim in dims:
        x, y = numbers(n, dim, seed=2), numbers(n, dim, seed=3) + 0.1
        found |= {
            f"kid, {n} x {dim}": (lambda x=x, y=y: kernel_distance(x, y), lambda x=x, y=y: poly_mmd(x, y)),
            f"manifold, {n} x {dim}": (
                lambda x=x, y=y: manifold(x, y),
                lambda x=x, y=y: balls(y.numpy(), x.numpy()),
            ),
        }
        for k in (1, 5):
            found[f"nearest {k}, {n} x {dim}"] = (
                lambda x=x, y=y, k=k: nearest(x, y, k=k),
                lambda x=x, y=y, k=k: exact_index(x, y, k),
            )
    a, b = numbers(2000, 256, seed=4), numbers(2000, 256, seed=5)
    found["frechet, 2000 x 256"] = (lambda: frechet(a, b), lambda: plain_frechet(a, b))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("parts", nargs="*", help="only rows whose names begin with one of these")
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--dims", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--no-record", action="store_true", help="print only, leave RESULTS.md as it is")
    args = parser.parse_args()
    torch.set_num_threads(1)
    lines = []
    for name, (ours, theirs) in pairs(args.rows, args.dims).items():
        if args.parts and not name.startswith(tuple(args.parts)):
            continue
        pair = paired(name, ours, theirs, args.rounds)
        lines.append([name, f"{1000 * pair.own:.0f}", f"{1000 * pair.other:.0f}", f"{pair.ratio:.2f}"])
        print(*lines[-1], flush=True)
    body = markdown(["measure", "windvane, ms", "the other, ms", "ratio"], lines)
    body += f"\n\nProcessor time on one thread, medians of {args.rounds} rounds of interleaved pairs."
    publish("What metrics and features cost", body, keep=not args.no_record)


if __name__ == "__main__":
    main()
