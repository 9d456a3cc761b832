import itertools

from hypothesis import given
from hypothesis import strategies as st

from rnnstudy.core.lags import log_spaced_lags, thinned


def test_lags_are_few_start_at_zero_and_reach_the_first_step():
    for num_steps in (1, 2, 3, 10, 100, 5000):
        lags = log_spaced_lags(num_steps, 12)
        assert lags[0] == 0
        assert lags[-1] == num_steps - 1
        assert len(lags) == len(set(lags)) <= 12


def test_lags_are_evenly_spaced_in_their_logarithm():
    """1 + lag is close to 101^(k/7): ratios of neighbours are alike where rounding to integers is small."""
    lags = log_spaced_lags(101, 8)
    ratios = [(1 + longer) / (1 + shorter) for shorter, longer in itertools.pairwise(lags[4:])]
    assert max(ratios) / min(ratios) < 1.1


@given(st.lists(st.integers(), unique=True, max_size=300).map(sorted), st.integers(2, 120))
def test_thinned_keeps_both_ends_and_spreads_what_it_keeps_evenly(places, count):
    kept = thinned(places, count)
    assert len(kept) == min(len(places), count)
    if places:
        assert (kept[0], kept[-1]) == (places[0], places[-1])
    found = [places.index(place) for place in kept]
    gaps = [after - before for before, after in itertools.pairwise(found)]
    assert not gaps or (min(gaps) >= 1 and max(gaps) - min(gaps) <= 1)
