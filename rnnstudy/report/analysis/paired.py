"""Runs compared with their baselines, paired by replica.

Two replicas with the same seed see the same batches, and draw the same initial weights where their networks have the
same shapes; their difference has less noise than that of the runs' means. The rules, which a report may cite:

- Pairs: the replica of a run and that of its baseline with the same seed, which is run seed + index. Other replicas
  are left out, and a note says so.
- Steps to solve, fewer is better: a replica that never solved the task is not dropped. Times are restricted to the
  common budget B, the fewest optimizer steps up to which all replicas of both runs are known: t = min(t, B). Their
  mean is the restricted mean time to solve, so the difference is about the first B steps alone. A diverged replica
  never solves. Only for tasks with a criterion.
- Diverged, fewer is better: 1 for a replica that diverged, 0 for another, so the difference is one of fractions.
  Compared where a replica of either run diverged.
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
  verdict says "higher" or "lower".
- The difference is the mean over pairs of run minus baseline. Pairs with a value that is not finite (a diverged
  replica) are left out of it and counted.
- The probability of improvement is the share of pairs in which the run is better than its baseline, ties counted half.
  A value that is not finite is the worst; two of them, or two replicas that did not solve the task within B, tie.
- The interval of the difference is a 95 % bootstrap interval over pairs, widened for few pairs as in `bootstrap`. In
  simulations without any difference it leaves out 0 in 5 to 8 of 100 comparisons with 5 to 10 pairs, in 4 to 6 with
  20; that of the fraction diverged in 1 to 6. That of the improvement is Wilson's, ties as half successes: it has a
  width where all pairs agree.
- The verdict is "too few" below 5 pairs; else the interval of the difference decides, if it leaves out 0. Where pairs
  were left out of the difference, the exact two-sided sign test of the pairs that do not tie decides instead, if
  p < 0.05 (6 of 6 suffice, 5 of 5 do not: p = 0.0625) and the difference of the other pairs does not point the other
  way. Anything else is "no difference shown".
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from rnnstudy.report.analysis.bootstrap import Estimate, estimate_means
from rnnstudy.report.analysis.statistics import FEW_REPLICAS, sign_test, wilson_interval
from rnnstudy.report.analysis.summary import Summary, known
from rnnstudy.runs.digest import PerReplica

NAMES = {
    "steps_to_solve": "steps to solve",
    "diverged": "fraction diverged",
    "loss": "loss",
    "largest_norm": "largest norm",
    "spikes": "spikes",
    "horizon": "horizon",
    "decay": "decay",
}
"""Names of the measures, for people."""

MEASURES = tuple(NAMES)

SMALLER_IS_BETTER = frozenset({"steps_to_solve", "diverged", "loss"})

VERDICTS = ("too few", "better", "worse", "higher", "lower", "no difference shown")
TOO_FEW, BETTER, WORSE, HIGHER, LOWER, NOT_SHOWN = VERDICTS

RESAMPLES, FEWER_RESAMPLES = 9999, 1999
"""Bootstrap resamples of an interval, and the fewer ones beyond MANY comparisons."""

MANY = 1000
_CHANCE_OF_SIGNS = 0.05
CHANCE = (0.05, 0.08)
"""Share of intervals that leave out 0 where nothing differs, in simulations with 5 to 20 pairs."""


@dataclass(frozen=True, kw_only=True)
class Effect:
    """One measure compared between a run and its baseline.

    Args:
        measure: One of MEASURES; steps to solve in optimizer steps, diverged as a fraction, largest norm in powers of
            ten, spikes in steps, horizon in time steps, decay in powers of ten per time step.
        difference: Mean over pairs of this run minus its baseline; None if no pair has both values finite.
        improvement: Share of pairs, from 0 to 1, in which this run is better than its baseline, ties half.
        pairs: Pairs in the difference.
        left_out: Pairs with a value that is not finite: in the improvement, not in the difference.
        verdict: One of VERDICTS.
        ties: Pairs in which neither is better.
    """

    measure: str
    difference: Estimate | None
    improvement: Estimate
    pairs: int
    left_out: int
    verdict: str
    ties: int = 0


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A run compared with its baseline.

    Args:
        summary: The run.
        baseline: Its baseline.
        pairs: Replicas with the same seed in both.
        effects: Effects on the measures that both runs have.
        budget: Optimizer steps to which steps to solve are restricted.
        notes: Lines on what limits the comparison.
        resamples: Bootstrap resamples of the intervals.
        at_step: Optimizer step at which loss, horizon and decay are compared; None for the last of each.
    """

    summary: Summary
    baseline: Summary
    pairs: int
    budget: int
    effects: tuple[Effect, ...] = ()
    notes: tuple[str, ...] = ()
    resamples: int = RESAMPLES
    at_step: int | None = None

    def effect(self, measure: str) -> Effect | None:
        """Return the effect on a measure; None unless both runs have it."""
        return next((effect for effect in self.effects if effect.measure == measure), None)


