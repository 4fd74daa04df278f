"""`windvane steer --evaluate`: SDG's protocol on a tiny model, for every kind and for mixtures."""

import json

import pytest

from tests.cli.conftest import shorten_trainings
from windvane.tasks import steering


@pytest.fixture(autouse=True)
def short_trainings(monkeypatch):
    shorten_trainings(monkeypatch, steps=4, judge=20)


TOPS = {"top-1", "top-5", "top-10", "top-20"}
NAMES = {
    "text": TOPS | {"similarity"},
    "like": TOPS | {"similarity"},
    "content": TOPS | {"feature distance"},
    "style": TOPS | {"Gram distance"},
    "text+style": {f"text {n}" for n in TOPS | {"similarity"}}
    | {f"style {n}" for n in TOPS | {"Gram distance"}},
}


@pytest.mark.parametrize("kind", NAMES)
def test_sdgs_protocol(windvane, unconditional, kind, tmp_path):
    out = tmp_path / kind
    result = windvane("steer", unconditional, evaluate=kind, data="digits", out=out, steps=2)
    assert result.exit_code == 0, result.output
    found = json.loads((out / "evaluation.json").read_text())
    assert found["kind"] == kind and [row["strength"] for row in found["strengths"]] == [0, 1]
    names = found["candidates"] if "+" in kind else {kind: found["candidates"]}
    assert list(names) == kind.split("+") and all(len(ones) == 50 for ones in names.values())
    for row in found["strengths"]:
        assert set(row) == {"strength", "samples", "diversity", "frechet"} | NAMES[kind]
        assert row["samples"] == 300
    assert "top-20 ↑" in result.stdout


def test_n_and_batch_size_are_obeyed(windvane, unconditional, tmp_path, monkeypatch):
    seen = []
    protocol = steering.protocol

    def spied(denoiser, *given, **named):
        denoiser.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
        return protocol(denoiser, *given, **named)

    monkeypatch.setattr(steering, "protocol", spied)
    rows = []
    for size in (60, 25):
        options = {"evaluate": "like", "data": "digits", "steps": 2, "n": 60, "batch_size": size}
        result = windvane("steer", unconditional, out=tmp_path / str(size), **options)
        assert result.exit_code == 0, result.output
        assert max(seen) == size and "60 samples by 50 guidances" in result.stdout
        seen.clear()
        rows.append(json.loads((tmp_path / str(size) / "evaluation.json").read_text())["strengths"])
    for whole, parts in zip(*rows, strict=True):
        assert whole["samples"] == parts["samples"] == 60
        assert whole.pop("frechet") is parts.pop("frechet") is None, "there are too few samples for it"
        assert parts == pytest.approx(whole, rel=1e-3, abs=0.02)
