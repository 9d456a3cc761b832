"""Every member of the package is found, with the plain twin that the other tests compare it with."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from reference import unrolled
from reference.cells import base
from reference.discovery import variants
from reference.problems import RECURRENCES, Sizes, assert_same, fitting, make_problem, run_reference
from reference.unrolled import derived

from rnnstudy.core.errors import ConfigError
from rnnstudy.recurrence.base import Recurrence
from rnnstudy.recurrence.lru import LRURecurrence
from rnnstudy.recurrence.lstm import LSTMRecurrence
from rnnstudy.recurrence.residual import ResidualRecurrence
from rnnstudy.recurrence.skip import SkipRecurrence


def test_the_known_members_are_found() -> None:
    """An empty discovery would make every contract test pass."""
    found = {repr(recurrence) for recurrence in RECURRENCES}
    both = (False, True)
    known = {
        f"RNNRecurrence(nonlinearity={name!r}, layer_norm={layer_norm})"
        for name in ("tanh", "sigmoid", "relu", "identity", "modrelu")
        for layer_norm in both
    }
    known |= {f"{name}Recurrence(layer_norm={layer_norm})" for name in ("GRU", "LSTM") for layer_norm in both}
    known |= {f"ResidualRecurrence(variant={variant!r}, rate=0.5)" for variant in ("leaky", "residual")}
    known |= {f"IndRNNRecurrence(nonlinearity={name!r})" for name in ("relu", "tanh")}
    assert known | {"SkipRecurrence(skip=3)", "LRURecurrence()"} <= found


def test_every_written_twin_is_that_of_a_member() -> None:
    """One under another name would be compared with nothing."""
    written = {path.stem for path in Path(base.__file__).parent.glob("*.py")} - {"base"}
    modules = {type(recurrence).__module__.rpartition(".")[2] for recurrence in RECURRENCES}
    assert {"rnn", "gru", "lstm", "residual", "skip", "indrnn", "lru"} <= written <= modules


@pytest.mark.parametrize("recurrence", [each for each in RECURRENCES if each.recorded == ("h",)], ids=repr)
def test_a_derived_twin_is_the_written_one(recurrence: Recurrence, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands in for a cell without a file in `reference/cells`."""
    problem = make_problem(recurrence, Sizes())
    written = run_reference(recurrence, problem)
    monkeypatch.setattr(unrolled, "cell_of", lambda cell: partial(derived, cell))
    assert_same(run_reference(recurrence, problem), written)


def test_a_cell_of_several_states_needs_a_written_twin() -> None:
    """Which state another one sees within a step is not known otherwise."""
    problem = make_problem(LSTMRecurrence(), Sizes())
    with pytest.raises(AssertionError, match=r"LSTMRecurrence.* has no plain twin"):
        derived(LSTMRecurrence(), problem.inputs[0, 0], problem.state, problem.weights, lambda _, value: value)


@pytest.mark.parametrize("recurrence", RECURRENCES, ids=repr)
def test_member_is_a_frozen_value(recurrence: Recurrence) -> None:
    """Members are frozen keyword-only dataclasses, equal when their parameters are."""
    twin = type(recurrence)(**vars(recurrence))
    assert twin == recurrence
    assert hash(twin) == hash(recurrence)


@pytest.mark.parametrize("recurrence", RECURRENCES, ids=repr)
def test_names_of_states(recurrence: Recurrence) -> None:
    """The output is called `h` and comes first; what is recorded is some of the states, in their order."""
    assert recurrence.states[0] == recurrence.recorded[0] == "h"
    assert len(set(recurrence.states)) == len(recurrence.states)
    assert recurrence.recorded == tuple(name for name in recurrence.states if name in recurrence.recorded)


@pytest.mark.parametrize("recurrence", RECURRENCES, ids=repr)
def test_shapes_of_weights(recurrence: Recurrence) -> None:
    """Inputs and units enter the shapes where they should, the weight of the inputs first."""
    shapes = recurrence.shapes(3, 8)
    assert next(iter(shapes.items())) == ("weight_ih", (recurrence.gates * 8, 3))
    assert {name: shape for name, shape in recurrence.shapes(5, 8).items() if name != "weight_ih"} == {
        name: shape for name, shape in shapes.items() if name != "weight_ih"
    }


def test_a_number_of_units_that_a_member_cannot_have_is_refused() -> None:
    """The LRU has its units in pairs; the tests give it a unit more."""
    with pytest.raises(ConfigError, match="hidden_size must be even"):
        LRURecurrence().shapes(2, 5)
    assert fitting(LRURecurrence(), Sizes(hidden=5)) == Sizes(hidden=6)
    assert fitting(LRURecurrence(), Sizes(hidden=6)) == Sizes(hidden=6)


@pytest.mark.parametrize(
    ("build", "complaint"),
    [
        (lambda: SkipRecurrence(skip=1), "skip must be between 2 and 1000, got 1"),
        (lambda: ResidualRecurrence(rate=0.0), "rate must be above 0, got 0.0"),
        (
            lambda: ResidualRecurrence(variant="leaky", rate=1.5),
            "rate must be at most 1 where variant is leaky, got 1.5",
        ),
    ],
)
def test_numbers_that_make_no_member_are_refused(build: Callable[[], Recurrence], complaint: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(complaint)):
        build()


def test_a_member_that_tests_cannot_build_says_so() -> None:
    """A parameter without choices or default needs a decision, not a silent skip."""

    @dataclass(frozen=True, kw_only=True)
    class Needy:
        amount: int

    with pytest.raises(TypeError, match=r"Needy\.amount has neither choices nor a default"):
        variants(Needy)
