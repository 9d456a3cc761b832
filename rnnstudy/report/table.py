"""The comparison as a table: one row per run for people, one per run and replica for programs."""

import csv
import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from rnnstudy.report.log import Track
from rnnstudy.report.naming import IN_SHORT, Entry, short_labels
from rnnstudy.report.read import NO_CRITERION, Run
from rnnstudy.report.statistics import (
    median_range,
    median_steps,
    ordered_median,
    reference_step,
    top_curve,
    vanishing_ratios,
)
from rnnstudy.report.statistics import wilson_interval as wilson

DASH = "\N{EN DASH}"
LOSS, ACCURACY, ANSWER_LOSS = "eval/loss", "eval/accuracy", "eval/answer_loss"
_ELSEWHERE = re.compile(r"eval_at_(?P<seq_len>\d+)/(?P<metric>loss|answer_loss|accuracy)")


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A run in figures; lists have one entry per replica, None is for what was not logged.

    Args:
        entry: The named run.
        status: "solved", "finished", "diverged", or "unfinished" for a run that has not ended.
        steps_to_solve: Optimizer steps; None where not solved.
        steps_run: Optimizer steps; None for a run that has not ended.
        loss: Last evaluation loss; NaN where that is what it was.
        answer_loss: Last evaluation loss at the answer alone.
        accuracy: Last evaluation accuracy, from 0 to 1.
        elsewhere: The last figures of evaluations at other lengths, by length (time steps) and metric.
        skipped: Steps whose update was skipped; the log counts them from the start of the run.
        active: Fraction of steps at which each mitigation acted, mean of the log, by its name.
        ratio_first: log10 of the gradient norm at the earliest step with the information over that at the last step,
            first probe; None where the loss is not at the last step alone.
        ratio_last: Likewise at the last probe.
    """

    entry: Entry
    status: tuple[str, ...]
    steps_to_solve: tuple[int | None, ...]
    steps_run: int | None
    loss: tuple[float | None, ...]
    answer_loss: tuple[float | None, ...]
    accuracy: tuple[float | None, ...]
    elsewhere: dict[tuple[int, str], tuple[float | None, ...]]
    skipped: tuple[float | None, ...]
    active: dict[str, tuple[float | None, ...]]
    ratio_first: tuple[float | None, ...]
    ratio_last: tuple[float | None, ...]

    @property
    def is_judged(self) -> bool:
        """Whether anybody has said when the task is solved."""
        return self.entry.run.facts.solved_when != NO_CRITERION

    @property
    def is_finished(self) -> bool:
        """Whether the run ended."""
        return self.steps_run is not None

    @property
    def replicas(self) -> int:
        """Networks in the run."""
        return len(self.status)

    @property
    def solved(self) -> int:
        """Replicas that solved the task."""
        return self.status.count("solved")

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson 95 % interval of the solved fraction."""
        return wilson(self.solved, self.replicas)

    @property
    def median_steps(self) -> float:
        """Median steps to solve; infinite when half or more of the replicas were not solved."""
        return median_steps(self.steps_to_solve)


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column for people.

    Args:
        header: Short.
        meaning: One line.
        cells: Per run: the figure, and a second line (may be empty).
    """

    header: str
    meaning: str
    cells: tuple[tuple[str, str], ...]


def summarise(entry: Entry) -> Summary:
    """Return a run reduced to the figures of the table."""
    run = entry.run
    unfinished = ("unfinished",) * run.replicas
    curve = top_curve(run) if run.facts.loss_at_end else None
    active = {
        tag.removesuffix("/active"): _per_replica(run, track, np.nanmean)
        for tag, track in run.metrics.items()
        if tag.endswith("/active")
    }
    return Summary(
        entry=entry,
        status=run.result.status if run.result else unfinished,
        steps_to_solve=run.result.steps_to_solve if run.result else (None,) * run.replicas,
        steps_run=run.result.steps if run.result else None,
        loss=_final(run, LOSS),
        answer_loss=_final(run, ANSWER_LOSS),
        accuracy=_final(run, ACCURACY),
        elsewhere={
            (int(match["seq_len"]), match["metric"]): _final(run, tag)
            for tag in run.metrics
            if (match := _ELSEWHERE.fullmatch(tag))
        },
        skipped=_per_replica(run, run.metrics.get("train/skipped"), lambda values: values[-1]),
        active=active,
        ratio_first=_ratios(run, curve, curve.first() if curve else None),
        ratio_last=_ratios(run, curve, curve.last() if curve else None),
    )


def columns(summaries: Sequence[Summary]) -> list[Column]:
    """Lay out the table for people; a column that would say nothing is left out.

    Returns:
        Columns, the name of the run first.
    """
    keys = [key for key in summaries[0].entry.settings if key not in IN_SHORT]
    labels = short_labels(keys)
    found = [
        Column(
            header="run",
            meaning="model, initialisations and mitigations",
            cells=tuple((s.entry.short, "") for s in summaries),
        )
    ]
    found += [
        Column(header=labels[key], meaning=key, cells=tuple((s.entry.settings[key], "") for s in summaries))
        for key in keys
    ]
    lengths = sorted(
        {seq_len for summary in summaries for seq_len, metric in summary.elsewhere if metric == "accuracy"}
    )
    rules: list[tuple[str, str, Callable[[Summary], tuple[str, str]]]] = [
        ("solved", "replicas that solved the task; Wilson 95 % interval of the fraction", _solved_cell),
        ("steps", "median training steps to solve; > n when half or more were not solved in n", _steps_cell),
        ("loss", "last evaluation loss: median; minimum to maximum", lambda s: _range_cell(s.loss, math.inf)),
        ("accuracy", "last accuracy: median; minimum to maximum", lambda s: _range_cell(s.accuracy, -math.inf)),
        *(
            (
                f"at {seq_len}",
                f"last accuracy on sequences of {seq_len} time steps: median; minimum to maximum",
                partial(_elsewhere_cell, seq_len=seq_len),
            )
            for seq_len in lengths
        ),
        (
            "log ratio",
            "log10 of gradient norm at the earliest step with the information over the last step: first → last probe",
            _ratio_cell,
        ),
        ("div.", "diverged replicas", lambda s: _count_cell(s.status.count("diverged"))),
        ("skip", "skipped steps, all replicas", lambda s: _count_cell(sum(x or 0 for x in s.skipped))),
        ("active", "fraction of training steps at which the mitigation acted, as logged", _active_cell),
        ("time", "wall time of all replicas together, seconds", _time_cell),
        ("state", "whether the run ended", lambda s: ("", "") if s.is_finished else ("unfinished", "")),
    ]
    for header, meaning, cell in rules:
        cells = tuple(cell(summary) for summary in summaries)
        if any(main for main, _ in cells):
            found.append(Column(header=header, meaning=meaning, cells=cells))
    return found


def terminal_table(table: Sequence[Column]) -> Table:
    """Return the table for a terminal."""
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for number, column in enumerate(table):
        # Text, not markup: a name may hold square brackets.
        justify = "left" if number == 0 else "right"
        shown.add_column(Text(column.header), justify=justify, overflow="fold", min_width=4)
    for row in range(len(table[0].cells)):
        shown.add_row(*(Text("\n".join(filter(None, column.cells[row]))) for column in table))
    return shown


def to_csv(summaries: Sequence[Summary]) -> str:
    """Write the tidy table: one row per run and replica, raw values, empty where nothing is known.

    Returns:
        CSV text with a header.
    """
    rows = [row for summary in summaries for row in _tidy(summary)]
    header = list(dict.fromkeys(key for row in rows for key in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, header, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _tidy(summary: Summary) -> list[dict[str, object]]:
    entry, run = summary.entry, summary.entry.run
    told = summary.is_finished and summary.is_judged
    low, high = summary.interval if told else (None, None)
    rows: list[dict[str, object]] = []
    for replica in range(summary.replicas):
        fixed: dict[str, object] = {
            "run": entry.name,
            "folder": run.label,
            "model": entry.model,
            "mitigation": entry.mitigation,
            "seed": run.seed,
            "replica": replica,
            "replicas": summary.replicas,
            "status": summary.status[replica],
            "steps_to_solve": summary.steps_to_solve[replica],
            "steps_run": summary.steps_run,
            "eval_loss": summary.loss[replica],
            "eval_answer_loss": summary.answer_loss[replica],
            "eval_accuracy": summary.accuracy[replica],
            "skipped_steps": summary.skipped[replica],
            "log10_ratio_first": summary.ratio_first[replica],
            "log10_ratio_last": summary.ratio_last[replica],
            "wall_seconds": run.result.wall_seconds if run.result else None,
            "device": run.device,
            "run_solved": summary.solved if told else None,
            "run_solved_low": low,
            "run_solved_high": high,
            "run_median_steps_to_solve": summary.median_steps if told else None,
        }
        active = {f"active_{name}": values[replica] for name, values in summary.active.items()}
        elsewhere = {f"eval_at_{n}_{metric}": values[replica] for (n, metric), values in summary.elsewhere.items()}
        rows.append(fixed | elsewhere | active | {key: v for key, v in entry.settings.items() if key not in fixed})
    return rows


def _per_replica(
    run: Run, track: Track | None, reduce: Callable[[np.ndarray], np.floating]
) -> tuple[float | None, ...]:
    if track is None:
        return (None,) * run.replicas
    return tuple(
        float(reduce(values)) if (values := track.values[track.logged[:, replica], replica]).size else None
        for replica in range(run.replicas)
    )


def _final(run: Run, tag: str) -> tuple[float | None, ...]:
    if run.result and tag in run.result.final:
        return run.result.final[tag]
    return _per_replica(run, run.metrics.get(tag), lambda values: values[-1])


def _ratios(run: Run, curve: Track | None, norms: np.ndarray | None) -> tuple[float | None, ...]:
    found: list[float | None] = [None] * run.replicas
    if curve is not None and norms is not None:
        for replica, ratio in zip(
            curve.logged_replicas(), vanishing_ratios(norms, min(reference_step(run), norms.shape[1] - 1)), strict=True
        ):
            found[replica] = float(ratio)
    return tuple(found)


def known(values: Sequence[float | None]) -> list[float]:
    """Return what was logged."""
    return [value for value in values if value is not None]


def show_number(value: float, *, digits: int = 3) -> str:
    """Return a number with so many significant digits."""
    if math.isinf(value):
        return "∞" if value > 0 else "NaN"
    return "NaN" if math.isnan(value) else f"{value:#.{digits}g}".rstrip(".")


def median_ratio(values: Sequence[float | None]) -> float | None:
    """Return the median of log10 ratios; None if there are none."""
    found = known(values)
    return float(ordered_median(np.array(found), axis=0)) if found else None


def show_ratio(value: float | None) -> str:
    """Return a log10 ratio as text: "-6.1", "zero" for an exact zero, "not finite"."""
    if value is None:
        return DASH
    if math.isfinite(value):
        return f"{value:.1f}"
    return "zero" if value == -math.inf else "not finite"


def show_steps(summary: Summary) -> str:
    """Return the median steps to solve: "1200", or "> 2000" when it is beyond the run."""
    middle = summary.median_steps
    return f"> {summary.steps_run}" if math.isinf(middle) else f"{middle:.0f}"


def _solved_cell(summary: Summary) -> tuple[str, str]:
    if not summary.is_finished or not summary.is_judged:
        return (DASH, "")
    low, high = summary.interval
    return (f"{summary.solved}/{summary.replicas}", f"{low:.2f}{DASH}{high:.2f}")


def _steps_cell(summary: Summary) -> tuple[str, str]:
    return (show_steps(summary), "") if summary.is_finished and summary.is_judged else (DASH, "")


def _range_cell(values: Sequence[float | None], nan_as: float) -> tuple[str, str]:
    if not (found := known(values)):
        return ("", "")
    middle, low, high = median_range(found, nan_as=nan_as)
    return (
        show_number(middle),
        f"{show_number(low, digits=2)}{DASH}{show_number(high, digits=2)}" if len(found) > 1 else "",
    )


def _elsewhere_cell(summary: Summary, *, seq_len: int) -> tuple[str, str]:
    return _range_cell(summary.elsewhere.get((seq_len, "accuracy"), ()), -math.inf)


def _ratio_cell(summary: Summary) -> tuple[str, str]:
    first, last = median_ratio(summary.ratio_first), median_ratio(summary.ratio_last)
    return ("", "") if last is None else (show_ratio(first), f"→ {show_ratio(last)}")


def _count_cell(count: float) -> tuple[str, str]:
    return (f"{count:g}", "") if count else ("", "")


def _active_cell(summary: Summary) -> tuple[str, str]:
    means = {name: float(np.mean(known(values))) for name, values in summary.active.items() if known(values)}
    if len(means) == 1:
        return (f"{next(iter(means.values())):.2f}", "")
    return (", ".join(f"{name} {mean:.2f}" for name, mean in means.items()), "")


def _time_cell(summary: Summary) -> tuple[str, str]:
    result = summary.entry.run.result
    return (f"{result.wall_seconds:.0f} s", "") if result else ("", "")
