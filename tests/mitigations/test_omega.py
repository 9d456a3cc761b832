"""Pascanu's regulariser: closed forms of linear networks, and the immediate derivative by itself."""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tools.members import plan
from tools.training import batch_of, build, gradients_of, step_of
from torch import Tensor

from rnnstudy.mitigations.omega import Omega

TIME = 11
Equation = Literal["norm", "squared"]
equations = pytest.mark.parametrize("equation", ["norm", "squared"])
reductions = pytest.mark.parametrize("reduction", ["sum", "mean"])


def chosen(equation: str, reduction: str, *overrides: str) -> tuple[str, ...]:
    return (
        "task=adding",
        f"task.seq_len={TIME}",
        "mitigation=[omega]",
        f"mitigation.omega.equation={equation}",
        f"mitigation.omega.reduction={reduction}",
        *overrides,
    )


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def value_of(adjoint: Tensor, slope: Tensor, weight_hh: Tensor, equation: str, reduction: str) -> Tensor:
    """Omega as the equations write it, one replica, sequence and time step after the other; (replica,)."""
    time, replicas, batch, _ = adjoint.shape
    values = []
    for replica in range(replicas):
        terms = []
        for step in range(time):
            for number in range(batch):
                v, f = adjoint[step, replica, number], slope[step, replica, number]
                if float(v.norm()) < 1e-10:
                    continue
                ratio = (v @ (torch.diag(f) @ weight_hh[replica])).norm() / v.norm()
                terms.append((ratio - 1) ** 2 if equation == "norm" else (ratio**2 - 1) ** 2)
        total = torch.stack(terms).sum() if terms else torch.zeros((), dtype=torch.float64)
        values.append(total / (batch if reduction == "sum" else max(1, len(terms))))
    return torch.stack(values)


@equations
@reductions
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("alpha", [1.0, 0.7, 1.3])
def test_closed_form_of_a_scaled_orthogonal_linear_network(equation, reduction, layers, alpha):
    settings = plan(
        *chosen(equation, reduction, "model=linear_rnn", "init=[orthogonal]", f"model.init.orthogonal.gain={alpha}"),
        f"model.num_layers={layers}",
    )
    result = step_of(settings, build(settings))(batch_of(settings), 0)
    once = (alpha - 1) ** 2 if equation == "norm" else (alpha**2 - 1) ** 2
    expected = torch.full((3,), once * (TIME if reduction == "sum" else 1) * layers, dtype=torch.float64)
    assert torch.allclose(result.diagnostics["omega/value"], expected, rtol=1e-10, atol=1e-12)
    assert torch.equal(result.diagnostics["omega/counted"], torch.ones(3, dtype=torch.float64))


@equations
@reductions
@settings(max_examples=15)
@given(
    time=st.integers(1, 5),
    replicas=st.integers(1, 3),
    batch=st.integers(1, 4),
    size=st.integers(1, 5),
    seed=st.integers(0, 1000),
)
def test_value_and_immediate_derivative_agree_with_the_equations(
    equation, reduction, time, replicas, batch, size, seed
):
    """v and f' are constants; the derivative of the plain sum by autograd and by finite differences."""
    adjoint, slope = normal(time, replicas, batch, size, seed=seed), normal(time, replicas, batch, size, seed=seed + 1)
    weight = normal(replicas, size, size, seed=seed + 2).requires_grad_()
    value, gradient, share = Omega(equation=equation, reduction=reduction).of_layer(adjoint, slope, weight.detach())
    expected = value_of(adjoint, slope, weight, equation, reduction)
    assert torch.allclose(value, expected.detach(), rtol=1e-10)
    assert torch.equal(share, torch.ones(replicas, dtype=torch.float64))
    (by_autograd,) = torch.autograd.grad(expected.sum(), weight)
    assert torch.allclose(gradient, by_autograd, rtol=1e-8, atol=1e-10)

    direction = normal(replicas, size, size, seed=seed + 3)
    with torch.no_grad():
        above, below = (
            value_of(adjoint, slope, weight + sign * 1e-6 * direction, equation, reduction).sum() for sign in (1, -1)
        )
    slope_there = float((gradient * direction).sum())
    assert float(above - below) / 2e-6 == pytest.approx(slope_there, rel=1e-4, abs=1e-5)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "identity": lambda values: values,
}


