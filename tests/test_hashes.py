import errno
import hashlib
import json
import zipfile
import zlib

import numpy as np
import pytest
import torch

from windvane.damage import Damaged, read_json, reading
from windvane.hashes import (
    check_hash,
    check_seal,
    file_hash,
    folder_hashes,
    is_edited,
    read_sealed,
    seal_of,
    sealed,
    sealed_text,
)


def test_the_hash_of_a_file_is_sha256_of_its_content(tmp_path):
    path = tmp_path / "weights.bin"
    path.write_bytes(b"a windvane")
    assert file_hash(path) == hashlib.sha256(b"a windvane").hexdigest()
    check_hash(path, file_hash(path))
    check_hash(path, None)


@pytest.mark.parametrize("bit", [0, 7, 79])
def test_one_flipped_bit_is_found_and_the_file_named(tmp_path, bit):
    path = tmp_path / "weights.bin"
    path.write_bytes(b"a windvane")
    noted = file_hash(path)
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    with pytest.raises(Damaged, match=r"weights\.bin is damaged: .*hash.*; train again"):
        check_hash(path, noted, remedy="train again")


def test_all_files_of_a_folder_are_hashed_by_their_paths(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "b").write_text("b")
    (tmp_path / "in" / "a").write_text("a")
    assert folder_hashes(tmp_path) == {
        "b": hashlib.sha256(b"b").hexdigest(),
        "in/a": hashlib.sha256(b"a").hexdigest(),
    }


def test_a_sealed_object_is_read_back_and_any_edit_is_found(tmp_path):
    path = tmp_path / "about.json"
    value = {"steps": 8, "weights": ["ema"], "extra": {"a": None, "b": 1.5}}
    path.write_text(json.dumps(sealed(value), indent=2))
    found = read_sealed(path)
    assert found == value
    for edit in ({"steps": 9}, {"weights": []}, {"extra": {}}, {"content": "0"}, {"more": 1}):
        path.write_text(json.dumps({**value, "content": seal_of(value), **edit}))
        with pytest.raises(Damaged, match="about.json is damaged"):
            read_sealed(path)
    check_seal(value, path)  # written before there were seals


def test_an_edit_of_a_text_with_its_hash_in_the_first_line_is_noticed():
    text = sealed_text("steps: 8\nname: é\n")
    assert text.startswith("#") and text.endswith("steps: 8\nname: é\n") and not is_edited(text)
    assert is_edited(text.replace("8", "9")) and is_edited(text[:-1])
    assert not is_edited("steps: 8\n") and is_edited(
        "steps: 8\n", left=True
    )  # a user may write it, no command


DAMAGE = {
    "nothing": b"",
    "no text": b"\xff\xfe\x00\x80",
    "cut": b'{"a": [1, 2',
    "another kind": b"[1, 2]",
    "deep": b"[" * 100_000,
    "a number of 5000 digits": b'{"a": ' + b"7" * 5000 + b"}",
}


@pytest.mark.parametrize("content", DAMAGE.values(), ids=DAMAGE.keys())
def test_json_that_cannot_be_read_is_one_error_with_the_name(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(Damaged, match=r"x\.json is damaged: .*; delete it"):
        read_json(path, remedy="delete it")


@pytest.mark.parametrize(
    "error",
    [
        KeyError("shape"),
        TypeError("'NoneType' object is not iterable"),
        EOFError(),
        zlib.error("Error -3"),
        zipfile.BadZipFile("File is not a zip file"),
        RecursionError("maximum recursion depth exceeded"),
        OSError("cannot identify image file"),
        OSError(errno.EINVAL, "Invalid argument"),
        IndexError("list index out of range"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_of_content_name_the_file_in_one_line(error):
    with pytest.raises(Damaged, match=r"^some/file is damaged: \S.*$") as caught, reading("some/file"):
        raise error
    assert "\n" not in str(caught.value) and caught.value.__cause__ is error


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "No such file"),
        PermissionError(errno.EACCES, "Permission denied"),
        OSError(errno.EMFILE, "Too many open files"),
        OSError(errno.EIO, "Input/output error"),
        OSError(errno.ENOSPC, "No space left on device"),
        KeyboardInterrupt(),
    ],
    ids=lambda error: str(getattr(error, "errno", "interrupt")),
)
def test_what_the_system_refuses_is_no_damage(error):
    with pytest.raises(type(error)) as caught, reading("some/file"):
        raise error
    assert caught.value is error


def test_damaged_archives_and_weights_are_damage(tmp_path):
    from safetensors.torch import load_file

    for name in ("a.npz", "a.pt", "a.safetensors"):
        for content in (b"", b"PK\x03\x04 not much", b"\x80\x02."):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(Damaged, match=name), reading(tmp_path / name):
                if name.endswith("npz"):
                    with np.load(tmp_path / name, allow_pickle=False) as found:
                        dict(found)
                elif name.endswith("pt"):
                    torch.load(tmp_path / name, weights_only=True)["step"]
                else:
                    load_file(tmp_path / name)
