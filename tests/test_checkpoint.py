"""Model folders: exact round trips, explicit weights, crashes between renames, clear refusals."""

import json
import os
import shutil
import threading
from pathlib import Path

import pytest
import torch

import windvane
from tests.kept_folders import assert_replaces_only_its_own
from tests.networks.tiny import CLASSES, LAYOUT, MAKERS, SHAPE, WIDTH, batch, draw, mlp
from windvane import VPCosine, VPLinear
from windvane.checkpoint import find_model, load, read_description, save_model, unwrapped
from windvane.conditions import Condition
from windvane.denoiser import NetworkDenoiser
from windvane.networks import ResidualMLP

EVERY = pytest.mark.parametrize("name", list(MAKERS))


def denoiser(name="mlp", **settings):
    extra = {} if name == "mlp" else {"layout": LAYOUT, "tokens": WIDTH}
    settings = {"parametrisation": "v", "shape": SHAPE, **settings}
    return NetworkDenoiser(MAKERS[name](vector=CLASSES, **extra), VPCosine(lmbda_min=-13.0), **settings)


def shifted(state, by=0.125):
    return {key: value + by for key, value in state.items()}


def inputs():
    x, time = batch(3)
    return x, (time / 1000).double(), Condition.vector(torch.tensor([0, 3, 4]))


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@EVERY
def test_a_saved_model_is_the_same_model_bit_for_bit(name, tmp_path):
    model = denoiser(name)
    own = model.network.state_dict()
    save_model(tmp_path / "model", model, ema=shifted(own), step=7)
    for weights, expected in (("raw", own), ("ema", shifted(own))):
        loaded = load(tmp_path / "model", weights)
        assert (loaded.weights, loaded.step, loaded.training) == (weights, 7, False)
        assert same(loaded.network.state_dict(), expected)
        model.network.load_state_dict(expected)
        assert torch.equal(loaded(*inputs()), model(*inputs()))


def test_the_averaged_weights_are_the_default_and_absent_ones_are_refused(tmp_path):
    model = denoiser()
    save_model(tmp_path / "both", model, ema=shifted(model.network.state_dict()))
    assert load(tmp_path / "both").weights == "ema"
    save_model(tmp_path / "raw", model)
    with pytest.raises(ValueError, match="no ema weights, only raw; ask for weights='raw'"):
        load(tmp_path / "raw")
    with pytest.raises(ValueError, match="'ema' or 'raw', got 'best'"):
        load(tmp_path / "raw", "best")


def test_a_model_loaded_with_averaged_weights_is_saved_as_such(tmp_path):
    model = denoiser()
    save_model(tmp_path / "first", model, ema=shifted(model.network.state_dict()))
    save_model(tmp_path / "second", load(tmp_path / "first"))
    assert read_description(tmp_path / "second")["weights"] == ["ema"]
    assert same(load(tmp_path / "second").network.state_dict(), shifted(model.network.state_dict()))


@pytest.mark.parametrize(
    "settings",
    [
        {"parametrisation": "edm", "sigma_data": 0.31},
        {"parametrisation": "x0", "time": "log_snr", "shape": None},
    ],
)
def test_every_setting_comes_back(settings, tmp_path):
    model = denoiser(**settings)
    model.process = VPLinear(beta_max=17.0)
    save_model(tmp_path / "m", model, extra={"labels": ["a", "b"]})
    loaded = load(tmp_path / "m", "raw")
    assert loaded.process == model.process
    for name in ("parametrisation", "sigma_data", "time", "shape"):
        assert getattr(loaded, name) == getattr(model, name)
    assert torch.equal(loaded(*inputs()), model(*inputs()))
    assert read_description(tmp_path / "m")["extra"] == {"labels": ["a", "b"]}


def test_a_run_folder_opens_by_its_own_name_and_the_package_offers_load(tmp_path):
    save_model(tmp_path / "run" / "model", denoiser(), step=3)
    assert windvane.load(tmp_path / "run", weights="raw").step == 3
    assert find_model(tmp_path / "run") == tmp_path / "run" / "model"


