"""Gradients in closed form: one unit, linear networks, and the cell path of an LSTM.

    h_t = alpha h_{t-1} + x_t                dL/dh_t = alpha^(T-t) dL/dh_T
    h_t = W h_{t-1} + x_t                    dL/dh_t = dL/dh_T W^(T-t), as rows
    h_t = tanh(w h_{t-1} + x_t)              dL/dh_t = prod over s = t+1..T of (1 - h_s^2) w, times dL/dh_T
    an LSTM whose gradient through h is cut: dL/dc_t = prod over s = t+1..T of f_s, times dL/dc_T

All are computed here in NumPy, without a backward pass.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from rnnstudy.lessons.powers import lesson_matrix
from rnnstudy.mitigations.base import Moment
from rnnstudy.mitigations.h_detach import HDetach
from rnnstudy.recurrence.base import AdjointRecorder, Nonlinearity
from rnnstudy.recurrence.lstm import LSTMRecurrence
from rnnstudy.recurrence.rnn import RNNRecurrence
from rnnstudy.verify.finding import Finding, relative_error, worst_error
from rnnstudy.verify.problems import SMALL, make_problem, solve

TOLERANCE = 1e-10
STEPS = 100
FACTORS = (0.5, 0.9, 1.0, -1.1)


def check_closed_forms(device: torch.device) -> Iterator[Finding]:
    """Compare the engine with closed forms."""
    # A published matrix, and a random one of spectral norm about 1.
    matrices = (lesson_matrix(), np.random.default_rng(0).standard_normal((5, 5)) / math.sqrt(20))
    for what, against, cell, errors in (
        ("dL/dh_t, 1 linear unit", "alpha^(T-t)", "rnn identity", [_linear_unit(device, a) for a in FACTORS]),
        ("dL/dh_t, linear net", "W^(T-t)", "rnn identity", [_linear_network(device, w) for w in matrices]),
        ("dL/dh_t, 1 tanh unit", "product of (1-h^2) w", "rnn tanh", [_tanh_unit(device, w) for w in (0.5, -1.2, 2.5)]),
        ("dL/dc_t, h_detach p=1", "product of forget gates", "lstm", [_forget_gates(device)]),
    ):
        yield Finding(check=what, against=against, cell=cell, error=worst_error(errors), tolerance=TOLERANCE)


def _error(
    nonlinearity: Nonlinearity,
    device: torch.device,
    *,
    matrix: Float64[np.ndarray, "hidden hidden"],
    last: Float64[np.ndarray, " hidden"],
    expected: list[Float64[np.ndarray, " hidden"]] | list[list[float]],
) -> float:
    """Return the error, by time step, of the engine's dL/dh_t for h_t = f(x_t + W h_{t-1}), h_0 = 0, L = last h_T."""

    def on_device(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(device)

    size = len(matrix)
    weights = {"weight_ih": on_device(np.eye(size))[None], "weight_hh": on_device(matrix)[None]}
    weights |= dict.fromkeys(("bias_ih", "bias_hh"), on_device(np.zeros((1, size))))
    sequence = on_device(_inputs(size))[:, None, None]
    recorder = AdjointRecorder()
    start = (torch.zeros_like(sequence[0]).requires_grad_(),)
    (states,) = RNNRecurrence(nonlinearity=nonlinearity).unroll(sequence, start, weights, recorder=recorder)
    (on_device(last) * states[-1, 0, 0]).sum().backward()
    return relative_error(recorder.adjoints["h"].total[:, 0, 0], torch.from_numpy(np.array(expected)), keep=1)


def _inputs(size: int) -> Float64[np.ndarray, "time hidden"]:
    return np.random.default_rng(1).standard_normal((STEPS, size)) / 2


def _linear_unit(device: torch.device, alpha: float) -> float:
    expected = [[3.0 * alpha ** (STEPS - 1 - t)] for t in range(STEPS)]
    return _error("identity", device, matrix=np.array([[alpha]]), last=np.array([3.0]), expected=expected)


def _linear_network(device: torch.device, matrix: Float64[np.ndarray, "hidden hidden"]) -> float:
    last = np.linspace(1.0, 2.0, len(matrix))
    expected = [last @ np.linalg.matrix_power(matrix, STEPS - 1 - t) for t in range(STEPS)]
    return _error("identity", device, matrix=matrix, last=last, expected=expected)


def _tanh_unit(device: torch.device, weight: float) -> float:
    h, factors = 0.0, []
    for x in _inputs(1)[:, 0]:
        h = math.tanh(weight * h + x)
        factors.append((1 - h * h) * weight)
    expected = [[3.0 * math.prod(factors[t + 1 :])] for t in range(STEPS)]
    return _error("tanh", device, matrix=np.array([[weight]]), last=np.array([3.0]), expected=expected)


def _forget_gates(device: torch.device) -> float:
    """Return the error of dL/dc_t where the loss sees c_T alone."""
    problem = make_problem(LSTMRecurrence(), SMALL, device)
    zero = torch.zeros_like(problem.coefficients[1])
    zero[-1] = problem.coefficients[1][-1]
    problem = replace(problem, coefficients=(torch.zeros_like(problem.coefficients[0]), zero))
    edit = HDetach(probability=1.0, off_phase=0.0).adjoint_edit(Moment(step=0, num_steps=1, seeds=range(SMALL.replica)))
    solved = solve(problem, edit=edit)

    h, x = (each.detach().cpu().numpy() for each in (solved.states[0], problem.inputs))
    before = np.concatenate([problem.state[0].detach().cpu().numpy()[None], h[:-1]])
    rows = slice(SMALL.hidden, 2 * SMALL.hidden)
    w = {name: weight.detach().cpu().numpy()[:, rows] for name, weight in problem.weights.items()}
    sums = np.einsum("rhi,trbi->trbh", w["weight_ih"], x) + np.einsum("rhk,trbk->trbh", w["weight_hh"], before)
    f = 1 / (1 + np.exp(-(sums + (w["bias_ih"] + w["bias_hh"])[:, None])))

    c = solved.states[1][-1].cpu()
    k = zero[-1].cpu()
    last = (k * (1 + 2 * c + c.cos())).numpy()
    expected = [last * f[t + 1 :].prod(0) for t in range(SMALL.time)]
    return relative_error(solved.adjoints["c"].total, torch.from_numpy(np.array(expected)), keep=2)
