"""Tokens in the attention: values, absence, isolation between calls."""

import threading

import pytest
import torch

from tests.networks.tiny import CLASSES, WIDTH, batch, dit, draw, unet
from windvane.conditions import Condition
from windvane.networks.attention import TokenAttention, TokenProjection, attend_to
from windvane.networks.tokens import Tokens


def attention_layer(groups=4):
    from diffusers.models.attention_processor import Attention

    torch.manual_seed(0)
    norm = {"norm_num_groups": groups, "residual_connection": True} if groups else {}
    return Attention(16, heads=2, dim_head=8, bias=True, rescale_output_factor=1.5, **norm).eval()


@pytest.mark.parametrize("spatial", [True, False])
def test_without_tokens_the_processor_equals_diffusers(spatial):
    layer = attention_layer(groups=4 if spatial else None)
    x = draw(2, 16, 3, 3) if spatial else draw(2, 9, 16)
    expected = layer(x)
    layer.set_processor(TokenAttention(TokenProjection(WIDTH, 16)))
    assert torch.allclose(layer(x), expected, atol=1e-6)


def test_tokens_are_extra_keys_and_values_written_out():
    layer, projection = attention_layer(groups=None), TokenProjection(WIDTH, 16)
    layer.set_processor(TokenAttention(projection))
    x, tokens = draw(1, 4, 16), draw(1, 3, WIDTH, seed=2)
    out = layer(x, tokens=Tokens(tokens, None))
    keys = torch.cat([layer.to_k(x), projection.key(tokens)], dim=1)[0]
    values = torch.cat([layer.to_v(x), projection.value(tokens)], dim=1)[0]
    heads = []
    for head in (slice(0, 8), slice(8, 16)):
        weights = torch.softmax(layer.to_q(x)[0][:, head] @ keys[:, head].T / 8**0.5, dim=1)
        heads.append(weights @ values[:, head])
    assert torch.allclose(out[0], layer.to_out[0](torch.cat(heads, dim=1)) / 1.5, atol=1e-5)


@pytest.mark.parametrize("make", [unet, dit])
def test_given_tokens_change_the_output_and_absent_ones_do_not(make):
    network, (x, time) = make(tokens=WIDTH), batch(3)
    cond = Condition.of(tokens=draw(3, 5, WIDTH))
    outputs = network(x, time, cond)
    null = network(x, time, None)
    assert (outputs - null).abs().amax(dim=(1, 2, 3)).min() > 1e-3
    mixed = network(x, time, cond.drop(torch.tensor([False, True, False])))
    assert torch.allclose(mixed[1], null[1], atol=1e-5)
    assert torch.allclose(mixed[[0, 2]], outputs[[0, 2]], atol=1e-5)


@pytest.mark.parametrize("make", [unet, dit])
def test_the_vector_and_the_time_reach_the_output_through_tokens_alone(make):
    network, (x, time) = make(tokens=WIDTH, vector=CLASSES), batch(2)
    with torch.no_grad():
        network.conditions.vector.second.weight.zero_()
    one, two = (network(x, time, Condition.vector(torch.full((2,), i))) for i in (1, 2))
    assert (one - two).abs().max() > 1e-4
    before = network.conditions.tokens.join_time(network.embed(None, 2).tokens, time)
    after = network.conditions.tokens.join_time(network.embed(None, 2).tokens, time + 50)
    assert (before.values - after.values).abs().max() > 1e-3


def test_every_attention_layer_of_the_unet_sees_tokens():
    network, (x, time) = unet(tokens=WIDTH), batch(1)
    network(x, time, Condition.of(tokens=draw(1, 2, WIDTH))).sum().backward()
    assert len(network.token_layers) == 4  # down, middle, and two layers on the way up
    for projection in network.token_layers.values():
        assert projection.value.weight.grad.abs().max() > 0


def test_tokens_do_not_outlive_a_call_and_stay_in_their_thread():
    network, (x, time) = unet(tokens=WIDTH), batch(1)
    plain = network.unet(x, time, return_dict=False)[0]
    with pytest.raises(ValueError, match="tokens signal"):
        network(x, time, Condition.of(tokens=draw(1, 2, WIDTH + 1)))
    network(x, time, Condition.of(tokens=draw(1, 2, WIDTH)))
    assert torch.equal(network.unet(x, time, return_dict=False)[0], plain)
    seen = []
    with attend_to(Tokens(draw(1, 2, WIDTH), None)):
        assert not torch.equal(network.unet(x, time, return_dict=False)[0], plain)
        thread = threading.Thread(target=lambda: seen.append(network.unet(x, time, return_dict=False)[0]))
        thread.start()
        thread.join()
    assert torch.equal(seen[0], plain)


@pytest.mark.parametrize("make", [unet, dit])
def test_gradient_checkpointing_gives_the_same_gradients(make):
    network, (x, time) = make(tokens=WIDTH, vector=CLASSES).train(), batch(2)
    cond = Condition.of(tokens=draw(2, 3, WIDTH), vector=torch.tensor([1, 4]))

    def gradients():
        network.zero_grad()
        network(x, time, cond).square().sum().backward()
        return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}

    plain = gradients()
    network.set_gradient_checkpointing()
    recomputed = gradients()
    assert plain.keys() == recomputed.keys()
    assert all(torch.allclose(plain[name], recomputed[name], atol=1e-4, rtol=1e-4) for name in plain)
    network.set_gradient_checkpointing(False)


def test_tokens_without_attention_are_refused():
    with pytest.raises(ValueError, match="no attention layer"):
        unet(tokens=WIDTH, attention=())
