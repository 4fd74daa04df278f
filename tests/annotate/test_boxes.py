"""Boxes: LOST and the normalised cut on planted similarities, components, geometry."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from windvane.annotate.boxes import (
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
