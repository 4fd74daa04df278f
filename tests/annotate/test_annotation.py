import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.annotate.stand_ins import Projection, TensorImages, digit_images, noise_images
from windvane.annotate import PCA, Annotation, SelfSup, annotate
from windvane.annotate import image_annotator as annotator_module
from windvane.annotate.features import save_extractor
from windvane.damage import Damaged


@pytest.fixture
def data():
    return digit_images(300)


NEW = slice(400, 500)


def new_images():
    return digit_images(500).images[NEW]


@pytest.mark.parametrize(
    "features",
    ["pixels", "pca:8", SelfSup(steps=3, batch=16, width=8), Projection()],
    ids=lambda f: str(f)[:12],
)
def test_a_loaded_annotation_gives_new_images_the_same_ids(features, data, tmp_path):
    made = annotate(data, features=features, k=6, progress=False)
    made.save(tmp_path / "annotations")
    given = features if isinstance(features, Projection) else None
    loaded = Annotation.load(tmp_path / "annotations", data=data, extractor=given)
    assert torch.equal(loaded(new_images()), made(new_images()))
    assert torch.equal(loaded(data.images), made.ids)
    assert torch.equal(loaded.ids, made.ids) and torch.equal(loaded.sizes, made.sizes)
    assert torch.equal(loaded.draw(50, 3), made.draw(50, 3))
    assert torch.equal(loaded.members(2), made.members(2))
    assert loaded.extractor_name == made.extractor_name and loaded.shape == (1, 8, 8)


def test_new_images_get_their_ids_from_mirror_averaged_features_too(data, tmp_path):
    made = annotate(data, features=Projection(), k=6, flip=True, progress=False)
    made.save(tmp_path / "a")
    loaded = Annotation.load(tmp_path / "a", extractor=Projection())
    assert torch.equal(loaded(data.images), made.ids)
    assert torch.equal(loaded(new_images().flip(-1)), loaded(new_images()))


def test_the_same_request_is_read_from_the_cache(data, tmp_path, monkeypatch):
    extractor = Projection()
    first = annotate(data, features=extractor, k=5, cache=tmp_path, progress=False)
    data.batches = 0
    second = annotate(data, features=extractor, k=5, cache=tmp_path, progress=False)
    assert torch.equal(first.ids, second.ids) and data.batches == 0 and extractor.seen == 300
    # Another number of clusters asks for new clusters, not for new features.
    annotate(data, features=extractor, k=6, cache=tmp_path, progress=False)
    assert extractor.seen == 300
    annotate(noise_images(300), features=extractor, k=5, cache=tmp_path, progress=False)
    assert extractor.seen == 600


def test_an_extractor_that_learns_is_taught_once(data, tmp_path, monkeypatch):
    taught = []
    plain = SelfSup.fit
    monkeypatch.setattr(
        SelfSup, "fit", lambda self, *a, **k: (taught.append(self.seed), plain(self, *a, **k))[1]
    )

    def ask(k, seed=0, **named):
        encoder = SelfSup(steps=2, batch=16, width=8, seed=seed)
        return annotate(data, features=encoder, k=k, cache=tmp_path, progress=False, **named)

    first, again = ask(5), ask(5)
    assert torch.equal(first.ids, again.ids) and taught == [0]
    assert torch.equal(again(new_images()), first(new_images()))
    ask(7)
    assert taught == [0]
    ask(5, seed=1)
    assert taught == [0, 1]


def test_another_seed_or_setting_is_another_entry_of_the_cache(data, tmp_path):
    for named in ({}, {"seed": 1}, {"restarts": 1}, {"normalise": False}, {"flip": True}):
        annotate(data, features="pixels", k=5, cache=tmp_path, progress=False, **named)
    assert len(list(tmp_path.glob("annotation-*"))) == 5


def test_a_damaged_cache_costs_time_and_is_no_error(data, tmp_path):
    first = annotate(data, features="pixels", k=5, cache=tmp_path, progress=False)
    folder = next(tmp_path.glob("annotation-*"))
    (folder / "vector.safetensors").write_bytes(b"")
    with pytest.warns(UserWarning, match="annotated again"):
        second = annotate(data, features="pixels", k=5, cache=tmp_path, progress=False)
    assert torch.equal(first.ids, second.ids)
    assert torch.equal(Annotation.load(folder).ids, first.ids)


