"""Clipping of what is carried back, against autograd with hooks in a plain loop, one sequence at a time."""

import json

import pytest
import torch
from reference.unrolled import Carry, Unrolled
from tools.members import members, plan, run_small
from tools.training import build, gradients_of, moment
from torch import Tensor
from typing_extensions import override

from rnnstudy.mitigations.clip_adjoint import ClipAdjoint
from rnnstudy.models.base import Network
from rnnstudy.recurrence.base import AdjointEdit, AdjointRecorder, States

TIME, REPLICAS, BATCH = 9, 2, 4
STEPS = torch.tensor([3, 8])


def network(model: str) -> Network:
    return build(plan("task=adding", f"model={model}", "model.num_layers=1"), REPLICAS)


def inputs() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(TIME, REPLICAS, BATCH, 2, generator=generator, dtype=torch.float64)


def carried(net: Network, clip: ClipAdjoint | None) -> dict[str, Tensor]:
    """What each sequence carries back, of its own loss, at every time step, by state; gradients are left behind."""
    net.zero_grad()
    recorder = AdjointRecorder()
    forward = net(inputs(), STEPS, recorders=[recorder], edit=clip.adjoint_edit(moment()) if clip else None)
    (forward.outputs - 1).square().sum(dim=(0, 3)).mean(-1).sum().backward()
    return {name: adjoint.carried * BATCH for name, adjoint in recorder.adjoints.items()}


def halfway(net: Network, by: str) -> float:
    """A limit that about half of what is carried exceeds."""
    sizes = [values.norm(dim=-1) if by == "norm" else values.abs() for values in carried(net, None).values()]
    largest = torch.cat([each.flatten() for each in sizes])
    return float(largest[largest > 0].median())


@pytest.mark.parametrize("by", ["norm", "value"])
@pytest.mark.parametrize("model", members("model"))
def test_what_is_carried_is_bounded_at_every_step(model, by):
    net = network(model)
    limit = halfway(net, by)
    free, bounded = carried(net, None), carried(net, ClipAdjoint(by=by, limit=limit))
    for name, values in bounded.items():
        sizes = values.norm(dim=-1) if by == "norm" else values.abs()
        assert (sizes <= limit * (1 + 1e-12)).all()
        assert not torch.equal(values, free[name])
    reached = torch.cat([(v.norm(dim=-1) if by == "norm" else v.abs()).flatten() for v in bounded.values()])
    assert (reached >= limit * (1 - 1e-12)).any()


@pytest.mark.parametrize("by", ["norm", "value"])
def test_a_limit_that_is_not_reached_leaves_every_bit(by):
    net = network("lstm")
    free, plain = carried(net, None), gradients_of(net)
    loose = carried(net, ClipAdjoint(by=by, limit=1e6))
    assert all(torch.equal(loose[name], free[name]) for name in free)
    assert all(torch.equal(gradient, plain[name]) for name, gradient in gradients_of(net).items())


def hooked(by: str, limit: float) -> Carry:
    """Clip, by a hook, the gradient of every state that goes on to the next step."""

    def change(gradient: Tensor) -> Tensor:
        if by == "value":
            return torch.minimum(torch.maximum(gradient, gradient.new_tensor(-limit)), gradient.new_tensor(limit))
        return gradient if gradient.norm() <= limit else gradient * (limit / gradient.norm())

    def carry(states: States, time_step: int) -> States:
        if time_step < 0:
            return states
        copies = tuple(state.clone() for state in states)
        for copy in copies:
            if copy.requires_grad:
                copy.register_hook(change)
        return copies

    return carry


@pytest.mark.parametrize("by", ["norm", "value"])
@pytest.mark.parametrize("model", members("model"))
def test_gradients_are_those_of_hooks_on_one_sequence_at_a_time(model, by):
    net = network(model)
    limit = halfway(net, by)
    carried(net, ClipAdjoint(by=by, limit=limit))
    actual = gradients_of(net)
    net.zero_grad()
    (layer,) = net.recurrent_layers
    for number in range(BATCH):
        sequence = inputs()[:, :, number : number + 1]
        state = layer.recurrence.zero_state(sequence, layer.hidden_size)
        chain = Unrolled(layer.recurrence, sequence, state, layer.weights(), hooked(by, limit))
        hidden = layer.output(chain.states[0])[STEPS]
        outputs = torch.einsum("srbh,roh->srbo", hidden, net.readout_weight) + net.readout_bias[:, None]
        (outputs - 1).square().sum().backward()
    for name, gradient in gradients_of(net).items():
        assert torch.allclose(actual[name], gradient / BATCH, rtol=1e-10, atol=1e-13), name


@pytest.mark.parametrize("by", ["norm", "value"])
@pytest.mark.parametrize("model", ["rnn", "lstm", "skip_rnn"])
def test_it_tells_how_often_it_clipped(model, by):
    net = network(model)
    limit = halfway(net, by)
    edit = ClipAdjoint(by=by, limit=limit).adjoint_edit(moment())
    assert edit is not None
    assert edit.figures() == {}
    seen = []

    class Watch(AdjointEdit):
        @override
        def apply(self, carried: States, time_step: int, num_steps: int) -> None:
            for state in carried:
                sizes = state.norm(dim=-1) if by == "norm" else state.abs().amax(-1)
                seen.append(sizes * BATCH > limit)
            edit.apply(carried, time_step, num_steps)

    (net(inputs(), STEPS, edit=Watch()).outputs - 1).square().sum(dim=(0, 3)).mean(-1).sum().backward()
    share = torch.stack(seen).double().mean(dim=(0, 2))
    assert torch.allclose(edit.figures()["clip_adjoint/fraction"], share, rtol=1e-12)
    assert (share > 0).all()
    assert (share < 1).all()
    assert torch.equal(edit.figures()["clip_adjoint/active"], torch.ones(REPLICAS, dtype=torch.float64))


def test_how_often_it_clipped_is_logged(tmp_path):
    folder = run_small(
        tmp_path / "run",
        *("task=adding", "task.seq_len=9", "mitigation=[clip_adjoint,clip_norm]", "mitigation.clip_adjoint.limit=1e-6"),
    )
    final = json.loads(folder.result.read_text())["final"]
    assert final["clip_adjoint/active"] == [1.0] * 3
    assert all(0 < share < 1 for share in final["clip_adjoint/fraction"])
