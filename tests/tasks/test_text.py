"""Prediction on a text, against plain Python on the same text."""

import itertools
import math
import random
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rnnstudy.core.errors import ConfigError
from rnnstudy.tasks.text import Text

POEM = (
    "The lake lay blue, the lake lay grey.\nWho's there? The wind; 3 boats were there, and 12 gulls -- no more.\n"
    "Über dem See liegt Nebel, und der Nebel liegt über dem See!\n\n"
) * 7 + "And then: nothing."


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def write(tmp_path):
    def write(content, name="text.txt"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


FIRST = 0x4E00


def all_different(count):
    """A text of different characters: everyone tells its place."""
    return "".join(chr(FIRST + place) for place in range(count))


def places(task, tokens):
    """Where in a text of different characters every sequence's tokens stand."""
    return [[ord(task.vocabulary[token]) - FIRST for token in sequence] for sequence in tokens.T.tolist()]


def units_of(text, unit):
    """The characters or words of a text: runs of letters and digits, and single signs of punctuation."""
    if unit == "character":
        return list(text)
    words, run = [], ""
    for sign in text + " ":
        if sign.isalnum():
            run += sign
            continue
        if run:
            words.append(run)
        run = ""
        if not sign.isspace():
            words.append(sign)
    return words


def parts_of(units, validation):
    """Training and validation part, for shares that leave nothing to round."""
    kept = validation * len(units)
    assert kept == int(kept)
    return units[: -int(kept)], units[-int(kept) :]


def shortened(text, unit, multiple):
    """As much of the text as makes a whole multiple of units."""
    while len(units_of(text, unit)) % multiple:
        text = text[:-1]
    return text


# Units and the vocabulary.


@pytest.mark.parametrize("unit", ["character", "word"])
def test_the_vocabulary_is_that_of_the_whole_file_most_frequent_first(write, unit):
    text = POEM + " Ω"
    task = Text(path=write(text), seq_len=3, unit=unit)
    counts = Counter(units_of(text, unit))
    assert set(task.vocabulary) == set(counts)
    assert len(task.vocabulary) == len(counts)
    frequencies = [counts[member] for member in task.vocabulary]
    assert frequencies == sorted(frequencies, reverse=True)
    assert "<unknown>" not in task.vocabulary
    assert tuple(task.facts.input_names) == tuple(task.facts.output_names) == tuple(task.vocabulary)
    assert task.held_out().vocabulary == task.vocabulary


def test_words_are_runs_of_letters_and_digits_or_single_signs(write):
    task = Text(path=write("Don't stop -- 3 (three) times! " * 5), seq_len=1, unit="word")
    assert set(task.vocabulary) == {"Don", "'", "t", "stop", "-", "3", "(", "three", ")", "times", "!"}


@pytest.mark.parametrize("unit", ["character", "word"])
@pytest.mark.parametrize("most", [2, 3, 8])
def test_what_is_rare_is_unknown(write, unit, most):
    text = shortened(POEM, unit, 2)
    task = Text(path=write(text), seq_len=5, unit=unit, max_vocabulary=most, windows="independent", validation=0.5)
    units = units_of(text, unit)
    counts = Counter(units)
    assert len(task.vocabulary) == most
    assert task.vocabulary.count("<unknown>") == 1
    known = [member for member in task.vocabulary if member != "<unknown>"]
    rarest = min(counts[member] for member in known)
    assert all(times <= rarest for member, times in counts.items() if member not in known)

    expected, _ = parts_of([unit if unit in known else "<unknown>" for unit in units], 0.5)
    windows = {tuple(expected[start : start + 6]) for start in range(len(expected) - 5)}
    batch = task.sample(200, generator())
    for inputs, targets in zip(batch.inputs.T.tolist(), batch.targets.T.tolist(), strict=True):
        assert tuple(task.vocabulary[token] for token in [*inputs, targets[-1]]) in windows


def test_a_vocabulary_that_is_just_large_enough_has_nothing_unknown(write):
    path = write("a a a b b c d " * 10)
    assert Text(path=path, seq_len=1, unit="word", max_vocabulary=4).vocabulary == ("a", "b", "c", "d")
    assert Text(path=path, seq_len=1, unit="word", max_vocabulary=3).vocabulary == ("a", "b", "<unknown>")


# The parts.


@pytest.mark.slow
@pytest.mark.parametrize("validation", [0.02, 0.1, 0.255, 1 / 3, 0.5])
@pytest.mark.parametrize("count", [100, 101, 997])
def test_the_parts_are_disjoint_in_order_and_of_the_share(write, validation, count):
    task = Text(path=write(all_different(count)), seq_len=1, validation=validation, windows="independent")
    seen = []
    for part in (task, task.held_out()):
        batch = part.sample(20 * count, generator())
        assert all(target == [start + 1] for (start,), target in both(part, batch))
        seen.append({place for tokens in (batch.inputs, batch.targets) for (place,) in places(part, tokens)})
    train, kept = seen
    assert sorted(train) == list(range(len(train)))
    assert sorted(kept) == list(range(len(train), count))
    assert abs(len(kept) - validation * count) < 1


def both(task, batch):
    return zip(places(task, batch.inputs), places(task, batch.targets), strict=True)


@pytest.mark.parametrize("windows", ["consecutive", "independent"])
def test_evaluation_reads_independent_windows_of_the_validation_part(write, windows):
    task = Text(path=write(POEM), seq_len=4, windows=windows)
    held_out = task.held_out()
    assert (held_out.part, held_out.windows, held_out.seq_len) == ("validation", "independent", 4)
    assert held_out.held_out() == held_out
    assert held_out.sample(3, generator()).ends is None


# Windows.


@pytest.mark.parametrize("windows", ["consecutive", "independent"])
def test_targets_are_the_inputs_one_step_later(write, windows):
    task = Text(path=write(POEM), seq_len=9, windows=windows)
    batch = task.sample(50, generator())
    assert torch.equal(batch.targets[:-1], batch.inputs[1:])
    assert batch.inputs.shape == batch.targets.shape == (9, 50)
    assert batch.loss_steps.tolist() == list(range(9))
    assert batch.counted.all()
    assert batch.answer.all()
    assert batch.informative.all()


@pytest.mark.parametrize("seq_len", [1, 7, 19])
def test_independent_windows_reach_every_place_and_never_cross_the_end(write, seq_len):
    task = Text(path=write(all_different(40)), seq_len=seq_len, windows="independent", validation=0.5)
    for part, first, last in ((task, 0, 19), (task.held_out(), 20, 39)):
        batch = part.sample(6000, generator())
        starts = Counter()
        for inputs, targets in both(part, batch):
            assert [*inputs, targets[-1]] == list(range(inputs[0], inputs[0] + seq_len + 1))
            assert inputs[1:] == targets[:-1]
            starts[inputs[0]] += 1
        assert sorted(starts) == list(range(first, last - seq_len + 1))
        if len(starts) > 1:
            assert stats.chisquare(list(starts.values())).pvalue > 1e-7
    batch = task.sample_after(None, 5, generator())
    assert batch.ends is None


@settings(max_examples=15)
@given(data=st.data(), kept=st.integers(2, 40), seed=st.integers(0, 1000))
def test_consecutive_windows_read_on_where_the_last_ended(tmp_path_factory, data, kept, seed):
    seq_len = data.draw(st.integers(1, kept - 1))
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(all_different(2 * kept), encoding="utf-8")
    task = Text(path=str(path), seq_len=seq_len, validation=0.5)
    randomness = generator(seed)
    batch, following = None, None
    for _ in range(3 + 2 * kept // seq_len):
        batch = task.sample_after(None if batch is None else batch.ends, 3, randomness)
        assert batch.ends is not None
        assert batch.ends.shape == (3,)
        for sequence, (inputs, targets) in enumerate(both(task, batch)):
            start = inputs[0] if following is None else following[sequence]
            # At the end of the part reading begins anew.
            assert inputs == [(start + step) % kept for step in range(seq_len)]
            assert targets == [(start + 1 + step) % kept for step in range(seq_len)]
        following = [targets[-1] for targets in places(task, batch.targets)]


def test_reading_on_takes_nothing_but_the_ends(write):
    task = Text(path=write(POEM), seq_len=6)
    first = task.sample_after(None, 4, generator(1))
    assert first.ends is not None
    one, other = (task.sample_after(first.ends, 4, generator(seed)) for seed in (2, 3))
    assert torch.equal(one.inputs, other.inputs)
    assert one.ends is not None
    assert other.ends is not None
    assert one.ends.tolist() == other.ends.tolist()
    swapped = task.sample_after(first.ends.flip(0), 4, generator(2))
    assert torch.equal(swapped.inputs, one.inputs.flip(1))


def test_reading_begins_anywhere(write):
    task = Text(path=write(all_different(40)), seq_len=5, validation=0.5)
    batch = task.sample_after(None, 8000, generator())
    starts = Counter(inputs[0] for inputs in places(task, batch.inputs))
    assert sorted(starts) == list(range(20))
    assert stats.chisquare(list(starts.values())).pvalue > 1e-7


# Facts.


def entropy(counts):
    total = sum(counts.values())
    return -sum(count / total * math.log(count / total) for count in counts.values())


@pytest.mark.parametrize("unit", ["character", "word"])
@pytest.mark.parametrize("part", ["train", "validation"])
@pytest.mark.parametrize("most", [4, 10_000])
def test_facts_are_fitted_to_the_training_part(write, unit, part, most):
    letters = random.Random(0)
    text = shortened(POEM + "".join(letters.choice("abc ,") for _ in range(500)), unit, 4)
    task = Text(path=write(text), seq_len=8, unit=unit, max_vocabulary=most, validation=0.25)
    units = [member if member in task.vocabulary else "<unknown>" for member in units_of(text, unit)]
    fitted, held_out = parts_of(units, 0.25)
    judged = list(itertools.pairwise(fitted if part == "train" else held_out))
    pairs = list(itertools.pairwise(fitted))
    following, followed = Counter(after for _, after in pairs), Counter(before for before, _ in pairs)
    together = Counter(pairs)
    facts = (task if part == "train" else task.held_out()).facts
    if part == "train":
        assert facts.chance_loss == pytest.approx(entropy(following), abs=1e-6)
        assert facts.memoryless_loss == pytest.approx(entropy(together) - entropy(followed), abs=1e-6)
    else:
        # What was not seen in training has a chance too.
        alone = {name: (following[name] + 1) / (len(pairs) + len(task.vocabulary)) for name in task.vocabulary}
        chance = [-math.log(alone[after]) for _, after in judged]
        assert facts.chance_loss == pytest.approx(sum(chance) / len(chance), abs=1e-6)
        given = [
            -math.log((together[before, after] + alone[after]) / (followed[before] + 1)) for before, after in judged
        ]
        assert facts.memoryless_loss == pytest.approx(sum(given) / len(given), abs=1e-6)
        # It sums to one after any token.
        for before in task.vocabulary:
            total = sum((together[before, after] + alone[after]) / (followed[before] + 1) for after in task.vocabulary)
            assert total == pytest.approx(1)
    most_frequent = max(task.vocabulary, key=lambda name: following[name])
    right = sum(after == most_frequent for _, after in judged) / len(judged)
    assert facts.chance_accuracy == pytest.approx(right, abs=1e-6)
    assert facts.seq_len == 8
    assert facts.solved is None
    assert facts.informative_steps == tuple(range(8))


# Bad input.


def error_of(**arguments):
    with pytest.raises(ConfigError) as caught:
        Text(**arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_file_that_is_missing(tmp_path):
    path = str(tmp_path / "none.txt")
    message = error_of(path=path)
    assert message.startswith("path must ")
    assert path in message


def test_a_folder(tmp_path):
    message = error_of(path=str(tmp_path))
    assert message.startswith("path must ")
    assert str(tmp_path) in message


@pytest.mark.parametrize("unit", ["character", "word"])
def test_an_empty_file(write, unit):
    path = write("")
    message = error_of(path=path, unit=unit)
    assert message.startswith("path must ")
    assert path in message


def test_a_file_without_a_word(write):
    path = write(" \n\t " * 100)
    message = error_of(path=path, unit="word", seq_len=1)
    assert message.startswith("path must ")
    assert path in message


@pytest.mark.parametrize("content", [b"caf\xe9 " * 100, b"\xff\xfea\x00b\x00" * 50, b"a" * 500 + b"\xc3"])
def test_bytes_that_are_not_utf_8(write, content):
    path = write(content)
    message = error_of(path=path, seq_len=1)
    assert message.startswith("path must ")
    assert path in message
    assert "UTF-8" in message


def test_a_byte_order_mark_is_no_character(write):
    with_mark = Text(path=write(b"\xef\xbb\xbf" + POEM.encode(), "mark.txt"), seq_len=5)
    without = Text(path=write(POEM), seq_len=5)
    assert with_mark.vocabulary == without.vocabulary
    assert with_mark.facts == without.facts


@pytest.mark.parametrize(("unit", "text"), [("character", all_different(50)), ("word", "one two " * 25)])
def test_a_text_that_is_too_short(write, unit, text):
    path = write(text)
    # Ten are kept for validation: the longest window and its last target.
    longest = Text(path=path, unit=unit, seq_len=9, validation=0.2)
    assert longest.sample(3, generator()).inputs.shape == longest.held_out().sample(3, generator()).inputs.shape
    message = error_of(path=path, unit=unit, seq_len=10, validation=0.2)
    assert message.startswith("seq_len must ")
    assert path in message


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("validation", 0.0099),
        ("validation", 0.501),
        ("validation", 0.0),
        ("validation", 1.0),
        ("validation", float("nan")),
        ("max_vocabulary", 1),
        ("max_vocabulary", 0),
        ("seq_len", 0),
    ],
)
def test_arguments_out_of_range(write, argument, value):
    assert error_of(path=write(POEM), **{argument: value}).startswith(f"{argument} must be ")


def test_arguments_at_the_edge_of_their_range(write):
    path = write(POEM)
    for task in (
        Text(path=path, seq_len=1, validation=0.01),
        Text(path=path, seq_len=1, validation=0.5),
        Text(path=path, seq_len=1, max_vocabulary=2),
    ):
        assert task.sample(2, generator()).inputs.shape == (1, 2)
        assert task.held_out().sample(2, generator()).inputs.shape == (1, 2)


def test_another_length_is_of_the_same_text_though_the_file_has_changed(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("ab" * 100)
    task = Text(path=str(path), seq_len=3)
    path.write_text("xyz" * 100)
    longer = task.with_seq_len(7)
    assert longer.vocabulary == ("a", "b")
    assert longer.facts.seq_len == len(longer.sample(2, torch.Generator()).inputs) == 7
    assert task.facts.seq_len == len(task.sample(2, torch.Generator()).inputs) == 3
    with pytest.raises(ConfigError, match="seq_len must be below 20"):
        task.with_seq_len(20)


def test_a_file_that_has_changed_is_read_again(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("ab" * 100)
    before = Text(path=str(path), seq_len=1)
    path.write_text("xyz" * 100)
    after = Text(path=str(path), seq_len=1)
    assert before.vocabulary == ("a", "b")
    assert after.vocabulary == ("x", "y", "z")
    assert before.data_digest != after.data_digest


def test_texts_that_leave_no_length_at_all_and_no_file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("ab" * 50)
    with pytest.raises(
        ConfigError,
        match=r"^path must name a longer text: .* has 100 characters, .*; or set validation nearer to 0\.5\.$",
    ):
        Text(path=str(path), seq_len=1, validation=0.01)
    with pytest.raises(ConfigError, match=r"^path must name a text file, got ''\.$"):
        Text(path="", seq_len=1)
