"""Runs against their baselines as a table: one row per comparison for people, one per measure for programs."""

import math
from collections.abc import Callable, Sequence

from rnnstudy.report.analysis.bootstrap import Estimate
from rnnstudy.report.analysis.paired import MEASURES, NAMES, Comparison, Effect
from rnnstudy.report.analysis.phrases import contrast
from rnnstudy.report.tables.by_run import DASH, Cell, Column

_SOLVED = "a replica that stopped for having solved the task has the figure of that moment"
_MEANINGS = {
    "steps_to_solve": "steps to solve, this less its baseline, mean over pairs; a replica that never solved the task "
    "counts as the end of what both runs were trained for, so it is about what happens within those steps",
    "loss": f"last evaluation loss, this less its baseline, mean over pairs; {_SOLVED}",
    "horizon": f"horizon in time steps, this less its baseline, mean over pairs; {_SOLVED}",
    "decay": f"decay in powers of ten per time step, this less its baseline, mean over pairs; {_SOLVED}",
}
_BETTER_MEANINGS = {
    "steps_to_solve": "solves in fewer steps",
    "loss": "has the lower loss",
    "horizon": "has the larger horizon",
    "decay": "has a gradient that falls more slowly",
}


def comparison_columns(comparisons: Sequence[Comparison]) -> list[Column]:
    """Lay out the comparisons for people, two columns for each measure that any of them has.

    Returns:
        Columns; none without comparisons.
    """
    if not comparisons:
        return []
    found = [
        _column("run", "configuration", comparisons, lambda each: (each.summary.entry.name, "")),
        _column("against", "its baseline", comparisons, lambda each: (contrast(each).baseline, "")),
        _column("pairs", "replicas with the same seed in both", comparisons, lambda each: (str(each.pairs), "")),
    ]
    for measure in MEASURES:
        short = "steps" if measure == "steps_to_solve" else NAMES[measure]
        effects = [_effect(each, measure) for each in comparisons]
        if not any(effects):
            continue
        found += [
            Column(
                header=f"Δ {short}",
                meaning=f"{_MEANINGS[measure]}; 95 % bootstrap interval",
                cells=tuple(_difference_cell(effect) for effect in effects),
            ),
            Column(
                header=f"{short}?",
                meaning="verdict: whether the interval of the difference leaves out 0, or, where pairs are left out of "
                f"it, the exact sign test of all pairs has p < 0.05; P: share of pairs in which this one "
                f"{_BETTER_MEANINGS[measure]}, ties half; Wilson 95 % interval",
                cells=tuple(_verdict_cell(effect) for effect in effects),
            ),
        ]
    return found


def to_rows(comparisons: Sequence[Comparison]) -> list[dict[str, object]]:
    """Return a row per comparison and measure, raw values, None where nothing is known.

    Returns:
        Rows of one set of columns; a comparison without pairs has one row without a measure.
    """
    rows: list[dict[str, object]] = []
    for each in comparisons:
        summary, baseline = each.summary.entry, each.baseline.entry
        fixed: dict[str, object] = {
            "run": summary.name,
            "folder": summary.run.label,
            "baseline": baseline.name,
            "baseline_folder": baseline.run.label,
            "pairs": each.pairs,
        }
        shared: dict[str, object] = {"budget": each.budget, "at_step": each.at_step, "resamples": each.resamples}
        rows += [fixed | _effect_row(effect) | shared for effect in each.effects or (None,)]
    return rows


def _difference_cell(effect: Effect | None) -> Cell:
    if effect is None:
        return (DASH, "")
    left_out = [f"{effect.left_out} left out"] if effect.left_out else []
    if effect.difference is None:
        return (DASH, "".join(left_out))
    show = _show_steps if effect.measure == "steps_to_solve" else _show_signed
    interval = _show_interval(effect.difference, show) or ("all equal" if effect.pairs > 1 else "")
    return (show(effect.difference.value), ", ".join(filter(None, [interval, *left_out])))


def _verdict_cell(effect: Effect | None) -> Cell:
    if effect is None or effect.improvement is None:
        return (DASH, "")
    share = effect.improvement
    return (effect.verdict, f"P {share.value:.2f} [{share.low:.2f}, {share.high:.2f}]")


def _show_interval(estimate: Estimate, show: Callable[[float], str]) -> str:
    """Return the interval as text; empty where the values have no spread, or there is only one."""
    return f"[{show(estimate.low)}, {show(estimate.high)}]" if estimate.low < estimate.high else ""


def _show_steps(value: float) -> str:
    return f"{value:+.0f}" if round(value) else "0"


def _show_signed(value: float) -> str:
    return f"{value:+.3g}" if value else "0"


def _effect_row(effect: Effect | None) -> dict[str, object]:
    difference, improvement = (effect.difference, effect.improvement) if effect else (None, None)
    return {
        "measure": effect.measure if effect else None,
        **_ends("difference", difference),
        "pairs_in_difference": effect.pairs if effect else None,
        "left_out": effect.left_out if effect else None,
        **_ends("improvement", improvement),
        "verdict": effect.verdict if effect else None,
    }


def _ends(name: str, estimate: Estimate | None) -> dict[str, object]:
    value, low, high = (estimate.value, estimate.low, estimate.high) if estimate else (None, None, None)
    known = low is not None and not math.isnan(low)
    return {name: value, f"{name}_low": low if known else None, f"{name}_high": high if known else None}


def _column(header: str, meaning: str, comparisons: Sequence[Comparison], cell: Callable[[Comparison], Cell]) -> Column:
    return Column(header=header, meaning=meaning, cells=tuple(cell(each) for each in comparisons))


def _effect(comparison: Comparison, measure: str) -> Effect | None:
    return next((effect for effect in comparison.effects if effect.measure == measure), None)
