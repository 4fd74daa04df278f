"""What holds for the whole suite: no network, one thread, the same data every time."""

import os
import signal
import sys
from pathlib import Path

OFFLINE = Path(__file__).parent / "offline"

# Before torch and the Hugging Face libraries are imported, and for every process that a test starts.
os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    TRANSFORMERS_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    WANDB_MODE="offline",
    MPLBACKEND="Agg",
    OMP_NUM_THREADS="1",
    MKL_NUM_THREADS="1",
    TOKENIZERS_PARALLELISM="false",
    GLOO_SOCKET_IFNAME="lo" if sys.platform.startswith("linux") else "lo0",
    PYTHONPATH=os.pathsep.join(filter(None, [str(OFFLINE), os.environ.get("PYTHONPATH")])),
)
sys.path.insert(0, str(OFFLINE))

import hypothesis  # noqa: E402
import network_guard  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)
hypothesis.settings.register_profile(
    "windvane", deadline=None, derandomize=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("windvane")


def pytest_addoption(parser):
    parser.addoption("--mutations", type=int, help="files to damage in tests/mutations, instead of 310")
    parser.addoption("--mutation-seed", type=int, default=0, help="seed of the first of them")


def pytest_configure(config):
    config.addinivalue_line("markers", "network_attempt: tries the network on purpose, to see it refused")
    network_guard.block()
    # A shell starts background jobs with SIGINT ignored, and what they start ignores it, too.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def network_log(tmp_path_factory):
    """The file that lists every attempt to reach the network, by this process or its children."""
    path = tmp_path_factory.mktemp("network") / "attempts.txt"
    path.touch()
    os.environ[network_guard.LOG] = str(path)
    return path


@pytest.fixture(autouse=True)
def no_network(request, network_log):
    """Fails the test that tried the network, also when the refusal was caught somewhere."""
    before = network_log.stat().st_size
    yield
    if network_log.stat().st_size > before and not request.node.get_closest_marker("network_attempt"):
        with network_log.open(encoding="utf-8") as log:
            log.seek(before)
            pytest.fail(f"this test tried to use the network:\n{log.read()}")


@pytest.fixture
def generator():
    """A random generator of the test's own, the same in every run."""
    return torch.Generator().manual_seed(20)
