"""`--out` never costs a user anything: what the commands replace, what they refuse, and when."""

import numpy as np
import pytest
from PIL import Image

from tests.kept_folders import contents
from windvane.annotate import load_annotation, load_regions
from windvane.cli.common.folders import check_annotation_folder

QUICK = [
    "--set", "data.channels=1", "--set", "data.holdout=0", "--set", "annotate.stability=0",
    "--features", "pixels", "--k", "2",
]  # fmt: skip
NETWORK = [
    "--set", "model.type=mlp", "--set", "model.width=16", "--set", "model.depth=1", "--set", "train.warmup=1",
    "--set", "train.batch_size=4", "--set", "train.sample_every=0",
]  # fmt: skip


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    levels = np.random.default_rng(0).integers(0, 256, (12, 8, 8), dtype=np.uint8)
    for i, picture in enumerate(levels):
        Image.fromarray(picture).save(folder / ("sub" if i % 2 else ".") / f"{i}.png")
    return folder


@pytest.fixture
def untimely(monkeypatch):
    """Any opening of data is too late for a refusal."""

    def opened(*arguments, **options):
        raise AssertionError("the data were opened before the folder was looked at")

    monkeypatch.setattr("windvane.cli.common.datasets.open_parts", opened)


@pytest.mark.parametrize("words", [[], ["--boxes", "--dense", "patches:3"], ["--masks", "2"]])
@pytest.mark.parametrize("where", ["photos", ".", "photos/sub", "photos/..", "photos/sub/.."])
def test_the_data_and_what_is_above_them_are_not_replaced(refused, untimely, photos, words, where):
    before = contents(photos.parent)
    said = refused("annotate", photos, *QUICK, *words, out=photos.parent / where)
    assert contents(photos.parent) == before
    if where == "photos/sub":
        assert "sub holds 1.png, 11.png, 3.png and 3 more: no part of an annotation" in said
    else:
        assert "--out is replaced as a whole" in said and "name another folder" in said


@pytest.mark.parametrize(
    ("source", "out"),
    [
        ("photos", "."),
        ("photos/../photos", "photos"),
        ("photos/*.parquet", "photos"),
        ("*/x.parquet", "."),
        ("pictures.npy", "pictures.npy"),
        ("linked", "photos"),
        ("photos", "linked"),
    ],
)
def test_data_are_found_by_pattern_link_and_relative_path(photos, monkeypatch, source, out):
    monkeypatch.chdir(photos.parent)
    np.save("pictures.npy", np.zeros((2, 2, 2)))
    (photos.parent / "linked").symlink_to(photos)
    with pytest.raises(ValueError, match="replaced as a whole"):
        check_annotation_folder(photos.parent / out, source)


@pytest.mark.parametrize("source", [None, "digits", "hub:mnist", "natural:20", "photos"])
def test_folders_beside_and_inside_the_data_are_taken(photos, monkeypatch, source):
    monkeypatch.chdir(photos.parent)
    for out in ("new", "photos/annotation", "photos-2"):
        check_annotation_folder(photos.parent / out, source)


@pytest.mark.parametrize("words", [[], ["--boxes", "--dense", "patches:3"], ["--masks", "2"]])
def test_runs_and_foreign_files_are_refused_before_any_work(refused, untimely, model, photos, words):
    out = photos.parent / "work"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    said = refused("annotate", photos, *QUICK, *words, out=out)
    assert "work holds notes.txt: no part of an annotation; nothing was changed" in said
    assert (out / "notes.txt").read_text() == "mine"
    before = contents(model)
    said = refused("annotate", photos, *QUICK, *words, out=model)
    assert "model/" in said and "no part of an annotation" in said
    assert contents(model) == before
    said = refused("annotate", photos, *QUICK, *words, out=out / "notes.txt")
    assert "is a file" in said


def test_the_folder_one_is_in_is_told(refused, untimely, photos, monkeypatch):
    here = photos.parent / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    said = refused("annotate", photos, *QUICK, out=".")
    assert "the folder this process works in" in said and "here/new" in said


