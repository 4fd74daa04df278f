"""What annotation costs: features of images, and k-means, each beside the direct call in the same run.

- features: images a second of pixels, principal components, the self-supervised encoder and a small vision
  transformer with random weights, as a plain loop over batches (``direct``), by ``extract`` in memory, by
  ``extract`` into shards on the disk, and read back from them;
- k-means: ``Clusters`` on 50,000 x 384 vectors, K = 1,000, one start, beside scikit-learn and faiss called
  directly with the same settings. scikit-learn needs most of its time for k-means++, so few rounds of Lloyd
  are made (``--iterations``) and each contender runs once;
- resume: ``windvane annotate`` on 20,000 images killed by SIGKILL in the middle of extraction, and started
  again, beside an undisturbed run (needs ``--data``, such as the parquet file of CIFAR-10).

Run ``python benchmarks/annotation.py [features] [kmeans] [resume]``; below four minutes a part on one thread.
The figures go to RESULTS.md unless ``--dry`` is given.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from windvane.annotate import PCA, Clusters, FeatureExtractor, HubEncoder, Pixels, SelfSup, extract
from windvane.data import ImageData

sys.path.append(str(Path(__file__).parent.parent / "reproductions"))
from results import markdown, record  # noqa: E402

BATCH = 256


def timed(run: Callable[[], object]) -> float:
    """Seconds of a call."""
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def pictures(n: int) -> ImageData:
    """n random 32 x 32 colour images."""
    return ImageData(np.random.default_rng(0).integers(0, 256, (n, 3, 32, 32), dtype=np.uint8))


def transformer(folder: Path) -> Path:
    """A vision transformer of 4 layers and width 128 with random weights, in a folder."""
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=512,
        image_size=32,
        patch_size=8,
    )
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def directly(call: Callable[[Tensor], Tensor], data: ImageData, dim: int) -> Callable[[], Tensor]:
    """The loop one would write by hand."""

    def run() -> Tensor:
        found = torch.empty(len(data), dim)
        with torch.no_grad():
            for start in range(0, len(data), BATCH):
                rows = slice(start, min(start + BATCH, len(data)))
                found[rows] = call(data.batch(rows))
        return found

    return run


def raw_calls(
    folder: Path, data: ImageData
) -> dict[str, tuple[FeatureExtractor, Callable[[Tensor], Tensor]]]:
    """Extractors by name, each with what it calls inside: torch or transformers, without this library."""
    from transformers import ViTModel

    few = data.subset(slice(0, 2000))
    pixels, pca = Pixels().fit(few), PCA(20).fit(few, progress=False)
    encoder = SelfSup(steps=2, batch=32).fit(few, progress=False)
    hub = HubEncoder(transformer(folder), size=32)
    vit = ViTModel.from_pretrained(folder, add_pooling_layer=False).eval()
    state, network = pca.state(), encoder.encoder
    assert network is not None
    return {
        "pixels (3,072)": (pixels, lambda x: x.flatten(1)),
        "PCA (20)": (pca, lambda x: (x.flatten(1) - state["mean"]) @ state["components"]),
        "own encoder (128)": (encoder, network),
        "ViT, 4 layers (128)": (hub, lambda x: vit(pixel_values=x).last_hidden_state[:, 0]),
    }


def measure_features(n: int, rounds: int) -> list[list[str]]:
    """Images a second, and the ratio of times to the direct loop (median of the rounds)."""
    rows = []
    with tempfile.TemporaryDirectory() as place:
        data = pictures(n)
        for name, (extractor, call) in raw_calls(Path(place) / "vit", data).items():
            caches = [Path(place) / f"{name[:3]}{turn}" for turn in range(rounds)]
            ways: dict[str, Callable[[int], object]] = {
                "direct": lambda turn, call=call, dim=extractor.dim: directly(call, data, dim)(),
                "memory": lambda turn, e=extractor: extract(e, data, progress=False),
                "shards": lambda turn, e=extractor, c=caches: extract(e, data, cache=c[turn], progress=False),
                "read": lambda turn, e=extractor, c=caches: extract(e, data, cache=c[turn], progress=False),
            }
            ways["direct"](0)
            seconds = {way: [] for way in ways}  # type: dict[str, list[float]]
            for turn in range(rounds):
                for way, run in ways.items():
                    seconds[way].append(timed(lambda run=run, turn=turn: run(turn)))
            ratio = {
                way: statistics.median(s / d for s, d in zip(seconds[way], seconds["direct"])) for way in ways
            }
            speed = {way: f"{n / statistics.median(seconds[way]):,.0f}" for way in ways}
            cells = [f"{speed[way]} ({ratio[way]:.2f})" for way in ("memory", "shards", "read")]
            rows.append([name, speed["direct"], *cells])
            print("  ".join(rows[-1]), flush=True)
    return rows


def vectors(n: int, dim: int, groups: int) -> Tensor:
    """Unit vectors round ``groups`` centres, as features of images lie."""
    numbers = torch.Generator().manual_seed(0)
    centres = torch.randn(groups, dim, generator=numbers)
    noise = torch.randn(n, dim, generator=numbers)
    return F.normalize(centres[torch.arange(n) % groups] + noise, dim=1)


def squares(rows: Tensor, centres: Tensor) -> float:
    """Mean squared distance to the nearest centre."""
    return sum(float(torch.cdist(part, centres).amin(1).square().sum()) for part in rows.split(4096)) / len(
        rows
    )


def measure_kmeans(n: int, dim: int, k: int, iterations: int) -> list[list[str]]:
    """Seconds of ours and of the direct calls, and how good the clusters are."""
    import faiss
    from sklearn.cluster import KMeans

    rows = vectors(n, dim, k)
    values, found = rows.numpy(), {}

    def sklearn_directly() -> None:
        means = KMeans(k, n_init=1, max_iter=iterations, random_state=0).fit(values)
        found["scikit-learn"] = torch.from_numpy(means.cluster_centers_)

    def faiss_directly() -> None:
        means = faiss.Kmeans(dim, k, niter=iterations, nredo=1, seed=0, min_points_per_centroid=1)
        means.train(values)
        means.index.search(values, 1)
        found["faiss"] = torch.tensor(means.centroids).reshape(k, dim)

    def ours(backend: str) -> None:
        clusters = Clusters(k, restarts=1, iterations=iterations, backend=backend)  # type: ignore[arg-type]
        found[f"windvane, {backend}"] = clusters.fit(rows).centres

    table = []
    for peer, direct, backend in (
        ("faiss", faiss_directly, "faiss"),
        ("scikit-learn", sklearn_directly, "sklearn"),
    ):
        base, own = timed(direct), timed(lambda backend=backend: ours(backend))
        for name, seconds in ((peer, base), (f"windvane, {backend}", own)):
            table.append(
                [name, f"{seconds:.1f}", f"{seconds / base:.2f}", f"{squares(rows, found[name]):.4f}"]
            )
            print("  ".join(table[-1]), flush=True)
    return table


def annotating(data: Path, folder: Path, limit: int, steps: int) -> "subprocess.Popen[str]":
    """``windvane annotate`` with a cache of its own."""
    command = [sys.executable, "-m", "windvane", "annotate", str(data), "--out", str(folder / "out")]
    command += ["--features", f"selfsup:{steps}", "--k", "10"]
    for text in (f"data.limit={limit}", "data.holdout=0", "annotate.stability=0"):
        command += ["--set", text]
    environment = {**os.environ, "WINDVANE_CACHE": str(folder / "cache"), "WINDVANE_PROGRESS": "0"}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def finished(process: "subprocess.Popen[str]") -> None:
    _, said = process.communicate()
    if process.returncode != 0:
        raise SystemExit(said)


def kept(folder: Path) -> dict[Path, tuple[int, int]]:
    """What must not be made again, the encoder and the shards: file and time of writing."""
    found = [*folder.glob("cache/annotate/features-*/shard-*"), *folder.glob("cache/annotate/extractor-*/*")]
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}


def measure_resume(data: Path, limit: int, steps: int) -> list[list[str]]:
    """An undisturbed run, and one killed when half of the shards were there and started again."""
    with tempfile.TemporaryDirectory() as place:
        whole, broken = Path(place) / "whole", Path(place) / "broken"
        alone = timed(lambda: finished(annotating(data, whole, limit, steps)))
        total = len([path for path in kept(whole) if path.name.startswith("shard")])
        process = annotating(data, broken, limit, steps)
        begin = time.perf_counter()
        while len(list(broken.glob("cache/annotate/features-*/shard-*"))) < total // 2:
            if process.poll() is not None:
                finished(process)
                raise SystemExit("it ended before it could be killed")
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        first, before = time.perf_counter() - begin, kept(broken)
        again = timed(lambda: finished(annotating(data, broken, limit, steps)))
        after = kept(broken)
        untouched = sum(after.get(path) == stat for path, stat in before.items())
        names = sorted(path.name for path in (whole / "out").iterdir())
        equal = sum((whole / "out" / n).read_bytes() == (broken / "out" / n).read_bytes() for n in names)
    shards = len(before) - 2
    return [
        ["images", f"{limit:,} of {data.name}"],
        ["undisturbed run", f"{alone:.0f} s, {total} shards"],
        ["killed (SIGKILL) after", f"{first:.0f} s, with the encoder and {shards} of {total} shards written"],
        ["started again", f"{again:.0f} s"],
        ["files of encoder and shards left untouched", f"{untouched} of {len(before)}"],
        ["files of the annotation equal byte for byte", f"{equal} of {len(names)} ({', '.join(names)})"],
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("parts", nargs="*", help="features, kmeans, resume; all of them by default")
    parser.add_argument("--images", type=int, default=8192)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--vectors", type=int, nargs=3, default=(50_000, 384, 1000), metavar=("N", "D", "K"))
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--data", type=Path, default=None, help="for resume")
    parser.add_argument("--limit", type=int, default=20_000)
    parser.add_argument("--steps", type=int, default=30, help="of the encoder, for resume")
    parser.add_argument("--dry", action="store_true", help="do not write RESULTS.md")
    args = parser.parse_args()
    parts = args.parts or ["features", "kmeans", *(["resume"] if args.data else [])]
    if set(parts) - {"features", "kmeans", "resume"} or ("resume" in parts and args.data is None):
        parser.error("parts are features, kmeans and resume; resume needs --data")
    threads = f"{torch.get_num_threads()} thread(s)"
    n, dim, k = args.vectors
    told: list[tuple[str, str]] = []
    if "features" in parts:
        table = markdown(
            ["features", "direct", "in memory", "into shards", "read back"],
            measure_features(args.images, args.rounds),
        )
        note = f"{args.images:,} images of 3 x 32 x 32, {threads}, batches of {BATCH}, {args.rounds} rounds"
        told.append(
            ("Annotation: images a second", f"{note}; in brackets time over the direct loop.\n\n{table}")
        )
    if "kmeans" in parts:
        table = markdown(
            ["k-means", "seconds", "over the direct call", "mean square"],
            measure_kmeans(n, dim, k, args.iterations),
        )
        note = (
            f"{n:,} x {dim}, K = {k:,}, {threads}, one start, at most {args.iterations} iterations, run once"
        )
        told.append((f"Annotation: k-means at {n:,} x {dim}", f"{note}.\n\n{table}"))
    if "resume" in parts:
        table = markdown(["what", "found"], measure_resume(args.data, args.limit, args.steps))
        told.append(("Annotation: killed and resumed", table))
    for title, body in told:
        print(f"\n{title}\n{body}")
        if not args.dry:
            record(title, body)


if __name__ == "__main__":
    main()