def reseal(folder, tensors, described):
    """What a careful forger, or a program of another version, would write."""
    from windvane.annotate.sealed_pair import seal

    save_file(tensors, folder / "vector.safetensors")
    described["content"] = seal(described, tensors)
    (folder / "annotation.json").write_text(json.dumps(described))


def damage(folder, what):
    tensors = load_file(folder / "vector.safetensors")
    described = json.loads((folder / "annotation.json").read_text())
    if what == "truncated":
        (folder / "vector.safetensors").write_bytes((folder / "vector.safetensors").read_bytes()[:-9])
    elif what == "half a description":
        text = (folder / "annotation.json").read_bytes()
        (folder / "annotation.json").write_bytes(text[: len(text) // 2])
    elif what == "image size":
        described["image"] = [1, 9, 8]
        reseal(folder, tensors, described)
    elif what == "image size, unsealed":
        (folder / "annotation.json").write_text(json.dumps({**described, "image": [1, 9, 8]}))
    elif what == "extractor of another version":
        save_extractor(PCA(4).fit(noise_images(50), progress=False), folder.parent / "other")
        for name in ("extractor.json", "extractor.safetensors"):
            (folder / name).write_bytes((folder.parent / "other" / name).read_bytes())
    elif what == "weights of another version":
        save_extractor(PCA(4).fit(noise_images(50), progress=False), folder.parent / "other")
        name = "extractor.safetensors"
        (folder / name).write_bytes((folder.parent / "other" / name).read_bytes())
    elif what == "extractor truncated":
        name = "extractor.safetensors"
        (folder / name).write_bytes((folder / name).read_bytes()[:-5])
    elif what == "not json":
        (folder / "annotation.json").write_text("{")
    elif what == "missing":
        (folder / "vector.safetensors").unlink()
    elif what == "format":
        (folder / "annotation.json").write_text(json.dumps({**described, "format": 99}))
    elif what == "changed ids":
        tensors["ids"][:2] = tensors["ids"][:2].flip(0) + torch.tensor([0, 0])
        tensors["ids"][0] = (tensors["ids"][0] + 1) % 5
        save_file(tensors, folder / "vector.safetensors")
    elif what == "ids out of range":
        tensors["ids"][3] = 5
        reseal(folder, tensors, described)
    elif what == "too few ids":
        tensors["ids"] = tensors["ids"][:-1].contiguous()
        reseal(folder, tensors, described)
    elif what == "no centres":
        tensors.pop("centres")
        reseal(folder, tensors, described)
    elif what == "sizes":
        tensors["sizes"] = tensors["sizes"].flip(0).contiguous()
        reseal(folder, tensors, described)
    elif what == "extractor gone":
        (folder / "extractor.safetensors").unlink()
    elif what == "k":
        described["signals"]["vector"]["k"] = 4
        reseal(folder, tensors, described)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("truncated", "damaged"),
        ("half a description", "damaged"),
        ("image size", r"made from images of shape \(1, 9, 8\), the data have \(1, 8, 8\)"),
        ("image size, unsealed", "does not have the hash"),
        ("extractor of another version", r"was made with the features pca\(.*, not with pca\("),
        ("weights of another version", "but its weights make it"),
        ("extractor truncated", "extractor.safetensors is damaged"),
        ("not json", "damaged"),
        ("missing", "vector.safetensors is missing"),
        ("format", "format 99; this version reads 1"),
        ("changed ids", "does not have the hash"),
        ("ids out of range", r"ids must lie in 0\.\.4, got 0\.\.5"),
        ("too few ids", "says 300 images and has 299 ids"),
        ("no centres", "damaged: 'centres'"),
        ("sizes", "sizes are not those of its ids"),
        ("extractor gone", "extractor.safetensors is missing"),
        ("k", "damaged"),
    ],
)
def test_damaged_annotations_are_refused_with_the_reason(what, message, data, tmp_path):
    made = annotate(data, features=PCA(4), k=5, progress=False)
    made.save(tmp_path / "a")
    assert torch.equal(Annotation.load(tmp_path / "a", data=data).ids, made.ids)
    damage(tmp_path / "a", what)
    with pytest.raises(ValueError, match=message):
        Annotation.load(tmp_path / "a", data=data)


