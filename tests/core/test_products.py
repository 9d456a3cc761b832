"""Products against float64, whichever library does them, and the same bits alone and stacked."""

import pytest
import torch

from rnnstudy.core import products
from rnnstudy.core.products import MANY, StepProduct, add_products

SMALL, LARGE = (2, 3, 5, 7), (9, 32, 137, 256)
"""Time, batch and the widths left and right; the second is for oneDNN."""
MIDDLE = (2, 16, 50, 256)
"""Large only if replicas were counted."""
sizes = pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
libraries = pytest.mark.parametrize("onednn", [True, False], ids=["onednn", "blas"])


@pytest.fixture(autouse=True)
def library(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Take oneDNN away where a test asks for it."""
    if "onednn" in request.fixturenames and not request.getfixturevalue("onednn"):
        monkeypatch.setattr(products, "_HAS_ONEDNN", False)


def draw(*shape: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64).to(dtype)


def near(actual: torch.Tensor, expected: torch.Tensor, terms: int) -> bool:
    """Within the rounding of a sum of so many terms of about one."""
    return bool(((actual.double() - expected).abs() <= terms * torch.finfo(actual.dtype).eps).all())


@sizes
@libraries
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_step_product(size: tuple[int, ...], onednn: bool, dtype: torch.dtype):
    _, batch, left, right = size
    weight, rows = draw(3, right, left, dtype=dtype), draw(3, batch, left, dtype=dtype)
    out = torch.empty(3, batch, right + 4, dtype=dtype)[..., 4:]
    given = StepProduct(weight, batch)(rows, out)
    assert given is out
    assert near(out, torch.einsum("rbi,roi->rbo", rows.double(), weight.double()), 4 * left)


@sizes
@libraries
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_add_products(size: tuple[int, ...], onednn: bool, dtype: torch.dtype):
    time, batch, left, right = size
    rows, deltas = draw(time, 3, batch, left, dtype=dtype), draw(3, time * batch, right, dtype=dtype)
    total = draw(3, left, right, dtype=dtype)
    by_step = deltas.double().unflatten(1, (time, batch))
    expected = total.double() + torch.einsum("trbl,rtbm->rlm", rows.double(), by_step)
    add_products(total, rows, deltas)
    assert near(total, expected, 4 * time * batch)


def test_large_products_go_through_onednn_where_there_is_one():
    _, batch, left, right = LARGE
    assert batch * left * right >= MANY
    packed = StepProduct(torch.zeros(1, right, left), batch)._packed
    assert (packed is not None) == products._HAS_ONEDNN


@pytest.mark.parametrize("size", [SMALL, MIDDLE, LARGE], ids=["small", "middle", "large"])
def test_a_replica_has_the_same_bits_alone_and_stacked(size: tuple[int, ...]):
    time, batch, left, right = size
    weight, rows = draw(8, right, left, dtype=torch.float32), draw(time, 8, batch, left, dtype=torch.float32)
    deltas = draw(8, time * batch, right, dtype=torch.float32)
    out, total = torch.empty(8, batch, right), torch.zeros(8, left, right)
    StepProduct(weight, batch)(rows[0], out)
    add_products(total, rows, deltas)
    for replica in range(8):
        one = slice(replica, replica + 1)
        alone, alone_total = torch.empty(1, batch, right), torch.zeros(1, left, right)
        StepProduct(weight[one], batch)(rows[0, one], alone)
        add_products(alone_total, rows[:, one], deltas[one])
        assert torch.equal(alone, out[one])
        assert torch.equal(alone_total, total[one])
