"""Classifiers of other makers as class energies: transformers, TorchScript, exported programs, any module."""

import io
import json
import pickle
import re
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.adapters import tiny_text
from tests.adapters.tiny_pipelines import filled
from windvane.adapters import Classifier, load_classifier
from windvane.adapters.preprocess import Preprocess
from windvane.energies import ClassLogProb

NAMES = {0: "tabby, tabby cat", 1: "dog", 2: "fish"}


def network():
    return filled(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3))
    )


def gradient(energy, x):
    x = x.clone().requires_grad_(True)
    values = energy(x)
    return values.detach(), torch.autograd.grad(values.sum(), x)[0]


def save_script(path):
    torch.jit.script(network()).save(str(path))


def save_trace(path):
    torch.jit.trace(network(), tiny_text.pictures(2)).save(str(path))


def save_program(path):
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(network(), (tiny_text.pictures(4),), dynamic_shapes=({0: batch},))
    torch.export.save(program, str(path))


@pytest.mark.parametrize(
    ("save", "suffix"), [(save_script, ".pt"), (save_trace, ".ts"), (save_program, ".pt2")]
)
def test_a_saved_program_is_the_module(save, suffix, tmp_path):
    path = tmp_path / f"classifier{suffix}"
    save(path)
    classifier = load_classifier(path, names=NAMES)
    assert not any(p.requires_grad for p in classifier.parameters()), "it is frozen"
    x = tiny_text.pictures(3)
    wanted = gradient(ClassLogProb(network(), 1), x)
    for found, other in zip(gradient(classifier.log_prob("dog"), x), wanted, strict=True):
        torch.testing.assert_close(found, other)
    assert wanted[1].abs().max() > 1e-5
    one = gradient(classifier.log_prob(1), x[:1])[1]
    torch.testing.assert_close(one, wanted[1][:1])


def test_a_file_has_the_preprocessing_that_it_is_given(tmp_path):
    save_script(tmp_path / "c.pt")
    small = Preprocess(resize=(12, 12))
    classifier = load_classifier(tmp_path / "c.pt", preprocess=small)
    x = tiny_text.pictures()
    torch.testing.assert_close(classifier(x), network()(small(x)))


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    import transformers as hf

    folder = tmp_path_factory.mktemp("vit")
    model = hf.ViTForImageClassification(hf.ViTConfig(**tiny_text.VISION, id2label=NAMES))
    filled(model).save_pretrained(folder)
    hf.ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(folder)
    return folder


def test_a_classifier_of_transformers_with_its_own_preprocessing(vit):
    import transformers as hf

    classifier = load_classifier(vit)
    assert classifier.names == NAMES
    x = tiny_text.pictures()
    model = hf.ViTForImageClassification.from_pretrained(vit).eval()
    pixels = Preprocess(resize=(16, 16), resample="bilinear")(x)
    torch.testing.assert_close(classifier(x), model(pixels).logits, rtol=1e-4, atol=1e-5)
    values, slope = gradient(classifier.log_prob("tabby cat"), x)
    torch.testing.assert_close(
        values, model(pixels).logits.log_softmax(1)[:, 0].detach(), rtol=1e-4, atol=1e-5
    )
    assert (slope.flatten(1).norm(dim=1) > 1e-6).all()


def test_gradients_are_those_of_finite_differences(vit):
    classifier = load_classifier(vit).double()
    energy = classifier.log_prob(2, tau_marginal=0.5)
    x = tiny_text.pictures().double()
    _, slope = gradient(energy, x)
    way = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        wanted = (energy(x + 1e-5 * way) - energy(x - 1e-5 * way)) / 2e-5
    torch.testing.assert_close((slope * way).flatten(1).sum(1), wanted, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize(
    ("name", "number"), [("dog", 1), (" Dog ", 1), ("tabby", 0), ("TABBY CAT", 0), (2, 2)]
)
def test_classes_by_name(name, number):
    assert Classifier(network(), names=NAMES).class_id(name) == number


def test_names_that_are_unknown_list_what_is_known():
    with pytest.raises(ValueError, match="no class 'cat'; it knows tabby, tabby cat"):
        Classifier(network(), names=NAMES).class_id("cat")
    with pytest.raises(ValueError, match="no class 'cow'; it knows tabby, tabby cat, dog, fish"):
        Classifier(network(), names=NAMES).class_id("cow")
    with pytest.raises(ValueError, match="tells no names"):
        Classifier(network()).class_id("cow")


def test_a_model_without_a_head_is_refused(tmp_path):
    """transformers draws a head for it, another one at each load."""
    import transformers as hf

    hf.ViTModel(hf.ViTConfig(**tiny_text.VISION)).save_pretrained(tmp_path)
    hf.ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="no weights for classifier.bias.*random"):
        load_classifier(tmp_path)