@dataclass(frozen=True, kw_only=True)
class _Sample:
    """A measure over pairs: differences where both values are finite, scores (0, 1/2 or 1) of all."""

    measure: str
    differences: list[float]
    scores: list[float]


FiguresAt = Callable[[Summary, int], Mapping[str, PerReplica]]
"""From a run and an optimizer step to its loss, horizon and decay as they were then."""


def compare_all(pairs: Sequence[tuple[Summary, Summary]], *, figures_at: FiguresAt, seed: int = 0) -> list[Comparison]:
    """Return each run compared with its baseline by the rules of the module, in the order of the pairs (run, baseline).

    A run that is its own baseline is not compared. `figures_at` is called for both runs of a pair in which one has not
    ended. The figures of a comparison do not depend on the other pairs, except for the number of bootstrap resamples:
    9999, or 1999 for more than 1000 comparisons.
    """
    brought = [_bring_together(*pair, figures_at) for pair in pairs if pair[0].path != pair[1].path]
    resamples = FEWER_RESAMPLES if len(brought) > MANY else RESAMPLES
    differences = [sample.differences for _, samples in brought for sample in samples if sample.differences]
    means = iter(estimate_means(differences, resamples=resamples, seed=seed))
    return [
        replace(comparison, resamples=resamples, effects=tuple(_effect(sample, means) for sample in samples))
        for comparison, samples in brought
    ]


def multiplicity_note(comparisons: Sequence[Comparison]) -> str:
    """Return how many intervals there are, and how many would exclude 0 by chance; empty where pairs are too few."""
    count, decided = count_told(comparisons)
    if not count:
        return ""
    note = (
        f"{count} difference{'s' if count > 1 else ''} could be told from 0: {FEW_REPLICAS} pairs or more, not all "
        "equal. The 95 % intervals are not corrected for how many there are: had no setting any effect, "
        f"{by_chance(count)} would be told from 0 by chance. {decided} {'is' if decided == 1 else 'are'}."
    )
    if comparisons[0].resamples == FEWER_RESAMPLES:
        note += f" Intervals from {FEWER_RESAMPLES} bootstrap resamples, not {RESAMPLES}: there are many."
    return note


def count_told(comparisons: Sequence[Comparison]) -> tuple[int, int]:
    """Return how many differences could be shown to differ from 0, and how many are."""
    verdicts = [effect.verdict for each in comparisons for effect in each.effects if _may_differ(effect)]
    return len(verdicts), len(verdicts) - verdicts.count(NOT_SHOWN)


def by_chance(count: int) -> str:
    """Return how many of `count` differences would exclude 0 if nothing differed, e.g. "1.0 to 1.7"."""
    least, most = (f"{share * count:.{0 if count >= 200 else 1}f}" for share in CHANCE)
    return f"{least} to {most}" if least != most else f"about {least}"


def _may_differ(effect: Effect) -> bool:
    """Return whether there are enough pairs, not all of them equal or tied."""
    if effect.verdict == TOO_FEW:
        return False
    if effect.left_out:
        return sign_test(effect.pairs + effect.left_out - effect.ties, 0) < _CHANCE_OF_SIGNS
    return effect.difference is not None and not effect.difference.low == effect.difference.high == 0


def known_steps(summary: Summary) -> float:
    """Return the optimizer steps up to which all replicas are known: infinity where each solved it or diverged."""
    settled = all(status in {"solved", "diverged"} for status in summary.status)
    return math.inf if settled else summary.last_step


def _bring_together(summary: Summary, baseline: Summary, figures_at: FiguresAt) -> tuple[Comparison, list[_Sample]]:
    """Return the comparison of two runs without effects, and the samples that these are estimated from."""
    mine, other = summary.seeds, baseline.seeds
    seeds = range(max(mine.start, other.start), max(mine.start, other.start, min(mine.stop, other.stop)))
    limit = min(known_steps(summary), known_steps(baseline))
    budget = int(limit) if math.isfinite(limit) else max(summary.last_step, baseline.last_step)
    at_step = None if summary.is_finished and baseline.is_finished else budget
    samples: list[_Sample] = []
    measured, compared = (_measured(each, budget, at_step, figures_at) for each in (summary, baseline))
    skipped = set() if summary.is_judged and baseline.is_judged else {"steps_to_solve"}
    skipped |= {name for name in ("diverged", "spikes") if not any([*known(measured[name]), *known(compared[name])])}
    for measure in (each for each in MEASURES if each not in skipped):
        values = zip(
            measured[measure][seeds.start - mine.start : seeds.stop - mine.start],
            compared[measure][seeds.start - other.start : seeds.stop - other.start],
            strict=True,
        )
        if logged := [(this, that) for this, that in values if this is not None and that is not None]:
            samples.append(_sample(measure, logged, budget))
    comparison = Comparison(summary=summary, baseline=baseline, pairs=len(seeds), budget=budget, at_step=at_step)
    return replace(comparison, notes=tuple(_notes(comparison, samples))), samples


