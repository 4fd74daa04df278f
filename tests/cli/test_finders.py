"""What `windvane annotate --boxes` and `--masks` make of their settings."""

import sys
import types

import pytest
import torch
from PIL import Image

from tests.adapters.test_transformers_encoders import model_folder  # noqa: F401
from windvane.annotate import SelfSup, load_annotation, load_regions
from windvane.annotate.dense import EncoderMaps, Patches
from windvane.annotate.regions.masks import Stego
from windvane.annotate.work import Work
from windvane.cli.common.annotations.finders import _mask_options, finder
from windvane.cli.common.sections import AnnotateSection
from windvane.data import ImageData, digits
from windvane.data.scenes import scenes

TINY = {"features": "pixels", "k": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Scenes of one digit on 12 x 12 pixels."""
    path = tmp_path_factory.mktemp("scenes")
    made = scenes(digits(), 20, size=12, seed=2).images
    for i, image in enumerate(((made.batch(slice(None)) + 1) * 127.5).byte().numpy()):
        Image.fromarray(image[0]).save(path / f"{i:03d}.png")
    return path


@pytest.fixture
def found(windvane, folder, tmp_path):
    """Call the command with words; returns the annotation and what was printed."""

    def call(*words, **options):
        out = tmp_path / "-".join(str(word).strip("-").replace("/", "") for word in words)[-60:]
        grey = ["--set", "data.channels=1", "--set", "data.holdout=0", "--set", "annotate.stability=0"]
        result = windvane("annotate", folder, *words, *grey, out=out, **{**TINY, **options})
        assert result.exit_code == 0, result.output
        return load_regions(out), result

    return call


def test_methods_of_boxes(found):
    lost, _ = found("--boxes", dense="patches:3")
    cut, _ = found("--boxes", "--method", "ncut", dense="patches:3")
    assert (lost.origin.source, dict(lost.origin.settings)) == ("lost", {"centre": True, "patches": 100})
    assert (cut.origin.source, dict(cut.origin.settings)) == ("ncut", {"centre": True, "threshold": 0.2})
    assert not torch.equal(lost.boxes, cut.boxes)


def test_keys_of_transformers_are_not_centred(found, model_folder):  # noqa: F811
    boxes, _ = found("--boxes", dense=f"hub:{model_folder('vit')}")
    assert boxes.origin.settings["centre"] is False and "enlarge=8" in boxes.origin.made_by


def test_too_coarse_features_are_a_line_to_the_user(found, model_folder):  # noqa: F811
    _, result = found("--boxes", dense=f"hub:{model_folder('vit')}@2")
    said = [line for line in result.stderr.splitlines() if "patches of 4 pixels" in line]
    assert len(said) == 1 and said[0].startswith("windvane: warning: an image of 12 x 12 pixels has only 3")


def test_masks_of_learnt_features_are_lifted_and_those_of_pixels_are_not(found):
    learnt, _ = found("--masks", 2, dense="restoration:2")
    plain, _ = found("--masks", 3, dense="patches:3")
    named = learnt.origin.rule.settings()
    assert (named["k"], named["normalise"], named["lift"]) == (2, True, 0.3)
    named = plain.origin.rule.settings()
    assert (named["k"], named["normalise"], named["lift"]) == (3, False, None)
    assert learnt.origin.source == plain.origin.source == "patch-clusters"


def test_stego_from_the_command_line(found):
    masks, _ = found("--masks", 2, "--method", "stego", "--set", "annotate.steps=3", dense="restoration:2")
    rule = masks.origin.rule
    assert masks.origin.source == "stego" and isinstance(rule, Stego)
    named = rule.settings()
    assert (named["steps"], named["lift"], named["flip"], named["crf"]) == (3, 0.3, True, None)
    assert masks.masks.unique().tolist() == [0, 1]


@pytest.mark.parametrize(("said", "flip"), [(None, True), (True, True), (False, False)])
def test_stego_averages_over_the_mirror_image_unless_told_not_to(said, flip):
    section = AnnotateSection(masks=2, segmenter="stego", flip=said)
    assert _mask_options(section)["flip"] is flip


def test_learnt_dense_features_see_mirror_images_as_the_clusters_do():
    """As annotate.flip says, and if it says nothing as train.flip."""
    data = ImageData(digits().subset(slice(0, 20)).batch(slice(None)).numpy())
    for said, trained, flip in ((None, False, False), (None, True, True), (False, True, False)):
        section = AnnotateSection(boxes=True, dense="encoder:1", flip=said)
        dense = (
            finder(section, data, Work(device="cpu", progress=False), flip=trained).keywords["rule"].extractor
        )
        assert isinstance(dense, EncoderMaps) and dense.features.flip is flip


def test_dense_maps_come_from_the_encoder_of_the_clusters(found, monkeypatch, tmp_path):
    """It is learnt once, and found again by another command."""
    monkeypatch.setenv("WINDVANE_CACHE", str(tmp_path / "cache"))
    fits, plain = [], SelfSup.fit
    monkeypatch.setattr(
        SelfSup, "fit", lambda self, *a, **n: (fits.append(self.seed), plain(self, *a, **n))[1]
    )
    boxes, _ = found("--boxes", dense="encoder:2", features="selfsup:2")
    assert (
        fits == [0]
        and load_annotation(tmp_path / "boxes" / "clusters").extractor_name in boxes.origin.made_by
    )
    found("--masks", 2, dense="encoder:2")
    assert fits == [0]
    found("--masks", 3, "--seed", 1, dense="encoder:2")
    assert fits == [0, 1]


def test_the_batch_size_is_that_of_the_settings(found, monkeypatch):
    seen, plain = [], Patches.__call__
    monkeypatch.setattr(Patches, "__call__", lambda self, x: (seen.append(len(x)), plain(self, x))[1])
    found("--boxes", "--set", "annotate.batch_size=7", dense="patches:5")
    assert seen == [7, 7, 6]


def test_boxes_and_masks_exclude_each_other_however_they_are_asked_for(refused, folder, tmp_path):
    out, masks, boxes = tmp_path / "out", ["--set", "annotate.masks=3"], ["--set", "annotate.boxes=true"]
    for words in (["--boxes", *masks], ["--masks", 3, *boxes], [*masks, *boxes], ["--boxes", "--masks", 3]):
        assert "annotate: boxes and masks exclude each other" in refused("annotate", folder, *words, out=out)
    for flag in ("method", "dense", "export"):
        said = refused("annotate", folder, f"--{flag}", "patches", out=out)
        assert f"--{flag}: belongs to --boxes or --masks K" in said


def test_a_number_of_clusters_that_has_no_effect_is_told(found, windvane, tmp_path):
    _, said = found("--masks", 2, dense="patches:3", k=3)
    assert "--k 3 has no effect: masks have the 2 clusters of --masks" in said.stderr
    _, said = found("--boxes", dense="patches:3", k=3)
    assert "no effect" not in said.stderr
    result = windvane("annotate", "digits", control="labels", k=3, out=tmp_path / "labels")
    assert result.exit_code == 0 and "--k 3 has no effect: --control labels" in result.stderr


def test_flags_of_boxes_go_with_settings_and_files_that_ask_for_boxes(found, windvane, folder, tmp_path):
    cut, _ = found("--method", "ncut", "--set", "annotate.boxes=true", dense="patches:3")
    assert cut.origin.source == "ncut"
    made, _ = found("--masks", 2, dense="patches:3")
    file, out = next(tmp_path.glob("masks*")) / "config.yaml", tmp_path / "again"
    result = windvane("annotate", folder, config=file, export=tmp_path / "found.json", out=out)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "found.json").is_file() and torch.equal(load_regions(out).masks, made.masks)


def test_controls_of_boxes(found, tmp_path):
    plain, _ = found("--boxes", dense="patches:3")
    dealt, result = found("--boxes", "--control", "shuffled", dense="patches:3")
    moved, _ = found("--boxes", "--control", "moved", dense="patches:3")
    assert sorted(dealt.boxes.tolist()) == sorted(plain.boxes.tolist())
    assert not torch.equal(dealt.boxes, plain.boxes) and torch.equal(dealt.ids, plain.ids)
    sides = moved.boxes[:, 2:] - moved.boxes[:, :2], plain.boxes[:, 2:] - plain.boxes[:, :2]
    assert torch.equal(*sides) and not torch.equal(moved.boxes, plain.boxes)
    assert torch.equal(moved.ids, plain.ids)
    assert dealt.origin.rule is None and dealt.origin.source == "lost, dealt to other images"
    assert "by lost, dealt to other images" in result.stdout
    assert load_annotation(tmp_path / "boxes-control-shuffled" / "clusters").source != "shuffled"


def test_controls_of_masks(found):
    plain, _ = found("--masks", 2, dense="patches:3")
    dealt, _ = found("--masks", 2, "--control", "shuffled", "--report", dense="patches:3")
    assert sorted(dealt.masks.flatten(1).tolist()) == sorted(plain.masks.flatten(1).tolist())
    assert not torch.equal(dealt.masks, plain.masks)
    moved, _ = found("--masks", 2, "--control", "moved", dense="patches:3")
    assert torch.equal((moved.masks > 0).sum((1, 2)), (plain.masks > 0).sum((1, 2)))


def test_controls_stay_with_what_they_are_controls_of(refused, folder, tmp_path):
    out = tmp_path / "out"
    said = refused("annotate", folder, "--boxes", out=out, control="random")
    assert "--control random is for clusters; boxes and masks have shuffled and moved" in said
    assert "--control moved is for --boxes" in refused("annotate", folder, out=out, control="moved")
    assert "shuffled, moved" in refused("annotate", folder, "--boxes", out=out, control="turned")


def test_what_cannot_be_is_said_in_words_of_the_command_line(refused, folder, tmp_path):
    out = tmp_path / "out"
    said = refused("annotate", folder, "--boxes", out=out, dense="vgg")
    assert "unknown dense features 'vgg'" in said and said.endswith("hub:NAME[@ENLARGE], denoiser:RUN")
    few = tmp_path / "few"
    few.mkdir()
    for file in sorted(folder.iterdir())[:3]:
        (few / file.name).write_bytes(file.read_bytes())
    said = refused("annotate", few, out=out, **TINY)
    assert "of 3 images a share of 0.1 cannot be held out; --set data.holdout=0" in said


def test_the_crf_is_asked_for_before_anything_is_learnt(refused, folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    monkeypatch.setattr(Stego, "fitted", lambda *a, **n: pytest.fail("it was trained first"))
    crf = ["--set", "annotate.crf=true"]
    said = refused("annotate", folder, "--masks", 2, "--method", "stego", *crf, out=tmp_path / "out")
    assert "pip install pydensecrf2" in said and "without it use --set annotate.crf=false" in said
    said = refused("annotate", folder, "--masks", 2, *crf, out=tmp_path / "out")
    assert "annotate.crf refines the masks of STEGO: --masks K --method stego" in said


def test_the_crf_reaches_the_masks(found, monkeypatch):
    from tests.annotate.test_masks import FakeCRF

    package, module = types.ModuleType("pydensecrf"), types.ModuleType("pydensecrf.densecrf")
    module.DenseCRF2D, package.densecrf = FakeCRF, module
    monkeypatch.setitem(sys.modules, "pydensecrf", package)
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", module)
    monkeypatch.setattr(FakeCRF, "calls", [])
    words = ["--method", "stego", "--set", "annotate.steps=2", "--set", "annotate.crf=true"]
    masks, _ = found("--masks", 2, *words, dense="patches:3")
    assert FakeCRF.calls.count(("inference", 10)) == 20
    assert masks.origin.rule.settings()["crf"]["iterations"] == 10