@pytest.mark.parametrize(
    "name", ["annotation.json", "vector.safetensors", "extractor.json", "extractor.safetensors"]
)
@pytest.mark.parametrize("way", ["first", "middle", "late", "cut", "hash"])
def test_a_damaged_annotation_is_named_by_its_file(name, way, data, tmp_path):
    annotate(data, features=PCA(4), k=5, progress=False).save(tmp_path / "a")
    file = tmp_path / "a" / name
    content = bytearray(file.read_bytes())
    if way == "hash" and name == "annotation.json":  # the noted hash of the tensors itself
        place = content.index(b'"tensors": "') + 12
        content[place] = ord("0") if content[place] != ord("0") else ord("1")
    elif way == "cut":
        content = content[: len(content) // 2]
    else:
        content[{"first": 1, "middle": len(content) // 2, "late": -5, "hash": -9}[way]] ^= 1
    file.write_bytes(content)
    with pytest.raises(Damaged, match=f"a/{name} is damaged: ") as caught:
        Annotation.load(tmp_path / "a")
    assert "\n" not in str(caught.value)


def test_annotations_of_other_data_or_another_extractor_are_refused(data, tmp_path):
    made = annotate(data, features=Projection(), k=5, progress=False)
    made.save(tmp_path / "a")
    changed = TensorImages(data.images.clone())
    changed.images[7, 0, 3, 3] += 0.5
    with pytest.raises(ValueError, match="made from other images"):
        Annotation.load(tmp_path / "a", data=TensorImages(changed.images))
    with pytest.raises(ValueError, match=r"images of shape \(1, 8, 8\), the data have \(1, 4, 16\)"):
        Annotation.load(tmp_path / "a", data=TensorImages(data.images.reshape(300, 1, 4, 16)))
    with pytest.raises(ValueError, match="has 300 images, the data 299"):
        Annotation.load(tmp_path / "a", data=digit_images(299))
    with pytest.raises(ValueError, match="made with the features projection#"):
        Annotation.load(tmp_path / "a", extractor=Projection(seed=1))
    with pytest.raises(ValueError, match="load it with extractor="):
        Annotation.load(tmp_path / "a")(new_images())
    with pytest.raises(ValueError, match="no annotation in"):
        Annotation.load(tmp_path / "nothing")


def test_saving_again_replaces_the_folder_as_a_whole(data, tmp_path):
    annotate(data, features=PCA(4), k=5, progress=False).save(tmp_path / "a")
    annotate(data, features=Projection(), k=6, progress=False).save(tmp_path / "a")
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["annotation.json", "vector.safetensors"]
    assert Annotation.load(tmp_path / "a").k == 6
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_given_ids_can_be_saved_and_drawn_and_give_no_ids_to_new_images(data, tmp_path):
    made = Annotation.given(data.labels, data, source="labels")
    made.save(tmp_path / "a")
    loaded = Annotation.load(tmp_path / "a", data=data)
    assert loaded.k == 10 and loaded.source == "labels"
    assert torch.equal(loaded.condition().signals["vector"], data.labels)
    assert torch.equal(loaded.draw(30, 5), made.draw(30, 5))
    with pytest.raises(ValueError, match="given \\(labels\\)"):
        loaded(new_images())
    with pytest.raises(ValueError, match="299 ids for 300 images"):
        Annotation.given(data.labels[:-1], data)


def test_members_come_nearest_first(data):
    made = annotate(data, features="pixels", k=5, progress=False)
    rows = made.members(1)
    assert torch.equal(rows.sort().values, (made.ids == 1).nonzero()[:, 0])
    unit = torch.nn.functional.normalize(data.images.flatten(1), dim=1)
    distances = (unit[rows] - made.clusters.centres[1]).norm(dim=1)
    assert (distances.diff() >= -1e-6).all()
    assert torch.equal(made.members(1, 3), rows[:3])


def test_the_report_tells_sizes_and_agreement(data):
    told = annotate(data, features="pca", k=10, progress=False).report(data.labels)
    assert sum(told["balance"]["sizes"]) == 300 and told["agreement"]["nmi"] > 0.5
    assert told["clusters"]["k"] == 10
    json.dumps(told)


def test_too_many_clusters_are_refused_before_anything_is_learnt(data, monkeypatch):
    monkeypatch.setattr(annotator_module, "learnt", lambda *a, **n: pytest.fail("it was learnt first"))
    with pytest.raises(ValueError, match="k=301 clusters need at least as many images, got 300"):
        annotate(data, features="selfsup", k=301)