def test_outputs_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"logits \(2, K\), got \(2, 3, 20, 20\)"):
        Classifier(nn.Identity())(tiny_text.pictures())
    assert Classifier(lambda x: (x.mean((2, 3)), None))(tiny_text.pictures()).shape == (2, 3)


def test_files_that_are_no_programs_are_refused(tmp_path):
    torch.save(network().state_dict(), tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="no TorchScript.*ClassLogProb"):
        load_classifier(tmp_path / "weights.pt")
    (tmp_path / "p.pt2").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"no program of torch.export"):
        load_classifier(tmp_path / "p.pt2")
    with pytest.raises(ValueError, match="no file"):
        load_classifier(tmp_path / "none.pt")
    with pytest.raises(ValueError, match="image classifier 'nobody/nothing'.*not asked"):
        load_classifier("nobody/nothing", offline=True)


class Evil:
    """What a pickle can hold: opening it writes a file."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def repacked(source, target, change):
    """A copy of an archive; `change(name, content)` gives another content, or more members, or None."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            for member, content in (change(name, old.read(name)) or {name: old.read(name)}).items():
                new.writestr(member, content)
    return target


def as_json(name, content, edit):
    tree = json.loads(content)
    edit(tree)
    return {name: json.dumps(tree)}


def pickled_weights(mark):
    def edit(tree):
        for told in tree["config"].values():
            told["use_pickle"] = True

    def change(name, content):
        if name.endswith("weights_config.json"):
            return as_json(name, content, edit)
        return {name: pickle.dumps(Evil(mark))} if "/weights/weight_" in name else None

    return change


def pickled_inputs(mark):
    return lambda name, content: {name: pickle.dumps(Evil(mark))} if "sample_inputs" in name else None


def nested_archive(mark):
    inner = io.BytesIO()
    torch.save(Evil(mark), inner)
    return lambda name, content: {name: inner.getvalue()} if "sample_inputs" in name else None


def more_members(*members):
    def change(name, content):
        top = name.partition("/")[0]
        return {name: content, **{f"{top}/{one}": b"x" for one in members}} if "model.json" in name else None

    return lambda mark: change


def replaced(old, new):
    def made(mark):
        text = new.replace("MARK", str(mark))
        return lambda name, content: (
            {name: re.sub(old, text.encode(), content)} if name.endswith("model.json") else None
        )

    return made


ATTACKS = {
    "weights are pickles": pickled_weights,
    "inputs are a pickle": pickled_inputs,
    "an archive in the archive": nested_archive,
    "an object": more_members("data/constants/opaque_obj_0"),
    "a compiled library": more_members("data/aotinductor/model/a.so"),
    "a second file of the name": more_members("MODELS/model.json"),
    "an expression": replaced(rb"Symbol\('s\d+'[^\"]*\)", "open('MARK','w')"),
    "an attribute": replaced(rb"Symbol\('s\d+'[^\"]*\)", "Symbol('s0').__class__"),
    "another call": replaced(rb"torch\.ops\.aten\.linear\.default", "torch.os.system"),
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_a_program_that_could_run_code_is_refused_and_nothing_runs(attack, tmp_path):
    save_program(tmp_path / "good.pt2")
    mark = tmp_path / "ran"
    path = repacked(tmp_path / "good.pt2", tmp_path / "evil.pt2", attack(mark))
    assert path.read_bytes() != (tmp_path / "good.pt2").read_bytes()
    with pytest.raises(ValueError, match=r"evil\.pt2 is (not opened, since .*trust=True|no program)"):
        load_classifier(path)
    assert not mark.exists()


@pytest.mark.parametrize("suffix", [".pt2", ".pt", ".pth", ".ts"])
def test_pickles_and_older_archives_under_any_name_are_refused(suffix, tmp_path):
    mark = tmp_path / "ran"
    torch.save(Evil(mark), tmp_path / f"a{suffix}")
    (tmp_path / f"b{suffix}").write_bytes(pickle.dumps(Evil(mark)))
    with zipfile.ZipFile(tmp_path / f"c{suffix}", "w") as archive:
        archive.writestr("version", "8.0")
        archive.writestr("serialized_exported_program.json", "{}")
        for name in ("state_dict", "constants", "example_inputs"):
            archive.writestr(f"serialized_{name}.pt", pickle.dumps(Evil(mark)))
    for name in "abc":
        with pytest.raises(ValueError, match=rf"{name}\{suffix} is n"):
            load_classifier(tmp_path / f"{name}{suffix}")
    assert not mark.exists()


def test_torchscript_that_touches_files_needs_trust(tmp_path):
    @torch.jit.script
    def reads(x):
        return torch.from_file("/etc/hostname", False, 1, dtype=torch.uint8).float() + x

    reads.save(str(tmp_path / "reads.pt"))
    with pytest.raises(ValueError, match="from_file, which reads or writes files.*trust=True"):
        load_classifier(tmp_path / "reads.pt")
    assert load_classifier(tmp_path / "reads.pt", trust=True)
