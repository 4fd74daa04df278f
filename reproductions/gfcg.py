"""Autoguidance, intervals and gradient-free guidance (arXiv 2406.02507, 2404.07724, 2411.15393) on digits.

A class-conditional MLP denoiser with 10 % label dropout; the weak model is its own average after 400 steps.
32 DDIM steps, the same seeds for every row. Fréchet distances in a judge's features and in pixels, and how
many samples the judge, which did not guide, takes for another digit than the one asked for.

    python reproductions/gfcg.py                    # two CPU cores, some minutes
    python reproductions/gfcg.py --seeds 0 1 2
"""

import argparse
from dataclasses import replace

import torch
from digit_guides import (
    Setting,
    bar,
    fit_clean_classifier,
    fit_denoiser,
    labels_of,
    mean_and_spread,
    setting,
)
from results import markdown, record
from torch import nn

from windvane.conditions import Condition
from windvane.denoiser import Denoiser
from windvane.guidance import Autoguidance, ClassifierFree, GradientFree, interval
from windvane.metrics import extract_features
from windvane.samplers import DDIM, sample

STEPS = 32
LOW, HIGH = 0.19, 3.2
#: Above this noise level the classifier sees a blur.
CLEAR = 3.2

#: Fréchet in features and in pixels to held-out digits, share of wrong samples, evaluations a sample, and the
#: two distances to the training digits.
Row = tuple[float, float, float, float, float, float]


def rules(main: Denoiser, weak: Denoiser, classifier: nn.Module) -> dict[str, Denoiser]:
    confused = interval(2.0, 0.0, CLEAR, outside=0.0)
    return {
        "none": main,
        "classifier-free 1.5": ClassifierFree(main, 1.5),
        "classifier-free 2": ClassifierFree(main, 2.0),
        f"classifier-free 2 in ({LOW}, {HIGH}]": ClassifierFree(main, interval(2.0, LOW, HIGH)),
        "classifier-free 2 in an interval of everything": ClassifierFree(main, interval(2.0, 0.0, 1e9)),
        "autoguidance 1.5": Autoguidance(main, weak, 1.5),
        "autoguidance 3": Autoguidance(main, weak, 3.0),
        "gradient-free 2": GradientFree(main, classifier, 2.0),
        f"gradient-free 2 below {CLEAR}": GradientFree(main, classifier, confused),
        "gradient-free 2 and classifier-free 1.5": GradientFree(main, classifier, 2.0, classifier_free=1.5),
        "gradient-free and autoguidance 1.5": GradientFree(main, classifier, 1.5, weak=weak, sure=0.9),
    }


def measure(args: argparse.Namespace, seed: int, where: Setting) -> tuple[dict[str, Row], bool]:
    """Every rule's row, and whether an interval of everything gave the same samples as none."""
    fit = {"batch": args.batch, "width": args.width}
    main, weak = (fit_denoiser(where.data, steps, seed, **fit) for steps in (args.training, args.weak))
    classifier = fit_clean_classifier(where.guides, seed)
    wanted = torch.arange(args.samples) % 10
    cond, rows, drawn = Condition.vector(wanted), {}, {}
    real = where.data.batch(slice(None))
    trained_on = replace(
        where, held_out=where.data, reference=extract_features(real, where.judge, progress=False)
    )
    rows["the training digits themselves"] = (
        where.distance(real), where.pixel_distance(real), 1 - where.accuracy(real, labels_of(where.data)),
        0.0, 0.0, 0.0,
    )  # fmt: skip
    for name, denoiser in rules(main, weak, classifier).items():
        found = sample(
            denoiser, seeds=50_000 * (seed + 1), n=args.samples, cond=cond, sampler=DDIM(), steps=STEPS,
            progress=False,
        )  # fmt: skip
        wrong = 1 - where.accuracy(found.x, wanted)
        rows[name] = (
            where.distance(found.x), where.pixel_distance(found.x), wrong, found.rows_per_sample,
            trained_on.distance(found.x), trained_on.pixel_distance(found.x),
        )  # fmt: skip
        drawn[name] = found.x
        print(f"seed {seed}, {name}: " + " ".join(f"{value:.3f}" for value in rows[name]), flush=True)
    same = torch.equal(drawn["classifier-free 2"], drawn["classifier-free 2 in an interval of everything"])
    return rows, same


