"""Measurement operators: adjoints, pseudo-inverses and what each of them measures."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.guidance.guided_cases import normal
from windvane.operators import (
    Bicubic,
    BlockMean,
    Blur,
    CompressedSensing,
    FunctionOperator,
    GaussianBlur,
    Greyscale,
    Inpainting,
    Matrix,
    MotionBlur,
    Stacked,
    least_squares,
)

SHAPE = (3, 8, 8)
MASK = normal(8, 8, seed=3) > 0
LOW_RANK = normal(5, 2, seed=1) @ normal(2, 12, seed=2)


def differences(x):
    """A linear function with a null space: horizontal differences, twice."""
    return 2 * (x[..., 1:] - x[..., :-1])


OPERATORS = {
    "inpainting": (Inpainting(MASK), SHAPE),
    "inpainting by channel": (Inpainting(normal(3, 8, 8, seed=4) > 0.5), SHAPE),
    "block mean": (BlockMean(2), SHAPE),
    "gaussian blur": (GaussianBlur(0.8, rtol=1e-9), SHAPE),
    "motion blur": (MotionBlur(3.3, 30.0, rtol=1e-9), SHAPE),
    "odd blur": (Blur(normal(3, 2, seed=8), rtol=1e-9), (1, 7, 9)),
    "grey": (Greyscale(), SHAPE),
    "grey that keeps chroma": (Greyscale(keep_chroma=True), SHAPE),
    "sensing by cosines": (CompressedSensing(SHAPE, 0.3), SHAPE),
    "sensing a series": (CompressedSensing((10,), 0.5), (10,)),
    "sensing by hadamard": (CompressedSensing((1, 8, 8), 0.4, transform="hadamard", seed=5), (1, 8, 8)),
    "matrix": (Matrix(LOW_RANK, (3, 2, 2)), (3, 2, 2)),
    "bicubic": (Bicubic((8, 12), 4), (3, 8, 12)),
    "stacked": (Stacked([Inpainting(MASK), BlockMean(2)], SHAPE), SHAPE),
    "function": (FunctionOperator(differences, (1, 4, 4)), (1, 4, 4)),
}
every = pytest.mark.parametrize(("operator", "shape"), OPERATORS.values(), ids=OPERATORS)


def dot(a, b):
    return (a.flatten(1) * b.flatten(1)).sum(1)


@every
@settings(max_examples=10)
@given(seed=st.integers(0, 10**6))
def test_adjoint(operator, shape, seed):
    x = normal(2, *shape, seed=seed)
    y = normal(*operator(x).shape, seed=seed + 1)
    assert torch.allclose(dot(operator(x), y), dot(x, operator.adjoint(y)), rtol=1e-10, atol=1e-10)


@every
@settings(max_examples=10)
@given(seed=st.integers(0, 10**6))
def test_pseudo_inverse(operator, shape, seed):
    x = normal(2, *shape, seed=seed)
    y = operator(x)
    back = operator.pinv(y)
    assert torch.allclose(operator(back), y, atol=1e-7)
    # And A^+ A A^+ = A^+ on any measurement.
    z = normal(*y.shape, seed=seed + 1)
    assert torch.allclose(operator.pinv(operator(operator.pinv(z))), operator.pinv(z), atol=1e-5, rtol=1e-5)


@every
def test_pseudo_inverse_is_the_shortest_solution(operator, shape):
    """A^+ y is orthogonal to the null space, where x - A^+ A x lies; keeping the chroma gives that up."""
    x = normal(2, *shape, seed=9)
    null, pinv = x - operator.pinv(operator(x)), operator.pinv(operator(normal(2, *shape)))
    overlap = dot(pinv, null).abs().max()
    if operator is OPERATORS["grey that keeps chroma"][0]:
        assert overlap > 1e-2
    else:
        assert overlap < 1e-5


@every
def test_projection_replaces_the_measured_part_only(operator, shape):
    x, truth = normal(2, *shape), normal(2, *shape, seed=1)
    y = operator(truth)
    assert torch.allclose(operator(operator.project(x, y)), y, atol=1e-7)
    assert torch.allclose(operator.project(x, operator(x)), x, atol=1e-7)
    half = operator.project(x, y, 0.5)
    assert torch.allclose(operator(half), (operator(x) + y) / 2, atol=1e-7)


@every
def test_rows_do_not_see_each_other(operator, shape):
    x = normal(3, *shape)
    for act in (operator, lambda v: operator.pinv(operator(v))):
        alone = torch.cat([act(x[i : i + 1]) for i in range(3)])
        assert torch.allclose(act(x), alone, atol=1e-8)


@every
def test_float32_stays_float32_and_close(operator, shape):
    x = normal(2, *shape)
    y = operator(x.float())
    assert y.dtype == operator.adjoint(y).dtype == torch.float32
    assert torch.allclose(y.double(), operator(x), atol=1e-5)


def test_bicubic_keeps_constants_and_straight_lines():
    """Rows sum to one; away from the edges a line's reduction is the line at the new pixels' centres."""
    flat = Bicubic((8, 8), 2)(torch.full((1, 1, 8, 8), 0.7, dtype=torch.float64))
    assert torch.allclose(flat, torch.full_like(flat, 0.7))
    line = torch.arange(16, dtype=torch.float64).expand(1, 1, 16, 16)
    reduced = Bicubic((16, 16), 2)(line)[0, 0, 0]
    assert torch.allclose(reduced[2:-2], 2 * torch.arange(2, 6, dtype=torch.float64) + 0.5)


def test_bicubic_agrees_with_torch():
    x = normal(2, 1, 16, 16)
    theirs = torch.nn.functional.interpolate(x, scale_factor=0.25, mode="bicubic", antialias=True)
    assert torch.allclose(Bicubic((16, 16), 4)(x), theirs, atol=1e-6)


def test_stacked_measurements_hold_at_once():
    """Mask and block means together: both are met by one projection, the overlap included."""
    parts = [Inpainting(MASK), BlockMean(2)]
    both = Stacked(parts, SHAPE)
    truth, guess = normal(2, *SHAPE), normal(2, *SHAPE, seed=1)
    out = both.project(guess, both(truth))
    for operator, part in zip(parts, both.parts(both(truth))):
        assert torch.equal(part, operator(truth))
        assert torch.allclose(operator(out), part, atol=1e-8)
    one_by_one = parts[1].project(parts[0].project(guess, parts[0](truth)), parts[1](truth))
    assert not torch.allclose(parts[0](one_by_one), parts[0](truth), atol=1e-2)


def test_block_mean_is_the_mean():
    x = normal(1, 1, 4, 4)
    assert torch.allclose(BlockMean(2)(x)[0, 0, 1, 0], x[0, 0, 2:, :2].mean())


def test_blur_is_the_convolution_with_wrapped_edges():
    kernel, x = normal(3, 3, seed=2), normal(1, 1, 6, 5)
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1), mode="circular")
    expected = torch.nn.functional.conv2d(padded, kernel.flip(0, 1)[None, None])
    assert torch.allclose(Blur(kernel)(x), expected, atol=1e-12)


@pytest.mark.parametrize("operator", [GaussianBlur(1.0), MotionBlur(4, 45.0)], ids=["gaussian", "motion"])
def test_blurs_keep_the_mean_and_smooth(operator):
    flat, x = torch.ones(1, 1, 16, 16, dtype=torch.float64), normal(1, 1, 16, 16)
    assert torch.allclose(operator(flat), flat)
    assert operator(x).std() < 0.7 * x.std()
    assert torch.allclose(operator(x).mean(), x.mean())


def test_motion_goes_along_its_angle():
    point = torch.zeros(1, 1, 15, 15, dtype=torch.float64)
    point[0, 0, 7, 7] = 1
    along = MotionBlur(5, 0.0)(point)[0, 0]
    assert torch.allclose(along[7, 5:10].sum(), torch.tensor(1.0, dtype=torch.float64))
    diagonal = MotionBlur(7, 45.0)(point)[0, 0]
    assert diagonal[5, 9] > 0.05 and diagonal[9, 5] > 0.05 and diagonal[5, 5] < 1e-9


def test_a_weak_frequency_is_not_amplified():
    x = normal(1, 1, 16, 16)
    y = GaussianBlur(2.0)(x)
    noisy = y + 1e-2 * normal(*y.shape, seed=1)
    gain = (GaussianBlur(2.0).pinv(noisy) - GaussianBlur(2.0).pinv(y)).norm() / (noisy - y).norm()
    assert gain < 1e3
    assert (GaussianBlur(2.0)(GaussianBlur(2.0).pinv(y)) - y).norm() < 1e-3 * x.norm()


def test_keeping_chroma_adds_the_same_to_every_channel():
    x, y = normal(1, 3, 4, 4), normal(1, 1, 4, 4, seed=1)
    change = Greyscale(keep_chroma=True).project(x, y) - x
    assert torch.allclose(change[:, 0], change[:, 1]) and torch.allclose(change[:, 0], change[:, 2])


def test_sensing_everything_is_an_isometry_and_seeds_choose():
    x = normal(2, 1, 4, 8)
    for transform in ("dct", "hadamard"):
        full = CompressedSensing((1, 4, 8), 1.0, transform=transform)
        assert torch.allclose(full.adjoint(full(x)), x, atol=1e-12)
        assert torch.allclose(full(x).norm(), x.norm())
    a, b = (CompressedSensing((1, 4, 8), 0.5, seed=s).chosen for s in (0, 1))
    assert len(a) == len(b) == 16 and not torch.equal(a, b)


def test_cosines_of_a_constant_are_its_mean():
    full = CompressedSensing((4, 4), 1.0)
    coefficients = full(torch.ones(1, 4, 4, dtype=torch.float64))[0]
    assert torch.allclose(coefficients[0], torch.tensor(4.0, dtype=torch.float64))
    assert coefficients[1:].abs().max() < 1e-12


def test_least_squares_equals_the_pseudo_inverse():
    operator, y = Matrix(LOW_RANK), normal(3, 5, seed=7)
    assert torch.allclose(least_squares(operator, y), operator.pinv(y), atol=1e-9)


def test_a_nonlinear_function_is_measured_but_not_inverted():
    square = FunctionOperator(lambda x: x**2, linear=False)
    assert torch.equal(square(normal(1, 2)), normal(1, 2) ** 2)
    for act in (square.adjoint, square.pinv):
        with pytest.raises(ValueError, match="not linear"):
            act(normal(1, 2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Inpainting(torch.full((2, 2), 0.5)), "other values"),
        (lambda: Inpainting(torch.zeros(2, 2)), "no value at all"),
        (lambda: Inpainting(torch.ones(3, 3))(normal(1, 1, 4, 4)), "does not fit"),
        (lambda: BlockMean(0), "at least 1"),
        (lambda: BlockMean(3)(normal(1, 1, 4, 4)), "4 x 4"),
        (lambda: BlockMean(2)(normal(1, 4)), r"\(1, 4\)"),
        (lambda: Greyscale((0.0, 0.0)), "not all zero"),
        (lambda: Greyscale()(normal(1, 1, 2, 2)), "3 weights for 1"),
        (lambda: GaussianBlur(0.0), "positive"),
        (lambda: GaussianBlur(4.0)(normal(1, 1, 4, 4)), "does not fit"),
        (lambda: MotionBlur(0.5), "at least one pixel"),
        (lambda: Blur(torch.zeros(3, 3)), "not zero"),
        (lambda: Blur(torch.ones(3, 3), rtol=1.0), "rtol"),
        (lambda: CompressedSensing((4,), 0.0), "ratio"),
        (lambda: CompressedSensing((3,), 0.5, transform="hadamard"), "power of two"),
        (lambda: CompressedSensing((4,), 0.5, transform="sine"), "known: dct"),
        (lambda: CompressedSensing((4,), 0.5)(normal(1, 5)), r"\(5,\)"),
        (lambda: CompressedSensing((4,), 0.5).adjoint(normal(1, 5)), r"\(1, 5\)"),
        (lambda: Matrix(torch.ones(2, 3), (2, 2)), r"\(2, 3\)"),
        (lambda: Matrix(torch.ones(2, 3))(normal(1, 4)), r"\(4,\)"),
        (lambda: FunctionOperator(differences), "shape="),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()
