"""Autoguidance, intervals and gradient-free guidance (arXiv 2406.02507, 2404.07724, 2411.15393) on digits.

Class-conditional MLP denoisers with 10 % label dropout, 32 DDIM steps, the same seeds for every row. Fréchet
distances in a judge's features and in pixels, to held-out and to training digits, and how many samples the
judge, which did not guide, takes for another digit than the one asked for.

``quality``: a well-trained model, and its own average after 400 steps as the weak one of autoguidance.
``wrong``: a model after few steps, whose wrong samples gradient-free guidance is to mend, with a classifier
that saw some noise in training and one that saw none.
Settings were chosen on seeds 0 and 1; others are reported.

    python reproductions/gfcg.py                    # two CPU cores, some minutes
    python reproductions/gfcg.py --seeds 0 1 2
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from digit_guides import Setting, bar, fit_clean_classifier, fit_denoiser, setting
from digit_models import labels_of, over
from results import experiment, markdown, record
from torch import Tensor, nn

from windvane.conditions import Condition
from windvane.denoiser import Denoiser
from windvane.guidance import Autoguidance, ClassifierFree, GradientFree, interval
from windvane.metrics import extract_features
from windvane.samplers import DDIM, sample

STEPS = 32
LOW, HIGH = 0.19, 3.2
#: Above this noise level the classifier sees a blur.
CLEAR = 3.2
#: The largest noise on the images of the classifier that saw some.
NOISE = 0.5
REAL, EVERYTHING = "the training digits themselves", "classifier-free 2 in an interval of everything"
FEATURES, PIXELS, WRONG, NEAR_FEATURES, NEAR_PIXELS, ROWS = range(6)


@dataclass(frozen=True)
class Bench:
    """A seed's digits and judge, and the classes wanted."""

    where: Setting
    seed: int
    wanted: Tensor

    def measure(self, x: Tensor, wanted: Tensor, rows: float) -> tuple[float, ...]:
        """Distances to held-out digits, share of wrong ones, distances to training digits, evaluations."""
        real = self.where.data.batch(slice(None))
        reference = extract_features(real, self.where.judge, progress=False)
        trained_on = replace(self.where, held_out=self.where.data, reference=reference)
        return (
            self.where.distance(x), self.where.pixel_distance(x), 100 * (1 - self.where.accuracy(x, wanted)),
            trained_on.distance(x), trained_on.pixel_distance(x), rows,
        )  # fmt: skip

    def draw(self, denoiser: Denoiser) -> tuple[Tensor, float]:
        found = sample(
            denoiser, seeds=50_000 * (self.seed + 1), n=len(self.wanted), cond=Condition.vector(self.wanted),
            sampler=DDIM(), steps=STEPS, progress=False,
        )  # fmt: skip
        return found.x, found.rows_per_sample

    def real(self) -> tuple[float, ...]:
        data = self.where.data
        return self.measure(data.batch(slice(None)), labels_of(data), 0.0)


def quality(main: Denoiser, weak: Denoiser, classifier: nn.Module) -> dict[str, Denoiser]:
    """What is done with a well-trained model."""
    return {
        "none": main,
        "classifier-free 1.5": ClassifierFree(main, 1.5),
        "classifier-free 2": ClassifierFree(main, 2.0),
        f"classifier-free 2 in ({LOW}, {HIGH}]": ClassifierFree(main, interval(2.0, LOW, HIGH)),
        EVERYTHING: ClassifierFree(main, interval(2.0, 0.0, 1e9)),
        "autoguidance 1.5": Autoguidance(main, weak, 1.5),
        "autoguidance 3": Autoguidance(main, weak, 3.0),
        "gradient-free 2": GradientFree(main, classifier, 2.0),
        "gradient-free 2 and classifier-free 1.5": GradientFree(main, classifier, 2.0, classifier_free=1.5),
        "gradient-free and autoguidance 1.5": GradientFree(main, classifier, 1.5, weak=weak, sure=0.9),
    }


def mending(model: Denoiser, clean: nn.Module, noisy: nn.Module) -> dict[str, Denoiser]:
    """What is done with a model that still gets classes wrong."""
    below = interval(4.0, 0.0, CLEAR, outside=0.0)
    return {
        "none": model,
        "gradient-free 2, classifier of clean images": GradientFree(model, clean, 2.0),
        "gradient-free 2": GradientFree(model, noisy, 2.0),
        "gradient-free 4": GradientFree(model, noisy, 4.0),
        f"gradient-free 4 below {CLEAR}": GradientFree(model, noisy, below),
        "classifier-free 1.5": ClassifierFree(model, 1.5),
        "classifier-free 2": ClassifierFree(model, 2.0),
    }


def one_seed(args: argparse.Namespace, seed: int) -> dict[str, dict[str, tuple[float, ...]]]:
    """Both tables of a seed: part -> rule -> figures."""
    where = setting(seed)
    bench = Bench(where, seed, torch.arange(args.samples) % 10)
    fit: Callable[[int], Denoiser] = lambda steps: fit_denoiser(  # noqa: E731
        where.data, steps, seed, batch=args.batch, width=args.width
    )
    clean = fit_clean_classifier(where.guides, seed)
    noisy = fit_clean_classifier(where.guides, seed, noise=NOISE)
    parts = {
        "quality": quality(fit(args.training), fit(args.weak), clean),
        "wrong": mending(fit(args.short), clean, noisy),
    }
    found: dict[str, dict[str, tuple[float, ...]]] = {}
    for part, rules in parts.items():
        found[part] = {REAL: bench.real()}
        for name, denoiser in rules.items():
            x, rows = bench.draw(denoiser)
            found[part][name] = bench.measure(x, bench.wanted, rows)
            print(seed, part, name, " ".join(f"{value:.3f}" for value in found[part][name]), flush=True)
    return found


