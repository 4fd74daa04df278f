"""What holds for every network."""

import copy
import json
import threading

import pytest
import torch

from tests.networks.tiny import CLASSES, LAYOUT, MAKERS, SHAPE, WIDTH, batch, draw, mlp, randomised
from windvane import VPCosine
from windvane.conditions import Condition
from windvane.denoiser import NetworkDenoiser
from windvane.networks import ConditionedDiT, Network, build_network, network_spec, parameter_count, preset
from windvane.networks import register_network as register

EVERY = pytest.mark.parametrize("name", list(MAKERS))
FULL = {"vector": CLASSES, "layout": LAYOUT, "tokens": WIDTH}


def full(name):
    """The network with every condition it takes, and such a condition of three rows."""
    if name == "mlp":
        return mlp(vector=CLASSES), Condition.vector(torch.tensor([0, 3, 4]))
    cond = Condition.of(
        vector=torch.tensor([0, 3, 4]), layout=draw(3, LAYOUT, 8, 8), tokens=draw(3, 2, WIDTH, seed=5)
    )
    return MAKERS[name](**FULL), cond


@EVERY
def test_no_condition_equals_a_dropped_condition_exactly(name):
    network, (x, time) = MAKERS[name](vector=CLASSES), batch(3)
    cond = Condition.vector(torch.tensor([0, 3, 4]))
    null = network(x, time, None)
    assert torch.equal(network(x, time, cond.null()), null)
    assert torch.equal(network(x, time, cond.drop(torch.ones(3, dtype=torch.bool))), null)
    assert (network(x, time, cond) - null).abs().flatten(1).amax(dim=1).min() > 1e-3


@EVERY
def test_present_and_absent_rows_in_one_batch_equal_separate_calls(name):
    network, cond = full(name)
    x, time = batch(3)
    absent = torch.tensor([False, True, False])
    together = network(x, time, cond.drop(absent))
    for row in range(3):
        one = slice(row, row + 1)
        alone = network(x[one], time[one], None if absent[row] else cond.index(one))
        assert torch.allclose(together[one], alone, atol=1e-5)


@EVERY
def test_rows_do_not_depend_on_their_neighbours(name):
    network, cond = full(name)
    x, time = batch(3)
    together = network(x, time, cond)
    alone = [network(x[i : i + 1], time[i : i + 1], cond.index(slice(i, i + 1))) for i in range(3)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)


@EVERY
def test_time_and_every_kind_of_vector_change_the_output(name):
    network, (x, time) = MAKERS[name](vector=CLASSES), batch(2)
    first = network(x, time, Condition.vector(torch.tensor([1, 1])))
    for other in (torch.tensor([2, 2]), torch.eye(CLASSES)[[1, 1]] * 0.5, torch.ones(2, CLASSES)):
        assert (network(x, time, Condition.vector(other)) - first).abs().max() > 1e-3
    later = network(x, time + 40, Condition.vector(torch.tensor([1, 1])))
    assert (later - first).abs().max() > 1e-3


@EVERY
def test_a_network_without_conditions_works_and_takes_none(name):
    network, (x, time) = MAKERS[name](), batch(2)
    assert (network(x, time) - network(-x, time)).abs().max() > 1e-3
    with pytest.raises(ValueError, match="takes no signals, but the condition has vector"):
        network(x, time, Condition.vector(torch.tensor([0, 1])))


@EVERY
def test_wrong_conditions_are_refused(name):
    network, (x, time) = MAKERS[name](vector=CLASSES), batch(2)
    with pytest.raises(ValueError, match="condition has 3 rows, the batch has 2"):
        network(x, time, Condition.vector(torch.tensor([0, 1, 2])))
    with pytest.raises(ValueError, match="Condition.vector"):
        network(x, time, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="the condition has layout"):
        network(x, time, Condition.of(layout=torch.zeros(2, 1, 8, 8)))
    with pytest.raises(ValueError, match=f"class id 9 .* {CLASSES} classes"):
        network(x, time, Condition.vector(torch.tensor([0, 9])))
    with pytest.raises(ValueError, match="class id 9"):
        network.check(Condition.vector(torch.tensor([0, 9])), 2)


