"""Verdicts in words, computed by stated rules."""

import math
from collections import Counter
from collections.abc import Sequence
from statistics import median

from rnnstudy.core.text import join
from rnnstudy.report.analysis import paired
from rnnstudy.report.analysis.paired import BETTER, NAMES, NOT_SHOWN, TOO_FEW, WORSE, Comparison, Effect
from rnnstudy.report.analysis.phrases import contrast, of_all, of_replicas, plural
from rnnstudy.report.analysis.statistics import FEW_REPLICAS
from rnnstudy.report.analysis.summary import Summary, known
from rnnstudy.report.sentences.divergence import changed_divergence, divergence, when
from rnnstudy.report.sentences.gradient import gradient_clauses, tally_gradients
from rnnstudy.report.sentences.headline import headline

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
    "Compared with the baseline, paired by the replica's seed: the mean of the differences and its 95 % bootstrap "
    "interval. Sooner, later, lower or higher is said where the interval leaves out 0, no difference shown where it "
    f"does not, too few below {FEW_REPLICAS} pairs. Of steps to solve it is the difference of the mean time to solve "
    "within N steps, to which both were trained (restricted mean): a replica that did not solve the task by then "
    "counts with N, and what comes later is not compared. Comparisons in which neither run solved the task in any "
    "replica are not counted. Better in x % of the pairs: ties count half. Where a loss is not a number, as of a "
    "replica that diverged, there is no difference; it counts as the worst, and an exact sign test over the pairs "
    "decides.",
    "A replica that diverged counts as 1, another as 0. Of the largest norm it is the difference of log10. These and "
    "the spikes are over all steps of each replica, of runs that ended. Diverged replicas and spikes are compared "
    "where either run has any.",
    "A replica that stopped for having solved the task has the figures of that moment: the loss, horizon and decay of "
    "runs that solve it at different times are of different training steps.",
    "The clearest differences are the largest in proportion, steps to solve first; the more differences there are, the "
    "more of them are told from 0 by chance, which the intervals do not allow for.",
    "* A mitigation edits the gradient on its way back through time: the figures are of the edited backward pass, and "
    "not the task's true gradient.",
)
"""How the sentences are decided, for the page."""

_MOST = 9  # sentences that still decide something
_MOST_EFFECTS = 2
_WORTH_A_WORD = 0.01  # of the budget, or of the baseline's loss


def verdicts(summaries: Sequence[Summary], comparisons: Sequence[Comparison], baseline: str) -> list[str]:
    """Return at most 9 sentences: what changed who diverged, best and worst, counts of verdicts, clearest differences.

    Sentences hold powers as "10^-9.4"; `baseline` is in words, e.g. "mitigation=[]".
    """
    changed = changed_divergence(comparisons)
    told = {run.path for each in comparisons for run in (each.summary, each.baseline)} if changed else set()
    lost = [] if all(each.path in told for each in summaries if each.diverged) else divergence(summaries)
    counted = [*lost, *tally_gradients(summaries), *_tally_pairs(comparisons, baseline)]
    clearest = [f"{contrast(each)}: {_effect_clause(each, effect)}." for each, effect in _clearest(comparisons)]
    if clearest:
        clearest.insert(0, _multiplicity(comparisons))
    kept = max(1, _MOST - len(changed) - len(counted) - len(clearest))
    return [*changed, *headline(summaries)[:kept], *counted, *clearest][:_MOST]


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


def _tally_pairs(comparisons: Sequence[Comparison], baseline: str) -> list[str]:
    """Count the verdicts on steps to solve, where any replica solved the task, and those on the loss."""
    solving = [each for each in comparisons if each.summary.solved or each.baseline.solved]
    steps = _tally(solving, "steps_to_solve", "the task was solved {}", ("sooner", "later"))
    losses = _tally(comparisons, "loss", "the final loss was {}", ("lower", "higher"))
    neither = len(comparisons) - len(solving)
    if steps and neither:
        steps += f" ({neither} more left out, in which neither run solved it)"
    # Too few replicas for the steps are too few for the loss.
    parts = list(dict.fromkeys(filter(None, (steps, losses))))
    return [f"Compared with {baseline}, replica by replica, {'; '.join(parts)}."] if parts else []


def _tally(comparisons: Sequence[Comparison], measure: str, decided: str, words: tuple[str, str]) -> str:
    """Return how many comparisons have which verdict on a measure, in words; empty without any.

    `decided` has a place for one of the `words`: the first where this run is better, the second where it is worse.
    """
    counts = Counter(effect.verdict for each in comparisons if (effect := each.effect(measure)))
    total = counts.total()
    same = NAMES[measure] if measure == "steps_to_solve" else "final loss"
    named = {
        BETTER: decided.format(words[0]),
        WORSE: decided.format(words[1]),
        NOT_SHOWN: f"no difference in {same} was shown",
        TOO_FEW: "there were too few replicas to say",
    }
    parts = [f"{said} in {of_all(counts[kind], total)}" for kind, said in named.items() if counts[kind]]
    return f"{join(parts)} {plural('comparison', total)}" if parts else ""


