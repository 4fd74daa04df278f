"""Programs: several updates a step, frozen teachers, groups, schedules, masks, corruptions, keys."""

import copy
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from tests.training.tiny import assert_same_weights, conditions, data, mlp, short, weights
from windvane.conditions import Condition
from windvane.denoiser import FunctionDenoiser
from windvane.process import VPCosine
from windvane.randomness import derive_seed, derive_seeds, noise_for
from windvane.runs import Run
from windvane.training import Batch, Corrupted, Denoising, Frozen, Group, Items, Noised, Update, train
from windvane.training.batches import Batches, TensorData
from windvane.training.objective import masked_mean
from windvane.training.times import UniformTimes

PLAIN = {"weight_decay": 0.0, "warmup": 0, "clip_norm": None}


class Numbers(nn.Module):
    """A denoiser with one trainable number, and whatever else it is given."""

    def __init__(self, value=1.0):
        super().__init__()
        self.value = nn.Parameter(torch.tensor([value]))
        self.process, self.shape = VPCosine(), (3,)

    def forward(self, x_t, t, cond=None):
        return self.value * x_t


def test_keys_are_those_of_the_seed_and_the_place_of_the_row():
    places = torch.arange(20, 28).numpy()
    assert derive_seeds(7, 3, places).tolist() == [derive_seed(7, 3, int(place)) for place in places]
    batches = Batches(
        TensorData(data()),
        None,
        batch_size=8,
        seed=4,
        times=UniformTimes(VPCosine()),
        dropout=0.0,
        flip=False,
    )
    whole = batches.load(2)
    first, second = batches.load(2, 0, 3), batches.load(2, 3, 8)
    assert torch.equal(torch.cat([first.keys, second.keys]), whole.keys)
    assert len({*whole.keys.tolist(), *batches.load(3).keys.tolist()}) == 16
    assert torch.equal(whole.part(2, 5).keys, whole.keys[2:5])


def test_two_updates_descend_their_own_objectives_in_turn():
    """min over a of (a - b)^2 and over b of (b - 3)^2, by AdamW at a known rate: both end at 3."""
    model, critic = Numbers(1.0), nn.Module()
    critic.b = nn.Parameter(torch.tensor([0.0]))
    seen = []

    def follow(model, batch, keys):
        seen.append(("a", model.value.requires_grad, critic.b.requires_grad, keys.tolist()))
        return (model.value - critic.b).square().expand(len(batch))

    def lead(model, batch, keys):
        seen.append(("b", model.value.requires_grad, critic.b.requires_grad, keys.tolist()))
        return (critic.b - 3).square().expand(len(batch)) + 0 * model.value

    also = [Update(name="critic", objective=lead, parameters=[critic.b], lr=0.05, every=2, **PLAIN)]
    result = train(
        model, data(), objective=follow, also=also, modules={"critic": critic}, lr=0.05, steps=400,
        batch_size=8, ema_decay=0.0, progress=False, log_every=100, **PLAIN,
    )  # fmt: skip
    assert critic.b.item() == pytest.approx(3, abs=0.05) and model.value.item() == pytest.approx(3, abs=0.1)
    assert [name for name, *_ in seen[:6]] == ["a", "b", "a", "a", "b", "a"]
    assert all(own == (name == "a") and other == (name == "b") for name, own, other, _ in seen)
    assert seen[0][3] != seen[1][3], "each update has keys of its own"
    assert result.history[-1]["critic"] < 1e-2 and model.value.requires_grad and critic.b.requires_grad


