"""The comparison as a table for people, one row per run."""

import math
from collections.abc import Callable, Sequence
from functools import partial

from rnnstudy.core.text import join
from rnnstudy.report.analysis.comparison import Comparison
from rnnstudy.report.analysis.gradient import last_ratios
from rnnstudy.report.analysis.samples import NAMES
from rnnstudy.report.analysis.statistics import interquartile_mean, median_range
from rnnstudy.report.analysis.summary import Summary, known, largest, mean_active, median_ratio
from rnnstudy.report.analysis.survival import median_steps_to_solve
from rnnstudy.report.tables.by_pair import show_p
from rnnstudy.report.tables.columns import DASH, NAN, Cell, Column, Rule, show_number, spread
from rnnstudy.runs.groups import IN_SHORT
from rnnstudy.runs.labels import short_labels


def columns(summaries: Sequence[Summary], comparisons: Sequence[Comparison] = ()) -> list[Column]:
    """Return the table for people, the name of the run first; a column without any figure is left out."""
    keys = [key for key in summaries[0].differing if key not in IN_SHORT]
    labels = short_labels(keys)
    named = [
        Rule[Summary]("run", "model, initialisations and mitigations", lambda s: (s.short, s.state)),
        *(Rule[Summary](labels[key], key, lambda s, key=key: (s.differing[key], ""), is_setting=True) for key in keys),
    ]
    rules = _rules(summaries)
    if comparisons:
        rules.insert(max(place for place, rule in enumerate(rules) if not rule.rank) + 1, _verdict_rule(comparisons))
    figures = [rule.fill(summaries) for rule in rules]
    told = [column for column in figures if any(main not in {"", DASH} for main, _ in column.cells)]
    return [*(rule.fill(summaries) for rule in named), *told]


def ordering(summaries: Sequence[Summary]) -> dict[str, Callable[[Summary], float]]:
    """Return the figures by which runs can be sorted, by header of their column."""
    return {rule.header: rule.order for rule in _rules(summaries)}


def _rules(summaries: Sequence[Summary]) -> list[Rule[Summary]]:
    lengths = {seq_len for summary in summaries for seq_len, metric in summary.elsewhere if metric == "accuracy"}
    return [
        Rule("n", "replicas", lambda s: (str(s.replicas), ""), lambda s: s.replicas, rank=1),
        Rule(
            "solved",
            "replicas that solved the task; Wilson 95 % interval of the fraction",
            _solved_cell,
            lambda s: s.solved / s.replicas if s.is_judged else math.nan,
        ),
        Rule(
            "steps",
            "median training steps to solve; > n: half or more had not solved it in n; NaN: half or more diverged; "
            "95 % interval of the median",
            lambda s: (show_steps(s), _steps_interval(s)) if s.is_judged else (DASH, ""),
            lambda s: s.median_steps if s.is_judged else math.nan,
        ),
        Rule(
            "diverged",
            "replicas that diverged, or exploded and never recovered; the first step from which on one was lost",
            _diverged_cell,
            lambda s: s.diverged / s.replicas,
        ),
        Rule(
            "largest norm",
            "largest finite norm of the weights' gradient, before any clipping, over every step of all replicas; "
            "median of the replicas' largest",
            _largest_cell,
            lambda s: math.nan if (most := largest(s.largest_norm)) is None else most,
        ),
        _range_rule("loss", "last evaluation loss", lambda s: s.loss, rank=2, nan_as=math.inf),
        Rule(
            "loss IQM",
            "interquartile mean of the last evaluation loss, the mean of its middle half; mean of all replicas",
            _mean_cell,
            lambda s: means_of_loss(s)[0],
            rank=11,
        ),
        _range_rule("accuracy", "last accuracy", lambda s: s.accuracy, rank=5),
        *(
            _range_rule(
                f"at {seq_len}",
                f"last accuracy on sequences of {seq_len} time steps",
                lambda s, seq_len=seq_len: s.elsewhere.get((seq_len, "accuracy"), ()),
                rank=5,
            )
            for seq_len in sorted(lengths)
        ),
        Rule(
            "log ratio",
            "log10 of gradient norm at the earliest step with the information over the last step: median at the first "
            "probe → minimum to maximum at the last, of the replicas that did not diverge",
            _ratio_cell,
            lambda s: math.nan if (ratio := median_ratio(_last(s))) is None else ratio,
            rank=4,
        ),
        _range_rule(
            "horizon",
            "largest lag, in time steps, whose gradient is within the horizon's factor of that at lag 0, last probe",
            lambda s: s.horizon,
            rank=7,
            show=lambda lag: f"{lag:g}" if math.isfinite(lag) else show_number(lag),
        ),
        _range_rule(
            "decay",
            "powers of ten per time step by which the gradient changes on its way back, last probe",
            lambda s: s.decay,
            rank=8,
            show=partial(show_number, digits=2),
        ),
        _count_rule("spikes", "steps whose gradient norm spiked, all replicas", lambda s: s.spikes, rank=3),
        _count_rule("skipped", "skipped steps, all replicas", lambda s: s.skipped, rank=9),
        Rule(
            "active",
            "fraction of training steps at which the mitigation acted, as logged",
            _active_cell,
            lambda s: max(mean_active(s).values(), default=math.nan),
            rank=6,
        ),
        Rule(
            "time",
            "wall time of all replicas together, seconds",
            lambda s: (DASH if s.wall_seconds is None else f"{s.wall_seconds:.0f} s", ""),
            lambda s: math.nan if s.wall_seconds is None else s.wall_seconds,
            rank=10,
        ),
    ]


