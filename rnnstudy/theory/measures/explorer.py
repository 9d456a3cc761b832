"""Remainder of an early state in the last one of a random network, beside the two conditions."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from rnnstudy.core.errors import ConfigError, suggest
from rnnstudy.gradients.activation_curves import gamma_of
from rnnstudy.gradients.jacobians import contributions, input_contributions
from rnnstudy.gradients.spectra import Conditions, conditions, vanilla_bound
from rnnstudy.gradients.trajectories import random_trajectory
from rnnstudy.recurrence.base import Recurrence
from rnnstudy.recurrence.gru import GRURecurrence
from rnnstudy.recurrence.lstm import LSTMRecurrence
from rnnstudy.recurrence.rnn import RNNRecurrence
from rnnstudy.recurrence.skip import SkipRecurrence

HIDDEN_SIZE = 16

CHOICES: dict[str, tuple[Recurrence, str]] = {
    "RNN, tanh": (RNNRecurrence(nonlinearity="tanh"), "h"),
    "RNN, sigmoid": (RNNRecurrence(nonlinearity="sigmoid"), "h"),
    "RNN, relu": (RNNRecurrence(nonlinearity="relu"), "h"),
    "RNN, tanh, skip connection over 8 steps": (SkipRecurrence(skip=8), "h"),
    "GRU": (GRURecurrence(), "h"),
    "LSTM, hidden state h": (LSTMRecurrence(), "h"),
    "LSTM, cell state c": (LSTMRecurrence(), "c"),
}
"""Recurrence of a network and the state that is followed, by the label that a reader sees."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """One random network and one sequence.

    Attributes:
        state: State that was followed.
        log10_state: log10 of the spectral norm of ds_T/ds_k, entry k = 0..T; the last one is 0; -inf for zero.
        log10_input: log10 of the spectral norm of ds_T/dx_k, entry k = 0..T.
        log10_bound: log10 of (gamma sigma_max(W_hh))^(T-k), which `log10_state` never exceeds; None without a bound.
        conditions: Radius and norm of W_hh against 1/gamma; None without a bound.
    """

    state: str
    log10_state: Float64[np.ndarray, " time"]
    log10_input: Float64[np.ndarray, " time"]
    log10_bound: Float64[np.ndarray, " time"] | None
    conditions: Conditions | None


def measure(choice: str, *, radius: float, seq_len: int, seed: int, hidden_size: int = HIDDEN_SIZE) -> Measured:
    """Return the remainder of every state and input at the last step of a random network, by its true Jacobians.

    `choice` is one of CHOICES. Every hidden x hidden block of W_hh is scaled to the spectral radius `radius`, at least
    0. `seed`, at least 0, draws weights and standard normal inputs; `seq_len` and `hidden_size` are at least 1.

    Raises:
        ConfigError: There is no such choice, or a number is out of range.
    """
    if choice not in CHOICES:
        raise ConfigError(f"network '{choice}' is not known. {suggest(choice, CHOICES)}")
    cell, state = CHOICES[choice]
    trajectory = random_trajectory(cell, hidden_size=hidden_size, seq_len=seq_len, seed=seed, radius=radius)
    gamma = gamma_of(cell)
    found = None if gamma is None else conditions(trajectory.weights["weight_hh"][0], gamma)
    return Measured(
        state=state,
        log10_state=contributions(trajectory, state).log10_norm[:, 0, 0].numpy(),
        log10_input=input_contributions(trajectory, state)[:, 0, 0].numpy(),
        log10_bound=None if found is None else vanilla_bound(found.gamma, found.norm, seq_len).numpy(),
        conditions=found,
    )


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Statement of one condition, or of the measurement.

    Attributes:
        subject: Quantity that the statement describes.
        figure: Number that decides.
        verdict: A few words.
        meaning: One or two sentences on what the verdict proves, and what it does not.
    """

    subject: str
    figure: str
    verdict: str
    meaning: str


def findings(measured: Measured) -> tuple[Finding, ...]:
    """Describe both conditions and the measurement; only the measurement for a cell without conditions."""
    steps, far, name = len(measured.log10_state) - 1, float(measured.log10_state[0]), measured.state
    per_step = f"times {10 ** (far / max(steps, 1)):.3g} per step, on average"
    meaning = f"The true product of {steps} Jacobians of this network on this sequence."
    if measured.conditions is None:
        meaning += " Its Jacobians hold more than W_hh and a slope, so neither condition speaks about this cell."
    last = Finding(
        subject=f"‖∂{name}_T/∂{name}_0‖",
        figure=f"10^{far:.2f}" if np.isfinite(far) else "0",
        verdict=per_step if np.isfinite(far) else "nothing is left",
        meaning=meaning,
    )
    return (last,) if measured.conditions is None else (*_of_conditions(measured.conditions), last)


def _of_conditions(found: Conditions) -> tuple[Finding, Finding]:
    if found.eigenvalues_below:
        suggests = "holds: says vanishing"
        in_the_long_run = (
            "A rule for the long run: were every slope equal to gamma, the product would vanish in the end. "
            "At a finite distance it proves nothing."
        )
    else:
        suggests = "does not hold: the product may explode"
        in_the_long_run = (
            "Needed for exploding in the long run, but not enough: "
            "slopes below gamma, where units saturate, shrink the product."
        )
    if found.must_vanish:
        proves = "holds: must vanish"
        always = "A proof: for all inputs and at every distance the norm is at most this number to the power T - k."
    else:
        proves = "does not hold: proves nothing"
        always = "The bound does not fall with the distance. The product may vanish all the same, or explode."
    return (
        Finding(
            subject="largest |eigenvalue| of W_hh, times gamma",
            figure=f"{found.radius:.3g} · {found.gamma:g} = {found.gamma * found.radius:.3g}",
            verdict=suggests,
            meaning=in_the_long_run,
        ),
        Finding(
            subject="largest singular value of W_hh, times gamma",
            figure=f"{found.norm:.3g} · {found.gamma:g} = {found.gamma * found.norm:.3g}",
            verdict=proves,
            meaning=always,
        ),
    )
