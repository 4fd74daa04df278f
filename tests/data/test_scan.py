"""Scans: damaged files named with reasons, duplicates, order, and what is passed over."""

import os
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from windvane.data import Scan, scan
from windvane.data.duplicates import near_groups, thumbnail
from windvane.data.listing import ENDINGS, list_images
from windvane.data.parallel import ordered_map

from .conftest import colours, encoded, save


def test_damaged_files_are_named_with_reasons_and_counted(damaged):
    root, reasons = damaged
    found = scan(root)
    assert found.readable == ["good0.png", "good1.png", "good2.png"]
    assert {name: why.split(":")[0] for name, why in found.unreadable} == reasons
    assert found.reasons() == dict(Counter(reasons.values()))
    assert found.ignored == {"hidden": 2, ".json": 1, ".txt": 1}
    text = found.summary(limit=3)
    assert "3 images readable, 8 unreadable, 4 other files ignored" in text
    assert "2 x truncated file" in text and "cut.jpg: truncated file" in text and "and 5 more" in text


def test_headers_alone_miss_truncation_only(damaged):
    root, reasons = damaged
    found = scan(root, deep=False)
    shallow = {name for name, why in reasons.items() if why != "truncated file"}
    assert {name for name, _ in found.unreadable} == shallow
    assert found.dimensions.count((50, 40)) == 3 and (80, 60) in found.dimensions


def test_strict_names_the_first_ones(damaged):
    with pytest.raises(ValueError, match=r"8 images of 11 .* cut\.jpg: truncated file.*; and 3 more"):
        scan(damaged[0], strict=True)


def test_order_and_result_do_not_depend_on_threads(tmp_path):
    for i, name in enumerate(("b/2.png", "a/x/1.png", "a.png", "B.PNG", "a/10.png", "a/9.png")):
        save(tmp_path / name, colours(1, (5 + i, 7), seed=i)[0])
    one = scan(tmp_path, workers=1)
    assert one.readable == sorted(["b/2.png", "a/x/1.png", "a.png", "B.PNG", "a/10.png", "a/9.png"])
    assert scan(tmp_path, workers=7) == one


def test_sizes_formats_and_modes(tmp_path):
    save(tmp_path / "a.png", colours(1, (10, 20))[0])
    save(tmp_path / "b.jpg", colours(1, (30, 40))[0])
    save(tmp_path / "c.png", colours(1, (10, 20), channels=1)[0])
    found = scan(tmp_path)
    assert found.dimensions == [(20, 10), (40, 30), (20, 10)]
    assert found.formats == {"PNG": 2, "JPEG": 1} and found.modes == {"RGB": 2, "L": 1}
    assert "20 x 10 to 40 x 30, median 20 x 10, 2 different" in found.summary()


def test_duplicates_are_grouped(tmp_path):
    picture = np.kron(colours(1, (5, 6), seed=1), np.ones((16, 16), np.uint8))[0]
    save(tmp_path / "a.png", picture)
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    save(tmp_path / "c.jpg", picture, quality=80)
    Image.fromarray(picture.transpose(1, 2, 0)).resize((48, 40), 1).save(tmp_path / "d.png")
    save(tmp_path / "e.png", picture[:, :, ::-1])
    save(tmp_path / "f.png", colours(1, (80, 96), seed=9)[0])
    found = scan(tmp_path)
    assert found.exact_duplicates == [["a.png", "b.png"]]
    assert found.near_duplicates == [["a.png", "c.jpg", "d.png"]]
    assert "1 repeat another byte for byte, first: b.png" in found.summary()
    assert "2 look like another, first: c.jpg" in found.summary()


def test_blank_pictures_of_different_grey_are_not_alike():
    blanks = [thumbnail(np.full((3, 20, 20), v, np.uint8)) for v in (0, 100, 104, 200)]
    assert near_groups(list("abcd"), blanks) == [["b", "c"]]


