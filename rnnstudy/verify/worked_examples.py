"""Worked examples and published figures: a network in NumPy, a notebook's curve, a lesson's matrix.

The NumPy network's derivatives are compared term by term with autograd, which sees only its forward equations: every
loss step has its own loss, and every time step its own copy of W.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rnnstudy.lessons.notebook_curve import notebook_curve
from rnnstudy.lessons.powers import lesson_matrix, matrix_powers
from rnnstudy.lessons.worked_bptt import Gradients, WorkedNetwork, lesson_network
from rnnstudy.recurrence.rnn import RNNRecurrence
from rnnstudy.verify.finding import Finding, relative_error, worst_error

TOLERANCE = 1e-10
SEVEN_DIGITS = 5e-7
"""Error of figures published with seven digits: half of the last digit, relative to numbers of at least 1."""

INPUTS = (0, 1, 2, 0, 2, 1, 1, 0, 2, 2)
TARGETS = (1, 2, 0, 2, 1, 1, 0, 2, 2, 0)
TRUNCATE = 3
LIMIT = 5.0
READOUT = 8.0
"""Factor on the lesson's V that lifts some entries of a gradient above the limit of 5."""

LESSON_CUBED = ((0.1295, 0.00753), (0.2259, 0.1295))
PUBLISHED_CURVE = (1.304390e-14, 1.207213e00)


def check_worked_examples(device: torch.device) -> Iterator[Finding]:
    """Compare the NumPy results with autograd, the engine, and published figures."""
    lesson = lesson_network()
    network = WorkedNetwork(U=lesson.U, V=READOUT * lesson.V, W=lesson.W)
    plain = _differentiated(network)
    truncated = network.gradients(INPUTS, TARGETS, TRUNCATE)
    every, near = (_terms(network, plain, reach) for reach in (None, TRUNCATE))
    cell = "worked network"
    for what, against, name, error, tolerance in (
        ("dE_t/da_k, dE_t/dW(k)", "autograd, W copied", cell, every, TOLERANCE),
        (f"the same, {TRUNCATE} steps back", "autograd, others zero", cell, near, TOLERANCE),
        ("dE/dU, dE/dV, dE/dW", "autograd", cell, _gap(network.gradients(INPUTS, TARGETS), plain.total()), TOLERANCE),
        ("the same, truncated", "autograd, some terms", cell, _gap(truncated, plain.total(TRUNCATE)), TOLERANCE),
        ("clipped at ±5", "torch clip_grad_value_", cell, _clipped(truncated), TOLERANCE),
        ("dE/dU, dE/dW of engine", "NumPy, by hand", "rnn tanh", _engine(network, device), TOLERANCE),
        ("[[.5,.01],[.3,.5]]^3", "published figures", "lesson", _lesson(), TOLERANCE),
        ("a notebook's curve", "published, 7 digits", "notebook", _ends(), SEVEN_DIGITS),
    ):
        yield Finding(check=what, against=against, cell=name, error=error, tolerance=tolerance)


@dataclass(frozen=True, kw_only=True)
class _Differentiated:
    """Derivatives of every loss E_t by what every step k used; axes: t, k, then the shape of the weight or of a_k."""

    by_a: Tensor
    by_u: Tensor
    by_v: Tensor
    by_w: Tensor

    def reached(self, truncate: int | None) -> Tensor:
        """Return 1 where loss t is carried back to step k, else 0."""
        steps = torch.arange(len(self.by_a))
        return (steps[:, None] - steps <= (len(steps) if truncate is None else truncate)).double()

    def total(self, truncate: int | None = None) -> Gradients:
        """Return the sum over all losses and the steps that they reach."""
        reached = self.reached(truncate)[..., None, None]
        sums = [(each * reached).sum((0, 1)).numpy() for each in (self.by_u, self.by_v, self.by_w)]
        return Gradients(U=sums[0], V=sums[1], W=sums[2])


