"""Truncated backpropagation through time on a text: the state goes on, the gradient does not."""

import torch
from tools.members import SAMPLE_TEXT

from rnnstudy.core.seeding import replica_generators
from rnnstudy.models.base import Interface
from rnnstudy.models.lstm import LSTM
from rnnstudy.tasks.text import Text
from rnnstudy.training.data import TrainingData
from rnnstudy.training.step import TrainingStep

REPLICAS = 2


def test_windows_in_a_row_are_one_long_sequence_whose_gradient_is_cut():
    task = Text(path=str(SAMPLE_TEXT), seq_len=12)
    facts = task.facts
    interface = Interface(
        input_size=facts.input_size, output_size=facts.output_size, encoding=facts.encoding, seq_len=facts.seq_len
    )
    model = LSTM(hidden_size=7, num_layers=2)
    network = model.build(interface, replica_generators(0, REPLICAS, "init"), torch.float64)
    data = TrainingData(task, (12, 12), batch_size=3, seed=0, replicas=REPLICAS, device=torch.device("cpu"))
    step = TrainingStep(task=task, network=network, mitigations=[], num_steps=3, seeds=range(REPLICAS))
    windows, gradients, losses = [], [], []
    for number in range(3):
        batch = data.next(number)
        result = step(batch, number, initial=data.initial)
        data.keep(result.final)
        windows.append(batch)
        losses.append(result.losses)
        gradients.append({name: gradient.clone() for name, gradient in step.gradients().items()})

    # The three windows as one sequence, forward, without any cut.
    inputs = torch.cat([batch.inputs for batch in windows])
    targets = torch.cat([batch.targets for batch in windows])
    whole = network(inputs, torch.arange(36))
    every = torch.nn.functional.cross_entropy(whole.outputs.flatten(0, 2), targets.flatten(), reduction="none")
    per_window = every.view(3, 12, REPLICAS, 3).mean(dim=(1, 3))
    assert torch.allclose(per_window, torch.stack(losses), rtol=1e-12)

    # The gradient of the last window, from the states before it as constants.
    before = [tuple(state[23].detach() for state in states) for states in whole.states]
    network.zero_grad()
    last = network(inputs[24:], torch.arange(12), initial=before)
    loss = torch.nn.functional.cross_entropy(last.outputs.flatten(0, 2), targets[24:].flatten(), reduction="none")
    loss.view(12, REPLICAS, 3).mean(dim=(0, 2)).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, gradients[2][name], rtol=1e-10, atol=1e-15), name
