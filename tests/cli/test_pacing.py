"""How long a training takes is said before, and a training can be fitted to a time."""

import pytest
import yaml

from windvane.cli.pacing import estimate, first_pictures, fitted
from windvane.cli.sections.train import TrainSection
from windvane.progress import duration

SMALL = ("--set", "model.type=mlp", "--set", "model.width=16", "--batch-size", "4")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (99, "99 s"), (100, "2 min"), (3570, "1 h"), (6600, "1 h 50 min"), (200_000, "2 days 8 h")],
)
def test_times_are_said_as_people_say_them(seconds, text):
    assert duration(seconds) == text


def test_hours_are_estimated_and_warned_of():
    section = TrainSection(steps=20_000, sample_every=2000)
    lines = estimate(section, 0.33)
    assert lines[0] == "about 1 h 50 min on this machine (0.33 s a step); the first pictures in 2 min"
    assert "warning" in lines[1] and "--minutes" in lines[1]
    assert len(estimate(section, 0.01)) == 1


def test_everything_follows_the_time():
    section = TrainSection(steps=20_000, warmup=500, ema=0.999, sample_every=2000, checkpoint_every=1000)
    short = fitted(section, 0.5, 10)
    assert short.steps == 1020 and short.warmup == 26 and short.sample_every == 150
    assert short.checkpoint_every == 255
    assert (1 - short.ema) * short.steps == pytest.approx((1 - section.ema) * section.steps)
    assert fitted(section, 1e9, 1).steps == 1
    assert fitted(section, 4.0, 10).sample_every == 127, "grids would take the time of the steps"
    assert first_pictures(section, 0.5) == 250 and first_pictures(section, 1e-4) == 2000


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
