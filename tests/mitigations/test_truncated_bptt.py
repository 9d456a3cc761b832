import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.unrolled import Carry, Unrolled
from tools.members import members, plan
from tools.training import batch_of, build, gradients_of, moment, step_of
from torch import Tensor

from rnnstudy.mitigations.truncated_bptt import TruncatedBPTT
from rnnstudy.models.base import Forward, Network
from rnnstudy.recurrence.base import AdjointRecorder, States

TIME, REPLICAS = 9, 2


def network(model: str, *overrides: str) -> Network:
    return build(plan("task=adding", f"model={model}", "model.num_layers=1", *overrides), REPLICAS)


def inputs() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(TIME, REPLICAS, 4, 2, generator=generator, dtype=torch.float64)


def backward(net: Network, steps: int | None, reads: Tensor) -> tuple[Forward, list[dict[str, Tensor]]]:
    """One pass; the total adjoints of every layer's states. Gradients are left behind."""
    net.zero_grad()
    recorders = [AdjointRecorder() for _ in net.layers]
    edit = None if steps is None else TruncatedBPTT(steps=steps).adjoint_edit(moment())
    forward = net(inputs(), reads, recorders=recorders, edit=edit)
    (forward.outputs - 1).square().sum().backward()
    return forward, [{name: each.total for name, each in recorder.adjoints.items()} for recorder in recorders]


@pytest.mark.parametrize("model", members("model"))
@pytest.mark.parametrize("steps", [0, 1, 4, TIME - 2, TIME - 1, 100])
def test_of_a_loss_at_the_end_the_near_lags_are_exact_and_the_far_ones_zero(model, steps):
    net, end = network(model, "model.num_layers=2"), torch.tensor([TIME - 1])
    whole, full = backward(net, None, end)
    cut, truncated = backward(net, steps, end)
    assert torch.equal(whole.outputs, cut.outputs)
    for before, after in zip(whole.states, cut.states, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    near = slice(max(0, TIME - 1 - steps), TIME)
    for expected, actual in zip(full, truncated, strict=True):
        for name, adjoint in actual.items():
            assert torch.equal(adjoint[near], expected[name][near]), name
            assert expected[name].any(dim=-1).any(dim=-1).any(dim=-1).sum() == TIME or model == "skip_rnn", name
            assert not adjoint[: near.start].any(), name


@pytest.mark.parametrize("model", members("model"))
def test_as_many_steps_as_the_sequence_has_is_off(model):
    settings = plan("task=adding", "task.seq_len=9", f"model={model}")
    net, batch = build(settings), batch_of(settings)
    losses = step_of(settings, net)(batch, 0).losses
    plain = gradients_of(net)
    for steps, same in ((9, True), (8, True), (2, False)):
        shorter = plan(
            "task=adding",
            "task.seq_len=9",
            f"model={model}",
            "mitigation=[truncated_bptt]",
            f"mitigation.truncated_bptt.steps={steps}",
        )
        assert torch.equal(step_of(shorter, net)(batch, 0).losses, losses)
        assert all(torch.equal(gradient, plain[name]) for name, gradient in gradients_of(net).items()) == same


def detached(steps: int) -> Carry:
    """Detach what the last steps + 1 time steps get, the steps + 1 before them, and so on."""

    def carry(states: States, time_step: int) -> States:
        windows = list(range(TIME - 1 - (steps + 1), -2, -(steps + 1)))
        return tuple(state.detach() for state in states) if time_step in windows else states

    return carry


@pytest.mark.slow
@pytest.mark.parametrize("model", members("model"))
@settings(max_examples=6)
@given(steps=st.integers(0, TIME), reads=st.sets(st.integers(0, TIME - 1), min_size=1))
def test_gradients_are_those_of_a_loop_that_detaches(model, steps, reads):
    net, reads = network(model), torch.tensor(sorted(reads))
    backward(net, steps, reads)
    actual = gradients_of(net)
    net.zero_grad()
    (layer,) = net.recurrent_layers
    state = layer.recurrence.zero_state(inputs(), layer.hidden_size)
    chain = Unrolled(layer.recurrence, inputs(), state, layer.weights(), detached(steps))
    hidden = layer.output(chain.states[0])[reads]
    outputs = torch.einsum("srbh,roh->srbo", hidden, net.readout_weight) + net.readout_bias[:, None]
    (outputs - 1).square().sum().backward()
    for name, weight in net.named_parameters():
        expected = torch.zeros_like(weight) if weight.grad is None else weight.grad
        assert torch.allclose(actual[name], expected, rtol=1e-12, atol=1e-12), name
