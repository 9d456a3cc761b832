"""What the theory is held against has the radius, or the matrix, that was asked for: layers and examples alike."""

import pytest
import torch

from rnnstudy.gradients.spectra import spectral_radius
from rnnstudy.theory.measures.networks import random_subject


def test_a_radius_is_that_of_every_matrix_of_every_network():
    subject = random_subject(hidden_size=5, seq_len=3, seed=2, radius=1.5)
    matrices = [layer.trajectory.cell.recurrent_matrices(layer.trajectory.weights) for layer in subject.layers]
    for example in (*subject.examples, *subject.at_end):
        (recurrent,) = example.network.recurrent_layers
        matrices.append(recurrent.recurrence.recurrent_matrices(recurrent.weights()))
    for found in matrices:
        for matrix in found.values():
            assert float(spectral_radius(matrix.double())[0]) == pytest.approx(1.5, rel=1e-5)


def test_a_matrix_is_that_of_every_network():
    matrix = torch.tensor([[0.5, 0.01], [0.3, 0.5]], dtype=torch.float64)
    subject = random_subject(hidden_size=9, seq_len=3, seed=2, matrix=matrix)
    for layer in subject.layers:
        assert torch.equal(layer.trajectory.weights["weight_hh"][0], matrix)
    assert [example.name for example in subject.examples] == ["rnn"]
    for example in (*subject.examples, *subject.at_end):
        (recurrent,) = example.network.recurrent_layers
        assert torch.equal(recurrent.weights()["weight_hh"][0], matrix.float())


def test_the_same_weights_read_the_review_with_either_loss():
    subject = random_subject(hidden_size=4, seq_len=3, seed=0)
    for one, other in zip(subject.examples, subject.at_end, strict=True):
        assert len(one.batch.loss_steps) == len(one.batch.inputs)
        assert other.batch.loss_steps.tolist() == [len(other.batch.inputs) - 1]
        weights = (example.network.recurrent_layers[0].weights()["weight_hh"] for example in (one, other))
        assert torch.equal(*weights)
