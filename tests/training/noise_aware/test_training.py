"""Alignment and noisy classifiers: their losses written out, exact seeds, and what they are for."""

import math

import pytest
import torch
from torch import nn

from windvane.metrics import trajectory_calibration
from windvane.process import VPCosine
from windvane.training.noise_aware import align, info_nce, noise_aware, train_classifier
from windvane.training.noise_aware.fitting import evaluating

from .small import PROCESS, Normed, clusters, normal, seeded


def test_info_nce_is_its_formula():
    u, v = normal(5, 3), normal(5, 3, seed=1)
    expected = []
    for i in range(5):
        unit = lambda w: w / w.norm()  # noqa: E731
        rows = [math.exp(float(unit(u[i]) @ unit(v[j])) / 0.3) for j in range(5)]
        columns = [math.exp(float(unit(u[j]) @ unit(v[i])) / 0.3) for j in range(5)]
        expected.append(-math.log(rows[i] / sum(rows)) - math.log(columns[i] / sum(columns)))
    torch.testing.assert_close(info_nce(u, v, 0.3), torch.tensor(expected), rtol=1e-4, atol=1e-5)
    assert float(info_nce(v, v, 0.01).max()) < 1e-3 < float(info_nce(v.roll(1, 0), v, 0.01).min())


def teacher_and_student():
    teacher = seeded(lambda: Normed(classes=8)).eval()
    return teacher, noise_aware(teacher, PROCESS, width=32)


def test_alignment_uses_no_labels_leaves_the_teacher_and_makes_noisy_rows_found():
    x, _ = clusters()
    teacher, student = teacher_and_student()
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    noisy = PROCESS.perturb(x, torch.tensor(0.4, dtype=torch.float64), normal(*x.shape, seed=3))

    def told_apart():
        # Four rows at a time, one of each cluster: rows of one cluster are as good as the same.
        pairs = zip(student(noisy, 0.4).split(4), teacher(x).split(4))
        return sum(info_nce(u, v, 0.1).mean().item() for u, v in pairs)

    untrained = told_apart()
    losses = align(student, teacher, x, PROCESS, steps=150, batch_size=64, lr=2e-3, temperature=0.1,
                   progress=False)  # fmt: skip
    assert len(losses) == 150 and not student.training
    assert told_apart() < 0.7 * untrained
    assert all(torch.equal(before[k], v) for k, v in teacher.state_dict().items())
    assert not teacher.training and all(p.grad is None for p in teacher.parameters())


