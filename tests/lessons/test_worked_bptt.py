"""Backpropagation through time by hand, against autograd: term by term, truncated, clipped and over a training run."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnstudy.core.errors import ConfigError, RnnstudyError
from rnnstudy.lessons.worked_bptt import Descent, Gradients, WorkedNetwork, lesson_network, train

LESSON = lesson_network()
PAIRS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=10)
INPUTS, TARGETS = [0, 1, 2, 2, 1, 0, 1, 1], [1, 2, 2, 0, 0, 1, 2, 0]


def random_network(seed, scale=1.0):
    """Another shape than the lesson's, so that no two axes can be mixed up: 4 hidden units, 3 inputs, 5 outputs."""
    stream = np.random.default_rng(seed)
    return WorkedNetwork(
        U=scale * stream.normal(size=(4, 3)), V=scale * stream.normal(size=(5, 4)), W=0.6 * stream.normal(size=(4, 4))
    )


def tensors(network):
    return [torch.tensor(weight, requires_grad=True) for weight in (network.U, network.V, network.W)]


def gradient_of(weight):
    assert weight.grad is not None
    return weight.grad


def autograd_losses(u, v, w_of_step, sequences, first=0, state=None):
    """E_t and s_t of the steps from `first` on; step k is taken with the matrix w_of_step[k]."""
    inputs, targets = sequences
    state = torch.zeros(len(u), dtype=torch.float64) if state is None else state
    losses, states = [], []
    for k in range(first, len(inputs)):
        state = torch.tanh(u[:, inputs[k]] + w_of_step[k] @ state)
        losses.append(torch.nn.functional.cross_entropy((v @ state)[None], torch.tensor([targets[k]])))
        states.append(state)
    return losses, states


def autograd_terms(network, inputs, targets):
    """The gradient of every loss with respect to a copy of W for each step."""
    u, v, w = tensors(network)
    copies = [w.detach().clone().requires_grad_() for _ in inputs]
    losses, _ = autograd_losses(u, v, copies, (inputs, targets))
    terms = np.zeros((len(inputs), len(inputs), *w.shape))
    for t, loss in enumerate(losses):
        for k, gradient in enumerate(torch.autograd.grad(loss, copies[: t + 1], retain_graph=True)):
            terms[t, k] = gradient
    return terms


def backward_truncated(weights, inputs, targets, *, reach):
    """Every loss on its own graph, which starts from the detached state before step t - reach; returns their sum."""
    u, v, w = weights
    total = 0.0
    _, states = autograd_losses(u, v, [w] * len(inputs), (inputs, targets))
    for t in range(len(inputs)):
        first = max(0, t - reach)
        start = states[first - 1].detach() if first else None
        losses, _ = autograd_losses(u, v, [w] * len(inputs), (inputs[: t + 1], targets), first, start)
        losses[-1].backward()
        total += losses[-1].item()
    return total


def assert_each_agrees(actual, expected, rel):
    """Every term to `rel` of its own norm, however small it is; zero exactly where autograd has zero."""
    difference = np.linalg.norm(actual - expected, axis=(-2, -1))
    assert (difference <= rel * np.linalg.norm(expected, axis=(-2, -1))).all()


@given(pairs=PAIRS)
@settings(max_examples=15)
def test_every_term_of_the_lesson_agrees_with_autograd(pairs):
    inputs, targets = zip(*pairs, strict=True)
    assert_each_agrees(LESSON.terms(inputs, targets), autograd_terms(LESSON, inputs, targets), 1e-12)


@given(pairs=PAIRS, seed=st.integers(0, 1000))
@settings(max_examples=15)
def test_every_term_of_any_network_agrees_with_autograd(pairs, seed):
    network = random_network(seed)
    inputs, targets = zip(*pairs, strict=True)
    assert_each_agrees(network.terms(inputs, targets), autograd_terms(network, inputs, targets), 1e-10)


