"""A training that cannot fit into memory is refused before its network is made."""

import pytest
import torch

from windvane.cli.common.builders import build_denoiser
from windvane.cli.common.config import make_config
from windvane.cli.train import footprint as module
from windvane.cli.train.footprint import footprint


def config(*settings):
    return make_config(file=None, preset=None, flags={"data.source": "digits"}, settings=list(settings))


@pytest.mark.parametrize("kind", ["mlp", "unet", "dit"])
def test_the_footprint_is_what_a_pass_keeps(kind):
    made, built = config(f"model.type={kind}"), {"shape": (1, 16, 16), "vector": None, "layout": None}
    if kind == "unet":
        made = config("model.type=unet", "model.channels=[8,16]")
    network = build_denoiser(made.model, made.process, seed=0, **built).network
    weights = {value.data_ptr() for value in network.parameters()}
    kept = []

    def note(value):
        if value.untyped_storage().data_ptr() not in weights:
            kept.append(value)
        return value

    sizes = []
    for rows in (1, 2):
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(note, lambda value: value):
            network(torch.zeros(rows, 1, 16, 16), torch.zeros(rows), None)
        found = {value.untyped_storage().data_ptr(): value.untyped_storage().nbytes() for value in kept}
        sizes.append(sum(found.values()))
    fixed, each = footprint(made, **built)
    assert fixed == 20 * sum(value.numel() for value in network.parameters())
    assert each == pytest.approx(sizes[1] - sizes[0], rel=0.25)


def test_too_large_a_batch_is_one_line_before_anything_is_made(refused, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "free_memory", lambda: 20 << 30)
    monkeypatch.setattr("windvane.cli.train.run.train_run", None)
    wide = ("--set", "model.type=mlp", "--set", "model.width=8192")
    line = refused("train", "digits", *wide, batch_size=60_000, out=tmp_path / "run")
    assert "too little memory" in line and "lower --batch-size below" in line and "accumulate" in line
    monkeypatch.setattr(module, "free_memory", lambda: 1 << 30)
    line = refused("train", "digits", *wide, batch_size=4, out=tmp_path / "run")
    assert "width" in line and "--batch-size" not in line
    assert not (tmp_path / "run").exists()