def test_pictures_of_the_same_levels_in_another_order_are_not_alike():
    ramp = np.tile(np.arange(9, dtype=np.uint8) // 2, (8, 1)) + np.uint8(100)
    assert near_groups(["up", "down", "up too"], [ramp, ramp[:, ::-1], ramp + np.uint8(2)]) == [
        ["up", "up too"]
    ]


def test_listing_is_sorted_whatever_the_file_system_says(tmp_path):
    for name in ("z.png", "a/z.png", "a/b/1.png", "m.png", "a.png"):
        save(tmp_path / name, colours()[0])
    names = [file.name for file in list_images(tmp_path).files]
    assert names == ["a.png", "a/b/1.png", "a/z.png", "m.png", "z.png"]


def test_loops_of_folders_end_and_links_are_followed_once(tmp_path):
    save(tmp_path / "in/a.png", colours()[0])
    (tmp_path / "in/back").symlink_to(tmp_path)
    (tmp_path / "in/self").symlink_to(tmp_path / "in/self")
    save(tmp_path.parent / f"{tmp_path.name}-out" / "b.png", colours()[0])
    (tmp_path / "out").symlink_to(tmp_path.parent / f"{tmp_path.name}-out")
    (tmp_path / "out2").symlink_to(tmp_path.parent / f"{tmp_path.name}-out")
    found = scan(tmp_path)
    assert found.readable == ["in/a.png", "out/b.png"]
    assert found.ignored["folder linked twice"] == 2


def test_a_folder_that_cannot_be_listed_is_a_problem_not_an_end(tmp_path, monkeypatch):
    save(tmp_path / "a.png", colours()[0])
    save(tmp_path / "locked/b.png", colours()[0])
    real = os.scandir

    def refuse(path):
        if os.path.basename(path) == "locked":
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = scan(tmp_path)
    assert found.readable == ["a.png"] and found.unreadable == [("locked", "permission denied")]


def test_names_that_are_no_text_are_handled(tmp_path):
    name = os.fsdecode(b"bad\xff.png")
    try:
        (tmp_path / name).write_bytes(b"")
    except OSError:
        pytest.skip("this file system refuses such names")
    save(tmp_path / "a.png", colours()[0])
    text = scan(tmp_path).summary()
    text.encode("utf-8")
    assert "bad\ufffd.png: empty file" in text


def test_nothing_to_read_says_what_was_found_and_what_works(tmp_path):
    with pytest.raises(ValueError, match="it does not exist"):
        scan(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"found: nothing.*Endings that work: .*\.png"):
        scan(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "b.txt").write_text("x")
    (tmp_path / "c").write_text("x")
    (tmp_path / "d.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"2 x \.txt, 1 x no ending; unreadable: d\.png \(broken symbolic"):
        scan(tmp_path)
    with pytest.raises(ValueError, match="it is a file"):
        scan(tmp_path / "a.txt")


def test_every_listed_ending_is_looked_at(tmp_path):
    for ending in ENDINGS:
        (tmp_path / f"x{ending.upper()}").write_bytes(b"x")
    assert len(list_images(tmp_path).files) == len(ENDINGS)


def test_scan_survives_a_journey_through_json(damaged):
    import json

    found = scan(damaged[0])
    assert Scan.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_ordered_map_keeps_order_bounds_what_is_in_flight_and_passes_errors_on():
    import threading
    import time

    taken, high = [], []
    lock = threading.Lock()

    def items():
        for i in range(100):
            with lock:
                taken.append(i)
            yield i

    def work(i):
        time.sleep(0.0005 * (i % 3))
        return i * i

    for done, value in enumerate(ordered_map(work, items(), workers=3)):
        assert value == done * done
        high.append(len(taken) - done)
    assert max(high) <= 24

    def fail(i):
        raise KeyError(i)

    with pytest.raises(KeyError, match="0"):
        list(ordered_map(fail, range(3)))
    with pytest.raises(ValueError, match="workers"):
        list(ordered_map(work, [1], workers=0))


def test_one_bad_pixel_mode_does_not_stop_the_others(tmp_path):
    (tmp_path / "float.tiff").write_bytes(encoded(np.array([[-5, 7]], np.float32), "TIFF"))
    save(tmp_path / "ok.png", colours()[0])
    assert scan(tmp_path).reasons() == {"unsupported values": 1}
    assert scan(tmp_path, depth="stretch").unreadable == []


def test_control_characters_of_names_are_escaped(tmp_path, capsys):
    from windvane.cli.common.errors import say

    name = "a\x1b[2J\x9b\u202eb.png"
    (tmp_path / name).write_bytes(b"")
    save(tmp_path / "a.png", colours()[0])
    say(f"cannot read {name}")
    for text in (scan(tmp_path).summary(), capsys.readouterr().err):
        assert "a\\x1b[2J\\x9b\\u202eb.png" in text
        assert not any(mark in text for mark in "\x1b\x9b\u202e")
