"""Sentences by rule."""

import math
from dataclasses import replace

import pytest
from tools.summaries import make_summary

from rnnstudy.report.analysis.comparison import NOT_SHOWN, Comparison, Effect
from rnnstudy.report.analysis.intervals import Estimate
from rnnstudy.report.analysis.summary import Summary
from rnnstudy.report.sentences.verdict import gradient_verdicts, paired_verdicts, verdicts


def configuration(
    *,
    model: str = "lstm",
    mitigation: str = "none",
    lag: str = "16",
    ratios: tuple[float | None, float | None] = (-9.0, -9.0),
    active: float | None = None,
    steps: tuple[int | None, ...] = (100, 200, 300, None, None, None, None, None),
    loss: float = 2.0,
    finished: bool = True,
) -> Summary:
    name = f"{model} + {mitigation}" if mitigation != "none" else model
    summary = make_summary(f"{name}, lag={lag}", steps=steps, loss=[loss] * len(steps), finished=finished)
    count = len(steps)
    return replace(
        summary,
        model=model,
        mitigation=mitigation,
        differing={"model": model, "mitigation": mitigation, "task.lag": lag},
        is_edited="truncated_bptt" in mitigation,
        facts=replace(summary.facts, informative_steps=(3,)),
        ratio_first=(ratios[0],) * count,
        ratio_last=(ratios[1],) * count,
        active={} if active is None else {"clip_norm": (active,) * count},
    )


def effect(
    measure: str,
    difference: tuple[float, float, float] | None,
    *,
    verdict: str,
    share: float = 0.875,
    pairs: int = 8,
    left_out: int = 0,
) -> Effect:
    return Effect(
        measure=measure,
        difference=None if difference is None else estimate(*difference),
        improvement=estimate(share, share - 0.1, min(1.0, share + 0.1)),
        pairs=pairs,
        left_out=left_out,
        verdict=verdict,
    )


def estimate(value: float, low: float, high: float) -> Estimate:
    return Estimate(value=value, low=low, high=high)


def compared(*effects: Effect, lag: str = "60", pairs: int = 8, baseline_loss: float = 2.0) -> Comparison:
    return Comparison(
        summary=configuration(mitigation="clip_norm", lag=lag),
        baseline=configuration(lag=lag, loss=baseline_loss),
        pairs=pairs,
        effects=effects,
        budget=1000,
        notes=(),
    )


def told(summaries: list[Summary], comparisons: list[Comparison]) -> list[str]:
    return verdicts(summaries, comparisons, "mitigation=[]" if comparisons else "")


def test_a_configuration_in_one_sentence():
    summary = configuration(mitigation="clip_norm", active=0.123)
    assert gradient_verdicts([summary]) == [
        "lstm + clip_norm, lag=16: the gradient vanishes before lag 16 in 8 of 8 replicas (10^-9.0 of that at lag 0); "
        "clip_norm active on 12 % of steps; 3 of 8 replicas solved."
    ]


@pytest.mark.parametrize("finished", [True, False])
def test_a_run_that_goes_on_is_told_so(finished: bool):
    (sentence,) = gradient_verdicts([configuration(finished=finished)])
    assert sentence.endswith("3 of 8 replicas solved." if finished else "3 of 8 replicas solved so far (step 1000).")


def test_edited_gradients_are_marked_and_not_counted():
    edited = configuration(mitigation="clip_norm + truncated_bptt", ratios=(0.0, -math.inf))
    assert "the gradient* vanishes before lag 16 in 8 of 8 replicas (exactly zero)" in gradient_verdicts([edited])[0]
    sentences = told([configuration(), configuration(lag="20"), edited], [])
    assert (
        "After training, the gradient vanishes before the information in every replica of both configurations "
        "(10^-9.0 of that at lag 0), not counting 1 whose gradients are edited." in sentences
    )


def test_no_verdict_where_the_loss_is_at_many_time_steps():
    summary = configuration(ratios=(None, None))
    summary = replace(summary, facts=replace(summary.facts, loss_at_end=False))
    assert "no verdict on the gradient: the loss is at many time steps" in gradient_verdicts([summary])[0]
    assert "no gradient logged" in gradient_verdicts([configuration(ratios=(None, None))])[0]


def test_a_difference_is_told_in_words_with_its_interval():
    sooner = compared(effect("steps_to_solve", (-210.0, -330.0, -80.0), verdict="better"))
    later = compared(effect("steps_to_solve", (210.0, 80.0, 330.0), verdict="worse", share=0.125))
    assert paired_verdicts([sooner, later]) == [
        "clip_norm against none (lstm, lag=60): solved 210 steps sooner on average, within 1000 steps (95 % interval "
        "80 to 330, 8 pairs), better in 88 % of the pairs.",
        "clip_norm against none (lstm, lag=60): solved 210 steps later on average, within 1000 steps (95 % interval "
        "80 to 330, 8 pairs), better in 12 % of the pairs.",
    ]
    (lower,) = paired_verdicts([compared(effect("loss", (-0.5, -0.9, -0.1), verdict="better"))])
    assert "final loss lower by 0.5 on average (95 % interval 0.1 to 0.9, 8 pairs)" in lower
    (farther,) = paired_verdicts([compared(effect("horizon", (3.0, 1.0, 5.0), verdict="higher"))])
    assert "the gradient reaches 3 time steps farther (95 % interval 1 to 5, 8 pairs)." in farther
    (fewer,) = paired_verdicts(
        [
            compared(
                effect("diverged", (-0.75, -1.0, -0.5), verdict="better"),
                effect("largest_norm", (-3.2, -4.0, -2.0), verdict="lower"),
                effect("spikes", (-12.0, -20.0, -4.0), verdict="lower"),
            )
        ]
    )
    assert fewer.partition(": ")[2] == (
        "fraction diverged lower by 0.75 (95 % interval 0.5 to 1, 8 pairs), better in 88 % of the pairs; largest norm "
        "lower by 3.2 powers of ten on average (95 % interval 2 to 4, 8 pairs); 12 fewer spikes per replica on average "
        "(95 % interval 4 to 20, 8 pairs)."
    )


