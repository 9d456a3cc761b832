"""All topics, of every model and of odd subjects, with their figures."""

import pytest
from tools.members import members
from tools.topics import assert_fits, given, layer_of, path_of, random_small, subject_of

from rnnstudy.recurrence.rnn import RNNRecurrence
from rnnstudy.recurrence.skip import SkipRecurrence
from rnnstudy.theory.explain import topics

ALWAYS_ALIKE = {"vanish_explode", "activations_all", "non_normal_powers", "notebook_curve", "linear_powers", "cliff"}
"""Figures that are nearly the same for every subject; the test of the command draws them."""


def assert_all_fit(subject, point=-0.3, *, draw=lambda name: name not in ALWAYS_ALIKE):
    found = list(topics(subject, point))
    for topic in found:
        assert_fits(topic, draw=draw)
        assert "crossed: a norm is up to" not in " ".join(topic.text)
    return found


def quick(chosen, names):
    return [name if name == chosen else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("task", quick("end", ["end", "every"]))
@pytest.mark.parametrize("model", quick("lstm", members("model")))
def test_every_model_has_its_topics(trained, model, task):
    for topic in assert_all_fit(trained(model, task, replica=2)):
        assert "cannot be told" not in " ".join(topic.text)


@pytest.mark.slow
@pytest.mark.parametrize("model", members("model"))
def test_every_model_that_runs_by_itself_has_its_topics(trained, model):
    for topic in assert_all_fit(trained(model, "end", drive="nothing"), draw=lambda name: False):
        assert "cannot be told" not in " ".join(topic.text)


ODD = {
    "one step": lambda: random_small(seq_len=1),
    "one unit": lambda: random_small(hidden_size=1),
    "a matrix": lambda: given([[0.5, 0.01], [0.3, 0.5]]),
    "one unit and step": lambda: random_small(hidden_size=1, seq_len=1),
    "two units": lambda: random_small(hidden_size=2, seq_len=2, radii=(0.0,)),
    "far too large": lambda: random_small(hidden_size=3, seq_len=40, radii=(30.0,)),
    "zero": lambda: given([[0.0, 0.0], [0.0, 0.0]]),
    "exploding": lambda: given([[3.0, 1.0], [-1.0, 3.0]], seq_len=40),
    "three radii": lambda: random_small(radii=(0.0, 0.5, 30.0), seq_len=40),
    "long": lambda: random_small(seq_len=300, hidden_size=16),
    "state too large": lambda: subject_of(layer_of(path_of(SkipRecurrence(skip=300), seq_len=2))),
    "many layers": lambda: subject_of(*(layer_of(path_of(RNNRecurrence()), f"layer {index}") for index in range(12))),
}


@pytest.mark.slow
@pytest.mark.parametrize("subject", ODD)
def test_odd_subjects_have_their_topics(subject):
    assert_all_fit(ODD[subject](), point=30.0)
