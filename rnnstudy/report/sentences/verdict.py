"""Verdicts in words, computed by stated rules."""

import math
from collections.abc import Sequence
from statistics import median

from rnnstudy.core.text import join
from rnnstudy.report.analysis.comparison import AT_LIMIT, BETTER, DECIDED, NOT_SHOWN, TOO_FEW, WORSE, Comparison, Effect
from rnnstudy.report.analysis.phrases import contrast, of_replicas
from rnnstudy.report.analysis.samples import FRACTIONS, JUDGED, NAMES
from rnnstudy.report.analysis.summary import Summary, known
from rnnstudy.report.sentences.decision import correction, decision, limit_clause, main_clause, tally, too_few
from rnnstudy.report.sentences.divergence import changed_divergence, decides_divergence, divergence, when
from rnnstudy.report.sentences.gradient import gradient_clauses, tally_gradients
from rnnstudy.report.sentences.headline import headline
from rnnstudy.runs.plan import CORRECTIONS, MEASURES

RULES = (
    "Verdicts on the gradient are per replica, at the last probe. It vanishes where the norm at the lag of the "
    "information (the earliest time step with any) is below 1/F of that at lag 0, also where it is exactly zero; it "
    "reaches the information otherwise. F is instrument.horizon.factor, 100 by default. A replica that diverged "
    "stopped before the last probe and has no verdict. The ratios in brackets are the smallest and the largest of the "
    "replicas counted. Verdicts at the first probe, before training, are named where their counts differ.",
    "It exploded where the norm was above F times that at lag 0, at any lag of any probe or recorded spike.",
    "A step spiked when the norm of the weights' gradient was not finite, or above instrument.flight_recorder.factor, "
    "10 by default, times the median of the replica's last 100 finite steps (before the tenth: times the first). "
    "Spikes and the largest finite norm are over every step of all replicas, before any clipping.",
    "A replica diverged when it was given up because too many gradients in a row were not finite, or when it exploded "
    "and never recovered: its loss stayed above 1000 times that of chance, or its gradient exactly zero. The step is "
    "the first from which on it was lost.",
    "Where the replicas that diverged differ between a run and its baseline, the first sentence says so. It adds up "
    "comparisons of the same two settings, of runs that ended.",
    "Where the loss is at many time steps, the verdict is of the gradient of the answer's loss alone. There is none "
    "where that was not recorded, or the answer does not end at the last time step.",
    "Theory: in a vanilla network a time step lengthens the gradient at most gamma * ||W_hh||-fold, with gamma the "
    "largest slope of the activation; said where the median of the replicas is below 1.",
    "Active: the fraction of the steps at which a mitigation acted, mean of the replicas.",
    "Compared with the baseline, paired by the replica's seed: the mean of the differences, its 95 % interval (an "
    "estimate for that difference alone) and a p-value by exact sign flips, of fractions McNemar's test. Runs without "
    "a shared seed are compared by Boschloo's test and by permutation. Better, worse, higher or lower is said where "
    "the corrected p-value is at most 0.05, no difference shown where it is above. Below six pairs, or where no "
    "outcome could reach 0.05, the verdict is too few. At the limit: both runs have the largest, or smallest, value "
    "there is.",
    "The primary measure is the fraction solved, of tasks without a criterion the final loss, or what a study's plan "
    "or --measure names. max-t: the p-values are corrected for all differences on the page, by the largest statistic "
    "of any under joint sign flips per seed (Westfall & Young 1993, step-down); the primary measure counts double, "
    "above 12 seeds eightfold. "
    "holm: Holm's procedure. none: no correction.",
    "Steps to solve are compared as the mean time within N steps, to which both runs were trained (restricted mean): "
    "a replica that did not solve the task by then counts with N, and what comes later is not compared. It can be "
    "shorter though fewer replicas solve the task; then the sentence says so first. Where the curves of the fraction "
    "solved cross, no one number says which run is sooner. Log-rank: p-value of the test of the two curves, not "
    "corrected.",
    "The loss of a replica that diverged is not a number: it is left out of the difference, counts as the worst, and "
    "the signs that are flipped are those of better and worse. Better in x % of the pairs: ties count half.",
    "How many would show the difference seen: pairs with which the test of the primary measure alone has a power of "
    "80 %, if the fractions (taken as independent), or the mean and spread of the differences, are those seen.",
    "A replica that diverged counts as 1, another as 0. Of the largest norm it is the difference of log10. These and "
    "the spikes are over all steps of each replica, of runs that ended. Diverged replicas and spikes are compared "
    "where either run has any.",
    "A replica that stopped for having solved the task has the figures of that moment: the loss, horizon and decay of "
    "runs that solve it at different times are of different training steps.",
    "Runs of the same code that differ in the seed alone are one row, and each of their networks counts once: replica "
    "r of a run with seed s is network s + r.",
    "* A mitigation edits the gradient on its way back through time: the figures are of the edited backward pass, and "
    "not the task's true gradient.",
)
"""How the sentences are decided, for the page."""

