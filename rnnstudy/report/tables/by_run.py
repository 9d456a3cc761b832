"""The comparison as a table for people, one row per run."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from rnnstudy.report.analysis.statistics import median_range
from rnnstudy.report.analysis.summary import Summary, known, mean_active, median_ratio
from rnnstudy.report.analysis.survival import median_steps_to_solve
from rnnstudy.runs.groups import IN_SHORT
from rnnstudy.runs.labels import short_labels

Cell = tuple[str, str]
"""The figure, and a second line, which may be empty."""

DASH = "\N{EN DASH}"
_MANY = 1_000_000  # from here on numbers are shown as powers of ten


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
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class _Rule:
    """How a column is filled.

    Args:
        header: Short.
        meaning: One line.
        cell: Of a run.
        order: By which runs are sorted; NaN comes last.
    """

    header: str
    meaning: str
    cell: Callable[[Summary], Cell]
    order: Callable[[Summary], float]


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
    for rule in _rules(summaries):
        cells = tuple(rule.cell(summary) for summary in summaries)
        if any(main not in {"", DASH} for main, _ in cells):
            found.append(Column(header=rule.header, meaning=rule.meaning, cells=cells))
    return found


def ordering(summaries: Sequence[Summary]) -> dict[str, Callable[[Summary], float]]:
    """Return the figures by which runs can be sorted, by header of their column."""
    return {rule.header: rule.order for rule in _rules(summaries)}


def _rules(summaries: Sequence[Summary]) -> list[_Rule]:
    lengths = sorted(
        {seq_len for summary in summaries for seq_len, metric in summary.elsewhere if metric == "accuracy"}
    )
    return [
        _Rule(
            header="n",
            meaning="replicas",
            cell=lambda s: (str(s.replicas), ""),
            order=lambda s: s.replicas,
        ),
        _Rule(
            header="solved",
            meaning="replicas that solved the task; Wilson 95 % interval of the fraction",
            cell=_solved_cell,
            order=lambda s: s.solved / s.replicas if s.is_judged else math.nan,
        ),
        _Rule(
            header="steps",
            meaning="median training steps to solve; > n when half or more were not solved in n, a dash when half "
            "or more diverged; 95 % interval of the median",
            cell=lambda s: (show_steps(s), _steps_interval(s)) if s.is_judged else (DASH, ""),
            order=lambda s: s.median_steps if s.is_judged else math.nan,
        ),
        _range_rule("loss", "last evaluation loss", lambda s: s.loss, nan_as=math.inf),
        _range_rule("accuracy", "last accuracy", lambda s: s.accuracy, nan_as=-math.inf),
        *(
            _range_rule(
                f"at {seq_len}",
                f"last accuracy on sequences of {seq_len} time steps",
                partial(_accuracy_at, seq_len=seq_len),
                nan_as=-math.inf,
            )
            for seq_len in lengths
        ),
        _Rule(
            header="log ratio",
            meaning="log10 of gradient norm at the earliest step with the information over the last step: "
            "first → last probe",
            cell=_ratio_cell,
            order=lambda s: _or_nan(median_ratio(s.ratio_last)),
        ),
        _range_rule(
            "horizon",
            "largest lag, in time steps, whose gradient is within the horizon's factor of that at lag 0, last probe",
            lambda s: s.horizon,
            nan_as=-math.inf,
            show=_show_lag,
        ),
        _range_rule(
            "decay",
            "powers of ten per time step by which the gradient changes on its way back, last probe",
            lambda s: s.decay,
            nan_as=-math.inf,
            show=partial(show_number, digits=2),
        ),
        _Rule(
            header="div.",
            meaning="diverged replicas",
            cell=lambda s: _count_cell(s.status.count("diverged")),
            order=lambda s: s.status.count("diverged"),
        ),
        _Rule(
            header="skip",
            meaning="skipped steps, all replicas",
            cell=lambda s: _count_cell(sum(known(s.skipped))),
            order=lambda s: sum(known(s.skipped)),
        ),
        _Rule(
            header="active",
            meaning="fraction of training steps at which the mitigation acted, as logged",
            cell=_active_cell,
            order=lambda s: max(mean_active(s).values(), default=math.nan),
        ),
        _Rule(
            header="time",
            meaning="wall time of all replicas together, seconds",
            cell=_time_cell,
            order=lambda s: s.entry.run.result.wall_seconds if s.entry.run.result else math.nan,
        ),
        _Rule(
            header="state",
            meaning="how far a run is that has not ended; its figures are those so far",
            cell=_state_cell,
            order=lambda s: 0 if s.is_finished else s.last_step,
        ),
    ]


def _range_rule(
    header: str,
    meaning: str,
    values_of: Callable[[Summary], Sequence[float | None]],
    *,
    nan_as: float,
    show: Callable[[float], str] | None = None,
) -> _Rule:
    """Return a column of medians; a NaN counts as `nan_as`, the worst value."""
    return _Rule(
        header=header,
        meaning=f"{meaning}: median; minimum to maximum; a diverged replica has NaN, which is the worst",
        cell=lambda s: _range_cell(values_of(s), nan_as, show),
        order=lambda s: median_range(found, nan_as=nan_as)[0] if (found := known(values_of(s))) else math.nan,
    )


def _accuracy_at(summary: Summary, *, seq_len: int) -> Sequence[float | None]:
    return summary.elsewhere.get((seq_len, "accuracy"), ())


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def show_number(value: float, *, digits: int = 3) -> str:
    """Return a number with so many significant digits; whole numbers below a million without a power of ten."""
    if math.isinf(value):
        return "∞" if value > 0 else "NaN"
    if math.isnan(value):
        return "NaN"
    shown = f"{value:#.{digits}g}".rstrip(".")
    return f"{float(shown):.0f}" if "e+" in shown and abs(float(shown)) < _MANY else shown


def show_ratio(value: float | None) -> str:
    """Return a log10 ratio as text: "-6.1", "zero" for an exact zero, "not finite"."""
    if value is None:
        return DASH
    if math.isfinite(value):
        return f"{value:.1f}"
    return "zero" if value == -math.inf else "not finite"


def show_steps(summary: Summary) -> str:
    """Return the median steps to solve: "1200", "> 2000" beyond the run, or a dash where half or more diverged."""
    middle = summary.median_steps
    if math.isinf(middle) and summary.is_lost:
        return DASH
    return f"> {summary.last_step}" if math.isinf(middle) else f"{middle:.0f}"


def _steps_interval(summary: Summary) -> str:
    """Return the 95 % interval of the median steps; empty where too few solved the task, or there is one replica."""
    _, low, high = median_steps_to_solve(summary)
    if low is None or summary.replicas == 1:
        return ""
    return f"{low:.0f} to > {summary.last_step}" if high is None else f"{low:.0f}{DASH}{high:.0f}"


def _solved_cell(summary: Summary) -> Cell:
    if not summary.is_judged:
        return (DASH, "")
    low, high = summary.interval
    return (f"{summary.solved}/{summary.replicas}", f"{low:.2f}{DASH}{high:.2f}")


def _range_cell(values: Sequence[float | None], nan_as: float, show: Callable[[float], str] | None) -> Cell:
    if not (found := known(values)):
        return ("", "")
    middle, low, high = median_range(found, nan_as=nan_as)
    short = show or partial(show_number, digits=2)
    main = (show or show_number)(middle)
    if len(found) == 1:
        return (main, "")
    if short(low) == short(high) and low < high:
        short = show or show_number
    ends = (short(low), short(high))
    # A dash before a minus sign cannot be read.
    return (main, (DASH if low >= 0 <= high else " to ").join(ends) if ends[0] != ends[1] else ends[0])


def _show_lag(value: float) -> str:
    return f"{value:g}" if math.isfinite(value) else show_number(value)


def _ratio_cell(summary: Summary) -> Cell:
    first, last = median_ratio(summary.ratio_first), median_ratio(summary.ratio_last)
    return ("", "") if last is None else (show_ratio(first), f"→ {show_ratio(last)}")


def _count_cell(count: float) -> Cell:
    return (f"{count:g}", "") if count else ("", "")


def _active_cell(summary: Summary) -> Cell:
    means = mean_active(summary)
    if len(means) == 1:
        return (f"{next(iter(means.values())):.2f}", "")
    return (", ".join(f"{name} {mean:.2f}" for name, mean in means.items()), "")


def _time_cell(summary: Summary) -> Cell:
    result = summary.entry.run.result
    return (f"{result.wall_seconds:.0f} s", "") if result else ("", "")


def _state_cell(summary: Summary) -> Cell:
    state, _, how_far = summary.state.partition(", ")
    return (state, how_far)
