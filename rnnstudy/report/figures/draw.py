"""The figures of a report."""

from rnnstudy.plotting.drawing import Drawing, render_pages
from rnnstudy.plotting.style import report_style
from rnnstudy.report.contents import MAX_DRAWN, Contents
from rnnstudy.report.figures.gradient import heatmap_figures, lag_figures
from rnnstudy.report.figures.outcome import length_figures, paired_figures, solved_figures, solving_figures
from rnnstudy.report.figures.panels import arrange
from rnnstudy.report.figures.training import curves_figures, norm_figures
from rnnstudy.runs import tags

STEMS = (
    "solved",
    "solved_by_length",
    "solved_over_training",
    "paired_differences",
    "gradient_by_lag",
    "accuracy",
    "loss",
    "weight_gradient",
    "heatmaps",
)
"""Names of all figures that there can be; further ones of the same kind are numbered, e.g. "loss_2"."""

_EARLIER = ("solved.png", "grad_norm_by_lag.png", "accuracy.png", "loss.png", "heatmaps.png")
FILES = frozenset(_EARLIER) | {
    f"{stem}{number}.{ending}"
    for stem in STEMS
    for number in ("", *(f"_{page}" for page in range(2, MAX_DRAWN + 1)))
    for ending in ("png", "svg")
}
"""Files that a report of this version, or an earlier one, may have written."""

_SHOWN_NAMES = 6


def draw_all(contents: Contents) -> dict[str, Drawing]:
    """Draw every figure that the runs have data for.

    Returns:
        File name without ending to figure, in the order of the page.
    """
    summaries = contents.drawn
    if not summaries:
        return {}
    entries = [summary.entry for summary in summaries]
    layout = arrange(entries)
    shown = {summary.entry.name for summary in summaries}
    comparisons = [each for each in contents.comparisons if each.summary.entry.name in shown]
    names = ", ".join(entry.name for entry in entries[:_SHOWN_NAMES])
    if left := len(entries) - _SHOWN_NAMES:
        names += f" and {left} more" if left > 0 else ""
    drawings: list[Drawing] = []
    with report_style():
        plan = {
            "solved": ("Fraction of replicas that solved the task", lambda: solved_figures(summaries, layout)),
            "solved_by_length": ("Fraction solved against the length of the task", lambda: length_figures(summaries)),
            "solved_over_training": ("Fraction solved over training", lambda: solving_figures(summaries, layout)),
            "paired_differences": ("Differences to the baseline", lambda: paired_figures(comparisons)),
            "gradient_by_lag": ("Gradient norm against lag", lambda: lag_figures(layout)),
            "accuracy": ("Accuracy over training", lambda: curves_figures(layout, tags.ACCURACY)),
            "loss": ("Loss over training", lambda: curves_figures(layout, tags.LOSS)),
            "weight_gradient": ("Raw and clipped norms over training", lambda: norm_figures(layout)),
            "heatmaps": ("Gradient norm over time steps and training", lambda: heatmap_figures(entries)),
        }
        for stem in STEMS:
            what, draw = plan[stem]
            drawings += render_pages(draw(), file=stem, alt=f"{what}: {names}")
    return {drawing.file: drawing for drawing in drawings}
