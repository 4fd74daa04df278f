"""What the search for nearest rows takes: one block of memory for products, no float64 copy of all rows."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from windvane.metrics.distances import _smallest, nearest


class Tensors(TorchDispatchMode):
    """The tensors that operations made: (name, dtype, numbers, address)."""

    def __init__(self):
        super().__init__()
        self.made = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            self.made.append((str(function), out.dtype, out.numel(), out.data_ptr()))
        return out


def rows_of(n, seed):
    return torch.randn(n, 32, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("k", [1, 5])
def test_products_share_their_memory_and_rows_stay_in_float32(k):
    rows, reference = rows_of(1100, 0), rows_of(3000, 1)
    with Tensors() as tensors:
        found = nearest(rows, reference, k=k)
    products = [made for made in tensors.made if "addmm" in made[0]]
    assert len(products) > 1 and len({address for *_, address in products}) == 1
    wide = [made for made in tensors.made if made[1] == torch.float64 and made[2] >= reference.numel()]
    assert not wide
    exact = torch.cdist(rows.double(), reference.double(), compute_mode="donot_use_mm_for_euclid_dist")
    distances, indices = exact.topk(k, largest=False)
    torch.testing.assert_close(found.distances, distances)
    assert (found.indices == indices).all()


@pytest.mark.parametrize("group", [5, 8, 20])
def test_the_smallest_lie_in_the_smallest_groups(group):
    values = torch.randn(7, 400, generator=torch.Generator().manual_seed(2))
    for count in (3, 7):
        smallest, columns = _smallest(values, count, group)
        expected = values.topk(count, largest=False)
        assert (smallest == expected.values).all() and (columns == expected.indices).all()
