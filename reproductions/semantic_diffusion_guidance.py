"""Semantic Diffusion Guidance (Liu et al. 2023, arXiv 2112.05744): does a noise-aware encoder guide better?

An unconditional denoiser of the 8x8 digits, steered at x_t by the paper's score push with an encoder trained
without labels: once as it is, which knows clean images only, and once made noise-aware by the paper's
self-supervised alignment. 50 held-out pictures, 6 samples each; each sample looks for its own picture among
the 50 in the features of a classifier that did not guide. Then a text side: a table of ten words is trained
with a clean encoder, the encoder alone is made noise-aware without labels, and the words must still guide it.
Last, style (Gram matrices) alone, and mixed with another picture's content.

    python reproductions/semantic_diffusion_guidance.py             # one CPU core, some minutes
    python reproductions/semantic_diffusion_guidance.py --seeds 0 --keep sdg.json   # seed by seed

Temperatures and the style's weight were chosen on seed 100, which is not reported. The paper's gamma
multiplies a cosine, whose slope differs from encoder to encoder; so beside the paper's gammas each encoder
also guides with pushes of equal size: `windvane steer`'s default, weight 1.
"""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from results import experiment, markdown, publish
from torch import Tensor, nn
from torch.nn import functional as F

import windvane as wv
from windvane.data import ImageData, digits, train_and_held_out
from windvane.denoiser import Denoiser
from windvane.energies import Energy, GramStyle, ImageSimilarity, Reference, TextSimilarity, gram
from windvane.guidance import GradientGuidance, Guide, presets
from windvane.judges import Judge, train_judge
from windvane.metrics import extract_features, frechet, over_seeds, within_condition_diversity
from windvane.randomness import generator, scoped_seed
from windvane.tasks.self_guided import Budget, Variant, fit
from windvane.tasks.steering import guidance
from windvane.text import contrastive_loss, top_k, train_text_encoder
from windvane.text.sentences import ink_and_slant
from windvane.training.noise_aware import align, info_nce, noise_aware

REFERENCES, PER, STEPS = 50, 6, 40
GAMMAS, BAR = (20.0, 60.0, 200.0), 60.0
WEIGHTS = (0.5, 1.0)
#: Scales for the clean encoder where it belongs, at the prediction.
AT_D = (5.0, 20.0)
#: Of style. Harder pushes change strokes until they say which digit was given.
STYLE = 0.5
ALIGNMENT = 1500
#: Of teachers and of their alignment. CLIP's own is 0.01, and so is SDG's; a sharper one than the teacher's
#: makes the student enlarge what little sets images of one class apart, and lose the class.
TEMPERATURE = 0.1
#: Of the words. With a sharper one the cosines of right and wrong words lie close, and leave little to climb.
WORDS = 0.3
#: A cell of the tables: an encoder, and how hard it pushes.
OWN, OTHER = "noise-aware at x_t", "clean encoder at x_t"
CLEAN_AT_D = "clean encoder at D, backward through the denoiser"
#: Not the paper's: `windvane steer`'s encoder, trained with noise and sentences from the start.
SPOKEN = f"offline text encoder at x_t, weight {WEIGHTS[-1]:g}"


class Perceptron(nn.Module):
    """Images to 64 numbers; normalisations for the noise level to act on."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 256), nn.LayerNorm(256), nn.GELU(),
            nn.Linear(256, 256), nn.LayerNorm(256), nn.GELU(), nn.Linear(256, 64),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Convolutions(nn.Module):
    """Images to 64 numbers by way of two maps; ``maps`` gives those instead."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.GroupNorm(3, 12), nn.GELU())
        self.second = nn.Sequential(nn.Conv2d(12, 24, 3, stride=2, padding=1), nn.GroupNorm(3, 24), nn.GELU())
        self.last = nn.Linear(24 * 16, 64)
        self.want_maps = False

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        first = self.first(x)
        second = self.second(first)
        return [first, second] if self.want_maps else self.last(second.flatten(1))


def shifted(x: Tensor, random: torch.Generator) -> Tensor:
    """Each image moved by up to a pixel, with noise of 0.2: two views of it."""
    padded = F.pad(x, (1, 1, 1, 1), value=-1.0)
    moved = torch.stack([padded[..., dy : dy + 8, dx : dx + 8] for dy in range(3) for dx in range(3)])
    chosen = moved[torch.randint(9, (len(x),), generator=random), torch.arange(len(x))]
    return chosen + 0.2 * torch.randn(x.shape, generator=random)


def every_shift(x: Tensor) -> Tensor:
    """All nine shifts of all images: alignment to few images would learn them by heart."""
    padded = F.pad(x, (1, 1, 1, 1), value=-1.0)
    return torch.cat([padded[..., dy : dy + 8, dx : dx + 8] for dy in range(3) for dx in range(3)])


