"""Annotations and fitted features take the place of their own kind, and of nothing else."""

import pytest
import torch

from tests.annotate.stand_ins import digit_images
from tests.kept_folders import assert_replaces_only_its_own, contents
from windvane.annotate import (
    Annotation,
    MaskAnnotation,
    Origin,
    annotate,
    find_boxes,
    find_masks,
    load_annotation,
    load_regions,
)
from windvane.annotate.dense import Patches, Restoration
from windvane.annotate.features import PCA, SelfSup, save_extractor
from windvane.annotate.regions.masks import PatchClusters, Stego
from windvane.annotate.storage import BESIDE
from windvane.files import atomic_write_json

DATA = digit_images(30)


def made(what):
    if what == "given":
        return Annotation.given(torch.zeros(30, dtype=torch.int64), DATA, k=1)
    if what in ("pca:3", "pixels"):
        return annotate(DATA, features=what, k=3, progress=False)
    dense = Restoration(width=8, steps=2, batch=8).fit(DATA, progress=False)
    if what == "boxes":
        return find_boxes(DATA, dense, patches=20, progress=False)
    rule = PatchClusters(dense, 3) if what == "masks" else Stego(
        Patches(3), 3, steps=2, probe_steps=2, codes=4, points=3
    )  # fmt: skip
    return find_masks(DATA, rule.fit(DATA, progress=False), progress=False)


@pytest.mark.filterwarnings("ignore:an image of 8 x 8")
@pytest.mark.parametrize("what", ["given", "pca:3", "pixels", "boxes", "masks", "stego"])
def test_annotations(what, tmp_path):
    assert_replaces_only_its_own(made(what).save, tmp_path)


@pytest.mark.parametrize("extractor", [PCA(3), SelfSup(dim=8, width=8, steps=2, batch=8)])
def test_fitted_features(extractor, tmp_path):
    extractor.fit(DATA, progress=False)
    assert_replaces_only_its_own(lambda path: save_extractor(extractor, path), tmp_path)


def test_ids_boxes_and_masks_take_the_place_of_each_other_with_all_that_the_commands_add(tmp_path):
    ids = made("pca:3")
    masks = MaskAnnotation(torch.zeros(30, 8, 8, dtype=torch.int64), 1, origin=Origin("drawn"))
    for one in (ids, masks, ids):
        one.save(tmp_path / "a")
        ids.save(tmp_path / "a" / BESIDE)
        for name in ("report.json", "scan.json", "config.yaml", "report.html"):
            atomic_write_json(tmp_path / "a" / name, {})
    masks.save(tmp_path / "a")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["regions.json", "regions.safetensors"]
    assert len(load_regions(tmp_path / "a")) == 30


@pytest.mark.parametrize("name", ["annotation.json", "vector.safetensors", "extractor.json"])
def test_damage_in_the_cache_is_repaired(name, tmp_path):
    """There the name of a folder says that it is the library's own, whatever is left of it."""
    first = annotate(DATA, features="pca:3", k=3, cache=tmp_path, progress=False)
    (kept,), (fitted,) = tmp_path.glob("annotation-*"), tmp_path.glob("extractor-*")
    (kept / name).write_bytes(b"{")
    (fitted / "extractor.json").write_bytes(b"{")
    with pytest.warns(UserWarning) as told:
        second = annotate(DATA, features="pca:3", k=3, cache=tmp_path, progress=False)
    assert {str(one.message).split(":")[0] for one in told} == {"annotated again", "learnt again"}
    assert torch.equal(first.ids, second.ids) and torch.equal(load_annotation(kept).ids, first.ids)
    before = contents(kept)
    annotate(DATA, features="pca:3", k=3, cache=tmp_path, progress=False)
    assert contents(kept) == before
