"""Runs compared with their baselines.

Two replicas with the same seed see the same batches, and draw the same initial weights where their networks have the
same shapes; their difference has less noise than that of the runs' means. The rules, which a report may cite:

- Design: paired where the two runs share seeds, over the replicas with a seed in both. Others are left out, and a note
  says so. Runs without a shared seed are compared as independent samples.
- Solved, more is better: 1 for a replica that solved the task, 0 for another. Only for tasks with a criterion.
- Steps to solve, fewer is better: a replica that never solved the task is not dropped. Times are restricted to the
  common budget B, the fewest optimizer steps up to which all replicas of both runs are known: t = min(t, B). Their
  mean is the restricted mean time, the mean time within B steps; it is not the time of those that solved the task. A
  diverged replica never solves. Only for tasks with a criterion.
- Diverged, fewer is better: 1 for a replica that diverged, 0 for another. Compared where a replica of either run did.
- Largest norm: log10 of the largest finite norm of the weights' gradient over every step, before the mitigations.
  Spikes: steps at which that norm spiked; compared where either run has any. Neither has a better or a worse: the
  verdict says "higher" or "lower". Runs of versions that logged neither are not compared in them.
- Diverged, largest norm and spikes are those of all steps of a replica, however many it did. They are left out if one
  of the two runs has not ended.
- Loss, lower is better: the last evaluation loss, of the whole sequence. Loss, horizon and decay of a replica that
  solved the task and stopped are those of that moment; those of a diverged replica are NaN.
- If one of the two has not ended, loss, horizon and decay of both are the last logged within B steps, and a note says
  so. A replica that had not yet diverged by then has those it had.
- Horizon and decay: larger means that the gradient reaches farther. That need not be better, as it may explode, so the
  verdict says "higher" or "lower". A horizon is at most the longest lag, seq_len - 1: how far a gradient that reaches
  that lag would go is not known.
- The difference is the mean over pairs of run minus baseline, or the difference of the means of unpaired runs. Values
  that are not finite (of a diverged replica) are left out of it and counted.
- Its 95 % interval is that of `intervals`: an estimate, which decides nothing and allows for no other comparison. It is
  called rough below 8 pairs, and below 16 where half of them or more are at a bound.
- The probability of improvement is the share of pairs in which the run is better than its baseline, ties counted half;
  of unpaired runs, of all pairs of their replicas. A value that is not finite is the
  worst; two of them tie, and so do two times of B or more. Its interval is Wilson's, ties as half successes; unpaired
  runs have none.
- The test follows from the design. Paired: exact sign flips of the differences, which for a fraction is McNemar's test;
  where pairs were left out of the difference, sign flips of better (1) and worse (-1). Unpaired: Boschloo's test of
  fractions, a permutation test of means; where values are not finite, of their ranks.
- The page's correction is that of `tests`, over all comparisons and measures; unpaired tests are corrected by Holm's
  procedure, and where a page has both kinds, each has half of the 5 %.
- The verdict is "too few" where no outcome of so many pairs could reach 5 %; "at the limit" where all values of both
  runs are the largest or the smallest that can be measured; "better" or "worse" ("higher" or "lower") where the
  corrected p-value is at most 0.05; else "no difference shown", also where pairs were left out and the difference of
  the others points the other way.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from rnnstudy.report.analysis.intervals import Estimate
from rnnstudy.report.analysis.samples import (
    JUDGED,
    NAMES,
    SMALLER_IS_BETTER,
    FiguresAt,
    Sample,
    difference_of,
    known_steps,
    measured,
    replicas_needed,
    take_sample,
    unpaired_p,
)
from rnnstudy.report.analysis.statistics import wilson_interval
from rnnstudy.report.analysis.summary import Summary, known
from rnnstudy.report.analysis.survival import crossing, log_rank
from rnnstudy.report.analysis.tests import LEVEL, PValues, holm, least_pairs, paired_tests
from rnnstudy.runs.plan import CORRECTIONS, MEASURES

VERDICTS = ("too few", "better", "worse", "higher", "lower", "no difference shown", "at the limit")
TOO_FEW, BETTER, WORSE, HIGHER, LOWER, NOT_SHOWN, AT_LIMIT = VERDICTS

DECIDED = frozenset({BETTER, WORSE, HIGHER, LOWER})


@dataclass(frozen=True, kw_only=True)
class Effect:
    """One measure compared between a run and its baseline.

    Args:
        measure: One of MEASURES; solved and diverged as fractions, steps to solve in optimizer steps, largest norm in
            powers of ten, spikes in steps, horizon in time steps, decay in powers of ten per time step.
        difference: This run minus its baseline; None if no values are finite.
        improvement: Share of pairs, from 0 to 1, in which this run is better than its baseline, ties half.
        pairs: Pairs in the difference; of unpaired runs, replicas of the smaller one.
        left_out: Pairs with a value that is not finite: in the improvement, not in the difference.
        verdict: One of VERDICTS.
        p: p-value of the test of this difference alone.
        adjusted: p-value corrected for all differences of the page.
        needed: Pairs with which the test of this measure alone would show the difference seen with a probability of
            80 %; None without a difference, and above 2000.
        enough: Fewest pairs with which there can be a verdict.
        ties: Pairs in which neither is better.
    """

    measure: str
    difference: Estimate | None
    improvement: Estimate
    pairs: int
    left_out: int
    verdict: str
    p: float = math.nan
    adjusted: float = math.nan
    needed: int | None = None
    enough: int = 0
    ties: int = 0

    @property
    def is_gain(self) -> bool | None:
        """Whether this run is better than its baseline, or higher; None where neither is."""
        value = self.difference.value if self.difference else 0
        if self.left_out or not value:
            share = self.improvement.value
            return None if share == 0.5 else share > 0.5
        return (value < 0) == (self.measure in SMALLER_IS_BETTER)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A run compared with its baseline.

    Args:
        summary: The run.
        baseline: Its baseline.
        is_paired: Whether they share seeds.
        pairs: Replicas with the same seed in both; of unpaired runs, replicas of the smaller one.
        budget: Optimizer steps to which steps to solve are restricted.
        primary: Measure that decides.
        effects: Effects on the measures that both runs have.
        notes: Lines on what limits the comparison.
        at_step: Optimizer step at which loss, horizon and decay are compared; None for the last of each.
    """

    summary: Summary
    baseline: Summary
    is_paired: bool
    pairs: int
    budget: int
    primary: str
    effects: tuple[Effect, ...] = ()
    notes: tuple[str, ...] = ()
    at_step: int | None = None

    def effect(self, measure: str) -> Effect | None:
        """Return the effect on a measure; None unless both runs have it."""
        return next((effect for effect in self.effects if effect.measure == measure), None)

    @property
    def main(self) -> Effect | None:
        """The effect on the primary measure."""
        return self.effect(self.primary)

    @cached_property
    def logrank(self) -> float | None:
        """p-value of the log-rank test of the times to solve; None where nothing was solved, or cannot be."""
        return log_rank(self.summary, self.baseline, self.budget) if self.effect("steps_to_solve") else None

    @cached_property
    def crossing(self) -> int | None:
        """Optimizer step at which the curve that led in the fraction solved falls behind; None where none does."""
        return crossing(self.summary, self.baseline, self.budget) if self.effect("steps_to_solve") else None

    @property
    def mean_time_misleads(self) -> bool:
        """Whether the run has the shorter mean time to solve and the smaller fraction solved, or both the other way."""
        gains = [effect.is_gain for measure in ("solved", "steps_to_solve") if (effect := self.effect(measure))]
        return set(gains) == {True, False}


