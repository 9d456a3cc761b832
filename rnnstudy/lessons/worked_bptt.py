"""Backpropagation through time by hand: a network small enough to follow every number.

    s_t = tanh(U x_t + W s_{t-1})        2 hidden units; s is zero before the first step
    o_t = softmax(V s_t)                 3 symbols, x_t is one-hot
    E_t = -log o_t[y_t]                  a loss at every step; E is their sum

Let a_t = U x_t + W s_{t-1}, the input of tanh. W acts at every step k, so dE_t/dW is a sum of one term per step k <= t:

    dE_t/dW = sum over k of delta[t, k] s_{k-1}^T,    delta[t, k] = dE_t/da_k
    delta[t, t] = V^T (o_t - onehot(y_t)) * (1 - s_t^2)
    delta[t, k] = W^T delta[t, k+1] * (1 - s_k^2)

Each step back multiplies by W^T and by 1 - s_k^2 <= 1 once more, which makes a gradient vanish or explode.

References:
    A notebook that derives backpropagation through time for this network, with these weights, truncation and clipping.
    Werbos, Backpropagation through time: what it does and how to do it, 1990, section III.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from rnnstudy.core.errors import (
    ConfigError,
    RnnstudyError,
    require_above,
    require_at_least,
    require_finite,
    require_size,
)

MOST_STEPS = 1000
"""Length of the longest sequence; the number of terms grows with its square."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ForwardPass:
    """States and answers of a forward pass; row t belongs to time step t.

    Args:
        states: s_t.
        log_probabilities: log o_t.
    """

    states: Float64[np.ndarray, "time hidden"]
    log_probabilities: Float64[np.ndarray, "time output"]

    @property
    def probabilities(self) -> Float64[np.ndarray, "time output"]:
        """o_t: the probability that the network gives each symbol as the answer at step t."""
        return np.exp(self.log_probabilities)

    @property
    def previous_states(self) -> Float64[np.ndarray, "time hidden"]:
        """s_{t-1}, which W multiplies at step t; zero at the first step."""
        return np.vstack([np.zeros_like(self.states[:1]), self.states[:-1]])


@dataclass(frozen=True, kw_only=True, eq=False)
class Gradients:
    """dE/dU, dE/dV and dE/dW of E = sum of E_t, each in the shape of its weight."""

    U: Float64[np.ndarray, "hidden input"]
    V: Float64[np.ndarray, "output hidden"]
    W: Float64[np.ndarray, "hidden hidden"]

    def clipped(self, limit: float = 5.0) -> "Gradients":
        """Return a copy with entries clipped to [-limit, limit], limit above 0; the gradient's direction can change."""
        require_above("limit", limit, 0)
        return Gradients(U=self.U.clip(-limit, limit), V=self.V.clip(-limit, limit), W=self.W.clip(-limit, limit))


@dataclass(frozen=True, kw_only=True, eq=False)
class WorkedNetwork:
    """The network at the top of this file, in any size.

    Sequences are symbols 0, 1, 2...: `inputs` are the x_t, `targets` the y_t, equally many, 1 to 1000; anything else
    raises ConfigError. `bptt_truncate` = n keeps the terms with t - k <= n: 3 keeps four, as in the notebook; None all.

    Args:
        U: Input weights.
        V: Output weights.
        W: Recurrent weights.
    """

    U: Float64[np.ndarray, "hidden input"]
    V: Float64[np.ndarray, "output hidden"]
    W: Float64[np.ndarray, "hidden hidden"]

    def forward(self, inputs: Sequence[int]) -> ForwardPass:
        """Return the states and answers of every step of a sequence."""
        _check_symbols("inputs", inputs, self.U.shape[1])
        s = np.zeros(len(self.W))
        states, log_probabilities = [], []
        for x in _one_hot(inputs, self.U.shape[1]):
            s = np.tanh(self.U @ x + self.W @ s)
            z = self.V @ s
            # log softmax with the largest entry subtracted first: exp cannot overflow, and log never meets a zero.
            z = z - z.max()
            states.append(s)
            log_probabilities.append(z - np.log(np.exp(z).sum()))
        return ForwardPass(states=np.array(states), log_probabilities=np.array(log_probabilities))

    def losses(self, inputs: Sequence[int], targets: Sequence[int]) -> Float64[np.ndarray, " time"]:
        """Return the cross entropy E_t = -log o_t[y_t] of every step, in nats."""
        self._check(inputs, targets)
        log_probabilities = self.forward(inputs).log_probabilities
        return np.array([-log_probabilities[t, target] for t, target in enumerate(targets)])

    def deltas(
        self, inputs: Sequence[int], targets: Sequence[int], bptt_truncate: int | None = None
    ) -> Float64[np.ndarray, "time time hidden"]:
        """Return delta[t, k] = dE_t/da_k, from loss step t to source step k; zero for k > t and where truncated."""
        self._check(inputs, targets)
        reach = len(inputs) if bptt_truncate is None else bptt_truncate
        require_at_least("bptt_truncate", reach, 0)
        run = self.forward(inputs)
        deltas = np.zeros((len(inputs), *run.states.shape))
        for t, output_error in enumerate(run.probabilities - _one_hot(targets, len(self.V))):
            delta = self.V.T @ output_error * (1 - run.states[t] ** 2)
            deltas[t, t] = delta
            for k in range(t - 1, max(0, t - reach) - 1, -1):
                delta = self.W.T @ delta * (1 - run.states[k] ** 2)
                deltas[t, k] = delta
        return deltas

    def terms(
        self, inputs: Sequence[int], targets: Sequence[int], bptt_truncate: int | None = None
    ) -> Float64[np.ndarray, "time time hidden hidden"]:
        """Return the terms of dE/dW: delta[t, k] s_{k-1}^T for loss step t (axis 0) and source step k (axis 1).

        The sum over axis 1 is dE_t/dW, over both dE/dW. The first source step's terms are zero, as s is zero before it.
        """
        deltas = self.deltas(inputs, targets, bptt_truncate)
        return np.einsum("tki,kj->tkij", deltas, self.forward(inputs).previous_states)

    def gradients(self, inputs: Sequence[int], targets: Sequence[int], bptt_truncate: int | None = None) -> Gradients:
        """Return the gradient of E, summed over all loss steps and source steps.

        dE/dU is the sum of delta[t, k] x_k^T, dE/dV that of (o_t - onehot(y_t)) s_t^T, dE/dW that of the terms. V acts
        on the state of the loss step alone, so truncation does not change dE/dV.
        """
        run = self.forward(inputs)
        by_source = self.deltas(inputs, targets, bptt_truncate).sum(axis=0)
        return Gradients(
            U=by_source.T @ _one_hot(inputs, self.U.shape[1]),
            V=(run.probabilities - _one_hot(targets, len(self.V))).T @ run.states,
            W=by_source.T @ run.previous_states,
        )

    def step(self, gradients: Gradients, learning_rate: float) -> "WorkedNetwork":
        """Return the network after a step, weight - learning_rate * gradient; the rate must be finite and positive."""
        require_above("learning_rate", learning_rate, 0)
        require_finite("learning_rate", learning_rate)
        return WorkedNetwork(
            U=self.U - learning_rate * gradients.U,
            V=self.V - learning_rate * gradients.V,
            W=self.W - learning_rate * gradients.W,
        )

    def _check(self, inputs: Sequence[int], targets: Sequence[int]) -> None:
        _check_symbols("inputs", inputs, self.U.shape[1])
        _check_symbols("targets", targets, len(self.V))
        if len(inputs) != len(targets):
            raise ConfigError(f"targets must be as many as inputs, {len(inputs)}, got {len(targets)}.")


