"""Runs against their baselines as tables for people: one row per comparison, or per comparison and measure."""

from collections.abc import Sequence
from functools import partial

from rnnstudy.report.analysis.comparison import AT_LIMIT, TOO_FEW, Comparison, Effect
from rnnstudy.report.analysis.phrases import contrast
from rnnstudy.report.analysis.samples import NAMES
from rnnstudy.report.tables.columns import DASH, Cell, Column, Rule, show_number
from rnnstudy.runs.plan import MEASURES

FIGURES = (
    "Below each verdict: this run less its baseline, mean over pairs, and its 95 % interval (≈: rough). p: with the "
    "correction of the report, if any. P: share of pairs in which this run is better (of largest norm, spikes, horizon "
    "and decay: higher); ties count half."
)
"""Explanation of the cells of a measure, for people."""

_SOLVED = "a replica that stopped for having solved the task has the figure of that moment"
_WITHIN = "within the steps that both runs were trained for"
_EVERY = "over every step of each replica"
_MEANINGS = {
    "solved": f"fraction of replicas that solved the task {_WITHIN}",
    "steps_to_solve": f"mean steps to solve the task {_WITHIN}; a replica that did not counts as the last of them",
    "diverged": f"fraction of replicas that diverged, {_EVERY}",
    "loss": f"last evaluation loss; {_SOLVED}",
    "largest_norm": f"log10 of the largest norm of the weights' gradient, {_EVERY}",
    "spikes": f"steps that spiked, {_EVERY}",
    "horizon": f"horizon in time steps; {_SOLVED}",
    "decay": f"decay in powers of ten per time step; {_SOLVED}",
}
"""Figure that each measure compares, and which replicas count how."""


def comparison_columns(comparisons: Sequence[Comparison]) -> list[Column]:
    """Return the comparisons for people, primary measures first; none without comparisons."""
    primary = {each.primary for each in comparisons}
    found = [measure for measure in MEASURES if any(each.effect(measure) for each in comparisons)]
    rules = [
        Rule[Comparison]("run", "configuration", lambda each: (each.summary.name, "")),
        Rule[Comparison]("against", "its baseline", lambda each: (contrast(each).baseline, ""), rank=2),
        Rule[Comparison](
            "pairs",
            "replicas with the same seed in both; without any, replicas of the smaller run",
            lambda each: (str(each.pairs), "" if each.is_paired else "no pairs"),
            rank=1,
        ),
        *(
            Rule(
                NAMES[measure],
                _MEANINGS[measure],
                partial(_measure_cell, measure=measure),
                rank=0 if measure in primary else 3 + MEASURES.index(measure),
            )
            for measure in sorted(found, key=lambda measure: measure not in primary)
        ),
    ]
    return [rule.fill(comparisons) for rule in rules] if comparisons else []


def effect_columns(comparisons: Sequence[Comparison]) -> list[Column]:
    """Return a table with a row per comparison and measure, narrow enough for a paper."""
    rows = [(each, effect) for each in comparisons for effect in each.effects]
    rules = [
        Rule[tuple[Comparison, Effect]]("run", "configuration", lambda row: (row[0].summary.name, "")),
        Rule[tuple[Comparison, Effect]]("against", "its baseline", lambda row: (contrast(row[0]).baseline, "")),
        Rule[tuple[Comparison, Effect]]("measure", "what is compared", lambda row: (NAMES[row[1].measure], "")),
        Rule[tuple[Comparison, Effect]]("n", "pairs, or replicas without", lambda row: (str(row[0].pairs), "")),
        Rule[tuple[Comparison, Effect]]("Δ", "difference, 95 % interval", lambda row: show_difference(row[1])),
        Rule[tuple[Comparison, Effect]](
            "p", "corrected", lambda row: (show_p(row[1]).removeprefix("p ").removeprefix("= ") or DASH, "")
        ),
        Rule[tuple[Comparison, Effect]]("verdict", "on the difference", lambda row: (row[1].verdict, "")),
    ]
    return [rule.fill(rows) for rule in rules]


def show_difference(effect: Effect) -> Cell:
    """Return, e.g., "+0.125" and "≈ [-0.17, +0.37], 1 left out", of values that are finite."""
    left_out = f"{effect.left_out} left out" if effect.left_out else ""
    if (difference := effect.difference) is None:
        return (DASH, left_out)
    value, low, high = difference.ends
    whole = effect.measure == "steps_to_solve"
    if low < high:
        digits = next((few for few in (2, 3) if _signed(low, few) != _signed(high, few)), 4)
        ends = ", ".join(_signed(end, digits, whole=whole) for end in (low, high))
        interval = f"{'≈ ' if difference.rough else ''}[{ends}]"
    else:  # no spread, or only one pair
        interval = "all equal" if effect.pairs > 1 else ""
    return (_signed(value, 3, whole=whole), ", ".join(filter(None, [interval, left_out])))


def show_p(effect: Effect) -> str:
    """Return, e.g., "p = 0.024" or "p < 0.001", corrected; empty where nothing could be tested."""
    if effect.verdict in {TOO_FEW, AT_LIMIT}:
        return ""
    return f"p = {effect.adjusted:.2g}" if effect.adjusted >= 0.001 else "p < 0.001"


def _signed(value: float, digits: int, *, whole: bool = False) -> str:
    """Return, e.g., "+12.0", "-0.5" or "0"."""
    shown = f"{value:.0f}" if whole else show_number(value, digits=digits)
    return f"+{shown}" if value > 0 and float(shown) else shown if float(shown) else "0"


def _measure_cell(comparison: Comparison, *, measure: str) -> Cell:
    effect = comparison.effect(measure)
    if effect is None:
        return (DASH, "")
    if effect.verdict == AT_LIMIT:
        return (effect.verdict, "")
    found = " ".join(show_difference(effect)).removeprefix(f"{DASH} ").strip()
    tests = filter(None, [show_p(effect), f"P = {effect.improvement.value:.2f}"])
    return (effect.verdict, f"{found}\n{', '.join(tests)}")