def compare_all(
    pairs: Sequence[tuple[Summary, Summary]],
    *,
    figures_at: FiguresAt,
    measure: str | None = None,
    correct: str = CORRECTIONS[0],
    seed: int = 0,
) -> list[Comparison]:
    """Return each run compared with its baseline by the rules of the module, in the order of the pairs (run, baseline).

    A run that is its own baseline is not compared. `figures_at` is called for both runs of a pair in which one has not
    ended. The primary measure is `measure` or, without any, the fraction solved where the task has a criterion and else
    the loss. `correct` is a correction of `tests.paired_tests`, over all differences returned.
    """
    brought = [_bring_together(*pair, figures_at, measure) for pair in pairs if pair[0].path != pair[1].path]
    samples = [sample for _, found in brought for sample in found]
    p_values = iter(_test(samples, correct, seed))
    counts = Counter(comparison.is_paired for comparison, found in brought for each in found if not each.is_at_limit)
    enough = {
        paired: least_pairs(correct, counts[paired], paired=paired, designs=len(counts)) for paired in (True, False)
    }
    return [
        replace(
            comparison, effects=tuple(_effect(each, next(p_values), enough[comparison.is_paired]) for each in found)
        )
        for comparison, found in brought
    ]


def _test(samples: Sequence[Sample], correct: str, seed: int) -> list[PValues]:
    paired = [sample for sample in samples if sample.seeds is not None]
    primary = [sample.is_primary for sample in paired]
    flipped = iter(paired_tests([each.flips for each in paired], primary=primary, correct=correct, seed=seed))
    others = [sample for sample in samples if sample.seeds is None]
    raw = np.array([unpaired_p(sample, seed) for sample in others])
    adjusted = iter(zip(raw.tolist(), (raw if correct == "none" else holm(raw)).tolist(), strict=True))
    both = 2 if paired and others and correct != "none" else 1
    found: list[PValues] = []
    for sample in samples:
        if sample.seeds is not None:
            each = next(flipped)
        else:
            alone, corrected = next(adjusted)
            each = PValues(raw=alone, adjusted=corrected)
        found.append(replace(each, adjusted=min(1.0, both * each.adjusted)))
    return found


