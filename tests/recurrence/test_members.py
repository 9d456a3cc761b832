"""Every member of the package is found, and has a plain twin that the other tests compare it with."""

from dataclasses import dataclass

import pytest
from reference.discovery import variants
from reference.problems import RECURRENCES
from reference.unrolled import cell_of

from rnnstudy.recurrence.base import Recurrence


def test_the_known_members_are_found() -> None:
    """An empty discovery would make every contract test pass."""
    found = {repr(recurrence) for recurrence in RECURRENCES}
    known = {f"RNNRecurrence(nonlinearity={name!r})" for name in ("tanh", "sigmoid", "relu")}
    assert known | {"GRURecurrence()", "LSTMRecurrence()"} <= found


@pytest.mark.parametrize("recurrence", RECURRENCES, ids=repr)
def test_member_has_a_plain_twin(recurrence: Recurrence) -> None:
    """Fails for a new cell until its equations are written in the reference."""
    assert callable(cell_of(recurrence))


@pytest.mark.parametrize("recurrence", RECURRENCES, ids=repr)
def test_member_is_a_frozen_value(recurrence: Recurrence) -> None:
    """Members are frozen keyword-only dataclasses, equal when their parameters are, and name the output `h` first."""
    twin = type(recurrence)(**vars(recurrence))
    assert twin == recurrence
    assert hash(twin) == hash(recurrence)
    assert recurrence.states[0] == "h"
    assert len(set(recurrence.states)) == len(recurrence.states)


def test_a_member_that_tests_cannot_build_says_so() -> None:
    """A parameter without choices or default needs a decision, not a silent skip."""

    @dataclass(frozen=True, kw_only=True)
    class Needy:
        amount: int

    with pytest.raises(TypeError, match=r"Needy\.amount has neither choices nor a default"):
        variants(Needy)
