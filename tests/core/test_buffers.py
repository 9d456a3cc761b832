"""Memory is used again, and never while anything still looks into it."""

import gc
import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnstudy.core import buffers

LIKE = torch.zeros((), dtype=torch.float32)
LARGE = buffers.SMALLEST // LIKE.element_size()
"""The smallest number of entries whose memory is kept."""


@pytest.fixture(autouse=True)
def pool(monkeypatch: pytest.MonkeyPatch) -> buffers._Pool:
    """A pool of the test's own."""
    fresh = buffers._Pool()
    monkeypatch.setattr(buffers, "_POOL", fresh)
    return fresh


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(), (3,), (0, 5), (LARGE,), (4, LARGE, 2)])
def test_shape_dtype_and_alignment(dtype: torch.dtype, shape: tuple[int, ...]):
    made = buffers.empty(shape, LIKE.to(dtype))
    assert made.shape == shape
    assert made.dtype == dtype
    assert made.is_contiguous()
    assert made.data_ptr() % 64 == 0 or made.numel() < LARGE
    made.fill_(1.5)
    assert bool((made == 1.5).all())


def test_memory_is_used_again_after_the_last_view_is_gone():
    first = buffers.empty((LARGE, 3), LIKE)
    address = first.data_ptr()
    view = first[5:7].T
    del first
    second = buffers.empty((LARGE, 3), LIKE)
    assert second.data_ptr() != address
    view.fill_(7)
    del view
    assert buffers.empty((LARGE, 3), LIKE).data_ptr() == address


def test_what_autograd_saved_keeps_its_memory():
    leaf = torch.ones(LARGE, requires_grad=True)
    factor = buffers.empty((LARGE,), LIKE).fill_(3)
    address = factor.data_ptr()
    product = (leaf * factor).sum()
    del factor
    other = buffers.empty((LARGE,), LIKE).fill_(-1)
    assert other.data_ptr() != address
    product.backward()
    assert leaf.grad is not None
    assert bool((leaf.grad == 3).all())
    del product
    gc.collect()
    assert buffers.empty((LARGE,), LIKE).data_ptr() == address


def test_a_block_more_than_twice_too_large_is_not_spent():
    large = buffers.empty((4 * LARGE,), LIKE)
    address = large.data_ptr()
    del large
    assert buffers.empty((2 * LARGE,), LIKE).data_ptr() == address
    assert buffers.empty((LARGE,), LIKE).data_ptr() != address


@given(st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=5), min_size=1, max_size=12))
@settings(max_examples=25)
def test_what_is_held_is_bounded_by_what_was_in_use_at_once(steps: list[list[int]]):
    """Each step takes some buffers and lets go of them."""
    pool = buffers._Pool()
    most = 0
    for sizes in steps:
        taken = [pool.take(size) for size in sizes]
        most = max(most, sum(map(len, taken)))
        assert sum(map(len, taken)) + sum(map(len, pool._free)) <= buffers.SLACK * most
        for block in taken:
            pool.give_back(block)


def test_two_kinds_of_steps_in_turn_make_no_new_blocks(monkeypatch: pytest.MonkeyPatch):
    """As a run does that records now and then."""

    def step(sizes: tuple[int, ...]) -> list[int]:
        return [buffers.empty((size * LARGE,), LIKE).data_ptr() for size in sizes]

    for _ in range(2):
        step((30, 20, 20, 1))
        step((30, 1, 1))
    monkeypatch.setattr(torch, "empty", None)
    step((30, 20, 20, 1))
    step((30, 1, 1))


@given(st.lists(st.tuples(st.integers(1, 8), st.integers(0, 5)), min_size=1, max_size=40))
@settings(max_examples=25)
def test_living_buffers_never_overlap(asked: list[tuple[int, int]]):
    """Buffers of drawn sizes, each put into a drawn place where another one may have been."""
    alive: dict[int, torch.Tensor] = {}
    for size, place in asked:
        alive[place] = buffers.empty((size * LARGE,), LIKE).fill_(place)
        for where, tensor in alive.items():
            assert bool((tensor == where).all())


def test_several_threads():
    wrong = []

    def work(number: int) -> None:
        for round_ in range(200):
            mine = buffers.empty((LARGE + number,), LIKE).fill_(number)
            other = buffers.empty((2 * LARGE,), LIKE).fill_(-number)
            if not (bool((mine == number).all()) and bool((other == -number).all())):
                wrong.append((number, round_))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