def test_what_is_not_shown_is_told_with_what_stays_open():
    same = compared(
        effect("steps_to_solve", (-30.0, -200.0, 150.0), verdict=NOT_SHOWN),
        effect("loss", (0.1, -0.2, 0.4), verdict=NOT_SHOWN),
    )
    few = compared(effect("loss", (0.1, -0.2, 0.4), verdict="too few"), pairs=3)
    assert paired_verdicts([same, few]) == [
        "clip_norm against none (lstm, lag=60): no difference shown in steps to solve (-200 to 150) and loss (-0.2 to "
        "0.4).",
        "clip_norm against none (lstm, lag=60): too few replicas (3) to say.",
    ]


def test_pairs_decide_where_some_have_no_difference():
    diverged = compared(effect("loss", None, verdict="worse", share=0.12, pairs=0, left_out=8))
    assert paired_verdicts([diverged]) == [
        "clip_norm against none (lstm, lag=60): loss better in 12 % of the pairs (95 % interval 2 % to 22 %; 8 of 8 "
        "pairs with a value that is not finite)."
    ]
    some = compared(effect("loss", (-0.5, -0.9, 0.1), verdict="better", pairs=5, left_out=3))
    assert "loss better in 88 % of the pairs (95 % interval 78 % to 98 %; 3 of 8 pairs" in paired_verdicts([some])[0]
    assert told([diverged.summary, diverged.baseline], [diverged])[-1] == (
        "Compared with mitigation=[], replica by replica, the final loss was higher in the only comparison."
    )


def test_the_clearest_differences_are_the_largest_in_proportion_and_tiny_ones_are_none():
    comparisons = [
        compared(effect("loss", (-0.001, -0.0011, -0.0009), verdict="better"), lag="10"),
        compared(effect("loss", (-0.5, -0.9, -0.1), verdict="better"), lag="20", baseline_loss=2.0),
        compared(effect("loss", (-0.4, -0.9, -0.1), verdict="better"), lag="30", baseline_loss=0.5),
        compared(effect("loss", (-0.6, -2.0, 0.9), verdict=NOT_SHOWN), lag="40"),
    ]
    summaries = [each for comparison in comparisons for each in (comparison.summary, comparison.baseline)]
    sentences = told(summaries, comparisons)
    assert len(sentences) <= 9
    assert (
        "Of 4 differences between runs 3 are told from 0, where 0.2 to 0.3 would be by chance; the clearest:"
        in sentences
    )
    clearest = [sentence.partition(":")[0] for sentence in sentences if sentence.startswith("clip_norm against")]
    assert clearest == ["clip_norm against none (lstm, lag=30)", "clip_norm against none (lstm, lag=20)"]


def test_comparisons_in_which_nobody_solved_are_not_counted_as_steps():
    unsolved = (None,) * 8
    steps, loss = (
        effect("steps_to_solve", (0.0, 0.0, 0.0), verdict=NOT_SHOWN),
        effect("loss", (-0.5, -0.9, -0.1), verdict="better"),
    )
    neither = replace(
        compared(steps, loss), summary=configuration(steps=unsolved), baseline=configuration(steps=unsolved)
    )
    sooner = compared(effect("steps_to_solve", (-9.0, -12.0, -5.0), verdict="better"), loss)

    def tally(*comparisons: Comparison) -> str:
        said = told([configuration()], list(comparisons))
        return next(sentence for sentence in said if sentence.startswith("Compared"))

    assert tally(neither, neither) == (
        "Compared with mitigation=[], replica by replica, the final loss was lower in both comparisons."
    )
    assert tally(neither, sooner) == (
        "Compared with mitigation=[], replica by replica, the task was solved sooner in the only comparison (1 more "
        "left out, in which neither run solved it); the final loss was lower in both comparisons."
    )


def test_the_theory_is_told_where_it_leaves_no_choice():
    summary = configuration(model="rnn")

    def said(*gains: float | None) -> str:
        return gradient_verdicts([replace(summary, gain=gains)])[0]

    assert "theory: a time step leaves at most 0.93 of the gradient, so it must vanish" in said(0.93, 0.9, 1.2)
    assert "theory" not in said(1.1, 0.9, 1.2)
    assert "theory" not in said(math.nan, math.nan, 0.5)
    assert "theory" not in said(None, None, None)
