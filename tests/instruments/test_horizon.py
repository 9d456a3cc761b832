"""Horizon against numpy.polyfit and scipy.stats.linregress, and on gradients made by hand, float64."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from reference.plain_gradients import run_plain
from scipy.stats import linregress
from tools.members import members, run_small
from tools.records import (
    REPLICAS,
    TASKS,
    damaged,
    draw,
    figures,
    moved,
    network_of,
    plan_once,
    record_of_adjoints,
    record_of_norms,
    record_of_step,
)

from rnnstudy.core.errors import ConfigError
from rnnstudy.instruments.horizon import Horizon, fit_line, reach
from rnnstudy.models.rnn import RNN
from rnnstudy.runs import tags
from rnnstudy.runs.run import read_run
from rnnstudy.tasks.associative_recall import AssociativeRecall
from rnnstudy.tasks.copy_memory import CopyMemory

RTOL = 1e-9


def measured_of(*by_lag, factor=100.0):
    """lag, decay and decay_error, each a list over the replicas, of norms given from lag 0 on."""
    measured = figures(Horizon(factor=factor), record_of_norms([list(reversed(row)) for row in by_lag]))
    names = ("lag", "decay", "decay_error")
    assert list(measured) == [f"horizon/h/layer_0/{name}" for name in names]
    return tuple(measured[f"horizon/h/layer_0/{name}"].tolist() for name in names)


@pytest.mark.parametrize("model", members("model"))
@pytest.mark.parametrize("task", ["loss at the end", "loss at all steps"])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_reach_and_slope_are_those_of_the_norms_of_plain_autograd(model, task, num_layers):
    settings = plan_once(*TASKS[task], f"model={model}", f"model.num_layers={num_layers}")
    network, batch = moved(network_of(settings.model, settings.task)), draw(settings.task)
    measured = figures(Horizon(factor=3), record_of_step(network, batch, settings.task))
    twin = run_plain(network, settings.task, replace(batch, counted=batch.answer))
    tags = set()
    for index, layer in enumerate(network.recurrent_layers):
        for state in layer.recurrence.recorded:
            name = f"horizon/{state}/layer_{index}"
            tags |= {f"{name}/lag", f"{name}/decay", f"{name}/decay_error"}
            norms = (10 ** twin.log10_norms(index, state)).mean(-1).flip(0).numpy()
            for replica in range(REPLICAS):
                of = norms[:, replica]
                lags = np.flatnonzero(of > 0)
                fitted, covariance = np.polyfit(lags, np.log10(of[lags]), 1, cov=True)
                within = [lag for lag in range(len(of)) if of[lag] >= of[0] / 3]
                assert float(measured[f"{name}/lag"][replica]) == max(within)
                assert float(measured[f"{name}/decay"][replica]) == pytest.approx(fitted[0], rel=1e-7)
                assert float(measured[f"{name}/decay_error"][replica]) == pytest.approx(
                    covariance[0, 0] ** 0.5, rel=1e-7
                )
    assert measured.keys() == tags


def test_an_untrained_network_that_copies_reaches_as_far_as_its_answers_gradient():
    """The loss at every time step reaches the first one from close by."""
    task = CopyMemory(delay=60)
    network, batch = network_of(RNN(hidden_size=16), task), draw(task)
    record = record_of_step(network, batch, task)
    assert reach(record.norms[0]["h"].mean(-1).flip(0), 100).tolist() == [79] * REPLICAS
    answered = run_plain(network, task, replace(batch, counted=batch.answer))
    norms = (10 ** answered.log10_norms(0, "h")).mean(-1).flip(0)
    expected = [max(lag for lag in range(80) if norms[lag, r] >= norms[0, r] / 100) for r in range(REPLICAS)]
    assert figures(Horizon(), record)["horizon/h/layer_0/lag"].tolist() == expected
    assert max(expected) < 30


def test_nothing_is_told_where_the_answers_do_not_end_with_the_sequence():
    task = AssociativeRecall(seq_len=12, num_pairs=2)
    assert not figures(Horizon(), record_of_step(network_of(RNN(hidden_size=4), task), draw(task), task))


@given(
    values=st.lists(st.floats(-300, 300) | st.sampled_from([-math.inf, math.inf, math.nan]), min_size=1, max_size=40)
)
@example(values=[-21.9, math.nan, math.nan, 20.8])  # two points, of which rounding leaves a residual
def test_the_fitted_line_is_that_of_linregress_over_what_is_finite(values):
    slope, error = (float(each) for each in fit_line(torch.tensor(values, dtype=torch.float64)[:, None]))
    logs = np.array(values)
    lags = np.flatnonzero(np.isfinite(logs))
    if len(lags) < 2:
        assert math.isnan(slope)
        assert math.isnan(error)
        return
    of_line, intercept, correlation, _, of_slope = np.array(linregress(lags, logs[lags])).tolist()
    size = np.abs(logs[lags]).max()
    assert slope == pytest.approx(of_line, rel=RTOL, abs=1e-12 * size)
    if len(lags) == 2:
        assert math.isnan(error)
        return
    residuals = logs[lags] - intercept - of_line * lags
    spread = np.square(lags - lags.mean()).sum()
    by_residuals = (np.square(residuals).sum() / (len(lags) - 2) / spread) ** 0.5
    assert error == pytest.approx(by_residuals, rel=RTOL, abs=1e-12 * size)
    if abs(correlation) < 0.999:
        # It takes 1 - r^2, of which nothing is left of a line that is nearly perfect.
        assert error == pytest.approx(of_slope, rel=1e-7)


@given(rate=st.floats(-6, 6), start=st.floats(-20, 20), num_steps=st.integers(3, 40))
def test_an_exponential_decay_is_found_exactly_and_without_error(rate, start, num_steps):
    row = [10.0 ** (start + rate * lag) for lag in range(num_steps)]
    _, (decay,), (error,) = measured_of(row)
    assert decay == pytest.approx(rate, abs=1e-11)
    assert error == pytest.approx(0, abs=1e-11)


def test_the_reach_of_an_exponential_decay_is_where_the_factor_is_used_up():
    """Halved at every step: 1/64 is within a factor of 100, 1/128 is not."""
    halved = [0.5**lag for lag in range(20)]
    assert measured_of(halved)[0] == [6]
    assert measured_of(halved, factor=128)[0] == [7]
    assert measured_of(halved, factor=1)[0] == [0]
    assert measured_of(halved, factor=1e9)[0] == [19]


def test_a_gradient_that_grows_or_stays_reaches_to_the_first_step():
    lags, decays, _ = measured_of([2.0**lag for lag in range(9)], [1.0] * 9)
    assert lags == [8, 8]
    assert decays == pytest.approx([math.log10(2), 0])


def test_one_that_falls_below_and_comes_back_counts_as_well():
    lags, _, errors = measured_of([1.0, 1e-6, 1e-6, 0.5, 1e-6], [1.0, 1e-6, 1e-6, 1e-6, 1e-6])
    assert lags == [3, 0]
    assert errors[0] > 0.1


def test_the_norms_are_averaged_over_the_sequences_before_anything_else():
    """Per sequence 1, 0.1 and 1, 0.3: the mean falls to 0.2; the gradients of the mean loss are half as large."""
    adjoint = torch.tensor([[[0.05, 0.15]], [[0.5, 0.5]]], dtype=torch.float64)[..., None]
    measured = figures(Horizon(), record_of_adjoints({"h": adjoint}))
    assert measured["horizon/h/layer_0/decay"].tolist() == pytest.approx([math.log10(0.2)])


def test_states_and_layers_have_figures_of_their_own():
    def decaying(rate):
        return torch.tensor([10.0 ** (rate * lag) for lag in reversed(range(4))], dtype=torch.float64).view(-1, 1, 1, 1)

    record = record_of_adjoints({"h": decaying(-1), "c": decaying(-2)}, {"h": decaying(-3), "c": decaying(-4)})
    measured = figures(Horizon(), record)
    found = [measured[f"horizon/{state}/layer_{index}/decay"].item() for index in (0, 1) for state in ("h", "c")]
    assert found == pytest.approx([-1, -2, -3, -4])


def test_exact_zeros_are_left_out_of_the_line():
    """Where the gradient has ended there is no logarithm; the line is that of what is left."""
    (lag,), (decay,), (error,) = measured_of([1.0, 0.1, 0.0, 1e-3, 0.0, 0.0])
    assert lag == 1
    assert decay == pytest.approx(-1)
    assert error == pytest.approx(0, abs=1e-12)


def test_what_cannot_be_said_is_not_a_number():
    zero_at_0 = [0.0, 1.0, 0.1, 0.01]
    zeros = [0.0] * 4
    one_left = [1.0, 0.0, 0.0, 0.0]
    two_left = [1.0, 0.0, 0.01, 0.0]
    lags, decays, errors = measured_of(zero_at_0, zeros, one_left, two_left)
    nan = pytest.approx(math.nan, nan_ok=True)
    assert lags == [nan, nan, 0, 2]
    assert decays == [pytest.approx(-1), nan, nan, pytest.approx(-1)]
    assert errors == [pytest.approx(0, abs=1e-12), nan, nan, nan]


@pytest.mark.parametrize("unknown", [math.inf, math.nan])
@pytest.mark.parametrize("places", [[0], [1], [2], [3], [0, 1, 2, 3]])
def test_a_norm_that_is_no_number_leaves_that_replica_without_figures_wherever_it_is(unknown, places):
    """Within the horizon, at its end, and beyond it; a replica beside it and a subnormal norm are as before."""
    halved = [1.0, 0.1, 0.01, 1e-310]
    broken = [unknown if lag in places else norm for lag, norm in enumerate(halved)]
    for (of_broken, of_halved), (alone,) in zip(measured_of(broken, halved), measured_of(halved), strict=True):
        assert math.isnan(of_broken)
        assert of_halved == alone


@pytest.mark.parametrize("task", [("task=adding", "task.seq_len=[5,9]"), ("task=copy_memory", "task.delay=3"), ()])
def test_a_horizon_at_its_cap_is_known_from_the_run_alone(tmp_path, task):
    """Any gradient but an exact zero is within a factor of 1e30 of these."""
    settings = ("instrument=[horizon]", "instrument.horizon.factor=1e30", "train.num_steps=0")
    run = read_run(run_small(tmp_path / "run", *settings, *task), label="run")
    tag = tags.HORIZON.format(state="h", layer=0)
    assert run.metrics[tag].values.tolist() == [[run.facts.longest_lag] * run.replicas]


def test_a_single_time_step_has_a_reach_of_zero_and_no_slope():
    (lag,), (decay,), (error,) = measured_of([3.0])
    assert lag == 0
    assert math.isnan(decay)
    assert math.isnan(error)


def test_weights_of_nan_leave_the_other_replicas_figures_as_they_are():
    settings = plan_once(*TASKS["loss at the end"], "model=lstm", "model.num_layers=2")
    network, batch = network_of(settings.model, settings.task), draw(settings.task)
    expected = figures(Horizon(), record_of_step(network, batch, settings.task))
    measured = figures(Horizon(), record_of_step(damaged(network, math.nan), batch, settings.task))
    for tag, values in measured.items():
        assert values[1].isnan()
        assert torch.equal(values[0::2], expected[tag][0::2])


@pytest.mark.parametrize(
    ("factor", "complaint"),
    [(0.5, "factor must be at least 1, got 0.5"), (math.inf, "factor must be"), (math.nan, "factor must be")],
)
def test_a_factor_that_makes_no_sense_is_refused(factor, complaint):
    with pytest.raises(ConfigError, match=complaint):
        Horizon(factor=factor)
