"""Boxes: LOST and the normalised cut on planted similarities, components, geometry."""

import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from windvane.annotate.dense import Patches
from windvane.annotate.regions.boxes import (
    PatchGrid,
    bounding_boxes,
    box_masks,
    component_of,
    corloc,
    iou,
    lost,
    normalised_cut,
)


def planted(h: int = 7, w: int = 8, box=(2, 1, 5, 4)) -> torch.Tensor:
    """Features with an object on a background: correlated inside each, anticorrelated across."""
    left, top, right, bottom = box
    features = torch.zeros(1, 3, h, w)
    features[:, 0] = 1.0
    features[:, 0, top:bottom, left:right] = -1.0
    features[:, 1, top:bottom, left:right] = 0.5
    return features


@pytest.mark.parametrize("method", [lost, normalised_cut])
@pytest.mark.parametrize("box", [(2, 1, 5, 4), (0, 0, 2, 3), (6, 5, 8, 7)])
def test_a_planted_object_is_found_exactly(method, box):
    found = method(planted(box=box))
    assert found.boxes.tolist() == [list(box)]
    assert int(found.masks.sum()) == (box[2] - box[0]) * (box[3] - box[1])


def test_lost_by_hand():
    """Four patches in a row with similarities written out: seed, voters and votes of the definition."""
    rows = [[1.0, 0.0], [0.9, 0.3], [-0.5, 1.0], [0.1, 1.0], [-1.0, 0.2]]
    features = torch.tensor(rows).T.reshape(1, 2, 1, 5)
    # Positive pairs: 0-1, 0-3, 1-3, 2-3, 2-4, 3-4. Degrees 2, 2, 2, 4, 2: patch 0 is the seed.
    found = lost(features, patches=3)
    assert found.seeds.tolist() == [0]
    # Voters 0, 1, 2, of which 0 and 1 agree with the seed: votes are their similarities summed.
    votes = [sum(a * c + b * d for c, d in rows[:2]) for a, b in rows]
    assert [v > 0 for v in votes] == [True, True, False, True, False]
    # Patch 3 has votes too, but is cut off from the seed by patch 2.
    assert found.masks[0, 0].tolist() == [True, True, False, False, False]
    assert found.boxes.tolist() == [[0, 0, 2, 1]]


def lost_by_definition(similarity, height, width, patches):
    """Seed, votes and the object on a similarity matrix alone, in loops."""
    count = height * width
    degree = [sum(similarity[p][q] > 0 for q in range(count) if q != p) for p in range(count)]
    order = sorted(range(count), key=lambda p: degree[p])
    seed = order[0]
    voters = [q for q in order[:patches] if similarity[q][seed] > 0]
    wanted = {p for p in range(count) if sum(similarity[q][p] for q in voters) > 0}
    found, edge = {seed}, [seed]
    while edge:
        line, column = divmod(edge.pop(), width)
        for i, j in ((line - 1, column), (line + 1, column), (line, column - 1), (line, column + 1)):
            p = i * width + j
            if 0 <= i < height and 0 <= j < width and p in wanted - found:
                found.add(p)
                edge.append(p)
    return seed, found


