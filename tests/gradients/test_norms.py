import math

import pytest
import torch

from rnnstudy.gradients.norms import count_kinds, replica_norms, sequence_norms


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 1e25, 3e37])
def test_norms_of_float32_gradients_neither_vanish_nor_overflow(scale):
    values = torch.full((2, 3, 4, 5), scale, dtype=torch.float32)
    expected = math.sqrt(5) * 4 * float(values[0, 0, 0, 0].double())
    assert torch.allclose(sequence_norms(values), torch.tensor(expected, dtype=torch.float64), rtol=1e-12)


def test_replica_norms_agree_with_the_concatenated_vector():
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(3, *shape, generator=generator) for shape in ((4, 5), (7,), (2, 2))]
    for replica, norm in enumerate(replica_norms(tensors).tolist()):
        flat = [entry for tensor in tensors for entry in tensor[replica].flatten().tolist()]
        assert norm == pytest.approx(math.sqrt(math.fsum(entry**2 for entry in flat)), rel=1e-12)


def test_replica_norms_are_finite_exactly_when_all_entries_are():
    tensors = [torch.full((3, 2), 3e38), torch.ones(3, 5)]
    tensors[0][1, 0] = float("nan")
    tensors[1][2, 3] = float("inf")
    assert replica_norms(tensors).isfinite().tolist() == [True, False, False]


@pytest.mark.parametrize("flush", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kinds_are_told_apart_even_when_subnormals_are_flushed(dtype, flush):
    tiny = torch.finfo(dtype).smallest_normal
    facts = [0.0, -0.0, tiny / 4, -tiny / 2, tiny, 1.0, -3.0, math.nan, math.inf, -math.inf, -math.inf]
    values = torch.tensor(facts, dtype=dtype).view(1, 1, 1, -1).repeat(2, 2, 1, 1)
    values[:, 1] = 1
    torch.set_flush_denormal(flush)
    try:
        kinds = {kind: found.tolist() for kind, found in count_kinds(values).items()}
    finally:
        torch.set_flush_denormal(False)
    assert kinds == {"zero": [4, 0], "subnormal": [4, 0], "nan": [2, 0], "inf": [6, 0]}
