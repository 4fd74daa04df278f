"""How long a training takes is said before, and a training can be fitted to a time."""

from types import SimpleNamespace

import pytest
import torch
import yaml

from tests.training.tiny import assert_same_weights, data, mlp, short, weights
from windvane.cli.common.builders import loop_options
from windvane.cli.common.config import Config
from windvane.cli.common.sections.train import TrainSection
from windvane.cli.train import plan as training_plan
from windvane.cli.train.plan import estimate
from windvane.cli.train.sample_grids import SampleGrids, after
from windvane.denoiser import FunctionDenoiser
from windvane.process import VPCosine
from windvane.progress import duration, track
from windvane.runs import Run
from windvane.time_budget import Deadline, TimeBudget
from windvane.training import pacing
from windvane.training.batches import TensorData
from windvane.training.pacing import Costs, first_pictures, measured


def fitted(section, costs, seconds):
    return section.model_copy(update=pacing.fitted(section, costs, seconds))


SMALL = ("--set", "model.type=mlp", "--set", "model.width=16", "--batch-size", "4")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (99, "99 s"), (100, "2 min"), (3570, "1 h"), (6600, "1 h 50 min"), (200_000, "2 days 8 h")],
)
def test_times_are_said_as_people_say_them(seconds, text):
    assert duration(seconds) == text


def test_hours_are_estimated_and_warned_of():
    section = TrainSection(steps=20_000, sample_every=2000)
    lines = estimate(section, Costs(0.33))
    assert lines[0] == "about 1 h 50 min on this machine (0.33 s a step); the first pictures in 2 min"
    assert "warning" in lines[1] and "--minutes" in lines[1]
    assert len(estimate(section, Costs(0.01))) == 1


def test_grids_and_states_are_part_of_the_estimate_and_steps_that_are_done_are_not():
    section = TrainSection(steps=1000, sample_every=200, checkpoint_every=250)
    # 1000 steps, five grids and an early one, four states.
    assert Costs(1.0, grid=20.0, state=3.0).whole(section) == pytest.approx(1000 + 6 * 20 + 4 * 3)
    assert Costs(1.0, grid=20.0, state=3.0).whole(section, done=500) == pytest.approx(500 + 3 * 20 + 2 * 3)
    lines = estimate(section, Costs(1.0, grid=20.0), done=880)
    assert lines == ["about 2 min on this machine (1 s a step)"]


def test_everything_follows_the_time():
    section = TrainSection(steps=20_000, warmup=500, ema=0.999, sample_every=2000, checkpoint_every=1000)
    short = fitted(section, Costs(0.5), 600)
    assert short.steps == 1200 and short.warmup == 30 and short.sample_every == 150
    assert short.checkpoint_every == 300 and short.log_every == 50
    assert (1 - short.ema) * short.steps == pytest.approx((1 - section.ema) * section.steps)
    assert fitted(section, Costs(1e9), 60).steps == 1
    assert fitted(section, Costs(5.0), 600).log_every == 6
    assert first_pictures(section, Costs(0.5)) == 250 and first_pictures(section, Costs(1e-4)) == 2000
    assert first_pictures(TrainSection(steps=180), Costs(0.5)) == 100, "half of a minute and a half"


@pytest.mark.parametrize(("grid", "state", "seconds"), [(1, 0.5, 60), (30, 2, 360), (50, 9, 360), (9, 9, 20)])
def test_what_is_fitted_takes_the_time_with_its_grids_and_states(grid, state, seconds):
    section, costs = TrainSection(steps=20_000), Costs(0.3, float(grid), float(state))
    made = fitted(section, costs, seconds)
    assert 0.85 * seconds <= costs.whole(made) <= max(1.05 * seconds, state + 0.3)
    if made.sample_every:
        assert made.steps // made.sample_every * grid <= 0.16 * seconds, "grids take the time of the steps"
    assert (made.steps + made.checkpoint_every - 1) // made.checkpoint_every <= 4


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def run_until_the_end(pace, planned, minutes=1.0, reserve=2.0):
    """Steps and time of a training whose step n takes ``pace(n)`` seconds."""
    clock, ends = Clock(), []
    deadline = Deadline(TimeBudget(minutes, clock=clock), planned=planned, reserve=reserve, ended=ends.append)
    step, steps = 0, planned
    while step < steps:
        clock.now += pace(step)
        step += 1
        steps = deadline(step)
    return step, clock.now, ends


@pytest.mark.parametrize("factor", [0.25, 1.0, 4.0])
def test_a_training_ends_in_time_whatever_was_measured_before(factor):
    # 100 steps were planned at half a second; the machine is four times as quick, or as busy.
    done, taken, ends = run_until_the_end(lambda n: 0.5 * factor, 100)
    assert 56 <= taken <= 59 and done == ends[0] and len(ends) == 1
    done, taken, _ = run_until_the_end(lambda n: 0.5 if n < 20 else 0.5 * factor, 100)
    assert 55 <= taken <= 60


