"""`windvane compare-solvers`: a table, a CSV, a JSON file and a plot for a model of the user's own."""

import csv
import json

import pytest

from tests.adapters import tiny_pipelines as tiny
from windvane.checkpoint import load
from windvane.cli.compare_solvers.run import SOLVERS, names_of, numbers_of
from windvane.samplers import DDIM, UniPC
from windvane.tasks.solvers import compare_solvers

QUICK = {"n": 4, "calls": "4,6", "reference_steps": 20}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipelines") / "ddim"
    tiny.ddim(prediction_type="sample").save_pretrained(folder)
    return folder


def test_the_files_hold_what_the_library_measures(windvane, unconditional, tmp_path):
    asked = windvane("compare-solvers", unconditional, solvers="ddim,unipc2", seed=5, out=tmp_path, **QUICK)
    assert asked.exit_code == 0, asked.output
    found = compare_solvers(
        load(unconditional), {"ddim": DDIM(), "unipc2": UniPC(order=2)}, calls=(4, 6), seeds=5, n=4, clip=1.0,
        reference_steps=20, progress=False,
    )  # fmt: skip
    numbers = json.loads((tmp_path / "solvers.json").read_text())
    assert [p["error"] for p in numbers["points"]] == pytest.approx([p.error for p in found.points])
    assert numbers["reference"]["steps"] == 20
    assert numbers["reference"]["drift"] == pytest.approx(found.drift)
    assert numbers["settings"]["seed"] == 5 and numbers["settings"]["weight"] == 0
    with (tmp_path / "solvers.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["solver"], row["budget"], row["calls"]) for row in rows] == [
        (p.solver, str(p.budget), str(p.calls)) for p in found.points
    ]
    assert (tmp_path / "solvers.png").read_bytes()[:4] == b"\x89PNG"
    table = asked.stdout.splitlines()
    assert table[0].split() == ["solver", "4", "calls", "6", "calls"]
    assert f"{found.points[0].error:.4f}" in table[1] and table[1].startswith("ddim")
    assert sum(line.count("*") for line in table[1:3]) == 2


def test_guidance_and_what_is_skipped(windvane, model, tmp_path):
    asked = windvane(
        "compare-solvers", model, solvers="ddim,evodiff,ddpm", grid="uniform", weight=2, cluster=1,
        out=tmp_path, **QUICK,
    )  # fmt: skip
    assert asked.exit_code == 0, asked.output
    assert "skipped ddpm: adds noise" in asked.stderr
    assert "skipped evodiff: EVODiff needs a grid even in log-SNR" in asked.stderr
    numbers = json.loads((tmp_path / "solvers.json").read_text())
    assert {p["solver"] for p in numbers["points"]} == {"ddim"}
    assert [p["rows"] for p in numbers["points"]] == [8, 12]
    assert {line["solver"] for line in numbers["skipped"]} == {"ddpm", "evodiff"}
    assert (numbers["settings"]["weight"], numbers["settings"]["cluster"]) == (2, 1)


def test_a_pipeline_of_diffusers(windvane, pipeline, tmp_path):
    asked = windvane("compare-solvers", pipeline, solvers="heun,dpm++3s", out=tmp_path, **QUICK)
    assert asked.exit_code == 0, asked.output
    assert "(heun: the calls that its steps allow" in asked.stdout
    assert "skipped" not in asked.stderr


def test_names_and_numbers():
    assert names_of(None) == SOLVERS and names_of("ddim, heun,ddim") == ("ddim", "heun")
    assert numbers_of("12,5,5") == (5, 12)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"solvers": "dpm2"}, "unknown solver 'dpm2'"),
        ({"calls": "5,x"}, "--calls needs whole numbers such as 5,8,12, got '5,x'"),
        ({"calls": "0"}, "at least 1, got '0'"),
        ({"solvers": "ddpm"}, "nothing to compare: ddpm adds noise"),
        ({"reference-steps": 10}, "twice the largest budget of 6 calls, got 10"),
        ({"weight": 3}, "--weight 3 would guide nothing"),
    ],
    ids=range(6),
)
def test_wrong_requests_are_one_line(refused, unconditional, tmp_path, options, complaint):
    assert complaint in refused("compare-solvers", unconditional, out=tmp_path / "o", **{**QUICK, **options})


def test_the_model_has_to_be_there(refused, tmp_path):
    assert "there is no run" in refused("compare-solvers", tmp_path / "none")
