import math
from dataclasses import replace

import pytest
import torch
from tools.members import members, plan
from tools.training import batch_of, build, gradients_of, moment, step_of
from torch import Tensor

from rnnstudy.core.errors import ConfigError
from rnnstudy.mitigations.h_detach import HDetach
from rnnstudy.recurrence.base import AdjointEdit, AdjointRecorder

TIME = 9
CHOSEN = ("task=adding", f"task.seq_len={TIME}", "model=lstm", "mitigation=[h_detach]")


def inputs(replicas: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(TIME, replicas, 4, 2, generator=generator, dtype=torch.float64)


def forget_gates(weight_ih: Tensor, weight_hh: Tensor, bias: Tensor, hidden: Tensor) -> Tensor:
    """Of every time step, from the weights and the hidden states."""
    size = hidden.shape[-1]
    rows = slice(size, 2 * size)
    before = torch.cat([torch.zeros_like(hidden[:1]), hidden[:-1]])
    sums = torch.einsum("trbi,rgi->trbg", inputs(), weight_ih[:, rows])
    sums = sums + torch.einsum("trbh,rgh->trbg", before, weight_hh[:, rows]) + bias[:, None, rows]
    return 1 / (1 + (-sums).exp())


def test_with_probability_1_the_gradient_through_c_is_the_product_of_the_forget_gates():
    net = build(plan(*CHOSEN))
    (layer,) = net.recurrent_layers
    coefficients = torch.randn(3, 4, net.model.hidden_size, generator=torch.Generator().manual_seed(2)).double()
    totals = []
    for probability in (1.0, 0.0):
        recorder = AdjointRecorder()
        edit = HDetach(probability=probability).adjoint_edit(moment())
        hidden, cell = net(inputs(), torch.tensor([0]), recorders=[recorder], edit=edit).states[0]
        (coefficients * cell[-1]).sum().backward()
        totals.append(recorder.adjoints["c"].total)
        if probability:
            assert not recorder.adjoints["h"].total.any()
    weights = {name: weight.detach() for name, weight in layer.weights().items()}
    forget = forget_gates(
        weights["weight_ih"], weights["weight_hh"], weights["bias_ih"] + weights["bias_hh"], hidden.detach()
    )
    for step in range(TIME):
        expected = coefficients * forget[step + 1 :].prod(0)
        assert torch.allclose(totals[0][step], expected, rtol=1e-12, atol=0)
        assert torch.allclose(totals[1][step], expected, rtol=1e-3) == (step == TIME - 1)


def passes(edit: AdjointEdit | None, replicas: int, time: int = TIME) -> Tensor:
    """Where what goes through h is let through, (time, replica); asserts that c is, and all sequences alike."""
    assert edit is not None
    through = []
    for step in range(time - 2, -2, -1):
        hidden, cell = torch.ones(replicas, 4, 5), torch.ones(replicas, 4, 5)
        edit.apply((hidden, cell), step, time)
        assert cell.all()
        for each in hidden:
            assert each.all() or not each.any()
        through.append(hidden[:, 0, 0] == 1)
    return torch.stack(through)


def test_what_is_cut_depends_on_a_replicas_seed_and_the_step_alone():
    detach = HDetach(probability=0.5)
    stack = passes(detach.adjoint_edit(moment(3, seeds=(7, 8, 9))), 3, 50)
    for replica, seed in enumerate((7, 8, 9)):
        alone = passes(detach.adjoint_edit(moment(3, seeds=(seed,))), 1, 50)
        assert torch.equal(alone[:, 0], stack[:, replica])
    assert not torch.equal(stack[:, 0], stack[:, 1])
    assert not torch.equal(passes(detach.adjoint_edit(moment(4, seeds=(7, 8, 9))), 3, 50), stack)


@pytest.mark.parametrize("probability", [0.1, 0.25, 0.9])
def test_the_share_that_is_cut(probability):
    detach = HDetach(probability=probability, off_phase=0)
    shares = [passes(detach.adjoint_edit(moment(step, 60)), 3, 40) for step in range(60)]
    cut = ~torch.stack(shares)
    assert float(cut.double().mean()) == pytest.approx(probability, abs=4 * math.sqrt(0.25 / cut.numel()))
    # Each time step and each replica is cut as often as the others.
    for axes in ((0, 2), (0, 1)):
        means = cut.double().mean(axes)
        assert (means - probability).abs().max() < 5 * math.sqrt(0.25 * len(means) / cut.numel())


@pytest.mark.parametrize("num_steps", [10, 20, 1000])
@pytest.mark.parametrize("tenths", range(11))
def test_at_the_end_of_training_it_is_off(tenths, num_steps):
    detach = HDetach(probability=0.5, off_phase=tenths / 10)
    off = [detach.adjoint_edit(moment(step, num_steps)) is None for step in range(num_steps)]
    assert off == [step >= num_steps - num_steps * tenths // 10 for step in range(num_steps)]


def test_probability_0_and_the_off_phase_are_full_backpropagation_bit_for_bit():
    def gradients(step: int, *overrides: str) -> dict[str, Tensor]:
        settings = plan(*CHOSEN, *overrides)
        settings = settings if overrides else replace(settings, mitigations=[])
        net = build(settings)
        step_of(settings, net)(batch_of(settings), step)
        return gradients_of(net)

    full = gradients(0)
    for same, others in (
        (True, gradients(0, "mitigation.h_detach.probability=0")),
        (True, gradients(11, "mitigation.h_detach.probability=1")),
        (False, gradients(0, "mitigation.h_detach.probability=1")),
    ):
        assert all(torch.equal(full[name], gradient) for name, gradient in others.items()) == same


@pytest.mark.parametrize("model", members("model"))
def test_a_model_without_a_cell_state_is_refused(model):
    if "c" in plan(f"model={model}").model.recurrence().states:
        plan(f"model={model}", "mitigation=[h_detach]")
        return
    with pytest.raises(ConfigError, match="h_detach cannot be applied to this model: it needs a cell state"):
        plan(f"model={model}", "mitigation=[h_detach]")
