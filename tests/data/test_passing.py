"""What is wrong with the machine for a while is never taken for a damaged picture, or remembered."""

import errno
import os
import shutil
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from windvane.data import duplicates, from_folder
from windvane.data.duplicates import near_groups, together
from windvane.data.errors import TooLittle


def picture(path, value, side=12):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((side, side, 3), value, np.uint8)).save(path)


@pytest.fixture
def pictures(tmp_path):
    for k in range(4):
        picture(tmp_path / "in" / f"{k}.png", 40 * k)
    return tmp_path / "in"


def failing(monkeypatch, number, name="2.png"):
    """Opening one file fails with an error of the system."""
    import builtins

    real = builtins.open

    def opening(file, *args, **kwargs):
        if str(file).endswith(name):
            raise OSError(number, os.strerror(number), str(file))
        return real(file, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", opening)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE, errno.EPERM])
def test_passing_errors_are_not_cached(pictures, tmp_path, monkeypatch, number):
    cache = tmp_path / "cache"
    with monkeypatch.context() as patch:
        failing(patch, number)
        found = from_folder(pictures, 8, cache=cache, progress=False)
        assert len(found) == 3 and found.scan.unreadable[0][0] == "2.png"
        assert found.pixels(slice(None)).shape == (3, 3, 8, 8)
    assert len(from_folder(pictures, 8, cache=cache, progress=False)) == 4


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_scarcity_stops_with_what_to_change(pictures, tmp_path, monkeypatch, number):
    with monkeypatch.context() as patch:
        failing(patch, number)
        with pytest.raises(TooLittle, match="fewer workers"):
            from_folder(pictures, 8, cache=tmp_path / "cache", progress=False)
    assert len(from_folder(pictures, 8, cache=tmp_path / "cache", progress=False)) == 4


def test_folders_of_equal_names_sizes_and_times_have_their_own_entries(tmp_path):
    for folder, value in (("a", 10), ("b", 200)):
        for k in range(3):
            path = tmp_path / folder / f"{k}.bmp"
            picture(path, value)
            os.utime(path, ns=(10**18, 10**18))
    first, second = (from_folder(tmp_path / f, 8, cache=tmp_path / "cache", progress=False) for f in "ab")
    assert first.pixels([0]).max() == 10 and second.pixels([0]).max() == 200


def test_a_file_that_took_the_place_of_another_is_read_again(tmp_path):
    path = tmp_path / "in" / "0.bmp"
    picture(path, 10)
    os.utime(path, ns=(10**18, 10**18))
    assert from_folder(tmp_path / "in", 8, cache=tmp_path / "cache", progress=False).pixels([0]).max() == 10
    picture(tmp_path / "other.bmp", 200)
    shutil.copyfile(tmp_path / "other.bmp", path)
    os.utime(path, ns=(10**18, 10**18))
    assert from_folder(tmp_path / "in", 8, cache=tmp_path / "cache", progress=False).pixels([0]).max() == 200


@given(st.integers(0, 50))
def test_duplicates_stay_on_one_side(seed):
    """Forty pictures, of which twelve are copies of four: no group is cut, whatever the seed."""
    from windvane.data import ImageData
    from windvane.data.scan import Scan

    names = [str(k) for k in range(40)]
    groups = [[str(k), str(k + 10), str(k + 20), str(k + 30)] for k in range(4)]
    scan = Scan("x", names, [], exact_duplicates=groups[:2], near_duplicates=groups[2:])
    data = ImageData(np.zeros((40, 1, 2, 2), np.uint8), names=names, scan=scan)
    parts = data.split((0.5, 0.3), seed)
    where = {name: k for k, part in enumerate(parts) for name in part.names}
    for group in groups:
        assert len({where.get(name) for name in group}) == 1
    plain = ImageData(np.zeros((40, 1, 2, 2), np.uint8), names=names).split((0.5, 0.3), seed)
    moved = {name for part in plain for name in part.names} ^ set(where)
    assert moved <= {name for group in groups for name in group}


def test_groups_that_share_a_name_are_one():
    assert together("abcde", [["a", "b"], ["c", "d"], ["b", "c"]]).tolist() == [2, 2, 2, 2, -1]


def test_flat_pictures_are_compared_in_time():
    """All miniatures have one order pattern; each pair was compared with each other."""
    keyed = np.random.default_rng(0)
    flat = [np.full((8, 9), v, np.uint8) for v in keyed.integers(0, 256, 3000)]
    rough = [np.sort(keyed.integers(0, 256, (8, 9)).astype(np.uint8))[:, ::-1] for _ in range(3000)]
    begin = time.process_time()
    found = near_groups([str(k) for k in range(6000)], [*flat, *rough])
    assert time.process_time() - begin < 20
    assert sum(map(len, found)) >= 3000


def test_pictures_of_one_order_and_frame_are_compared_in_time():
    """Falling rows of one corner, one edge and about one mean: what was looked at first told none apart."""
    keyed = np.random.default_rng(0)
    small = np.full((6000, 8, 9), 200, np.uint8)
    small[:, :, 1:-1], small[:, :, -1] = 100, 50
    small[:, 1:-1, 1:-1] = np.sort(keyed.integers(50, 200, (6000, 6, 7)), axis=2)[..., ::-1]
    small[1::2] = small[::2]
    begin = time.process_time()
    found = near_groups([str(k) for k in range(6000)], list(small))
    assert time.process_time() - begin < 10
    assert [[int(name) for name in group] for group in found] == [[k, k + 1] for k in range(0, 6000, 2)]


@pytest.mark.parametrize("few", [0, 256])
@settings(deadline=None)  # the tree is imported at its first use
@given(st.lists(st.integers(0, 255), min_size=2, max_size=30), st.integers(0, 12))
def test_near_groups_are_those_of_all_pairs(few, values, jitter):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "_FEW", few)
        _compared_with_all_pairs(values, jitter)