def _bring_together(
    summary: Summary, baseline: Summary, figures_at: FiguresAt, primary: str | None
) -> tuple[Comparison, list[Sample]]:
    """Return the comparison of two runs without effects, and the samples that these are estimated from."""
    seeds = tuple(sorted(set(summary.seeds) & set(baseline.seeds)))
    limit = min(known_steps(summary), known_steps(baseline))
    budget = int(limit) if math.isfinite(limit) else max(summary.last_step, baseline.last_step)
    at_step = None if summary.is_finished and baseline.is_finished else budget
    judged = summary.is_judged and baseline.is_judged
    comparison = Comparison(
        summary=summary,
        baseline=baseline,
        is_paired=bool(seeds),
        pairs=len(seeds) or min(summary.replicas, baseline.replicas),
        budget=budget,
        primary=primary or ("solved" if judged else "loss"),
        at_step=at_step,
    )
    runs = summary, baseline
    mine, its = (measured(each, budget, at_step, figures_at) for each in runs)
    skipped = set() if judged else {"solved", "steps_to_solve"}
    skipped |= {name for name in ("diverged", "spikes") if not any([*known(mine[name]), *known(its[name])])}
    given = {"seeds": seeds, "budget": budget}
    found = (
        take_sample(each, runs, (mine, its), is_primary=each == comparison.primary, **given)
        for each in MEASURES
        if each not in skipped
    )
    samples = [sample for sample in found if sample is not None]
    return replace(comparison, notes=tuple(_notes(comparison, samples))), samples


