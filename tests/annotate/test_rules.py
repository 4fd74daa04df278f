"""What made boxes and masks, saved with them: new images are looked at alike, or it is said why not."""

import json
import shutil

import pytest
import torch

from tests.adapters.test_transformers_encoders import model_folder  # noqa: F401
from tests.annotate.stand_ins import TensorImages, digit_images, noise_images
from windvane.annotate import (
    BoxAnnotation,
    DenoiserFeatures,
    Origin,
    SelfSup,
    annotate,
    find_boxes,
    find_masks,
    find_objects,
    load_regions,
    regions_of,
    shuffled_regions,
)
from windvane.annotate.dense import DenoiserMaps, EncoderMaps, HubPatches, Patches, Restoration
from windvane.annotate.regions.masks import PatchClusters, Stego
from windvane.denoiser import NetworkDenoiser
from windvane.hashes import sealed
from windvane.networks import ConditionedUNet
from windvane.process import VPCosine

DATA = digit_images(30)
NEW = digit_images(80).images[60:]


def dense(kind):
    if kind == "restoration":
        return Restoration(width=8, steps=3, batch=8).fit(DATA, progress=False)
    if kind == "encoder":
        return EncoderMaps(SelfSup(dim=8, width=8, steps=2, batch=8).fit(DATA, progress=False))
    return Patches(3)


def found(what, extractor):
    if what in ("lost", "ncut"):
        return find_boxes(DATA, extractor, method=what, patches=20, progress=False)
    if what == "object":
        return find_objects(DATA, extractor, progress=False)
    small = {"steps": 3, "probe_steps": 2, "codes": 4, "points": 3, "lift": 0.5}
    made = (
        PatchClusters(extractor, 3, normalise=True, lift=0.3)
        if what == "clusters"
        else Stego(extractor, 3, **small)
    )
    return find_masks(DATA, made.fit(DATA, progress=False), progress=False)


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        ("lost", "restoration"),
        ("lost", "patches"),
        ("ncut", "encoder"),
        ("object", "patches"),
        ("clusters", "restoration"),
        ("stego", "encoder"),
    ],
)
@pytest.mark.filterwarnings("ignore:an image of 8 x 8")
def test_a_folder_annotates_new_images_as_its_own(what, kind, tmp_path):
    made = found(what, dense(kind))
    made.save(tmp_path / "a")
    # As a training keeps it: loaded and saved again.
    load_regions(tmp_path / "a").save(tmp_path / "b")
    loaded = load_regions(tmp_path / "b", data=DATA)
    name = "boxes" if what in ("lost", "ncut") else "masks"
    again = regions_of(loaded, DATA.images)
    assert torch.equal(getattr(again, name), getattr(made, name))
    new = regions_of(loaded, NEW)
    assert len(new) == 20 and torch.equal(getattr(new, name), made.origin.rule(NEW))
    assert loaded.origin.rule.name == made.origin.rule.name
    assert new.origin.made_by == made.origin.made_by and new.origin.fingerprint == ""
    assert loaded.take(torch.tensor([3])).origin.rule is not None


def test_ids_beside_boxes_come_from_the_image_level_rule(tmp_path):
    clusters = annotate(DATA, features="pca", k=3, progress=False)
    boxes = find_boxes(DATA, Patches(3), labels=clusters, progress=False)
    new = regions_of(boxes, NEW, labels=clusters)
    assert torch.equal(new.ids, clusters(NEW)) and new.k == 3
    assert set(new.condition().signals) == {"layout", "vector"}
    assert regions_of(boxes, NEW).ids is None


