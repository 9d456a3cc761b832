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
    adjusted: float = 0.01,
    needed: int | None = None,
) -> Effect:
    return Effect(
        measure=measure,
        difference=None if difference is None else estimate(*difference),
        improvement=estimate(share, share - 0.1, min(1.0, share + 0.1)),
        pairs=pairs,
        left_out=left_out,
        verdict=verdict,
        adjusted=adjusted,
        needed=needed,
        enough=6,
    )


def estimate(value: float, low: float, high: float) -> Estimate:
    return Estimate(value=value, low=low, high=high)


def compared(*effects: Effect, lag: str = "60", pairs: int = 8, baseline_loss: float = 2.0) -> Comparison:
    return Comparison(
        summary=configuration(mitigation="clip_norm", lag=lag),
        baseline=configuration(lag=lag, loss=baseline_loss),
        is_paired=True,
        pairs=pairs,
        primary=effects[0].measure,
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
        "clip_norm against none (lstm, lag=60): mean time within 1000 steps shorter by 210 steps (95 % interval 80 "
        "to 330, 8 pairs), better in 88 % of the pairs; log-rank p = 1.",
        "clip_norm against none (lstm, lag=60): mean time within 1000 steps longer by 210 steps (95 % interval 80 "
        "to 330, 8 pairs), better in 12 % of the pairs; log-rank p = 1.",
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
        "fraction diverged lower by 0.75 (95 % interval 0.5 to 1, 8 pairs); largest norm "
        "lower by 3.2 powers of ten on average (95 % interval 2 to 4, 8 pairs); 12 fewer spikes per replica on average "
        "(95 % interval 4 to 20, 8 pairs)."
    )


def test_what_is_not_shown_is_told_with_what_stays_open():
    same = compared(
        effect("loss", (0.1, -0.2, 0.4), verdict=NOT_SHOWN, adjusted=0.31, needed=41),
        effect("decay", (-0.3, -0.5, 0.15), verdict=NOT_SHOWN),
    )
    few = compared(effect("solved", (0.1, -0.2, 0.4), verdict="too few"), pairs=3)
    assert paired_verdicts([same, few]) == [
        "clip_norm against none (lstm, lag=60): no difference shown in final loss (p = 0.31; 41 pairs would show this "
        "difference with 80 % power); nor in decay (-0.5 to 0.15).",
        "clip_norm against none (lstm, lag=60): too few pairs (3; 6 would do); 3 of 8 against 3 of 8.",
    ]


def test_fewer_replicas_solved_is_said_before_a_shorter_mean_time():
    late = configuration(lag="60", steps=(940, 900, 960, 920, 980, 900, 940, 960))
    fast = configuration(mitigation="clip_norm", lag="60", steps=(100,) * 5 + (None,) * 3)
    comparison = compared(
        effect("solved", (-0.375, -0.7, -0.05), verdict=NOT_SHOWN, adjusted=0.2, share=0.3),
        effect("steps_to_solve", (-560.0, -870.0, -80.0), verdict="better"),
    )
    comparison = replace(comparison, summary=fast, baseline=late)
    (said,) = paired_verdicts([comparison])
    assert said == (
        "clip_norm against none (lstm, lag=60): no difference shown in fraction solved, 5 of 8 against 8 of 8 "
        "(p = 0.2); fewer "
        "replicas solved the task (5 of 8 against 8 of 8), though the mean time within 1000 steps is shorter by "
        "560 steps "
        "(95 % interval 80 to 870, 8 pairs); log-rank p = 0.58; the curves of the fraction solved cross at step "
        "960, so "
        "neither run is always ahead."
    )


def test_who_is_better_is_told_where_some_have_no_difference():
    diverged = compared(effect("loss", None, verdict="worse", share=0.12, pairs=0, left_out=8))
    assert paired_verdicts([diverged]) == [
        "clip_norm against none (lstm, lag=60): final loss better in 12 % of the pairs (95 % interval 2 % to 22 %; 8 "
        "values that are not finite)."
    ]
    some = compared(effect("loss", (-0.5, -0.9, 0.1), verdict="better", pairs=5, left_out=1))
    assert "better in 88 % of the pairs (95 % interval 78 % to 98 %; 1 value that is" in paired_verdicts([some])[0]


def test_the_decision_on_the_primary_measure_comes_before_best_and_worst():
    one = compared(effect("solved", (0.5, 0.1, 0.8), verdict="better", adjusted=0.012))
    said = told([one.summary, one.baseline], [one])
    assert said[0] == (
        "clip_norm against none (lstm, lag=60): fraction solved higher, 3 of 8 against 3 of 8 (p = 0.012)."
    )
    comparisons = [
        compared(
            effect("solved", (0.5, 0.1, 0.8), verdict=verdict), effect("loss", (-0.5, -0.9, -0.1), verdict=NOT_SHOWN)
        )
        for verdict in ("better", "better", NOT_SHOWN, "at the limit", "worse")
    ]
    said = told([configuration()], comparisons)
    assert said[0] == (
        "Compared with mitigation=[], the fraction solved is better in 2 of 5 comparisons (clip_norm of lstm, lag=60 "
        "and clip_norm of lstm, lag=60), is worse in 1 (clip_norm of lstm, lag=60), shows no difference in 1 and is "
        "the same in 1."
    )
    assert "Of the other measures, the final loss shows no difference in any of 5 comparisons." in said


@pytest.mark.parametrize(
    ("correct", "said"),
    [
        (
            "max-t",
            "The p-values are corrected for all 3 differences (max-T): if nothing differed, at most 5 of 100 such "
            "pages would have a false verdict.",
        ),
        (
            "holm",
            "The p-values are corrected for all 3 differences (Holm): the smallest p that 8 pairs can reach is 0.023.",
        ),
        (
            "none",
            "The p-values are not corrected for all 3 differences: if nothing differed, 0.15 of them would be "
            "below 0.05 "
            "by chance.",
        ),
    ],
)
def test_the_correction_is_told(correct: str, said: str):
    comparisons = [compared(effect("loss", (-0.5, -0.9, -0.1), verdict="better"), lag=lag) for lag in ("1", "2", "3")]
    assert said in verdicts([configuration()], comparisons, "mitigation=[]", correct)


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
    clearest = [sentence.partition(":")[0] for sentence in sentences if sentence.startswith("clip_norm against")]
    assert clearest == ["clip_norm against none (lstm, lag=30)", "clip_norm against none (lstm, lag=20)"]


def test_what_neither_run_did_is_told_as_such():
    unsolved = (None,) * 8
    neither = compared(
        effect("solved", (0.0, -0.2, 0.2), verdict="at the limit"),
        effect("steps_to_solve", (0.0, math.nan, math.nan), verdict="at the limit"),
        effect("horizon", (0.0, math.nan, math.nan), verdict="at the limit"),
    )
    neither = replace(neither, summary=configuration(steps=unsolved), baseline=configuration(steps=unsolved))
    assert paired_verdicts([neither])[0].partition(": ")[2] == (
        "no replica of either run solved the task; every gradient of both runs reaches the longest lag."
    )


def test_the_theory_is_told_where_it_leaves_no_choice():
    summary = configuration(model="rnn")

    def said(*gains: float | None) -> str:
        return gradient_verdicts([replace(summary, gain=gains)])[0]

    assert "theory: a time step leaves at most 0.93 of the gradient, so it must vanish" in said(0.93, 0.9, 1.2)
    assert "theory" not in said(1.1, 0.9, 1.2)
    assert "theory" not in said(math.nan, math.nan, 0.5)
    assert "theory" not in said(None, None, None)
