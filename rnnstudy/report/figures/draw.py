"""The figures of a report."""

from collections.abc import Callable

from matplotlib.figure import Figure

from rnnstudy.plotting.drawing import Drawing, render_pages
from rnnstudy.plotting.paper import to_pdf
from rnnstudy.plotting.style import report_style
from rnnstudy.report.analysis.comparison import Comparison
from rnnstudy.report.analysis.phrases import some
from rnnstudy.report.contents import MAX_DRAWN, Contents
from rnnstudy.report.figures.difference import difference_figures, pairs_over_training
from rnnstudy.report.figures.gradient import heatmap_figures, lag_figures
from rnnstudy.report.figures.outcome import length_figures, paired_figures, solved_figures, solving_figures
from rnnstudy.report.figures.overview import overview_figures
from rnnstudy.report.figures.panels import Layout, arrange
from rnnstudy.report.figures.profiles import profile_figures
from rnnstudy.report.figures.setting import setting_figures
from rnnstudy.report.figures.training import accuracy_figures, loss_figures, norm_figures


def _drawn_pairs(contents: Contents) -> list[Comparison]:
    shown = {summary.path for summary in contents.drawn}
    return [each for each in contents.comparisons if each.summary.path in shown]


def _over_training(contents: Contents, layout: Layout) -> list[Figure]:
    """Return the figures of the fraction solved, unless those of differences have the curves of all runs."""
    pairs = pairs_over_training(_drawn_pairs(contents))
    shown = {each.path for pair in pairs for each in (pair.summary, pair.baseline)}
    left = [summary for summary in contents.drawn if summary.is_judged and summary.path not in shown]
    return solving_figures(layout) if left else []


FIGURES: dict[str, tuple[str, Callable[[Contents, Layout], list[Figure]]]] = {
    "overview": ("Outcome, training loss and gradient, side by side", lambda of, _: overview_figures(of.opening)),
    "solved": ("Fraction of replicas that solved the task", lambda of, layout: solved_figures(of.drawn, layout)),
    "solved_by_length": ("Fraction solved against the length of the task", lambda of, _: length_figures(of.drawn)),
    "by_setting": ("Outcome against a setting", lambda of, _: setting_figures(of.drawn)),
    "solved_over_training": ("Fraction solved over training", _over_training),
    "solved_difference": (
        "Fractions solved over training, and their difference",
        lambda of, _: difference_figures(pairs_over_training(_drawn_pairs(of))),
    ),
    "paired_differences": ("Differences to the baseline", lambda of, _: paired_figures(_drawn_pairs(of))),
    "profiles": ("Fraction of networks at or below a threshold", lambda of, _: profile_figures(of.drawn)),
    "gradient_by_lag": ("Gradient norm against lag", lambda _, layout: lag_figures(layout)),
    "accuracy": ("Accuracy over training", lambda _, layout: accuracy_figures(layout)),
    "loss": ("Loss over training", lambda _, layout: loss_figures(layout)),
    "weight_gradient": ("Raw and clipped norms over training", lambda _, layout: norm_figures(layout)),
    "heatmaps": ("Gradient norm over time steps and training", lambda of, _: heatmap_figures(of.drawn)),
}
"""All possible figures, by file name; further ones of a kind are numbered, e.g. "loss_2"."""

_EARLIER = ("solved.png", "grad_norm_by_lag.png", "accuracy.png", "loss.png", "heatmaps.png")
FILES = frozenset(_EARLIER) | {
    f"{stem}{number}.{ending}"
    for stem in FIGURES
    for number in ("", *(f"_{page}" for page in range(2, MAX_DRAWN + 1)))
    for ending in ("png", "svg", "pdf")
}
"""Files that a report of this version, or an earlier one, may have written."""

_SHOWN_NAMES = 6


def draw_all(contents: Contents) -> dict[str, Drawing]:
    """Return every figure that the runs have data for, by file name without ending, in the order of the page."""
    if not contents.drawn:
        return {}
    layout = arrange(contents.drawn)
    names = some([summary.name for summary in contents.drawn], _SHOWN_NAMES)
    drawings: list[Drawing] = []
    with report_style():
        for stem, (what, draw) in FIGURES.items():
            drawings += render_pages(draw(contents, layout), file=stem, alt=f"{what}: {names}")
    return {drawing.file: drawing for drawing in drawings}


def print_all(contents: Contents) -> dict[str, bytes]:
    """Return every figure as PDF for a column of print, by file name without ending."""
    if not contents.drawn:
        return {}
    layout = arrange(contents.drawn)
    with report_style():
        return {
            f"{stem}_{number}" if number > 1 else stem: to_pdf(figure)
            for stem, (_, draw) in FIGURES.items()
            for number, figure in enumerate(draw(contents, layout), start=1)
        }
