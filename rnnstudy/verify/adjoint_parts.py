"""The parts of the total derivative, bit for bit, and every cell in float32 beside itself in float64.

total = direct + carried. *Direct* of h_t is compared with the derivative of the loss by the states as independent
variables, which needs no recurrence; nothing is carried into the last time step.
"""

from collections.abc import Iterator

import torch

from rnnstudy.verify.cells import all_cells, name_of
from rnnstudy.verify.finding import Finding, relative_error, share_of_different_bits, worst_error
from rnnstudy.verify.problems import SMALL, Problem, Solved, make_problem, solve

SINGLE_TOLERANCE = 1e-4
"""Tolerance in float32."""


def check_adjoint_parts(device: torch.device) -> Iterator[Finding]:
    """Check the parts of every cell's adjoints; errors of bits are shares of entries that differ."""
    for cell in all_cells():
        problems = [make_problem(cell, SMALL, device, dtype) for dtype in (torch.float64, torch.float32)]
        double, single = (solve(problem) for problem in problems)
        for what, against, error, tolerance in (
            ("direct + carried", "total, same bits", max(_sums(double), _sums(single)), 0.0),
            ("dL/dh_t, direct", "states fixed, same bits", max(map(_direct, problems, (double, single))), 0.0),
            ("all gradients, float32", "engine in float64", _precision(single, double), SINGLE_TOLERANCE),
        ):
            yield Finding(check=what, against=against, cell=name_of(cell), error=error, tolerance=tolerance)


def _sums(solved: Solved) -> float:
    """Return the largest share of entries that differ: totals from the sum of parts, the last step's carried from 0."""
    parts = solved.adjoints.values()
    sums = [share_of_different_bits(part.direct + part.carried, part.total) for part in parts]
    last = [share_of_different_bits(part.carried[-1], torch.zeros_like(part.carried[-1])) for part in parts]
    return max(*sums, *last)


def _direct(problem: Problem, solved: Solved) -> float:
    states = [state.requires_grad_() for state in solved.states]
    (expected,) = torch.autograd.grad(problem.loss(tuple(states)).sum(), states[0])
    return share_of_different_bits(solved.adjoints["h"].direct, expected)


def _precision(single: Solved, double: Solved) -> float:
    totals = [(single.adjoints[name].total, adjoint.total, 2) for name, adjoint in double.adjoints.items()]
    gradients = [(single.gradients[name], gradient, 1) for name, gradient in double.gradients.items()]
    return worst_error(relative_error(one, other, keep=keep) for one, other, keep in (*totals, *gradients))