def verdict(mean: dict[str, Row], same: bool) -> str:
    none, auto, free = mean["none"], mean["autoguidance 1.5"], mean["classifier-free 1.5"]
    inside, twice = mean[f"classifier-free 2 in ({LOW}, {HIGH}]"], mean["classifier-free 2"]
    lines = []
    for at, reference in ((1, "held-out"), (5, "training")):
        lines += [
            bar(
                f"autoguidance 1.5 lowers the Fréchet distance in pixels to {reference} digits by 25 %",
                f"{1 - auto[at] / none[at]:.0%}",
                auto[at] <= 0.75 * none[at],
            ),
            bar(
                f"classifier-free 1.5 does not lower it by 10 % ({reference})",
                f"{1 - free[at] / none[at]:.0%}",
                free[at] > 0.9 * none[at],
            ),
        ]
    for name in ("gradient-free 2", f"gradient-free 2 below {CLEAR}"):
        row = mean[name]
        lines.append(
            bar(
                f"{name} removes half of the wrong samples, Fréchet distance in features within 5 %",
                f"{none[2]:.2%} to {row[2]:.2%}, {row[0] / none[0] - 1:+.0%}",
                row[2] <= 0.5 * none[2] and row[0] <= 1.05 * none[0],
            )
        )
    lines += [
        *(
            bar(
                f"classifier-free 1.5 more than doubles the Fréchet distance in features ({reference})",
                f"{free[at] / none[at]:.1f} times",
                free[at] > 2 * none[at],
            )
            for at, reference in ((0, "held-out"), (4, "training"))
        ),
        bar(
            "the interval lowers what classifier-free 2 costs in features",
            f"{twice[0]:.2f} to {inside[0]:.2f}",
            inside[0] < twice[0],
        ),
        bar(
            "the interval saves evaluations",
            f"{twice[3]:.0f} to {inside[3]:.0f} a sample",
            inside[3] < twice[3],
        ),
        bar("an interval of everything gives the same samples", "equal" if same else "not equal", same),
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--training", type=int, default=3000, help="training steps of the main model")
    parser.add_argument("--weak", type=int, default=400, help="steps after which its average is the weak one")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--samples", type=int, default=2000)
    args = parser.parse_args()
    each, same = [], True
    for seed in args.seeds:
        rows, equal = measure(args, seed, setting(seed))
        each.append(rows)
        same = same and equal
    mean: dict[str, Row] = {
        name: tuple(sum(one[name][k] for one in each) / len(each) for k in range(6))  # type: ignore[misc]
        for name in each[0]
    }
    sheet = {
        "none": "0.87 / 0.193 / 0.35 %",
        "classifier-free 1.5": "5.1 / 0.186 / 0 %",
        "classifier-free 2": "10.4 / 0.341 / 0 %",
        f"classifier-free 2 in ({LOW}, {HIGH}]": "5.2 / 0.178 / 0 %",
        "autoguidance 1.5": "0.62 / 0.092 / 0.15 %",
        "autoguidance 3": "5.6 / 1.86 / 3.7 %",
        "gradient-free 2": "0.85 / 0.184 / 0.1 %",
    }
    table = [
        [
            name,
            mean_and_spread([one[name][0] for one in each], 2),
            mean_and_spread([one[name][1] for one in each], 3),
            mean_and_spread([100 * one[name][2] for one in each], 2),
            mean_and_spread([one[name][4] for one in each], 2),
            mean_and_spread([one[name][5] for one in each], 3),
            f"{mean[name][3]:.0f}",
            sheet.get(name, ""),
        ]
        for name in mean
    ]
    heads = ["rule", "Fréchet, features", "Fréchet, pixels", "wrong, %", "to training, features"]
    heads += ["to training, pixels", "evaluations", "prototype"]
    body = (
        f"{markdown(heads, table)}\n\n{STEPS} DDIM steps, {args.samples} samples, {args.training} training "
        f"steps of {args.batch}, weak model after {args.weak}. Seeds {args.seeds}: each has its own models, "
        "guide, judge and samples. The prototype's features are another judge's; its small distances suggest "
        "that they were taken to the digits the model was trained on, so both are given. The first row is "
        "the floor: real digits have that distance to the held-out ones, and that share the judge gets "
        "wrong. The model is further from its floor than the prototype's was, so a little classifier-free "
        "guidance mends more than it harms; and half of the wrong samples is nearly all that the judge's own "
        "errors leave to remove.\n\n"
        f"{verdict(mean, same)}"
    )
    print(body)
    record("gfcg: autoguidance, intervals and gradient-free guidance, digits", body)


if __name__ == "__main__":
    main()