def trained(
    net: nn.Module, loss: Callable[[Tensor, torch.Generator], Tensor], n: int, seed: int, steps: int
) -> None:
    """Minimise ``loss(rows, random)``, then freeze."""
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.01)
    for step in range(steps):
        random = generator(seed, 41, step)
        optimiser.zero_grad(set_to_none=True)
        loss(torch.randint(n, (128,), generator=random), random).backward()
        optimiser.step()
    net.eval().requires_grad_(False)


def without_labels(make: type[nn.Module], x: Tensor, seed: int, steps: int) -> nn.Module:
    """A clean encoder that learnt to tell images apart, whatever their shift and noise."""
    with scoped_seed(seed):
        net = make()

    def loss(rows: Tensor, random: torch.Generator) -> Tensor:
        return info_nce(net(shifted(x[rows], random)), net(shifted(x[rows], random)), TEMPERATURE).mean()

    trained(net, loss, len(x), seed, steps)
    return net


def with_words(x: Tensor, labels: Tensor, seed: int) -> tuple[nn.Module, Tensor]:
    """A tiny CLIP: a clean encoder and a table of ten words, trained together."""
    with scoped_seed(seed):
        net = nn.ModuleList([Perceptron(), nn.Embedding(10, 64)])

    def loss(rows: Tensor, random: torch.Generator) -> Tensor:
        images = F.normalize(net[0](shifted(x[rows], random)), dim=1)
        words = F.normalize(net[1](torch.arange(10)), dim=1)
        return contrastive_loss(images, words, F.one_hot(labels[rows], 10).T.bool(), torch.tensor(1 / WORDS))

    trained(net, loss, len(x), seed, 600)
    return net[0], net[1].weight.detach()


def aware(clean: nn.Module, x: Tensor, denoiser: Denoiser, seed: int, steps: int = ALIGNMENT) -> nn.Module:
    """The encoder made noise-aware by SDG's alignment; images alone are used."""
    student = noise_aware(clean, denoiser.process, seed=seed)
    align(
        student,
        clean,
        every_shift(x),
        denoiser.process,
        steps=steps,
        batch_size=128,
        lr=1e-3,
        temperature=TEMPERATURE,
        seed=seed,
        progress=False,
    )
    return student.eval().requires_grad_(False)


class Maps(nn.Module):
    """The maps of a convolutional encoder, noise-aware or not."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.inner = encoder if isinstance(encoder, Convolutions) else encoder.encoder

    def forward(self, *seen: Tensor) -> list[Tensor]:
        self.inner.want_maps = True
        try:
            return self.encoder(*seen)
        finally:
            self.inner.want_maps = False


class Bench:
    """The denoiser, the judge and what is measured."""

    def __init__(self) -> None:
        data, self.held_out = train_and_held_out(digits(), seed=0)
        self.guides, judged = data.split((0.5, 0.5), 0)
        self.x = data.batch(slice(None))
        self.denoiser = fit(Variant("none"), data, Budget(steps=2500), progress=False)
        test = (self.held_out, labels_of(self.held_out))
        self.judge: Judge = train_judge(judged, test=test, progress=False)
        self.reference = self.features(self.held_out.batch(slice(None)))
        # Judges style: an encoder of its own seed and of images that no guide has learnt from.
        self.eye = Maps(without_labels(Convolutions, self.held_out.batch(slice(None)), 900, 300))

    def features(self, images: Tensor) -> Tensor:
        return extract_features(images.clamp(-1, 1), self.judge, progress=False)

    def draw(self, method: GradientGuidance | None, n: int, seed: int) -> Tensor:
        """DDIM in 40 steps, predictions kept in [-1, 1]."""
        sampler = wv.DDIM() if method is None else method.sampler(wv.DDIM())
        made = wv.sample(
            self.denoiser,
            seeds=10_000 * (seed + 1),
            n=n,
            sampler=sampler,
            steps=STEPS,
            clip=1.0,
            progress=False,
        )
        return made.x

    def says(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            return self.judge.classify(images.clamp(-1, 1)).argmax(1)

    def gram_gap(self, images: Tensor, target: Tensor) -> float:
        with torch.no_grad():
            pairs = zip(self.eye(images.clamp(-1, 1)), self.eye(target))
            gaps = [(gram(a) - gram(b)).square().flatten(1).sum(1).sqrt() for a, b in pairs]
        return float(torch.stack(gaps).sum(0).mean())

    def retrieval(self, images: Tensor, pictures: Tensor, labels: Tensor) -> dict[str, float]:
        """SDG's protocol: each sample ranks the pictures; distance and diversity beside it."""
        rows = torch.arange(len(pictures)).repeat_interleave(PER)
        features = self.features(images)
        tops = top_k(features, self.features(pictures), rows, (1, 5, 10, 20))
        return {
            **{f"top-{k}": rate for k, rate in tops.items()},
            "same class": float((self.says(images) == labels[rows]).double().mean()),
            "Fréchet": frechet(features, self.reference, resamples=0, bias=False).value,
            "diversity": within_condition_diversity(features, rows, resamples=0).value,
        }


