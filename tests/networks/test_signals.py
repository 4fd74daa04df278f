"""Open signals: any mapping of them, where they enter, their nulls, and what files hold."""

import copy
import json

import pytest
import torch

from tests.networks.tiny import CLASSES, LAYOUT, MAKERS, WIDTH, batch, dit, draw, mlp, randomised, unet
from windvane.conditions import Condition
from windvane.networks import (
    AttributesEmbedding,
    ConditionInput,
    ScalarEmbedding,
    Signal,
    build_network,
    network_spec,
)
from windvane.networks.tokens import Tokens
from windvane.networks.vector import one_hot
from windvane.registry import Row, lookup, register

SIGNALS = {"scalar:w": {}, "attributes": {"colour": 3, "kind": 2}}
F32 = {"device": torch.device("cpu"), "dtype": torch.float32}
silu = torch.nn.functional.silu


def cond(rows=3):
    kinds = torch.stack([torch.arange(rows) % 3, torch.arange(rows) % 2], dim=1)
    return Condition({"scalar:w": torch.linspace(1, 4, rows), "attributes": kinds})


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("signal", SIGNALS)
def test_every_network_takes_any_signal_row_by_row(name, signal):
    network, (x, time) = MAKERS[name](signals=SIGNALS), batch(3)
    null = network(x, time)
    together = network(x, time, cond().drop(torch.tensor([False, True, False]), [signal]))
    whole = network(x, time, cond())
    assert torch.equal(network(x, time, cond().null()), null)
    assert torch.allclose(together[[0, 2]], whole[[0, 2]], atol=1e-5)
    assert (together[1] - whole[1]).abs().max() > 1e-4 and (whole - null).abs().max() > 1e-4
    alone = network(x, time, Condition({signal: cond().signals[signal]}))
    other = {k: v for k, v in cond().signals.items() if k != signal}
    assert torch.allclose(alone, network(x, time, cond().drop(torch.ones(3, dtype=torch.bool), list(other))))


@pytest.mark.parametrize("name", MAKERS)
def test_a_network_of_other_signals_is_rebuilt_and_one_without_is_stored_as_before(name):
    network, (x, time) = MAKERS[name](signals=SIGNALS), batch(3)
    spec = json.loads(json.dumps(network_spec(network)))
    assert spec["config"]["signals"] == SIGNALS
    again = randomised(build_network(spec["type"], spec["config"]))
    assert torch.equal(again(x, time, cond()), network(x, time, cond()))
    own = {"vector"} if name == "mlp" else {"vector", "layout", "tokens"}
    plain = MAKERS[name](vector=CLASSES)
    assert "signals" not in plain.config and own <= set(plain.config)
    named = MAKERS[name](signals={"vector": CLASSES})
    assert named.config == plain.config and named.state_dict().keys() == plain.state_dict().keys()


@pytest.mark.parametrize("name", MAKERS)
def test_signals_compile_to_one_graph_follow_the_device_and_run_in_half_precision(name):
    network, (x, time) = MAKERS[name](signals=SIGNALS), batch(3)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    exact = network(x, time, cond())
    assert torch.allclose(compiled(x, time, cond()), exact, atol=1e-5)
    half = copy.deepcopy(network).bfloat16()(x, time, cond())
    assert half.dtype == torch.float32 and (half - exact).abs().max() < 0.1 * exact.abs().max()
    # The meta device refuses to be read and to be mixed with another one, as an accelerator would wait.
    given = (cond(), cond().to("meta"), cond().drop(torch.tensor([True, False, False])), None)
    for one in given:
        assert network.to("meta")(x.to("meta"), time.to("meta"), one).device.type == "meta"


def test_keys_of_weights_are_those_of_saved_networks():
    keys = ConditionInput(8, vector=3, layout=2, tokens=4).state_dict()
    assert [key for key in keys if "time" not in key] == [
        "vector.first.weight", "vector.first.bias", "vector.second.weight", "vector.second.bias",
        "tokens.vector.weight", "tokens.vector.bias", "tokens.norm.weight", "tokens.norm.bias",
    ]  # fmt: skip
    assert list(ConditionInput(8, {"scalar:w": {}}).state_dict())[0] == "scalar:w.first.weight"


def test_added_signals_add_and_maps_of_any_size_join():
    network = unet(signals={"vector": CLASSES, "vector:two": 2, "layout": LAYOUT, "layout:depth": 1})
    ids, two, depth = torch.tensor([0, 4]), torch.tensor([1, 0]), draw(2, 1, 4, 4)
    given = Condition(
        {"vector": ids, "vector:two": two, "layout": draw(2, LAYOUT, 8, 8), "layout:depth": depth}
    )
    parts = [getattr(network.conditions, name) for name in ("vector", "vector:two")]
    expected = sum(part(given, 2, **F32) for part in parts)
    embedding = network.embed(given, 2)
    assert torch.equal(embedding.add, expected)
    joined = embedding.with_maps(draw(2, 2, 8, 8, seed=4))
    assert joined.shape[1] == 2 + LAYOUT + 1 + 2
    assert torch.equal(joined[:, -2], depth[:, 0].repeat_interleave(2, 1).repeat_interleave(2, 2))
    assert network(*batch(2), given).shape == (2, 2, 8, 8)


