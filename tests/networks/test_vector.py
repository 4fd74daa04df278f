"""The vector condition: ids, vectors, and the fixed null."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.networks.tiny import draw
from windvane.conditions import Condition
from windvane.networks import VectorEmbedding
from windvane.networks.vector import encode_vector, one_hot

F32 = {"device": torch.device("cpu"), "dtype": torch.float32}


def embed(layer, cond, rows):
    return layer(cond, rows, **F32)


def encoded(cond, rows):
    return encode_vector(cond, "vector", rows, 4, torch.zeros(1))


@given(st.lists(st.integers(0, 6), min_size=1, max_size=9))
def test_ids_equal_one_hot_vectors_exactly(ids):
    layer = VectorEmbedding(7, 10)
    ids = torch.tensor(ids)
    hot = torch.nn.functional.one_hot(ids, 7)
    expected = layer.second(torch.nn.functional.silu(layer.first(hot.float())))
    for values in (ids, ids.to(torch.int32), hot, hot.float(), hot.bool()):
        assert torch.equal(embed(layer, Condition.vector(values), len(ids)), expected)


@given(st.lists(st.booleans(), min_size=2, max_size=8), st.booleans())
def test_absent_rows_are_zero_vectors_whatever_they_hold(absent, as_ids):
    rows = len(absent)
    absent = torch.tensor(absent)
    values = torch.arange(rows) % 4 if as_ids else draw(rows, 4)
    whole = encoded(Condition.vector(values), rows)
    holed = values.clone()
    holed[absent] = -1 if as_ids else float("nan")
    dropped = encoded(Condition.vector(holed).drop(absent), rows)
    assert torch.equal(dropped, whole * ~absent[:, None])
    assert torch.equal(encoded(None, rows), encoded(Condition.vector(values).null(), rows))


def test_the_null_is_before_the_layers_and_not_learned():
    layer = VectorEmbedding(4, 6)
    null = embed(layer, None, 1)
    null.sum().backward()
    assert torch.count_nonzero(layer.first.weight.grad) == 0
    assert torch.allclose(null, layer.second(torch.nn.functional.silu(layer.first.bias))[None])


@pytest.mark.parametrize("wrong", [7, -1])
def test_an_id_out_of_range_is_named(wrong):
    with pytest.raises(ValueError, match=rf"class id {wrong} .* 7 classes \(0 .. 6\)"):
        embed(VectorEmbedding(7, 10), Condition.vector(torch.tensor([0, wrong, 3])), 3)


@pytest.mark.parametrize(
    "values", [torch.rand(3), torch.rand(3, 6), torch.rand(3, 7, 1), torch.ones(3).bool()]
)
def test_a_wrong_shape_says_what_would_work(values):
    with pytest.raises(ValueError, match=r"integer ids \(B,\) or vectors \(B, 7\)"):
        embed(VectorEmbedding(7, 10), Condition.vector(values), 3)


def test_where_ids_are_not_looked_at_a_wrong_one_is_nan_not_null():
    encoded = one_hot(torch.tensor([2, 9, -3]), 4, torch.float32)
    assert torch.equal(encoded[0], torch.tensor([0.0, 0.0, 1.0, 0.0]))
    assert bool(encoded[1:].isnan().all())