def adversaries(folder, steps, seed=3):
    """A denoiser and a critic that learns to tell its errors, which the denoiser does not see."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        critic = nn.Linear(3, 1)

    def judged(model, batch, keys):
        errors = (model(batch.x0, batch.t, batch.cond) - batch.x0).detach()
        return (critic(errors)[:, 0] - errors.square().mean(1)).square()

    also = [Update(name="critic", objective=judged, parameters=list(critic.parameters()), lr=1e-2, every=2)]
    run = None if folder is None else Run(folder)
    result = short(mlp(seed=seed), also=also, modules={"critic": critic}, steps=steps, run=run, log_every=3)
    return result, critic


def test_a_program_goes_on_bit_for_bit(tmp_path):
    whole, judge = adversaries(None, 9)
    adversaries(tmp_path / "run", 4)
    resumed, other = adversaries(tmp_path / "run", 9)
    assert_same_weights(weights(resumed.raw), weights(whole.raw))
    assert_same_weights(weights(resumed.ema), weights(whole.ema))
    assert_same_weights(weights(other), weights(judge))
    assert resumed.history[-1]["critic"] == whole.history[-1]["critic"]
    with pytest.raises(ValueError, match=r"beside \(saved \['critic'\], now \[\]\)"):
        short(mlp(), steps=12, run=Run(tmp_path / "run"), log_every=3)


def test_the_first_update_alone_is_the_training_of_before():
    """What another update does to weights of its own does not touch the denoiser."""
    assert_same_weights(weights(adversaries(None, 9)[0].raw), weights(short(mlp(), steps=9, log_every=3).raw))


@dataclass(frozen=True)
class Imitation:
    """|D(x_t) - teacher(x_t)|^2."""

    teacher: Frozen

    def __repr__(self):
        return "Imitation()"

    def __call__(self, model, batch, keys):
        x_t = model.process.perturb(batch.x0, batch.t, batch.noise)
        return (model(x_t, batch.t) - self.teacher(x_t, batch.t)).square().mean(1)


def imitation(value, run, steps=3):
    return train(
        Numbers(1.0), data(), objective=Imitation(Frozen(Numbers(value))), lr=0.1, steps=steps, batch_size=8,
        run=run, progress=False, ema_decay=0.0, **PLAIN,
    )  # fmt: skip


def test_a_student_becomes_its_teacher_which_stays():
    teacher = Numbers(0.25)
    found = train(
        Numbers(1.0), data(), objective=Imitation(Frozen(teacher)), lr=0.02, steps=150, batch_size=16,
        progress=False, **PLAIN,
    )  # fmt: skip
    assert found.raw.value.item() == pytest.approx(0.25, abs=0.01)
    assert float(teacher.value) == 0.25 and not teacher.value.requires_grad and teacher.value.grad is None


def test_another_teacher_of_the_same_name_is_refused(tmp_path):
    imitation(0.25, Run(tmp_path / "run"))
    imitation(0.25, Run(tmp_path / "run"), steps=4)
    with pytest.raises(ValueError, match=r"frozen \(saved \{'loss.teacher': '\w+'\}"):
        imitation(0.5, Run(tmp_path / "run"), steps=5)


def test_a_frozen_module_forwards_and_copies():
    frozen = Frozen(mlp())
    assert frozen.parametrisation == "v" and repr(frozen) == "Frozen(NetworkDenoiser)"
    assert copy.deepcopy(frozen).module is not frozen.module
    x = torch.zeros(2, 3, requires_grad=True)
    frozen(x, torch.tensor([0.5, 0.5], dtype=torch.float64)).sum().backward()
    assert x.grad is not None and x.grad.any()


def test_groups_have_rates_of_their_own():
    model = mlp()
    before = weights(model)
    last = list(model.network.last.parameters())
    held = {id(p) for p in last}
    rest = [p for p in model.parameters() if id(p) not in held]
    short(model, parameters=[Group(rest, rate=0.0, weight_decay=0.0), Group(last)], steps=2)
    changed = {name for name, value in weights(model).items() if not torch.equal(value, before[name])}
    assert changed == {"network.last.weight", "network.last.bias"}
    # One group with the rate 1 is the training without groups.
    plain, grouped = mlp(), mlp()
    short(plain)
    short(grouped, parameters=[Group(list(grouped.parameters()))])
    assert_same_weights(weights(plain), weights(grouped))


def test_frozen_weights_are_no_matter_of_the_average():
    model = mlp()
    model.network.last.requires_grad_(False)
    kept = weights(model.network.last)
    result = short(model, weight_decay=0.5)
    assert_same_weights(weights(result.raw.network.last), kept)
    assert_same_weights(weights(result.ema.network.last), kept)


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_a_schedule_goes_on_and_needs_the_same_end(tmp_path, schedule):
    run = Run(tmp_path / "run")

    def stop(snapshot):
        if snapshot.step == 4:
            raise KeyboardInterrupt

    settings = {"schedule": schedule, "steps": 8, "log_every": 1, "checkpoint_every": 2}
    whole = short(mlp(), **settings)
    with pytest.raises(KeyboardInterrupt):
        short(mlp(), run=run, callbacks=[stop], **settings)
    resumed = short(mlp(), run=run, **settings)
    assert_same_weights(weights(resumed.raw), weights(whole.raw))
    rates = [row["lr"] for row in whole.history]
    assert rates[2] == 1e-2 and all(a > b for a, b in zip(rates[2:], rates[3:])) and rates[-1] > 0
    with pytest.raises(ValueError, match=f"schedule .saved '{schedule} over 8 steps', now .* over 9 steps"):
        short(mlp(), run=run, **{**settings, "steps": 9})


def test_a_mask_says_what_counts():
    values, mask = torch.tensor([[1.0, 4.0], [2.0, 8.0], [3.0, 5.0]]), torch.tensor([[1, 0], [1, 1], [0, 0]])
    assert masked_mean(values, mask.bool()).tolist() == [1, 5, 0]
    assert masked_mean(values, None).tolist() == [2.5, 5, 4]


class Holed:
    """Data whose last number is missing, and stands for anything."""

    def __init__(self, filling):
        self.values = data().clone()
        self.values[:, 2] = filling

    def __len__(self):
        return len(self.values)

    def batch(self, indices):
        mask = torch.tensor([[True, True, False]]).expand(len(indices), 3)
        return Items(self.values[indices], mask, {"row": indices})


def test_what_a_mask_leaves_out_changes_no_loss():
    """A denoiser number by number: what stands where nothing counts is not even seen."""
    found = [train(Numbers(0.3), Holed(f), steps=5, batch_size=8, progress=False).raw for f in (0.0, 9.0)]
    assert torch.equal(found[0].value, found[1].value)


def test_an_objective_sees_what_the_data_give_beside():
    seen = []

    def look(model, batch, keys):
        seen.append(batch.extra["row"])
        return (model.value - batch.x0.mean(1)).square()

    train(Numbers(), Holed(0.0), objective=look, steps=5, batch_size=8, progress=False)
    assert sorted(torch.cat(seen).tolist()) == list(range(40))


@dataclass(frozen=True)
class Dropped:
    """x_t: the sample with numbers set to 0, each with probability 1/2 by its row's key; t = 1/2."""

    def __call__(self, batch, keys):
        gone = noise_for(keys.tolist(), 0, batch.x0.shape[1:]) > 0
        t = torch.full((len(batch),), 0.5, dtype=torch.float64)
        return Corrupted(torch.where(gone, 0.0, batch.x0), t, {"x0": batch.x0}, {"x0": gone}, batch.cond)


