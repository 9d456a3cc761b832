"""The comparison as tables for programs: raw values, empty where nothing is known."""

import csv
import io
import math
from collections.abc import Sequence

from rnnstudy.report.analysis.comparison import Comparison, show_seeds
from rnnstudy.report.analysis.intervals import Estimate
from rnnstudy.report.analysis.statistics import median_range
from rnnstudy.report.analysis.summary import Summary, known, largest, mean_active, median_ratio

RawRow = dict[str, object]
"""A row: column to raw value."""

_FORMULAS = tuple("=+-@＝＋－＠")  # noqa: RUF001 - those of East Asian keyboards count too


def to_csv(rows: Sequence[RawRow]) -> str:
    """Return rows as CSV with a header; a row may lack columns."""
    header = list(dict.fromkeys(key for row in rows for key in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, header, restval="", lineterminator="\n")
    writer.writerow({key: _inert(key) for key in header})
    writer.writerows({key: _inert(value) for key, value in row.items()} for row in rows)
    return buffer.getvalue()


def _inert(value: object) -> object:
    """Return a cell safe from spreadsheets: text that begins like a formula gets a ' in front, numbers do not."""
    if not isinstance(value, str):
        return value
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
                "seed": summary.seeds[replica],
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
    figures = {
        "replicas": summary.replicas,
        "state": summary.state or "finished",
        "last_step": summary.last_step,
        "diverged": summary.diverged,
        **_outcome(summary),
        **_spread("eval_loss", summary.loss, nan_as=math.inf),
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


def pair_rows(comparisons: Sequence[Comparison]) -> list[RawRow]:
    """Return a row per comparison and measure; a comparison without pairs has one row without a measure."""
    return [
        {
            "run": each.summary.name,
            "folder": each.summary.label,
            "baseline": each.baseline.name,
            "baseline_folder": each.baseline.label,
            "pairs": each.pairs,
            "measure": effect and effect.measure,
            **_ends("difference", effect and effect.difference),
            "pairs_in_difference": effect and effect.pairs,
            "left_out": effect and effect.left_out,
            **_ends("improvement", effect and effect.improvement),
            "verdict": effect and effect.verdict,
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
    return {
        "wall_seconds": summary.wall_seconds,
        "device": summary.device,
        "run_solved": summary.solved if judged else None,
        "run_solved_low": low,
        "run_solved_high": high,
        "run_median_steps_to_solve": summary.median_steps if judged else None,
    }


def _total(values: Sequence[float | None]) -> float | None:
    return sum(found) if (found := known(values)) else None


def _spread(name: str, values: Sequence[float | None], *, nan_as: float = -math.inf) -> RawRow:
    if not (found := known(values)):
        return {}
    middle, low, high = median_range(found, nan_as=nan_as)
    return {f"{name}_median": middle, f"{name}_min": low, f"{name}_max": high}


def _ends(name: str, estimate: Estimate | None) -> RawRow:
    """Return an estimate and its interval, which a single value does not have."""
    value, low, high = estimate.ends if estimate else (None, None, None)
    known_ends = low is not None and not math.isnan(low)
    return {name: value, f"{name}_low": low if known_ends else None, f"{name}_high": high if known_ends else None}