_MOST = 9  # sentences that still decide something
_MOST_EFFECTS = 2
_WORTH_A_WORD = 0.01  # of the budget, or of the baseline's loss


def verdicts(
    summaries: Sequence[Summary], comparisons: Sequence[Comparison], baseline: str, correct: str = CORRECTIONS[0]
) -> list[str]:
    """Return at most 9 sentences: what changed who diverged, the decision, best and worst, counts of verdicts.

    Sentences hold powers as "10^-9.4"; `baseline` is in words, e.g. "mitigation=[]".
    """
    changed = changed_divergence(comparisons)
    told = {run.path for each in comparisons for run in (each.summary, each.baseline)} if changed else set()
    lost = [] if all(each.path in told for each in summaries if each.diverged) else divergence(summaries)
    decided = decision(comparisons, baseline)
    tested = [*tally(comparisons), *filter(None, [correction(comparisons, correct)])]
    clearest = [
        f"{contrast(each)}: {'; '.join([_effect_clause(each, effect), *_crossing(each)])}."
        for each, effect in _clearest(comparisons)
    ]
    rest = [*lost, *tested, *tally_gradients(summaries), *clearest]
    kept = max(1, _MOST - len(changed) - len(decided) - len(rest))
    first = [*changed, *decided] if any(map(decides_divergence, comparisons)) else [*decided, *changed]
    return [*first, *headline(summaries, comparisons)[:kept], *rest][:_MOST]


def gradient_verdicts(summaries: Sequence[Summary]) -> list[str]:
    """Return a sentence for every configuration: its gradient, its mitigations, its outcome."""
    return [f"{summary.name}: {'; '.join(_clauses(summary))}." for summary in summaries]


def paired_verdicts(comparisons: Sequence[Comparison]) -> list[str]:
    """Return a sentence for every comparison with a baseline."""
    return [_paired_sentence(comparison) for comparison in comparisons]


def _clauses(summary: Summary) -> list[str]:
    lost = f"{of_replicas(summary.diverged, summary.replicas)} diverged{when([summary])}"
    found = [*([lost] if summary.diverged else []), *gradient_clauses(summary), *_theory_clause(summary)]
    for name, values in summary.active.items():
        if shares := known(values):
            found.append(f"{name} active on {_percent(sum(shares) / len(shares))} of steps")
    if skipped := sum(value for value in known(summary.skipped) if math.isfinite(value)):
        found.append(f"{skipped:.0f} update{'s' if skipped != 1 else ''} skipped")
    if summary.is_judged:
        so_far = "" if summary.is_finished else f" so far (step {summary.last_step})"
        found.append(f"{of_replicas(summary.solved, summary.replicas)} solved{so_far}")
    return found


def _theory_clause(summary: Summary) -> list[str]:
    """Say that the gradient must vanish, where gamma * ||W_hh|| of the top layer is below 1."""
    gains = known(summary.gain) if summary.facts.loss_at_end else []
    gain = median(math.inf if math.isnan(gain) else gain for gain in gains) if gains else math.inf
    return [f"theory: a time step leaves at most {gain:.2g} of the gradient, so it must vanish"] if gain < 1 else []


def _percent(share: float) -> str:
    if math.isnan(share):
        return "an unknown part"
    percent = 100 * share
    return "less than 1 %" if 0 < percent < 1 else f"{percent:.0f} %"


def _clearest(comparisons: Sequence[Comparison]) -> list[tuple[Comparison, Effect]]:
    """Return the decided differences that are largest in proportion, steps to solve before losses.

    Fractions are left to the first sentences of the report; a single comparison has its sentence there.
    """
    found: list[tuple[int, float, Comparison, Effect]] = []
    if len(comparisons) == 1:
        comparisons = []
    for comparison in comparisons:
        for effect in filter(None, map(comparison.effect, ("steps_to_solve", "loss"))):
            if effect.verdict in {BETTER, WORSE} and effect.difference is not None and not effect.left_out:
                size = abs(effect.difference.value) / _scale(comparison, effect.measure)
                if size >= _WORTH_A_WORD:
                    found.append((MEASURES.index(effect.measure), -size, comparison, effect))
    found.sort(key=lambda each: each[:2])
    return [(comparison, effect) for *_, comparison, effect in found[:_MOST_EFFECTS]]


def _scale(comparison: Comparison, measure: str) -> float:
    if measure == "steps_to_solve":
        return max(comparison.budget, 1)
    losses = [abs(loss) for loss in known(comparison.baseline.loss) if math.isfinite(loss)]
    return max(sum(losses) / len(losses) if losses else 0.0, 1e-300)