@EVERY
def test_the_gradient_to_x_is_the_slope(name):
    network, cond = full(name)
    network, (x, time) = network.double(), batch(3)
    x, direction = x.double().requires_grad_(), draw(3, *SHAPE, seed=7).double()
    (slope,) = torch.autograd.grad((network(x, time, cond) * direction).sum(), x)
    step = 1e-5 * draw(3, *SHAPE, seed=8).double()
    with torch.no_grad():
        change = ((network(x + step, time, cond) - network(x - step, time, cond)) * direction).sum() / 2
    assert torch.allclose(change, (slope * step).sum(), rtol=1e-5)


@EVERY
def test_training_mode_draws_nothing(name):
    network, cond = full(name)
    network.train()
    x, time = batch(3)
    state = torch.get_rng_state()
    assert torch.equal(network(x, time, cond), network(x, time, cond))
    assert torch.equal(network.eval()(x, time, cond), network.train()(x, time, cond))
    assert torch.equal(torch.get_rng_state(), state)


@EVERY
def test_half_precision_is_near_and_the_result_keeps_the_dtype_of_x(name):
    network, cond = full(name)
    x, time = batch(3)
    exact = network(x, time, cond)
    denoiser = NetworkDenoiser(network, VPCosine(), parametrisation="x0", autocast=torch.bfloat16)
    times = (time / 1000).double()
    for rounded in (denoiser(x, times, cond), copy.deepcopy(network).bfloat16()(x, time, cond)):
        assert rounded.dtype == torch.float32
        assert (rounded - exact).abs().max() < 0.1 * exact.abs().max()
        assert not torch.equal(rounded, exact)


@EVERY
def test_features_are_what_the_layers_put_out_and_hooks_go_away(name):
    network, cond = full(name)
    x, time = batch(3)
    plain = network(x, time, cond)
    features = network.features(x, time, cond)
    assert list(features) == list(network.layers())
    last = list(features)[-1]
    assert torch.equal(network.features(x, time, cond, layer=last)[last], features[last])
    assert all(len(feature) == 3 and feature.flatten(1).std(dim=0).min() > 0 for feature in features.values())
    with pytest.raises(ValueError, match="unknown layers"):
        network.features(x, time, cond, layer=["nowhere"])
    with pytest.raises(ValueError):
        network.features(x, time, Condition.vector(torch.tensor([0])))
    assert not any(module._forward_hooks for module in network.modules())
    assert torch.equal(network(x, time, cond), plain)


@EVERY
def test_features_lead_to_the_output(name):
    network, cond = full(name)
    x, time = batch(3)
    x.requires_grad_()
    for layer, feature in network.features(x, time, cond).items():
        (slope,) = torch.autograd.grad(feature.square().sum(), x, retain_graph=True)
        assert slope.abs().max() > 0, layer


