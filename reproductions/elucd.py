"""EluCD (Ma et al. 2024, arXiv 2310.11311): what makes a classifier of clean images a good guide.

On the 8x8 digits with an unconditional denoiser, DDIM in 40 steps, and guide (an MLP of two layers) and judge
trained on disjoint halves: the guide's calibration along the trajectory for its two inputs and activations;
and samples guided by s (sigma^2 + gamma sin(pi t)) grad_D of tau f_y - log sum exp(tau_2 f), for tau_2, the
sine, and the scale. Then, without bars, the two samplers that the authors released. Settings were chosen on
seeds 0, 1 and 2; others are reported.

    python reproductions/elucd.py                    # two CPU cores, some minutes
    python reproductions/elucd.py --seeds 0 1 2
"""

import math
import warnings

import torch
from digit_guides import PROCESS, Setting, bar, fit_clean_classifier, setting
from digit_models import labels_of, over, unconditional
from results import experiment, markdown, record
from torch import Tensor, nn

from windvane.data import ImageData, digits, train_and_held_out
from windvane.denoiser import Denoiser
from windvane.energies import ClassLogProb, smooth
from windvane.guidance import GradientGuidance, Guide, KickedSampler, Schedule, presets
from windvane.metrics import trajectory_calibration
from windvane.samplers import DDIM, DDPM, Heun, Sampler, sample

STEPS, BETA = 40, 3.0
#: (scale, tau_2, sine, smooth) of the samples guided at D.
PUSHES = {
    "tau_2 = 1, s = 0.3": (0.3, 1.0, 0.0, False),
    "smooth, tau_2 = 1, s = 0.3": (0.3, 1.0, 0.0, True),
    "smooth, tau_2 = 0.5, s = 0.3": (0.3, 0.5, 0.0, True),
    "tau_2 = 1, s = 1": (1.0, 1.0, 0.0, False),
    "smooth, tau_2 = 1, s = 1": (1.0, 1.0, 0.0, True),
    "smooth, tau_2 = 0.8, s = 0.3": (0.3, 0.8, 0.0, True),
    "smooth, tau_2 = 0.8, s = 0.3, sine 0.3": (0.3, 0.8, 0.3, True),
    "smooth, tau_2 = 0.5, s = 1": (1.0, 0.5, 0.0, True),
    "smooth, tau_2 = 0.5, s = 4": (4.0, 0.5, 0.0, True),
}


def variance_and_sine(scale: float, sine: float) -> Schedule:
    """scale (sigma^2 + sine sin(pi t)) as a schedule in noise level; the largest sigma^2 is 1."""

    def schedule(level: Tensor) -> Tensor:
        variance = level.clamp(max=1e12) ** 2 / (1 + level.clamp(max=1e12) ** 2)
        return scale * (variance + sine * torch.sin(math.pi * PROCESS.t_of_noise_level(level)))

    return schedule


def pushed(classifier: nn.Module, wanted: Tensor, scale: float, tau: float, sine: float) -> Sampler:
    energy = ClassLogProb(classifier, wanted, tau_marginal=tau)
    guide = Guide(energy, variance_and_sine(scale, sine), where="x0", through=False, push="x0")
    return GradientGuidance((guide,)).sampler(DDIM())


def released(plain: nn.Module, wanted: Tensor) -> dict[str, Sampler]:
    """The authors' ancestral sampler, and their kick before Heun's steps, with scales for no class."""
    soft, softer = smooth(plain, BETA), smooth(plain, 5.0)
    half = ClassLogProb(soft, wanted, tau_marginal=0.5)
    joint = ClassLogProb(softer, wanted, tau_marginal=0.0)
    return {
        "DDPM": DDPM(),
        "released ancestral, scale 1": presets.elucd(half).sampler(DDPM()),
        "released ancestral, scale 0.1": presets.elucd(half, 0.1).sampler(DDPM()),
        "Heun": Heun(),
        "released kick, h = 0.004": KickedSampler(Heun(), joint),
        "released kick, h = 0.012": KickedSampler(Heun(), joint, 0.012),
    }


def calibrations(held_out: ImageData, denoiser: Denoiser, plain: nn.Module) -> dict[str, tuple[float, float]]:
    """Error and accuracy along the trajectory, mean over five times, 10 bins."""
    images, labels = held_out.batch(slice(None)), labels_of(held_out)
    found = {}
    for name, classifier in (("ReLU", plain), ("Softplus", smooth(plain, BETA))):
        for seen in ("x_t", "x0"):
            one = trajectory_calibration(classifier, denoiser, images, labels, times=5, input=seen)
            found[f"{name}, input {'D' if seen == 'x0' else seen}"] = (one.error, one.accuracy)
    return found


