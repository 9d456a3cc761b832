import pytest


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a comparison leave out its figures, which take most of its time, where a test is about its words."""
    monkeypatch.setattr("rnnstudy.report.compare.MAX_DRAWN", 0)
