"""How the made-up tasks draw: seeds are fixed, and a sound task fails about once in ten million other seeds."""

import itertools
import math
import random

import numpy as np
import pytest
import torch
from reference.task_rules import is_reber, possible_pairs, reber_string, temporal_order_windows
from scipy import stats

from rnnstudy.tasks.adding import Adding
from rnnstudy.tasks.associative_recall import AssociativeRecall
from rnnstudy.tasks.copy_memory import CopyMemory
from rnnstudy.tasks.delayed_recall import DelayedRecall
from rnnstudy.tasks.latch import Latch
from rnnstudy.tasks.memorization import Memorization
from rnnstudy.tasks.multiplication import Multiplication
from rnnstudy.tasks.parity import Parity
from rnnstudy.tasks.random_permutation import RandomPermutation
from rnnstudy.tasks.reber import Reber
from rnnstudy.tasks.temporal_order import TemporalOrder
from rnnstudy.tasks.xor import Xor

ALARM = 1e-7
"""Probability that a sound task fails a test."""


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(task, count, seed=0):
    """Inputs of many sequences, by sequence and time step."""
    return task.sample(count, generator(seed)).inputs.transpose(0, 1).numpy()


def counts_of(outcomes):
    counts = {}
    for outcome in outcomes:
        counts[outcome] = counts.get(outcome, 0) + 1
    return counts


def check_frequencies(outcomes, probabilities):
    """Chi-square test of a list of outcomes; every one of them must be possible, and seen often enough to tell."""
    counts = counts_of(outcomes)
    total = sum(counts.values())
    assert set(counts) <= set(probabilities)
    assert sum(probabilities.values()) == pytest.approx(1)
    expected = [probability * total for probability in probabilities.values()]
    assert min(expected) > 20
    if len(expected) > 1:
        assert stats.chisquare([counts.get(outcome, 0) for outcome in probabilities], expected).pvalue > ALARM


def check_uniform(outcomes, possible):
    possible = list(possible)
    check_frequencies(outcomes, dict.fromkeys(possible, 1 / len(possible)))


def check_same_distribution(outcomes, others):
    """Chi-square test of two samples; what is rare in both is one class."""
    one, other = counts_of(outcomes), counts_of(others)
    common = [outcome for outcome in {**one, **other} if one.get(outcome, 0) + other.get(outcome, 0) >= 50]
    table = [[counts.get(outcome, 0) for outcome in common] for counts in (one, other)]
    for row, counts in zip(table, (one, other), strict=True):
        row.append(sum(counts.values()) - sum(row))
    table = np.array(table)
    table = table[:, table.sum(0) > 0]
    assert table.shape[1] > 1
    expected = np.outer(table.sum(1), table.sum(0)) / table.sum()
    assert stats.chi2.sf(((table - expected) ** 2 / expected).sum(), df=table.shape[1] - 1) > ALARM


def check_mean(values, mean):
    values = np.asarray(values, dtype=float)
    assert abs(values.mean() - mean) < 6 * values.std() / math.sqrt(len(values))


def check_continuous(values, distribution):
    assert stats.kstest(np.asarray(values, dtype=float).ravel(), distribution.cdf).pvalue > ALARM


UNIT = stats.uniform(0, 1)
SIGNED = stats.uniform(-1, 2)


# Marked pairs.


def marked(sequences):
    """The two marked places of every sequence, the smaller one first."""
    rows, places = np.nonzero(sequences[:, :, 1] == 1)
    assert np.array_equal(rows, np.repeat(np.arange(len(sequences)), 2))
    return places.reshape(-1, 2)


@pytest.mark.parametrize(
    ("task_class", "variant", "seq_len"),
    [
        (Adding, "half", 2),
        (Adding, "half", 21),
        (Adding, "hochreiter", 11),
        (Adding, "hochreiter", 53),
        (Adding, "pascanu", 10),
        (Adding, "pascanu", 47),
        (Multiplication, "hochreiter", 30),
        (Xor, "pascanu", 39),
    ],
)
def test_every_pair_of_places_is_marked_as_often_as_it_should(task_class, variant, seq_len):
    pairs = marked(drawn(task_class(seq_len=seq_len, variant=variant), 30_000, seed=seq_len))
    check_frequencies(map(tuple, pairs.tolist()), possible_pairs(seq_len, variant))


