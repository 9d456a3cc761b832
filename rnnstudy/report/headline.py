"""What a comparison says in a sentence or two, and what has to be said against it."""

import math
from collections.abc import Sequence

from rnnstudy.report.naming import confounded, natural
from rnnstudy.report.read import Sweep
from rnnstudy.report.statistics import FEW_REPLICAS, median_range, reference_step
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
    sentences = [_compared(members)[0] for _, members in groups[:_MAX_TASKS]]
    left = len(groups) - _MAX_TASKS
    return [*sentences, f"The table has {left} more tasks."] if left > 0 else sentences


def _task_settings(summary: Summary) -> list[str]:
    return [key for key in summary.entry.settings if key == "task" or key.startswith("task.")]


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


def notes(sweep: Sweep, summaries: Sequence[Summary]) -> list[str]:
    """List what limits the comparison: unread and unfinished runs, few replicas, mixed settings.

    Returns:
        One line each.
    """
    found = [f"Not read: {line}" for line in sweep.unreadable]
    found += [f"Not ended: {s.entry.name} ({s.entry.run.label})" for s in summaries if not s.is_finished]
    found += [
        f"Nothing logged: {s.entry.run.label} has no metrics.jsonl, or an empty one"
        for s in summaries
        if not s.entry.run.metrics
    ]
    found += [
        f"No gradients: {s.entry.run.label} has no curves.jsonl, or an empty one"
        for s in summaries
        if not s.entry.run.curves
    ]
    few = sorted({s.replicas for s in summaries if s.replicas < FEW_REPLICAS})
    if few:
        counts = " or ".join(map(str, few))
        found.append(f"Runs with {counts} replica{'s' if few != [1] else ''}: too few to say much; take 5 or more.")
    if spread := [s.entry.name for s in summaries if not s.entry.run.facts.loss_at_end and s.entry.run.curves]:
        found.append(
            f"No log ratio for {', '.join(spread[:3])}{' and others' if len(spread) > 3 else ''}: the loss is at many "
            "time steps there, so the gradient at each of them is also that of the outputs close to it."
        )
    if tasks := _task_settings(summaries[0]):
        found.append(f"The runs differ in {', '.join(tasks)}: compare within one task only.")
    if mixed := confounded(sweep.runs):
        found.append(f"Changes along with the chosen members, and may matter as much as they do: {', '.join(mixed)}.")
    return found


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
        parts.append(
            f"in {summary.entry.name} the gradient at lag {run.facts.seq_len - 1 - reference_step(run)} is {size}"
        )
    return [f"At the last probe, {'; '.join(parts)}."] if parts else []
