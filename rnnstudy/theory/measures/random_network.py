"""How much of an early state is left in the last one of a random network, beside the two conditions."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from rnnstudy.core.errors import ConfigError, suggest
from rnnstudy.gradients.activation_curves import ACTIVATION_CURVES
from rnnstudy.gradients.jacobians import contributions, input_contributions
from rnnstudy.gradients.spectra import Conditions, conditions, vanilla_bound
from rnnstudy.gradients.trajectories import random_trajectory
from rnnstudy.recurrence.activations import Nonlinearity
from rnnstudy.recurrence.base import Recurrence
from rnnstudy.recurrence.gru import GRURecurrence
from rnnstudy.recurrence.lstm import LSTMRecurrence
from rnnstudy.recurrence.rnn import RNNRecurrence
from rnnstudy.recurrence.skip import SkipRecurrence

HIDDEN_SIZE = 16


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A network to look at.

    Attributes:
        cell: Its recurrence.
        state: Which of the cell's states is followed.
        gamma: Bound of |f'| of h_t = f(W_hh h_{t-1} + ...); None for a cell that is not of this form, for which W_hh
            alone gives no bound.
    """

    cell: Recurrence
    state: str
    gamma: float | None


def _vanilla(nonlinearity: Nonlinearity) -> Choice:
    gamma = ACTIVATION_CURVES[nonlinearity].bound
    return Choice(cell=RNNRecurrence(nonlinearity=nonlinearity), state="h", gamma=gamma)


CHOICES: dict[str, Choice] = {
    "RNN, tanh": _vanilla("tanh"),
    "RNN, sigmoid": _vanilla("sigmoid"),
    "RNN, relu": _vanilla("relu"),
    "RNN, tanh, skip connection over 8 steps": Choice(cell=SkipRecurrence(skip=8), state="h", gamma=None),
    "GRU": Choice(cell=GRURecurrence(), state="h", gamma=None),
    "LSTM, hidden state h": Choice(cell=LSTMRecurrence(), state="h", gamma=None),
    "LSTM, cell state c": Choice(cell=LSTMRecurrence(), state="c", gamma=None),
}
"""The networks, by what a reader is shown."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """One random network and one sequence.

    Attributes:
        state: Which state was followed.
        log10_state: log10 of the spectral norm of ds_T/ds_k, entry k = 0..T; the last one is 0; -inf for nothing left.
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
    """Draw a network, run it over standard normal inputs, and multiply the true Jacobians of every step.

    Args:
        choice: One of CHOICES.
        radius: Spectral radius that every hidden x hidden block of W_hh is scaled to, at least 0.
        seq_len: Time steps, at least 1.
        seed: Of weights and inputs, at least 0.
        hidden_size: Units, at least 1.

    Returns:
        What is left of every state and input at the last time step.

    Raises:
        ConfigError: There is no such choice, or a number is out of range.
    """
    if choice not in CHOICES:
        raise ConfigError(f"network '{choice}' is not known. {suggest(choice, CHOICES)}")
    chosen = CHOICES[choice]
    trajectory = random_trajectory(chosen.cell, hidden_size=hidden_size, seq_len=seq_len, seed=seed, radius=radius)
    found = None if chosen.gamma is None else conditions(trajectory.weights["weight_hh"][0], chosen.gamma)
    return Measured(
        state=chosen.state,
        log10_state=contributions(trajectory, chosen.state).log10_norm[:, 0, 0].numpy(),
        log10_input=input_contributions(trajectory, chosen.state)[:, 0, 0].numpy(),
        log10_bound=None if found is None else vanilla_bound(found.gamma, found.norm, seq_len).numpy(),
        conditions=found,
    )


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one condition, or the measurement, says.

    Attributes:
        subject: What it is about.
        figure: The number that decides.
        verdict: A few words.
        meaning: One or two sentences on what that proves, and what it does not.
    """

    subject: str
    figure: str
    verdict: str
    meaning: str


def findings(measured: Measured) -> tuple[Finding, ...]:
    """Put the conditions and the measurement into words.

    Returns:
        Eigenvalues, singular values, what was measured; the last alone for a cell without conditions.
    """
    if measured.conditions is None:
        return (_measurement(measured),)
    return _eigenvalues(measured.conditions), _singular_values(measured.conditions), _measurement(measured)


def _eigenvalues(found: Conditions) -> Finding:
    if found.eigenvalues_below:
        verdict = "holds: says vanishing"
        meaning = (
            "A rule for the long run: were every slope equal to gamma, the product would vanish in the end. "
            "At a finite distance it proves nothing."
        )
    else:
        verdict = "does not hold: the product may explode"
        meaning = (
            "Needed for exploding in the long run, but not enough: "
            "slopes below gamma, where units saturate, shrink the product."
        )
    return Finding(
        subject="largest |eigenvalue| of W_hh, times gamma",
        figure=f"{found.radius:.3g} · {found.gamma:g} = {found.gamma * found.radius:.3g}",
        verdict=verdict,
        meaning=meaning,
    )


def _singular_values(found: Conditions) -> Finding:
    if found.must_vanish:
        verdict = "holds: must vanish"
        meaning = "A proof: for all inputs and at every distance the norm is at most this number to the power T - k."
    else:
        verdict = "does not hold: proves nothing"
        meaning = "The bound does not fall with the distance. The product may vanish all the same, or explode."
    return Finding(
        subject="largest singular value of W_hh, times gamma",
        figure=f"{found.norm:.3g} · {found.gamma:g} = {found.gamma * found.norm:.3g}",
        verdict=verdict,
        meaning=meaning,
    )


def _measurement(measured: Measured) -> Finding:
    steps, far = len(measured.log10_state) - 1, float(measured.log10_state[0])
    name = measured.state
    if not np.isfinite(far):
        figure, verdict = "0", "nothing is left"
    else:
        figure = f"10^{far:.2f}"
        verdict = f"times {10 ** (far / max(steps, 1)):.3g} per step, on average"
    meaning = f"The true product of {steps} Jacobians of this network on this sequence."
    if measured.conditions is None:
        meaning += " Its Jacobians hold more than W_hh and a slope, so neither condition speaks about this cell."
    return Finding(subject=f"‖∂{name}_T/∂{name}_0‖", figure=figure, verdict=verdict, meaning=meaning)
