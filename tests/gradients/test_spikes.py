"""The rule of a spike, against NumPy's median of the steps before."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rnnstudy.gradients.spikes import Spikes

NORMS = st.one_of(st.floats(1e-3, 1e3), st.sampled_from([0.0, 1e25, 1e300, np.inf, np.nan]))


def plain_spikes(norms: list[float], factor: float) -> list[bool]:
    """Apply the rule as it is stated, one step after the other."""
    found, finite = [], []
    for norm in norms:
        typical = (np.median(finite[-100:]) if len(finite) >= 10 else finite[0]) if finite else np.inf
        found.append(not np.isfinite(norm) or bool(norm > factor * typical))
        if np.isfinite(norm):
            finite.append(norm)
    return found


@given(st.lists(NORMS, min_size=1, max_size=140), st.floats(1, 20), st.integers(0, 139))
def test_a_spike_is_what_the_rule_says_also_after_a_checkpoint(norms, factor, cut):
    spikes, found = Spikes(2, factor), []
    for step, norm in enumerate(norms):
        if step == cut:
            again = Spikes(2, factor)
            again.load_state(spikes.state())
            spikes = again
        one, other = spikes([norm, 1.0])
        found.append(one)
        assert not other
    with np.errstate(over="ignore"):
        assert found == plain_spikes(norms, factor)


def test_only_the_last_hundred_steps_count():
    spikes = Spikes(1, 10)
    for norm in [1.0] * 90 + [100.0] * 100:
        spikes([norm])
    assert spikes([999.0]) == [False]
    assert spikes([1001.0]) == [True]
