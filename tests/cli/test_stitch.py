"""`windvane stitch`: the curve of quality over cost, the point for a budget, and what is refused."""

import csv
import json

import pytest
import torch

from tests.cli.conftest import SIZES
from windvane.checkpoint import load, save_model
from windvane.cli.common.conditions.vocabulary import KnownConditions
from windvane.cli.stitch.run import Draws
from windvane.compress import row_flops, stitched
from windvane.conditions import Condition
from windvane.data import digits
from windvane.denoiser import NetworkDenoiser
from windvane.guidance import ClassifierFree
from windvane.metrics import extract_features, frechet
from windvane.networks import ResidualMLP
from windvane.process import EDM, VPCosine
from windvane.randomness import scoped_seed
from windvane.samplers import DDIM, sample

QUICK = {"reference": "digits", "features": "pca:4", "n": 12, "steps": 5, "parts": 5}


def large_denoiser(vector=None, process=None, width=96):
    with scoped_seed(5):
        network = ResidualMLP.build(shape=(1, 8, 8), vector=vector, width=width, blocks=2)
        for parameter in network.parameters():
            if not parameter.any():
                parameter.data.normal_(0, 0.3)
    return NetworkDenoiser(network, process or VPCosine(), parametrisation="v", shape=(1, 8, 8))


def saved(folder, denoiser, count=None):
    extra = {} if count is None else KnownConditions(count, "clusters", [10] * count).to_extra()
    save_model(folder / "model", denoiser, ema=denoiser.network.state_dict(), step=1, extra=extra)
    return folder


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("runs") / "large", large_denoiser())


def test_the_curve_is_what_the_library_measures(windvane, unconditional, large, tmp_path):
    found = windvane("stitch", unconditional, large, budget=0.7, seed=3, out=tmp_path, **QUICK)
    assert found.exit_code == 0, found.output
    numbers = json.loads((tmp_path / "stitch.json").read_text())
    points = numbers["points"]
    assert [p["fractions"] for p in points] == [[k / 5, (5 - k) / 5] for k in range(5, -1, -1)]
    assert [p["calls"] for p in points] == [[k, 5 - k] for k in range(5, -1, -1)]
    models = [load(unconditional), load(large)]
    small_flops, large_flops = map(row_flops, models)
    assert [p["flops"] for p in points] == [k * small_flops + (5 - k) * large_flops for k in range(5, -1, -1)]
    assert points[-1]["share"] == 1 and points[0]["share"] == pytest.approx(small_flops / large_flops)
    # One of the points from the library's own parts.
    x = sample(
        stitched(models, [0.4, 0.6]), seeds=3, n=12, sampler=DDIM(), steps=5, clip=1.0, progress=False
    ).x.clamp(-1, 1)
    from windvane.judges import feature_space

    reference = digits()
    extractor = feature_space(reference, features="pca:4")
    assert numbers["settings"]["features"] == extractor.name
    distance = frechet(
        extract_features(x, extractor), extract_features(reference.batch(slice(None)), extractor),
        resamples=0, bias=False,
    ).value  # fmt: skip
    assert points[3]["distance"] == pytest.approx(distance, rel=1e-5)


def test_a_budget_picks_the_best_point_that_it_pays_for(windvane, large, tmp_path):
    worse = large_denoiser(width=16)
    worse.network.last.weight.data *= 100
    small = saved(tmp_path / "small", worse)
    out = tmp_path / "stitched"
    found = windvane("stitch", small, large, budget=0.3, out=out, **QUICK)
    numbers = json.loads((out / "stitch.json").read_text())
    paid = [p for p in numbers["points"] if p["share"] <= 0.3]
    best = min(paid, key=lambda p: p["distance"])
    assert min(p["distance"] for p in numbers["points"]) < best["distance"] and len(paid) > 1
    assert numbers["chosen"] == {name: value for name, value in best.items() if name != "frontier"}
    fractions = ", ".join(f"{f:g}" for f in best["fractions"])
    assert f"In Python: stitched(models, [{fractions}])" in found.stdout
    marked = [line.split()[0] for line in found.stdout.splitlines() if line.endswith("*")]
    frontier = [p for p in numbers["points"] if p["frontier"]]
    assert sorted(marked) == sorted("/".join(f"{100 * f:.0f}" for f in p["fractions"]) for p in frontier)
    # The last model alone has fewer steps, at the costs of the stitchings.
    assert {row["steps"] for row in numbers["alone"]} == {
        max(1, round(5 * p["share"])) for p in numbers["points"][:-1]
    } - {5}
    assert all(row["calls"] == [0, row["steps"]] for row in numbers["alone"])
    with (out / "stitch.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["distance"]) for row in rows] == [
        p["distance"] for p in (*numbers["points"], *numbers["alone"])
    ]
    again = windvane("sample", again=out / "stitch.png").stdout
    assert f"windvane stitch --out {out / 'again' / 'stitch'} {small} {large} --budget 0.3" in again


