"""The baselines do the same work: the same loss, gradients of the same size, the arithmetic of the floor."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from rnnstudy.bench.baselines import CELLS, OUTPUT_SIZE, SIZES, Size, Workload

cells = pytest.mark.parametrize("cell", sorted(CELLS))
SMALL = Size(batch_size=3, seq_len=11, input_size=4, hidden_size=5)


def problem(cell: str, replicas: int = 2, size: Size = SMALL) -> Workload:
    return Workload(cell=CELLS[cell], size=size, replicas=replicas, device=torch.device("cpu"))


def saved_gradients(work, monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """Gradients that a step leaves in parameters, found where autograd accumulates them."""
    seen: list[torch.Tensor] = []
    backward = torch.Tensor.backward

    def spy(self: torch.Tensor) -> None:
        leaves, pending = [], [self.grad_fn]
        visited = set()
        while pending:
            node = pending.pop()
            if node is None or node in visited:
                continue
            visited.add(node)
            if (leaf := getattr(node, "variable", None)) is not None:
                leaves.append(leaf)
            pending += [following for following, _ in node.next_functions]
        backward(self)
        seen.extend(leaf.grad for leaf in leaves)

    monkeypatch.setattr(torch.Tensor, "backward", spy)
    work()
    monkeypatch.undo()
    return seen


@cells
@pytest.mark.parametrize("way", ["ours", "torch_nn", "unrolled"])
def test_every_parameter_of_every_replica_gets_a_gradient(cell: str, way: str, monkeypatch: pytest.MonkeyPatch):
    made = problem(cell)
    gradients = saved_gradients(getattr(made, way)(), monkeypatch)
    size, gates = SMALL, CELLS[cell].model().recurrence().gates
    rows = gates * size.hidden_size
    entries = rows * (size.input_size + size.hidden_size + 2) + OUTPUT_SIZE * (size.hidden_size + 1)
    assert sum(gradient.numel() for gradient in gradients) == made.replicas * entries
    assert all(bool(gradient.any()) for gradient in gradients)


@cells
def test_the_floor_has_the_arithmetic_of_the_products(cell: str):
    """As torch counts it in the unrolled cells, but for the head and the first step's adjoint."""
    made = problem(cell, replicas=1)
    step = made.unrolled()
    with FlopCounterMode(display=False) as counter:
        step()
    head = 3 * 2 * SMALL.batch_size * SMALL.hidden_size * OUTPUT_SIZE
    rows = CELLS[cell].model().recurrence().gates * SMALL.hidden_size
    first = 2 * SMALL.batch_size * rows * SMALL.hidden_size
    assert made.flops() == counter.get_total_flops() - head + first


def test_the_floor_multiplies_as_much():
    made = problem("lstm", replicas=3, size=SIZES["S1"])
    step = made.floor()
    with FlopCounterMode(display=False) as counter:
        step()
    assert counter.get_total_flops() == pytest.approx(3 * made.flops(), rel=0.02)