@equations
@reductions
@pytest.mark.parametrize("nonlinearity", ACTIVATIONS)
def test_what_a_training_step_adds_is_the_immediate_derivative_of_a_plain_network(equation, reduction, nonlinearity):
    overrides = chosen(equation, reduction, "model=rnn", f"model.nonlinearity={nonlinearity}")
    settings = plan(*overrides)
    without = replace(settings, mitigations=[])
    net, batch = build(settings), batch_of(settings)
    step_of(without, net)(batch, 0)
    plain = gradients_of(net)
    result = step_of(settings, net)(batch, 0)

    # The same network by autograd: v_t and f'(a_t) from the graph itself.
    (layer,) = net.recurrent_layers
    weights = {name: weight.detach() for name, weight in layer.weights().items()}
    activation, inputs = ACTIVATIONS[nonlinearity], batch.inputs.double()
    hidden, sums, states = torch.zeros(3, 4, net.model.hidden_size, dtype=torch.float64), [], []
    for x in inputs:
        bias = (weights["bias_ih"] + weights["bias_hh"])[:, None]
        a = x @ weights["weight_ih"].mT + hidden @ weights["weight_hh"].mT + bias
        sums.append(a.requires_grad_() if not sums else a)
        hidden = activation(a)
        states.append(hidden)
    outputs = hidden @ net.readout_weight.detach().mT + net.readout_bias.detach()[:, None]
    loss = (outputs - batch.targets[0]).square().mean(dim=(1, 2)).sum()
    adjoint = torch.stack(torch.autograd.grad(loss, states, retain_graph=True))
    to_sums = torch.stack(torch.autograd.grad(loss, sums))
    slope = (to_sums / adjoint).detach()

    weight = weights["weight_hh"].clone().requires_grad_()
    value = value_of(adjoint, torch.where(adjoint == 0, 0, slope), weight, equation, reduction)
    (added,) = torch.autograd.grad(value.sum(), weight)
    assert torch.allclose(result.diagnostics["omega/value"], value.detach(), rtol=1e-9)
    for name, gradient in gradients_of(net).items():
        if name == "layers.0.weight_hh":
            assert torch.allclose(gradient - plain[name], 4 * added, rtol=1e-8, atol=1e-10)
            assert not torch.equal(gradient, plain[name])
        else:
            assert torch.equal(gradient, plain[name]), name


@equations
@reductions
def test_time_steps_without_a_gradient_do_not_count(equation, reduction):
    adjoint, slope, weight = normal(6, 2, 3, 4), normal(6, 2, 3, 4, seed=1), normal(2, 4, 4, seed=2)
    adjoint[2:4, 0] = 0
    adjoint[5, 0] *= 1e-12
    omega = Omega(equation=equation, reduction=reduction)
    value, gradient, share = omega.of_layer(adjoint, slope, weight)
    assert share.tolist() == [0.5, 1.0]
    assert torch.allclose(value, value_of(adjoint, slope, weight, equation, reduction), rtol=1e-12)
    kept = [0, 1, 4]
    only, of_only, _ = omega.of_layer(adjoint[kept], slope[kept], weight)
    assert torch.allclose(value[0], only[0], rtol=1e-12)
    assert torch.allclose(gradient[0], of_only[0], rtol=1e-10, atol=1e-14)


@equations
@reductions
@pytest.mark.parametrize("scale", [0.0, 1e-200, 1e-11])
def test_a_gradient_that_has_vanished_everywhere_leaves_the_weights_alone(equation, reduction, scale):
    omega = Omega(equation=equation, reduction=reduction)
    value, gradient, share = omega.of_layer(normal(3, 2, 4, 5) * scale, normal(3, 2, 4, 5), normal(2, 5, 5))
    assert not value.any()
    assert not gradient.any()
    assert not share.any()


@equations
def test_weights_of_zero_have_a_finite_gradient(equation):
    value, gradient, _ = Omega(equation=equation).of_layer(
        normal(3, 2, 4, 5), normal(3, 2, 4, 5), torch.zeros(2, 5, 5).double()
    )
    assert torch.allclose(value, torch.ones(2, dtype=torch.float64))
    assert not gradient.any()


@equations
@reductions
def test_a_replica_does_not_depend_on_its_neighbours(equation, reduction):
    adjoint, slope, weight = normal(6, 3, 4, 5), normal(6, 3, 4, 5, seed=1), normal(3, 5, 5, seed=2)
    omega = Omega(equation=equation, reduction=reduction)
    adjoint[4:, 1] = 0
    value, gradient, _ = omega.of_layer(adjoint, slope, weight)
    for replica in range(3):
        one = slice(replica, replica + 1)
        alone, of_alone, _ = omega.of_layer(adjoint[:, one], slope[:, one], weight[one])
        assert torch.allclose(alone[0], value[replica], rtol=1e-12)
        assert torch.allclose(of_alone[0], gradient[replica], rtol=1e-10, atol=1e-14)


def test_weight_is_a_factor():
    gradients = []
    for weight in (0, 1, 3):
        settings = plan(*chosen("norm", "sum", "model=rnn"), f"mitigation.omega.weight={weight}")
        net = build(settings)
        step_of(settings, net)(batch_of(settings), 0)
        gradients.append(gradients_of(net)["layers.0.weight_hh"])
    added, thrice = gradients[1] - gradients[0], gradients[2] - gradients[0]
    assert torch.allclose(thrice, 3 * added, rtol=1e-10, atol=1e-12)
    assert added.any()
