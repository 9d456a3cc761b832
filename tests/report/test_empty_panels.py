"""No figure has a panel without data, or a legend twice, however its runs end."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from tools.summaries import summaries_of
from tools.synthetic_runs import MODELS, Synthetic, write_run

from rnnstudy.report.compare import Request, assemble
from rnnstudy.report.figures.draw import FIGURES
from rnnstudy.report.figures.panels import arrange
from rnnstudy.report.figures.training import loss_figures, norm_figures

KINDS = {
    "nothing solved": {"speed": 0},
    "all solved": {"speed": 300, "accuracy": True},
    "all diverged": {"diverged_at": (0,) * 8, "extremes": True, "probes": 1, "decay": 0.0},
    "one replica": {"replicas": 1},
    "running": {"finished": False, "speed": 0},
    "logged nothing finite": {"diverged": 8, "speed": 0, "probes": 0},
}


def figures_of(root: Path) -> dict[str, list[Figure]]:
    contents = assemble(Request(directories=(root,)))
    layout = arrange(contents.drawn)
    return {stem: draw(contents, layout) for stem, (_, draw) in FIGURES.items()}


def tells(axes: Axes) -> bool:
    """Return whether a panel shows a finite value, of a fraction or a difference one other than 0."""
    labels = axes.get_xlabel() + axes.get_ylabel()
    along = "x" if "baseline" in axes.get_xlabel() else "y"
    data = [line.get_data() for line in axes.lines if line.get_transform() == axes.transData]
    data = [np.asarray(each[along == "y"], dtype=np.float64) for each in data]
    values = np.concatenate(
        [*data, *(np.ravel(found) for mesh in axes.collections if (found := mesh.get_array()) is not None), []]
    )
    values = values[np.isfinite(values)]
    return bool(values.any() if "fraction" in labels or "baseline" in labels else values.size)


def named(legend: Legend) -> tuple[tuple[str, str], ...]:
    """Return the entries of a legend: text and colour."""
    colors = [str(handle.get_color()) for handle in legend.get_lines()]
    return tuple(zip([text.get_text() for text in legend.get_texts()], colors, strict=False))


@pytest.mark.parametrize("kind", KINDS)
def test_every_panel_shows_something(tmp_path, kind):
    for mitigation in ((), ("clip_norm",)):
        spec = Synthetic(mitigation=mitigation, **KINDS[kind])
        write_run(tmp_path / f"run{len(mitigation)}", spec)
    figures = figures_of(tmp_path)
    for figure in itertools.chain.from_iterable(figures.values()):
        drawn = [axes for axes in figure.axes if axes.get_label() != "<colorbar>" and not axes.patches]
        assert drawn
        assert all(tells(axes) for axes in drawn)
    assert bool(figures["solved_difference"]) == bool(figures["solved"]) == (kind in {"all solved", "one replica"})
    assert bool(figures["heatmaps"]) == (kind not in {"all diverged", "logged nothing finite"})


def test_no_legend_of_a_figure_repeats_another(tmp_path):
    for model, number in itertools.product(MODELS[:2], range(8)):
        mitigation = (f"m{number}",) if number else ()
        write_run(tmp_path / f"{model}{number}", Synthetic(model=model, mitigation=mitigation, probes=2, replicas=2))
    layout = arrange(summaries_of(tmp_path))
    assert not layout.shared_legend
    for figure in [*loss_figures(layout), *norm_figures(layout)]:
        legends = [*figure.legends, *(legend for axes in figure.axes if (legend := axes.get_legend()))]
        assert len(figure.axes) == 4
        assert len(legends) == 3  # of the key, and of the two parts of the mitigations
        assert len({named(legend) for legend in legends}) == 3
        key = named(figure.legends[0])
        assert not {text for legend in legends[1:] for text, _ in named(legend)} & {text for text, _ in key}