def test_a_corruption_of_ones_own():
    x0, keys = torch.ones(4, 3), torch.arange(4)
    batch = Batch(x0, torch.zeros(4, 3), torch.zeros(4, dtype=torch.float64), None, keys=keys)
    guess = FunctionDenoiser(lambda x, t, c: 3 * x, VPCosine())
    loss = Denoising("x0", Dropped())(guess, batch, keys)
    gone = noise_for(keys.tolist(), 0, (3,)) > 0
    # Where it is gone the guess is 0 and the error 1; elsewhere it does not count.
    torch.testing.assert_close(loss, gone.float().mean(1))
    assert repr(Denoising("x0", Dropped())) == "Denoising(weight='x0', corruption=Dropped())"
    parts = [short(mlp(), objective=Denoising("x0", Dropped()), accumulate=k).raw for k in (1, 2)]
    assert_same_weights(weights(parts[0]), weights(parts[1]), 1e-6)


def test_noise_is_the_usual_corruption():
    process, x0, noise = VPCosine(), data(4), torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    t, cond = torch.linspace(0.1, 0.9, 4, dtype=torch.float64), Condition.vector(torch.arange(4))
    found = Noised(process)(Batch(x0, noise, t, cond), torch.arange(4))
    assert torch.equal(found.x_t, process.perturb(x0, t, noise)) and found.cond is cond
    batch, model = Batch(x0, noise, t, cond), mlp()
    assert torch.equal(
        Denoising("v")(model, batch, batch.keys), Denoising("v", Noised(process))(model, batch, batch.keys)
    )


def test_the_call_of_before_still_works_and_says_so():
    model, x0, noise = mlp(), data(4), torch.ones(4, 3)
    t, cond = torch.full((4,), 0.5, dtype=torch.float64), conditions(4)
    with pytest.warns(DeprecationWarning, match="Batch"):
        old = Denoising("v")(model, x0, t, noise, cond)
    batch = Batch(x0, noise, t, cond)
    assert torch.equal(old, Denoising("v")(model, batch, batch.keys))
    with pytest.warns(DeprecationWarning, match="an objective is"):
        before = short(
            mlp(), objective=lambda d, x0, t, noise, cond: Denoising("v")(d, Batch(x0, noise, t, cond))
        )
    assert_same_weights(weights(before.raw), weights(short(mlp(), objective=Denoising("v")).raw))


@pytest.mark.parametrize(
    ("also", "message"),
    [
        ([{"name": "loss", "parameters": None}], "names of their own, got loss, loss"),
        ([{"name": "a", "parameters": [nn.Parameter(torch.zeros(1))]}], "'a' names weights of no module"),
        (
            [{"name": "a", "parameters": "own"}, {"name": "b", "parameters": "own"}],
            "'b' names weights that an",
        ),
    ],
)
def test_programs_that_cannot_work(also, message):
    model = Numbers()
    made = [
        {**one, "parameters": [model.value] if one["parameters"] == "own" else one["parameters"]}
        for one in also
    ]
    with pytest.raises(ValueError, match=message):
        train(model, data(), steps=2, also=[Update(objective=Denoising("v"), **one) for one in made])
    with pytest.raises(ValueError, match="unknown learning-rate schedule 'up'"):
        train(model, data(), steps=2, schedule="up")
    with pytest.raises(ValueError, match="replan changes where the training ends"):
        train(model, data(), steps=2, schedule="cosine", replan=lambda step: 2)
