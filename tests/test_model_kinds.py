"""Kinds of models: several modules in a folder, adapters of a base, format 1, and what no kind holds."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

import windvane as wv
from tests.test_checkpoint import denoiser, inputs, same
from windvane.checkpoint import ModelKind, load, read_description, save_model
from windvane.denoiser import FunctionDenoiser
from windvane.guidance import ClassifierFree
from windvane.hashes import seal_of
from windvane.networks import ResidualMLP
from windvane.randomness import scoped_seed
from windvane.registry import Row, entries, register
from windvane.training import Denoising, Program, Update
from windvane.training.noise_aware.adapter import Adapter
from windvane.training.noise_aware.low_rank import LowRank, add_low_rank

OLD = Path(__file__).parent / "models" / "format_1"
#: What release 0.x of format 1 printed of that folder for these inputs.
X, T = torch.tensor([[0.5, -1.0], [2.0, 0.25]]), torch.tensor([0.25, 0.75], dtype=torch.float64)
ANSWERS = {
    "raw": [[0.26076382398605347, -1.218045711517334], [2.978299856185913, -1.2253516912460327]],
    "ema": [[0.36182570457458496, -1.073735237121582], [2.7510104179382324, -0.8084861040115356]],
}


def autoencoder():
    from diffusers import AutoencoderKL

    with scoped_seed(0):
        return AutoencoderKL(
            in_channels=1, out_channels=1, down_block_types=("DownEncoderBlock2D",), latent_channels=2,
            up_block_types=("UpDecoderBlock2D",), block_out_channels=(8,), norm_num_groups=4, sample_size=8,
            scaling_factor=0.7,
        ).eval()  # fmt: skip


def latent():
    from windvane.adapters.latent import Latent

    with scoped_seed(1):
        network = ResidualMLP.build(shape=(2, 8, 8), width=8, blocks=1)
        nn.init.normal_(network.last.weight)
    made = wv.NetworkDenoiser(network, wv.VPLinear(), shape=(2, 8, 8))
    made.codec, made.clip = Latent(autoencoder()), 4.0
    return made


def reseal(path, **changes):
    file = path / "windvane.json"
    known = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({**known, "content": seal_of(known)}))


@pytest.mark.parametrize("weights", ["raw", "ema"])
def test_a_folder_of_format_1_gives_what_it_gave(weights, tmp_path):
    model = load(OLD, weights)
    cond = wv.Condition.vector(torch.tensor([0, 2]))
    torch.testing.assert_close(model(X, T, cond), torch.tensor(ANSWERS[weights]), rtol=1e-5, atol=1e-6)
    assert (model.step, model.weights) == (12, weights)
    known = read_description(OLD)
    assert known["format"] == 1 and known["kind"] == "denoiser" and known["extra"] == {"note": "kept"}
    assert known["modules"] == {"network": known["network"]} and known["settings"]["shape"] == [2]
    # And is saved as format 2, with the same weights.
    again = save_model(tmp_path / "new", model)
    assert json.loads((again / "windvane.json").read_text())["format"] == 2
    assert same(load(again, weights).network.state_dict(), model.network.state_dict())


def test_damage_of_a_folder_of_format_1_is_named(tmp_path):
    path = Path(shutil.copytree(OLD, tmp_path / "m"))
    file = path / "raw" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-3] + b"xyz")
    with pytest.raises(ValueError, match="model.safetensors is damaged: .*hash"):
        load(path, "raw")
    load(path, "ema")
    (path / "windvane.json").write_text(
        (path / "windvane.json").read_text().replace('"step": 12', '"step": 13')
    )
    with pytest.raises(ValueError, match="windvane.json is damaged"):
        load(path)


def test_a_denoiser_of_latents_is_saved_with_its_autoencoder(tmp_path):
    from diffusers import AutoencoderKL

    model = latent()
    path = save_model(tmp_path / "m", model, step=4)
    known = read_description(path)
    assert known["kind"] == "latent"
    assert known["modules"]["codec"] == {"library": "diffusers", "class": "AutoencoderKL"}
    opened = load(path, "raw")
    z = torch.randn(2, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1)).tanh()
    with torch.no_grad():
        torch.testing.assert_close(opened.codec.decode(z), model.codec.decode(z))
        torch.testing.assert_close(opened.codec.encode(x), model.codec.encode(x))
        assert torch.equal(opened(z, T), model(z, T))
    assert opened.clip == 4.0 and opened.codec.scale == pytest.approx(0.7)
    assert not any(p.requires_grad for p in opened.codec.parameters())
    # What diffusers saved, diffusers opens.
    plain = AutoencoderKL.from_pretrained(path / "modules" / "codec")
    assert same(plain.state_dict(), model.codec.autoencoder.state_dict())
    for file in sorted((path / "modules").rglob("*")):
        if file.is_file():
            whole = file.read_bytes()
            file.write_bytes(whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:])
            with pytest.raises(ValueError, match=f"{file.name} is damaged: .*hash"):
                load(path, "raw")
            file.write_bytes(whole)
    shutil.rmtree(path / "modules")
    with pytest.raises((ValueError, OSError)):
        load(path, "raw")


def test_a_class_that_diffusers_has_not_is_never_looked_for(tmp_path):
    path = save_model(tmp_path / "m", latent())
    modules = read_description(path)["modules"]
    for spec in ({"library": "os", "class": "system"}, {"library": "diffusers", "class": "logging"}):
        reseal(path, modules={**modules, "codec": spec})
        with pytest.raises(ValueError, match="has no model"):
            load(path, "raw")


def adapted():
    with scoped_seed(2):
        base = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 3))
    settings = LowRank(rank=2, alpha=4.0)
    import copy

    network = add_low_rank(copy.deepcopy(base), settings)
    with torch.no_grad():
        for p in network.parameters():
            if p.requires_grad:
                p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(3)))
    return base, network, settings


def test_adapters_are_saved_alone_and_know_their_base(tmp_path):
    import copy

    base, network, settings = adapted()
    path = save_model(tmp_path / "a", Adapter.of(network, base, settings), extra={"for": "noise"})
    size = sum(file.stat().st_size for file in path.rglob("*.safetensors"))
    assert size < 4 * sum(p.numel() for p in base.parameters())
    opened = load(path)
    x = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    again = opened.onto(copy.deepcopy(base))
    assert torch.equal(again(x), network(x)) and not torch.equal(again(x), base(x))
    other = copy.deepcopy(base)
    with torch.no_grad():
        other[0].bias.add_(1e-3)
    with pytest.raises(ValueError, match="belong to a base whose weights have the hash"):
        opened.onto(other)
    with pytest.raises(ValueError, match="autocast and compile are for denoisers, this is a Adapter"):
        load(path, autocast=torch.bfloat16)


def test_a_kind_that_nobody_has_registered_is_refused_by_name(tmp_path):
    path = save_model(tmp_path / "m", denoiser())
    reseal(path, kind="flow")
    with pytest.raises(ValueError, match="the kind 'flow', which nobody has registered; known: denoiser"):
        load(path, "raw")


def test_nothing_of_a_model_is_left_out(tmp_path):
    guided = ClassifierFree(denoiser(), 2.0)
    with pytest.raises(ValueError, match="ClassifierFree is not saved as a model; guidance is no part"):
        save_model(tmp_path / "m", guided)
    with pytest.raises(ValueError, match="FunctionDenoiser is not saved"):
        save_model(tmp_path / "m", FunctionDenoiser(lambda x, t, c: x, wv.VPLinear()))
    extended = denoiser()
    extended.head = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="this denoiser has head beside its network"):
        save_model(tmp_path / "m", extended)
    coded = denoiser()
    coded.codec = object()
    with pytest.raises(ValueError, match="this denoiser has codec beside its network"):
        save_model(tmp_path / "m", coded)

    class Own(wv.NetworkDenoiser):
        pass

    own = Own(denoiser().network, wv.VPLinear())
    with pytest.raises(ValueError, match="Own would be a plain NetworkDenoiser when it is loaded"):
        save_model(tmp_path / "m", own)
    assert not (tmp_path / "m").exists()


class Pair:
    """Two denoisers as one model."""

    def __init__(self, first, second, share):
        self.first, self.second, self.share = first, second, share


class PairKind(ModelKind):
    name = "pair"

    def holds(self, model):
        return isinstance(model, Pair)

    def settings(self, model):
        return {"share": model.share}

    def modules(self, model):
        return {"network": model.first.network, "second": model.second.network, "told": {"x": torch.ones(2)}}

    def build(self, settings, modules):
        made = [wv.NetworkDenoiser(modules[name], wv.VPCosine()) for name in ("network", "second")]
        assert torch.equal(modules["told"]["x"], torch.ones(2))
        return Pair(*made, settings["share"])


def test_a_kind_of_ones_own_has_several_modules(tmp_path):
    if "pair" not in [row.name for row in entries("model")]:
        register(Row("model", "pair", f"{__name__}:PairKind", "two denoisers", value=PairKind))
    first, second = denoiser(), denoiser("mlp")
    averaged = {name: 2 * value for name, value in first.network.state_dict().items()}
    path = save_model(tmp_path / "m", Pair(first, second, 0.25), ema=averaged, step=9)
    assert read_description(path)["weights"] == ["ema", "raw"]
    opened = load(path)
    assert (opened.share, opened.step, opened.weights) == (0.25, 9, "ema")
    assert same(opened.first.network.state_dict(), averaged)
    assert same(opened.second.network.state_dict(), second.network.state_dict())
    x, t, cond = inputs()
    assert torch.equal(opened.second.network(x, t.float(), cond), second.network(x, t.float(), cond))
    # A model of another kind takes its place, and nothing of it is left.
    save_model(path, denoiser())
    assert not (path / "modules").exists() and load(path, "raw").network is not None


def test_a_training_refuses_at_once_what_it_could_not_save(tmp_path):
    extended = denoiser()
    extended.head = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="this denoiser has head beside its network"):
        wv.train(
            extended, torch.randn(8, *extended.shape), steps=2, batch_size=4, run=wv.Run(tmp_path / "run")
        )
    assert not (tmp_path / "run" / "state").exists()


def test_a_codec_is_no_part_of_what_is_trained_on_its_latents(tmp_path):
    model = latent()
    before = {name: value.clone() for name, value in model.codec.state_dict().items()}
    program = Program((Update(name="loss", objective=Denoising("eps")),))
    ((group,),) = program.groups(model)
    assert {id(p) for p in group.parameters} == {id(p) for p in model.network.parameters()}
    run = wv.Run(tmp_path / "run")
    wv.train(
        model, torch.randn(16, 2, 8, 8), steps=3, batch_size=8, run=run, weight_decay=0.5, progress=False
    )
    assert same(model.codec.state_dict(), before)
    opened = wv.load(tmp_path / "run")
    assert same(opened.codec.state_dict(), before) and opened.step == 3
