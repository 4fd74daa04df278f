"""The encoder learns, is kept as it is, and sees the same picture under every process."""

import math
import shutil
from pathlib import Path

import pytest
import torch

import windvane as wv
from tests.adapters import tiny_bert
from tests.kept_folders import assert_replaces_only_its_own, contents
from windvane.energies import TextSimilarity
from windvane.text import (
    TextImageEncoder,
    chance,
    contrastive_loss,
    noisy_views,
    posterior_mean,
    text_retrieval,
    top_k,
    train_noisy_classifier,
    train_text_encoder,
)


def test_held_out_images_find_true_sentences(encoder, halves):
    found, guess = text_retrieval(encoder, halves[1]), chance(halves[1])
    assert guess[1] < 0.06 and guess[10] < 0.5
    assert found[1] > 0.75 and found[10] > 0.97
    assert found[1] <= found[5] <= found[10] <= found[20]


def test_a_word_and_its_numeral_mean_the_same(encoder):
    with torch.no_grad():
        similar = encoder.text(["a seven", "7"]) @ encoder.text(["seven", "the number eight"]).T
    assert bool((similar[:, 0] > 0.6).all()) and bool((similar[:, 1] < similar[:, 0] - 0.3).all())


@pytest.mark.parametrize(("t", "least"), [(0.2, 0.85), (0.35, 0.8), (0.5, 0.55)])
def test_it_still_sees_in_noise(encoder, halves, t, least):
    x, labels = halves[1].batch(slice(None)), halves[1].labels
    process, times = wv.VPCosine(), torch.full((len(x),), t, dtype=torch.float64)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        texts = encoder.text([f"a handwritten {k}" for k in range(10)])
        found = (encoder.at(process)(process.perturb(x, times, noise), times) @ texts.T).argmax(1)
    assert (found == labels).double().mean() > least


def test_looking_is_the_same_under_every_process(encoder):
    x0 = torch.rand(3, 1, 8, 8) * 2 - 1
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(1))
    seen = []
    for process in (wv.VPCosine(), wv.EDM(), wv.RectifiedFlow()):
        t = process.t_of_log_snr(torch.tensor(1.0, dtype=torch.float64)).expand(3)
        with torch.no_grad():
            seen.append(encoder.at(process)(process.perturb(x0, t, noise), t))
    assert torch.allclose(seen[0], seen[1], atol=1e-5)
    assert torch.allclose(seen[0], seen[2], atol=1e-5)


def test_clean_images_are_seen_at_time_zero(encoder):
    x = torch.rand(2, 1, 8, 8) * 2 - 1
    assert torch.equal(encoder.at(wv.EDM())(x, torch.zeros(2)), encoder.image(x))
    assert torch.equal(encoder.at(wv.EDM(), maps=True)(x, torch.zeros(2))[0], encoder.maps(x)[0])


def test_a_row_is_seen_at_its_own_noise_level(encoder):
    """The same pixels at other levels are seen otherwise, and each row as at its level alone."""
    x = (torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(2)) * 2 - 1).expand(4, -1, -1, -1)
    process, t = wv.VPCosine(), torch.tensor([0.1, 0.4, 0.6, 0.8], dtype=torch.float64)
    with torch.no_grad():
        seen, clean = encoder.at(process)(x, t), encoder.image(x)
        for row in range(4):
            alone = encoder.image(x[:1], process.log_snr(t[row : row + 1]))
            assert torch.allclose(seen[row], alone[0], atol=1e-5)
        maps = encoder.at(process, maps=True)(x, t)[-1].flatten(1)
    assert bool((seen - clean).norm(dim=1).gt(1e-2).all()), "the level is not that of a clean picture"
    assert bool((maps[1:] - maps[:-1]).norm(dim=1).gt(1e-2).all())


def test_energy_is_the_cosine_and_has_a_gradient(encoder):
    x = (torch.rand(4, 1, 8, 8) * 2 - 1).requires_grad_(True)
    energy = encoder.energy("a bold seven", wv.VPCosine())
    assert isinstance(energy, TextSimilarity)
    values = energy(x, 0.3)
    with torch.no_grad():
        expected = encoder.at(wv.VPCosine())(x, torch.full((4,), 0.3)) @ encoder.text(["a bold seven"])[0]
    assert torch.allclose(values, expected, atol=1e-6)
    (gradient,) = torch.autograd.grad(values.sum(), x)
    assert bool((gradient.flatten(1).norm(dim=1) > 0).all())
    rows = torch.cat([energy(row[None], 0.3) for row in x])
    assert torch.allclose(rows, values, atol=1e-6)


def test_it_takes_the_place_of_its_own_kind_only(encoder, tmp_path):
    assert_replaces_only_its_own(encoder.save, tmp_path)
    bert = Path(tiny_bert.save(tmp_path / "bert"))
    for path in bert.iterdir():
        if path.name not in ("config.json", "model.safetensors"):
            path.unlink() if path.is_file() else shutil.rmtree(path)
    before = contents(bert)
    with pytest.raises(ValueError, match="is not a text encoder of this library"):
        encoder.save(bert)
    assert contents(bert) == before