def _measured(summary: Summary, budget: int, at_step: int | None, figures_at: FiguresAt) -> dict[str, PerReplica]:
    """Return the replicas' values; steps to solve are infinite where the task was not solved within the budget."""
    steps_to_solve = tuple(
        math.inf if steps is None or status == "diverged" or steps > budget else steps
        for steps, status in zip(summary.steps_to_solve, summary.status, strict=True)
    )
    found: dict[str, PerReplica] = {"steps_to_solve": steps_to_solve}
    if at_step is not None:
        return dict.fromkeys(MEASURES, (None,) * summary.replicas) | found | dict(figures_at(summary, at_step))
    return found | {
        "diverged": tuple(float(status == "diverged") for status in summary.status),
        "loss": summary.loss,
        "largest_norm": tuple(math.log10(norm) if norm and norm > 0 else None for norm in summary.largest_norm),
        "spikes": summary.spikes,
        "horizon": summary.horizon,
        "decay": summary.decay,
    }


def _sample(measure: str, values: Sequence[tuple[float, float]], budget: int) -> _Sample:
    if measure == "steps_to_solve":
        differences = [min(this, budget) - min(that, budget) for this, that in values]
    else:
        differences = [this - that for this, that in values if math.isfinite(this - that)]
    sign = 1 if measure in SMALLER_IS_BETTER else -1
    ranked = [tuple(sign * x if math.isfinite(x) else math.inf for x in pair) for pair in values]
    scores = [0.5 if this == that else float(this < that) for this, that in ranked]
    return _Sample(measure=measure, differences=differences, scores=scores)


def _effect(sample: _Sample, means: Iterator[Estimate]) -> Effect:
    """Return the effect; a sample with differences takes the next of the means."""
    difference = next(means) if sample.differences else None
    pairs, total = len(sample.differences), len(sample.scores)
    low, high = wilson_interval(sum(sample.scores), total)
    return Effect(
        measure=sample.measure,
        difference=difference,
        improvement=Estimate(value=sum(sample.scores) / total, low=low, high=high),
        pairs=pairs,
        left_out=total - pairs,
        verdict=_verdict(sample, difference),
        ties=sample.scores.count(0.5),
    )


def _verdict(sample: _Sample, difference: Estimate | None) -> str:
    if len(sample.scores) < FEW_REPLICAS:
        return TOO_FEW
    smaller = sample.measure in SMALLER_IS_BETTER
    if difference is not None and len(sample.differences) == len(sample.scores):
        if not difference.leaves_out(0):
            return NOT_SHOWN
        gained = (difference.value < 0) == smaller
    else:
        wins, losses = sample.scores.count(1), sample.scores.count(0)
        gained = wins > losses
        opposed = difference is not None and difference.value != 0 and ((difference.value < 0) == smaller) != gained
        if opposed or sign_test(wins, losses) >= _CHANCE_OF_SIGNS:
            return NOT_SHOWN
    if smaller:
        return BETTER if gained else WORSE
    return HIGHER if gained else LOWER


def _notes(comparison: Comparison, samples: Sequence[_Sample]) -> Iterator[str]:
    summary, baseline, pairs = comparison.summary, comparison.baseline, comparison.pairs
    name, other, seeds = summary.label, baseline.label, (summary.seeds, baseline.seeds)
    mine, its = (f"seed {s.start}" if len(s) == 1 else f"seeds {s.start} to {s.stop - 1}" for s in seeds)
    if not pairs:
        yield (
            f"{name} ({mine}) and its baseline {other} ({its}) have no replica with the same seed: not compared. Train "
            "both from one seed."
        )
        return
    if mine != its:
        yield f"{name} has {mine}, its baseline {other} {its}: {pairs} pair{'s' if pairs > 1 else ''}."
    if comparison.at_step is not None or comparison.budget < max(summary.last_step, baseline.last_step):
        judged = summary.is_judged and baseline.is_judged
        restricted = f"steps to solve are restricted to {comparison.budget}, " if judged else ""
        figures = "other figures are the last of each"
        if comparison.at_step is not None:
            # Settled replicas do not limit: the one that stops at the budget does.
            behind = next((each for each in (summary, baseline) if known_steps(each) == comparison.budget), None)
            as_far = f", which is as far as {behind.label} is" if behind else ""
            figures = f"other figures are compared at step {comparison.at_step}{as_far}"
        done, its_done = summary.last_step, baseline.last_step
        yield f"{name} has done {done} steps, its baseline {other} {its_done}: {restricted}{figures}."
    for sample in samples:
        if (logged := len(sample.scores)) < pairs:
            yield f"{name} and its baseline {other}: both have {NAMES[sample.measure]} in {logged} of {pairs} pairs."
