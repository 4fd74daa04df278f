import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from windvane.conditions import Condition
from windvane.process import VPCosine
from windvane.training import default_times
from windvane.training.batches import Batches, TensorData, share
from windvane.training.dropout import draw_drops, drop_condition


def numbered(rows, shape=(2,)):
    """Data whose every value is the number of its row."""
    return TensorData(
        torch.arange(rows, dtype=torch.float32).reshape(-1, *[1] * len(shape)).expand(-1, *shape)
    )


def batches(
    rows=10, batch_size=4, *, seed=0, dropout=0.1, flip=False, shape=(2,), conditions=None, data=None
):
    return Batches(
        numbered(rows, shape) if data is None else data,
        conditions,
        batch_size=batch_size,
        seed=seed,
        times=default_times(VPCosine()),
        dropout=dropout,
        flip=flip,
    )


@given(rows=st.integers(1, 30), batch_size=st.integers(1, 40), seed=st.integers(0, 99))
def test_every_epoch_has_every_row_once_and_batches_are_never_short(rows, batch_size, seed):
    made = batches(rows, batch_size, seed=seed)
    steps = -(-3 * rows // batch_size)
    drawn = [made.indices(step) for step in range(steps)]
    assert all(len(indices) == batch_size for indices in drawn)
    sequence = torch.cat(drawn)
    for epoch in range(3):
        assert sequence[epoch * rows : (epoch + 1) * rows].sort().values.tolist() == list(range(rows))


def test_epochs_and_seeds_shuffle_differently():
    first = batches(100, 100, seed=1)
    again = batches(100, 100, seed=1)
    other = batches(100, 100, seed=2)
    assert torch.equal(first.indices(0), again.indices(0))
    assert not torch.equal(first.indices(0), first.indices(1))
    assert not torch.equal(first.indices(0), other.indices(0))


@given(step=st.integers(0, 1000), processes=st.integers(1, 4), seed=st.integers(0, 9))
def test_shares_of_the_processes_make_the_global_batch(step, processes, seed):
    conditions = Condition.vector(torch.arange(10))

    def load(begin, end):
        return batches(10, 7, seed=seed, conditions=conditions).load(step, begin, end)

    whole = load(0, 7)
    parts = [load(*share(7, rank, processes)) for rank in range(processes)]
    for name in ("x0", "noise", "t"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))
    joined = Condition.cat([part.cond for part in parts])
    assert torch.equal(joined.signals["vector"], whole.cond.signals["vector"])
    assert torch.equal(joined.present["vector"], whole.cond.present["vector"])


def test_a_step_does_not_depend_on_the_steps_before_it():
    in_order = batches()
    for step in range(9):
        in_order.load(step)
    first, second = in_order.load(9), batches().load(9)
    assert torch.equal(first.noise, second.noise) and torch.equal(first.t, second.t)
    assert torch.equal(first.x0, second.x0)
    assert not torch.equal(first.noise, in_order.load(10).noise)


def test_rows_keep_their_own_conditions():
    made = batches(10, 6, conditions=Condition.vector(torch.arange(10)), dropout=0.0)
    for step in range(5):
        batch = made.load(step)
        assert torch.equal(batch.x0[:, 0].long(), batch.cond.signals["vector"])
        assert batch.cond.present["vector"].all()


def test_noise_is_standard_normal_and_new_at_every_step():
    made = batches(10, 500)
    noise = torch.cat([made.load(step).noise for step in range(8)])
    assert abs(float(noise.mean())) < 0.03 and abs(float(noise.std()) - 1) < 0.03
    correlation = torch.corrcoef(noise.reshape(8, -1))
    assert float((correlation - torch.eye(8)).abs().max()) < 0.15


def test_dropout_and_flips_are_independent_of_the_noise_settings():
    quiet, often = batches(dropout=0.0), batches(dropout=0.9)
    assert torch.equal(quiet.load(3).noise, often.load(3).noise)
    assert torch.equal(quiet.load(3).t, often.load(3).t)


@pytest.mark.parametrize("probability", [0.0, 0.1, 1.0])
def test_drops_are_bernoulli(probability):
    drops = draw_drops(20000, probability, torch.Generator().manual_seed(0))
    assert (
        abs(float(drops.float().mean()) - probability) <= 4 * (probability * (1 - probability) / 20000) ** 0.5
    )


def test_one_draw_drops_all_signals_of_a_row():
    both = Condition.of(vector=torch.arange(200), layout=torch.ones(200, 1, 2, 2))
    made = batches(200, 200, dropout=0.5, conditions=both)
    present = made.load(0).cond.present
    assert torch.equal(present["vector"], present["layout"])
    assert 60 < int(present["vector"].sum()) < 140


def test_dropping_keeps_rows_that_were_absent_already():
    cond = Condition({"vector": torch.arange(3)}, {"vector": torch.tensor([True, False, True])})
    dropped = drop_condition(cond, torch.tensor([True, False, False]))
    assert dropped.present["vector"].tolist() == [False, False, True]
    assert drop_condition(None, torch.tensor([True])) is None