def _verdict_rule(comparisons: Sequence[Comparison]) -> Rule[Summary]:
    """Return the column of verdicts on the primary measure."""
    compared = {each.summary.path: each for each in comparisons}
    baselines = {each.baseline.path for each in comparisons}
    measures = join(list(dict.fromkeys(NAMES[each.primary] for each in comparisons)))

    def cell(summary: Summary) -> Cell:
        if (found := compared.get(summary.path)) is not None and (effect := found.main) is not None:
            return (effect.verdict, show_p(effect))
        return ("baseline" if summary.path in baselines else DASH, "")

    meaning = f"{measures}, compared with the baseline; p: with the correction of the report, if any"
    return Rule("verdict", meaning, cell)


def _range_rule(
    header: str,
    meaning: str,
    values_of: Callable[[Summary], Sequence[float | None]],
    *,
    rank: int,
    nan_as: float = -math.inf,
    show: Callable[[float], str] | None = None,
) -> Rule[Summary]:
    """Return a column of medians; a NaN counts as `nan_as`, the worst value."""
    return Rule(
        header,
        f"{meaning}: median; minimum to maximum; NaN, of replicas that diverged, is the worst",
        lambda s: _range_cell(known(values_of(s)), nan_as, show),
        lambda s: median_range(found, nan_as=nan_as)[0] if (found := known(values_of(s))) else math.nan,
        rank,
    )


def _count_rule(
    header: str, meaning: str, values_of: Callable[[Summary], Sequence[float | None]], *, rank: int
) -> Rule[Summary]:
    """Return a column of totals over the replicas."""
    return Rule(
        header,
        meaning,
        lambda s: (f"{sum(found):g}" if (found := known(values_of(s))) else DASH, ""),
        lambda s: sum(found) if (found := known(values_of(s))) else math.nan,
        rank,
    )


def means_of_loss(summary: Summary) -> tuple[float, float]:
    """Return the interquartile mean and the mean of the last losses; NaN where lost replicas count, or without any."""
    found = known(summary.loss)
    if not found:
        return math.nan, math.nan
    middle = interquartile_mean(found)
    return math.nan if math.isinf(middle) and any(map(math.isnan, found)) else middle, math.fsum(found) / len(found)


def show_steps(summary: Summary) -> str:
    """Return the median steps to solve: "1200", "> 2000" beyond the run, or NaN where half or more diverged."""
    middle = summary.median_steps
    if math.isinf(middle) and summary.is_lost:
        return NAN
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


def _range_cell(found: Sequence[float], nan_as: float, show: Callable[[float], str] | None) -> Cell:
    if not found:
        return (DASH, "")
    middle, low, high = spread(found, nan_as=nan_as)
    short = show or partial(show_number, digits=2)
    main = (show or show_number)(middle)
    if len(found) == 1:
        return (main, "")
    if short(low) == short(high) and low < high:
        short = show or show_number
    ends = (short(low), short(high))
    # A dash before a minus sign cannot be read.
    return (main, (DASH if low >= 0 <= high else " to ").join(ends) if ends[0] != ends[1] else "")


def _ratio_cell(summary: Summary) -> Cell:
    first, last = median_ratio(summary.ratio_first), _last(summary)
    if first is None:
        return (DASH, "")
    # A NaN is in no order.
    ends = (min(last), max(last)) if last and not any(map(math.isnan, last)) else (math.nan, math.nan)
    shown = " to ".join(dict.fromkeys(map(_show_ratio, ends))) if last else DASH
    return (_show_ratio(first), f"→ {shown}")


def _last(summary: Summary) -> list[float]:
    """Return the ratios at the last probe of the replicas that did not diverge."""
    return [ratio for alike in last_ratios(summary) for ratio in alike]


def _show_ratio(value: float) -> str:
    """Return a log10 ratio as text: "-6.1", "zero" for that of an exact zero, NaN or infinity."""
    if math.isfinite(value):
        return f"{value:.1f}"
    return "zero" if value == -math.inf else show_number(value)


def _diverged_cell(summary: Summary) -> Cell:
    steps = known(summary.diverged_at)
    return (f"{summary.diverged}/{summary.replicas}", f"from step {min(steps):.0f}" if steps else "")


def _largest_cell(summary: Summary) -> Cell:
    if (most := largest(summary.largest_norm)) is None:
        return (DASH, "")
    middle, *_ = spread(known(summary.largest_norm), nan_as=math.inf)
    return (show_number(most), f"median {show_number(middle, digits=2)}" if summary.replicas > 1 else "")


def _active_cell(summary: Summary) -> Cell:
    means = mean_active(summary)
    if len(means) < 2:
        return (f"{next(iter(means.values())):.2f}" if means else DASH, "")
    return (", ".join(f"{name} {mean:.2f}" for name, mean in means.items()), "")


def _mean_cell(summary: Summary) -> Cell:
    if len(known(summary.loss)) < 2:
        return (DASH, "")
    middle, mean = means_of_loss(summary)
    return (show_number(middle), f"mean {show_number(mean)}" if math.isfinite(mean) else "")
