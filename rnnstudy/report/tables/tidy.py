"""The comparison as tables for programs: raw values, empty where nothing is known."""

import csv
import io
import math
from collections.abc import Sequence

from rnnstudy.report.analysis.statistics import median_range
from rnnstudy.report.analysis.summary import Summary, known, mean_active, median_ratio

Row = dict[str, object]

_FORMULAS = tuple("=+-@＝＋－＠")  # noqa: RUF001 - those of East Asian keyboards count too


def to_csv(rows: Sequence[Row]) -> str:
    """Return rows as CSV with a header; a row may lack columns."""
    header = list(dict.fromkeys(key for row in rows for key in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, header, restval="", lineterminator="\n")
    writer.writerow({key: _inert(key) for key in header})
    writer.writerows({key: _inert(value) for key, value in row.items()} for row in rows)
    return buffer.getvalue()


def _inert(value: object) -> object:
    """A cell that no spreadsheet takes for a formula: text that begins like one gets a ' in front, numbers do not."""
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


def replica_rows(summary: Summary) -> list[Row]:
    """Return a row per replica of a run."""
    told = _outcome(summary)
    rows: list[Row] = []
    for replica in range(summary.replicas):
        own: Row = {
            "replica": replica,
            "replicas": summary.replicas,
            "status": summary.status[replica],
            "steps_to_solve": summary.steps_to_solve[replica],
            "steps_run": summary.steps_run,
            "last_step": summary.last_step,
            "eval_loss": summary.loss[replica],
            "eval_answer_loss": summary.answer_loss[replica],
            "eval_accuracy": summary.accuracy[replica],
            "skipped_steps": summary.skipped[replica],
            "log10_ratio_first": summary.ratio_first[replica],
            "log10_ratio_last": summary.ratio_last[replica],
            "horizon": summary.horizon[replica],
            "decay": summary.decay[replica],
        }
        active = {f"active_{name}": values[replica] for name, values in summary.active.items()}
        elsewhere = {f"eval_at_{n}_{metric}": values[replica] for (n, metric), values in summary.elsewhere.items()}
        rows.append(_with_settings(summary, _identity(summary) | own | told | elsewhere | active))
    return rows


def run_row(summary: Summary) -> Row:
    """Return the row of a run: medians and ranges over its replicas."""
    figures: Row = {
        "replicas": summary.replicas,
        "state": summary.state or "finished",
        "last_step": summary.last_step,
        "diverged": summary.status.count("diverged"),
        **_outcome(summary),
        **_spread("eval_loss", summary.loss, nan_as=math.inf),
        **_spread("eval_accuracy", summary.accuracy, nan_as=-math.inf),
        **_spread("horizon", summary.horizon, nan_as=-math.inf),
        **_spread("decay", summary.decay, nan_as=-math.inf),
        "log10_ratio_first": median_ratio(summary.ratio_first),
        "log10_ratio_last": median_ratio(summary.ratio_last),
        "skipped_steps": sum(known(summary.skipped)),
    }
    figures |= {f"active_{name}": mean for name, mean in mean_active(summary).items()}
    return _with_settings(summary, _identity(summary) | figures)


def _identity(summary: Summary) -> Row:
    entry, run = summary.entry, summary.entry.run
    return {
        "run": entry.name,
        "folder": run.label,
        "model": entry.model,
        "mitigation": entry.mitigation,
        "seed": run.seed,
    }


def _outcome(summary: Summary) -> Row:
    run, judged = summary.entry.run, summary.is_judged
    low, high = summary.interval if judged else (None, None)
    return {
        "wall_seconds": run.result.wall_seconds if run.result else None,
        "device": run.device,
        "run_solved": summary.solved if judged else None,
        "run_solved_low": low,
        "run_solved_high": high,
        "run_median_steps_to_solve": summary.median_steps if judged else None,
    }


def _spread(name: str, values: Sequence[float | None], *, nan_as: float) -> Row:
    if not (found := known(values)):
        return {}
    middle, low, high = median_range(found, nan_as=nan_as)
    return {f"{name}_median": middle, f"{name}_min": low, f"{name}_max": high}


def _with_settings(summary: Summary, row: Row) -> Row:
    return row | {key: value for key, value in summary.entry.settings.items() if key not in row}