def labels_of(data: ImageData) -> Tensor:
    if data.labels is None:
        raise SystemExit("the digits come with labels")
    return data.labels


def pictures_of(data: ImageData, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """50 held-out pictures with labels, and 50 of the boldest tenth, in an order of their own."""
    chosen = torch.randperm(len(data), generator=generator(seed, 43))[:REFERENCES]
    ink = ink_and_slant(data.batch(slice(None)))[0]
    bold = ink.argsort(descending=True)[: len(data) // 10]
    bold = bold[torch.randperm(len(bold), generator=generator(seed, 44))[:REFERENCES]]
    return data.batch(chosen), labels_of(data)[chosen], data.batch(bold)


def pushes(energy: Energy) -> dict[str, GradientGuidance]:
    """The paper's score push by its gammas, and by pushes of equal size."""
    paper = {f"γ = {g:g}": presets.sdg(energy, g, mean_shift=False) for g in GAMMAS}
    return paper | {f"weight {w:g}": guidance(energy, w, "sdg") for w in WEIGHTS}


def one_seed(bench: Bench, seed: int) -> dict[str, dict[str, float]]:
    """Every arm: name -> measured."""
    found: dict[str, dict[str, float]] = {}
    pictures, labels, bold = pictures_of(bench.held_out, seed)
    n, repeat = REFERENCES * PER, torch.arange(REFERENCES).repeat_interleave(PER)
    process = bench.denoiser.process
    free = bench.draw(None, n, seed)
    found["none"] = bench.retrieval(free, pictures, labels)

    clean = without_labels(Perceptron, bench.x, seed, 1000)
    student = aware(clean, bench.x, bench.denoiser, seed)
    like = ImageSimilarity(student, Reference(pictures[repeat], process), timed=True)
    for name, energy in {OTHER: ImageSimilarity(clean, pictures[repeat]), OWN: like}.items():
        for push, method in pushes(energy).items():
            found[f"{name}, {push}"] = bench.retrieval(bench.draw(method, n, seed), pictures, labels)

    for scale in AT_D:
        method = GradientGuidance((Guide(ImageSimilarity(clean, pictures[repeat]), scale, push="score"),))
        found[f"{CLEAN_AT_D}, γ = {scale:g}"] = bench.retrieval(bench.draw(method, n, seed), pictures, labels)

    told = train_text_encoder(bench.guides, steps=400, seed=seed, progress=False).at(process)
    spoken = ImageSimilarity(told, Reference(pictures[repeat], process), timed=True)
    method = guidance(spoken, WEIGHTS[-1], "sdg")
    found[SPOKEN] = bench.retrieval(bench.draw(method, n, seed), pictures, labels)

    reading, words = with_words(bench.guides.batch(slice(None)), labels_of(bench.guides), seed)
    read = aware(reading, bench.x, bench.denoiser, seed)
    wanted = torch.arange(n) % 10
    found["text"] = {"unguided": float((bench.says(free) == wanted).double().mean())}
    for push, method in pushes(TextSimilarity(read, words[wanted], timed=True)).items():
        right = bench.says(bench.draw(method, n, seed)) == wanted
        found["text"][push] = float(right.double().mean())

    looking = without_labels(Convolutions, bench.x, seed + 50, 300)
    seeing = Maps(aware(looking, bench.x, bench.denoiser, seed, 400))
    style = GramStyle(seeing, Reference(bold[repeat], process), timed=True)
    styled = bench.draw(guidance(style, STYLE, "sdg"), n, seed)
    gap = bench.gram_gap(free, bold[repeat])
    found["style"] = {
        "Gram gap": bench.gram_gap(styled, bold[repeat]), "unguided gap": gap,
        "top-1": bench.retrieval(styled, bold, labels)["top-1"],
        "unguided top-1": bench.retrieval(free, bold, labels)["top-1"],
    }  # fmt: skip
    both = bench.draw(guidance(like, 1.0, "sdg") + guidance(style, 1.0, "sdg"), n, seed)
    found["mix"] = {
        "same class": bench.retrieval(both, pictures, labels)["same class"],
        "Gram gap": bench.gram_gap(both, bold[repeat]), "unguided gap": gap,
    }  # fmt: skip
    return found


def mean(found: list[dict[str, dict[str, float]]], arm: str, what: str) -> float:
    return sum(one[arm][what] for one in found) / len(found)


def tables(found: list[dict[str, dict[str, float]]]) -> str:
    names = ["top-1", "top-5", "top-10", "top-20", "same class", "Fréchet", "diversity"]
    rows = []
    for arm in found[0]:
        if names[1] in found[0][arm]:
            rows.append([arm, *(cell([one[arm][name] for one in found]) for name in names)])
    return markdown(["guide, γ", *names], rows)


def cell(values: list[float]) -> str:
    """The mean, with its 95 % interval where there are several."""
    if len(values) == 1:
        return f"{values[0]:.2f}"
    found = over_seeds(values)
    return f"{found.value:.2f}" + ("" if found.high is None else f" ± {found.high - found.value:.2f}")


def verdict(found: list[dict[str, dict[str, float]]]) -> str:
    """The bars, each with its figure."""

    def holds(true: bool) -> str:
        return "holds" if true else "does not hold"

    lines, free = [], mean(found, "none", "top-5")
    for push in (f"γ = {BAR:g}", f"weight {WEIGHTS[-1]:g}"):
        own, other = f"{OWN}, {push}", f"{OTHER}, {push}"
        five, theirs = mean(found, own, "top-5"), mean(found, other, "top-5")
        near, far = mean(found, own, "Fréchet"), mean(found, other, "Fréchet")
        times = f"- {push}: noise-aware top-5 {five:.2f}, {five / theirs:.2f} times the clean encoder's"
        if push.startswith("weight"):
            lines.append(f"{times} (no bar at pushes of equal size), Fréchet {near:.1f} against {far:.1f}")
            continue
        lines.append(
            f"{times}, at least 1.4: {holds(five >= 1.4 * theirs)}; {five / free:.1f} times unguided, at "
            f"least 5: {holds(five >= 5 * free)}; at a lower Fréchet distance: {near:.1f} against {far:.1f}, "
            f"{holds(near < far)}"
        )
    plain = mean(found, "text", "unguided")
    for push in (f"γ = {BAR:g}", f"weight {WEIGHTS[-1]:g}"):
        text = mean(found, "text", push)
        lines.append(
            f"- {push}: words through an encoder that was made noise-aware without labels: agreement at "
            f"least 0.5: {text:.2f} (unguided {plain:.2f}), {holds(text >= 0.5)}"
        )
    gap, before = mean(found, "style", "Gram gap"), mean(found, "style", "unguided gap")
    top, chance = mean(found, "style", "top-1"), mean(found, "style", "unguided top-1")
    same, alone = mean(found, "mix", "same class"), mean(found, "none", "same class")
    mixed = mean(found, "mix", "Gram gap")
    return "\n".join(
        [
            *lines,
            f"- style of bold digits, weight {STYLE:g}: the Gram distance falls, for a judge of its own: "
            f"{gap:.3f} against {before:.3f}, {holds(gap < before)}",
            f"- while content stays at chance (top-1 of 50 at most 0.05): {top:.3f} (unguided "
            f"{chance:.3f}), {holds(top <= 0.05)}",
            f"- content of one digit with the style of another, weight 1 each: both beat unguided: same "
            f"class {same:.2f} against {alone:.2f}, Gram distance {mixed:.3f} against {before:.3f}, "
            f"{holds(same > alone and mixed < before)}",
        ]
    )


def main() -> None:
    parser = experiment(__doc__, seeds=[0, 1, 2])
    parser.add_argument("--keep", type=Path, help="JSON file: seeds in it are taken, new ones are added")
    parser.add_argument("--no-record", action="store_true", help="print only")
    args = parser.parse_args()
    kept = json.loads(args.keep.read_text()) if args.keep and args.keep.exists() else {}
    bench = Bench()
    for seed in args.seeds:
        if str(seed) not in kept:
            kept[str(seed)] = one_seed(bench, seed)
            if args.keep:
                args.keep.write_text(json.dumps(kept))
            print(f"seed {seed}: {kept[str(seed)]}", flush=True)
    found = [kept[seed] for seed in sorted(kept, key=int)]
    body = (
        f"{tables(found)}\n\n{REFERENCES} pictures, {PER} samples each, DDIM in {STEPS} steps, {ALIGNMENT} "
        f"alignment steps, {len(found)} seed(s) of guides and sampling; a judge that is "
        f"{bench.judge.accuracy:.1%} accurate. γ: the paper's scale; weight: pushes of equal size, 1 being "
        f"`windvane steer`'s default. The offline text encoder learnt from sentences and noise "
        f"together, which is not the paper's way.\n\n{verdict(found)}"
    )
    publish(
        "semantic-diffusion-guidance: noise-aware encoders, texts, style and mixtures, digits",
        body,
        keep=not args.no_record,
    )


if __name__ == "__main__":
    main()
