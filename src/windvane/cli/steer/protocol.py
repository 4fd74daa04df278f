"""`windvane steer --evaluate`: SDG's protocol on a model."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from windvane.cli.common.console import print_table, tell
from windvane.cli.common.datasets import usable_cache
from windvane.cli.common.errors import say
from windvane.cli.common.folders import STEERED
from windvane.cli.steer.checks import check_manner
from windvane.cli.steer.wishes import Manner, WishFlags, open_target
from windvane.files import atomic_write_json
from windvane.folders import note_files

if TYPE_CHECKING:
    from windvane.cli.common.config import Config
    from windvane.tasks.steering import Candidates, ProtocolResult

EVALUATION = "evaluation.json"
_PER = 6


def evaluate_steering(
    run: Path,
    out: Path,
    config: "Config",
    flags: WishFlags,
    kinds: Sequence[str],
    manner: Manner,
    *,
    n: int | None,
) -> None:
    """Guide by up to 50 texts or held-out pictures, or pairs of them, and measure retrieval and distance.

    Args:
        n: samples in all; by default six for each guidance.
    """
    from windvane.cli.common.builders import build_sampler
    from windvane.cli.common.processes import sole_device
    from windvane.cli.steer.networks import known_images, make_eyes
    from windvane.cli.steer.run import steering_options
    from windvane.tasks.steering import picture_candidates, protocol, text_candidates
    from windvane.tasks.steering.guides import make_judges

    section = config.sample
    sampler = build_sampler(section)
    if not config.data.source:
        raise ValueError(
            "--evaluate measures with judges, and the model does not say what it was trained on: "
            "--data names the images"
        )
    target = open_target(run, section, device=sole_device("steer"))
    check_manner(flags, kinds, target, manner, sampler)
    known = known_images(config.data, target.shape)
    candidates = [
        text_candidates(known.reference, seed=section.seed)
        if kind == "text"
        else picture_candidates(known.reference, kind, seed=section.seed)
        for kind in kinds
    ]
    fewest = min(len(one) for one in candidates)
    candidates = [one.first(fewest) for one in candidates]
    # Empty wishes, so that guides are made that can look for them.
    pictured = any(kind != "text" for kind in kinds)
    seeking = replace(flags, text=("",) if "text" in kinds else (), like=(Path(),) if pictured else ())
    eyes = make_eyes(seeking, target, lambda: known, section.seed)
    judges = make_judges(known, encoder=True, seed=section.seed, cache=usable_cache, tell=say)
    found = protocol(
        target.denoiser,
        eyes,
        candidates,
        judges,
        per=_PER,
        n=n,
        factors=manner.strengths,
        seed=section.seed,
        weights=[flags.weight(kind) for kind in kinds],
        decode=target.decode,
        **steering_options(section, manner, target, sampler),
    )
    _write(out, found, candidates, target.about, manner)


def _write(
    out: Path,
    found: "Sequence[ProtocolResult]",
    candidates: "Sequence[Candidates]",
    about: dict[str, object],
    manner: Manner,
) -> None:
    names = {one.kind: list(one.names) for one in candidates}
    told = {
        "kind": "+".join(names),
        **manner.to_dict(),
        "candidates": next(iter(names.values())) if len(names) == 1 else names,
    }
    note_files(out, STEERED, [EVALUATION])
    atomic_write_json(out / EVALUATION, {**about, **told, "strengths": [f.to_dict() for f in found]})
    rows = [
        [
            "unguided" if f.factor == 0 else f"x {f.factor:g}",
            *(f"{value:.3g}" for value in f.rows().values()),
            "–" if f.diversity is None else f"{f.diversity:.3g}",
            "–" if f.distance is None else f"{f.distance:.3g}",
        ]
        for f in found
    ]
    heads = ["strength", *(f"{name} {found[0].arrow(name)}" for name in found[0].rows())]
    heads += ["diversity ↑", "Fréchet distance ↓"]
    print_table(heads, rows, right=range(1, len(heads)))
    tell(f"\n{found[0].samples} samples by {len(candidates[0])} guidances; numbers in {out / EVALUATION}")
