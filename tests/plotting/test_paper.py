"""Figures for print: their width, the size of their text, and colours that anyone can distinguish."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib import rc_context
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from tools.synthetic_runs import MODELS, Synthetic, write_run

from rnnstudy.plotting.paper import PRINT_COLORS, to_pdf
from rnnstudy.plotting.style import BASELINE_COLOR, COLORS
from rnnstudy.report.compare import Request, assemble, write_report
from rnnstudy.report.figures.draw import FIGURES, print_all

# Machado, Oliveira & Fernandes, A physiologically-based model for simulation of color vision deficiency, 2009 (IEEE
# TVCG 15): deuteranopia and protanopia, of linear RGB.
DEUTERANOPIA = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
PROTANOPIA = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
TO_XYZ = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]
WHITE = [0.95047, 1.0, 1.08883]


def seen(color: str, eye: list[list[float]]) -> np.ndarray:
    """Return the L*, a* and b* of a colour as an eye sees it."""
    srgb = np.array(to_rgb(color))
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    xyz = np.array(TO_XYZ) @ np.clip(np.array(eye) @ linear, 0, 1) / WHITE
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_colours_differ_in_print_and_to_the_colour_blind():
    pairs = list(itertools.combinations((BASELINE_COLOR, *PRINT_COLORS, "#ffffff"), 2))
    assert min(abs(seen(a, np.eye(3).tolist())[0] - seen(b, np.eye(3).tolist())[0]) for a, b in pairs) > 8
    for eye in (DEUTERANOPIA, PROTANOPIA):
        assert min(float(np.linalg.norm(seen(a, eye) - seen(b, eye))) for a, b in pairs) > 14


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sweep")
    for model, mitigation, lag in itertools.product(MODELS[:2], ((), ("clip_norm",)), (5, 9)):
        settings = {"task": {"_target_": "x", "lag": lag}}
        spec = Synthetic(model=model, mitigation=mitigation, settings=settings, probes=3, replicas=3)
        write_run(root / f"{model}{len(mitigation)}{lag}", spec)
    return root


def test_every_figure_is_a_column_wide_and_has_text_at_8_points(sweep):
    contents = assemble(Request(directories=(sweep,)))
    with rc_context({"pdf.compression": 0}):
        printed = print_all(contents)
    assert {name.rpartition("_")[0] if name[-1].isdigit() else name for name in printed} <= FIGURES.keys()
    assert len(printed) > 10
    for pdf in printed.values():
        ((left, right),) = {
            (float(box[1]), float(box[2])) for box in re.finditer(rb"/MediaBox \[ (\S+) \S+ (\S+) ", pdf)
        }
        assert right - left == 3.25 * 72
        assert {float(size) for size in re.findall(rb"/F\S+ (\S+) Tf", pdf)} == {8.0}


def test_columns_are_stacked_with_the_label_of_their_row():
    figure = Figure(figsize=(7.6, 4.0), layout="constrained")
    above, below = figure.subplots(2, 2, sharey="row")
    above[0].set_ylabel("above")
    below[0].set_ylabel("below")
    to_pdf(figure)
    assert [axes.get_ylabel() for axes in figure.axes] == ["above", "above", "below", "below"]
    places = [axes.get_position() for axes in figure.axes]
    assert all(lower.y1 < upper.y0 for upper, lower in itertools.pairwise(places))


def test_lines_marks_and_bands_have_the_colours_of_print():
    figure = Figure(figsize=(5.6, 4.0), layout="constrained")
    axes = figure.add_subplot()
    (line,) = axes.plot([0, 1], color=COLORS[1], marker="o", label="line")
    band = axes.fill_between([0, 1], 0, 1, color=COLORS[2], alpha=0.2)
    (bar,) = axes.bar([0], [1], color=COLORS[3])
    figure.legend(loc="outside upper left")
    to_pdf(figure)
    assert line.get_color()[:3] == to_rgb(PRINT_COLORS[1])
    (shade,) = np.asarray(band.get_facecolor())
    assert (to_hex(shade), shade[3]) == (PRINT_COLORS[2], pytest.approx(0.2))
    assert to_hex(bar.get_facecolor()) == PRINT_COLORS[3]
    (handle,) = figure.legends[0].get_lines()
    assert to_hex(handle.get_color()) == PRINT_COLORS[1]


def test_a_report_has_pdfs_only_where_they_are_asked_for(tmp_path):
    write_run(tmp_path / "run", Synthetic(probes=2, replicas=2))
    contents = assemble(Request(directories=(tmp_path,)))
    write_report(contents, paper=True)
    drawn = {path.stem for path in (tmp_path / "report").glob("*.svg")}
    assert {path.stem for path in (tmp_path / "report").glob("*.pdf")} == drawn
    write_report(contents)
    assert not list((tmp_path / "report").glob("*.pdf"))
