"""The figure of fractions solved over training, and of their difference."""

import math

import numpy as np
import pytest
from matplotlib.axes import Axes
from scipy.stats import norm
from tools.summaries import compare_pairs, make_summary
from tools.synthetic_runs import Synthetic, write_run

from rnnstudy.report.compare import Request, assemble
from rnnstudy.report.figures.difference import difference_figures, pairs_over_training
from rnnstudy.report.figures.draw import FIGURES
from rnnstudy.report.figures.panels import arrange

SOONER = [100, 100, 100, None, None, None, None, None]
SURER = [None, 500, 600, 700, 800, 800, 800, 800]


def curve(axes: Axes, number: int) -> tuple[list[float], list[float]]:
    """Return one of the step curves of some axes."""
    line = [each for each in axes.lines if each.get_drawstyle() == "steps-post"][number]
    return np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()


def test_the_difference_is_that_of_the_two_curves_with_the_interval_of_pairs():
    run, baseline = make_summary("run", steps=SURER), make_summary("baseline", steps=SOONER)
    (figure,) = difference_figures(pairs_over_training(compare_pairs([(run, baseline)])))
    above, below = figure.axes
    steps, difference = curve(below, 0)
    assert steps == [0, 100, 500, 600, 700, 800, 1000]
    solved = [[sum(each is not None and each <= step for each in runs) for step in steps] for runs in (SURER, SOONER)]
    assert difference == pytest.approx((np.array(solved[0]) - solved[1]) / 8)
    for number, runs in enumerate((SOONER, SURER)):
        own, fractions = curve(above, number)
        found = [fractions[np.searchsorted(own, step, side="right") - 1] for step in steps]
        assert found == pytest.approx([sum(each is not None and each <= step for each in runs) / 8 for step in steps])
    # Agresti and Min at step 500, with half a pair more of each kind: none is solved by the run alone, two are not.
    n, more, less = 8 + 2, 0 + 0.5, 2 + 0.5
    half = norm.isf(0.025) * math.sqrt(more + less - (more - less) ** 2 / n) / n
    (band,) = below.collections
    vertices = np.asarray(band.get_paths()[0].vertices).tolist()
    for end in ((more - less) / n - half, (more - less) / n + half):
        assert {500, 600} <= {x for x, y in vertices if y == pytest.approx(end)}


def test_a_run_that_stopped_when_all_had_solved_the_task_stays_there():
    run, baseline = make_summary("run", steps=[50] * 8, last_step=50), make_summary("baseline", steps=SOONER)
    (figure,) = difference_figures(pairs_over_training(compare_pairs([(run, baseline)])))
    assert curve(figure.axes[0], 1) == ([0, 50, 1000], [0, 1, 1])


def test_an_upright_marks_the_step_at_which_the_curves_cross():
    run, baseline = make_summary("run", steps=SURER), make_summary("baseline", steps=SOONER)
    (figure,) = difference_figures(pairs_over_training(compare_pairs([(run, baseline)])))
    for axes in figure.axes:
        upright = [line for line in axes.lines if np.ptp(np.asarray(line.get_xdata(), dtype=float)) == 0]
        assert [np.asarray(line.get_xdata())[0] for line in upright] == [800]
    assert figure.axes[1].get_xlabel().endswith("the curves cross at step 800")
    (figure,) = difference_figures(pairs_over_training(compare_pairs([(run, make_summary("none", steps=[None] * 8))])))
    assert "cross" not in figure.axes[1].get_xlabel() + "".join(t.get_text() for t in figure.legends[0].get_texts())


def test_four_pairs_are_drawn_those_that_cross_first_and_none_without_a_solved_replica():
    never, baseline = make_summary("never", steps=[None] * 8), make_summary("baseline", steps=SOONER)
    runs = [make_summary(f"run{number}", steps=[50] * 8) for number in range(4)]
    pairs = [(each, baseline) for each in (*runs, make_summary("surer", steps=SURER))]
    found = pairs_over_training(compare_pairs([(never, never), *pairs]))
    assert [each.summary.name for each in found] == ["surer", "run0", "run1", "run2"]
    assert pairs_over_training(compare_pairs([(never, never)])) == []
    assert difference_figures([]) == []


@pytest.mark.parametrize("remedies", [2, 6])
def test_the_curves_of_all_runs_are_drawn_by_themselves_only_where_the_pairs_lack_some(tmp_path, remedies):
    for number in range(remedies):
        write_run(tmp_path / f"{number}", Synthetic(mitigation=(f"m{number}",) if number else (), probes=2))
    contents = assemble(Request(directories=(tmp_path,)))
    _, draw = FIGURES["solved_over_training"]
    assert bool(draw(contents, arrange(contents.drawn))) == (remedies > 5)
