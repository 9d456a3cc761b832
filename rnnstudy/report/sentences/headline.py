"""The result of a comparison in a sentence or two, and the caveats."""

import math
from collections.abc import Callable, Sequence, Set
from pathlib import Path

from rnnstudy.report.analysis.comparison import BETTER, WORSE, Comparison
from rnnstudy.report.analysis.naming import natural
from rnnstudy.report.analysis.phrases import of_all, plural, some
from rnnstudy.report.analysis.statistics import median_range
from rnnstudy.report.analysis.summary import Summary, known
from rnnstudy.report.sentences.gradient import last_probe
from rnnstudy.report.tables.by_run import show_steps
from rnnstudy.report.tables.columns import NAN, show_number

_MAX_TASKS = 4  # sentences that still are a headline


def headline(summaries: Sequence[Summary], comparisons: Sequence[Comparison] = ()) -> list[str]:
    """Return sentences that name the best and the worst run, task by task; equal runs are named together, or counted.

    The best has the largest solved fraction, then the fewest median steps, then the lowest median loss. A ranking gives
    the number of runs, and a caveat unless one of `comparisons` decides between best and worst.
    """
    decided = {
        frozenset({each.summary.path, each.baseline.path})
        for each in comparisons
        if each.main is not None and each.main.verdict in {BETTER, WORSE}
    }
    ended = [summary for summary in summaries if summary.is_finished]
    if not ended:
        count = len(summaries)
        return ["The run has not ended yet." if count == 1 else f"None of {count} runs has ended yet."]
    sentences = _sentences(ended, decided)
    if len(ended) < len(summaries):
        verb = "has" if len(ended) == 1 else "have"
        sentences[0] = f"{len(ended)} of {len(summaries)} runs {verb} ended. {sentences[0]}"
    return sentences


def _sentences(ended: Sequence[Summary], decided: Set[frozenset[Path]]) -> list[str]:
    tasks: dict[tuple[str, ...], list[Summary]] = {}
    for summary in ended:
        tasks.setdefault(tuple(summary.differing[key] for key in _task_settings(summary)), []).append(summary)
    if len(tasks) == 1:
        return _compared(ended, decided)
    # Across tasks best and worst would compare the tasks: each gets a sentence of its own.
    groups = sorted(tasks.items(), key=lambda group: [natural(value) for value in group[0]])
    solved = [members for _, members in groups if any(each.solved for each in members)]
    unsolved = [members for _, members in groups if members not in solved and members[0].is_judged]
    told = [members for _, members in groups if members not in unsolved]
    sentences = [_compared(members, decided)[0] for members in told[:_MAX_TASKS]]
    if len(told) > _MAX_TASKS:
        left = len(told) - _MAX_TASKS
        sentences.append(f"The table has {left} more {plural('task', left)}.")
    if unsolved:
        names = [_task_name(members[0]) for members in unsolved]
        count = sum(map(len, unsolved))
        none = {1: "The run", 2: "Neither of 2 runs"}.get(count, f"None of {count} runs")
        verb = "did not solve" if count == 1 else "solved"
        sentences.append(f"{none} with {some(names, _MAX_TASKS, 'or')} {verb} the task in any replica.")
    return sentences


def _task_settings(summary: Summary) -> list[str]:
    return [key for key in summary.differing if key == "task" or key.startswith("task.")]


def _task_name(summary: Summary) -> str:
    keys, settings = _task_settings(summary), summary.differing
    return ", ".join(settings[key] if key == "task" else f"{key.partition('.')[2]}={settings[key]}" for key in keys)