@pytest.mark.parametrize("name, part", [("unet", "unet"), ("dit", "transformer")])
def test_diffusers_opens_the_model_inside_with_equal_weights(name, part, tmp_path):
    import diffusers

    model = denoiser(name)
    own = model.network.state_dict()
    save_model(tmp_path / "m", model, ema=shifted(own))
    cls = {"unet": diffusers.UNet2DModel, "dit": diffusers.DiTTransformer2DModel}[name]
    opened, report = cls.from_pretrained(tmp_path / "m" / "ema" / part, output_loading_info=True)
    assert not any(report.values())
    inside = {
        key.removeprefix(f"{part}."): value + 0.125 for key, value in own.items() if key.startswith(part)
    }
    assert same(opened.state_dict(), inside)
    if name == "unet":
        network = load(tmp_path / "m").network
        x, time = torch.cat([draw(2, *SHAPE), draw(2, LAYOUT + 1, 8, 8)], dim=1), torch.ones(2)
        vector = draw(2, network.width)
        assert torch.allclose(
            opened(x, time, class_labels=vector).sample, network.unet(x, time, vector).sample, atol=1e-4
        )


def test_half_precision_and_double_are_asked_for_at_loading(tmp_path):
    save_model(tmp_path / "m", denoiser())
    half = load(tmp_path / "m", "raw", dtype=torch.bfloat16, device="cpu")
    assert {p.dtype for p in half.network.parameters()} == {torch.bfloat16}
    exact = load(tmp_path / "m", "raw")(*inputs())
    assert half(*inputs()).dtype == torch.float32
    assert (half(*inputs()) - exact).abs().max() < 0.1 * exact.abs().max()


def test_saving_and_loading_leave_random_numbers_and_grad_mode_alone(tmp_path):
    state = torch.get_rng_state()
    model = denoiser()
    torch.set_rng_state(state)
    save_model(tmp_path / "m", model)
    loaded = load(tmp_path / "m", "raw")
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled()
    assert all(p.requires_grad for p in loaded.network.parameters())


class Killed(BaseException):
    """Stands for kill -9: nothing that catches exceptions catches it, and no cleaning up helps after it."""


@pytest.mark.parametrize("renames", [0, 1, 2, 3])
def test_a_crash_while_replacing_leaves_one_whole_model(renames, tmp_path, monkeypatch):
    """Killed before the n-th rename: the previous model until the new one is whole, then the new one."""
    path, model = tmp_path / "model", denoiser()
    save_model(path, model, step=1)
    done = []

    def rename(source, target, real=os.rename):
        if len(done) == renames:
            raise Killed
        done.append(target)
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    monkeypatch.setattr(os, "replace", rename)
    monkeypatch.setattr(shutil, "rmtree", lambda *args, **arguments: None)
    if renames < 3:
        with pytest.raises(Killed):
            save_model(path, model, raw=shifted(model.network.state_dict()), step=2)
    else:
        save_model(path, model, raw=shifted(model.network.state_dict()), step=2)
    monkeypatch.undo()
    step = load(path, "raw").step
    assert step == (1 if renames < 2 else 2)
    by = 0.0 if step == 1 else 0.125
    assert same(load(path, "raw").network.state_dict(), shifted(model.network.state_dict(), by))
    save_model(path, model, step=3)
    assert load(path, "raw").step == 3


@EVERY
def test_a_model_takes_the_place_of_a_model_only(name, tmp_path):
    model = denoiser(name)
    assert_replaces_only_its_own(
        lambda path: save_model(path, model, ema=model.network.state_dict()), tmp_path
    )


def test_nothing_is_left_behind(tmp_path):
    for step in range(3):
        save_model(tmp_path / "model", denoiser(), step=step)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_reader_during_many_saves_never_mixes_two_of_them(tmp_path):
    model = NetworkDenoiser(ResidualMLP(2, width=4, blocks=1), VPCosine())
    own = model.network.state_dict()

    def save(step):
        save_model(
            tmp_path / "m", model, raw={k: torch.full_like(v, step) for k, v in own.items()}, step=step
        )

    save(0)
    failures, reads = [], []

    def read():
        while writer.is_alive():
            try:
                loaded = load(tmp_path / "m", "raw")
            except Exception as error:
                failures.append(error)
                return
            values = {float(v) for p in loaded.network.state_dict().values() for v in p.flatten()}
            reads.append(values == {float(loaded.step)})

    writer = threading.Thread(target=lambda: [save(step) for step in range(1, 40)])
    reader = threading.Thread(target=read)
    writer.start()
    reader.start()
    writer.join()
    reader.join()
    assert not failures
    assert reads and all(reads)


def test_a_model_that_is_replaced_while_it_is_looked_at_is_looked_for_again(tmp_path, monkeypatch):
    save_model(tmp_path / "m", NetworkDenoiser(ResidualMLP(2, width=4, blocks=1), VPCosine()), step=3)
    real, looks = windvane.checkpoint.folder._text, []

    def gone_at_first(folder):
        looks.append(folder)
        if len(looks) % 2:
            raise FileNotFoundError(2, "No such file or directory")
        return real(folder)

    monkeypatch.setattr(windvane.checkpoint.folder, "_text", gone_at_first)
    assert load(tmp_path / "m", "raw").step == 3
    assert read_description(tmp_path / "m")["step"] == 3


