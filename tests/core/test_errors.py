import pytest

from rnnstudy.core import errors


def test_messages_name_the_setting_the_rule_and_the_value():
    with pytest.raises(errors.ConfigError, match=r"^lag must be at least 19, got 3\.$"):
        errors.require_at_least("lag", 3, 19)
    with pytest.raises(errors.ConfigError, match=r"^lr must be above 0, got 0\.$"):
        errors.require_above("lr", 0, 0)
    with pytest.raises(errors.ConfigError, match=r"^p must be between 0 and 1, got 2\.$"):
        errors.require_between("p", 2, 0, 1)


@pytest.mark.parametrize("check", [errors.require_at_least, errors.require_above])
def test_nan_breaks_every_rule(check):
    with pytest.raises(errors.ConfigError):
        check("lr", float("nan"), 0)
    with pytest.raises(errors.ConfigError):
        errors.require_between("p", float("nan"), 0, 1)


def test_values_on_the_bound():
    errors.require_at_least("a", 1, 1)
    errors.require_between("a", 1, 1, 1)
    with pytest.raises(errors.ConfigError):
        errors.require_above("a", 1, 1)


def test_suggestions():
    assert errors.suggest("lstn", ["rnn", "lstm", "gru"]) == "Did you mean 'lstm'? Allowed: gru, lstm, rnn."
    assert errors.suggest("zzz", ["rnn"]) == "Allowed: rnn."
    assert errors.suggest("zzz", []) == "Allowed: nothing."
