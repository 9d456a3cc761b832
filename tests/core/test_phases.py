import time

import pytest

from rnnstudy.core.phases import Phases


def test_time_adds_up_by_phase_also_when_an_error_ends_one():
    phases = Phases()
    for _ in range(2):
        with phases.during("data"):
            time.sleep(0.02)

    def fail() -> None:
        with phases.during("engine"):
            time.sleep(0.01)
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert set(phases.seconds) == {"data", "engine"}
    assert phases.seconds["data"] >= 0.04
    assert phases.seconds["engine"] >= 0.01
