"""Parity with torch.nn.RNN, GRU and LSTM, replica by replica, float64, relative error 1e-10."""

import pytest
import torch
from hypothesis import given, settings
from reference.problems import (
    RECURRENCES,
    Problem,
    Sizes,
    assert_near,
    coefficients_like,
    make_problem,
    sizes,
    weighted,
)
from torch import Tensor, nn

from rnnstudy.recurrence.base import Recurrence
from rnnstudy.recurrence.gru import GRURecurrence
from rnnstudy.recurrence.lstm import LSTMRecurrence
from rnnstudy.recurrence.rnn import RNNRecurrence

IN_TORCH = [recurrence for recurrence in RECURRENCES if recurrence.in_torch]


def test_the_cells_that_torch_has() -> None:
    vanilla = {RNNRecurrence(nonlinearity="tanh"), RNNRecurrence(nonlinearity="relu")}
    assert set(IN_TORCH) == vanilla | {GRURecurrence(), LSTMRecurrence()}


def torch_twin(recurrence: Recurrence, problem: Problem, replica: int) -> nn.RNNBase:
    """The module of torch.nn with the weights of one replica.

    Raises:
        AssertionError: If the tests know none.
    """
    sizes_ = problem.inputs.shape[-1], problem.state[0].shape[-1]
    match recurrence:
        case RNNRecurrence(nonlinearity=("tanh" | "relu") as name):
            module: nn.RNNBase = nn.RNN(*sizes_, nonlinearity=name, dtype=torch.float64)
        case GRURecurrence():
            module = nn.GRU(*sizes_, dtype=torch.float64)
        case LSTMRecurrence():
            module = nn.LSTM(*sizes_, dtype=torch.float64)
        case _:
            raise AssertionError(f"{recurrence!r}: name its module of torch.nn here.")
    with torch.no_grad():
        for name, value in problem.weights.items():
            module.get_parameter(f"{name}_l0").copy_(value[replica])
    return module


def run_torch(
    recurrence: Recurrence, problem: Problem, replica: int, output_k: Tensor, final_k: tuple[Tensor, ...]
) -> tuple[list[Tensor], list[Tensor]]:
    """Output and final states; gradients of inputs, initial states and parameters."""
    module = torch_twin(recurrence, problem, replica)
    inputs = problem.inputs[:, replica].detach().clone().requires_grad_()
    state = [s[replica].detach().clone().unsqueeze(0).requires_grad_() for s in problem.state]
    output, final = module(inputs, tuple(state) if len(state) > 1 else state[0])
    final = [s[0] for s in final] if isinstance(final, tuple) else [final[0]]
    loss = (output * output_k[:, replica]).sum() + weighted(tuple(final), tuple(k[replica] for k in final_k))
    parameters = [module.get_parameter(f"{name}_l0") for name in problem.weights]
    gradients = list(torch.autograd.grad(loss, [inputs, *state, *parameters]))
    for number in range(1, 1 + len(state)):
        gradients[number] = gradients[number].squeeze(0)
    return [output, *final], gradients


@pytest.mark.parametrize("recurrence", IN_TORCH, ids=repr)
@given(size=sizes())
@settings(max_examples=15)
def test_parity(recurrence: Recurrence, size: Sizes) -> None:
    """Outputs, final states and all gradients, for a loss on every output and on the final states."""
    problem = make_problem(recurrence, size)
    states = recurrence.unroll(problem.inputs, problem.state, problem.weights)
    final = tuple(state[-1] for state in states)
    (output_k,) = coefficients_like(states[:1], size.seed)
    final_k = coefficients_like(final, size.seed + 1)
    loss = (states[0] * output_k).sum() + weighted(final, final_k)
    leaves = problem.leaves()
    gradients = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))

    for replica in range(size.replica):
        values, expected = run_torch(recurrence, problem, replica, output_k, final_k)
        assert_near(states[0][:, replica], values[0], "output")
        for state, value in zip(final, values[1:], strict=True):
            assert_near(state[replica : replica + 1], value.unsqueeze(0), "final state")
        for (name, gradient), wanted in zip(gradients.items(), expected, strict=True):
            if name == "inputs":
                assert_near(gradient[:, replica], wanted, f"gradient of {name}")
            else:
                assert_near(gradient[replica : replica + 1], wanted.unsqueeze(0), f"gradient of {name}")
