import pytest

from rnnstudy.core.errors import ConfigError
from rnnstudy.core.schedule import At, Every


def test_every():
    assert [step for step in range(10) if Every(interval=4).is_due(step)] == [0, 4, 8]
    with pytest.raises(ConfigError, match="interval must be at least 1, got 0"):
        Every(interval=0)


def test_at_chosen_steps_and_at_the_first_weights_in_any_case():
    assert [step for step in range(10) if At(steps=(3, 7)).is_due(step)] == [0, 3, 7]
    assert [step for step in range(10) if At(steps=[]).is_due(step)] == [0]
    with pytest.raises(ConfigError, match="steps must be at least 0, got -1"):
        At(steps=[4, -1])