def test_the_windows_of_markers_are_those_of_the_papers():
    """The reference itself, at one length, spelt out."""
    half = possible_pairs(7, "half")
    assert {first for first, _ in half} == {0, 1, 2}
    assert {second for _, second in half} == {3, 4, 5, 6}
    hochreiter = possible_pairs(100, "hochreiter")
    # The second is one of 49: of the steps 0 to 49 without the first.
    assert {second for _, second in hochreiter} == set(range(1, 50))
    assert hochreiter[3, 40] == pytest.approx(1 / 490)
    assert hochreiter[3, 4] == pytest.approx(2 / 490)
    pascanu = possible_pairs(100, "pascanu")
    assert {first for first, _ in pascanu} == set(range(10))
    assert {second for _, second in pascanu} == set(range(10, 50))


@pytest.mark.parametrize("task_class", [Adding, Multiplication, Xor])
def test_ends_are_marked_minus_one_in_hochreiters_variant_alone(task_class):
    sequences = drawn(task_class(seq_len=12, variant="hochreiter"), 5000)
    markers = sequences[:, :, 1]
    assert set(np.unique(markers[:, 0])) == {-1, 1}
    assert set(np.unique(markers[:, 1:-1])) == {0, 1}
    assert set(np.unique(markers[:, -1])) == {-1}
    for variant in ("half", "pascanu"):
        assert set(np.unique(drawn(task_class(seq_len=12, variant=variant), 5000)[:, :, 1])) == {0, 1}


@pytest.mark.parametrize(("task_class", "neutral"), [(Adding, 0), (Multiplication, 1), (Xor, 0)])
def test_the_first_value_is_neutral_where_it_is_marked(task_class, neutral):
    sequences = drawn(task_class(seq_len=20, variant="hochreiter"), 40_000)
    is_marked = sequences[:, 0, 1] == 1
    assert (sequences[is_marked, 0, 0] == neutral).all()
    # 1/10 as the first marker, and 1/9 of the others as the second.
    check_mean(is_marked, 1 / 10 + 9 / 10 / 9)
    free = sequences[~is_marked, 0, 0]
    if task_class is Xor:
        check_uniform(free.tolist(), [0, 1])
    else:
        check_continuous(free, SIGNED if task_class is Adding else UNIT)
    for variant in ("half", "pascanu"):
        others = drawn(task_class(seq_len=20, variant=variant), 40_000)
        first = others[others[:, 0, 1] == 1, 0, 0]
        assert len(first) > 3000
        if task_class is Xor:
            check_uniform(first.tolist(), [0, 1])
        else:
            check_continuous(first, UNIT)


@pytest.mark.parametrize("variant", ["half", "hochreiter", "pascanu"])
@pytest.mark.parametrize("task_class", [Adding, Multiplication])
def test_values_are_uniform_and_independent(task_class, variant):
    values = drawn(task_class(seq_len=12, variant=variant), 20_000)[:, 1:, 0].astype(float)
    signed = task_class is Adding and variant == "hochreiter"
    check_continuous(values, SIGNED if signed else UNIT)
    low = -1 if signed else 0
    assert low <= values.min() < low + 1e-3
    assert 1 - 1e-3 < values.max() <= 1
    correlations = np.corrcoef(values.T) - np.eye(values.shape[1])
    assert np.abs(correlations).max() < 6 / math.sqrt(len(values))
    between = np.corrcoef(values[0::2].ravel(), values[1::2].ravel())[0, 1]
    assert abs(between) < 6 / math.sqrt(values[0::2].size)


@pytest.mark.parametrize("variant", ["half", "hochreiter", "pascanu"])
def test_bits_of_xor_are_balanced_and_independent(variant):
    bits = drawn(Xor(seq_len=12, variant=variant), 20_000)[:, 7:, 0].astype(int)
    check_uniform(map(tuple, bits.tolist()), itertools.product([0, 1], repeat=5))


def test_always_answering_the_mean_costs_what_the_docstrings_say():
    def targets_of(task):
        return task.sample(200_000, generator(3)).targets.numpy().ravel().astype(float)

    half = targets_of(Adding(seq_len=40))
    check_mean(half, 1)
    check_mean((half - 1) ** 2, 1 / 6)
    pascanu = targets_of(Adding(seq_len=40, variant="pascanu"))
    check_mean((pascanu - 0.5) ** 2 < 0.04, 0.64)
    product = targets_of(Multiplication(seq_len=40))
    check_mean(product, 1 / 4)
    check_mean((product - 1 / 4) ** 2, 7 / 144)
    check_mean(Xor(seq_len=40).sample(200_000, generator(3)).targets.numpy().ravel(), 1 / 2)


