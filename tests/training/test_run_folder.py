"""What a training leaves in its run folder, and what it tells its callbacks and trackers."""

import csv
import math

import pytest
import torch
from accelerate.tracking import GeneralTracker

import windvane
from tests.training.test_loop import Noisy
from tests.training.tiny import assert_same_weights, conditions, data, mlp, short, weights
from windvane.conditions import Condition
from windvane.denoiser import NetworkDenoiser
from windvane.process import VPCosine
from windvane.runs import Run
from windvane.training import default_times, train
from windvane.training.batches import Batches, TensorData


def read_table(run):
    with (run.path / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_model_folder_holds_both_weights(tmp_path):
    run = Run(tmp_path)
    result = short(mlp(), run=run, extra={"labels": ["a", "b"]})
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    t, cond = torch.full((4,), 0.4, dtype=torch.float64), Condition.vector(torch.arange(4))
    with torch.no_grad():
        for name, denoiser in (("ema", result.ema), ("raw", result.raw)):
            assert torch.equal(windvane.load(tmp_path, weights=name)(x, t, cond), denoiser(x, t, cond))
        assert not torch.equal(result.ema(x, t, cond), result.raw(x, t, cond))
    assert windvane.load(tmp_path).step == 6


def test_every_line_of_the_log_is_in_all_three_places(tmp_path):
    run = Run(tmp_path)
    history = short(mlp(), run=run, batch_size=2).history
    assert [row["step"] for row in history] == [2, 4, 6]
    assert [row["images"] for row in history] == [4, 8, 12]
    stored = [{k: None if math.isnan(v) else v for k, v in row.items()} for row in history]
    assert run.read_metrics() == stored
    table = [{k: float(v) if v else None for k, v in row.items()} for row in read_table(run)]
    assert table == stored


def test_the_log_says_how_far_the_average_lags_and_how_noise_levels_do(tmp_path):
    row = short(mlp(), batch_size=64, steps=4, ema_decay=0.99).history[-1]
    assert 0 < row["ema_gap"] < 0.5 and row["images_per_second"] > 0
    levels = [row[f"loss_log_snr_{level}"] for level in (-8, -4, 0, 4, 8)]
    assert all(math.isfinite(loss) for loss in levels)
    assert min(levels) < row["loss"] < max(levels)


def test_the_last_two_states_are_kept_and_the_status_is_left(tmp_path):
    run = Run(tmp_path)
    short(mlp(), run=run, steps=7, checkpoint_every=2)
    assert sorted(path.name for path in run.state.glob("step-*")) == ["step-00000006", "step-00000007"]
    assert run.latest_state().name == "step-00000007"
    assert run.read_status() == {"state": "finished", "step": 7, "steps": 7, "message": ""}


def test_a_run_in_use_is_refused(tmp_path):
    with Run(tmp_path).lock(), pytest.raises(ValueError, match="being written"):
        short(mlp(), run=Run(tmp_path))


def test_a_network_that_cannot_be_saved_is_refused_before_the_first_step(tmp_path):
    denoiser = NetworkDenoiser(torch.nn.Linear(3, 3), VPCosine(), shape=(3,))
    with pytest.raises(ValueError, match="register_network"):
        short(denoiser, run=Run(tmp_path))


def test_callbacks_see_both_denoisers_ready_to_sample(tmp_path):
    seen = []

    def look(snapshot):
        assert not snapshot.raw.training and not snapshot.ema.training
        seen.append((snapshot.step, snapshot.steps, snapshot.metrics["step"], snapshot.run))
        torch.rand(5)

    run = Run(tmp_path)
    # Its dropout layer shows whether training goes on in training mode.
    result = short(Noisy(), run=run, sample_every=3, sample=look, callbacks=[look])
    assert [entry[0] for entry in seen] == [2, 3, 4, 6, 6]
    assert [entry[2] for entry in seen] == [2, 2, 4, 6, 6]
    assert {entry[1] for entry in seen} == {6} and {id(entry[3]) for entry in seen} == {id(run)}
    assert_same_weights(weights(result.raw), weights(short(Noisy()).raw))


def poisoned(bad_step, batch_size=8):
    """Data whose row seen first at ``bad_step`` is not a number."""
    values = data()
    order = Batches(
        TensorData(values),
        None,
        batch_size=batch_size,
        seed=0,
        times=default_times(VPCosine()),
        dropout=0,
        flip=False,
    )
    values[order.indices(bad_step)[3]] = math.nan
    return values


def test_a_loss_that_is_not_finite_names_the_step_and_spoils_nothing(tmp_path):
    run, denoiser = Run(tmp_path), mlp()
    with pytest.raises(FloatingPointError, match="step 3 .*state after step 2 in") as caught:
        train(
            denoiser,
            poisoned(3),
            conditions=conditions(),
            steps=6,
            batch_size=8,
            checkpoint_every=2,
            run=run,
            progress=False,
        )
    assert "lr" in str(caught.value)
    assert run.read_status()["state"] == "failed" and "step 3" in run.read_status()["message"]
    assert run.latest_state().name == "step-00000002"
    for name in ("ema", "raw"):
        assert all(torch.isfinite(p).all() for p in windvane.load(tmp_path, weights=name).parameters())
    assert all(torch.isfinite(p).all() for p in denoiser.parameters())


class Recorder(GeneralTracker):
    name = "recorder"
    requires_logging_directory = False

    def __init__(self):
        super().__init__()
        self.settings, self.rows, self.finished = {}, [], False

    @property
    def tracker(self):
        return self

    def store_init_configuration(self, values):
        self.settings = values

    def log(self, values, step):
        self.rows.append((step, values))

    def finish(self):
        self.finished = True


def test_trackers_get_settings_and_rows():
    recorder = Recorder()
    result = short(mlp(), trackers=[recorder], seed=4)
    assert recorder.settings["seed"] == 4 and recorder.settings["betas"] == "[0.9, 0.999]"
    assert [step for step, _ in recorder.rows] == [2, 4, 6]
    assert recorder.rows[-1][1]["loss"] == result.history[-1]["loss"]
    assert recorder.finished


def test_a_tracker_whose_package_is_missing_is_an_error_with_the_remedy(monkeypatch):
    monkeypatch.setattr("accelerate.tracking.get_available_trackers", lambda: [])
    with pytest.raises(ValueError, match="pip install comet-ml"):
        short(mlp(), trackers=["comet_ml"])


def test_a_tracker_that_writes_files_needs_a_run(monkeypatch):
    monkeypatch.setattr("accelerate.tracking.get_available_trackers", lambda: ["tensorboard"])
    with pytest.raises(ValueError, match=r"run=Run\(folder\)"):
        short(mlp(), trackers=["tensorboard"])
