import copy

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tools.members import plan
from tools.training import backward_of, build, random_gradients

from rnnstudy.gradients.norms import replica_norms
from rnnstudy.mitigations.base import Diagnostics
from rnnstudy.mitigations.clip_value import ClipValue

NETWORK = build(plan("task=adding", "model=rnn"))


def clip(gradients: dict[str, torch.Tensor], max_value: float) -> Diagnostics:
    return ClipValue(max_value=max_value).after_backward(backward_of(NETWORK, gradients))


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), scale=st.floats(1e-12, 1e12), max_value=st.floats(1e-3, 1e3))
def test_entries_are_bounded_the_others_untouched_and_twice_is_once(seed, scale, max_value):
    before = random_gradients(NETWORK, seed, scale)
    after = copy.deepcopy(before)
    told = clip(after, max_value)
    over = {name: gradient.abs() > max_value for name, gradient in before.items()}
    for name, gradient in after.items():
        assert torch.equal(gradient[~over[name]], before[name][~over[name]])
        assert torch.equal(gradient[over[name]], before[name][over[name]].sign() * max_value)
    entries = sum(gradient[0].numel() for gradient in before.values())
    for replica in range(3):
        clipped = sum(int(each[replica].sum()) for each in over.values())
        assert told["clip_value/fraction"][replica] == clipped / entries
    assert torch.equal(told["clip_value/raw_norm"], replica_norms(before.values()))
    assert torch.equal(told["clip_value/clipped_norm"], replica_norms(after.values()))
    again = copy.deepcopy(after)
    clip(again, max_value)
    assert all(torch.equal(again[name], after[name]) for name in after)


def test_it_is_what_torch_does():
    gradients = random_gradients(NETWORK, 0, 10.0)
    parameters = [torch.nn.Parameter(torch.zeros_like(gradient)) for gradient in gradients.values()]
    for parameter, gradient in zip(parameters, gradients.values(), strict=True):
        parameter.grad = gradient.clone()
    torch.nn.utils.clip_grad_value_(parameters, 2.5)
    clip(gradients, 2.5)
    for parameter, gradient in zip(parameters, gradients.values(), strict=True):
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, gradient)
