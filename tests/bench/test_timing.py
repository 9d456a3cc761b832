import time

import torch

from rnnstudy.bench.timing import TURN, Stopwatch, Timing


def test_ways_take_turns_in_another_order_every_round():
    log: list[str] = []

    def way(name: str):
        def work() -> None:
            log.append(name)
            time.sleep(2 * TURN)

        return work

    stopwatch = Stopwatch(device=torch.device("cpu"), min_rounds=4, seconds=0.001)
    timings = stopwatch.measure({name: way(name) for name in "abc"})
    # One round to warm up and one to learn how often to repeat come first.
    rounds = ["".join(log[start : start + 3]) for start in range(6, 18, 3)]
    assert len(log) == 18
    assert all(sorted(each) == ["a", "b", "c"] for each in rounds)
    assert len(set(rounds)) > 1
    assert all(len(timing.seconds) == 4 for timing in timings.values())
    assert all(timing.median >= 2 * TURN for timing in timings.values())


def test_short_work_is_repeated_until_it_fills_its_turn():
    calls = 0

    def work() -> None:
        nonlocal calls
        calls += 1
        time.sleep(TURN / 10)

    Stopwatch(device=torch.device("cpu"), min_rounds=3, seconds=0.001).measure({"work": work})
    assert calls >= 2 + 3 * 5


def test_median_and_quartiles():
    timing = Timing(seconds=(5.0, 1.0, 3.0, 2.0, 4.0))
    assert timing.median == 3
    assert timing.quartiles == (1.5, 4.5)