@given(pairs=PAIRS, reach=st.integers(0, 12), seed=st.integers(0, 1000))
@settings(max_examples=15)
def test_truncated_gradients_agree_with_autograd_on_detached_states(pairs, reach, seed):
    network = random_network(seed)
    inputs, targets = zip(*pairs, strict=True)
    gradients = network.gradients(inputs, targets, reach)
    weights = tensors(network)
    backward_truncated(weights, inputs, targets, reach=reach)
    for actual, weight in zip((gradients.U, gradients.V, gradients.W), weights, strict=True):
        np.testing.assert_allclose(actual, gradient_of(weight).numpy(), rtol=1e-11, atol=1e-13)


def test_losses_and_answers_agree_with_torch():
    network = random_network(3)
    u, v, w = tensors(network)
    losses, states = autograd_losses(u, v, [w] * len(INPUTS), (INPUTS, TARGETS))
    run = network.forward(INPUTS)
    np.testing.assert_allclose(network.losses(INPUTS, TARGETS), [loss.item() for loss in losses], rtol=1e-13)
    np.testing.assert_allclose(run.states, torch.stack(states).detach().numpy(), rtol=1e-13)
    np.testing.assert_allclose(run.probabilities.sum(axis=1), 1, rtol=1e-14)


def test_the_terms_sum_to_the_gradient_of_all_losses():
    u, v, w = tensors(LESSON)
    losses, _ = autograd_losses(u, v, [w] * len(INPUTS), (INPUTS, TARGETS))
    expected = [gradient.numpy() for gradient in torch.autograd.grad(torch.stack(losses).sum(), (u, v, w))]
    gradients = LESSON.gradients(INPUTS, TARGETS)
    for actual, other in zip((gradients.U, gradients.V, gradients.W), expected, strict=True):
        np.testing.assert_allclose(actual, other, rtol=1e-12)
    np.testing.assert_allclose(LESSON.terms(INPUTS, TARGETS).sum((0, 1)), expected[2], rtol=1e-12)


def test_truncation_at_three_keeps_four_terms_and_leaves_those_as_they_are():
    full, cut = LESSON.terms(INPUTS, TARGETS), LESSON.terms(INPUTS, TARGETS, 3)
    for t in range(len(INPUTS)):
        for k in range(len(INPUTS)):
            np.testing.assert_array_equal(cut[t, k], full[t, k] if 0 <= t - k <= 3 else 0)
    assert np.linalg.norm(full[7, 3]) > 0


def test_the_first_source_step_has_no_term_and_the_others_have():
    terms = LESSON.terms(INPUTS, TARGETS)
    assert not terms[:, 0].any()
    assert all(terms[t, k].any() for t in range(1, len(INPUTS)) for k in range(1, t + 1))


def test_a_confident_wrong_answer_has_a_finite_loss_and_the_right_gradient():
    network = WorkedNetwork(U=LESSON.U, V=5000 * LESSON.V, W=LESSON.W)
    assert network.losses([2], [0])[0] == pytest.approx(5000 * float((LESSON.V[2] - LESSON.V[0]) @ np.tanh([0.3, 0.6])))
    assert_each_agrees(network.terms([2, 1], [0, 0]), autograd_terms(network, [2, 1], [0, 0]), 1e-12)


def test_clipping_is_entry_by_entry_as_torch_does_it():
    network = random_network(1, scale=6.0)
    gradients = network.gradients(INPUTS, TARGETS)
    weights = tensors(network)
    for weight, gradient in zip(weights, (gradients.U, gradients.V, gradients.W), strict=True):
        weight.grad = torch.tensor(gradient)
    assert any((size > 5).any() and (size < 5).any() for size in (gradient_of(weight).abs() for weight in weights))

    torch.nn.utils.clip_grad_value_(weights, 5.0)
    clipped = gradients.clipped()
    for weight, gradient in zip(weights, (clipped.U, clipped.V, clipped.W), strict=True):
        np.testing.assert_array_equal(gradient, gradient_of(weight).numpy())


