"""Runs against their baselines as a table for people, one row per comparison."""

from collections.abc import Sequence
from functools import partial

from rnnstudy.report.analysis.paired import NAMES, Comparison
from rnnstudy.report.analysis.phrases import contrast
from rnnstudy.report.tables.columns import DASH, Cell, Column, Rule

_SOLVED = "a replica that stopped for having solved the task has the figure of that moment"
_MEANINGS = {
    "steps_to_solve": (
        "steps to solve, this less its baseline, mean over pairs; a replica that never solved the task "
        "counts as the end of what both runs were trained for, so it is about what happens within those steps",
        "solves in fewer steps",
    ),
    "loss": (f"last evaluation loss, this less its baseline, mean over pairs; {_SOLVED}", "has the lower loss"),
    "horizon": (f"horizon in time steps, this less its baseline, mean over pairs; {_SOLVED}", "has the larger horizon"),
    "decay": (
        f"decay in powers of ten per time step, this less its baseline, mean over pairs; {_SOLVED}",
        "has a gradient that falls more slowly",
    ),
}
"""Meaning of the difference in each measure, and what the better run does."""


def comparison_columns(comparisons: Sequence[Comparison]) -> list[Column]:
    """Return the comparisons for people, two columns for each measure that any has; none without comparisons."""
    rules = [
        Rule[Comparison]("run", "configuration", lambda each: (each.summary.name, "")),
        Rule[Comparison]("against", "its baseline", lambda each: (contrast(each).baseline, "")),
        Rule[Comparison]("pairs", "replicas with the same seed in both", lambda each: (str(each.pairs), "")),
    ]
    for measure, (meaning, better) in _MEANINGS.items():
        if not any(each.effect(measure) for each in comparisons):
            continue
        short = "steps" if measure == "steps_to_solve" else NAMES[measure]
        rules += [
            Rule(f"Δ {short}", f"{meaning}; 95 % bootstrap interval", partial(_difference_cell, measure=measure)),
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
    if effect.difference is None:
        return (DASH, left_out)
    value, low, high = effect.difference.ends
    show = _show_steps if measure == "steps_to_solve" else _show_signed
    # An interval has no width where the values have no spread, or there is only one.
    interval = f"[{show(low)}, {show(high)}]" if low < high else "all equal" if effect.pairs > 1 else ""
    return (show(value), ", ".join(filter(None, [interval, left_out])))


def _verdict_cell(comparison: Comparison, *, measure: str) -> Cell:
    effect = comparison.effect(measure)
    if effect is None:
        return (DASH, "")
    share, low, high = effect.improvement.ends
    return (effect.verdict, f"P {share:.2f} [{low:.2f}, {high:.2f}]")


def _show_steps(value: float) -> str:
    return f"{value:+.0f}" if round(value) else "0"


def _show_signed(value: float) -> str:
    return f"{value:+.3g}" if value else "0"