def _paired_sentence(comparison: Comparison) -> str:
    effects = comparison.effects
    if not effects:
        return f"{contrast(comparison)}: nothing to compare."
    if all(effect.verdict == TOO_FEW for effect in effects):
        told = main_clause(comparison, comparison.main) if comparison.main else too_few(comparison, effects[0])
        return f"{contrast(comparison)}: {told}."
    clauses = [_effect_clause(comparison, each) for each in effects if each.verdict in DECIDED]
    limits = [each for each in effects if each.verdict == AT_LIMIT]
    if any(each.measure == "solved" for each in limits):
        limits = [each for each in limits if each.measure != "steps_to_solve"]
    clauses += [limit_clause(comparison, each) for each in limits]
    main = comparison.main
    if main is not None and main.verdict == NOT_SHOWN:
        clauses.insert(0, main_clause(comparison, main))
    same = [effect for effect in effects if effect.verdict == NOT_SHOWN and effect is not main]
    few = [effect for effect in effects if effect.verdict == TOO_FEW]
    if same:
        said = "nor in" if main is not None and main.verdict == NOT_SHOWN else "no difference shown in"
        clauses.append(f"{said} {join([_open_interval(effect) for effect in same])}")
    if few:
        clauses.append(f"too few pairs to decide on {join([NAMES[effect.measure] for effect in few])}")
    clauses += _curve_clauses(comparison)
    return f"{contrast(comparison)}: {'; '.join(clauses)}."


def _curve_clauses(comparison: Comparison) -> list[str]:
    """Return what the curves of the fraction solved add: the log-rank test, and whether they cross."""
    steps = comparison.effect("steps_to_solve")
    if steps is None or steps.verdict in {AT_LIMIT, TOO_FEW} or comparison.logrank is None:
        return []
    return [f"log-rank p = {comparison.logrank:.2g}", *_crossing(comparison)]


def _crossing(comparison: Comparison) -> list[str]:
    """Return a warning where the run that leads in the fraction solved falls behind."""
    step = comparison.crossing
    warning = f"the curves of the fraction solved cross at step {step}, so neither run is always ahead"
    return [warning] if step is not None else []


def _effect_clause(comparison: Comparison, effect: Effect) -> str:
    if effect.difference is None or effect.left_out:
        return _share_clause(effect)
    more = effect.difference.value > 0
    # The words have the sign.
    value, *ends = (end if more else -end for end in effect.difference.ends)
    size, low, high = _shown(effect.measure, value, *sorted(ends))
    rough = "rough " if effect.difference.rough else ""
    interval = f"(all {effect.pairs} pairs alike)"
    if not math.isnan(effect.difference.low):
        interval = f"({rough}95 % interval {low} to {high}, {effect.pairs} pairs)"
    length = f"{'longer' if more else 'shorter'} by {size} steps {interval}"
    time = f"mean time within {comparison.budget} steps"
    if effect.measure == "steps_to_solve" and comparison.mean_time_misleads:
        this, that = comparison.summary, comparison.baseline
        fewer = "fewer" if not more else "more"
        solved = f"{this.solved} of {this.replicas} against {that.solved} of {that.replicas}"
        return f"{fewer} replicas solved the task ({solved}), though the {time} is {length}"
    said = {
        "solved": f"fraction solved {'higher' if more else 'lower'} by {size} {interval}",
        "steps_to_solve": f"{time} {length}",
        "diverged": f"fraction diverged {'higher' if more else 'lower'} by {size} {interval}",
        "loss": f"final loss {'higher' if more else 'lower'} by {size} on average {interval}",
        "largest_norm": f"largest norm {'higher' if more else 'lower'} by {size} powers of ten on average {interval}",
        "spikes": f"{size} {'more' if more else 'fewer'} spikes per replica on average {interval}",
        "horizon": f"the gradient reaches {size} time steps {'farther' if more else 'less far'} {interval}",
        "decay": f"on its way back the gradient falls {'less' if more else 'more'}, by {size} powers of ten per time "
        f"step {interval}",
    }[effect.measure]
    share = f", better in {_percent(effect.improvement.value)} of the pairs"
    return said + share if effect.measure in JUDGED - FRACTIONS else said


def _share_clause(effect: Effect) -> str:
    """Return the clause for a verdict on who is better, since some values have no difference."""
    share = effect.improvement
    words = "better" if effect.measure in JUDGED else "higher"
    ends = f"95 % interval {_percent(share.low)} to {_percent(share.high)}; " if not math.isnan(share.low) else ""
    values = "value that is not finite" if effect.left_out == 1 else "values that are not finite"
    return f"{NAMES[effect.measure]} {words} in {_percent(share.value)} of the pairs ({ends}{effect.left_out} {values})"


def _open_interval(effect: Effect) -> str:
    """Name a measure, and how large a difference the replicas leave open."""
    if effect.difference is None or math.isnan(effect.difference.low):
        return NAMES[effect.measure]
    _, low, high = _shown(effect.measure, *effect.difference.ends)
    return f"{NAMES[effect.measure]} ({low} to {high})"


def _shown(measure: str, *values: float) -> list[str]:
    return [f"{value:.0f}" if measure == "steps_to_solve" else f"{value:.2g}" for value in values]
