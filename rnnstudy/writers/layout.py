"""The custom layout of TensorBoard: the charts that belong together, side by side."""

from rnnstudy.runs import tags
from rnnstudy.writers.overview import RunFacts, overview_figures

CATEGORY = "Median over the replicas, between the smallest and the largest"
"""TensorBoard merges the layouts of several runs by this title, so it is the same for all."""

Layout = dict[str, dict[str, list[str | list[str]]]]


def custom_layout(facts: RunFacts) -> Layout:
    """The charts of one run, for `Events.charts`: margin charts where there is a spread.

    Args:
        facts: Of the run; charts of what it does not have are left out.

    Returns:
        Category to chart to its kind and tags.
    """
    figures = overview_figures(facts)
    lines: dict[str, list[str | list[str]]] = {
        figure.title: ["Multiline", [f"{figure.tag}$"]] for figure in figures if not figure.has_bands
    }
    lines["log10 of the gradient norm, by lag"] = ["Multiline", [tags.GRADIENT_BY_LAG.format(lag=r"\d+") + "$"]]
    margins = {figure.title: ["Margin", [figure.tag, *figure.bands]] for figure in figures if figure.has_bands}
    # TensorBoard draws the margin charts after the others, from the last to the first.
    return {CATEGORY: lines | dict(reversed(margins.items()))}
