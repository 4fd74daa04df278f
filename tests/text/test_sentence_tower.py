"""The own encoder that reads with a pretrained sentence encoder: learns, is kept, understands any text."""

import json
import warnings

import pytest
import torch

import windvane as wv
from tests.adapters import tiny_bert
from windvane.adapters import load_sentence_encoder
from windvane.text import TextImageEncoder, chance, text_retrieval, train_text_encoder
from windvane.text.towers import SentenceTower


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return tiny_bert.save(tmp_path_factory.mktemp("bert") / "tiny")


@pytest.fixture(scope="module")
def trained(halves, bert):
    return train_text_encoder(
        halves[0], sentences=bert, steps=80, batch_size=128, width=16, seed=3, progress=False
    )


def test_held_out_images_find_true_sentences(trained, halves):
    found, guess = text_retrieval(trained, halves[1]), chance(halves[1])
    assert found[1] > 4 * guess[1] and found[10] > 1.5 * guess[10]


def test_the_sentence_encoder_is_frozen_and_not_among_the_weights(trained, bert):
    assert trained.sentences.fingerprint == load_sentence_encoder(bert).fingerprint
    assert not any("sentences" in key or "model" in key for key in trained.state_dict())
    with torch.no_grad():
        embedded = trained.sentences(["a bold seven"])
        expected = torch.nn.functional.normalize(trained.reading(embedded), dim=1)
    assert torch.equal(trained.text(["a bold seven"]), expected)


def test_the_tower_centres_and_scales():
    tower = SentenceTower(4, 3)
    seen = 5 + torch.randn(200, 4, generator=torch.Generator().manual_seed(0)) * 0.1
    tower.fit(seen)
    met = []
    tower.layers.register_forward_pre_hook(lambda module, given: met.append(given[0]))
    tower(seen)
    assert met[0].mean(0).abs().max() < 1e-4
    assert float(met[0].square().mean()) == pytest.approx(1, abs=1e-4)


def test_any_text_is_understood_without_a_warning(trained):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert trained.text(["quite purple elephants", "a sevn"]).shape == (2, 64)
    with pytest.raises(ValueError, match="needs sentences"):
        trained.text([" "])


def test_its_energy_is_the_cosine_at_the_times_of_a_process(trained):
    x = (torch.rand(3, 1, 8, 8) * 2 - 1).requires_grad_(True)
    values = trained.energy("a bold seven", wv.VPCosine())(x, 0.3)
    look = trained.at(wv.VPCosine())(x, torch.full((3,), 0.3))
    assert torch.allclose(values, look @ trained.text(["a bold seven"])[0], atol=1e-6)
    (gradient,) = torch.autograd.grad(values.sum(), x)
    assert bool((gradient.flatten(1).norm(dim=1) > 0).all())


def test_saved_and_loaded_it_is_the_same(trained, bert, tmp_path):
    trained.save(tmp_path / "kept")
    config = json.loads((tmp_path / "kept" / "config.json").read_text())
    assert config["format"] == "windvane-sentences-1" and "words" not in config
    assert config["sentences"]["name"] == str(bert.resolve()) and config["sentences"]["revision"] is None
    again = TextImageEncoder.load(tmp_path / "kept", offline=True)
    x, texts = torch.rand(2, 1, 8, 8) * 2 - 1, ["a thin 3", "an unheard word"]
    assert again.name == trained.name and again.about == trained.about
    assert torch.equal(again.image(x), trained.image(x))
    torch.testing.assert_close(again.text(texts), trained.text(texts))
    assert not any(p.requires_grad for p in again.parameters()) and not again.training


def test_a_sentence_encoder_that_is_gone_or_another_is_told(trained, tmp_path):
    trained.save(tmp_path / "kept")
    where = tmp_path / "kept" / "config.json"
    config = json.loads(where.read_text())
    moved = config["sentences"]["name"]
    del config["content"]  # moved by hand, so the hash is that of another text
    config["sentences"]["name"] = "nobody/nothing"
    where.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"cannot load the sentence encoder 'nobody/nothing' \(and the net"):
        TextImageEncoder.load(tmp_path / "kept", offline=True)
    assert TextImageEncoder.load(tmp_path / "kept", sentences=moved).name == trained.name
    other = tiny_bert.save(tmp_path / "other", seed=1)
    with pytest.raises(ValueError, match=r"trained with the sentence encoder .*other' is another one"):
        TextImageEncoder.load(tmp_path / "kept", sentences=other)


def test_the_cache_tells_sentence_encoders_apart(halves, bert, tmp_path):
    few = halves[0].subset(torch.arange(64))

    def made(sentences):
        return train_text_encoder(
            few, sentences=sentences, steps=2, batch_size=16, width=8, cache=tmp_path / "c", progress=False
        )

    other = tiny_bert.save(tmp_path / "other", seed=1)
    moved = tiny_bert.save(tmp_path / "moved")
    before = torch.get_rng_state()
    names = [made(given).name for given in (None, bert, other, load_sentence_encoder(bert), moved)]
    assert names[1] == names[3] == names[4] and len(set(names)) == 3
    assert len(list((tmp_path / "c").iterdir())) == 3
    assert torch.equal(before, torch.get_rng_state())