def test_models_of_a_hub_are_loaded_when_they_are_needed(model_folder, tmp_path):  # noqa: F811
    data = TensorImages(torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    folder = shutil.copytree(model_folder("vit"), tmp_path / "vit")
    made = find_boxes(data, HubPatches(folder, shape=(16, 16)), centre=False, progress=False)
    made.save(tmp_path / "kept")
    assert not list((tmp_path / "kept" / "dense").glob("*.safetensors"))
    loaded = load_regions(tmp_path / "kept")
    assert torch.equal(regions_of(loaded, data.images).boxes, made.boxes)
    loaded = load_regions(tmp_path / "kept")
    loaded.save(tmp_path / "again")
    shutil.rmtree(folder)
    with pytest.raises(ValueError, match="cannot load the encoder"):
        regions_of(load_regions(tmp_path / "again"), data.images)


def small_denoiser(seed):
    from windvane.randomness import scoped_seed

    with scoped_seed(seed):
        network = ConditionedUNet.build(shape=(1, 8, 8), channels=(8, 8), layers_per_block=1)
    return NetworkDenoiser(network, VPCosine(), parametrisation="v", shape=(1, 8, 8))


@pytest.mark.filterwarnings("ignore:an image of 8 x 8")
def test_features_that_cannot_be_saved_are_asked_for(tmp_path):
    maps = DenoiserMaps(DenoiserFeatures(small_denoiser(1)))
    for name, made in (
        ("boxes", find_boxes(DATA, maps, progress=False)),
        ("masks", find_masks(DATA, PatchClusters(maps, 2).fit(DATA, progress=False), progress=False)),
    ):
        made.save(tmp_path / name)
        loaded = load_regions(tmp_path / name)
        loaded.save(tmp_path / name)
        with pytest.raises(ValueError, match="not saved with what they made; load it with extractor="):
            regions_of(loaded, NEW)
        given = load_regions(tmp_path / name, extractor=maps)
        assert torch.equal(getattr(regions_of(given, DATA.images), name), getattr(made, name))
        with pytest.raises(
            ValueError, match=r"made with the features maps:denoiser.*, not with maps:denoiser"
        ):
            load_regions(tmp_path / name, extractor=DenoiserMaps(DenoiserFeatures(small_denoiser(2))))


@pytest.mark.parametrize(
    "file", ["rule/extractor.safetensors", "dense/extractor.json", "rule/extractor.json"]
)
def test_damaged_rules_are_refused(file, tmp_path):
    found("clusters", Patches(3)).save(tmp_path / "kept")
    (tmp_path / "kept" / file).write_bytes(b"{")
    with pytest.raises(ValueError, match="damaged"):
        load_regions(tmp_path / "kept")


def test_a_rule_of_another_annotation_is_refused(tmp_path):
    """Weights that were exchanged are noticed by the version that the annotation names."""
    for seed in (1, 2):
        made = PatchClusters(Patches(3), 3, seed=seed).fit(DATA, progress=False)
        find_masks(DATA, made, progress=False).save(tmp_path / str(seed))
    shutil.rmtree(tmp_path / "1" / "rule")
    shutil.copytree(tmp_path / "2" / "rule", tmp_path / "1" / "rule")
    with pytest.raises(ValueError, match="but the annotation was made by patch-clusters"):
        load_regions(tmp_path / "1")
    settings = tmp_path / "2" / "rule" / "extractor.json"
    told = json.loads(settings.read_text())
    told["settings"]["mode"] = "nearest"
    settings.write_text(json.dumps(sealed(told)))
    with pytest.raises(ValueError, match="its weights make it"):
        load_regions(tmp_path / "2")


def test_regions_without_a_rule_say_nothing_about_new_images(tmp_path):
    boxes = torch.tensor([[0, 0, 4, 4]])
    drawn = BoxAnnotation(boxes, size=(8, 8), origin=Origin("drawn"))
    drawn.save(tmp_path / "drawn")
    for made in (drawn, load_regions(tmp_path / "drawn")):
        with pytest.raises(ValueError, match=r"boxes \(drawn\) come without the rule"):
            regions_of(made, NEW)
    real = find_boxes(DATA, Patches(3), progress=False)
    with pytest.raises(ValueError, match="of 8 x 8 pixels, got 9 x 9"):
        regions_of(real, noise_images(2, (1, 9, 9)).images)
    with pytest.raises(ValueError, match="come without the rule"):
        regions_of(shuffled_regions(real, seed=0), NEW)
