"""Every picture that a command wrote, once more from the settings inside it."""

import shlex

import numpy as np
import pytest

from windvane.pictures import read_pixels, read_settings, save_png, to_picture
from windvane.randomness import VERSION

STEPS = 3


@pytest.fixture
def sampled(windvane, model, tmp_path):
    assert windvane("sample", model, out=tmp_path / "s", n=2, steps=STEPS).exit_code == 0
    return tmp_path / "s" / "00000001.png"


@pytest.mark.parametrize(
    "words", [("sample",), ("steer", "--measure", "superres=2:{}"), ("search", "--reward", "brightness")]
)
def test_every_picture_says_which_numbers_its_seed_gave(windvane, unconditional, sampled, tmp_path, words):
    command, *rest = (word.format(sampled) for word in words)
    out, most = tmp_path / "out", ("--budget", 12) if command == "search" else ()
    result = windvane(command, unconditional, *rest, *most, out=out, n=1, steps=STEPS)
    assert result.exit_code == 0, result.output
    found = list(out.rglob("*.png"))
    assert found and all(read_settings(path)["randomness"] == VERSION for path in found)


@pytest.mark.parametrize("version", [None, 1, 3, "2", True])
def test_a_picture_of_other_numbers_is_not_taken_for_one_of_todays(windvane, refused, sampled, version):
    settings = {**read_settings(sampled), "randomness": version}
    if version is None:
        del settings["randomness"]
    save_png(to_picture(read_pixels(sampled)), sampled, settings)
    assert "gave other random numbers" in refused("sample", again=sampled)
    result = windvane("sample", "--force", again=sampled)
    assert result.exit_code == 0 and "cannot come out the same" in result.stderr
    assert np.array_equal(read_pixels(sampled.parent / "again" / sampled.name), read_pixels(sampled))


def test_samples_are_not_put_beside_those_of_other_numbers(refused, model, sampled):
    settings = {name: value for name, value in read_settings(sampled).items() if name != "randomness"}
    save_png(to_picture(read_pixels(sampled)), sampled, settings)
    line = refused("sample", model, out=sampled.parent, n=2, steps=STEPS)
    assert "randomness null there" in line


@pytest.mark.parametrize("more", [(), ("--preset", "dps", "--sweep", "0.5"), ("--sampler", "ddpm")])
def test_a_steered_picture_is_made_again(windvane, unconditional, sampled, tmp_path, monkeypatch, more):
    monkeypatch.chdir(sampled.parent)
    words = ("steer", unconditional, "--measure", f"superres=2:{sampled.name}", *more)
    assert windvane(*words, out=tmp_path / "out", n=5, batch_size=2, steps=STEPS).exit_code == 0
    monkeypatch.chdir(tmp_path)
    image = tmp_path / "out" / "00000003.png"
    result = windvane("sample", again=image)
    assert result.exit_code == 0 and "equal to" in result.stdout, result.output
    assert windvane("sample", again=tmp_path / "out" / "again" / image.name).exit_code == 0


def test_a_steered_picture_needs_the_file_that_steered_it(
    windvane, refused, unconditional, sampled, tmp_path
):
    words = ("steer", unconditional, "--measure", f"superres=2:{sampled}")
    assert windvane(*words, out=tmp_path / "out", n=1, steps=STEPS).exit_code == 0
    image = tmp_path / "out" / "00000000.png"
    save_png(to_picture(255 - read_pixels(sampled)), sampled)
    assert "is not the file that steered" in refused("sample", again=image)
    result = windvane("sample", "--force", again=image)
    assert result.exit_code == 0 and "pixels differ" in result.stdout, result.output


def test_a_picture_never_opens_what_could_run_code(refused, windvane, unconditional, sampled, tmp_path):
    words = ("steer", unconditional, "--measure", f"superres=2:{sampled}")
    assert windvane(*words, out=tmp_path / "out", n=1, steps=STEPS).exit_code == 0
    image = tmp_path / "out" / "00000000.png"
    settings = read_settings(image)
    settings["order"] |= {"trust": True, "classifier": "evil.pt"}
    save_png(to_picture(read_pixels(image)), image, settings)
    line = refused("sample", again=image)
    assert "could run code" in line and "damaged" not in line
    assert f"&& windvane steer --out {image.parent / 'again' / image.stem} {unconditional} --measure" in line
    del settings["command"]
    save_png(to_picture(read_pixels(image)), image, settings)
    assert refused("sample", again=image).endswith("windvane with the same flags")


@pytest.mark.parametrize(
    ("method", "name", "more"),
    [
        ("best-of", "best.png", {"n": 1}),
        ("zero-order", "best.png", {"n": 2}),
        ("random", "best.png", {"n": 1}),
        ("paths", "best.png", {"n": 1, "sampler": "ddpm"}),
        ("fk", "samples/0001.png", {"n": 3}),
        ("dts", "samples/0001.png", {"n": 3}),
        ("dts-star", "best.png", {"n": 2}),
    ],
)
def test_a_picture_of_a_search_is_made_again(windvane, unconditional, tmp_path, method, name, more):
    asked = {"reward": "brightness", "method": method, "budget": 200, "steps": STEPS, "batch_size": 4}
    result = windvane("search", unconditional, out=tmp_path / "out", **(asked | more))
    assert result.exit_code == 0, result.output
    result = windvane("sample", again=tmp_path / "out" / name)
    assert result.exit_code == 0 and "equal to" in result.stdout, result.output


def test_a_search_by_a_file_of_code_is_not_run_by_a_picture(windvane, refused, unconditional, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def bright(x):\n    return x.mean((1, 2, 3))\n")
    asked = {"reward": f"{file}:bright", "budget": 12, "steps": STEPS}
    assert windvane("search", unconditional, out=tmp_path / "out", **asked).exit_code == 0
    file.write_text("raise SystemExit('ran')\n")
    line = refused("sample", again=tmp_path / "out" / "best.png")
    assert "a file of code, and no picture may run that; this makes it again: cd " in line
    words = shlex.split(line.partition(" && windvane ")[2])
    assert words[:3] == ["search", "--out", str(tmp_path / "out" / "again" / "best")]
    file.write_text("def bright(x):\n    return x.mean((1, 2, 3))\n")
    assert windvane(*words).exit_code == 0
    made = tmp_path / "out" / "again" / "best" / "best.png"
    assert np.array_equal(read_pixels(made), read_pixels(tmp_path / "out" / "best.png"))


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("search", "--reward", "brightness", "--budget", 12, "--n", 1), "best.png"),
        (("steer", "--measure", "superres=2:{}", "--n", 2), "00000001.png"),
    ],
    ids=["search", "steer"],
)
def test_a_picture_that_lacks_a_setting_is_a_line(windvane, unconditional, sampled, tmp_path, words, name):
    command, *rest = (str(word).format(sampled) for word in words)
    assert windvane(command, unconditional, *rest, out=tmp_path / "out", steps=STEPS).exit_code == 0
    image = tmp_path / "out" / name
    settings, levels = read_settings(image), to_picture(read_pixels(image))
    for gone in settings:
        save_png(levels, image, {key: value for key, value in settings.items() if key != gone})
        result = windvane("sample", again=image, out=tmp_path / "again")
        assert result.exit_code in (0, 2) and "Traceback" not in result.output, (gone, result.output)