def edited(path: Path, **changes):
    file = path / "windvane.json"
    known = {key: value for key, value in json.loads(file.read_text()).items() if key != "content"}
    file.write_text(json.dumps({**known, **changes}))  # without a seal, as folders were before there were any


def test_what_is_no_checkpoint_says_so(tmp_path):
    with pytest.raises(ValueError, match="there is no"):
        load(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="not a windvane checkpoint"):
        load(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="not a windvane checkpoint"):
        load(tmp_path / "file")


def test_a_newer_format_asks_for_an_upgrade(tmp_path):
    edited(save_model(tmp_path / "m", denoiser()), format=99)
    with pytest.raises(ValueError, match="format 99.*upgrade"):
        load(tmp_path / "m", "raw")


def test_damaged_files_are_named(tmp_path):
    path = save_model(tmp_path / "m", denoiser())
    weights = path / "raw" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="model.safetensors is damaged"):
        load(path, "raw")
    weights.unlink()
    with pytest.raises(ValueError, match="model.safetensors is missing"):
        load(path, "raw")
    (path / "windvane.json").write_text('{"format": ')
    with pytest.raises(ValueError, match="windvane.json is damaged"):
        load(path, "raw")


def test_weights_of_another_network_are_refused_on_both_ways(tmp_path):
    model = denoiser()
    other = mlp().state_dict()
    with pytest.raises(ValueError, match="the ema weights do not fit.*missing: conditions.vector"):
        save_model(tmp_path / "m", model, ema=other)
    assert not (tmp_path / "m").exists()
    path = save_model(tmp_path / "m", model)
    description = read_description(path)
    description["network"]["config"]["vector"] = 9
    edited(path, modules={"network": description["network"]})
    with pytest.raises(ValueError, match=r"wrong shape: conditions.vector.first.weight \(8, 5\) instead of"):
        load(path, "raw")


def test_a_network_that_could_not_be_rebuilt_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="register_network"):
        save_model(tmp_path / "m", NetworkDenoiser(torch.nn.Identity(), VPCosine()))
    assert list(tmp_path.iterdir()) == []


def test_wrapped_networks_are_saved_as_what_they_wrap(tmp_path):
    model = denoiser()
    network = model.network
    model.network = torch.compile(torch.nn.DataParallel(network), backend="eager")
    assert unwrapped(model.network) is network
    save_model(tmp_path / "m", model)
    assert same(load(tmp_path / "m", "raw").network.state_dict(), network.state_dict())


def test_every_file_of_a_model_is_known_by_its_hash(tmp_path):
    model = denoiser()
    path = save_model(tmp_path / "m", model, ema=model.network.state_dict(), raw=model.network.state_dict())
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.name != "windvane.json")
    assert sorted(read_description(path)["hashes"]) == [file.relative_to(path).as_posix() for file in files]
    for file in files:
        whole = file.read_bytes()
        file.write_bytes(whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:])
        weights = file.relative_to(path).parts[0]
        with pytest.raises(ValueError, match=f"{weights}/.*{file.name} is damaged: .*hash"):
            load(path, weights)
        load(path, "raw" if weights == "ema" else "ema")
        file.write_bytes(whole)


@pytest.mark.parametrize("change", [{"settings": {"sigma_data": 0.7}}, {"kind": "latent"}, {"step": 8}])
def test_an_edited_description_is_refused(tmp_path, change):
    path = save_model(tmp_path / "m", denoiser(), step=7) / "windvane.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match="windvane.json is damaged"):
        load(tmp_path / "m", "raw")


def test_a_model_of_before_the_hashes_opens(tmp_path):
    path = save_model(tmp_path / "m", denoiser())
    edited(path, step=5)
    known = json.loads((path / "windvane.json").read_text())
    del known["hashes"]
    (path / "windvane.json").write_text(json.dumps(known))
    assert load(path, "raw").step == 5


@pytest.mark.parametrize(
    "change",
    [
        {"modules": None},
        {"modules": {"network": {"type": "mlp", "config": "x"}}},
        {"weights": 3},
        {"settings": 1},
    ],
)
def test_an_old_description_that_makes_no_sense_is_named(tmp_path, change):
    edited(save_model(tmp_path / "m", denoiser()), **change)
    with pytest.raises(ValueError, match="windvane.json is damaged"):
        load(tmp_path / "m", "raw")
