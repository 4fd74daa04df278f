"""Steering: presets as named, weight 0 is plain sampling, measurements as written, judges by hand."""

import numpy as np
import pytest
import torch
from PIL import Image

import windvane as wv
from windvane.cli.search.rewards import _like
from windvane.energies import Reward
from windvane.judges import train_judge
from windvane.metrics import frechet
from windvane.operators import BlockMean, CompressedSensing, GaussianBlur, Greyscale, Inpainting, MotionBlur
from windvane.randomness import scoped_seed
from windvane.samplers import DDIM
from windvane.tasks.steering import (
    METHODS,
    OPERATIONS,
    Arm,
    Eyes,
    Judges,
    Wish,
    before_and_after,
    class_wish,
    combined,
    guidance,
    image_wish,
    measurement_wish,
    open_measure,
    own_eyes,
    read_picture,
    split_measure,
    steer,
    sweep_grid,
    text_wish,
)
from windvane.text import TextImageEncoder, Vocabulary

SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def model():
    random = torch.Generator().manual_seed(0)
    means = torch.rand(6, 64, generator=random) * 1.6 - 0.8
    return wv.GaussianMixtureDenoiser([1.0] * 6, means, [0.1] * 6, wv.VPCosine(), shape=SHAPE)


@pytest.fixture(scope="module")
def encoder():
    with scoped_seed(0):
        made = TextImageEncoder(SHAPE, Vocabulary(["seven", "bold"], ["a"]), width=8)
    return made.eval().requires_grad_(False)


def bright(noisy=True, weight=1.0):
    return Wish("text", "bright", Reward(lambda x: x.mean((1, 2, 3)), name="bright"), weight, noisy=noisy)


@pytest.mark.parametrize("preset", METHODS)
def test_every_preset_raises_its_energy_at_the_default_weight(model, preset):
    wish = bright()
    plain, guided = (
        steer(model, [wish], seeds=0, n=40, factor=f, preset=preset, steps=20, progress=False, clip=None,
              sampler=wv.DDPM())
        for f in (0.0, 1.0)
    )  # fmt: skip
    assert guided.scores[wish.title] > plain.scores[wish.title] + 0.02
    assert not guided.warnings


@pytest.mark.parametrize("preset", METHODS)
def test_weight_zero_is_plain_sampling_bit_for_bit(model, preset):
    plain = wv.sample(model, seeds=3, n=4, steps=6, progress=False).x
    off = steer(model, [bright(weight=0.0)], seeds=3, n=4, preset=preset, steps=6, clip=None, progress=False)
    assert torch.equal(off.x, plain)
    assert "guidance changed nothing" in off.warnings[0]
    none = steer(model, [bright()], seeds=3, n=4, factor=0.0, steps=6, clip=None, progress=False)
    assert torch.equal(none.x, plain) and not none.warnings


def test_a_relative_push_is_the_fraction_that_it_says(model):
    """One step of the default preset: D moves by w * fraction * sigma / sqrt(alpha^2 + sigma^2) RMS(eps)."""
    x_t, t = torch.randn(5, *SHAPE), torch.full((5,), 0.4, dtype=torch.float64)
    made = guidance(bright().energy, 0.7)
    alpha, sigma = (float(v[0]) for v in (model.process.alpha(t), model.process.sigma(t)))
    x0 = model(x_t, t)
    moved = made.denoiser(model)(x_t, t) - x0
    unit = (x_t - alpha * x0).flatten(1).square().mean(1).sqrt() / (alpha**2 + sigma**2) ** 0.5
    expected = 0.7 * METHODS["universal"].fraction * unit
    assert torch.allclose(moved.flatten(1).square().mean(1).sqrt(), expected, rtol=1e-4)


def test_the_papers_own_scale_on_request():
    assert guidance(bright().energy, 0.7, "dps", paper_scale=True).guides[0].weight == 0.7
    assert not guidance(bright().energy, 0.7, "dps", paper_scale=True).guides[0].relative
    assert all(g.relative for g in guidance(bright().energy, 0.7, "tfg").guides)
    with pytest.raises(ValueError, match="unknown preset 'magic'; known: universal, dps"):
        guidance(bright().energy, 1.0, "magic")


def test_a_sample_does_not_depend_on_its_batch(model):
    wishes = [bright(), measurement_wish(BlockMean(2), torch.zeros(1, 1, 4, 4))]
    whole = steer(model, wishes, seeds=0, n=5, steps=8, progress=False)
    parts = steer(model, wishes, seeds=0, n=5, steps=8, batch_size=2, progress=False)
    assert torch.allclose(whole.x, parts.x, atol=1e-5)