def test_own_folders_are_written_again_whatever_they_held(windvane, photos, tmp_path):
    out = tmp_path / "ann"
    out.mkdir()
    for words in (["--report"], ["--boxes", "--dense", "patches:3"], ["--masks", "2"], [], []):
        made = windvane("annotate", photos, *QUICK, *words, out=out)
        assert made.exit_code == 0, made.output
        masks = "--masks" in words
        regions = load_regions(out) if "--boxes" in words or masks else None
        assert len(load_annotation(out) if regions is None else regions) == 12
        assert (out / "clusters").exists() == ("--boxes" in words)
        page = (out / "report.html").read_text(encoding="utf-8")
        assert ("Memorisation" in page) == ("--report" in words) and (out / "montage.png").is_file()


def test_a_run_keeps_what_it_was_trained_on(windvane, refused, photos, tmp_path):
    ann, run = tmp_path / "ann", tmp_path / "run"
    assert windvane("annotate", photos, *QUICK, out=ann).exit_code == 0
    made = windvane("train", photos, *NETWORK, annotation=ann, out=run, steps=2)
    assert made.exit_code == 0, made.output
    before = contents(run)
    said = refused("annotate", photos, *QUICK, out=run / "annotations")
    assert "is what the run" in said and contents(run) == before
    # The run itself goes on where it was.
    more = windvane("train", "--resume", "--set", "train.steps=3", out=run)
    assert more.exit_code == 0 and "3 steps done" in more.stdout, more.output


@pytest.mark.parametrize("part", ["model", "annotations"])
@pytest.mark.parametrize("condition", [[], ["--annotate", "2"]])
def test_a_training_replaces_nothing_of_the_users(refused, monkeypatch, photos, part, condition):
    monkeypatch.setattr("windvane.cli.common.datasets.open_parts", None)
    out = photos.parent / "project"
    (out / part).mkdir(parents=True)
    (out / part / "bust.stl").write_text("mine")
    before = contents(out)
    said = refused("train", photos, *NETWORK, *condition, out=out, steps=2)
    assert f"{part} holds bust.stl: no part of a" in said and contents(out) == before


def test_the_library_trains_over_nothing_of_the_users_either(tmp_path):
    from tests.cli.conftest import tiny_denoiser
    from windvane.data import digits
    from windvane.runs import Run
    from windvane.training import train

    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "bust.stl").write_text("mine")
    with pytest.raises(ValueError, match=r"model holds bust\.stl"):
        train(tiny_denoiser(None), digits(), steps=1, batch_size=4, run=Run(tmp_path), progress=False)
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("command", ["sample", "compare-solvers", "search", "stitch", "steer"])
def test_commands_that_add_files_take_no_folder_of_the_users(
    windvane, refused, unconditional, photos, command
):
    """Among photographs nothing is written; in a folder of its own a second call and a note are no matter."""
    options = {
        "sample": {"n": 2, "steps": 2},
        "compare-solvers": {"n": 2, "calls": "4", "reference_steps": 20, "solvers": "ddim"},
        "search": {"budget": 40, "steps": 2, "reward": "brightness"},
        "stitch": {"n": 12, "steps": 2, "parts": 2, "reference": "digits", "features": "pca:4"},
        "steer": {"n": 2, "steps": 2, "measure": f"superres=2:{photos / '0.png'}"},
    }[command]
    models = [unconditional] * (2 if command == "stitch" else 1)
    before = contents(photos)
    assert "and 4 more: no part of a" in refused(command, *models, out=photos, **options)
    assert contents(photos) == before
    out = photos.parent / "out"
    for call in range(2):
        made = windvane(command, *models, out=out, **options)
        if command == "search" and call:
            assert made.exit_code == 2 and "holds a search already" in made.stderr
            continue
        assert made.exit_code == 0, made.output
        (out / "notes.txt").write_text("mine")
    assert (out / "notes.txt").read_text() == "mine"
