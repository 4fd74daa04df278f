"""`windvane search`: more from a trained model, by searching for what a reward likes."""

from pathlib import Path
from typing import Annotated

import typer

from windvane.cli.common.console import tell
from windvane.cli.common.options import (
    BatchSize,
    ConfigFile,
    Grid,
    Guidance,
    Interval,
    Settings,
    Steps,
    Weight,
    Weights,
)


def search(
    model: Annotated[
        Path | None, typer.Argument(metavar="MODEL", help="Folder of a run, or of a model.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the best picture and the rest.")
    ] = None,
    reward: Annotated[
        list[str] | None,
        typer.Option(
            "--reward",
            metavar="REWARD",
            help="brightness, darkness, contrast, smoothness, class:K, like:PICTURE, FILE.py:NAME; several "
            "are combined by rank.",
        ),
    ] = None,
    method: Annotated[
        str, typer.Option("--method", help="best-of, random, zero-order, paths, fk, dts or dts-star.")
    ] = "best-of",
    budget: Annotated[
        int | None, typer.Option("--budget", metavar="N", help="Network evaluations in all.")
    ] = None,
    verifier_budget: Annotated[
        int | None, typer.Option("--verifier-budget", metavar="N", help="Reward evaluations in all.")
    ] = None,
    given: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="NAME=VALUE", help="A setting of the method, e.g. lam=2; repeatable."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the search in --out.")] = False,
    n: Annotated[
        int | None,
        typer.Option("--n", help="Searches side by side; for dts and fk samples to draw. Default 1, dts 16."),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of the search.")] = None,
    cluster: Annotated[int | None, typer.Option("--cluster", help="This cluster (or label).")] = None,
    weight: Weight = None,
    guidance: Guidance = None,
    interval: Interval = None,
    sampler: Annotated[
        str | None,
        typer.Option("--sampler", "--solver", help="Default ddim; ddpm where the method needs its noise."),
    ] = None,
    steps: Steps = None,
    grid: Grid = None,
    batch_size: BatchSize = None,
    weights: Weights = None,
    config: ConfigFile = None,
    settings: Settings = None,
) -> None:
    """Search for samples that a reward likes, or draw from p(x) exp(reward), within a budget.

    best.png in --out is rewritten as the search improves. Ctrl-C stops; --resume goes on, also with a larger
    budget, and gives what an uninterrupted search would have given, but for rounding in the network.
    """
    from windvane.cli.common.config import make_config
    from windvane.cli.common.models import check_model_path, run_config
    from windvane.cli.sample.command import parse_interval
    from windvane.cli.search.methods import STOCHASTIC, settings_for
    from windvane.cli.search.rewards import check_rewards

    if model is None:
        raise ValueError("which model? windvane search MODEL --reward brightness --budget 10000 --out DIR")
    if out is None:
        raise ValueError("where to? windvane search MODEL --out DIR")
    own = settings_for(method, given or [])
    check_rewards(reward or [])
    if budget is None and verifier_budget is None:
        raise ValueError("how much? --budget N network evaluations, or --verifier-budget N")
    check_model_path(model)
    draws = method in STOCHASTIC
    flags = {
        "n": n if n is not None else 16 if draws else 1,
        "seed": seed,
        "cluster": cluster,
        "weight": weight,
        "guidance": guidance or None,
        "interval": parse_interval(interval),
        "sampler": sampler or ("ddpm" if draws else None),
        "steps": steps,
        "grid": grid,
        "batch_size": batch_size,
        "weights": weights,
    }
    made = make_config(
        base=run_config(model),
        file=config,
        flags={f"sample.{name}": value for name, value in flags.items() if value is not None},
        settings=settings or (),
    )
    weight_given = weight is not None or any(text.startswith("sample.weight=") for text in settings or ())
    _search(
        model,
        out,
        made.sample,
        method,
        own,
        list(reward or []),
        budget,
        verifier_budget,
        resume,
        weight_given,
    )


def _search(
    model: Path,
    out: Path,
    section: object,
    method: str,
    own: dict,
    rewards: list[str],
    budget: int | None,
    verifier_budget: int | None,
    resume: bool,
    weight_given: bool,
) -> None:
    from windvane.cli.common.folders import SEARCH
    from windvane.cli.common.processes import processes
    from windvane.cli.common.sections import SampleSection
    from windvane.cli.search.run import BEST, Order, check_out, search_model
    from windvane.folders import claimed
    from windvane.search import Budget

    assert isinstance(section, SampleSection)
    group = processes()
    if group.count > 1:
        raise ValueError(
            f"windvane search runs in one process, not in {group.count}; start it without a launcher"
        )
    check_out(out, resume=resume)
    limits = Budget(network=budget, verifier=verifier_budget)
    order = Order(model, rewards, method, own, section)
    with claimed(out, SEARCH):
        check_out(out, resume=resume)  # once more, now that nobody else writes there
        found = search_model(
            order,
            out=out,
            budget=limits,
            resume=resume,
            weight_given=weight_given,
            device=group.device,
        )
    scores = ", ".join(f"{score:.4g}" for score in found["scores"][:8])
    tell(
        f"best reward {scores} after {found['network_rows']} network evaluations in "
        f"{found['network_calls']} calls and {found['verified']} reward evaluations; {out / BEST}"
    )
    if "made" in found:
        about = f", log E exp(lam r) about {found['log_z']:.4g}" if "log_z" in found else ""
        tell(f"{found['made']}{about}; {out / 'samples.png'}")
