import signal

import pytest
import torch
from hypothesis import HealthCheck, settings

# Where this is started in the background Ctrl-C is ignored, and what the tests start would ignore it too.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Two threads inside operations this small are slower than one, and far slower on a busy machine.
torch.set_num_threads(1)

# Tests must not depend on how fast the machine is.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

QUICK_MODELS = {"rnn", "gru", "lstm"}
QUICK_RECURRENCES = {
    "GRURecurrence(layer_norm=False)",
    "IndRNNRecurrence(nonlinearity='relu')",
    "LRURecurrence()",
    "LSTMRecurrence(layer_norm=False)",
    "LSTMRecurrence(layer_norm=True)",
    "RNNRecurrence(nonlinearity='tanh', layer_norm=False)",
    "RNNRecurrence(nonlinearity='relu', layer_norm=False)",
    "ResidualRecurrence(variant='leaky', rate=0.5)",
    "SkipRecurrence(skip=3)",
}
"""Tried by `make test`; tests with any other model or recurrence count as slow, and `make check` runs them."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the models and recurrences that are variations of others to `make check`."""
    for item in items:
        if not isinstance(item, pytest.Function) or not hasattr(item, "callspec"):
            continue
        model, recurrence = (item.callspec.params.get(name) for name in ("model", "recurrence"))
        if (isinstance(model, str) and model not in QUICK_MODELS) or (
            recurrence is not None and repr(recurrence) not in QUICK_RECURRENCES
        ):
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a comparison leave out its figures, which take most of its time, where a test is about its words."""
    monkeypatch.setattr("rnnstudy.report.compare.MAX_DRAWN", 0)