def test_saved_and_loaded_it_is_the_same(encoder, tmp_path):
    x = torch.rand(2, 1, 8, 8) * 2 - 1
    encoder.save(tmp_path / "encoder")
    again = TextImageEncoder.load(tmp_path / "encoder")
    assert sorted(p.name for p in (tmp_path / "encoder").iterdir()) == ["config.json", "model.safetensors"]
    assert again.name == encoder.name and again.about == encoder.about
    assert torch.equal(again.image(x), encoder.image(x))
    assert torch.equal(again.text(["a thin 3"]), encoder.text(["a thin 3"]))
    assert not any(p.requires_grad for p in again.parameters()) and not again.training


def test_loading_says_what_is_missing(tmp_path):
    with pytest.raises(ValueError, match=r"has no text encoder: config.json"):
        TextImageEncoder.load(tmp_path)
    (tmp_path / "config.json").write_text('{"format": "clip"}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="format 'clip', not windvane-text-1"):
        TextImageEncoder.load(tmp_path)


def test_training_twice_gives_one_encoder_and_the_cache_keeps_settings_apart(halves, tmp_path):
    few = halves[0].subset(torch.arange(64))

    def made(cache=None, **options):
        options = {"steps": 3, "batch_size": 16, "width": 8, "seed": 0, **options}
        return train_text_encoder(few, cache=cache, progress=False, **options)

    plain, kept = made(), made(tmp_path)
    assert plain.name == kept.name == made(tmp_path).name
    assert len(list(tmp_path.iterdir())) == 1
    assert made(tmp_path, seed=1).name != kept.name
    assert len(list(tmp_path.iterdir())) == 2
    before = torch.get_rng_state()
    made()
    assert torch.equal(before, torch.get_rng_state())


def test_captions_instead_of_labels(halves):
    few = halves[0].subset(torch.arange(32))
    captions = ["a big cat" if k % 2 else "one dog" for k in range(32)]
    made = train_text_encoder(few, captions, steps=2, batch_size=8, width=8, progress=False)
    assert made.text(["cat"]).shape == (1, 64)
    with pytest.raises(ValueError, match="32 images need as many captions, got 2"):
        train_text_encoder(few, ["a", "b"])


def test_the_loss_is_clips_for_pairs_of_their_own():
    random = torch.Generator().manual_seed(0)
    u, v = (torch.nn.functional.normalize(torch.randn(5, 8, generator=random), dim=1) for _ in range(2))
    z, own = 7.0 * u @ v.T, torch.arange(5)
    cross_entropy = torch.nn.functional.cross_entropy
    clip = (cross_entropy(z, own) + cross_entropy(z.T, own)) / 2
    assert torch.allclose(contrastive_loss(u, v, torch.eye(5).bool(), torch.tensor(7.0)), clip)


def test_the_posterior_mean_is_that_of_a_mixture():
    known = torch.tensor([[[[-0.5, 0.2]]], [[[0.7, -0.1]]]])
    alpha, sigma = torch.tensor([0.8]), torch.tensor([0.6])
    x = torch.tensor([[[[0.1, 0.3]]]])
    inverse = 1 / (0.6**2 + 0.8**2 * 0.2**2)
    logits = torch.stack([-0.5 * inverse * (x[0] - 0.8 * y).square().sum() for y in known])
    expected = (logits.softmax(0).reshape(2, 1, 1, 1) * known).sum(0)
    assert torch.allclose(posterior_mean(x, alpha, sigma, known, width=0.2)[0], expected, atol=1e-6)


def test_views_are_noisy_guessed_or_clean():
    images = torch.rand(400, 1, 4, 4) * 2 - 1
    seen, log_snr = noisy_views(images, images[:50], torch.Generator().manual_seed(0))
    clean = log_snr == math.inf
    untouched = (seen == images).flatten(1).all(1)
    assert 0.15 < untouched.double().mean() < 0.35
    assert 0.4 < clean.double().mean() < 0.6
    assert bool((untouched <= clean).all())
    assert float(log_snr[~clean].min()) >= -6 and float(log_snr[~clean].max()) <= 10


def test_top_k_by_hand():
    candidates = torch.eye(4)
    rows = torch.tensor([[1.0, 0.9, 0, 0], [1.0, 0.9, 0, 0], [0, 0, 1.0, 1.0]])
    assert top_k(rows, candidates, torch.tensor([0, 1, 3]), (1, 2)) == {1: pytest.approx(1 / 3), 2: 1.0}
    several = torch.tensor([[False, True, True, False]] * 3)
    assert top_k(rows, candidates, several, (1, 2))[2] == 1.0
    with pytest.raises(ValueError, match="own ones"):
        top_k(rows, candidates, torch.ones(3, 5).bool())


def test_the_classifier_knows_noisy_digits(halves):
    made = train_noisy_classifier(halves[0], steps=120, batch_size=128, width=16, progress=False)
    x, labels = halves[1].batch(slice(None)), halves[1].labels
    lmbda = torch.full((len(x),), 1.0)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    noisy = lmbda.sigmoid().sqrt()[0] * x + (-lmbda).sigmoid().sqrt()[0] * noise
    with torch.no_grad():
        assert (made(noisy, lmbda).argmax(1) == labels).double().mean() > 0.6
        assert (made(x, torch.full((len(x),), math.inf)).argmax(1) == labels).double().mean() > 0.9
    with pytest.raises(ValueError, match="at least two labels"):
        train_noisy_classifier(halves[0].subset((halves[0].labels == 3).nonzero().flatten()))
