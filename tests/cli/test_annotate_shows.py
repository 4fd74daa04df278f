"""What `windvane annotate` shows by itself: the clusters as a page and a picture, the hold-out, the times."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from windvane.cli.common.stages import duration

QUICK = ("--set", "data.size=8", "--set", "annotate.stability=2")


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    numbers = np.random.default_rng(0)
    for i in range(40):
        levels = numbers.integers(0, 60, (10, 12, 3), dtype=np.uint8) + (160 if i % 2 else 0)
        Image.fromarray(levels.astype(np.uint8)).save(folder / f"{i:02d}.png")
    return folder


def pixels(file):
    return np.asarray(Image.open(file).convert("RGB")).astype(float)


@pytest.mark.parametrize(
    ("words", "stages"),
    [
        ((), ["images", "features of 36 images", "2 clusters", "comparison of seeds", "page"]),
        (
            ("--boxes", "--dense", "patches:3"),
            ["images", "boxes", "features of 36 images", "2 clusters", "page"],
        ),
        (("--masks", "2", "--dense", "patches:3"), ["images", "masks", "page"]),
    ],
)
def test_annotate_shows_what_it_found_and_says_what_it_did(windvane, photos, tmp_path, words, stages):
    out = tmp_path / "ann"
    more = {"features": "pixels"} if "--masks" in words else {"features": "pixels", "k": 2}
    made = windvane("annotate", photos, *QUICK, *words, "--set", "data.holdout=0.1", out=out, **more)
    assert made.exit_code == 0, made.output
    assert "4 of 40 images are held out" in made.stdout and "data.holdout=0 takes all" in made.stdout
    said = re.findall(r"(?m)^(.+): [\d.]+ (?:s|min)", made.stdout)
    assert [name for name in said if name in stages] == stages
    page, picture = out / "report.html", out / "montage.png"
    assert f"to look at: {page} and {picture}" in made.stdout.replace("\n", " ")
    assert "<html" in page.read_text(encoding="utf-8") and pixels(picture).std() > 20
    told = json.loads((out / "report.json").read_text())
    assert "audit" not in told and "augmentations" not in told, "the page alone computes nothing"


def test_nothing_held_out_is_no_news(windvane, photos, tmp_path):
    made = windvane(
        "annotate", photos, *QUICK, "--set", "data.holdout=0", out=tmp_path / "ann", features="pixels", k=2
    )
    assert made.exit_code == 0 and "held out" not in made.stdout


def test_the_picture_has_a_row_for_each_cluster(windvane, photos, tmp_path):
    out = tmp_path / "ann"
    made = windvane("annotate", photos, *QUICK, "--set", "data.holdout=0", out=out, features="pixels", k=2)
    assert made.exit_code == 0, made.output
    # The two kinds are dark and bright: each has a row of its own.
    levels = pixels(out / "montage.png")
    right = levels[:, levels.shape[1] // 2 :]
    upper, lower = np.array_split(right, 2)
    assert abs(np.median(upper) - np.median(lower)) > 80


def test_number_of_clusters_by_itself_says_its_stage_and_fits_once_for_both(
    windvane, photos, tmp_path, monkeypatch
):
    from windvane.annotate import Clusters

    fitted = []
    fit = Clusters.fit
    monkeypatch.setattr(Clusters, "fit", lambda self, rows: (fitted.append(self.k), fit(self, rows))[1])
    out = tmp_path / "ann"
    made = windvane(
        "annotate", photos, *QUICK, "--set", "data.holdout=0", out=out, features="pixels", k="auto"
    )
    assert made.exit_code == 0, made.output
    assert "choice of their number: " in made.stdout and "comparison of seeds" not in made.stdout
    assert fitted == [1, 1, 1, 1] or fitted.count(fitted[-1]) == 3, "two seeds to compare and the clusters"
    told = json.loads((out / "report.json").read_text())
    assert told["stability"]["seeds"] == [0, 1]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.04, "0.0 s"),
        (3.26, "3.3 s"),
        (9.97, "10 s"),
        (59.7, "1 min"),
        (150, "2 min 30 s"),
        (3725, "1 h 2 min"),
    ],
)
def test_times_are_said_as_people_do(seconds, said):
    assert duration(seconds) == said


def test_the_docs_name_what_is_written():
    assert "montage.png" in Path("docs/folder.md").read_text(encoding="utf-8")


def test_what_is_refused_says_one_line_and_nothing_else(refused, photos, tmp_path):
    assert "k=37 clusters need at least as many images, got 36" in refused(
        "annotate", photos, *QUICK, out=tmp_path / "ann", features="selfsup", k=37
    )
