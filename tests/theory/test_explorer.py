import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnstudy.core.errors import ConfigError
from rnnstudy.gradients.activation_curves import gamma_of
from rnnstudy.gradients.trajectories import random_trajectory
from rnnstudy.recurrence.lstm import LSTMRecurrence
from rnnstudy.theory.measures.explorer import CHOICES, HIDDEN_SIZE, findings, measure

GAMMAS = {name: gamma_of(cell) for name, (cell, _) in CHOICES.items()}
VANILLA = [name for name, gamma in GAMMAS.items() if gamma is not None]


@pytest.mark.parametrize("choice", CHOICES)
def test_an_identity_is_left_at_the_last_step(choice):
    found = measure(choice, radius=0.9, seq_len=12, seed=3, hidden_size=5)
    assert found.log10_state.shape == found.log10_input.shape == (12,)
    assert found.log10_state[-1] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("choice", VANILLA)
@settings(max_examples=15)
@given(radius=st.floats(0.05, 6), seed=st.integers(0, 1000), seq_len=st.integers(1, 40))
def test_the_bound_is_never_exceeded_and_the_radius_is_the_one_asked_for(choice, radius, seed, seq_len):
    found = measure(choice, radius=radius, seq_len=seq_len, seed=seed, hidden_size=6)
    assert found.conditions is not None
    assert found.log10_bound is not None
    assert found.conditions.radius == pytest.approx(radius, rel=1e-9)
    assert (found.log10_state <= found.log10_bound + 1e-9).all()


@pytest.mark.parametrize(("state", "choice"), [(0, "LSTM, hidden state h"), (1, "LSTM, cell state c")])
def test_an_lstms_states_are_those_of_torch(state, choice):
    path = random_trajectory(LSTMRecurrence(), hidden_size=HIDDEN_SIZE, seq_len=9, seed=4, radius=1.3)
    twin = torch.nn.LSTMCell(path.inputs.shape[-1], HIDDEN_SIZE, dtype=torch.float64)
    twin.load_state_dict({name: weight[0] for name, weight in path.weights.items()})
    first = [path.states[each][0, 0] for each in range(2)]

    def last(values):
        now = tuple(values if each == state else first[each] for each in range(2))
        for x in path.inputs[1:, 0]:
            now = twin(x, now)
        return now[state][0]

    jacobian = torch.autograd.functional.jacobian(last, first[state])
    assert isinstance(jacobian, torch.Tensor)
    expected = float(torch.linalg.matrix_norm(jacobian[:, 0], ord=2).log10())
    found = measure(choice, radius=1.3, seq_len=9, seed=4)
    assert found.log10_state[0] == pytest.approx(expected, abs=1e-10)


def test_inputs_vanish_at_the_pace_of_states():
    found = measure("RNN, sigmoid", radius=2, seq_len=60, seed=1)
    path = random_trajectory(CHOICES["RNN, sigmoid"][0], hidden_size=HIDDEN_SIZE, seq_len=60, seed=1, radius=2)
    last = path.states[0][-1, 0, 0]
    by_input = (last * (1 - last)).diag() @ path.weights["weight_ih"][0]
    assert found.log10_input[-1] == pytest.approx(float(torch.linalg.matrix_norm(by_input, ord=2).log10()), abs=1e-10)
    assert np.ptp(found.log10_state) > 20
    assert np.ptp(found.log10_input - found.log10_state) < 1.5


@pytest.mark.parametrize(
    ("choice", "radius", "verdicts"),
    [
        ("RNN, sigmoid", 0.9, ["holds: says vanishing", "holds: must vanish"]),
        ("RNN, tanh", 0.9, ["holds: says vanishing", "does not hold: proves nothing"]),
        ("RNN, relu", 3.0, ["does not hold: the product may explode", "does not hold: proves nothing"]),
    ],
)
def test_each_condition_is_put_into_words(choice, radius, verdicts):
    found = findings(measure(choice, radius=radius, seq_len=30, seed=0))
    assert [each.verdict for each in found[:2]] == verdicts
    gamma = GAMMAS[choice]
    assert found[0].figure == f"{radius:g} · {gamma:g} = {gamma * radius:.3g}"


def test_the_measurement_is_put_into_words():
    measured = measure("RNN, relu", radius=3, seq_len=30, seed=0)
    last = findings(measured)[-1]
    assert last.figure == f"10^{measured.log10_state[0]:.2f}"
    assert last.verdict == f"times {10 ** (measured.log10_state[0] / 29):.3g} per step, on average"
    assert "product of 29 Jacobians" in last.meaning


@pytest.mark.parametrize("choice", [name for name in CHOICES if name not in VANILLA])
def test_no_condition_is_claimed_for_cells_that_have_more_than_one_matrix(choice):
    measured = measure(choice, radius=0.9, seq_len=10, seed=0)
    assert measured.log10_bound is None
    (only,) = findings(measured)
    assert only.subject == ("‖∂c_T/∂c_0‖" if choice.endswith(" c") else "‖∂h_T/∂h_0‖")


def test_nothing_is_left_by_a_network_without_recurrent_weights():
    measured = measure("RNN, tanh", radius=0, seq_len=4, seed=0)
    assert measured.log10_state.tolist() == [-np.inf, -np.inf, -np.inf, 0]
    assert findings(measured)[-1].verdict == "nothing is left"


def test_unknown_networks_get_a_hint():
    with pytest.raises(ConfigError, match=r"network 'RNN, tan' is not known\. Did you mean 'RNN, tanh'\?"):
        measure("RNN, tan", radius=1, seq_len=5, seed=0)
