"""The comparison as tables for programs: raw values, with one form for each kind of figure that is not a number.

Empty: there is no such figure. NaN: not a number, such as the loss of a replica that diverged, or the median loss of a
run half of which did. Inf: beyond every number, such as a median time to solve that the run did not reach; -Inf: the
logarithm of an exact zero. pandas, numpy and R read these forms.
"""

import csv
import io
import math
from collections.abc import Sequence

from rnnstudy.report.analysis.comparison import Comparison, show_seeds
from rnnstudy.report.analysis.intervals import Estimate
from rnnstudy.report.analysis.summary import Summary, known, largest, mean_active, median_ratio
from rnnstudy.report.tables.by_run import means_of_loss
from rnnstudy.report.tables.columns import spread

RawRow = dict[str, object]
"""A row: column to raw value."""

_FORMULAS = tuple("=+-@＝＋－＠")  # noqa: RUF001 - those of East Asian keyboards count too


def to_csv(rows: Sequence[RawRow]) -> str:
    """Return rows as CSV with a header; a row may lack columns."""
    header = list(dict.fromkeys(key for row in rows for key in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, header, restval="", lineterminator="\n")
    writer.writerow({key: _inert(key) for key in header})
    writer.writerows({key: _plain(value) for key, value in row.items()} for row in rows)
    return buffer.getvalue()


def _plain(value: object) -> object:
    """Return a cell as it is written."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Inf" if value > 0 else "-Inf"
    return _inert(value) if isinstance(value, str) else value


def _inert(value: str) -> str:
    """Return text safe from spreadsheets: where it begins like a formula, unless it is a number, a ' comes first."""
    # A line end would begin a row: csv does not quote all of them.
    line = " ".join(value.splitlines())
    if not line.lstrip().startswith(_FORMULAS):
        return line
    try:
        float(line)
    except ValueError:
        return f"'{line}"
    return line


def replica_rows(summary: Summary) -> list[RawRow]:
    """Return a row per replica of a run."""
    outcome = _outcome(summary)
    return [
        _identified(
            summary,
            {
                "replica": replica,
                "network": summary.seeds[replica],
                "replicas": summary.replicas,
                "status": summary.status[replica],
                "steps_to_solve": summary.steps_to_solve[replica],
                "steps_run": summary.steps_run,
                "last_step": summary.last_step,
                "eval_loss": summary.loss[replica],
                "eval_answer_loss": summary.answer_loss[replica],
                "eval_accuracy": summary.accuracy[replica],
                "skipped_steps": summary.skipped[replica],
                "diverged_at": summary.diverged_at[replica],
                "largest_raw_norm": summary.largest_norm[replica],
                "largest_train_loss": summary.largest_loss[replica],
                "spikes": summary.spikes[replica],
                "clipped_steps": summary.clipped[replica],
                "log10_growth": summary.growth[replica],
                "log10_ratio_first": summary.ratio_first[replica],
                "log10_ratio_last": summary.ratio_last[replica],
                "horizon": summary.horizon[replica],
                "decay": summary.decay[replica],
                **outcome,
                **{f"eval_at_{n}_{metric}": values[replica] for (n, metric), values in summary.elsewhere.items()},
                **{f"active_{name}": values[replica] for name, values in summary.active.items()},
            },
        )
        for replica in range(summary.replicas)
    ]


def run_row(summary: Summary) -> RawRow:
    """Return the row of a run: medians and ranges over its replicas, totals of steps, and extremes of all replicas."""
    middle, mean = means_of_loss(summary) if known(summary.loss) else (None, None)
    figures = {
        "replicas": summary.replicas,
        "state": summary.state or "finished",
        "last_step": summary.last_step,
        "diverged": summary.diverged,
        **_outcome(summary),
        **_spread("eval_loss", summary.loss, nan_as=math.inf),
        "eval_loss_mean": mean,
        "eval_loss_iqm": middle,
        **_spread("eval_accuracy", summary.accuracy),
        **_spread("horizon", summary.horizon),
        **_spread("decay", summary.decay),
        "log10_ratio_first": median_ratio(summary.ratio_first),
        "log10_ratio_last": median_ratio(summary.ratio_last),
        "skipped_steps": sum(known(summary.skipped)),
        "diverged_at": min(known(summary.diverged_at), default=None),
        "largest_raw_norm": largest(summary.largest_norm),
        "largest_train_loss": largest(summary.largest_loss),
        "spikes": _total(summary.spikes),
        "clipped_steps": _total(summary.clipped),
        "log10_growth": largest(summary.growth),
        **{f"active_{name}": mean for name, mean in mean_active(summary).items()},
    }
    return _identified(summary, figures)


def pair_rows(comparisons: Sequence[Comparison], correction: str) -> list[RawRow]:
    """Return a row per comparison and measure; a comparison without any has one row without a measure."""
    return [
        {
            "run": each.summary.name,
            "folder": each.summary.label,
            "baseline": each.baseline.name,
            "baseline_folder": each.baseline.label,
            "paired": each.is_paired,
            "pairs": each.pairs,
            "measure": effect and effect.measure,
            "primary": effect and effect.measure == each.primary,
            **_ends("difference", effect and effect.difference),
            "rough": effect and effect.difference and effect.difference.rough,
            "pairs_in_difference": effect and effect.pairs,
            "left_out": effect and effect.left_out,
            **_ends("improvement", effect and effect.improvement),
            "p": effect and effect.p,
            "p_adjusted": effect and effect.adjusted,
            "correction": correction,
            "verdict": effect and effect.verdict,
            "needed": effect and effect.needed,
            "logrank_p": each.logrank if effect and effect.measure == "steps_to_solve" else None,
            "budget": each.budget,
            "at_step": each.at_step,
        }
        for each in comparisons
        for effect in each.effects or (None,)
    ]


def _identified(summary: Summary, figures: RawRow) -> RawRow:
    """Return figures between what names their run and the settings that differ, which have columns of their own."""
    row: RawRow = {
        "run": summary.name,
        "folder": summary.label,
        "model": summary.model,
        "mitigation": summary.mitigation,
        "seeds": show_seeds(summary.seeds).partition(" ")[2],
        **figures,
    }
    return row | {key: value for key, value in summary.differing.items() if key not in row}


def _outcome(summary: Summary) -> RawRow:
    judged = summary.is_judged
    low, high = summary.interval if judged else (None, None)
    is_lost = summary.is_lost and math.isinf(summary.median_steps)
    return {
        "wall_seconds": summary.wall_seconds,
        "device": summary.device,
        "run_solved": summary.solved if judged else None,
        "run_solved_low": low,
        "run_solved_high": high,
        "run_median_steps_to_solve": (math.nan if is_lost else summary.median_steps) if judged else None,
        "run_restricted_mean_steps": _restricted_mean(summary) if judged else None,
    }


def _restricted_mean(summary: Summary) -> float:
    """Return the mean steps to solve, where a replica that did not solve the task counts as the last step."""
    outcomes = zip(summary.steps_to_solve, summary.status, strict=True)
    last = summary.last_step
    times = [last if steps is None or state == "diverged" else min(steps, last) for steps, state in outcomes]
    return sum(times) / len(times)


def _total(values: Sequence[float | None]) -> float | None:
    return sum(found) if (found := known(values)) else None


def _spread(name: str, values: Sequence[float | None], *, nan_as: float = -math.inf) -> RawRow:
    if not (found := known(values)):
        return {}
    middle, low, high = spread(found, nan_as=nan_as)
    return {f"{name}_median": middle, f"{name}_min": low, f"{name}_max": high}


def _ends(name: str, estimate: Estimate | None) -> RawRow:
    """Return an estimate and its interval, which a single value does not have."""
    value, low, high = estimate.ends if estimate else (None, None, None)
    known_ends = low is not None and not math.isnan(low)
    return {name: value, f"{name}_low": low if known_ends else None, f"{name}_high": high if known_ends else None}
