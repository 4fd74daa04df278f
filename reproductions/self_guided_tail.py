"""Long tails: rare classes measured on equally many samples, and the advantage of self-labels over labels."""

import torch
from digit_models import labels_of, over
from results import markdown
from torch import Tensor

from windvane.data import ImageData
from windvane.metrics import extract_features, frechet, frechet_distance, manifold, over_seeds
from windvane.randomness import generator
from windvane.tasks.self_guided import Yardstick

#: Rare samples in every comparison, and how often they are drawn from those that there are.
FEW, DRAWS = 40, 20
TAIL = "tail's Fréchet"

#: arm, weight -> one dictionary of figures per seed.
Cells = dict[tuple[str, float], list[dict[str, float]]]


def balanced(data: ImageData, n: int) -> ImageData:
    """``n`` random images with as equal class sizes as can be."""
    labels = labels_of(data)
    order = torch.randperm(len(data), generator=generator(5))
    place = torch.empty_like(order)
    for k in range(int(labels.max()) + 1):
        rows = order[labels[order] == k]
        place[rows] = torch.arange(len(rows))
    # Firsts of all classes, then seconds, and so on.
    return data.subset((place * (int(labels.max()) + 1) + labels).argsort()[:n].sort().values)


class TailYardstick(Yardstick):
    """Adds the distance to held-out images in the training set's own shares, and figures of rare classes.

    The held-out images are balanced, so a model that draws a long tail as it is stands far from them; their
    mean and covariance weighed by the training shares of their classes are what such a model should meet.
    """

    def __init__(self, yardstick: Yardstick, train: ImageData, held_out: ImageData) -> None:
        self.judge, self.held_out, self.reference = yardstick.judge, yardstick.held_out, yardstick.reference
        self.train = train.batch(slice(None)).flatten(1)
        counts = torch.bincount(labels_of(train))
        labels = labels_of(held_out)
        self.rarest = counts.argsort()[: max(1, len(counts) // 3)]
        self.rare = torch.isin(labels, self.rarest)
        self.share = float(counts[self.rarest].sum() / counts.sum())
        weights = (counts / torch.bincount(labels, minlength=len(counts)))[labels].double()
        weights = weights / weights.sum()
        rows = self.reference.double()
        self.mean = weights @ rows
        centred = rows - self.mean
        self.covariance = (weights[:, None] * centred).T @ centred / (1 - weights.square().sum())

    def measure(self, images: Tensor) -> dict[str, float]:
        """Everything of the plain yardstick, then the tail's own figures."""
        features = extract_features(images, self.judge, progress=False)
        return super().measure(images) | {TAIL: self._tail(features)} | self._rare(images, features)

    def real(self) -> dict[str, float]:
        images = self.train.reshape(-1, *self.held_out.shape[1:])
        return super().real() | {TAIL: self._tail(extract_features(images, self.judge, progress=False))}

    def _tail(self, features: Tensor) -> float:
        rows = features.double()
        return float(frechet_distance(rows.mean(0), rows.T.cov(), self.mean, self.covariance))

    def _rare(self, images: Tensor, features: Tensor) -> dict[str, float]:
        """Quality and coverage of what the judge takes for rare classes.

        The distance of few rows in many dimensions is mostly bias, and coverage grows with their number; so
        every figure is the mean over ``DRAWS`` draws of ``FEW`` rows.
        """
        with torch.no_grad():
            taken = torch.isin(self.judge.classify(images).argmax(1), self.rarest)
        found = {"rare share": taken.double().mean().item()}
        names = ("rare Fréchet", "rare precision", "rare recall")
        if int(taken.sum()) < FEW:
            return found | dict.fromkeys(names, float("nan"))
        rows, real = features[taken], self.reference[self.rare]
        drawn = []
        for k in range(DRAWS):
            some = rows[torch.randperm(len(rows), generator=generator(6, k))[:FEW]]
            shares = {m.name: m.value for m in manifold(some, real, resamples=0)}
            distance = frechet(some, real, resamples=0, bias=False, allow_few=True).value
            drawn.append((distance, shares["precision"], shares["recall"]))
        return found | {name: sum(column) / DRAWS for name, column in zip(names, zip(*drawn), strict=True)}


def advantage(tail: Cells, even: Cells, real_tail: dict[str, float], real_even: dict[str, float]) -> str:
    """Self-labels' distance over true labels', with and without the tail: the paper's claim is about this.

    Each ratio is taken seed by seed at equal weight; in the last column the two are compared seed by seed.
    Distances to the held-out images in the shares of each model's own training set.
    """
    kinds = sorted({name for name, _ in tail if name.startswith("self-labels")})
    weights = sorted({weight for name, weight in tail if name in kinds})
    rows, clear = [], 0
    for name in kinds:
        for weight in weights:
            ratios = []
            for cells in (even, tail):
                pairs = zip(cells[name, weight], cells["true labels", weight], strict=True)
                ratios.append([a[TAIL] / b[TAIL] for a, b in pairs])
            gain = [a / b for a, b in zip(ratios[1], ratios[0], strict=True)]
            clear += len(gain) > 1 and over_seeds(gain).high < 1
            rows.append([name, f"{weight:g}", over(ratios[0]), over(ratios[1]), over(gain)])
    head = ["self over true labels", "weight", "balanced, as many images", "long tail", "tail over balanced"]
    told = (
        f"Below 1 with its whole interval lies the last column in {clear} of {len(rows)} rows. The floors, "
        f"real training images in the same measure: {real_even[TAIL]:.2f} balanced, {real_tail[TAIL]:.2f} "
        f"with the long tail."
    )
    return markdown(head, rows) + "\n\n" + told
