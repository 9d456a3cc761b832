"""What the theory is held against has the radius, or the matrix, that was asked for: layers and examples alike."""

import pytest
import torch

from rnnstudy.gradients.spectra import spectral_radius
from rnnstudy.theory.measures.networks import families, random_subject


def test_a_radius_is_that_of_every_matrix_of_every_network():
    subject = random_subject(hidden_size=5, seq_len=3, seed=2, radii=(1.5,))
    matrices = [layer.trajectory.cell.recurrent_matrices(layer.trajectory.weights) for layer in subject.layers]
    for example in (*subject.examples, *subject.at_end):
        (recurrent,) = example.network.recurrent_layers
        matrices.append(recurrent.recurrence.recurrent_matrices(recurrent.weights()))
    for found in matrices:
        for matrix in found.values():
            assert float(spectral_radius(matrix.double())[0]) == pytest.approx(1.5, rel=1e-5)


def test_several_radii_give_every_network_once_per_radius():
    subject = random_subject(hidden_size=5, seq_len=3, seed=2, radii=(0.5, 2.0))
    assert [len(family) for family in families(subject.layers)] == [2] * 5
    assert [layer.name for layer in subject.layers[:2]] == ["rnn, tanh, ρ=0.5", "rnn, tanh, ρ=2"]
    for layer in subject.layers:
        assert layer.radius is not None
        alone = random_subject(hidden_size=5, seq_len=3, seed=2, radii=(layer.radius,)).layers
        (same,) = [each.trajectory for each in alone if each.name == layer.family]
        assert torch.equal(layer.trajectory.weights["weight_hh"], same.weights["weight_hh"])
    for example in (*subject.examples, *subject.at_end):
        (recurrent,) = example.network.recurrent_layers
        for matrix in recurrent.recurrence.recurrent_matrices(recurrent.weights()).values():
            assert float(spectral_radius(matrix.double())[0]) == pytest.approx(example.radius, rel=1e-5)


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
