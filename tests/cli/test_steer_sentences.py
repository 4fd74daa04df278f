"""`windvane steer --encoder sentences:FOLDER`: texts are read by a sentence encoder, and it is cached."""

import json

import pytest

from tests.adapters import tiny_bert
from tests.cli.conftest import shorten_trainings
from windvane.text import training

FEW = {"n": 2, "steps": 2, "data": "digits"}


@pytest.fixture(autouse=True)
def short_trainings(monkeypatch):
    shorten_trainings(monkeypatch, steps=3, judge=10)


def test_any_text_guides_and_what_was_trained_is_kept(windvane, unconditional, tmp_path, monkeypatch):
    bert = tiny_bert.save(tmp_path / "bert")
    options = {**FEW, "encoder": f"sentences:{bert}", "preset": "sdg"}
    first = windvane("steer", unconditional, text="a purple sevn", out=tmp_path / "a", **options)
    assert first.exit_code == 0, first.output
    assert "does not know" not in first.stderr
    assert (tmp_path / "a" / "00000001.png").is_file()
    told = json.loads((tmp_path / "a" / "report.json").read_text())
    assert "a purple sevn" in json.dumps(told)

    def never(*given, **named):
        raise AssertionError("an encoder was trained again")

    monkeypatch.setattr(training, "fit_on_views", never)
    again = windvane("steer", unconditional, text="another seven", out=tmp_path / "b", **options)
    # Judges are of another seed and kept as well; nothing is left to be trained.
    assert again.exit_code == 0, again.output


def test_what_cannot_be_opened_is_one_line(refused, unconditional, tmp_path):
    line = refused(
        "steer", unconditional, text="x", encoder=f"sentences:{tmp_path}", out=tmp_path / "out", **FEW
    )
    assert "cannot load the sentence encoder" in line
    assert "sentences:NAME_OR_FOLDER" in refused(
        "steer", unconditional, text="x", encoder="t5", out=tmp_path / "out", **FEW
    )
    assert not (tmp_path / "out").exists()


def test_the_guide_reads_with_it_and_the_picture_side_is_its_own(tmp_path):
    import torch

    import windvane as wv
    from windvane.cli.common.sections import DataSection
    from windvane.cli.steer.networks import known_images, make_eyes
    from windvane.cli.steer.wishes import WishFlags
    from windvane.tasks.steering.guides import SteeredModel

    asked = WishFlags(text=("seven",), encoder=f"sentences:{tiny_bert.save(tmp_path / 'bert')}")
    model = wv.GaussianMixtureDenoiser([1.0], torch.zeros(1, 64), [1.0], wv.VPCosine(), shape=(1, 8, 8))
    target = SteeredModel(model, (1, 8, 8), {})
    known = known_images(DataSection(source="digits", holdout=1 / 3), (1, 8, 8))
    eyes = make_eyes(asked, target, lambda: known, 0)
    assert eyes.timed and eyes.text.__self__.sentences.source == str((tmp_path / "bert").resolve())
    assert eyes.image(torch.zeros(2, 1, 8, 8), torch.zeros(2)).shape == (2, 64)
