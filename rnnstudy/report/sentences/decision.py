"""Decisions of the tests of a page: on the primary measure, on the others, and how they are corrected."""

from collections import Counter
from collections.abc import Sequence

from rnnstudy.core.text import join
from rnnstudy.report.analysis.comparison import (
    AT_LIMIT,
    BETTER,
    HIGHER,
    LOWER,
    NOT_SHOWN,
    TOO_FEW,
    WORSE,
    Comparison,
    Effect,
)
from rnnstudy.report.analysis.phrases import Contrast, contrast, of_all, plural, some
from rnnstudy.report.analysis.samples import FRACTIONS, NAMES, SMALLER_IS_BETTER
from rnnstudy.report.analysis.tests import LEVEL, least_p, least_pairs

_MAX_NAMED = 3  # runs of a verdict that a sentence still names
_UNDECIDABLE = {AT_LIMIT, TOO_FEW}
_TALLIED = ("solved", "steps_to_solve", "diverged", "loss")


def decision(comparisons: Sequence[Comparison], baseline: str) -> list[str]:
    """Return a sentence on the primary measure: its figures in one comparison, or counts of the verdicts on many."""
    found = [(each, effect) for each in comparisons if (effect := each.main)]
    if not found or all(effect.verdict == AT_LIMIT and effect.measure == "solved" for _, effect in found):
        return []  # the headline says so
    if len(found) == 1:
        each, effect = found[0]
        return [f"{contrast(each)}: {main_clause(each, effect)}."]
    parts: list[str] = []
    for measure in dict.fromkeys(each.primary for each, _ in found):
        alike = [(each, effect) for each, effect in found if each.primary == measure]
        parts.append(f"the {NAMES[measure]} {_counted(alike)}")
    return [f"Compared with {baseline}, {'; '.join(parts)}."]


def tally(comparisons: Sequence[Comparison]) -> list[str]:
    """Return a sentence that counts the verdicts on the other outcomes, of many comparisons."""
    parts: list[str] = []
    for measure in _TALLIED:
        found = [
            (each, effect)
            for each in comparisons
            if each.primary != measure
            and (effect := each.effect(measure))
            and effect.verdict not in {AT_LIMIT, TOO_FEW}
        ]
        if len(found) > 1:
            parts.append(f"the {NAMES[measure]} {_counted(found)}")
    return [f"Of the other measures, {'; '.join(parts)}."] if parts else []


def correction(comparisons: Sequence[Comparison], correct: str) -> str:
    """Return a sentence that says how the p-values of a page are corrected; empty with fewer than two tests."""
    effects = [effect for each in comparisons for effect in each.effects if effect.verdict != AT_LIMIT]
    count = len(effects)
    if count < 2 or (all(effect.verdict == TOO_FEW for effect in effects) and correct != "holm"):
        return ""
    several = f"{of_all(count, count)} differences"
    if correct == "none":
        chance = f"{LEVEL * count:.2g} of them would be below {LEVEL:g}"
        return f"The p-values are not corrected for {several}: if nothing differed, {chance} by chance."
    if correct == "holm":
        if not all(each.is_paired for each in comparisons):
            return f"The p-values are corrected for {several} (Holm)."
        pairs = max(each.pairs for each in comparisons)
        reach = least_p(correct, count, pairs)
        least = f"the smallest p that {pairs} pairs can reach is {reach:.2g}"
        few = f", so nothing can be shown: {least_pairs(correct, count)} pairs would do" if reach > LEVEL else ""
        return f"The p-values are corrected for {several} (Holm): {least}{few}."
    told = "if nothing differed, at most 5 of 100 such pages would have a false verdict"
    return f"The p-values are corrected for {several} (max-T): {told}."


def main_clause(comparison: Comparison, effect: Effect) -> str:
    """Return the verdict on a measure with its figures, e.g. "fraction solved higher, 8 of 8 against 1 of 8 (...)"."""
    name = NAMES[effect.measure]
    if effect.verdict == TOO_FEW:
        return f"{too_few(comparison, effect)}{_counts(comparison, effect, before='; ')}"
    if effect.verdict == AT_LIMIT:
        return limit_clause(comparison, effect)
    shown = f"p = {effect.adjusted:.2g}" if effect.adjusted >= 0.001 else "p < 0.001"
    if effect.verdict == NOT_SHOWN:
        needed = (
            f"; {effect.needed} {_units(comparison)} would show this difference with 80 % power"
            if effect.needed
            else ""
        )
        return f"no difference shown in {name}{_counts(comparison, effect)} ({shown}{needed})"
    return f"{name} {direction(effect)}{_counts(comparison, effect)} ({shown})"


def too_few(comparison: Comparison, effect: Effect) -> str:
    """Return, e.g., "too few pairs (4; 6 would do)"."""
    return f"too few {_units(comparison)} ({comparison.pairs}; {effect.enough} would do)"


def limit_clause(comparison: Comparison, effect: Effect) -> str:
    """Say that both runs have the largest, or the smallest, value that a measure can have."""
    solved = comparison.summary.solved
    return {
        "solved": f"{'every' if solved else 'no'} replica of either run solved the task",
        "steps_to_solve": f"no replica of either run solved the task within {comparison.budget} steps",
        "diverged": "every replica of both runs diverged",
        "horizon": "every gradient of both runs reaches the longest lag",
    }[effect.measure]


def direction(effect: Effect) -> str:
    """Return how the run's measure differs from that of its baseline: "higher", "lower", "longer" or "shorter"."""
    up = bool(effect.is_gain) != (effect.measure in SMALLER_IS_BETTER)
    return ("longer" if up else "shorter") if effect.measure == "steps_to_solve" else ("higher" if up else "lower")


def _units(comparison: Comparison) -> str:
    return "pairs" if comparison.is_paired else "replicas"


def _counts(comparison: Comparison, effect: Effect, *, before: str = ", ") -> str:
    """Return, e.g., ", 8 of 8 against 1 of 8", of a fraction."""
    if effect.measure not in FRACTIONS:
        return ""
    this, that = (
        f"{getattr(run, effect.measure)} of {run.replicas}" for run in (comparison.summary, comparison.baseline)
    )
    return f"{before}{this} against {that}"


def _counted(found: Sequence[tuple[Comparison, Effect]]) -> str:
    """Return, e.g., "is better in 2 of 9 comparisons (a and b) and shows no difference in 7"."""
    counts = Counter(effect.verdict for _, effect in found)
    parts: list[str] = []
    for verdict in (BETTER, WORSE, HIGHER, LOWER, NOT_SHOWN, AT_LIMIT, TOO_FEW):
        if not counts[verdict]:
            continue
        said = {NOT_SHOWN: "shows no difference", AT_LIMIT: "is the same", TOO_FEW: "has too few pairs"}
        of, total = counts[verdict], len(found)
        many = of if parts else f"{of_all(of, total)} {plural('comparison', total)}"
        if verdict == NOT_SHOWN and of == total > 1:
            many = "either comparison" if total == 2 else f"any of {total} comparisons"
        names = [_told(contrast(each)) for each, effect in found if effect.verdict == verdict]
        told = join(names) if len(names) <= _MAX_NAMED else some(names, _MAX_NAMED)
        aside = f" ({told})" if verdict not in said else ""
        parts.append(f"{said.get(verdict, f'is {verdict}')} in {many}{aside}")
    return join(parts)


def _told(found: Contrast) -> str:
    return f"{found.this} of {found.place}" if found.place else found.this
