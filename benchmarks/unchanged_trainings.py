"""The trainings and fits that `unchanged.py` looks at: each whole, and stopped in the middle and resumed."""

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

import windvane as wv
from windvane.conditions import Condition
from windvane.data import ImageData, digits, train_and_held_out
from windvane.networks import ConditionedDiT, ConditionedUNet, ResidualMLP
from windvane.randomness import scoped_seed
from windvane.training.objective import Denoising
from windvane.training.times import times_named

STEPS, SHAPE = 10, (1, 8, 8)
Made = Callable[[], tuple[Any, dict[str, Any]]]


def images() -> ImageData:
    return train_and_held_out(digits(), seed=0)[0]


def labels() -> torch.Tensor:
    found = images().labels
    assert found is not None
    return found


def built(network: Callable[[], nn.Module], process: Any, parametrisation: str = "v") -> Any:
    with scoped_seed(7):
        return wv.NetworkDenoiser(network(), process, parametrisation=parametrisation, shape=SHAPE)


def mlp(process: Any = None, parametrisation: str = "v", vector: int | None = 10) -> Any:
    make = partial(ResidualMLP.build, shape=SHAPE, vector=vector, width=32, blocks=1)
    return built(make, process or wv.VPCosine(), parametrisation)


def unet(**settings: Any) -> Any:
    make = partial(ConditionedUNet.build, shape=SHAPE, channels=(8, 16), layers_per_block=1, **settings)
    return built(make, wv.VPCosine())


def dit() -> Any:
    make = partial(ConditionedDiT.build, shape=SHAPE, vector=10, width=16, depth=2, heads=2)
    return built(make, wv.VPCosine())


def trainings() -> dict[str, Made]:
    """Name -> (denoiser, settings) anew."""
    ids = {"conditions": Condition.vector(labels())}
    layout = torch.nn.functional.one_hot(torch.arange(64).reshape(8, 8) % 3, 3).permute(2, 0, 1).float()
    layouts = {"conditions": Condition.of(layout=layout.expand(len(labels()), 3, 8, 8).contiguous())}
    some = torch.linspace(-1, 1, 10).expand(len(labels()), 10).contiguous()
    vectors = {"conditions": Condition.vector(some)}
    flow = wv.RectifiedFlow()
    return {
        "mlp": lambda: (mlp(vector=None), {}),
        "ids": lambda: (mlp(), {**ids, "dropout": 0.3}),
        "vectors": lambda: (mlp(), vectors),
        "unet, flip": lambda: (unet(vector=10), {**ids, "flip": True}),
        "unet, dropout": lambda: (unet(dropout=0.2), {}),
        "unet, layout": lambda: (unet(layout=3), layouts),
        "dit": lambda: (dit(), ids),
        "edm": lambda: (mlp(wv.EDM(), "edm"), ids),
        "pfgmpp": lambda: (mlp(wv.PFGMPP(dof=32), "edm"), ids),
        "flow": lambda: (mlp(flow, "flow"), {**ids, "times": times_named("logit-normal", flow)}),
        "min-snr": lambda: (mlp(wv.VPLinear(), "eps"), {**ids, "objective": Denoising("min-snr")}),
        "bf16": lambda: (mlp(), {**ids, "mixed_precision": "bf16"}),
        "accumulated": lambda: (mlp(), {**ids, "accumulate": 3}),
    }


def trained(make: Made, stop: int | None) -> Any:
    """Weights, averages and the log's numbers; with ``stop`` of a run that was taken up again there."""
    with tempfile.TemporaryDirectory() as folder:
        return trained_in(Path(folder), make, stop)


def trained_in(folder: Path, make: Made, stop: int | None) -> Any:
    """:func:`trained`, with its run in a folder that several processes share."""
    denoiser, settings = make()
    common = {"batch_size": 12, "warmup": 3, "lr": 2e-3, "log_every": 5, "ema_decay": 0.9, "seed": 3}
    run = wv.Run(folder / "run")
    for steps in (STEPS,) if stop is None else (stop, STEPS):
        if steps == STEPS and stop is not None:
            denoiser, settings = make()
        told = {**common, **settings}
        result = wv.train(denoiser, images(), steps=steps, run=run, progress=False, **told)
    rows = [{k: v for k, v in row.items() if k != "images_per_second"} for row in result.history]
    return [result.raw.state_dict(), result.ema.state_dict(), rows]


def training_cases() -> Iterator[tuple[str, Callable[[], Any]]]:
    for name, make in trainings().items():
        yield name, partial(trained, make, None)
        yield f"{name}, resumed", partial(trained, make, 4)


def fit_cases() -> Iterator[tuple[str, Callable[[], Any]]]:
    """What has an optimiser loop of its own beside the training of denoisers."""
    from windvane.annotate.dense import Patches, Restoration
    from windvane.annotate.features import SelfSup
    from windvane.annotate.regions.masks import Stego
    from windvane.judges import train_judge

    some = images().subset(torch.arange(80))

    def judge(kind: Any) -> Any:
        made = train_judge(some, kind=kind, steps=12, batch_size=16, seed=2, progress=False)
        return [made.classify(some.batch(slice(0, 8))), made(some.batch(slice(0, 8)))]

    def selfsup() -> Any:
        return SelfSup(dim=8, width=8, steps=6, batch=16, seed=1).fit(some, progress=False).state()

    def restoration() -> Any:
        return Restoration(width=8, steps=5, batch=8, seed=1).fit(some, progress=False).state()

    def stego() -> Any:
        made = Stego(Patches(2, 1), 3, steps=6, probe_steps=5, batch=8, seed=1)
        return made.fit(some, progress=False).state()

    def noisy() -> Any:
        from windvane.training.noise_aware import noise_aware, train_classifier

        with scoped_seed(4):
            layers = nn.Linear(64, 16), nn.LayerNorm(16), nn.SiLU(), nn.Linear(16, 10)
            inner = nn.Sequential(nn.Flatten(), *layers)
        made = noise_aware(inner, wv.VPCosine(), seed=1)
        settings: dict[str, Any] = {"process": wv.VPCosine(), "batch_size": 16, "lr": 1e-3, "seed": 2}
        pictures = some.batch(slice(None))
        losses = train_classifier(made, pictures, labels()[:80], steps=8, progress=False, **settings)
        return [made.state_dict(), losses]

    def text() -> Any:
        from windvane.text import train_text_encoder

        sizes = {"batch_size": 16, "dim": 8, "width": 8}
        return train_text_encoder(some, steps=5, seed=1, progress=False, **sizes).state_dict()

    yield "judge, mlp", partial(judge, "mlp")
    yield "judge, conv", partial(judge, "conv")
    yield "selfsup", selfsup
    yield "restoration", restoration
    yield "stego", stego
    yield "noise-aware", noisy
    yield "text", text