def guided(
    where: Setting, denoiser: Denoiser, plain: nn.Module, n: int, seed: int
) -> dict[str, tuple[float, float]]:
    """Accuracy and Fréchet distance of every row."""
    wanted = torch.arange(n) % 10
    soft = smooth(plain, BETA)
    samplers: dict[str, Sampler] = {"unguided": DDIM()}
    for name, (scale, tau, sine, soften) in PUSHES.items():
        samplers[name] = pushed(soft if soften else plain, wanted, scale, tau, sine)
    found = {}
    for name, sampler in {**samplers, **released(plain, wanted)}.items():
        x = sample(
            denoiser, seeds=50_000 * (seed + 1), n=n, sampler=sampler, steps=STEPS, progress=False
        ).x  # fmt: skip
        found[name] = (where.accuracy(x, wanted), where.distance(x))
        print(f"seed {seed}, {name}: {found[name][0]:.3f} {found[name][1]:.2f}", flush=True)
    return found


def verdict(calibration: dict[str, tuple[float, float]], mean: dict[str, tuple[float, float]]) -> str:
    lines = []
    for name in ("ReLU", "Softplus"):
        at_x, at_d = calibration[f"{name}, input x_t"][0], calibration[f"{name}, input D"][0]
        lines.append(
            bar(f"{name}: calibration error of D below x_t's", f"{at_d:.3f} and {at_x:.3f}", at_d < at_x)
        )
    one, half = mean["tau_2 = 1, s = 0.3"], mean["smooth, tau_2 = 0.5, s = 0.3"]
    lines.append(
        bar(
            "smooth with tau_2 = 0.5 lowers the Fréchet distance of tau_2 = 1 by 30 %, accuracy within 0.1",
            f"{1 - half[1] / one[1]:.0%}, {half[0] - one[0]:+.3f}",
            half[1] <= 0.7 * one[1] and abs(half[0] - one[0]) <= 0.1,
        )
    )
    without, sine = mean["smooth, tau_2 = 0.8, s = 0.3"], mean["smooth, tau_2 = 0.8, s = 0.3, sine 0.3"]
    lines.append(
        bar(
            "the sine raises accuracy by 0.1 at no higher Fréchet distance",
            f"{sine[0] - without[0]:+.3f}, {without[1]:.2f} to {sine[1]:.2f}",
            sine[0] - without[0] >= 0.1 and sine[1] <= without[1],
        )
    )
    over = mean["smooth, tau_2 = 0.5, s = 4"]
    lines.append(f"- too strong a push (tau_2 = 0.5, s = 4; no bar): accuracy {over[0]:.2f}, {over[1]:.1f}")
    return "\n".join(lines)


def averaged(each: list[dict[str, tuple[float, float]]]) -> dict[str, tuple[float, float]]:
    pairs = {name: [one[name] for one in each] for name in each[0]}
    return {
        name: (sum(a for a, _ in found) / len(found), sum(b for _, b in found) / len(found))
        for name, found in pairs.items()
    }


def rows_of(each: list[dict[str, tuple[float, float]]], digits: tuple[int, int]) -> list[list[str]]:
    return [[name, *(over([one[name][k] for one in each], digits[k]) for k in (0, 1))] for name in each[0]]


def main() -> None:
    parser = experiment(__doc__, seeds=[10, 11, 12])
    parser.add_argument("--training", type=int, default=2500, help="training steps of the denoiser")
    parser.add_argument("--classifier", type=int, default=2000, help="training steps of the guide")
    parser.add_argument("--guides", type=int, default=12, help="guides whose calibration is measured")
    parser.add_argument("--samples", type=int, default=500)
    args = parser.parse_args()
    # A kick too small for float32 at the lowest noise says so; here the sizes are the authors' own.
    warnings.simplefilter("ignore")
    calibrated, measured, denoisers = [], [], []
    for seed in args.seeds:
        where = setting(seed)
        denoisers.append(unconditional(where.data, args.training, seed, PROCESS))
        plain = fit_clean_classifier(where.guides, seed, steps=args.classifier, hidden=1)
        calibrated.append(calibrations(where.held_out, denoisers[-1], plain))
        measured.append(guided(where, denoisers[-1], plain, args.samples, seed))
    # Calibration differs by little, and is cheap to measure: more guides, on the same denoisers.
    data, held_out = train_and_held_out(digits(), seed=0)
    for k in range(len(args.seeds), args.guides):
        guides, _ = data.split((0.5, 0.5), args.seeds[-1] + k)
        plain = fit_clean_classifier(guides, args.seeds[-1] + k, steps=args.classifier, hidden=1)
        calibrated.append(calibrations(held_out, denoisers[k % len(denoisers)], plain))
    body = (
        f"{markdown(['classifier', 'calibration error', 'accuracy'], rows_of(calibrated, (3, 3)))}\n\n"
        f"{markdown(['samples', 'accuracy', 'Fréchet'], rows_of(measured, (3, 2)))}\n\n"
        f"{STEPS} steps, {args.samples} samples, softplus beta {BETA:g} (5 for the kick), unconditional "
        f"denoiser of {args.training} training steps. Mean and 95 % interval over seeds {args.seeds}: each "
        f"has its own denoiser, guide, judge and samples; calibration of {len(calibrated)} guides.\n\n"
        f"{verdict(averaged(calibrated), averaged(measured))}"
    )
    print(body)
    record("elucd: an off-the-shelf classifier as a guide, digits", body)


if __name__ == "__main__":
    main()