@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 20), st.integers(0, 10_000))
def test_lost_on_a_planted_similarity_matrix(height, width, patches, seed):
    """The features are the rows of a root of the matrix, so that F F^T is the matrix itself."""
    count = height * width
    matrix = torch.randn(count, count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    matrix = matrix + matrix.T
    # As little on the diagonal as makes it positive definite.
    matrix += (0.1 - torch.linalg.eigvalsh(matrix)[0]).clamp(min=0) * torch.eye(count)
    root = torch.linalg.cholesky(matrix)
    torch.testing.assert_close(root @ root.T, matrix)
    found = lost(root.T.reshape(1, count, height, width), patches=patches)
    expected_seed, expected = lost_by_definition(matrix.tolist(), height, width, patches)
    assert int(found.seeds[0]) == expected_seed
    assert set(found.masks[0].flatten().nonzero()[:, 0].tolist()) == expected


def test_batch_rows_do_not_see_each_other():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(5, 6, 5, 7, generator=generator)
    for method in (lost, normalised_cut):
        together = method(features)
        for i in range(5):
            alone = method(features[i : i + 1])
            assert torch.equal(alone.masks[0], together.masks[i])
            assert torch.equal(alone.boxes[0], together.boxes[i])


def test_centring_lets_positive_features_be_told_apart():
    bright = planted() + 10
    assert lost(bright).boxes.tolist() != [[2, 1, 5, 4]]
    assert lost(bright, centre=True).boxes.tolist() == [[2, 1, 5, 4]]


def test_cut_minimises_the_normalised_cut():
    """On six patches the found split has the least Ncut of all splits that the eigenvector can order."""
    features = torch.tensor([[1.0, 0], [1, 0.1], [0.9, 0.2], [0, 1], [0.1, 1], [0.2, 0.9]]).T.reshape(
        1, 2, 1, 6
    )
    side = normalised_cut(features, threshold=0.7).masks[0, 0]
    flat = torch.nn.functional.normalize(features[0, :, 0].T, dim=1)
    edges = torch.where(flat @ flat.T > 0.7, 1.0, 1e-5)

    def ncut(split):
        cut = edges[split][:, ~split].sum()
        return cut / edges[split].sum() + cut / edges[~split].sum()

    splits = [torch.tensor([bool(code >> i & 1) for i in range(6)]) for code in range(1, 63)]
    assert ncut(side) <= min(ncut(split) for split in splits) + 1e-9


def cut_by_definition(features, threshold, seed, *, weigh=True, at_mean=True):
    """The generalised problem (D - E) y = l D y by scipy, or what a slip would make of it.

    Equal patches have equal |y|, so of the largest the seed that was found is taken, if it is one of them.
    """
    from scipy.linalg import eigh
    from scipy.ndimage import label

    height, width = features.shape[-2:]
    flat = torch.nn.functional.normalize(features[0].flatten(1).T.double(), dim=1)
    edges = torch.where(flat @ flat.T > threshold, 1.0, 1e-5).double().numpy()
    degrees = edges.sum(axis=1)
    values, vectors = eigh(np.diag(degrees) - edges, np.diag(degrees))
    # As good as separate parts have no single second vector.
    if values[2] - values[1] < 1e-3 or values[1] < 1e-3:
        return None
    second = vectors[:, 1] if weigh else vectors[:, 1] * np.sqrt(degrees)
    if np.abs(second)[seed] < np.abs(second).max() - 1e-9:
        seed = np.abs(second).argmax()
    above = second > (second.mean() if at_mean else 0)
    numbered, _ = label((above == above[seed]).reshape(height, width))
    return torch.from_numpy(numbered == numbered.reshape(-1)[seed])


def test_cut_against_the_generalised_eigenproblem():
    """Graphs whose sides differ in size and degree; there the mean and D^-1/2 decide where the cut is."""
    cases = slips = slips_of_weight = 0
    for seed in range(60):
        numbers = torch.Generator().manual_seed(seed)
        centres = torch.randn(3, 3, generator=numbers)
        kinds = torch.tensor([0] * 20 + [1] * 7 + [2] * 3)[torch.randperm(30, generator=numbers)]
        features = (centres[kinds] + 0.6 * torch.randn(30, 3, generator=numbers)).T.reshape(1, 3, 5, 6)
        found = normalised_cut(features)
        at = int(found.seeds[0])
        expected = cut_by_definition(features, 0.2, at)
        if expected is None:
            continue
        cases += 1
        assert torch.equal(found.masks[0], expected)
        slips += not torch.equal(cut_by_definition(features, 0.2, at, at_mean=False), expected)
        slips_of_weight += not torch.equal(cut_by_definition(features, 0.2, at, weigh=False), expected)
    assert cases > 20 and slips > 3 and slips_of_weight > 3


def test_many_patches_are_averaged_before_they_are_cut():
    small = planted(6, 5, (1, 2, 4, 5))
    large = small.repeat_interleave(3, dim=2).repeat_interleave(3, dim=3)[:, :, :17, :14]
    found = normalised_cut(large, most=30)
    expected = normalised_cut(small)
    assert found.boxes.tolist() == [[3, 6, 12, 15]]
    assert torch.equal(found.masks[0], box_masks(torch.tensor([[3, 6, 12, 15]]), (17, 14))[0, 0] > 0)
    line, column = divmod(int(expected.seeds[0]), 5)
    assert divmod(int(found.seeds[0]), 14) == (3 * line, 3 * column)
    assert found.masks[0].flatten()[found.seeds[0]]
    torch.testing.assert_close(normalised_cut(large).boxes, found.boxes)
    with pytest.raises(ValueError, match="most"):
        normalised_cut(large, most=0)


def test_similarities_that_do_not_fit_into_memory_are_counted_in_parts(monkeypatch):
    features = torch.randn(3, 4, 6, 7, generator=torch.Generator().manual_seed(2))
    whole = lost(features, patches=9)
    module = sys.modules["windvane.annotate.regions.boxes.lost_algorithm"]
    held = []
    monkeypatch.setattr(module, "BYTES", 8 * 3 * 42 * 5)
    plain = torch.Tensor.__gt__

    def watched(first, second):
        held.append(tuple(first.shape))
        return plain(first, second)

    monkeypatch.setattr(torch.Tensor, "__gt__", watched)
    parts = lost(features, patches=9)
    monkeypatch.undo()
    assert torch.equal(parts.masks, whole.masks) and torch.equal(parts.seeds, whole.seeds)
    assert max(shape[1] for shape in held if len(shape) == 3 and shape[2] == 42) == 5


@pytest.mark.parametrize(("method", "pair"), [("lost", 8), ("ncut", 40)])
def test_pairs_of_patches_bound_how_many_images_are_looked_at_together(method, pair, monkeypatch):
    from windvane.annotate.regions import rules

    images = torch.rand(7, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    rule = rules.ObjectRule(Patches(3), method=method)
    expected = rule(images)
    seen = []
    for name in ("lost", "normalised_cut"):
        plain = getattr(rules, name)
        monkeypatch.setattr(
            rules,
            name,
            lambda maps, _plain=plain, **named: (seen.append(len(maps)), _plain(maps, **named))[1],
        )
    monkeypatch.setattr(rules, "BYTES", 3 * pair * 36**2)
    assert torch.equal(rule(images), expected)
    assert seen == [3, 3, 1]


@given(st.integers(0, 2**20 - 1), st.integers(0, 19))
def test_component_against_scipy(code, seed):
    from scipy.ndimage import label

    mask = torch.tensor([bool(code >> i & 1) for i in range(20)]).reshape(4, 5)
    mask.view(-1)[seed] = True
    numbered, _ = label(mask.numpy())
    expected = torch.from_numpy(numbered == numbered.reshape(-1)[seed])
    assert torch.equal(component_of(mask[None], torch.tensor([seed]))[0], expected)


@given(st.integers(0, 5), st.integers(0, 4), st.integers(1, 4), st.integers(1, 4))
def test_boxes_and_masks_are_inverse(left, top, width, height):
    box = torch.tensor([[left, top, left + width, top + height]])
    assert torch.equal(bounding_boxes(box_masks(box, (9, 10))[:, 0] > 0), box)


def test_patches_to_pixels():
    vit = PatchGrid(size=16, stride=16)
    assert vit.to_pixels(torch.tensor([[1, 0, 3, 2]]), (64, 64)).tolist() == [[16, 0, 48, 32]]
    dense = PatchGrid(size=4, stride=1)  # 20 pixels: 17 patches
    boxes = torch.tensor([[0, 0, 17, 17], [5, 6, 8, 9]])
    assert dense.to_pixels(boxes, (20, 20)).tolist() == [[0, 0, 20, 20], [6, 7, 9, 10]]


def test_iou_and_corloc():
    a = torch.tensor([[0, 0, 2, 2], [0, 0, 4, 4]])
    b = torch.tensor([[1, 0, 3, 2], [0, 0, 4, 2]])
    assert torch.allclose(iou(a, b), torch.tensor([2 / 6, 0.5], dtype=torch.float64))
    assert corloc(a, [b[:1], b[1:]]) == 0.5


def test_refusals():
    with pytest.raises(ValueError, match="width"):
        box_masks(torch.tensor([[0, 0, 11, 2]]), (9, 10))
    with pytest.raises(ValueError, match="finite"):
        lost(torch.full((1, 2, 3, 3), float("nan")))
    with pytest.raises(ValueError, match="stride"):
        PatchGrid(size=2, stride=3)
    with pytest.raises(ValueError, match="true cell"):
        bounding_boxes(torch.zeros(1, 2, 2, dtype=torch.bool))
