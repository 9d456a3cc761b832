"""The rules of the made-up tasks, one sequence at a time, in plain Python loops.

Every rule takes a task and the inputs of one sequence, as a list, and says what is expected of it. On the way it
insists that these inputs could have been drawn: everything is where it may be, and nothing is left over.
"""

import re
from dataclasses import dataclass

from rnnstudy.tasks.adding import Adding
from rnnstudy.tasks.associative_recall import AssociativeRecall
from rnnstudy.tasks.coconut_water import ANSWERS, CUE_STEP, CoconutWater
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


@dataclass(frozen=True)
class Output:
    """What is expected at one loss step: a class id or a value."""

    target: float
    answer: bool
    counted: bool = True


@dataclass(frozen=True)
class Expected:
    """What is expected of one sequence: the outputs by time step (others are not counted), the informative steps."""

    outputs: dict[int, Output]
    informative: set[int]


def at_the_end(inputs, target, informative):
    return Expected({len(inputs) - 1: Output(target, answer=True)}, set(informative))


# Marked pairs.


def possible_pairs(seq_len, variant):
    """Every pair of places that can be marked, with its probability; the smaller place first."""
    pairs = {}
    if variant == "half":
        draws = [(first, second) for first in range(seq_len // 2) for second in range(seq_len // 2, seq_len)]
    elif variant == "hochreiter":
        draws = []
        for first in range(10):
            others = [place for place in range(seq_len) if place != first]
            draws += [(first, second) for second in others[: seq_len // 2 - 1]]
    else:
        tenth, four_tenths = seq_len // 10, 4 * seq_len // 10
        draws = [(first, second) for first in range(tenth) for second in range(tenth, tenth + four_tenths)]
    for first, second in draws:
        pair = min(first, second), max(first, second)
        pairs[pair] = pairs.get(pair, 0) + 1 / len(draws)
    return pairs


def marked_places(task, inputs, neutral):
    markers = [marker for _, marker in inputs]
    marked = [step for step, marker in enumerate(markers) if marker == 1]
    assert len(marked) == 2
    assert tuple(marked) in possible_pairs(task.seq_len, task.variant)
    for step, marker in enumerate(markers):
        if step in marked:
            continue
        at_an_end = step in {0, len(inputs) - 1}
        assert marker == (-1 if task.variant == "hochreiter" and at_an_end else 0)
    if task.variant == "hochreiter" and 0 in marked:
        assert inputs[0][0] == neutral
    return marked


def adding(task, inputs):
    low = -1 if task.variant == "hochreiter" else 0
    assert all(low <= value <= 1 for value, _ in inputs)
    first, second = marked_places(task, inputs, neutral=0)
    x1, x2 = inputs[first][0], inputs[second][0]
    target = {"half": x1 + x2, "hochreiter": 0.5 + (x1 + x2) / 4, "pascanu": (x1 + x2) / 2}[task.variant]
    return at_the_end(inputs, target, {first, second})


def multiplication(task, inputs):
    assert all(0 <= value <= 1 for value, _ in inputs)
    first, second = marked_places(task, inputs, neutral=1)
    return at_the_end(inputs, inputs[first][0] * inputs[second][0], {first, second})


def xor(task, inputs):
    assert all(value in {0, 1} for value, _ in inputs)
    first, second = marked_places(task, inputs, neutral=0)
    differ = inputs[first][0] != inputs[second][0]
    return at_the_end(inputs, task.facts.output_names.index("different" if differ else "same"), {first, second})


# Symbols that are shown, and shown again.


def recall(task, inputs, shown, alphabet, cue_places, lead):
    """Put out blanks, but the symbols shown from `lead` time steps after the cue on."""
    facts = task.facts
    names = [facts.input_names[token] for token in inputs]
    symbols = names[:shown]
    assert set(symbols) <= {str(symbol) for symbol in range(alphabet)}
    assert len(inputs) == task.delay + 2 * shown
    assert names.count(">") == 1
    cue = names.index(">")
    assert cue in cue_places
    assert all(name == "." for name in names[shown:cue] + names[cue + 1 :])

    outputs = {}
    for step in range(len(inputs)):
        place = step - (cue + lead)
        answer = 0 <= place < shown
        name = symbols[place] if answer else "."
        outputs[step] = Output(facts.output_names.index(name), answer=answer)
    assert sum(output.answer for output in outputs.values()) == shown
    # A cue that can be in one place only tells nothing.
    return Expected(outputs, set(range(shown)) | ({cue} if len(cue_places) > 1 else set()))


def copy_memory(task, inputs):
    shown = task.num_symbols
    if task.variant == "fixed":
        cue_places = [shown + task.delay - 1]
    else:
        cue_places = [shown + blanks for blanks in range(task.delay)]
    return recall(task, inputs, shown, task.alphabet_size, cue_places, lead=1)


def memorization(task, inputs):
    shown, alphabet = {"5_bit": (5, 2), "20_bit": (10, 5)}[task.variant]
    return recall(task, inputs, shown, alphabet, [shown + task.delay], lead=0)


def random_permutation(task, inputs):
    assert inputs[0] in {0, 1}
    assert all(2 <= symbol < task.num_symbols for symbol in inputs[1:])
    last = len(inputs) - 1
    if task.variant == "last":
        return at_the_end(inputs, inputs[0], {0})
    outputs = {step: Output(inputs[step + 1], answer=False) for step in range(last)}
    outputs[last] = Output(inputs[0], answer=True)
    return Expected(outputs, {0})


# One thing to be kept in mind.


def temporal_order_windows(task):
    starts = {2: (1, 5), 3: (1, 3, 6)}[task.num_symbols]
    return [range(start * task.seq_len // 10, start * task.seq_len // 10 + task.seq_len // 10) for start in starts]


def temporal_order(task, inputs):
    input_names = task.facts.input_names
    names = [input_names[token] for token in inputs]
    places = [step for step, name in enumerate(names) if name in {"A", "B"}]
    windows = temporal_order_windows(task)
    assert len(places) == len(windows)
    assert all(place in window for place, window in zip(places, windows, strict=True))
    assert {name for step, name in enumerate(names) if step not in places} <= set("cdef")
    return at_the_end(inputs, task.facts.output_names.index("".join(names[place] for place in places)), places)


def latch(task, inputs):
    values = [value for (value,) in inputs]
    shown = values[: task.class_steps]
    assert set(shown) in ({1}, {-1})
    return at_the_end(inputs, task.facts.output_names.index("+1" if shown[0] > 0 else "-1"), range(task.class_steps))


def delayed_recall(task, inputs):
    input_names = task.facts.input_names
    names = [input_names[token] for token in inputs]
    (cue,) = [step for step, name in enumerate(names) if name.endswith("!")]
    assert cue == task.lead
    assert len(inputs) - 1 - cue == task.lag
    letters = "abcdefghijklmnopqrstuvwxyz"[: task.num_symbols]
    assert all(name.rstrip("!") in letters for name in names)
    return at_the_end(inputs, task.facts.output_names.index(names[cue][0]), {cue})


def parity(task, inputs):
    assert set(inputs) <= {0, 1}
    odd = False
    for bit in inputs:
        if bit == 1:
            odd = not odd
    return at_the_end(inputs, task.facts.output_names.index("odd" if odd else "even"), range(len(inputs)))


def associative_recall(task, inputs):
    input_names = task.facts.input_names
    names = [input_names[token] for token in inputs]
    keys = [f"k{number}" for number in range(1, task.vocab_size // 2)]
    values = [f"v{number}" for number in range(1, task.vocab_size - task.vocab_size // 2 + 1)]
    assert list(task.facts.input_names) == [".", *keys, *values]
    end_of_pairs = 2 * task.num_pairs
    value_of = {}
    for step in range(0, end_of_pairs, 2):
        key, value = names[step], names[step + 1]
        assert key in keys
        assert key not in value_of
        assert value in values
        value_of[key] = value

    outputs, questions = {}, []
    for step in range(end_of_pairs, len(inputs)):
        name = names[step]
        if name in keys:
            assert (step - end_of_pairs) % 2 == 0
            questions.append(name)
            outputs[step] = Output(task.facts.output_names.index(value_of[name]), answer=True)
        elif task.filler == "blank":
            assert name == "."
        else:
            assert name in values
    assert sorted(questions) == sorted(value_of)
    return Expected(outputs, set(range(end_of_pairs)) | set(outputs))


# Language.

REBER = {
    "start": {"B": "fork"},
    "fork": {"T": "upper", "P": "lower"},
    "upper": {"S": "upper", "X": "upper end"},
    "lower": {"T": "lower", "V": "lower end"},
    "upper end": {"X": "lower", "S": "end"},
    "lower end": {"P": "upper end", "V": "end"},
    "end": {"E": "done"},
}
"""The Reber grammar: the symbols that can follow in every state, and where they lead."""


def is_reber(string):
    state = "start"
    for symbol in string:
        if symbol not in REBER.get(state, {}):
            return False
        state = REBER[state][symbol]
    return state == "done"


def reber_string(choose):
    """One string of the Reber grammar; `choose` picks one of the symbols that can follow."""
    state, string = "start", ""
    while state != "done":
        symbol = choose(sorted(REBER[state]))
        string += symbol
        state = REBER[state][symbol]
    return string


def reber(task, inputs):
    facts = task.facts
    string = "".join(facts.input_names[token] for token in inputs)
    assert len(string) == task.seq_len
    assert string[0] == "B"
    assert string[1] in {"T", "P"}
    assert is_reber(string[2:]), string
    whole = string + string[1]
    last = len(inputs) - 1
    outputs = {
        step: Output(facts.output_names.index(whole[step + 1]), answer=step == last) for step in range(len(inputs))
    }
    return Expected(outputs, {1})


def coconut_water(task, inputs):
    words = [task.vocabulary[token] for token in inputs]
    assert re.match("this is my ", " ".join(words))
    last = len(inputs) - 1
    assert last - CUE_STEP == task.lag
    answer = Output(task.vocabulary.index(ANSWERS[words[CUE_STEP]]), answer=True)
    outputs = {last: answer}
    if task.target == "next_word":
        for step in range(last):
            outputs[step] = Output(inputs[step + 1], answer=False)
    return Expected(outputs, {CUE_STEP})


RULES = {
    Adding: adding,
    Multiplication: multiplication,
    Xor: xor,
    CopyMemory: copy_memory,
    Memorization: memorization,
    TemporalOrder: temporal_order,
    RandomPermutation: random_permutation,
    Latch: latch,
    DelayedRecall: delayed_recall,
    AssociativeRecall: associative_recall,
    Reber: reber,
    Parity: parity,
    CoconutWater: coconut_water,
}
