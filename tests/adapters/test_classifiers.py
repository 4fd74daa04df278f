"""Classifiers of other makers as class energies: transformers, TorchScript, exported programs, any module."""

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
