import pytest

from rnnstudy.core.errors import ConfigError
from rnnstudy.core.schedule import Every


def test_every():
    assert [step for step in range(10) if Every(interval=4).is_due(step)] == [0, 4, 8]
    with pytest.raises(ConfigError, match="interval must be at least 1, got 0"):
        Every(interval=0)