def _multiplicity(comparisons: Sequence[Comparison]) -> str:
    """Say how many differences there are, and how many would be expected by chance, before the clearest are picked."""
    could, told = paired.count_told(comparisons)
    verb = "is" if told == 1 else "are"
    return (
        f"Of {could} {plural('difference', could)} between runs {told} {verb} told from 0, where "
        f"{paired.by_chance(could)} would be by chance; the clearest:"
    )


def _clearest(comparisons: Sequence[Comparison]) -> list[tuple[Comparison, Effect]]:
    """Return the decided differences that are largest in proportion, steps to solve before losses.

    Divergence is left to the first sentence of the report.
    """
    found: list[tuple[int, float, Comparison, Effect]] = []
    for comparison in comparisons:
        for effect in filter(None, map(comparison.effect, ("steps_to_solve", "loss"))):
            if effect.verdict in {BETTER, WORSE} and effect.difference is not None and not effect.left_out:
                size = abs(effect.difference.value) / _scale(comparison, effect.measure)
                if size >= _WORTH_A_WORD:
                    found.append((paired.MEASURES.index(effect.measure), -size, comparison, effect))
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
    if comparison.pairs < FEW_REPLICAS:
        return f"{contrast(comparison)}: too few replicas ({comparison.pairs}) to say."
    clauses = [_effect_clause(comparison, each) for each in effects if each.verdict not in {TOO_FEW, NOT_SHOWN}]
    same = [effect for effect in effects if effect.verdict == NOT_SHOWN]
    few = [effect for effect in effects if effect.verdict == TOO_FEW]
    if comparison.summary.solved == comparison.baseline.solved == 0 and comparison.summary.is_judged:
        clauses.append("neither solved the task in any replica")
        same = [effect for effect in same if effect.measure != "steps_to_solve"]
    if same:
        clauses.append(f"no difference shown in {join([_open_interval(effect) for effect in same])}")
    if few:
        clauses.append(f"too few pairs to say in {join([NAMES[effect.measure] for effect in few])}")
    return f"{contrast(comparison)}: {'; '.join(clauses)}."


def _effect_clause(comparison: Comparison, effect: Effect) -> str:
    if effect.difference is None or effect.left_out:
        return _share_clause(effect)
    more = effect.difference.value > 0
    # The words have the sign.
    value, *ends = (end if more else -end for end in effect.difference.ends)
    size, low, high = _shown(effect.measure, value, *sorted(ends))
    interval = f"(95 % interval {low} to {high}, {effect.pairs} pairs)"
    said = {
        "steps_to_solve": f"solved {size} steps {'later' if more else 'sooner'} on average, within {comparison.budget} "
        f"steps {interval}",
        "diverged": f"fraction diverged {'higher' if more else 'lower'} by {size} {interval}",
        "loss": f"final loss {'higher' if more else 'lower'} by {size} on average {interval}",
        "largest_norm": f"largest norm {'higher' if more else 'lower'} by {size} powers of ten on average {interval}",
        "spikes": f"{size} {'more' if more else 'fewer'} spikes per replica on average {interval}",
        "horizon": f"the gradient reaches {size} time steps {'farther' if more else 'less far'} {interval}",
        "decay": f"on its way back the gradient falls {'less' if more else 'more'}, by {size} powers of ten per time "
        f"step {interval}",
    }[effect.measure]
    share = f", better in {_percent(effect.improvement.value)} of the pairs"
    return said + share if effect.measure in paired.SMALLER_IS_BETTER else said


def _share_clause(effect: Effect) -> str:
    """Return the clause for a verdict by the sign test of pairs, since some pairs have no difference."""
    share = effect.improvement
    words = "better" if effect.measure in paired.SMALLER_IS_BETTER else "higher"
    interval = f"{_percent(share.low)} to {_percent(share.high)}"
    return (
        f"{NAMES[effect.measure]} {words} in {_percent(share.value)} of the pairs (95 % interval {interval}; "
        f"{effect.left_out} of {effect.pairs + effect.left_out} pairs with a value that is not finite)"
    )


def _open_interval(effect: Effect) -> str:
    """Name a measure, and how large a difference the replicas leave open."""
    if effect.difference is None:
        return NAMES[effect.measure]
    _, low, high = _shown(effect.measure, *effect.difference.ends)
    return f"{NAMES[effect.measure]} ({low} to {high})"


def _shown(measure: str, *values: float) -> list[str]:
    return [f"{value:.0f}" if measure == "steps_to_solve" else f"{value:.2g}" for value in values]