def _differentiated(network: WorkedNetwork) -> _Differentiated:
    u, v, w = (
        [torch.from_numpy(each).clone().requires_grad_() for _ in INPUTS] for each in (network.U, network.V, network.W)
    )
    s, a, losses = torch.zeros(len(network.W), dtype=torch.float64), [], []
    for k, (symbol, target) in enumerate(zip(INPUTS, TARGETS, strict=True)):
        a.append(u[k][:, symbol] + w[k] @ s)
        s = torch.tanh(a[-1])
        losses.append(functional.cross_entropy((v[k] @ s)[None], torch.tensor([target])))

    def derivatives(uses: Sequence[Tensor]) -> Tensor:
        rows = [torch.autograd.grad(loss, uses, retain_graph=True, materialize_grads=True) for loss in losses]
        return torch.stack([torch.stack(row) for row in rows])

    return _Differentiated(by_a=derivatives(a), by_u=derivatives(u), by_v=derivatives(v), by_w=derivatives(w))


def _terms(network: WorkedNetwork, plain: _Differentiated, truncate: int | None) -> float:
    """Return the largest error of all delta[t, k] and terms of dE/dW, each relative to its own largest entry."""
    reached = plain.reached(truncate)
    deltas, terms = (torch.from_numpy(each(INPUTS, TARGETS, truncate)) for each in (network.deltas, network.terms))
    of_deltas = relative_error(deltas, plain.by_a * reached[..., None], keep=2)
    return worst_error([of_deltas, relative_error(terms, plain.by_w * reached[..., None, None], keep=2)])


def _gap(actual: Gradients, expected: Gradients) -> float:
    pairs = [(getattr(actual, name), getattr(expected, name)) for name in ("U", "V", "W")]
    return worst_error(relative_error(torch.from_numpy(one), torch.from_numpy(other), keep=0) for one, other in pairs)


def _clipped(gradients: Gradients) -> float:
    parameters = {name: torch.nn.Parameter(torch.from_numpy(getattr(gradients, name))) for name in ("U", "V", "W")}
    for parameter in parameters.values():
        parameter.grad = parameter.detach().clone()
    torch.nn.utils.clip_grad_value_(parameters.values(), LIMIT)
    expected = {name: parameter.grad.numpy() for name, parameter in parameters.items() if parameter.grad is not None}
    return _gap(gradients.clipped(LIMIT), Gradients(**expected))


def _engine(network: WorkedNetwork, device: torch.device) -> float:
    """Return the error against the engine on the same network, with the sum of all losses."""

    def leaf(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(device)[None].requires_grad_()

    size = len(network.W)
    weights = {"weight_ih": leaf(network.U), "weight_hh": leaf(network.W)}
    biases = {name: torch.zeros(1, size, dtype=torch.float64, device=device) for name in ("bias_ih", "bias_hh")}
    inputs = torch.eye(network.U.shape[1], dtype=torch.float64, device=device)[list(INPUTS)][:, None, None]
    start = (torch.zeros(1, 1, size, dtype=torch.float64, device=device),)
    (states,) = RNNRecurrence(nonlinearity="tanh").unroll(inputs, start, weights | biases)
    logits = states[:, 0, 0] @ torch.from_numpy(network.V).to(device).T
    loss = functional.cross_entropy(logits, torch.tensor(TARGETS, device=device), reduction="sum")
    found = torch.autograd.grad(loss, list(weights.values()))
    expected = network.gradients(INPUTS, TARGETS)
    pairs = zip(found, (expected.U, expected.W), strict=True)
    return worst_error(relative_error(one[0], torch.from_numpy(other), keep=0) for one, other in pairs)


def _lesson() -> float:
    found = matrix_powers(lesson_matrix(), 3)[3]
    return relative_error(torch.from_numpy(found), torch.tensor(LESSON_CUBED, dtype=torch.float64), keep=2)


def _ends() -> float:
    """Return the error of the first and the last value of the notebook's curve."""
    found = torch.from_numpy(notebook_curve("below").published[[0, -1]])
    return relative_error(found, torch.tensor(PUBLISHED_CURVE, dtype=torch.float64), keep=1)
