"""`windvane search`: more from a trained model, by searching for what a reward likes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from windvane.cli.common.console import tell
from windvane.cli.common.options import UserSettings, with_settings

if TYPE_CHECKING:
    from windvane.cli.search.run import SearchOrder


@with_settings(
    "model out reward method budget verifier_budget own resume sample.n sample.seed sample.cluster "
    "sample.weight sample.guidance sample.interval sample.sampler sample.steps sample.grid "
    "sample.batch_size sample.weights config set",
    n="Searches side by side; for dts and fk samples to draw. Default 1, dts 16.",
    seed="Seed of the search.",
    cluster="This cluster (or label).",
    sampler="Default ddim; ddpm where the method needs its noise.",
)
def search(
    user: UserSettings,
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
    own: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="NAME=VALUE", help="A setting of the method, e.g. lam=2; repeatable."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the search in --out.")] = False,
) -> None:
    """Search for samples that a reward likes, or draw from p(x) exp(reward), within a budget.

    best.png in --out is rewritten as the search improves. Ctrl-C stops; --resume goes on, also with a larger
    budget, and gives what an uninterrupted search would have given, but for rounding in the network.
    """
    from windvane.cli.common.models import check_model_path, run_config
    from windvane.cli.search.methods import STOCHASTIC, settings_for
    from windvane.cli.search.rewards import check_rewards

    if model is None:
        raise ValueError("which model? windvane search MODEL --reward brightness --budget 10000 --out DIR")
    if out is None:
        raise ValueError("where to? windvane search MODEL --out DIR")
    own_settings = settings_for(method, own or [])
    check_rewards(reward or [])
    if budget is None and verifier_budget is None:
        raise ValueError("how much? --budget N network evaluations, or --verifier-budget N")
    check_model_path(model)
    draws = method in STOCHASTIC
    usual: dict[str, object] = {"sample.n": 16, "sample.sampler": "ddpm"} if draws else {"sample.n": 1}
    section = user.config(run_config(model), usual).sample
    from windvane.cli.search.run import SearchOrder

    order = SearchOrder(model, list(reward or []), method, own_settings, section)
    _search(order, out, (budget, verifier_budget), resume, user.names("sample.weight"))


def _search(
    order: "SearchOrder", out: Path, limits: tuple[int | None, int | None], resume: bool, weight_given: bool
) -> None:
    from windvane.cli.common.folders import SEARCH
    from windvane.cli.common.processes import sole_device
    from windvane.cli.search.run import BEST, check_out, search_model
    from windvane.folders import claimed
    from windvane.search import Budget

    device = sole_device("windvane search")
    check_out(out, resume=resume)
    budget = Budget(network=limits[0], verifier=limits[1])
    with claimed(out, SEARCH):
        check_out(out, resume=resume)  # once more, now that nobody else writes there
        found = search_model(
            order, out=out, budget=budget, resume=resume, weight_given=weight_given, device=device
        )
    scores = ", ".join(f"{score:.4g}" for score in found["scores"][:8])
    tell(
        f"best reward {scores} after {found['network_rows']} network evaluations in "
        f"{found['network_calls']} calls and {found['verified']} reward evaluations; {out / BEST}"
    )
    if "made" in found:
        about = f", log E exp(lam r) about {found['log_z']:.4g}" if "log_z" in found else ""
        tell(f"{found['made']}{about}; {out / 'samples.png'}")
