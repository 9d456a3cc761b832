"""The custom layout of TensorBoard: related charts, side by side."""

from rnnstudy.writers.overview import RunFacts, lag_tags, overview_figures

CATEGORY = "Median over the replicas, between the smallest and the largest"
"""TensorBoard merges the layouts of several runs by this title, so it is the same for all."""

Layout = dict[str, dict[str, list[str | list[str]]]]


def custom_layout(facts: RunFacts) -> Layout:
    """Return the charts of one run, for `EventFile.charts`: category to chart to its kind and tags.

    Figures with a spread make margin charts; charts of what the run does not have are left out.
    """
    figures = overview_figures(facts)
    lines: dict[str, list[str | list[str]]] = {
        figure.title: ["Multiline", [f"{figure.tag}$"]] for figure in figures if not figure.has_bands
    }
    # A chart of all lags would have five lines per run.
    for lag, tag in lag_tags(facts.seq_len).items() if facts.measures_norms else ():
        lines[f"log10 of the gradient norm at lag {lag}"] = ["Multiline", [f"{tag}$"]]
    margins = {figure.title: ["Margin", [figure.tag, *figure.bands]] for figure in figures if figure.has_bands}
    # TensorBoard draws the margin charts after the others, from the last to the first.
    return {CATEGORY: lines | dict(reversed(margins.items()))}
