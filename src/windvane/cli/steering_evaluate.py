"""`windvane steer --evaluate`: SDG's protocol on a model."""

from pathlib import Path
from typing import TYPE_CHECKING

from windvane.files import atomic_write_json

if TYPE_CHECKING:
    from windvane.cli.config import Config
    from windvane.cli.steering import Asked

EVALUATION = "evaluation.json"
_PER = 6


def evaluate_steering(
    run: Path,
    out: Path,
    config: "Config",
    asked: "Asked",
    kind: str,
    *,
    preset: str | None,
    paper_scale: bool,
    factors: list[float],
) -> None:
    """Guide by up to 50 texts or held-out pictures, six samples each, and measure retrieval and distance."""
    from dataclasses import replace

    from windvane.cli.build import build_sampler
    from windvane.cli.console import print_table
    from windvane.cli.models import clip_of
    from windvane.cli.processes import processes
    from windvane.cli.steering import open_target
    from windvane.cli.steering_networks import known_images, make_eyes, make_judges
    from windvane.tasks.steering import DEFAULT, picture_candidates, protocol, text_candidates

    section = config.sample
    target = open_target(run, weights=section.weights, device=processes().device)
    if not config.data.source:
        raise ValueError(
            "--evaluate measures with judges, and the model does not say what it was trained on: "
            "--data names the images"
        )
    known = known_images(config.data, target.shape)
    asked = replace(asked, text=("",) if kind == "text" else (), like=() if kind == "text" else (Path(),))
    eyes = make_eyes(asked, target, lambda: known, section.seed)
    judges = make_judges(known, encoder=True, seed=section.seed)
    if kind == "text":
        candidates = text_candidates(known.reference, seed=section.seed)
    else:
        candidates = picture_candidates(known.reference, kind, seed=section.seed)
    found = protocol(
        target.denoiser,
        eyes,
        candidates,
        judges,
        per=_PER,
        factors=list(dict.fromkeys([0.0, *(factors or [1.0])])),
        seed=section.seed,
        weight=asked.weight(kind),
        preset=preset or DEFAULT,
        paper_scale=paper_scale,
        sampler=build_sampler(section),
        steps=section.steps,
        clip=clip_of(target.denoiser, section),
        decode=target.decode,
    )
    told = {"kind": kind, "preset": preset or DEFAULT, "candidates": list(candidates.names), "per": _PER}
    atomic_write_json(out / EVALUATION, {**target.about, **told, "strengths": [f.to_dict() for f in found]})
    tops = sorted(found[0].retrieval)
    rows = [
        [
            "unguided" if f.factor == 0 else f"x {f.factor:g}",
            *(f"{f.retrieval[k]:.3f}" for k in tops),
            f"{f.diversity:.3g}",
            "–" if f.distance is None else f"{f.distance:.3g}",
        ]
        for f in found
    ]
    heads = ["strength", *(f"top-{k} ↑" for k in tops), "diversity ↑", "Fréchet distance ↓"]
    print_table(heads, rows, right=range(1, len(heads)))
    print(f"\n{found[0].samples} samples by {len(candidates)} guidances; numbers in {out / EVALUATION}")