def test_a_training_without_time_makes_one_step():
    assert run_until_the_end(lambda n: 300.0, 7)[0] == 1


def test_nothing_that_takes_long_is_begun_at_the_end():
    clock = Clock()
    deadline = Deadline(TimeBudget(1, begin=-20.0, clock=clock), planned=9, reserve=10.0, ended=print)
    assert deadline.room(29.0) and not deadline.room(31.0)
    assert TimeBudget(1, begin=-20.0, clock=clock).share(0.5).left() == 20.0


def test_the_first_grid_comes_by_the_time_and_where_there_is_room(tmp_path):
    calls = []

    def network(x_t, t, cond):
        calls.append(len(t))
        return torch.zeros_like(x_t)

    run, config = Run(tmp_path / "run"), Config.model_validate({"sample": {"steps": 30, "n": 4}})
    grids = SampleGrids(config, None, run)
    denoiser = FunctionDenoiser(network, VPCosine(), shape=(1, 2, 2))
    assert grids.timed(denoiser) > 0 and len(calls) <= 8, "a few steps are enough to time thirty"
    seen = SimpleNamespace(step=7, ema=denoiser)
    after(grids, 1e9, run)(seen)
    assert not list(run.samples.glob("*"))
    grids.room = lambda seconds: seconds > 1e9
    after(grids, 0.0, run)(seen)
    assert not list(run.samples.glob("*"))
    grids.room = None
    after(grids, 0.0, run)(seen)
    after(grids, 0.0, run)(SimpleNamespace(step=8, ema=denoiser))
    assert [path.name for path in run.samples.glob("*")] == ["step-00000007.png"]


@pytest.mark.parametrize(("planned", "end"), [(20, 6), (3, 9)])
def test_a_training_that_ends_elsewhere_is_the_one_of_so_many_steps(tmp_path, planned, end):
    """Bit for bit: fewer or more steps than planned, and going on with the noted number after a kill."""
    whole = mlp()
    short(whole, steps=end)
    moved, run = mlp(), Run(tmp_path / "run")
    result = short(moved, steps=planned, run=run, replan=lambda done: end if done > 1 else planned)
    assert result.step == end and not result.interrupted
    assert run.read_status()["steps"] == end
    assert_same_weights(weights(whole), weights(moved))


def test_a_bar_follows_a_number_that_changes(capsys, monkeypatch):
    now, total = iter(range(0, 1000, 20)), {"steps": 9}
    monkeypatch.setenv("WINDVANE_PROGRESS", "1")
    monkeypatch.setattr("windvane.progress.time.monotonic", lambda: next(now))
    for number in track(iter(range(3)), "training", total=lambda: total["steps"]):
        total["steps"] = 4 + number
    assert capsys.readouterr().err.splitlines() == [
        "training: 1 of 4, 60 s left",
        "training: 2 of 5, 60 s left",
        "training: 3 of 6, 60 s left",
    ]


def test_a_training_of_some_seconds_resumes_as_it_began(windvane, refused, tmp_path):
    out = tmp_path / "run"
    made = windvane("train", "digits", *SMALL, minutes=0.1, out=out)
    assert made.exit_code == 0, made.output
    steps = yaml.safe_load((out / "config.yaml").read_text())["train"]["steps"]
    assert f"--minutes 0.1 made {steps} steps of it" in made.stdout
    assert "on this machine" in made.stderr
    again = windvane("train", "--resume", out=out)
    assert again.exit_code == 0 and f"{steps} steps done" in again.stdout
    assert "--resume keeps" in refused("train", "--resume", minutes=1, out=out)
    assert "exclude" in refused("train", "digits", minutes=1, steps=3, out=tmp_path / "b")


def test_a_grid_that_would_take_all_the_time_is_not_even_timed(tmp_path):
    section = TrainSection(batch_size=8)
    slow = mlp(vector=None)
    how = (slow, TensorData(data()), None, loop_options(section))
    slow_grid = {"grid": lambda denoiser: pytest.fail("timed"), "grid_rows": 1440}
    costs = measured(*how, folder=tmp_path, limit=1e-6, **slow_grid)
    assert costs.grid == pytest.approx(60 * costs.step) and not list(tmp_path.iterdir())
    assert fitted(section, costs, 10 * costs.step).sample_every == 0
    assert measured(*how, folder=tmp_path, grid=lambda denoiser: 5.0).grid == 5.0


def test_grids_hold_the_training_that_was_fitted(tmp_path, monkeypatch):
    monkeypatch.setattr(pacing, "measured", lambda *given, **named: Costs(step=0.01))
    config = Config.model_validate({"train": {"steps": 100_000}})
    plan = training_plan.plan_training(
        config, mlp(), None, None, known=None, run=Run(tmp_path / "run"), budget=TimeBudget(0.5), measure=True
    )
    assert plan.config.train.warmup < config.train.warmup and plan.grids.config is plan.config
