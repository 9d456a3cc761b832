import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnstudy.core.errors import ConfigError
from rnnstudy.tasks.base import Batch, stack
from rnnstudy.tasks.coconut_water import ANSWERS, CUE_STEP, FILLERS, CoconutWater

SENTENCE = (
    "this is my favorite coconut water that I have tried I have tried a lot of different coconut water and this is the"
)
CANONICAL = SENTENCE.split()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_canonical_sentence_is_drawn_and_its_lag_is_19():
    task = CoconutWater(lag=19)
    batch = task.sample(5000, generator())
    sentences = {tuple(task.words(batch.inputs[:, place])): place for place in range(5000)}
    place = sentences[tuple(CANONICAL)]
    assert task.words(batch.targets[:, place]) == ["best"]
    # "favorite" is word 4 and "the", the last word read, word 23: 19 time steps apart.
    assert CANONICAL.index("favorite") == CUE_STEP == 3
    assert len(CANONICAL) - 1 - CANONICAL.index("favorite") == 19
    assert len(CANONICAL) == task.facts.seq_len == 23


@settings(max_examples=15)
@given(lag=st.integers(19, 400), seed=st.integers(0, 1000))
def test_any_lag_is_met_exactly_and_the_cue_decides(lag, seed):
    task = CoconutWater(lag=lag)
    batch = task.sample(16, generator(seed))
    assert len(batch.inputs) == lag + CUE_STEP + 1
    for place in range(16):
        words = task.words(batch.inputs[:, place])
        assert words[:3] == ["this", "is", "my"]
        assert words[-4:] == ["and", "this", "is", "the"]
        assert [ANSWERS[words[CUE_STEP]]] == task.words(batch.targets[:, place])


def test_the_filler_is_made_of_whole_sentences():
    task = CoconutWater(lag=19 + 37)
    batch = task.sample(64, generator())
    for place in range(64):
        filler = task.words(batch.inputs[:, place])[10 : 10 + 37]
        assert splits_into_sentences(filler), filler


def splits_into_sentences(words: list[str]) -> bool:
    if not words:
        return True
    sentences = [filler.split() for filler in FILLERS]
    return any(
        words[: len(sentence)] == sentence and splits_into_sentences(words[len(sentence) :]) for sentence in sentences
    )


def test_cues_answers_and_fillers_are_all_drawn_and_balanced():
    assert len(ANSWERS) == len(set(ANSWERS.values())) == 8
    task = CoconutWater(lag=60)
    batch = task.sample(40_000, generator())
    counts = torch.bincount(batch.targets.flatten(), minlength=task.facts.output_size)
    shares = counts[counts > 0] / 40_000
    assert len(shares) == 8
    # Five standard deviations of a share of 1/8 in 40 000 draws.
    assert (shares - 1 / 8).abs().max() < 5 * (1 / 8 * 7 / 8 / 40_000) ** 0.5
    assert set(task.words(batch.inputs.unique())) == set(task.vocabulary) - set(ANSWERS.values())


def test_distractors_hold_cue_adjectives_that_cue_nothing():
    task = CoconutWater(lag=80)
    batch = task.sample(500, generator())
    cues = torch.tensor([task.vocabulary.index(cue) for cue in ANSWERS])
    elsewhere = torch.isin(batch.inputs[CUE_STEP + 1 :], cues)
    assert elsewhere.any(0).float().mean() > 0.5
    last = batch.inputs[-40:]
    nearest = torch.where(torch.isin(last, cues), last, -1).max(0).values
    found = nearest >= 0
    cue_of = {task.vocabulary.index(answer): task.vocabulary.index(cue) for cue, answer in ANSWERS.items()}
    agreeing = sum(
        int(nearest[place]) == cue_of[int(batch.targets[-1, place])] for place in found.nonzero().flatten().tolist()
    )
    assert agreeing / int(found.sum()) < 0.25


@pytest.mark.slow
@pytest.mark.parametrize("target", ["answer", "next_word"])
def test_chance_is_what_the_best_guess_without_the_cue_gets(target):
    """Monte Carlo over 100 000 sequences through the project's own loss; ± 0.5 %."""
    task = CoconutWater(lag=19, target=target)
    answers = torch.tensor([task.vocabulary.index(answer) for answer in ANSWERS.values()])
    guess = torch.full((task.facts.output_size,), -30.0, dtype=torch.float64)
    guess[answers] = 0.0
    jitter = torch.randn(task.facts.output_size, generator=generator(7), dtype=torch.float64) * 1e-9
    losses, accuracies = [], []
    for seed in range(10):
        batch = stack([task.sample(10_000, generator(seed))])
        outputs = (guess + jitter).expand(*batch.targets.shape, -1)
        metrics = task.metrics(outputs, batch)
        losses.append(float(metrics["answer_loss"]))
        accuracies.append(float(metrics["accuracy"]))
    assert sum(losses) / 10 == pytest.approx(task.facts.chance_loss, rel=0.005)
    # Three standard deviations of an accuracy of 1/8 over 100 000 sequences are 2.5 %.
    assert sum(accuracies) / 10 == pytest.approx(task.facts.chance_accuracy, rel=0.025)


def test_next_word_asks_for_every_next_word_and_judges_at_the_blank():
    task = CoconutWater(lag=25, target="next_word")
    batch = task.sample(7, generator())
    assert batch.loss_steps.tolist() == list(range(task.facts.seq_len))
    assert torch.equal(batch.targets[:-1], batch.inputs[1:])
    assert batch.answer.sum(0).tolist() == [1] * 7
    assert batch.answer[-1].all()
    assert batch.counted.all()
    answer_only = CoconutWater(lag=25).sample(7, generator())
    assert torch.equal(answer_only.targets[-1], batch.targets[-1])

    outputs = torch.nn.functional.one_hot(batch.targets, task.facts.output_size).double()[:, None] * 50
    outputs[:-1] = 0
    metrics = task.metrics(outputs, stack([batch]))
    assert float(metrics["accuracy"]) == 1
    assert float(metrics["answer_loss"]) < 1e-9
    assert float(metrics["loss"]) > 1


def test_the_answer_depends_on_the_informative_step_alone():
    task = CoconutWater(lag=40)
    one, other = (task.sample(4000, generator(seed)) for seed in (1, 2))
    same_cue = one.inputs[CUE_STEP] == other.inputs[CUE_STEP]
    assert same_cue.any()
    assert torch.equal(one.targets[0][same_cue], other.targets[0][same_cue])
    assert (one.targets[0][~same_cue] != other.targets[0][~same_cue]).all()
    assert isinstance(one, Batch)
    assert one.informative.nonzero()[:, 0].unique().tolist() == [CUE_STEP]


def test_a_lag_that_is_too_short():
    with pytest.raises(ConfigError, match=r"^lag must be at least 19, got 18\.$"):
        CoconutWater(lag=18)