def test_each_signal_is_dropped_by_a_draw_of_its_own():
    n = 4000
    every = {"vector": torch.arange(n), "layout": torch.ones(n, 1, 2, 2), "scalar:w": torch.ones(n)}
    made = batches(n, n, dropout={"vector": 0.3, "*": 0.1}, conditions=Condition(every))
    absent = {name: ~mask for name, mask in made.load(0).cond.present.items()}
    together = batches(n, n, dropout=0.1, conditions=Condition(every)).load(0).cond.present["vector"]
    assert torch.equal(absent["scalar:w"], ~together)  # its class has a probability of 0
    for name, lost in (("vector", 1 - 0.7 * 0.9), ("layout", 1 - 0.9 * 0.9)):
        assert abs(float(absent[name].double().mean()) - lost) < 4 * (lost * (1 - lost) / n) ** 0.5
    both = float((absent["vector"] & absent["layout"] & together).double().mean())
    assert abs(both - 0.9 * 0.3 * 0.1) < 4 * (0.027 / n) ** 0.5
    only = {"vector": every["vector"], "scalar:w": every["scalar:w"]}
    fewer = batches(n, n, dropout={"vector": 0.3, "*": 0.1}, conditions=Condition(only)).load(0)
    assert torch.equal(fewer.cond.present["vector"], ~absent["vector"])
    assert torch.equal(fewer.noise, made.load(0).noise)


def test_shares_of_a_batch_see_the_drops_of_the_whole():
    made = batches(30, 10, dropout={"vector": 0.5}, conditions=Condition.vector(torch.arange(30)))
    whole = made.load(4).cond.present["vector"]
    parts = [made.load(4, begin, end).cond.present["vector"] for begin, end in ((0, 4), (4, 10))]
    assert torch.equal(torch.cat(parts), whole) and not whole.all()


def test_a_probability_of_no_signal_or_out_of_range_is_refused():
    ids = Condition.vector(torch.arange(8))
    with pytest.raises(ValueError, match="dropout of vector must lie in"):
        batches(8, 4, dropout={"vector": 1.5}, conditions=ids)
    with pytest.raises(ValueError, match="names layout, but the condition has vector"):
        batches(8, 4, dropout={"layout": 0.5}, conditions=ids).load(0)


def test_flips_mirror_half_of_the_images_and_their_layouts_alike():
    pictures = torch.randn(50, 1, 3, 4, generator=torch.Generator().manual_seed(0))
    cond = Condition.of(layout=pictures * 2, vector=torch.arange(50))
    made = batches(50, 50, flip=True, dropout=0.0, data=TensorData(pictures), conditions=cond)
    flipped = 0
    for step in range(8):
        batch = made.load(step)
        source = pictures[batch.cond.signals["vector"]]
        mirrored = (batch.x0 == source.flip(-1)).flatten(1).all(1)
        assert ((batch.x0 == source).flatten(1).all(1) ^ mirrored).all()
        assert torch.equal(batch.cond.signals["layout"], batch.x0 * 2)
        flipped += int(mirrored.sum())
    assert 150 < flipped < 250


def test_bad_settings_are_refused_by_name():
    with pytest.raises(ValueError, match="no samples"):
        batches(data=TensorData(torch.zeros(0, 2)))
    with pytest.raises(ValueError, match="10 samples .* got 9"):
        batches(conditions=Condition.vector(torch.arange(9)))
    with pytest.raises(ValueError, match="batch_size"):
        batches(batch_size=0)
    with pytest.raises(ValueError, match="dropout"):
        batches(dropout=1.5)
    with pytest.raises(ValueError, match=r"flip .* \(2,\)"):
        batches(flip=True)
    with pytest.raises(ValueError, match="int64"):
        TensorData(torch.arange(4)[:, None])


class Series:
    """Data of others: 12 series of 2 channels and 5 times, made by ``batch``."""

    def __init__(self, batch):
        self.batch = batch

    def __len__(self):
        return 12


def series(indices):
    return indices[:, None, None].double().expand(-1, 2, 5) / 16


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_rows_of_any_precision_are_trained_on_in_single(dtype):
    whole = batches(data=Series(lambda rows: series(rows).float())).load(3)
    other = batches(data=Series(lambda rows: series(rows).to(dtype))).load(3)
    assert whole.x0.dtype == other.x0.dtype == torch.float32
    assert torch.equal(whole.x0, other.x0) and torch.equal(whole.noise, other.noise)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (lambda rows: (16 * series(rows)).to(torch.uint8), "floating point rows .*8-bit.*torch.uint8"),
        (lambda rows: series(rows).tolist(), "floating point rows"),
        (lambda rows: series(rows[:1]), r"gave shape \(1, 2, 5\) for 4 rows of shape \(2, 5\)"),
        (lambda rows: series(rows)[:, :, : len(rows)], r"gave shape \(4, 2, 4\) for 4 rows"),
    ],
)
def test_rows_of_another_kind_number_or_shape_are_refused(batch, message):
    with pytest.raises(ValueError, match=message):
        batches(data=Series(batch)).load(0)


def test_the_default_dtype_changes_no_batch():
    whole = batches(data=Series(lambda rows: series(rows).float())).load(3)
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        other = batches(data=Series(lambda rows: series(rows).float())).load(3)
    finally:
        torch.set_default_dtype(before)
    assert torch.equal(whole.noise, other.noise) and torch.equal(whole.x0, other.x0)