@pytest.mark.parametrize("reach", [1, None])
def test_a_training_run_agrees_with_torch_sgd_step_by_step(reach):
    start = random_network(5, scale=4.0)
    weights = tensors(start)
    optimizer = torch.optim.SGD(weights, lr=0.02)
    expected, clipped = [], 0
    for _ in range(30):
        optimizer.zero_grad()
        expected.append(backward_truncated(weights, INPUTS, TARGETS, reach=len(INPUTS) if reach is None else reach))
        clipped += sum(int((gradient_of(weight).abs() > 1.5).sum()) for weight in weights)
        torch.nn.utils.clip_grad_value_(weights, 1.5)
        optimizer.step()

    descent = Descent(num_steps=30, learning_rate=0.02, bptt_truncate=reach, clip=1.5)
    trained, losses = train(start, INPUTS, TARGETS, descent=descent)
    assert clipped > 10
    np.testing.assert_allclose(losses[:-1], expected, rtol=1e-9)
    for actual, weight in zip((trained.U, trained.V, trained.W), weights, strict=True):
        np.testing.assert_allclose(actual, weight.detach().numpy(), rtol=1e-9)


def test_the_lessons_network_learns_to_count_in_a_circle():
    inputs = [0, 1, 2, 0, 1, 2, 0, 1]
    trained, losses = train(LESSON, inputs, [*inputs[1:], 2], descent=Descent(num_steps=200, learning_rate=0.2))
    assert losses.shape == (201,)
    assert losses[0] > 0.9 * 8 * math.log(3)
    assert losses[-1] < 0.05 * losses[0]
    assert trained.forward(inputs).probabilities.argmax(axis=1).tolist() == [*inputs[1:], 2]


def test_training_leaves_the_network_it_started_from_as_it_was():
    network = lesson_network()
    train(network, INPUTS, TARGETS, descent=Descent(num_steps=3))
    np.testing.assert_array_equal(network.W, LESSON.W)
    np.testing.assert_array_equal(network.U, LESSON.U)


def test_training_that_leaves_float64_says_so():
    network = WorkedNetwork(U=1e-200 * LESSON.U, V=1e200 * LESSON.V, W=1e200 * LESSON.W * [[1, -1], [-1, 1]])
    with pytest.raises(RnnstudyError, match=r"is not finite after step 1: lower learning_rate, got 0\.1, or clip"):
        train(network, [0] * 6, [0, 1, 2, 0, 1, 2], descent=Descent(bptt_truncate=None))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LESSON.losses([], []), "inputs must have 1 to 1000 symbols, got 0."),
        (lambda: LESSON.forward([0] * 1001), "inputs must have 1 to 1000 symbols, got 1001."),
        (lambda: LESSON.forward([0, 3]), "inputs must be symbols 0 to 2, got 3."),
        (lambda: LESSON.terms([0, 1], [0, -1]), "targets must be symbols 0 to 2, got -1."),
        (lambda: LESSON.gradients([0, 1], [0]), "targets must be as many as inputs, 2, got 1."),
        (lambda: LESSON.terms([0, 1], [0, 1], -1), "bptt_truncate must be at least 0, got -1."),
        (lambda: LESSON.gradients([0], [1]).clipped(0), "limit must be above 0, got 0."),
        (lambda: LESSON.step(LESSON.gradients([0], [1]), 0), "learning_rate must be above 0, got 0."),
        (lambda: Descent(num_steps=-1), "num_steps must be at least 0, got -1."),
        (lambda: Descent(learning_rate=math.nan), "learning_rate must be above 0, got nan."),
        (lambda: Descent(bptt_truncate=-1), "bptt_truncate must be at least 0, got -1."),
        (lambda: Descent(clip=-5.0), "clip must be above 0, got -5.0."),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ConfigError) as error:
        call()
    assert str(error.value) == message


def test_a_step_goes_against_the_gradient():
    unit = Gradients(U=np.ones((2, 3)), V=np.ones((3, 2)), W=np.ones((2, 2)))
    after = LESSON.step(unit, 0.25)
    np.testing.assert_allclose(after.W, LESSON.W - 0.25, rtol=1e-15)
    assert (
        LESSON.step(LESSON.gradients(INPUTS, TARGETS), 1e-3).losses(INPUTS, TARGETS).sum()
        < LESSON.losses(INPUTS, TARGETS).sum()
    )
