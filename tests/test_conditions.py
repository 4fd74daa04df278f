"""Conditions: row-wise algebra and refusals."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from windvane.conditions import Condition, for_networks
from windvane.guidance.composer import own_signals


def make(n: int = 4) -> Condition:
    return Condition.of(vector=torch.arange(n), layout=torch.arange(n).float().reshape(n, 1, 1, 1))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8))
def test_index_picks_rows_of_every_signal(rows):
    picked = make(6).drop(torch.tensor([True, False] * 3)).index(torch.tensor(rows))
    assert picked.signals["vector"].tolist() == rows
    assert picked.signals["layout"].flatten().tolist() == rows
    assert picked.present["layout"].tolist() == [bool(r % 2) for r in rows]


def test_drop_is_joint_unless_named():
    rows = torch.tensor([True, False, False, True])
    both, one = make().drop(rows), make().drop(rows, ["layout"])
    assert both.present["vector"].tolist() == both.present["layout"].tolist() == [False, True, True, False]
    assert one.present["vector"].all()
    assert one.present["layout"].tolist() == [False, True, True, False]


def test_drop_does_not_change_the_original():
    original = make()
    original.drop(torch.ones(4, dtype=torch.bool))
    assert original.present["vector"].all()


def test_null_is_absent_everywhere_and_repeat_keeps_order():
    twice = Condition.cat([make().null(), make()])
    assert twice.present["vector"].tolist() == [False] * 4 + [True] * 4
    assert make(2).repeat(2).signals["vector"].tolist() == [0, 1, 0, 1]
    assert len(twice) == 8


def test_refusals_name_what_was_received():
    with pytest.raises(ValueError, match="'vector': 3"):
        Condition.of(vector=torch.arange(3), layout=torch.zeros(2, 1, 1, 1))
    with pytest.raises(ValueError, match="cond=None"):
        Condition({})
    with pytest.raises(ValueError, match="bool"):
        Condition({"vector": torch.arange(2)}, {"vector": torch.ones(2)})
    with pytest.raises(ValueError, match="text"):
        make().drop(torch.ones(4, dtype=torch.bool), ["text"])
    with pytest.raises(ValueError, match="same signals"):
        Condition.cat([make(), Condition.vector(torch.arange(2))])
    with pytest.raises(ValueError, match="mask"):
        Condition({"vector": torch.arange(2)}, {"layout": torch.ones(2, dtype=torch.bool)})


def test_networks_take_kinds_of_signals_and_energies_keep_their_own():
    given = ["vector", "y", "scalar:w", "reference"]
    assert [for_networks(name) for name in given] == [True, False, True, False]
    assert own_signals(given) == {"y", "reference"}
