"""Sentence encoders: the pooling is its formula, padding changes nothing, and what is wrong is told."""

import pytest
import torch

from tests.adapters import tiny_bert, tiny_text
from windvane.adapters import load_sentence_encoder

TEXTS = ["a bold seven", "the digit 3", "a"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_bert.save(tmp_path_factory.mktemp("bert") / "tiny")


def test_the_pooling_is_the_mean_over_the_mask_of_length_one(folder):
    import transformers as hf

    model = hf.BertModel.from_pretrained(folder).eval()
    tokens = hf.AutoTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors="pt")
    assert tokens["attention_mask"].sum(1).tolist() == [5, 5, 3], "words are whole, and one text is padded"
    with torch.no_grad():
        hidden = model(**tokens).last_hidden_state
    found = load_sentence_encoder(folder)(TEXTS)
    for row, words, length in zip(found, hidden, (5, 5, 3), strict=True):
        mean = sum(words[:length]) / length
        torch.testing.assert_close(row, mean / mean.square().sum().sqrt())
    assert found.shape == (3, 16) and not found.requires_grad


def test_a_batch_is_its_rows_and_what_is_remembered_is_the_same(folder):
    together = load_sentence_encoder(folder)
    apart, first = load_sentence_encoder(folder), together(TEXTS)
    for text, row in zip(TEXTS, first, strict=True):
        torch.testing.assert_close(apart([text])[0], row)
    assert torch.equal(together([*TEXTS[::-1], TEXTS[0]]), first[[2, 1, 0, 0]])


def test_long_texts_are_cut_and_empty_ones_refused(folder):
    encoder = load_sentence_encoder(folder)
    assert torch.equal(encoder(["seven " * 10]), encoder(["seven " * 500]))
    for texts in ([], ["a seven", "  "]):
        with pytest.raises(ValueError, match="needs sentences, got"):
            encoder(texts)


def test_fingerprints_tell_models_apart_and_loading_draws_nothing(folder, tmp_path):
    import transformers as hf

    before = torch.get_rng_state()
    encoder = load_sentence_encoder(folder)
    assert encoder.fingerprint == load_sentence_encoder(folder).fingerprint
    assert encoder.fingerprint != load_sentence_encoder(tiny_bert.save(tmp_path / "b", 1)).fingerprint
    # A checkpoint without the unused pooler is the same sentence encoder.
    bare = tiny_bert.save(tmp_path / "bare")
    hf.BertModel.from_pretrained(folder, add_pooling_layer=False).save_pretrained(bare)
    assert load_sentence_encoder(bare).fingerprint == encoder.fingerprint
    assert torch.equal(before, torch.get_rng_state())
    assert encoder.source == str(folder.resolve()) and encoder.revision is None and encoder.size == 16


def test_what_is_not_there_or_no_sentence_encoder_is_told(folder, tmp_path):
    with pytest.raises(ValueError, match=r"encoder 'nobody/nothing' \(and the network was not asked"):
        load_sentence_encoder("nobody/nothing", offline=True)
    with pytest.raises(ValueError, match="is a clip, which is no sentence encoder"):
        load_sentence_encoder(tiny_text.save("clip", tmp_path / "clip"))
    from safetensors.torch import load_file, save_file

    broken = tiny_bert.save(tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    weights.pop("embeddings.word_embeddings.weight")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="no weights for embeddings.word_embeddings"):
        load_sentence_encoder(broken)


def test_without_transformers_the_reason_is_told(folder, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match="cannot load the sentence encoder.*transformers"):
        load_sentence_encoder(folder)


def test_a_name_in_the_hubs_cache_is_opened_by_its_commit_and_no_network_is_asked(tmp_path, monkeypatch):
    import socket

    import huggingface_hub.constants as hub

    def asked(*given, **named):
        raise AssertionError("the network was asked")

    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--some--bert"
    tiny_bert.save(repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", asked)
    found = load_sentence_encoder("some/bert", offline=True)
    assert (found.source, found.revision) == ("some/bert", commit)
    again = load_sentence_encoder(found.source, revision=found.revision, offline=True)
    assert again.fingerprint == found.fingerprint
    with pytest.raises(ValueError, match=r"sentence encoder 'some/bert' \(and the network was not asked"):
        load_sentence_encoder("some/bert", revision="f" * 40, offline=True)
