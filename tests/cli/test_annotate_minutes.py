"""An annotation is fitted to a time by what it learns in steps."""

from pathlib import Path

import pytest
import yaml

from windvane.cli.common.annotations import pacing as annotate_pacing
from windvane.cli.common.annotations.pacing import expected, fitted_annotation
from windvane.cli.common.sections import AnnotateSection
from windvane.time_budget import TimeBudget


@pytest.fixture
def paced_at(monkeypatch):
    def pace(start, step):
        monkeypatch.setattr(annotate_pacing, "_pace", lambda make, data, device, worth=0: (start, step))

    return pace


def steps_of(section, minutes, images=range(768)):
    made, lines = fitted_annotation(section, images, TimeBudget(minutes), flip=False, device="cpu")
    return made, lines


def test_steps_follow_the_time(paced_at):
    paced_at(4.0, 1.0)
    made, lines = steps_of(AnnotateSection(), 2)
    # 96 s of the two minutes, without 4 s of start and the 1 s that features of 768 images take.
    assert made.features in ("selfsup:91", "selfsup:90")
    assert "1 s each here" in lines[0] and "usual are 500" in lines[0]
    assert steps_of(AnnotateSection(), 1e5)[0].features == "selfsup:5000"
    made, lines = steps_of(AnnotateSection(), 0.1)
    assert made.features == "selfsup:1" and "too short" in lines[1]


def test_all_that_is_learnt_shares_the_time(paced_at):
    paced_at(0.0, 1.0)
    boxes, _ = steps_of(AnnotateSection(boxes=True), 4, range(0))
    assert boxes.features in ("selfsup:96", "selfsup:95")
    assert boxes.dense in ("restoration:96", "restoration:95")
    masks, _ = steps_of(AnnotateSection(masks=3, dense="encoder"), 4, range(0))
    assert masks.features == "selfsup" and masks.dense in ("encoder:192", "encoder:191")


def test_what_learns_nothing_says_so(windvane, tmp_path):
    result = windvane("annotate", "digits", features="pixels", k=3, minutes=1, out=tmp_path / "labels")
    assert result.exit_code == 0 and "--minutes 1 has no effect" in result.stderr


def test_the_steps_are_noted_with_the_annotation(windvane, paced_at, tmp_path):
    paced_at(0.0, 1.5)
    out = tmp_path / "labels"
    result = windvane("annotate", "digits", k=3, minutes=0.1, out=out)
    assert result.exit_code == 0, result.output
    noted = yaml.safe_load((out / "config.yaml").read_text())["annotate"]["features"]
    steps = int(noted.removeprefix("selfsup:"))
    assert steps <= 3 and f"makes {steps} steps" in result.stderr


def test_a_pace_is_never_nothing(monkeypatch):
    times = iter([0.0, 9.0, 10.0, 14.0])  # the short training took longer than the long one
    monkeypatch.setattr(annotate_pacing.time, "perf_counter", lambda: next(times))
    assert annotate_pacing._pace(lambda steps: Learner(), None, "cpu") == (2.0, 0.5)


def test_more_steps_are_measured_where_there_is_time(monkeypatch):
    times, steps = iter([0.0, 1.0, 1.0, 3.5, 3.5, 12.0]), []
    monkeypatch.setattr(annotate_pacing.time, "perf_counter", lambda: next(times))
    assert annotate_pacing._pace(lambda n: steps.append(n) or Learner(), None, "cpu", worth=14.0) == (
        0.5,
        0.5,
    )
    assert steps == [1, 4, 16]


def test_hours_are_warned_of_unless_the_encoder_is_there_already(paced_at, monkeypatch):
    paced_at(10.0, 0.3)
    data = Images()
    lines = expected(AnnotateSection(), data, flip=False, device="cpu")
    assert lines == ["features selfsup: about 3 min on this machine (500 steps of 0.3 s)"]
    paced_at(10.0, 10.0)
    lines = expected(AnnotateSection(boxes=True, features="selfsup:700"), data, flip=False, device="cpu")
    assert "1 h 57 min" in lines[0] and "1 h 24 min" in lines[1]
    assert lines[2].startswith("warning: that is 3 h 20 min") and "--minutes" in lines[2]
    assert expected(AnnotateSection(features="pca"), data, flip=False, device="cpu") == []
    monkeypatch.setattr("windvane.annotate.features.fitting.kept_at", lambda *given: Path(__file__))
    assert expected(AnnotateSection(), data, flip=False, device="cpu") == []


class Images:
    fingerprint = "0123"


class Learner:
    def fit(self, data, **how):
        return self
