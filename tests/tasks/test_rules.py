"""Every made-up task against its rule, as plain loops have it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.task_rules import RULES

from rnnstudy.core.errors import ConfigError
from rnnstudy.tasks.adding import Adding
from rnnstudy.tasks.associative_recall import AssociativeRecall
from rnnstudy.tasks.coconut_water import CoconutWater
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


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def check_against_rule(task, batch_size, seed):
    batch = task.sample(batch_size, generator(seed))
    steps = batch.loss_steps.tolist()
    assert steps == sorted(set(steps))
    assert len(batch.inputs) == task.facts.seq_len
    assert batch.targets.shape == (len(steps), batch_size, *([1] if batch.targets.is_floating_point() else []))
    assert batch.ends is None
    possible = set(task.facts.informative_steps)
    inputs, targets = batch.inputs.transpose(0, 1).tolist(), batch.targets.flatten(1).T.tolist()
    counted, answer, informative = (part.T.tolist() for part in (batch.counted, batch.answer, batch.informative))
    for place in range(batch_size):
        expected = RULES[type(task)](task, inputs[place])
        assert set(expected.outputs) <= set(steps)
        for row, step in enumerate(steps):
            output = expected.outputs.get(step)
            if output is None:
                assert not counted[place][row]
                assert not answer[place][row]
                continue
            assert (counted[place][row], answer[place][row]) == (output.counted, output.answer)
            # Values are rounded to single precision, class ids are exact.
            assert abs(targets[place][row] - output.target) <= (1e-6 if batch.targets.is_floating_point() else 0)
        found = {step for step, informs in enumerate(informative[place]) if informs}
        assert found == expected.informative
        assert found <= possible


SHORTEST = {"half": 2, "hochreiter": 11, "pascanu": 10}

MARKED_PAIR_ARGUMENTS = st.sampled_from(["half", "hochreiter", "pascanu"]).flatmap(
    lambda variant: st.fixed_dictionaries({"variant": st.just(variant), "seq_len": st.integers(SHORTEST[variant], 60)})
)

ARGUMENTS = {
    Adding: MARKED_PAIR_ARGUMENTS,
    Multiplication: MARKED_PAIR_ARGUMENTS,
    Xor: MARKED_PAIR_ARGUMENTS,
    CopyMemory: st.fixed_dictionaries(
        {
            "delay": st.integers(1, 30),
            "num_symbols": st.integers(1, 12),
            "alphabet_size": st.integers(2, 12),
            "variant": st.sampled_from(["fixed", "variable"]),
        }
    ),
    Memorization: st.fixed_dictionaries({"delay": st.integers(1, 40), "variant": st.sampled_from(["5_bit", "20_bit"])}),
    TemporalOrder: st.fixed_dictionaries({"seq_len": st.integers(10, 120), "num_symbols": st.sampled_from([2, 3])}),
    RandomPermutation: st.fixed_dictionaries(
        {
            "seq_len": st.integers(2, 40),
            "num_symbols": st.integers(3, 30),
            "variant": st.sampled_from(["next_symbol", "last"]),
        }
    ),
    Latch: st.integers(1, 8).flatmap(
        lambda class_steps: st.fixed_dictionaries(
            {
                "class_steps": st.just(class_steps),
                "seq_len": st.integers(class_steps + 1, 40),
                "noise_variance": st.sampled_from([1e-6, 0.2, 9.0]),
            }
        )
    ),
    DelayedRecall: st.fixed_dictionaries(
        {"lag": st.integers(1, 40), "lead": st.integers(0, 12), "num_symbols": st.integers(2, 26)}
    ),
    AssociativeRecall: st.integers(1, 6).flatmap(
        lambda num_pairs: st.fixed_dictionaries(
            {
                "num_pairs": st.just(num_pairs),
                "seq_len": st.integers(4 * num_pairs, 4 * num_pairs + 30),
                "vocab_size": st.integers(2 * num_pairs + 2, 2 * num_pairs + 30),
                "power": st.sampled_from([1e-3, 0.01, 0.5, 1.0, 3.0, 10.0]),
                "filler": st.sampled_from(["blank", "values"]),
            }
        )
    ),
    Reber: st.fixed_dictionaries({"seq_len": st.integers(7, 80)}),
    Parity: st.fixed_dictionaries({"seq_len": st.integers(1, 60)}),
    CoconutWater: st.fixed_dictionaries(
        {"lag": st.integers(19, 120), "target": st.sampled_from(["answer", "next_word"])}
    ),
}


@pytest.mark.parametrize("task_class", RULES, ids=lambda task_class: task_class.__name__)
@settings(max_examples=25)
@given(data=st.data(), seed=st.integers(0, 10_000))
def test_a_batch_follows_the_rule(task_class, data, seed):
    check_against_rule(task_class(**data.draw(ARGUMENTS[task_class])), batch_size=8, seed=seed)


def of_marked_pairs(seq_len, variant):
    return [(task_class, {"seq_len": seq_len, "variant": variant}) for task_class in (Adding, Multiplication, Xor)]


SMALLEST = [
    *of_marked_pairs(2, "half"),
    *of_marked_pairs(3, "half"),
    *of_marked_pairs(11, "hochreiter"),
    *of_marked_pairs(10, "pascanu"),
    *of_marked_pairs(19, "pascanu"),
    (CopyMemory, {"delay": 1, "num_symbols": 1, "alphabet_size": 2, "variant": "fixed"}),
    (CopyMemory, {"delay": 1, "num_symbols": 1, "alphabet_size": 2, "variant": "variable"}),
    (CopyMemory, {"delay": 2, "num_symbols": 1, "alphabet_size": 2, "variant": "variable"}),
    (Memorization, {"delay": 1, "variant": "5_bit"}),
    (Memorization, {"delay": 1, "variant": "20_bit"}),
    (TemporalOrder, {"seq_len": 10, "num_symbols": 2}),
    (TemporalOrder, {"seq_len": 10, "num_symbols": 3}),
    (TemporalOrder, {"seq_len": 29, "num_symbols": 3}),
    (RandomPermutation, {"seq_len": 2, "num_symbols": 3, "variant": "next_symbol"}),
    (RandomPermutation, {"seq_len": 2, "num_symbols": 3, "variant": "last"}),
    (Latch, {"seq_len": 2, "class_steps": 1}),
    (Latch, {"seq_len": 6, "class_steps": 5}),
    (DelayedRecall, {"lag": 1, "lead": 0, "num_symbols": 2}),
    (DelayedRecall, {"lag": 1, "lead": 0, "num_symbols": 26}),
    (AssociativeRecall, {"seq_len": 4, "num_pairs": 1, "vocab_size": 4}),
    (AssociativeRecall, {"seq_len": 5, "num_pairs": 1, "vocab_size": 5, "filler": "values"}),
    (AssociativeRecall, {"seq_len": 12, "num_pairs": 3, "vocab_size": 8}),
    (Reber, {"seq_len": 7}),
    (Reber, {"seq_len": 8}),
    (Parity, {"seq_len": 1}),
    (CoconutWater, {"lag": 19}),
]


@pytest.mark.parametrize(("task_class", "arguments"), SMALLEST)
def test_the_smallest_sizes_work(task_class, arguments):
    check_against_rule(task_class(**arguments), batch_size=64, seed=0)
    check_against_rule(task_class(**arguments), batch_size=1, seed=1)


TOO_SMALL = [
    *[(*case, "seq_len") for case in of_marked_pairs(1, "half")],
    *[(*case, "seq_len") for case in of_marked_pairs(10, "hochreiter")],
    *[(*case, "seq_len") for case in of_marked_pairs(9, "pascanu")],
    (CopyMemory, {"delay": 0}, "delay"),
    (CopyMemory, {"delay": 0, "variant": "variable"}, "delay"),
    (CopyMemory, {"num_symbols": 0}, "num_symbols"),
    (CopyMemory, {"alphabet_size": 1}, "alphabet_size"),
    (Memorization, {"delay": 0}, "delay"),
    (TemporalOrder, {"seq_len": 9}, "seq_len"),
    (TemporalOrder, {"seq_len": 9, "num_symbols": 3}, "seq_len"),
    (RandomPermutation, {"seq_len": 1}, "seq_len"),
    (RandomPermutation, {"num_symbols": 2}, "num_symbols"),
    (Latch, {"class_steps": 0}, "class_steps"),
    (Latch, {"seq_len": 5, "class_steps": 5}, "seq_len"),
    (Latch, {"noise_variance": 0.0}, "noise_variance"),
    (Latch, {"noise_variance": float("nan")}, "noise_variance"),
    (DelayedRecall, {"lag": 0}, "lag"),
    (DelayedRecall, {"lead": -1}, "lead"),
    (DelayedRecall, {"num_symbols": 1}, "num_symbols"),
    (DelayedRecall, {"num_symbols": 27}, "num_symbols"),
    (AssociativeRecall, {"seq_len": 15, "num_pairs": 4}, "seq_len"),
    (AssociativeRecall, {"num_pairs": 0}, "num_pairs"),
    (AssociativeRecall, {"num_pairs": 4, "vocab_size": 9}, "vocab_size"),
    (AssociativeRecall, {"power": 0.0}, "power"),
    (AssociativeRecall, {"power": -1.0}, "power"),
    (Reber, {"seq_len": 6}, "seq_len"),
    (Parity, {"seq_len": 0}, "seq_len"),
    (CoconutWater, {"lag": 18}, "lag"),
]


@pytest.mark.parametrize(("task_class", "arguments", "argument"), TOO_SMALL)
def test_one_below_the_smallest_size_names_the_argument(task_class, arguments, argument):
    with pytest.raises(ConfigError, match=rf"^{argument} must be ") as caught:
        task_class(**arguments)
    assert "\n" not in str(caught.value)
