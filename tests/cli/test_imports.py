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
from windvane.cli import main
heavy = sys.argv[1].split(",")
sys.argv = ["windvane", *sys.argv[2:]]
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
print("heavy:", *(name for name in heavy if getattr(sys.modules.get(name), "__file__", None)))
"""
#: Each costs a fifth of torch or more. A stand-in has no file.
LIBRARIES = (
    "diffusers,transformers,peft,sklearn,scipy,matplotlib,torch._dynamo,torch._inductor,sympy,pandas,pyarrow,"
    "torch.fx.experimental.symbolic_shapes,torch.onnx,torch.distributed.tensor"
)
SMALL = ("--set", "model.type=mlp", "--set", "model.width=16", "--batch-size", "4")


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


def test_a_small_network_is_trained_and_reported_without_the_large_libraries(tmp_path):
    words = (
        "train",
        "digits",
        *SMALL,
        "--steps",
        "2",
        "--set",
        "data.holdout=0.5",
        "--out",
        tmp_path / "run",
    )
    assert imported(LIBRARIES, *words) == []
    assert imported(LIBRARIES, "report", tmp_path / "run") == []


@pytest.mark.parametrize("words", [("papers",), ("settings",), ("--help",), ("sample", "--help")])
def test_what_opens_nothing_imports_not_even_torch(words):
    assert imported("torch,numpy,PIL," + LIBRARIES, *words) == []


def test_the_compiler_comes_when_it_is_asked_for():
    program = """
import sys
from windvane.cli.common.compiler_stub import spare_the_compiler
spare_the_compiler()
import torch
optimiser = torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))], lr=0.1)
optimiser.zero_grad()
optimiser.step()
assert "torch._inductor" not in sys.modules
twice = torch.compile(lambda x: 2 * x, backend="eager")
assert twice(torch.ones(3)).tolist() == [2.0] * 3
assert torch._dynamo.__file__ and sys.modules["torch._dynamo"] is torch._dynamo
import torch._dynamo.utils
optimiser.zero_grad()
optimiser.step()  # the same functions, which the compiler is now told of
spare_the_compiler()
assert sys.modules["torch._dynamo"] is torch._dynamo
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


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