# Symbols that are shown, and shown again.


@pytest.mark.parametrize("variant", ["fixed", "variable"])
def test_copied_symbols_are_uniform_and_independent(variant):
    sequences = drawn(CopyMemory(delay=3, num_symbols=4, alphabet_size=5, variant=variant), 40_000)
    check_uniform(map(tuple, sequences[:, :4].tolist()), itertools.product(range(5), repeat=4))


@pytest.mark.parametrize("delay", [1, 2, 7, 40])
def test_a_variable_delimiter_comes_after_any_number_of_blanks(delay):
    sequences = drawn(CopyMemory(delay=delay, num_symbols=3, variant="variable"), 20_000)
    check_uniform((sequences == 9).argmax(1).tolist(), range(3, 3 + delay))


def test_the_delimiter_says_nothing_of_the_symbols():
    sequences = drawn(CopyMemory(delay=5, num_symbols=1, alphabet_size=4, variant="variable"), 20_000)
    together = zip(sequences[:, 0].tolist(), (sequences == 5).argmax(1).tolist(), strict=True)
    check_uniform(together, itertools.product(range(4), range(1, 6)))


def test_memorized_symbols_are_uniform_and_independent():
    bits = drawn(Memorization(delay=2, variant="5_bit"), 20_000)
    check_uniform(map(tuple, bits[:, :5].tolist()), itertools.product([0, 1], repeat=5))
    symbols = drawn(Memorization(delay=2, variant="20_bit"), 20_000)
    for start in range(8):
        check_uniform(map(tuple, symbols[:, start : start + 3].tolist()), itertools.product(range(5), repeat=3))
    check_uniform(map(tuple, symbols[:, [0, 4, 9]].tolist()), itertools.product(range(5), repeat=3))


def test_permuted_symbols_are_drawn_with_replacement():
    sequences = drawn(RandomPermutation(seq_len=6, num_symbols=6), 40_000)
    check_uniform(map(tuple, sequences[:, :4].tolist()), itertools.product([0, 1], *[range(2, 6)] * 3))
    check_uniform(map(tuple, sequences[:, [0, 4, 5]].tolist()), itertools.product([0, 1], *[range(2, 6)] * 2))
    smallest = drawn(RandomPermutation(seq_len=2, num_symbols=3), 20_000)
    check_uniform(map(tuple, smallest.tolist()), [(0, 2), (1, 2)])


# One thing to be kept in mind.


@pytest.mark.parametrize(("seq_len", "num_symbols"), [(10, 2), (50, 2), (57, 2), (30, 3), (59, 3)])
def test_places_and_classes_of_temporal_order_are_uniform(seq_len, num_symbols):
    task = TemporalOrder(seq_len=seq_len, num_symbols=num_symbols)
    batch = task.sample(40_000, generator(seq_len))
    sequences = batch.inputs.T.numpy()
    places = np.nonzero(sequences < 2)[1].reshape(-1, num_symbols)
    check_uniform(map(tuple, places.tolist()), itertools.product(*temporal_order_windows(task)))
    check_uniform(batch.targets[0].tolist(), range(2**num_symbols))


def test_noise_of_temporal_order_is_uniform_and_independent():
    sequences = drawn(TemporalOrder(seq_len=20), 40_000)
    # Nothing is ever told in the first tenth, nor in the third and fourth.
    check_uniform(map(tuple, sequences[:, [0, 4, 5, 6]].tolist()), itertools.product(range(2, 6), repeat=4))
    told = sequences[:, 2]
    check_uniform(told[told >= 2].tolist(), range(2, 6))


