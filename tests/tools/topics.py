"""Layers to explain, and what their topics print, for the tests of theory."""

from collections.abc import Callable

import torch
from rich.cells import cell_len

from rnnstudy.gradients.activation_curves import gamma_of
from rnnstudy.gradients.trajectories import random_trajectory, trace
from rnnstudy.theory.measures.networks import Layer, Subject, random_subject
from rnnstudy.theory.topic import Topic


def path_of(cell, *, hidden_size=4, seq_len=7, seed=5, radius=None, **weights):
    """A random path; given weights replace random ones."""
    drawn = random_trajectory(cell, hidden_size=hidden_size, seq_len=seq_len, seed=seed, radius=radius)
    return trace(cell, {**drawn.weights, **weights}, drawn.inputs) if weights else drawn


def layer_of(path, name="layer"):
    return Layer(family=name, trajectory=path, gamma=gamma_of(path.cell))


def subject_of(*layers):
    return Subject(title="test", layers=layers, examples=(), drive="task")


def random_small(**settings):
    return random_subject(**{"hidden_size": 4, "seq_len": 6, "seed": 1, **settings})


def given(rows, **settings):
    """Vanilla networks with a matrix of their own."""
    return random_small(matrix=torch.tensor(rows).double(), **settings)


def table(topic: Topic, start: str) -> list[dict[str, str]]:
    """Return the rows of the table whose title starts so, by the names of their columns."""
    (found,) = [each for each in topic.tables if each.title.startswith(start)]
    return [dict(zip(found.header, row, strict=True)) for row in found.rows]


def cell(topic: Topic, start: str, network: str, column: str) -> str:
    """Return a column of the first row of a network."""
    return next(row[column] for row in table(topic, start) if network in row.values())


def assert_fits(topic: Topic, *, draw: Callable[[str], bool] = lambda name: False) -> None:
    """Check that a topic is whole and its tables fit a terminal; draw some of the pictures, which takes long."""
    assert topic.title
    assert topic.text
    assert all(topic.text)
    for each in topic.tables:
        assert all(len(row) == len(each.header) for row in each.rows)
        # Rich reads square brackets as markup.
        assert not any("[" in text for row in (each.header, *each.rows) for text in row)
        widths = [max(map(cell_len, cells)) for cells in zip(each.header, *each.rows, strict=True)]
        assert sum(widths) + 3 * len(widths) + 1 <= 80, each.title
    assert all(each.alt for each in topic.pictures)
    for each in (each for each in topic.pictures if draw(each.name)):
        assert each.png.startswith(b"\x89PNG")
        assert each.pixels_wide in {994, 1094, 1584}
    assert len({each.name for each in topic.pictures}) == len(topic.pictures)
