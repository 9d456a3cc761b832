from dataclasses import replace

import pytest
import torch
from tools.members import members, plan
from tools.training import batch_of, build, gradients_of, step_of

STRENGTH = 0.3
FREE = [name for name in members("model") if "weight_hh" not in plan(f"model={name}").model.set_by_model]


@pytest.mark.parametrize("penalty", ["l2", "l1"])
@pytest.mark.parametrize("of", ["recurrent", "all"])
@pytest.mark.parametrize("model", FREE)
def test_the_gradient_has_strength_times_the_weights_or_their_signs_more(model, of, penalty):
    if model == "lru" and of == "recurrent":
        return
    settings = plan(
        *("task=coconut_water", f"model={model}", "model.num_layers=2", "mitigation=[weight_decay]"),
        *(f"mitigation.weight_decay.{key}" for key in (f"strength={STRENGTH}", f"penalty={penalty}", f"of={of}")),
    )
    net, batch = build(settings), batch_of(settings)
    losses = step_of(replace(settings, mitigations=[]), net)(batch, 0).losses
    plain = gradients_of(net)
    assert torch.equal(step_of(settings, net)(batch, 0).losses, losses)
    touched = 0
    for name, gradient in gradients_of(net).items():
        weight = net.get_parameter(name).detach()
        if of == "all" or name.rpartition(".")[2] in {"weight_hh", "weight_skip", "recurrent"}:
            expected = STRENGTH * (weight if penalty == "l2" else weight.sign())
            assert torch.allclose(gradient - plain[name], expected, rtol=1e-9, atol=1e-12), name
            touched += 1
        else:
            assert torch.equal(gradient, plain[name]), name
    assert touched >= 2


def test_of_what_a_model_makes_of_its_parameters_it_is_the_recurrent_weights_themselves():
    """|W - W^T - d I|^2 / 2 has the derivative 2 (W - W^T)."""
    settings = plan(
        *("task=adding", "model=antisymmetric_rnn", "mitigation=[weight_decay]"),
        f"mitigation.weight_decay.strength={STRENGTH}",
    )
    net, batch = build(settings), batch_of(settings)
    step_of(replace(settings, mitigations=[]), net)(batch, 0)
    plain = gradients_of(net)
    step_of(settings, net)(batch, 0)
    for name, gradient in gradients_of(net).items():
        added = gradient - plain[name]
        if "weight_hh" in name:
            weight = net.get_parameter(name).detach()
            assert torch.allclose(added, 2 * STRENGTH * (weight - weight.mT), rtol=1e-9, atol=1e-12)
        else:
            assert torch.allclose(added, torch.zeros_like(added), atol=1e-12), name