@pytest.mark.parametrize("variance", [0.2, 3.0])
def test_noise_of_the_latch_has_the_variance(variance):
    count, steps = 20_000, 7
    batch = Latch(seq_len=3 + steps, noise_variance=variance).sample(count, generator(1))
    noise = batch.inputs[3:, :, 0].T.numpy().astype(float)
    assert abs(noise.mean()) < 6 * math.sqrt(variance / noise.size)
    assert abs(noise.var() - variance) < 6 * variance * math.sqrt(2 / noise.size)
    check_continuous(noise, stats.norm(0, math.sqrt(variance)))
    assert np.abs(np.corrcoef(noise.T) - np.eye(steps)).max() < 6 / math.sqrt(count)
    classes = batch.targets[0].numpy()
    check_uniform(classes.tolist(), [0, 1])
    for step in range(steps):
        assert abs(np.corrcoef(noise[:, step], classes)[0, 1]) < 6 / math.sqrt(count)


def test_all_symbols_of_delayed_recall_are_uniform_and_independent():
    sequences = drawn(DelayedRecall(lag=3, lead=1, num_symbols=4), 40_000)
    sequences[:, 1] -= 4
    check_uniform(map(tuple, sequences[:, :4].tolist()), itertools.product(range(4), repeat=4))
    check_uniform(map(tuple, sequences[:, [1, 4]].tolist()), itertools.product(range(4), repeat=2))


@pytest.mark.parametrize("seq_len", [1, 2, 7])
def test_bits_of_parity_are_uniform_and_independent(seq_len):
    sequences = drawn(Parity(seq_len=seq_len), 20_000)
    check_uniform(map(tuple, sequences.tolist()), itertools.product([0, 1], repeat=seq_len))


def test_parity_is_balanced():
    check_uniform(Parity(seq_len=100).sample(20_000, generator()).targets[0].tolist(), [0, 1])


# Associative recall.


def gaps_of(sequences, num_pairs, first_value):
    """Half the distance from the end of the pairs to the question, for every pair in the order they are shown."""
    later = sequences[:, 2 * num_pairs :]
    asked = (later > 0) & (later < first_value)
    assert (asked.sum(1) == num_pairs).all()
    gaps = [(later == sequences[:, 2 * pair, None]).argmax(1) for pair in range(num_pairs)]
    assert all((gap % 2 == 0).all() for gap in gaps)
    return np.stack(gaps, axis=1) // 2


def test_keys_are_distinct_and_so_are_values():
    # A blank, three keys, five values.
    sequences = drawn(AssociativeRecall(seq_len=12, num_pairs=3, vocab_size=9), 60_000)
    keys, values = sequences[:, 0:6:2], sequences[:, 1:6:2]
    check_uniform(map(tuple, keys.tolist()), itertools.permutations(range(1, 4), 3))
    check_uniform(map(tuple, values.tolist()), itertools.permutations(range(4, 9), 3))
    sequences = drawn(AssociativeRecall(seq_len=8, num_pairs=2, vocab_size=12), 60_000)
    check_uniform(map(tuple, sequences[:, [0, 2]].tolist()), itertools.permutations(range(1, 6), 2))
    pairs = itertools.product(range(1, 6), range(6, 12))
    check_uniform(map(tuple, sequences[:, [2, 3]].tolist()), pairs)


@pytest.mark.parametrize(("num_pairs", "vocab_size"), [(2, 18), (3, 40), (2, 300), (8, 300)])
def test_keys_and_values_of_larger_vocabularies_are_distinct_and_uniform(num_pairs, vocab_size):
    """Few of many, drawn in another way than many of few."""
    sequences = drawn(AssociativeRecall(seq_len=4 * num_pairs, num_pairs=num_pairs, vocab_size=vocab_size), 20_000)
    middle = vocab_size // 2
    for start, low, high in ((0, 1, middle), (1, middle, vocab_size)):
        tokens = sequences[:, start : 2 * num_pairs : 2]
        assert all(len(set(row)) == num_pairs for row in tokens.tolist())
        for place in range(num_pairs):
            check_uniform(tokens[:, place].tolist(), range(low, high))
        if (high - low) * (high - low - 1) < 1000:
            check_uniform(map(tuple, tokens[:, :2].tolist()), itertools.permutations(range(low, high), 2))


