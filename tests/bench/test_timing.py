import time

import pytest
import torch

from rnnstudy.bench.timing import TURN, Stopwatch, Timing


class Clock:
    """Seconds as the work spends them."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", clock)
    return clock


def test_ways_take_turns_in_another_order_every_round(clock: Clock) -> None:
    log: list[str] = []

    def way(name: str):
        def work() -> None:
            log.append(name)
            clock.now += 2 * TURN

        return work

    stopwatch = Stopwatch(device=torch.device("cpu"), min_rounds=4, seconds=0.001)
    timings = stopwatch.measure({name: way(name) for name in "abc"})
    # One round to warm up and one to learn how often to repeat come first.
    rounds = ["".join(log[start : start + 3]) for start in range(6, 18, 3)]
    assert len(log) == 18
    assert all(sorted(each) == ["a", "b", "c"] for each in rounds)
    assert len(set(rounds)) > 1
    assert all(timing.seconds == pytest.approx((2 * TURN,) * 4) for timing in timings.values())


def test_short_work_is_repeated_until_it_fills_its_turn(clock: Clock) -> None:
    calls = 0

    def work() -> None:
        nonlocal calls
        calls += 1
        clock.now += TURN / 8

    Stopwatch(device=torch.device("cpu"), min_rounds=3, seconds=TURN).measure({"work": work})
    assert calls == 2 + 3 * 8


def test_median_and_quartiles():
    timing = Timing(seconds=(5.0, 1.0, 3.0, 2.0, 4.0))
    assert timing.median == 3
    assert timing.quartiles == (1.5, 4.5)