def test_a_budget_that_pays_for_nothing_is_refused_before_anything_is_measured(
    refused, windvane, unconditional, large, tmp_path, monkeypatch
):
    """The share that would do is told, and does."""
    measured = []
    monkeypatch.setattr(Draws, "distance", lambda *given: measured.append(given) or 1.0)
    small_flops, large_flops = (row_flops(load(path)) for path in (unconditional, large))
    line = refused("stitch", unconditional, large, budget=0.0001, out=tmp_path / "out", **QUICK)
    assert (
        f"takes {small_flops / large_flops:.3g} of the operations of LARGE" in line and "a step" not in line
    )
    assert not measured and not (tmp_path / "out").exists()
    enough = line.rpartition("--budget ")[2].split()[0]
    assert float(enough) == pytest.approx(small_flops / large_flops, abs=1e-3)
    found = windvane("stitch", unconditional, large, budget=enough, out=tmp_path / "out", **QUICK)
    assert found.exit_code == 0 and measured, found.output


def test_what_differs_most_is_told_first(refused, model, tmp_path):
    """Another process and another condition: the process is the reason."""
    other = saved(tmp_path / "edm", large_denoiser(process=EDM()))
    assert "need one process" in refused("stitch", model, other, out=tmp_path / "out", **QUICK)


def test_guided_models_with_a_condition_and_three_of_them(windvane, model, tmp_path):
    """Classifier-free guidance asks every model twice; three models have a lattice of their own."""
    middle = saved(tmp_path / "middle", large_denoiser(len(SIZES), width=48), len(SIZES))
    big = saved(tmp_path / "big", large_denoiser(len(SIZES)), len(SIZES))
    quick = {**QUICK, "parts": 2, "steps": 4}
    found = windvane("stitch", model, middle, big, weight=2, cluster=1, out=tmp_path / "out", **quick)
    assert found.exit_code == 0, found.output
    numbers = json.loads((tmp_path / "out" / "stitch.json").read_text())
    assert len(numbers["points"]) == 6 and numbers["chosen"] is None
    half = next(p for p in numbers["points"] if p["fractions"] == [0.5, 0.0, 0.5])
    assert half["calls"] == [2, 0, 2]
    cond = Condition.vector(torch.tensor([1]))
    flops = [row_flops(ClassifierFree(load(path), 2.0), cond) for path in (model, big)]
    assert half["flops"] == 2 * sum(flops)


def test_the_models_of_a_run_are_compared_with_what_was_held_out(windvane, tmp_path):
    for name, width in (("small", 8), ("large", 24)):
        made = windvane(
            "train", "digits", "--set", "model.type=mlp", "--set", f"model.width={width}",
            "--set", "train.steps=3", "--set", "data.limit=100", out=tmp_path / name,
        )  # fmt: skip
        assert made.exit_code == 0, made.output
    quick = {name: value for name, value in QUICK.items() if name != "reference"}
    found = windvane("stitch", tmp_path / "small", tmp_path / "large", out=tmp_path / "out", **quick)
    assert found.exit_code == 0, found.output
    settings = json.loads((tmp_path / "out" / "stitch.json").read_text())["settings"]
    assert 0 < settings["reference"] < 100


def test_what_is_refused(refused, unconditional, model, large, tmp_path):
    out = {"out": tmp_path / "out"}
    assert "the cheapest first" in refused("stitch", large, **out)
    assert "a share of the cost of LARGE" in refused("stitch", unconditional, large, budget=3, **out)
    assert "name images: --reference DATA" in refused("stitch", unconditional, large, **out)
    assert "unknown clock 'hour'" in refused("stitch", unconditional, large, by="hour", **out, **QUICK)
    told = refused("stitch", model, large, **out, **QUICK)
    assert (
        "stitched models are asked for the same" in told and "4 clusters" in told and "no condition" in told
    )
    other = saved(tmp_path / "edm", large_denoiser(process=EDM()))
    assert "need one process" in refused("stitch", unconditional, other, **out, **QUICK)
    few = {**QUICK, "n": 3}
    assert "more than that with --n, or --features pca:N" in refused(
        "stitch", unconditional, large, **out, **few
    )
    assert not (tmp_path / "out").exists()