def verdict(each: list[dict[str, dict[str, tuple[float, ...]]]]) -> str:
    """The bars, on means over seeds."""

    def mean(part: str, name: str, k: int) -> float:
        return sum(one[part][name][k] for one in each) / len(each)

    def change(name: str, k: int) -> float:
        return mean("quality", name, k) / mean("quality", "none", k) - 1

    lines = []
    for k, to in ((NEAR_PIXELS, "training"), (PIXELS, "held-out")):
        auto, free = change("autoguidance 1.5", k), change("classifier-free 1.5", k)
        lines += [
            bar(
                f"autoguidance 1.5 lowers the Fréchet distance in pixels to {to} digits by 25 %",
                f"{auto:+.0%}",
                auto <= -0.25,
            ),
            bar(f"classifier-free 1.5 does not lower it by 10 % ({to})", f"{free:+.0%}", free > -0.1),
        ]
    real = mean("quality", REAL, PIXELS)
    left = (mean("quality", "autoguidance 1.5", PIXELS) - real) / (mean("quality", "none", PIXELS) - real)
    lines.append(
        f"- held-out digits, of what lies above the {real:.3f} of real digits (no bar): autoguidance 1.5 "
        f"{left - 1:+.0%}"
    )
    before, floor = mean("wrong", "none", WRONG), mean("wrong", REAL, WRONG)
    for name in ("gradient-free 2", "gradient-free 4", f"gradient-free 4 below {CLEAR}"):
        after = mean("wrong", name, WRONG)
        far = mean("wrong", name, NEAR_FEATURES) / mean("wrong", "none", NEAR_FEATURES) - 1
        lines.append(
            bar(
                f"{name} removes half of the wrong samples of the short training, Fréchet distance in "
                f"features within 5 %",
                f"{before:.1f} % to {after:.1f} % (real digits {floor:.1f} %), {far:+.0%}",
                after <= 0.5 * before and far <= 0.05,
            )
        )
    twice = f"classifier-free 2 in ({LOW}, {HIGH}]"
    costs = [mean("quality", name, NEAR_FEATURES) for name in ("none", "classifier-free 2", twice)]
    calls = [mean("quality", name, ROWS) for name in ("classifier-free 2", twice)]
    same = all(one["quality"][EVERYTHING] == one["quality"]["classifier-free 2"] for one in each)
    lines += [
        bar(
            "classifier-free 2 pays several-fold in features, to training digits",
            f"{costs[1] / costs[0]:.1f} times",
            costs[1] > 2 * costs[0],
        ),
        bar("the interval lowers that", f"{costs[1]:.2f} to {costs[2]:.2f}", costs[2] < costs[1]),
        bar("and saves evaluations", f"{calls[0]:.0f} to {calls[1]:.0f} a sample", calls[1] < calls[0]),
        bar("an interval of everything gives the same samples", "equal" if same else "not equal", same),
    ]
    return "\n".join(lines)


#: A prototype's figures: Fréchet in features, in pixels, wrong samples.
PROTOTYPE = {
    "none": "0.87 / 0.193 / 0.35 %",
    "classifier-free 1.5": "5.1 / 0.186 / 0 %",
    "classifier-free 2": "10.4 / 0.341 / 0 %",
    f"classifier-free 2 in ({LOW}, {HIGH}]": "5.2 / 0.178 / 0 %",
    "autoguidance 1.5": "0.62 / 0.092 / 0.15 %",
    "autoguidance 3": "5.6 / 1.86 / 3.7 %",
    "gradient-free 2": "0.85 / 0.184 / 0.1 %",
}


def table(each: list[dict[str, dict[str, tuple[float, ...]]]], part: str) -> str:
    """A part's rules with the mean and interval of every figure."""
    heads = ["rule", "Fréchet, features", "Fréchet, pixels", "wrong, %", "to training, features"]
    heads += ["to training, pixels", "evaluations"] + (["prototype"] if part == "quality" else [])
    rows = []
    for name in each[0][part]:
        column = [[one[part][name][k] for one in each] for k in range(6)]
        row = [name, *(over(column[k], d) for k, d in ((0, 2), (1, 3), (2, 2), (3, 2), (4, 3)))]
        row.append(f"{sum(column[ROWS]) / len(each):.0f}")
        rows.append([*row, PROTOTYPE.get(name, "")] if part == "quality" else row)
    return markdown(heads, rows)


def main() -> None:
    parser = experiment(__doc__, seeds=[10, 11, 12])
    parser.add_argument("--training", type=int, default=3000, help="training steps of the main model")
    parser.add_argument("--weak", type=int, default=400, help="steps after which its average is the weak one")
    parser.add_argument("--short", type=int, default=700, help="steps of the model that gets classes wrong")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--samples", type=int, default=2000)
    args = parser.parse_args()
    each = [one_seed(args, seed) for seed in args.seeds]
    body = "\n\n".join(
        [
            table(each, "quality"),
            f"The same for a model of {args.short} training steps:",
            table(each, "wrong"),
            f"{STEPS} DDIM steps, {args.samples} samples, {args.training} training steps of {args.batch}, "
            f"weak model after {args.weak}. Mean and 95 % interval over seeds {args.seeds}: each has its own "
            f"models, guide, judge and samples. Real digits have the distances of the first row, and the "
            f"judge gets its share of them wrong. The prototype's features are another judge's.",
            verdict(each),
        ]
    )
    print(body)
    record("gfcg: autoguidance, intervals and gradient-free guidance, digits", body)


if __name__ == "__main__":
    main()
