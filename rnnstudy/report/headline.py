"""What a comparison says in a sentence or two, and what has to be said against it."""

import math
from collections.abc import Sequence

from rnnstudy.report.canvas import is_edited
from rnnstudy.report.naming import natural
from rnnstudy.report.statistics import median_range, reference_step
from rnnstudy.report.table import Summary, known, median_ratio, show_number, show_steps

_MAX_TASKS = 4  # sentences that still are a headline


def headline(summaries: Sequence[Summary]) -> list[str]:
    """Name the best and the worst run, task by task.

    Best is the largest solved fraction, then the fewest median steps, then the lowest median loss.

    Returns:
        Sentences.
    """
    ended = [summary for summary in summaries if summary.is_finished]
    if not ended:
        return [f"None of {len(summaries)} runs has ended yet."]
    tasks: dict[tuple[str, ...], list[Summary]] = {}
    for summary in ended:
        settings = summary.entry.settings
        tasks.setdefault(tuple(settings[key] for key in _task_settings(summary)), []).append(summary)
    if len(tasks) == 1:
        return _compared(ended)
    # Across tasks best and worst would compare the tasks: each gets a sentence of its own.
    groups = sorted(tasks.items(), key=lambda group: [natural(value) for value in group[0]])
    solved = [members for _, members in groups if any(each.solved for each in members)]
    unsolved = [members for _, members in groups if members not in solved and members[0].is_judged]
    told = [members for _, members in groups if members not in unsolved]
    sentences = [_compared(members)[0] for members in told[:_MAX_TASKS]]
    if len(told) > _MAX_TASKS:
        sentences.append(f"The table has {len(told) - _MAX_TASKS} more tasks.")
    if unsolved:
        names = [_task_name(members[0]) for members in unsolved]
        shown = " or ".join(names[:_MAX_TASKS]) + (
            f" or {len(names) - _MAX_TASKS} more" if len(names) > _MAX_TASKS else ""
        )
        sentences.append(f"None of {sum(map(len, unsolved))} runs with {shown} solved the task in any replica.")
    return sentences


def _task_settings(summary: Summary) -> list[str]:
    return [key for key in summary.entry.settings if key == "task" or key.startswith("task.")]


def _task_name(summary: Summary) -> str:
    keys = _task_settings(summary)
    settings = summary.entry.settings
    return ", ".join(settings[key] if key == "task" else f"{key.partition('.')[2]}={settings[key]}" for key in keys)


def _compared(ended: Sequence[Summary]) -> list[str]:
    best, worst = max(ended, key=_merit), min(ended, key=_merit)
    if best is worst:
        return [f"{_outcome(best)}.", *_gradients([best])]
    if best.solved == 0:
        first = f"None of {len(ended)} runs solved the task in any replica"
        if not best.is_judged:
            first = f"{len(ended)} runs of a task that has no criterion to be solved"
        sentences = [f"{first}; lowest final loss: {_loss(best)}; highest: {_loss(worst)}."]
    elif all(each.solved == each.replicas for each in ended):
        first = f"All {len(ended)} runs solved the task in every replica"
        sentences = [f"{first}; fastest: {_steps(best)}; slowest: {_steps(worst)}."]
    else:
        sentences = [f"{_outcome(best)}; {_outcome(worst)}."]
        if best.interval[0] <= worst.interval[1]:
            sentences.append(
                "Their 95 % intervals overlap: these replicas do not tell the two apart by fraction solved."
            )
    return sentences + _gradients([worst, best])


def _merit(summary: Summary) -> tuple[float, float, float]:
    losses = known(summary.loss)
    loss = median_range(losses, nan_as=math.inf)[0] if losses else math.inf
    return (summary.solved / summary.replicas, -summary.median_steps, -loss)


def _outcome(summary: Summary) -> str:
    if not summary.is_judged:
        return f"Final loss of {_loss(summary)}"
    solved = f"{summary.entry.name} solved {summary.solved} of {summary.replicas} replicas"
    return f"{solved} (median {show_steps(summary)} steps)" if summary.solved else solved


def _steps(summary: Summary) -> str:
    return f"{summary.entry.name} (median {show_steps(summary)} steps)"


def _loss(summary: Summary) -> str:
    losses = known(summary.loss)
    middle = show_number(median_range(losses, nan_as=math.inf)[0], digits=4) if losses else "not logged"
    level = summary.entry.run.facts.memoryless_loss
    without = "" if level is None else f", without memory {show_number(level, digits=4)}"
    return f"{summary.entry.name} ({middle}{without})"


def _gradients(summaries: Sequence[Summary]) -> list[str]:
    parts: list[str] = []
    for summary in summaries:
        ratio, run = median_ratio(summary.ratio_last), summary.entry.run
        if ratio is None:
            continue
        if math.isfinite(ratio):
            size = f"10^{ratio:.1f} of that at lag 0"
        else:
            size = "exactly zero" if ratio < 0 else "no finite fraction of that at lag 0"
        star = "*" if is_edited(summary.entry) else ""
        parts.append(
            f"in {summary.entry.name}{star} the gradient at lag {run.facts.seq_len - 1 - reference_step(run)} is {size}"
        )
    return [f"At the last probe, {'; '.join(parts)}."] if parts else []