def _compared_with_all_pairs(values, jitter):
    keyed = np.random.default_rng(jitter)
    small = [
        np.clip(v + keyed.integers(-jitter, jitter + 1, (8, 9)), 0, 255).astype(np.uint8) for v in values
    ]
    small = [np.sort(one, axis=1)[:, ::-1] for one in small]
    names, firsts = [str(k) for k in range(len(small))], []
    for name, one in zip(names, small):
        code = (one[:, 1:] > one[:, :-1]).tobytes()
        for first, its_code, members in firsts:
            if code == its_code and np.abs(first.astype(int) - one.astype(int)).max() <= 8:
                members.append(name)
                break
        else:
            firsts.append((one, code, [name]))
    expected = sorted(members for _, _, members in firsts if len(members) > 1)
    assert sorted(near_groups(names, small)) == expected


@pytest.mark.parametrize("which", ["*.npy", "*.json"])
def test_a_flipped_bit_of_the_cache_builds_it_anew(pictures, tmp_path, which):
    cache = tmp_path / "cache"
    good = from_folder(pictures, 8, cache=cache, progress=False)
    path = next(cache.glob(which))
    whole = path.read_bytes()
    for place in [*range(1, len(whole), max(len(whole) // 40, 1)), len(whole) - 2]:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << (place % 8)
        path.write_bytes(flipped)
        again = from_folder(pictures, 8, cache=cache, progress=False)
        assert (again.pixels(slice(None)) == good.pixels(slice(None))).all()
        assert again.names == good.names and again.scan.readable == good.scan.readable
    for odd in (b"", b"[]", b"[" * 100_000, b"{}", b"\xff\xfe", bytes(len(whole))):
        path.write_bytes(odd)
        assert from_folder(pictures, 8, cache=cache, progress=False).fingerprint == good.fingerprint


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("part", ["rows", "index"])
def test_a_full_cache_disk_does_not_stop_the_reading(pictures, tmp_path, monkeypatch, number, part):
    def full(*_):
        raise OSError(number, os.strerror(number))

    cache = tmp_path / "cache"
    with monkeypatch.context() as patch:
        target = "row_store._npy_header" if part == "rows" else "cache.atomic_write_text"
        patch.setattr(f"windvane.data.{target}", full)
        with pytest.warns(UserWarning, match="going on without it"):
            found = from_folder(pictures, 8, cache=cache, progress=False)
    assert found.fingerprint == from_folder(pictures, 8, progress=False).fingerprint
    assert list(cache.iterdir()) == []