@pytest.mark.parametrize(
    ("num_pairs", "seq_len", "power"),
    [(1, 12, 0.5), (2, 14, 0.01), (2, 14, 1.0), (2, 14, 2.5), (3, 14, 0.5), (3, 12, 2.5)],
)
def test_questions_are_drawn_one_after_the_other_by_weight(num_pairs, seq_len, power):
    """Against the probabilities themselves: weights of what is left, over their sum."""
    places = (seq_len - 2 * num_pairs) // 2
    weights = [(gap + 1) ** (power - 1) for gap in range(places)]
    probabilities = {}
    for order in itertools.permutations(range(places), num_pairs):
        probability, left = 1.0, sum(weights)
        for gap in order:
            probability *= weights[gap] / left
            left -= weights[gap]
        probabilities[order] = probability
    task = AssociativeRecall(seq_len=seq_len, num_pairs=num_pairs, vocab_size=20, power=power)
    gaps = gaps_of(drawn(task, 30_000, seed=num_pairs), num_pairs, first_value=10)
    check_frequencies(map(tuple, gaps.tolist()), probabilities)


def test_questions_of_many_pairs_against_a_simulation():
    num_pairs, places, count = 6, 26, 8000
    task = AssociativeRecall(seq_len=64, num_pairs=num_pairs, vocab_size=64)
    gaps = gaps_of(drawn(task, count), num_pairs, first_value=32)
    random_numbers = np.random.default_rng(0)
    simulated = np.empty((count, num_pairs), dtype=int)
    for row in range(count):
        left = list(range(places))
        for pair in range(num_pairs):
            weights = np.array([(gap + 1) ** (task.power - 1) for gap in left])
            place = np.searchsorted(weights.cumsum(), random_numbers.random() * weights.sum(), side="right")
            simulated[row, pair] = left.pop(int(place))
    for pair in range(num_pairs):
        check_same_distribution(gaps[:, pair].tolist(), simulated[:, pair].tolist())
    check_same_distribution(gaps.max(1).tolist(), simulated.max(1).tolist())


def test_what_stands_where_nothing_is_asked():
    blank = AssociativeRecall(seq_len=16, num_pairs=2, vocab_size=11)
    values = AssociativeRecall(seq_len=16, num_pairs=2, vocab_size=11, filler="values")
    for task, possible in ((blank, [0]), (values, range(5, 11))):
        later = drawn(task, 10_000)[:, 4:]
        asked = (later >= 1) & (later < 5)
        for step in range(12):
            check_uniform(later[~asked[:, step], step].tolist(), possible)
        # Nothing is ever asked at an odd distance.
        check_uniform(map(tuple, later[:, [1, 3]].tolist()), itertools.product(possible, repeat=2))


# The Reber grammar.


@pytest.fixture(scope="module")
def embedded_strings():
    """Strings of the embedded grammar by the number of symbols read, each of two symbols with probability 1/2."""
    choices = random.Random(0)
    strings = {}
    for _ in range(150_000):
        around = choices.choice("TP")
        string = "B" + around + reber_string(choices.choice)
        strings.setdefault(len(string), []).append(string)
    return strings


@pytest.mark.parametrize("seq_len", [7, 8, 9, 10, 11, 13])
def test_whole_strings_are_as_frequent_as_in_the_plain_grammar(embedded_strings, seq_len):
    task = Reber(seq_len=seq_len)
    strings = ["".join("BTPSXVE"[token] for token in row) for row in drawn(task, 20_000, seed=seq_len).tolist()]
    assert set(embedded_strings[seq_len]) <= set(strings) | {
        rare for rare, times in counts_of(embedded_strings[seq_len]).items() if times < 20
    }
    check_same_distribution(strings, embedded_strings[seq_len])


@pytest.mark.parametrize("seq_len", [14, 50, 301])
def test_long_strings_are_legal_and_both_branches_drawn(seq_len):
    task = Reber(seq_len=seq_len)
    strings = ["".join("BTPSXVE"[token] for token in row) for row in drawn(task, 2000).tolist()]
    assert all(string[0] == "B" and is_reber(string[2:]) for string in strings)
    check_uniform([string[1] for string in strings], "TP")
    assert {string[3] for string in strings} == {"T", "P"}


def test_long_reber_strings_are_legal_and_their_figures_finite():
    task = Reber(seq_len=20_000)
    assert task.facts.memoryless_loss is not None
    assert 0 < task.facts.memoryless_loss < 1
    batch = task.sample(2, torch.Generator().manual_seed(0))
    for place in range(2):
        word = "".join(task.facts.input_names[token] for token in batch.inputs[:, place].tolist())
        assert is_reber(word[2:])
        assert word[0] == "B"
        assert word[1] in "TP"
