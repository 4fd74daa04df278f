"""Writers without room and programs without memory raise one kind of error, which says where."""

import errno

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from windvane.files import atomic_file, atomic_folder, atomic_write_text
from windvane.resource_errors import is_memory, writing
from windvane.runs import STATE

resource = pytest.importorskip("resource")


@pytest.fixture
def quota():
    """No file may exceed 1000 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


WRITERS = {
    "text": lambda path: path.write_text("x" * 5000),
    "numpy": lambda path: np.save(path, np.zeros(5000)),
    "tofile": lambda path: np.zeros(5000).tofile(path),
    "torch": lambda path: torch.save(torch.zeros(5000), path),
    "safetensors": lambda path: save_file({"a": torch.zeros(5000)}, path),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_quota_is_named_whoever_writes(quota, tmp_path, writer):
    path = tmp_path / "file.npy"
    with pytest.raises(OSError) as caught, atomic_file(path) as temporary:
        WRITERS[writer](temporary)
    assert caught.value.errno == errno.EFBIG and caught.value.filename == str(path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("writer", WRITERS)
def test_a_folder_is_named_too(quota, tmp_path, writer):
    with pytest.raises(OSError) as caught, atomic_folder(tmp_path / "f", STATE) as temporary:
        WRITERS[writer](temporary / "state.npy")
    assert caught.value.errno == errno.EFBIG and caught.value.filename == str(tmp_path / "f")
    assert list(tmp_path.iterdir()) == []


def test_a_small_file_passes_and_other_errors_stay(quota, tmp_path):
    atomic_write_text(tmp_path / "a", "x")
    for error in (KeyError("a"), RuntimeError("shapes differ"), FileNotFoundError(2, "No such file", "b")):
        with pytest.raises(type(error)) as caught, writing(tmp_path / "a"):
            raise error
        assert caught.value is error


@pytest.mark.parametrize(
    "call",
    [
        lambda: np.zeros(10**15),
        lambda: list(range(10**15)),
        lambda: torch.empty(10**15),
        lambda: torch.empty(2**40, 2**40),
    ],
)
def test_memory_that_is_not_there_is_known(call):
    with pytest.raises((MemoryError, RuntimeError, ValueError, OverflowError)) as caught:
        call()
    assert is_memory(caught.value), caught.value


def test_other_errors_are_not_taken_for_memory():
    assert not is_memory(RuntimeError("The size of tensor a (3) must match"))
    assert not is_memory(ValueError("wrong"))
