"""Tables of the notebook's worked network: every number that a student would check."""

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float64

from rnnstudy.lessons.worked_bptt import WorkedNetwork, lesson_network
from rnnstudy.theory.topic import Table

INPUTS = (0, 1, 2, 2, 1, 0, 1, 2)
TARGETS = (1, 2, 2, 1, 0, 1, 2, 0)
"""Symbols read, and symbols to answer: always the next one."""
TRUNCATE, LIMIT = 3, 5.0
LONG_INPUTS, LONG_TARGETS = (2,) * 20, (0,) * 20
"""A case with large gradients: the same symbol at every step, and the same answer, which the network finds unlikely."""


def worked_text() -> tuple[str, ...]:
    """Describe the tables, with the numbers that summarise them."""
    network = lesson_network()
    terms, reference = network.terms(INPUTS, TARGETS), autograd_terms(network, INPUTS, TARGETS)
    kept = network.terms(INPUTS, TARGETS, TRUNCATE)
    full, cut = (network.gradients(INPUTS, TARGETS, reach).W for reach in (None, TRUNCATE))
    once, long = network.gradients(INPUTS, TARGETS), network.gradients(LONG_INPUTS, LONG_TARGETS)
    entries = np.concatenate([each.ravel() for each in (long.U, long.V, long.W)])
    largest = max(float(np.abs(each).max()) for each in (once.U, once.V, once.W))
    beyond = int((np.abs(entries) > LIMIT).sum())
    return (
        "The worked network, by hand: s_t = tanh(U x_t + W s_(t-1)), o_t = softmax(V s_t), a loss E_t = -ln o_t(y_t) "
        "at every step, E their sum. dE_t/dW is the sum over k <= t of delta(t,k) s_(k-1)^T. The same is done with "
        "torch, with a copy of W of its own for every time step: autograd's gradient of E_t with respect to copy k is "
        f"the term. Largest difference over all {_count(terms)} terms: {np.abs(terms - reference).max():.0e}.",
        f"Truncation: with bptt_truncate = {TRUNCATE} a loss is carried {TRUNCATE} steps back, so lags 0 to {TRUNCATE} "
        f"stay: {_count(kept)} of {_count(terms)} terms. The gradient of W changes by "
        f"{np.linalg.norm(cut - full) / np.linalg.norm(full):.2%} of its norm.",
        f"Clipping at ±{LIMIT:g}, entry by entry: the largest entry of all gradients is {largest:.3f}, "
        f"so {'nothing is clipped' if largest <= LIMIT else 'some are clipped'}. Where x_t = 2 and y_t = 0 at "
        f"{len(LONG_INPUTS)} steps, {beyond} of the {len(entries)} entries of dE/dU, dE/dV and dE/dW lie beyond and "
        f"become ±{LIMIT:g}; the largest was {np.abs(entries).max():.3f}.",
    )


def worked_tables() -> tuple[Table, ...]:
    """Return the forward values, the terms of the last loss, and the gradient of W."""
    network = lesson_network()
    return _forward(network), _terms(network), _gradients(network)


def autograd_terms(
    network: WorkedNetwork, inputs: Sequence[int], targets: Sequence[int]
) -> Float64[np.ndarray, "time time hidden hidden"]:
    """Compute `WorkedNetwork.terms` by torch: gradients of each loss (axis 0) by each step's own copy of W (axis 1)."""
    u, v, w = (torch.from_numpy(weight) for weight in (network.U, network.V, network.W))
    copies = [w.clone().requires_grad_() for _ in inputs]
    state = torch.zeros(len(w), dtype=torch.float64)
    terms = np.zeros((len(inputs), len(inputs), *w.shape))
    with torch.enable_grad():
        for t, (symbol, target) in enumerate(zip(inputs, targets, strict=True)):
            state = torch.tanh(u[:, symbol] + copies[t] @ state)
            loss = -torch.log_softmax(v @ state, dim=0)[target]
            found = torch.autograd.grad(loss, copies[: t + 1], retain_graph=True)
            terms[t, : t + 1] = np.stack([gradient.numpy() for gradient in found])
    return terms


def _count(terms: Float64[np.ndarray, "time time hidden hidden"]) -> int:
    """Count the non-zero terms; those of the first source step are zero, as s is zero before it."""
    return int(terms.any(axis=(2, 3)).sum())


def _forward(network: WorkedNetwork) -> Table:
    run, losses = network.forward(INPUTS), network.losses(INPUTS, TARGETS)
    answers = run.probabilities[np.arange(len(INPUTS)), list(TARGETS)]
    numbers = np.column_stack([run.states, answers, losses])
    return Table(
        title="The worked network, forward",
        header=("t", "x_t", "y_t", "s_t, unit 1", "s_t, unit 2", "o_t(y_t)", "E_t"),
        rows=[
            (*map(str, (t, x, y)), *(f"{value:.6f}" for value in row))
            for t, x, y, row in zip(itertools.count(1), INPUTS, TARGETS, numbers, strict=False)
        ],
        caption=f"U, V, W of the notebook; symbols 0, 1, 2. E = {losses.sum():.6f} nats.",
    )


def _terms(network: WorkedNetwork) -> Table:
    last = len(INPUTS) - 1
    terms, deltas = network.terms(INPUTS, TARGETS)[last], network.deltas(INPUTS, TARGETS)[last]
    reference = autograd_terms(network, INPUTS, TARGETS)[last]
    return Table(
        title=f"The terms of dE_t/dW of the last loss, t = {last + 1}",
        header=("k", "lag", "delta 1", "delta 2", "W11", "W12", "W21", "W22", "diff"),
        rows=[
            (
                *map(str, (k + 1, last - k)),
                *(f"{value:.1e}" for value in (*deltas[k], *terms[k].flat)),
                f"{np.abs(terms[k] - reference[k]).max():.0e}",
            )
            for k in range(last, -1, -1)
        ],
        caption="W11 to W22: the term delta(t,k) s_(k-1)^T; diff: the largest difference from torch's. "
        "k = 1 gives nothing, as the state before it is zero.",
    )


def _gradients(network: WorkedNetwork) -> Table:
    full = network.gradients(INPUTS, TARGETS)
    long = network.gradients(LONG_INPUTS, LONG_TARGETS)
    whole = autograd_terms(network, INPUTS, TARGETS).sum(axis=(0, 1))
    columns = (full.W, whole, network.gradients(INPUTS, TARGETS, TRUNCATE).W, full.clipped(LIMIT).W)
    rows = [(f"dE/dW{i + 1}{j + 1}", *(f"{each[i, j]:.8f}" for each in columns)) for i in range(2) for j in range(2)]
    i, j = np.unravel_index(np.abs(long.V).argmax(), long.V.shape)
    rows.append((f"long: dE/dV{i + 1}{j + 1}", f"{long.V[i, j]:.8f}", "", "", f"{long.clipped(LIMIT).V[i, j]:.8f}"))
    return Table(
        title="The gradient of W: all terms, autograd, truncated, clipped",
        header=("entry", "all terms", "autograd", f"truncate {TRUNCATE}", f"clip ±{LIMIT:g}"),
        rows=rows,
        caption=f"Last row: the largest entry of dE/dV where x_t = 2, y_t = 0 at {len(LONG_INPUTS)} steps.",
    )