def _effect(sample: Sample, tested: PValues, enough: int) -> Effect:
    scores = sample.scores
    share, ties = float(scores.mean()), int((scores == 0.5).sum())
    low, high = (math.nan, math.nan) if sample.seeds is None else wilson_interval(float(scores.sum()), len(scores))
    effect = Effect(
        measure=sample.measure,
        difference=difference_of(sample),
        improvement=Estimate(value=share, low=low, high=high),
        pairs=sample.size if sample.seeds is None else len(sample.finite),
        left_out=sample.left_out,
        verdict=NOT_SHOWN,
        p=tested.raw,
        adjusted=tested.adjusted,
        enough=enough,
        ties=ties,
    )
    needed = replicas_needed(sample) if sample.is_primary else None
    return replace(effect, verdict=_verdict(sample, effect), needed=needed)


def _verdict(sample: Sample, effect: Effect) -> str:
    if sample.size < effect.enough:
        return TOO_FEW
    if sample.is_at_limit:
        return AT_LIMIT
    gained, difference = effect.is_gain, effect.difference
    if effect.adjusted > LEVEL or gained is None:
        return NOT_SHOWN
    smaller = sample.measure in SMALLER_IS_BETTER
    if (
        effect.left_out
        and difference is not None
        and difference.value
        and ((difference.value < 0) == smaller) != gained
    ):
        return NOT_SHOWN
    if sample.measure in JUDGED:
        return BETTER if gained else WORSE
    return HIGHER if gained else LOWER


def show_seeds(seeds: Sequence[int]) -> str:
    """Return seeds for people, e.g. "seed 3", "seeds 0 to 7" or "seeds 0 to 7, 100 to 107"."""
    ranges: list[list[int]] = []
    for seed in seeds:
        if ranges and seed == ranges[-1][-1] + 1:
            ranges[-1][1:] = [seed]
        else:
            ranges.append([seed])
    told = ", ".join(" to ".join(map(str, ends)) for ends in ranges)
    return f"seed{'s' if len(seeds) > 1 else ''} {told}"


def _notes(comparison: Comparison, samples: Sequence[Sample]) -> Iterator[str]:
    summary, baseline, pairs = comparison.summary, comparison.baseline, comparison.pairs
    name, other = summary.name, baseline.name
    mine, its = show_seeds(summary.seeds), show_seeds(baseline.seeds)
    if not comparison.is_paired:
        yield (
            f"{name} ({mine}) and its baseline {other} ({its}) have no replica with the same seed: compared without "
            "pairs. Train both from one seed to have less noise."
        )
    elif mine != its:
        yield f"{name} has {mine}, its baseline {other} {its}: {pairs} pair{'s' if pairs > 1 else ''}."
    if comparison.at_step is not None or comparison.budget < max(summary.last_step, baseline.last_step):
        judged = summary.is_judged and baseline.is_judged
        restricted = f"steps to solve are restricted to {comparison.budget}, " if judged else ""
        figures = "other figures are the last of each"
        if comparison.at_step is not None:
            # Settled replicas do not limit: the one that stops at the budget does.
            behind = next((each for each in (summary, baseline) if known_steps(each) == comparison.budget), None)
            as_far = f", which is as far as {behind.name} is" if behind else ""
            figures = f"other figures are compared at step {comparison.at_step}{as_far}"
        done, its_done = summary.last_step, baseline.last_step
        yield f"{name} has done {done} steps, its baseline {other} {its_done}: {restricted}{figures}."
    for sample in samples:
        if sample.seeds is not None and (logged := len(sample.this)) < pairs:
            yield f"{name} and its baseline {other}: both have {NAMES[sample.measure]} in {logged} of {pairs} pairs."
        reached = sum(this == that == sample.bounds[1] for this, that in sample.finite)
        if sample.measure == "horizon" and 2 * reached >= len(sample.finite) > 0 and not sample.is_at_limit:
            yield (
                f"{name} and its baseline {other}: in {reached} of {len(sample.finite)} pairs both horizons are the "
                f"longest lag, {sample.bounds[1]:.0f}: how far those gradients reach is not known."
            )
