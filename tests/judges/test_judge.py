import time

import pytest
import torch

from windvane.judges import Judge, train_judge


@pytest.fixture(scope="module")
def split():
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    images = torch.tensor(pixels, dtype=torch.float32).reshape(-1, 1, 8, 8) / 8 - 1
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    images, labels = images[order], torch.tensor(labels)[order]
    return images[:1400], labels[:1400], images[1400:], labels[1400:]


@pytest.fixture(scope="module")
def judge(split):
    images, labels, unseen, unseen_labels = split
    begin = time.process_time()
    made = train_judge(images, labels, test=(unseen, unseen_labels), progress=False)
    made.report["cpu_seconds"] = time.process_time() - begin
    return made


def test_it_knows_the_digits(judge, split):
    _, _, unseen, labels = split
    assert judge.accuracy >= 0.96
    assert (judge.classify(unseen).argmax(1) == labels).double().mean().item() == judge.accuracy
    assert judge.report["cpu_seconds"] < 10


def test_features_of_the_training_images_have_total_variance_64(judge, split):
    assert judge.features(split[0]).double().var(0).sum().item() == pytest.approx(64, rel=1e-4)
    # And none of them is dead, so that covariances are not singular.
    assert torch.linalg.eigvalsh(torch.cov(judge.features(split[0]).double().T)).min() > 0


def test_a_row_does_not_depend_on_its_batch(judge, split):
    whole = judge.features(split[2][:20])
    single = torch.cat([judge.features(row) for row in split[2][:20].split(1)])
    torch.testing.assert_close(single, whole, rtol=1e-4, atol=1e-5)


def small(seed, **options):
    random = torch.Generator().manual_seed(0)
    images = torch.rand(60, 1, 8, 8, generator=random) - 0.5
    labels = torch.arange(60) % 3
    images[labels == 1, :, :4] += 0.5
    images[labels == 2, :, 4:] -= 0.5
    return train_judge(images, labels, steps=30, seed=seed, progress=False, **options)


def test_the_seed_decides_and_nothing_global_is_touched():
    state = torch.random.get_rng_state()
    one = small(3)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(5)
    assert small(3).name == one.name
    assert small(4).name != one.name
    assert one.name.startswith("judge-mlp-")


def test_the_name_follows_the_weights(tmp_path):
    judge = small(0)
    before = judge.name
    next(judge.head.parameters()).data[0, 0] += 1e-3
    assert judge.name != before


def test_saved_and_loaded_it_judges_alike(tmp_path):
    judge, path = small(0), tmp_path / "judge.safetensors"
    judge.save(path)
    again = Judge.load(path)
    images = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    assert torch.equal(again.features(images), judge.features(images))
    assert torch.equal(again.classify(images), judge.classify(images))
    assert (again.name, again.report) == (judge.name, judge.report)


def test_pictures_of_16_pixels_get_convolutions(tmp_path):
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(80) % 2
    images = torch.rand(80, 3, 16, 18, generator=random) - 0.5
    # A bar at a random place, upright or lying: no single pixel tells the label.
    for row, label in enumerate(labels):
        at = int(torch.randint(2, 14, (1,), generator=random))
        images[row, :, at] += 0.5 * int(label == 0)
        images[row, :, :, at] += 0.5 * int(label == 1)
    judge = train_judge(images, labels, steps=60, batch_size=32, progress=False)
    assert judge.kind == "conv" and judge.accuracy >= 0.9
    judge.save(tmp_path / "judge.safetensors")
    assert torch.equal(Judge.load(tmp_path / "judge.safetensors").features(images), judge.features(images))


class Source:
    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.images)

    def batch(self, rows):
        return self.images[rows]


def test_images_may_carry_their_labels_and_lack_some(split):
    images, labels, _, _ = split
    labels = labels.clone()[:600]
    labels[::2] = -1
    judge = train_judge(Source(images[:600], labels), steps=20, held_out=0.25, progress=False)
    assert (judge.report["n_train"], judge.report["n_test"]) == (225, 75)
    known = labels >= 0
    same = train_judge(images[:600][known], labels[known], steps=20, held_out=0.25, progress=False)
    assert same.name == judge.name


def test_held_out_images_are_not_trained_on():
    # Random labels cannot be known: an accuracy far above chance would mean the test images were seen.
    random = torch.Generator().manual_seed(0)
    images, labels = torch.rand(200, 1, 4, 4, generator=random), torch.randint(2, (200,), generator=random)
    judge = train_judge(images, labels, steps=300, noise=0.0, progress=False)
    assert judge.accuracy < 0.75
    assert (judge.classify(images).argmax(1) == labels).double().mean() > 0.85


def test_nonsense_is_refused(tmp_path):
    images = torch.zeros(6, 1, 8, 8)
    with pytest.raises(ValueError, match="needs labels"):
        train_judge(images)
    with pytest.raises(ValueError, match="6 images, but 5 labels"):
        train_judge(images, torch.zeros(5))
    with pytest.raises(ValueError, match="at least two labels"):
        train_judge(images, torch.zeros(6), progress=False)
    with pytest.raises(ValueError, match="none of the images has one"):
        train_judge(images, torch.full((6,), -1), progress=False)
    with pytest.raises(ValueError, match="label 3 does not fit classes=2"):
        train_judge(images, torch.tensor([0, 3, 0, 3, 0, 3]), classes=2, progress=False)
    with pytest.raises(ValueError, match="floating point"):
        train_judge(images.to(torch.uint8), torch.arange(6))
    with pytest.raises(ValueError, match=r"knows images \(1, 8, 8\), got \(1, 9, 9\)"):
        small(0).features(torch.zeros(1, 1, 9, 9))
    with pytest.raises(ValueError, match="no judge at"):
        Judge.load(tmp_path / "nothing.safetensors")
    from safetensors.torch import save_file

    save_file({"x": images}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="not a judge"):
        Judge.load(tmp_path / "other.safetensors")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_judge_is_trained_in_single_precision_whatever_the_default(dtype):
    images, labels = torch.randn(40, 1, 8, 8).clamp(-1, 1), torch.arange(40) % 2
    plain = train_judge(images, labels, steps=3, progress=False)
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(dtype)
        other = train_judge(images, labels, steps=3, progress=False)
    finally:
        torch.set_default_dtype(before)
    for mine, theirs in zip(plain.head.parameters(), other.head.parameters(), strict=True):
        assert theirs.dtype == torch.float32 and torch.equal(mine, theirs)
