import pytest
import torch

from tests.annotate.stand_ins import noise_images
from windvane.annotate import DenoiserFeatures, annotate, extract
from windvane.denoiser import FunctionDenoiser, NetworkDenoiser
from windvane.evaluations import count_evaluations
from windvane.networks import ResidualMLP
from windvane.process import EDM, VPCosine
from windvane.randomness import derive_seed, noise_for


def denoiser(process=None, parametrisation="v", seed=0, vector=3):
    network = ResidualMLP(64, width=16, blocks=3, vector=vector, shape=(1, 8, 8))
    numbers = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.2, generator=numbers)
    return NetworkDenoiser(network, process or VPCosine(), parametrisation=parametrisation, shape=(1, 8, 8))


def test_features_are_the_networks_own_maps_at_that_noise_level():
    d = denoiser()
    images = noise_images(4).images
    features = DenoiserFeatures(d, t=0.3, draws=2, seed=5)
    times = torch.full((4,), 0.3, dtype=torch.float64)
    expected = 0
    for draw in range(2):
        noise = noise_for([derive_seed(5, draw)], 0, (1, 8, 8))[0]
        x_t = d.process.perturb(images, times, noise.expand_as(images))
        expected = (
            expected + d.network.features(x_t, (1000 * times).float(), None, layer="block.1")["block.1"] / 2
        )
    torch.testing.assert_close(features(images), expected)
    assert features.dim == 16


def test_edm_networks_see_scaled_inputs_and_their_own_time():
    d = denoiser(EDM(sigma_max=20.0), "edm")
    images = noise_images(3).images
    seen = []
    d.network.register_forward_pre_hook(lambda module, args: seen.append(args[:2]))
    times = torch.full((3,), 0.2, dtype=torch.float64)
    features = DenoiserFeatures(d, t=0.2, draws=1)
    features(images)
    noise = noise_for([derive_seed(0, 0)], 0, (1, 8, 8))[0]
    d(d.process.perturb(images, times, noise.expand_as(images)), times)
    torch.testing.assert_close(seen[0][0], seen[1][0])
    torch.testing.assert_close(seen[0][1], seen[1][1])


def test_features_are_a_function_of_the_image_alone():
    features = DenoiserFeatures(denoiser(), draws=3)
    data = noise_images(10)
    whole = extract(features, data, progress=False)
    torch.testing.assert_close(
        extract(features, data, batch_size=3, progress=False), whole, atol=1e-6, rtol=0
    )
    shuffled = features(data.images.flip(0)).flip(0)
    torch.testing.assert_close(shuffled, whole, atol=1e-6, rtol=0)
    other = DenoiserFeatures(denoiser(), draws=3, seed=1)
    assert (other(data.images) - whole).abs().max() > 1e-3


def test_names_follow_weights_and_settings():
    names = {
        DenoiserFeatures(denoiser()).name,
        DenoiserFeatures(denoiser(seed=1)).name,
        DenoiserFeatures(denoiser(), t=0.4).name,
        DenoiserFeatures(denoiser(), layer="block.0").name,
        DenoiserFeatures(denoiser(), draws=2).name,
        DenoiserFeatures(denoiser(parametrisation="eps")).name,
    }
    assert len(names) == 6
    assert DenoiserFeatures(denoiser()).name in names


def test_each_draw_is_one_counted_evaluation_and_the_networks_mode_is_kept():
    d = denoiser().train()
    with count_evaluations() as count:
        DenoiserFeatures(d, draws=3)(noise_images(5).images)
    assert (count.calls, count.rows) == (3, 15)
    assert d.network.training


def test_gradients_reach_the_images():
    images = noise_images(2).images.requires_grad_()
    DenoiserFeatures(denoiser(), draws=1)(images).sum().backward()
    assert images.grad.abs().sum() > 0


def test_self_guidance_needs_no_second_network(tmp_path):
    features, data = DenoiserFeatures(denoiser()), noise_images(60)
    made = annotate(data, features=features, k=4, progress=False)
    made.save(tmp_path / "a")
    loaded = type(made).load(tmp_path / "a", data=data, extractor=DenoiserFeatures(denoiser()))
    assert torch.equal(loaded(data.images), made.ids)
    with pytest.raises(ValueError, match="made with the features denoiser"):
        type(made).load(tmp_path / "a", extractor=DenoiserFeatures(denoiser(seed=1)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: DenoiserFeatures(denoiser(), t=0.0), "0 < t <= 1"),
        (lambda: DenoiserFeatures(denoiser(), layer="mid"), "this network has block.0, block.1"),
        (lambda: DenoiserFeatures(FunctionDenoiser(lambda x, t, c: x, VPCosine())), "NetworkDenoiser around"),
    ],
)
def test_wrong_requests_are_refused_with_the_reason(call, message):
    with pytest.raises(ValueError, match=message):
        call()
