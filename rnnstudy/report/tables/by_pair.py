"""Runs against their baselines as a table for people, one row per comparison."""

from collections.abc import Sequence
from functools import partial

from rnnstudy.report.analysis.comparison import NAMES, Comparison
from rnnstudy.report.analysis.phrases import contrast
from rnnstudy.report.tables.columns import DASH, Cell, Column, Rule

_SOLVED = "a replica that stopped for having solved the task has the figure of that moment"
_WITHIN = "within the steps that both runs were trained for"
_EVERY = "over every step of each replica"
_UNSOLVED = (
    "a replica that never solved the task counts as the end of what both runs were trained for, so it is about what "
    "happens within those steps"
)
_MEANINGS = {
    "solved": (
        "fraction of replicas that solved the task",
        "within the steps that both runs were trained for",
        "solved it, and its baseline did not",
    ),
    "steps_to_solve": ("steps to solve", _UNSOLVED, "solves in fewer steps"),
    "diverged": ("fraction of replicas that diverged", _EVERY, "did not diverge, and its baseline did"),
    "loss": ("last evaluation loss", _SOLVED, "has the lower loss"),
    "largest_norm": ("log10 of the largest norm of the weights' gradient", _EVERY, "has the larger norm"),
    "spikes": ("steps that spiked", _EVERY, "has more spikes"),
    "horizon": ("horizon in time steps", _SOLVED, "has the larger horizon"),
    "decay": ("decay in powers of ten per time step", _SOLVED, "has a gradient that falls more slowly"),
}
"""Figure that each measure compares, which replicas count how, and what the better, or higher, run does."""


def comparison_columns(comparisons: Sequence[Comparison]) -> list[Column]:
    """Return the comparisons for people, two columns for each measure that any has; none without comparisons."""
    rules = [
        Rule[Comparison]("run", "configuration", lambda each: (each.summary.name, "")),
        Rule[Comparison]("against", "its baseline", lambda each: (contrast(each).baseline, "")),
        Rule[Comparison]("pairs", "replicas with the same seed in both", lambda each: (str(each.pairs), "")),
    ]
    for measure, (figure, counted, better) in _MEANINGS.items():
        if not any(each.effect(measure) for each in comparisons):
            continue
        short = {"steps_to_solve": "steps", "diverged": "diverged"}.get(measure, NAMES[measure])
        meaning = f"{figure}, this less its baseline, mean over pairs; {counted}; 95 % bootstrap interval"
        rules += [
            Rule(f"Δ {short}", meaning, partial(_difference_cell, measure=measure)),
            Rule(
                f"{short}?",
                "verdict: whether the interval of the difference leaves out 0, or, where pairs are left out of "
                "it, the exact sign test of all pairs has p < 0.05; P: share of pairs in which this one "
                f"{better}, ties half; Wilson 95 % interval",
                partial(_verdict_cell, measure=measure),
            ),
        ]
    return [rule.fill(comparisons) for rule in rules] if comparisons else []


def _difference_cell(comparison: Comparison, *, measure: str) -> Cell:
    effect = comparison.effect(measure)
    if effect is None:
        return (DASH, "")
    left_out = f"{effect.left_out} left out" if effect.left_out else ""
    if (difference := effect.difference) is None:
        return (DASH, left_out)
    digits = ".0f" if measure == "steps_to_solve" else ".3g"
    shown = (f"{end:+{digits}}" for end in difference.ends)
    value, low, high = ("0" if each in {"+0", "-0"} else each for each in shown)
    # An interval has no width where the values have no spread, or there is only one.
    no_width = "all equal" if effect.pairs > 1 else ""
    interval = f"[{low}, {high}]" if difference.low < difference.high else no_width
    return (value, ", ".join(filter(None, [interval, left_out])))


def _verdict_cell(comparison: Comparison, *, measure: str) -> Cell:
    effect = comparison.effect(measure)
    if effect is None:
        return (DASH, "")
    share, low, high = effect.improvement.ends
    return (effect.verdict, f"P {share:.2f} [{low:.2f}, {high:.2f}]")