def test_features_of_two_threads_are_their_own():
    network, (x, time) = mlp(), batch(2)
    expected = [network.features(x * k, time)["block.1"] for k in (1, 2)]
    wrong = []

    def many(k):
        for _ in range(50):
            if not torch.equal(network.features(x * (k + 1), time)["block.1"], expected[k]):
                wrong.append(k)

    threads = [threading.Thread(target=many, args=(k,)) for k in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert not any(module._forward_hooks for module in network.modules())


@EVERY
def test_a_network_is_rebuilt_from_its_json_config(name):
    network, cond = full(name)
    spec = json.loads(json.dumps(network_spec(network)))
    other = randomised(build_network(spec["type"], spec["config"]))
    assert other.config == network.config
    assert torch.equal(other(*batch(3), cond), network(*batch(3), cond))


@EVERY
def test_a_deep_copy_is_independent(name):
    network, cond = full(name)
    other = copy.deepcopy(network)
    x, time = batch(3)
    before = network(x, time, cond)
    assert torch.equal(other(x, time, cond), before)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert torch.equal(network(x, time, cond), before)
    assert torch.count_nonzero(other(x, time, cond)) == 0


@EVERY
def test_the_forward_pass_compiles_to_one_graph(name):
    network, (x, time) = MAKERS[name](vector=CLASSES), batch(2)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    cond = Condition.vector(torch.tensor([1, 2]))
    assert torch.allclose(compiled(x, time, cond), network(x, time, cond), atol=1e-5)


@EVERY
def test_an_untrained_network_starts_at_zero_and_learns(name):
    shapes = {"mlp": {}, "unet": {"channels": (8, 16)}, "dit": {"width": 16, "depth": 2, "heads": 2}}
    network = type(MAKERS[name]()).build(shape=SHAPE, vector=CLASSES, **shapes[name])
    x, time = batch(4)
    cond = Condition.vector(torch.arange(4))
    assert torch.count_nonzero(network(x, time, cond)) == 0
    optimiser = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=3e-3)
    target = cond.signals["vector"].float()[:, None, None, None] - 1.5 + 0.3 * x
    for _ in range(60):
        loss = (network(x, time, cond) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.5 * target.square().mean()
    unused = [n for n, p in network.named_parameters() if p.requires_grad and p.grad is None]
    assert not unused  # distributed training refuses parameters without a gradient


def test_unknown_networks_and_presets_list_the_known_ones():
    with pytest.raises(ValueError, match="conditioned_dit, conditioned_unet, residual_mlp"):
        build_network("unet3d", {})
    with pytest.raises(ValueError, match="lacks 'dim'"):
        build_network("residual_mlp", {"width": 3})
    with pytest.raises(ValueError, match="unet-digits"):
        preset("nothing", shape=(1, 8, 8))
    with pytest.raises(ValueError, match="unet or dit"):
        preset("mlp", shape=(1, 8, 8), layout=1)
    with pytest.raises(ValueError, match="not a registered network"):
        network_spec(torch.nn.Linear(1, 1))


def test_a_network_type_is_registered_once():
    class Impostor(Network):
        kind = "residual_mlp"

    with pytest.raises(ValueError, match="taken by ResidualMLP"):
        register(Impostor)


@pytest.mark.parametrize(
    "name, shape, millions",
    [
        ("mlp", (1, 8, 8), 0.55),
        ("unet-digits", (1, 8, 8), 0.7),
        ("unet-small32", (3, 32, 32), 2.0),
        ("unet-ddpm32", (3, 32, 32), 38),
        ("dit-digits", (1, 8, 8), 1.4),
        ("dit-s2", (3, 32, 32), 35),
    ],
)
def test_presets_have_the_size_they_promise(name, shape, millions):
    with torch.device("meta"):
        network = preset(name, shape=shape, vector=30)
    assert parameter_count(network) == pytest.approx(1e6 * millions, rel=0.12)
    assert parameter_count(network) >= parameter_count(network, trainable=True)


def test_a_renamed_preset_works_and_says_so():
    with torch.device("meta"), pytest.warns(DeprecationWarning, match="unet-cifar is unet-ddpm32 now"):
        old = preset("unet-cifar", shape=(3, 32, 32))
    with torch.device("meta"):
        assert old.config == preset("unet-ddpm32", shape=(3, 32, 32)).config


def test_the_table_of_before_is_that_of_the_registry():
    import windvane.networks

    with pytest.warns(DeprecationWarning, match="PRESETS is windvane.registry.entries"):
        make, arguments = windvane.networks.PRESETS["dit-digits"]
    assert make == ConditionedDiT.build and arguments == {"width": 128, "depth": 4, "heads": 4}


@EVERY
def test_conditions_follow_the_network_to_its_device_and_no_value_is_read_back(name):
    """The meta device refuses to be read and to be mixed with another one, as an accelerator would wait."""
    network, cond = full(name)
    x, time = (tensor.to("meta") for tensor in batch(3))
    network = network.to("meta")
    for given in (None, cond, cond.drop(torch.tensor([True, False, False])), cond.to("meta")):
        assert network(x, time, given).device.type == "meta"
    with pytest.raises(ValueError, match="class id 9"):
        network(x, time, Condition.vector(torch.tensor([0, 9, 1])))