def test_a_number_is_embedded_by_fourier_features_of_its_scale():
    layer = randomised(ScalarEmbedding(8, name="scalar:w", scale=10.0))
    numbers = torch.tensor([0.0, 0.3, 2.0])
    angles = 10.0 * numbers[:, None] * 10000.0 ** (-torch.arange(32) / 32)
    expected = layer.second(silu(layer.first(torch.cat([angles.cos(), angles.sin()], dim=1))))
    given = Condition({"scalar:w": numbers})
    torch.testing.assert_close(layer(given, 3, **F32), expected)
    null = layer.second(silu(layer.first.bias))
    dropped = layer(given.drop(torch.tensor([True, False, False])), 3, **F32)
    torch.testing.assert_close(dropped, torch.cat([null[None], expected[1:]]))
    assert (expected[0] - null).abs().max() > 1e-3  # the number 0 is no null
    learned = randomised(ScalarEmbedding(8, name="scalar:w", embedding="learned"))
    rows = torch.stack([numbers, torch.ones(3)], dim=1)
    assert torch.equal(learned(given, 3, **F32), learned.second(silu(learned.first(rows))))
    assert torch.count_nonzero(ScalarEmbedding(8, name="scalar:w")(given, 3, **F32)) == 0


def test_attributes_are_blocks_and_what_is_known_of_them():
    layer = AttributesEmbedding({"colour": 3, "tags": 2}, 6)
    ids = torch.tensor([[2, 0], [-1, 1], [0, -1]])
    encoded = layer.encode(Condition.of(attributes=ids), 3)
    expected = torch.tensor([[0, 0, 1, 1, 0, 1, 1], [0, 0, 0, 0, 1, 0, 1], [1, 0, 0, 0, 0, 1, 0.0]])
    assert torch.equal(encoded, expected)
    unknown = torch.where(ids == -1, float("nan"), 0.0)
    blocks = torch.cat([expected[:, :3] + unknown[:, :1], expected[:, 3:5] + unknown[:, 1:]], dim=1)
    assert torch.equal(layer.encode(Condition.of(attributes=blocks), 3), expected)
    none_of_these = layer.encode(Condition.of(attributes=torch.zeros(1, 5)), 1)
    assert torch.equal(none_of_these, torch.tensor([[0, 0, 0, 0, 0, 1, 1.0]]))
    dropped = Condition.of(attributes=ids).drop(torch.tensor([True, False, False]))
    assert torch.equal(layer.encode(dropped, 3), expected * torch.tensor([[0.0], [1.0], [1.0]]))
    with pytest.raises(ValueError, match="class id 3 is out of range"):
        layer.encode(Condition.of(attributes=torch.tensor([[3, 0]])), 1)
    with pytest.raises(ValueError, match=r"integers \(B, 2\), -1 for unknown, or real numbers \(B, 5\)"):
        layer.encode(Condition.of(attributes=torch.zeros(1, 4)), 1)
    assert torch.isnan(one_hot(torch.tensor([-2]), 3, torch.float32)).all()


def test_a_signal_without_a_place_or_a_name_is_refused():
    with pytest.raises(ValueError, match="no place 'concat' for the signal 'layout'; it has add"):
        mlp(signals={"layout": 1})
    with pytest.raises(ValueError, match="there is no signal 'pose'"):
        mlp(signals={"pose": 1})
    with pytest.raises(ValueError, match="vector is given twice"):
        mlp(vector=2, signals={"vector": 2})
    with pytest.raises(ValueError, match="embedding and scale"):
        mlp(signals={"scalar:w": {"scales": 2}})
    with pytest.raises(ValueError, match=r"one number a row \(3,\), got \(3, 1\)"):
        mlp(signals=SIGNALS)(*batch(3), Condition({"scalar:w": torch.ones(3, 1)}))


class Pose(Signal):
    """Joints (B, J, 2) as J tokens."""

    entry = "tokens"

    def __init__(self, width):
        super().__init__("pose")
        self.layer = torch.nn.Linear(2, width)

    @classmethod
    def build(cls, name, size, *, width, signals):
        return cls(width)

    def forward(self, cond, rows, *, device, dtype):
        if cond is None or "pose" not in cond.signals:
            return Tokens(torch.zeros(rows, 0, self.layer.out_features), None)
        values = self.layer(cond.signals["pose"])
        return Tokens(values, cond.present["pose"][:, None].expand(values.shape[:2]))


@pytest.mark.parametrize("make", [unet, dit])
def test_a_signal_of_ones_own_enters_as_tokens(make, monkeypatch):
    monkeypatch.setattr(lookup, "_others", {})
    register(Row("signal", "pose", "nowhere:Pose", "joints", value=Pose))
    network, (x, time) = make(tokens=WIDTH, vector=CLASSES, signals={"pose": 2}), batch(2)
    pose = Condition({"pose": draw(2, 3, 2), "vector": torch.tensor([1, 1])})
    tokens = network.embed(pose, 2).tokens
    assert tokens.values.shape == (2, 8 + 3, WIDTH) and tokens.valid.all()
    ids = Condition.of(vector=torch.tensor([1, 1]))
    dropped = network(x, time, pose.drop(torch.tensor([True, False]), ["pose"]))
    assert torch.allclose(dropped[0], network(x, time, ids)[0], atol=1e-5)
    assert (dropped[1] - network(x, time, ids)[1]).abs().max() > 1e-4
    with pytest.raises(ValueError, match="no place 'tokens' for the signal 'pose'; tokens=WIDTH"):
        make(signals={"pose": 2})


def test_former_names_of_an_embedding_are_told():
    embedding = unet(vector=CLASSES, layout=LAYOUT).embed(None, 2)
    with pytest.warns(DeprecationWarning, match=r"Embedding\.add"):
        assert embedding.vector is embedding.add
    with pytest.warns(DeprecationWarning, match=r"Embedding\.concat"):
        assert embedding.layout is embedding.concat[0]