def test_mixtures_serve_both_wishes(model):
    left = Reward(lambda x: x[..., :4].mean((1, 2, 3)), name="left")
    right = Reward(lambda x: -x[..., 4:].mean((1, 2, 3)), name="right")
    wishes = [Wish("text", "left", left), Wish("text", "right", right)]
    plain, guided = (
        steer(model, wishes, seeds=0, n=30, factor=f, steps=20, clip=None, progress=False) for f in (0, 1)
    )
    assert all(guided.scores[w.title] > plain.scores[w.title] + 0.02 for w in wishes)
    assert guided.evaluations == plain.evaluations == 20


def test_what_cannot_judge_noise_is_kept_from_presets_that_ask_it():
    wish = measurement_wish(BlockMean(2), torch.zeros(1, 1, 4, 4), what="small.png")
    with pytest.raises(ValueError, match="'adm' asks about noisy states, which measure small.png cannot"):
        combined([bright(), wish], preset="adm")
    with pytest.raises(ValueError, match="nothing is wished for"):
        combined([])


def test_wishes_from_an_encoder(model, encoder):
    eyes = own_eyes(encoder, model.process)
    picture = torch.rand(1, *SHAPE) * 2 - 1
    wishes = [text_wish(eyes, "a bold seven", 2.0)]
    wishes += [image_wish(eyes, kind, picture, model.process) for kind in ("like", "content", "style")]
    assert [w.kind for w in wishes] == ["text", "like", "content", "style"]
    x = torch.rand(3, *SHAPE)
    # A picture is most like itself, in every sense.
    for wish in wishes[1:]:
        assert bool((wish.energy(picture) >= wish.energy(x).max() - 1e-6).all())
    guided = steer(model, wishes, seeds=0, n=2, steps=4, preset="sdg", progress=False)
    assert guided.x.shape == (2, *SHAPE)
    with pytest.raises(ValueError, match="a class needs a classifier"):
        class_wish(eyes, 3)
    with pytest.raises(ValueError, match="--style needs an image encoder"):
        image_wish(Eyes(image=encoder.at(model.process)), "style", picture, model.process)
    with pytest.raises(ValueError, match="wished for as like, content, style"):
        image_wish(eyes, "text", picture, model.process)