def _compared(ended: Sequence[Summary], decided: Set[frozenset[Path]]) -> list[str]:
    if len(ended) == 1:
        if ended[0].replicas == 1 and ended[0].is_judged and not ended[0].solved:
            return [f"{_names(ended)} did not solve the task.", *_gradients(ended)]
        return [f"{_outcome(ended)}.", *_gradients(ended)]
    best, worst = _extremes(ended, _merit)
    told = [] if best == worst else _gradients([group[0] for group in (worst, best) if len(group) == 1])
    if not any(each.solved for each in ended):
        first = f"{'Neither run' if len(ended) == 2 else f'None of {len(ended)} runs'} solved the task in any replica"
        if not ended[0].is_judged:
            first = f"{len(ended)} runs of a task that has no criterion to be solved"
        return [f"{first}{_losses(ended, decided)}.", *told]
    if all(each.solved == each.replicas for each in ended):
        first = f"{of_all(len(ended), len(ended)).capitalize()} runs solved the task in every replica"
        fastest, slowest = _extremes(ended, lambda each: -each.median_steps)
        if fastest == slowest:
            return [f"{first}, in equally many steps (median {show_steps(ended[0])}).", *told]
        caveat = _caveat(fastest, slowest, decided)
        return [f"{first}{caveat}; fastest: {_steps(fastest)}; slowest: {_steps(slowest)}.", *told]
    upper, lower = _extremes(ended, lambda each: _merit(each)[:2])
    if upper == lower:
        return [f"{_outcome(ended)}.", *told]
    first = f"Best of {len(ended)} runs{_caveat(upper, lower, decided)}: {_outcome(upper)}; worst: {_outcome(lower)}."
    return [first, *told]


def _caveat(best: Sequence[Summary], worst: Sequence[Summary], decided: Set[frozenset[Path]]) -> str:
    """Return nothing where a test decides between the best and the worst, else a reminder that none does."""
    pairs = {frozenset({this.path, that.path}) for this in best for that in worst}
    return "" if pairs <= decided else " (the order is not shown to be more than chance)"


def _extremes(
    ended: Sequence[Summary], merit: Callable[[Summary], float | tuple[float, ...]]
) -> tuple[list[Summary], list[Summary]]:
    """Return all runs with the largest merit, and all with the smallest."""
    merits = [merit(each) for each in ended]
    ends = max(merits), min(merits)
    best, worst = ([each for each, found in zip(ended, merits, strict=True) if found == end] for end in ends)
    return best, worst


def _merit(summary: Summary) -> tuple[float, float, float]:
    return (summary.solved / summary.replicas, -summary.median_steps, -_median_loss(summary))


def _median_loss(summary: Summary) -> float:
    """Return the median loss; infinity where there is none, or half or more of the replicas have none."""
    losses = known(summary.loss)
    return median_range(losses, nan_as=math.inf)[0] if losses and not summary.is_lost else math.inf


def _losses(ended: Sequence[Summary], decided: Set[frozenset[Path]]) -> str:
    """Name the lowest and the highest loss, among runs that have one."""
    finite = [each for each in ended if math.isfinite(_median_loss(each))]
    if not finite:
        return ""
    lowest, highest = _extremes(finite, lambda each: -_median_loss(each))
    if lowest == highest:
        return "" if len(finite) == len(ended) else f"; final loss of {_loss(lowest)}"
    caveat = _caveat(lowest, highest, decided)
    return f"; lowest final loss of {len(finite)}{caveat}: {_loss(lowest)}; highest: {_loss(highest)}"


def _names(group: Sequence[Summary]) -> str:
    """Name one or two runs; more are counted."""
    return " and ".join(each.name for each in group) if len(group) < 3 else f"{len(group)} runs"


def _outcome(group: Sequence[Summary]) -> str:
    first = group[0]
    if not first.is_judged:
        return f"Final loss of {_loss(group)}"
    each = " each" if len(group) > 1 else ""
    if len({one.replicas for one in group}) == 1:
        part = f"{first.solved} of {first.replicas} replicas"
    else:
        part = f"{first.solved / first.replicas:.0%} of the replicas".replace("%", " %")
    if all(one.replicas == 1 for one in group):
        each, part = "", "the task"
        if not first.solved:
            return f"{_names(group)} did not solve it"
    steps = show_steps(first)
    return f"{_names(group)}{each} solved {part}{f' (median {steps} steps)' if first.solved and steps != NAN else ''}"


def _steps(group: Sequence[Summary]) -> str:
    return f"{_names(group)} (median {show_steps(group[0])} steps)"


def _loss(group: Sequence[Summary]) -> str:
    middle = _median_loss(group[0])
    shown = show_number(middle, digits=4) if math.isfinite(middle) else "not a number"
    level = group[0].facts.memoryless_loss
    without = "" if level is None else f", without memory {show_number(level, digits=4)}"
    return f"{_names(group)} ({shown}{without})"


def _gradients(summaries: Sequence[Summary]) -> list[str]:
    parts = [
        f"in {summary.name}{'*' if summary.is_edited else ''} the gradient {told}"
        for summary in summaries
        if (told := last_probe(summary))
    ]
    return [f"At the last probe, {'; '.join(parts)}."] if parts else []
