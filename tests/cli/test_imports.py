"""What a command imports: no seconds, which differ between machines, but the modules that cost them."""

import subprocess
import sys

import pytest

from tests.cli.conftest import tiny_denoiser
from windvane.checkpoint import save_model
from windvane.denoiser import NetworkDenoiser
from windvane.networks import ConditionedUNet
from windvane.process import VPCosine

PROGRAM = """
import sys
from windvane.cli import app
code = app(sys.argv[2:], standalone_mode=False)
assert code == 0, code
heavy = sys.argv[1].split(",")
print("heavy:", *(name for name in heavy if name in sys.modules))
"""
LIBRARIES = (
    "diffusers,transformers,peft,sklearn,scipy,matplotlib,torch._dynamo,torch._inductor,pandas,pyarrow"
)


def imported(watched, *words):
    command = [sys.executable, "-c", PROGRAM, watched, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].removeprefix("heavy:").split()


@pytest.fixture(scope="module")
def unet(tmp_path_factory):
    network = ConditionedUNet.build(shape=(1, 8, 8), channels=(8, 8), layers_per_block=1)
    denoiser = NetworkDenoiser(network, VPCosine(), parametrisation="v", shape=(1, 8, 8))
    folder = tmp_path_factory.mktemp("unet") / "model"
    save_model(folder, denoiser, raw=network.state_dict(), ema=network.state_dict(), step=1)
    return folder


def test_a_small_network_is_sampled_without_the_large_libraries(tmp_path):
    denoiser = tiny_denoiser(None)
    weights = denoiser.network.state_dict()
    save_model(tmp_path / "model", denoiser, raw=weights, ema=weights, step=1)
    words = ("sample", tmp_path / "model", "--n", "1", "--steps", "2", "--out", tmp_path / "out")
    assert imported(LIBRARIES, *words) == []


def test_a_network_of_diffusers_needs_neither_peft_nor_pipelines(unet, tmp_path):
    watched = "peft,diffusers.pipelines.pipeline_utils,matplotlib,sklearn,diffusers"
    words = ("sample", unet, "--n", "1", "--steps", "2", "--out", tmp_path / "out")
    assert imported(watched, *words) == ["diffusers"]


def test_the_digits_are_opened_without_scikit_learn():
    program = (
        "import sys\nfrom windvane.data import open_data\nopen_data('digits')\nprint('scipy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_adapters_of_peft_work_after_a_network_was_made_without_it():
    program = """
from windvane.networks.diffusers_class import diffusers_class
diffusers_class("UNet2DModel")
import sys
assert "peft" not in sys.modules
from peft import LoraConfig
from diffusers import UNet2DConditionModel
from diffusers.hooks.layerwise_casting import BaseTunerLayer
unet = UNet2DConditionModel(
    block_out_channels=(32, 64),
    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
    up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    cross_attention_dim=8,
)
assert not any(isinstance(module, BaseTunerLayer) for module in unet.modules())
unet.add_adapter(LoraConfig(r=2, target_modules=["to_q"]))
assert any(isinstance(module, BaseTunerLayer) for module in unet.modules())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