def save(path, values):
    Image.fromarray(((values + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()).save(path)
    return path


def test_measurements_as_written(tmp_path):
    picture = torch.linspace(-1, 1, 64).reshape(8, 8)
    full, small = save(tmp_path / "full.png", picture), save(tmp_path / "small.png", picture[::2, ::2])
    mask = save(tmp_path / "mask.png", torch.where(torch.arange(8) < 4, 1.0, -1.0).expand(8, 8))
    colour = tmp_path / "colour.png"
    Image.fromarray(np.full((8, 8, 3), 200, dtype=np.uint8)).save(colour)
    seen = read_picture(full)
    assert seen.shape == SHAPE and torch.allclose(seen[0], picture, atol=0.005)

    found = open_measure(f"superres:{small}", SHAPE)
    assert isinstance(found.operator, BlockMean) and found.operator.factor == 2
    assert torch.equal(found.y[0], read_picture(small))
    found = open_measure(f"superres=4:{full}", SHAPE)
    assert torch.allclose(found.y, BlockMean(4)(seen[None]))
    found = open_measure(f"inpaint={mask}:{full}", SHAPE)
    assert isinstance(found.operator, Inpainting) and torch.equal(found.y[0, 0, :, :4], seen[0, :, :4])
    assert not found.y[..., 4:].any()
    found = open_measure(f"blur=0.8:{full}", SHAPE)
    assert isinstance(found.operator, GaussianBlur) and torch.equal(found.y[0], seen)
    assert isinstance(open_measure(f"motion-blur=3@45:{full}", SHAPE).operator, MotionBlur)
    found = open_measure(f"cs=0.25:{full}", SHAPE)
    assert torch.allclose(found.y, CompressedSensing(SHAPE, 0.25)(seen[None]))
    np.save(tmp_path / "y.npy", found.y[0].numpy())
    assert torch.equal(open_measure(f"cs=0.25:{tmp_path / 'y.npy'}", SHAPE).y, found.y)
    found = open_measure(f"grey:{colour}", (3, 8, 8))
    assert isinstance(found.operator, Greyscale) and found.y.shape == (1, 1, 8, 8)


def test_pictures_are_read_as_the_loader_reads_images(tmp_path):
    """Sixteen bits were cut off at 255, turns and transparency left aside, palettes read as levels."""
    deep = tmp_path / "deep.png"
    Image.fromarray(np.array([[0, 257 * 100], [257 * 200, 65535]], np.uint16)).save(deep)
    assert torch.allclose(read_picture(deep) * 127.5 + 127.5, torch.tensor([[[0, 100], [200, 255.0]]]))
    turned, exif = tmp_path / "turned.png", Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.array([[0, 50, 100]], np.uint8)).save(turned, exif=exif)
    assert read_picture(turned).shape == (1, 3, 1)
    clear = tmp_path / "clear.png"
    Image.fromarray(np.array([[[9, 9, 9, 0], [9, 9, 9, 255]]], np.uint8)).save(clear)
    assert torch.allclose(read_picture(clear)[0] * 127.5 + 127.5, torch.tensor([[255.0, 9.0]]))
    palette = tmp_path / "palette.png"
    indexed = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    indexed.putpalette([200, 10, 10, 10, 200, 10])
    indexed.save(palette)
    red, green = torch.tensor([200.0, 10, 10]), torch.tensor([10.0, 200, 10])
    assert torch.allclose(read_picture(palette)[:, 0].T * 127.5 + 127.5, torch.stack([red, green]))
    like = _like(palette)
    image = read_picture(palette)[None]
    assert float(like(image)) == 0 and float(like(image.flip(3))) < -0.5
    with pytest.raises(ValueError, match=r"palette.png is \(3, 1, 2\), the samples are \(3, 4, 4\)"):
        like(torch.zeros(1, 3, 4, 4))


def test_measurements_that_do_not_fit(tmp_path):
    odd = save(tmp_path / "odd.png", torch.zeros(5, 5))
    holed = tmp_path / "holed.npy"
    np.save(holed, np.array([0.5, np.nan], np.float32))
    for text, message in {
        "sharpen:x.png": "a measurement is OP:FILE.*superres:SMALL",
        "superres": "a measurement is OP:FILE",
        f"superres:{odd}": "5 pixels wide does not divide the model's 8",
        f"inpaint:{odd}": "inpainting needs a mask",
        f"blur=x:{odd}": "blur needs a number, got 'x'",
        f"superres=2.7:{odd}": "needs a whole factor, got 2.7",
        f"superres=nan:{odd}": "superres needs a number, got 'nan'",
        f"superres=inf:{odd}": "superres needs a number, got 'inf'",
        f"motion-blur=3@x:{odd}": "motion-blur needs a number, got 'x'",
        f"cs=0.5:{holed}": "holed.npy holds NaN or infinity",
        f"grey:{odd}": "grey is a measurement of colour images",
        "cs=0.5:nothing.npy": "there is no file nothing.npy",
    }.items():
        with pytest.raises(ValueError, match=message):
            open_measure(text, SHAPE)
    assert split_measure("motion-blur=3@45:a:b.png") == ("motion-blur", "3@45", "a:b.png")
    assert len(OPERATIONS) == 6


def test_judges_by_hand(encoder):
    data, held = wv.open_data("digits").split((0.5, 0.5), 0)
    judge = train_judge(data, steps=20, held_out=0, progress=False)
    judges = Judges(encoder, judge, held)
    images = held.batch(slice(0, 100))
    overall = {score.name: score.value for score in judges.overall(images)}
    with torch.no_grad():
        ours, theirs = judge.features(images), judge.features(held.batch(slice(None)))
    assert overall["Fréchet distance"] == pytest.approx(frechet(ours, theirs, resamples=0, bias=False).value)
    assert overall["distance to the nearest real image"] == pytest.approx(0, abs=1e-4)
    assert "Fréchet distance" not in {score.name for score in judges.overall(images[:20])}

    seven = Wish("class", "seven", Reward(lambda x: x.sum()), label=7)
    (score,) = judges.of(seven, images)
    assert score.value == pytest.approx(float((judge.classify(images).argmax(1) == 7).double().mean()))
    wish = measurement_wish(BlockMean(8), torch.zeros(1, 1, 1, 1))
    (score,) = judges.of(wish, images)
    assert score.value == pytest.approx(float(images.mean((1, 2, 3)).abs().mean()), rel=1e-5)
    # Clean images are judged: what lies beyond white and black is cut off.
    assert judges.of(wish, images * 5)[0].value < 1


def test_pictures_have_a_row_for_each_strength():
    images = torch.zeros(3, *SHAPE)
    arm = Arm(1.0, images, torch.arange(3), 10.0)
    assert arm.scores == {}
    both, grid = before_and_after(images, images), sweep_grid([(f, images) for f in (0, 1, 2)])
    assert grid.size[1] > both.size[1] > 0


def test_the_sampler_may_be_any(model):
    for sampler in (DDIM(eta=1.0), wv.Heun(), wv.UniPC(), wv.DPMSolverPP()):
        made = steer(model, [bright()], seeds=0, n=3, sampler=sampler, steps=5, progress=False)
        assert torch.isfinite(made.x).all()


def test_the_old_name_of_a_protocols_result_warns():
    from windvane.tasks import steering

    with pytest.warns(DeprecationWarning, match="is now ProtocolResult"):
        assert steering.Found is steering.ProtocolResult