@dataclass(frozen=True, kw_only=True)
class Descent:
    """Settings of plain gradient descent on one sequence, for the worked network.

    Args:
        num_steps: Steps of gradient descent, 0 to 1 000 000.
        learning_rate: Learning rate, finite and above 0.
        bptt_truncate: Steps that a loss is carried back, at least 0; None carries it to the first.
        clip: Largest absolute value of a gradient's entry, above 0.
    """

    num_steps: int = 100
    learning_rate: float = 0.1
    bptt_truncate: int | None = 3
    clip: float = 5.0

    def __post_init__(self) -> None:
        require_size("num_steps", self.num_steps, 0)
        require_above("learning_rate", self.learning_rate, 0)
        require_finite("learning_rate", self.learning_rate)
        require_at_least("bptt_truncate", 0 if self.bptt_truncate is None else self.bptt_truncate, 0)
        require_above("clip", self.clip, 0)


def lesson_network() -> WorkedNetwork:
    """Return the network with the notebook's weights: 2 hidden units, 3 symbols."""
    return WorkedNetwork(
        U=np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]),
        V=np.array([[0.2, 0.3], [0.5, 0.6], [0.7, 0.8]]),
        W=np.array([[0.4, 0.5], [0.1, 0.2]]),
    )


def train(
    network: WorkedNetwork, inputs: Sequence[int], targets: Sequence[int], *, descent: Descent
) -> tuple[WorkedNetwork, Float64[np.ndarray, " step"]]:
    """Return the network trained by clipped gradient descent, and its num_steps + 1 losses E = sum of E_t, in nats.

    The losses are those before each step and after the last.

    Raises:
        ConfigError: The sequences break a rule of WorkedNetwork.
        RnnstudyError: A loss or gradient left the range of float64.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        losses = [network.losses(inputs, targets).sum()]
        for step in range(1, descent.num_steps + 1):
            gradients = network.gradients(inputs, targets, descent.bptt_truncate).clipped(descent.clip)
            network = network.step(gradients, descent.learning_rate)
            losses.append(network.losses(inputs, targets).sum())
            if not all(np.isfinite(value).all() for value in (losses[-1], network.U, network.V, network.W)):
                raise RnnstudyError(
                    f"The gradient or the loss is not finite after step {step}: lower learning_rate, "
                    f"got {descent.learning_rate}, or clip, got {descent.clip}."
                )
    return network, np.array(losses)


def _one_hot(sequence: Sequence[int], symbols: int) -> Float64[np.ndarray, "time symbols"]:
    return np.eye(symbols)[list(sequence)]


def _check_symbols(name: str, sequence: Sequence[int], symbols: int) -> None:
    if not 1 <= len(sequence) <= MOST_STEPS:
        raise ConfigError(f"{name} must have 1 to {MOST_STEPS} symbols, got {len(sequence)}.")
    wrong = [symbol for symbol in sequence if symbol not in range(symbols)]
    if wrong:
        raise ConfigError(f"{name} must be symbols 0 to {symbols - 1}, got {wrong[0]}.")
