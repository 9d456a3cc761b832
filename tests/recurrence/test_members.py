"""Every member of the package is found, and has a plain twin that the other tests compare it with."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from reference.discovery import variants
from reference.problems import RECURRENCES, Sizes, fitting
from reference.unrolled import cell_of
from typing_extensions import override

from rnnstudy.core.errors import ConfigError
from rnnstudy.recurrence.base import Recurrence
from rnnstudy.recurrence.lru import LRURecurrence
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


@pytest.mark.parametrize("recurrence", RECURRENCES, ids=repr)
def test_member_has_a_plain_twin(recurrence: Recurrence) -> None:
    """Fails for a new cell until its equations are written in the reference."""
    assert callable(cell_of(recurrence))


def test_a_member_without_a_plain_twin_says_so() -> None:
    """Comparing it with nothing would pass."""

    class Stranger(Recurrence):
        @override
        def shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
            raise NotImplementedError

        @override
        def scan(self, *args: Any, **kwargs: Any) -> Any:
            raise NotImplementedError

    with pytest.raises(AssertionError, match=r"Stranger.* has no plain twin"):
        cell_of(Stranger())


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