def test_the_first_loss_of_an_alignment_is_the_formula_on_its_batch():
    x, _ = clusters(n=8)
    teacher, student = teacher_and_student()
    seen = []

    class Recording(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = student

        def forward(self, x_t, t):
            out = self.inner(x_t, t)
            seen.append((x_t.detach(), t, out.detach()))
            return out

    clean = []
    teacher.register_forward_hook(lambda module, inputs, out: clean.append((inputs[0], out)))
    (loss,) = align(Recording(), teacher, x, PROCESS, steps=1, batch_size=8, temperature=0.2, progress=False)
    (x_t, t, u), (x0, v) = seen[0], clean[0]
    torch.testing.assert_close(loss, float(info_nce(u, v, 0.2).mean()))
    assert sorted(x0[:, 0].tolist()) == sorted(x[:, 0].tolist())
    noise = (x_t - PROCESS.alpha(t)[:, None].float() * x0) / PROCESS.sigma(t)[:, None].float()
    assert 0.6 < float(noise.std()) < 1.4


@pytest.mark.parametrize("kind", ["align", "classify"])
def test_the_same_seed_gives_the_same_weights_and_global_generators_stay(kind):
    x, labels = clusters(n=40)

    def weights(seed):
        teacher, student = teacher_and_student()
        if kind == "align":
            align(student, teacher, x, PROCESS, steps=4, batch_size=8, seed=seed, progress=False)
        else:
            train_classifier(
                student, x, labels, process=PROCESS, steps=4, batch_size=8, seed=seed, progress=False
            )
        return torch.cat([p.flatten() for p in student.parameters()])

    state = torch.get_rng_state()
    first, again, other = weights(1), weights(1), weights(2)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


class Straight:
    """A denoiser that is not asked: the classifiers below see x_t."""

    process = PROCESS


def test_at_high_noise_a_noise_aware_classifier_is_right_more_often_than_the_clean_one():
    x, labels = clusters()
    held, wanted = clusters(seed=9)
    clean = seeded(Normed).train()
    train_classifier(
        _Ignoring(clean), x, labels, process=VPCosine(), steps=150, batch_size=64, lr=3e-3,
        times=_Never(), progress=False,
    )  # fmt: skip
    clean.eval()
    noisy = noise_aware(clean, PROCESS, width=32)
    train_classifier(noisy, x, labels, process=PROCESS, steps=250, batch_size=64, lr=3e-3, progress=False)
    times = torch.tensor([0.02, 0.5, 0.65], dtype=torch.float64)
    of_clean = trajectory_calibration(clean, Straight, held, wanted, times=times, input="x_t")
    of_noisy = trajectory_calibration(noisy, Straight, held, wanted, times=times, input="x_t", timed=True)
    assert of_clean.accuracies[0] > 0.98 and of_noisy.accuracies[0] > 0.95
    assert of_noisy.accuracies[1] > of_clean.accuracies[1] + 0.03
    assert of_noisy.accuracies[2] > of_clean.accuracies[2] + 0.03
    assert of_noisy.error < of_clean.error


class _Ignoring(nn.Module):
    """A clean classifier where one with a time is expected."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x_t, t):
        return self.inner(x_t)


class _Never:
    """Times at which there is no noise."""

    observes = False

    def draw(self, n, generator):
        return torch.zeros(n, dtype=torch.float64)

    def observe(self, t, losses):
        pass

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def test_the_classifiers_loss_is_cross_entropy_on_noisy_rows_without_smoothing():
    x, labels = clusters(n=16)
    network = seeded(lambda: nn.Linear(6, 4))
    with torch.no_grad():
        network.weight.zero_()
        network.bias.copy_(torch.tensor([50.0, 0.0, 0.0, 0.0]))
    (loss,) = train_classifier(
        _Ignoring(network), x, torch.zeros(16, dtype=torch.int64), process=PROCESS, steps=1, batch_size=16,
        progress=False,
    )  # fmt: skip
    assert loss < 1e-6, "with smoothing a sure and right answer would have a loss"


def test_weights_in_half_precision_are_refused_by_name():
    x, labels = clusters(seed=5)
    half = nn.Sequential(nn.Linear(6, 4)).bfloat16()
    with pytest.raises(ValueError, match=r"half precision \(.*weight is bfloat16\)"):
        train_classifier(half, x, labels, process=PROCESS, steps=1, batch_size=8, progress=False)


def test_refusals():
    x, labels = clusters(n=12)
    teacher, student = teacher_and_student()
    quick = dict(process=PROCESS, steps=1, batch_size=4, progress=False)
    with pytest.raises(ValueError, match="needs labels"):
        train_classifier(student, x, **quick)
    with pytest.raises(ValueError, match="12 samples need as many integer labels"):
        train_classifier(student, x, labels[:5], **quick)
    with pytest.raises(ValueError, match="classes from 0, got -1"):
        train_classifier(student, x, labels - 1, **quick)
    with pytest.raises(ValueError, match="K > 9, the largest label"):
        train_classifier(student, x, labels + 6, **quick)
    with pytest.raises(ValueError, match="at least 2 rows"):
        align(student, teacher, x, PROCESS, steps=1, batch_size=1)
    with pytest.raises(ValueError, match="one shape"):
        align(student, nn.Linear(6, 3), x, PROCESS, steps=1, batch_size=4, progress=False)
    with pytest.raises(ValueError, match="temperature"):
        info_nce(x, x, 0.0)
    with pytest.raises(ValueError, match="decay is one of"):
        train_classifier(student, x, labels, decay="cosine", **quick)
    with pytest.raises(FloatingPointError, match="training the classifier: the loss became nan at step 0"):
        train_classifier(student, x * math.nan, labels, **quick)


@pytest.mark.parametrize(("decay", "share"), [("linear", [1.0, 0.75, 0.5, 0.25]), ("constant", [1.0] * 4)])
def test_the_learning_rate_falls_linearly_or_stays(decay, share, monkeypatch):
    rates, step = [], torch.optim.AdamW.step

    def noted(self, *given, **named):
        rates.append(self.param_groups[0]["lr"])
        return step(self, *given, **named)

    monkeypatch.setattr(torch.optim.AdamW, "step", noted)
    x, labels = clusters(32)
    made = noise_aware(seeded(Normed), PROCESS, width=16)
    train_classifier(
        made, x, labels, process=PROCESS, steps=4, batch_size=8, lr=0.02, decay=decay, progress=False
    )
    assert rates == pytest.approx([0.02 * part for part in share])


@pytest.mark.parametrize("training", [False, True])
def test_a_teacher_answers_in_evaluation_mode_and_has_its_modes_back(training):
    teacher = seeded(Normed).train(training)
    teacher.layers[2].train(not training)  # a part may differ from the whole
    before = {name: part.training for name, part in teacher.named_modules()}
    statistics = teacher.layers[2].running_mean.clone()
    with pytest.raises(RuntimeError, match="stop"), evaluating(teacher):
        assert not any(part.training for part in teacher.modules())
        assert not teacher(normal(4, 6)).requires_grad
        raise RuntimeError("stop")
    assert {name: part.training for name, part in teacher.named_modules()} == before
    assert torch.equal(teacher.layers[2].running_mean, statistics)
