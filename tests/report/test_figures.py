"""What the figures show, read back from matplotlib's own objects."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from scipy.stats import binomtest
from tools.summaries import compare_pairs, make_summary, summaries_of
from tools.synthetic_runs import Synthetic, edit_json, read_json, write_jsonl, write_run

from rnnstudy.plotting.style import BASELINE_COLOR, COLORS
from rnnstudy.report.analysis.comparison import AT_LIMIT, MEASURES, NOT_SHOWN, Comparison, Effect
from rnnstudy.report.analysis.intervals import Estimate
from rnnstudy.report.analysis.summary import Summary
from rnnstudy.report.analysis.survival import solved_curve
from rnnstudy.report.contents import Contents, SideBySide
from rnnstudy.report.figures.gradient import bound_of_theory, heatmap_figures, lag_figures
from rnnstudy.report.figures.outcome import length_figures, numeric_setting, paired_figures, solving_figures
from rnnstudy.report.figures.overview import overview_figures
from rnnstudy.report.figures.panels import arrange
from rnnstudy.report.figures.setting import setting_figures
from rnnstudy.report.figures.training import accuracy_figures, loss_figures, norm_figures
from rnnstudy.runs.events import Event, Events, EventStep

TAG = "hidden_grad_norm/h/layer_0/total"


def write_lag(root: Path, *, lag: int, model: str = "lstm", mitigation: tuple[str, ...] = (), solved: int = 0) -> Path:
    spec = Synthetic(
        model=model, mitigation=mitigation, seq_len=lag + 2, settings={"task": {"_target_": "x", "lag": lag}}, probes=3
    )
    folder = write_run(root / f"{model}{'+'.join(mitigation)}{lag}", spec)
    status = ["solved"] * solved + ["finished"] * (8 - solved)
    edit_json(folder / "result.json", status=status, steps_to_solve=[500] * solved + [None] * (8 - solved))
    return folder


def lines(axes: Axes, **properties: str) -> list[tuple[list[float], list[float]]]:
    """The data of those lines that have these properties."""
    found = [line for line in axes.lines if all(getattr(line, f"get_{k}")() == v for k, v in properties.items())]
    return [(np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()) for line in found]


def set_norms(folder: Path, norms: list[list[float]], gains: list[float]) -> None:
    """Give a run one probe, and the bound of its gain per time step."""
    write_jsonl(
        folder / "curves.jsonl",
        [{"step": 0, "replica": r, "tag": TAG, "values": values} for r, values in enumerate(norms)],
    )
    write_jsonl(
        folder / "metrics.jsonl",
        [
            {"step": 0, "replica": r, "gain_bound/layer_0": 7.0, "gain_bound/layer_1": gain}
            for r, gain in enumerate(gains)
        ],
    )


def test_the_bound_is_the_norm_at_lag_0_times_the_gain_to_the_power_of_the_lag(tmp_path):
    folder = write_run(tmp_path / "rnn", Synthetic(model="rnn", replicas=3, seq_len=4))
    set_norms(folder, [[1e-9, 1e-6, 1e-3, 2.0], [0, 0, 0, 3.0], [1, 1, 1, 5.0]], [0.5, 0.9, 0.1])
    (summary,) = summaries_of(tmp_path)
    assert summary.gain == (0.5, 0.9, 0.1)  # the bound of the top layer
    found = bound_of_theory(summary)
    expected = [np.median([2.0 * 0.5**lag, 3.0 * 0.9**lag, 5.0 * 0.1**lag]) for lag in range(4)]
    assert found is not None
    np.testing.assert_allclose(10.0**found, expected, rtol=1e-12)
    (figure,) = lag_figures(arrange([summary]))
    drawn = [ys for xs, ys in lines(figure.axes[0]) if len(xs) == 4]
    assert any(np.allclose(ys, expected, rtol=1e-12) for ys in drawn)


def test_there_is_no_bound_for_gated_cells_or_where_the_loss_is_at_many_steps(tmp_path):
    write_run(tmp_path / "lstm", Synthetic())
    folder = write_run(tmp_path / "rnn", Synthetic(model="rnn", replicas=1, seq_len=4))
    set_norms(folder, [[1.0, 1.0, 1.0, 1.0]], [0.5])
    edit_json(folder / "run.json", facts=read_json(folder / "run.json")["facts"] | {"loss_at_end": False})
    assert [bound_of_theory(summary) for summary in summaries_of(tmp_path)] == [None, None]


def test_a_bound_that_rises_leaves_the_curves_their_room(tmp_path):
    folder = write_run(tmp_path / "rnn", Synthetic(model="rnn", replicas=1, seq_len=101))
    set_norms(folder, [[10.0 ** -(0.1 * lag) for lag in range(100, -1, -1)]], [100.0])
    (figure,) = lag_figures(arrange(summaries_of(tmp_path)[:1]))
    low, high = np.log10(figure.axes[0].get_ylim())
    assert low == pytest.approx(-10, abs=1)
    assert 2 < high < 6


def test_fractions_stand_against_the_lag_with_their_wilson_intervals(tmp_path):
    solved = {("rnn", 10): 3, ("rnn", 20): 0, ("rnn", 40): 0, ("lstm", 10): 8, ("lstm", 20): 6, ("lstm", 40): 1}
    for (model, lag), count in solved.items():
        write_lag(tmp_path, lag=lag, model=model, solved=count)
    summaries = summaries_of(tmp_path)
    assert numeric_setting(summaries) == "task.lag"
    (figure,) = length_figures(summaries)
    for model, color in (("lstm", COLORS[0]), ("rnn", COLORS[1])):
        found = lines(figure.axes[0], color=color)
        (points,) = [each for each in found if len(each[0]) == 3]
        expected = [solved[model, lag] / 8 for lag in (10, 20, 40)]
        assert points[1] == expected
        np.testing.assert_allclose(points[0], [10, 20, 40], atol=1)  # moved apart by less than would mislead
        intervals = sorted(each[1] for each in found if len(each[0]) == 2)
        wilson = [binomtest(solved[model, lag], 8).proportion_ci(method="wilson") for lag in (10, 20, 40)]
        np.testing.assert_allclose(intervals, sorted([each.low, each.high] for each in wilson), atol=1e-12)


def test_outcomes_stand_against_a_threshold_and_none_at_its_end(tmp_path):
    norms = {0.1: 2.0, 1.0: 3.0, math.inf: 1e30}
    for number, (threshold, norm) in enumerate(norms.items()):
        mitigation = {"clip_norm": {"_target_": "x", "max_norm": threshold}}
        lost = 8 * math.isinf(threshold)
        spec = Synthetic(
            mitigation=["clip_norm"], settings={"mitigation": mitigation}, diverged=lost, speed=0, digest=True
        )
        folder = write_run(tmp_path / str(number), spec)
        digest = read_json(folder / "result.json")["digest"] | {"largest_norm": [norm, *[1.0] * 6, 2.0]}
        edit_json(folder / "result.json", digest=digest)
    (figure,) = setting_figures(summaries_of(tmp_path))
    diverged, largest = (  # nothing was solved
        next(np.asarray(line.get_ydata()).tolist() for line in axes.lines if len(np.asarray(line.get_ydata())) == 3)
        for axes in figure.axes
    )
    assert diverged == [0, 0, 1]
    assert largest == [1.0, 1.0, 1.0]
    assert [label.get_text() for label in figure.axes[-1].get_xticklabels()] == ["0.1", "1", "∞"]
    ranges = [np.asarray(line.get_ydata()).tolist() for line in figure.axes[1].lines]
    assert [1.0, 1e30] in ranges
    assert setting_figures(summaries_of(tmp_path)[:2]) == []


def test_nothing_stands_against_a_length_that_is_the_same_or_not_a_number(tmp_path):
    for target in ("all", "answer"):
        write_run(tmp_path / target, Synthetic(settings={"task": {"_target_": "x", "lag": 5, "target": target}}))
    summaries = summaries_of(tmp_path)
    assert numeric_setting(summaries) == ""
    assert length_figures(summaries) == []


def test_the_fraction_over_training_is_that_of_kaplan_and_meier_and_empty_panels_are_left_out(tmp_path):
    for lag, count in ((10, 5), (20, 0), (30, 0)):
        for mitigation in ((), ("clip_norm",)):
            write_lag(tmp_path, lag=lag, mitigation=mitigation, solved=count)
    summaries = summaries_of(tmp_path)
    (figure,) = solving_figures(arrange(summaries))
    (axes,) = figure.axes
    assert axes.get_title(loc="left").startswith("lstm, lag=10")
    steps, fraction, _, _ = solved_curve(summaries[0])
    assert summaries[0].differing["task.lag"] == "10"
    assert (steps.tolist(), fraction.tolist()) in lines(axes, color=BASELINE_COLOR)
    assert fraction[-1] == 5 / 8


def test_raw_norms_are_solid_and_clipped_ones_dotted_where_they_differ(tmp_path):
    for name, factor in (("rnn", 1.0), ("gru", 0.1)):
        folder = write_run(tmp_path / name, Synthetic(model=name, replicas=1))
        rows = [
            {"step": step, "replica": 0, "grad_norm/raw": 10.0**step, "grad_norm/clipped": factor * 10.0**step}
            for step in range(3)
        ]
        write_jsonl(folder / "metrics.jsonl", rows)
    layout = arrange(summaries_of(tmp_path))
    (figure,) = norm_figures(layout)
    drawn = {color: [ys for xs, ys in lines(figure.axes[0], color=color) if len(xs) == 3] for color in COLORS[:2]}
    assert drawn[COLORS[0]] == [[1.0, 10.0, 100.0], pytest.approx([0.1, 1.0, 10.0])]
    assert drawn[COLORS[1]] == [[1.0, 10.0, 100.0]]
    assert figure.axes[0].get_yscale() == "log"


def test_many_runs_are_divided_among_figures_with_one_scale(tmp_path):
    for lag in range(5, 14):
        write_lag(tmp_path, lag=lag)
        write_lag(tmp_path, lag=lag, mitigation=("clip_norm",))
    summaries = summaries_of(tmp_path)
    layout = arrange(summaries)
    for figures in (loss_figures(layout), lag_figures(layout)):
        assert [len(figure.axes) for figure in figures] == [6, 3]
        assert len({axes.get_ylim() for figure in figures for axes in figure.axes}) == 1
    maps = heatmap_figures(summaries)
    assert len({axes.collections[0].get_clim() for figure in maps for axes in figure.axes[:-1]}) == 1
    titles = [axes.get_title(loc="left") for figure in maps for axes in figure.axes[:-1]]
    assert titles == [summary.name for summary in summaries]


@pytest.mark.parametrize("sizes", [10, 30])
def test_a_legend_of_many_sizes_leaves_the_axes_their_room(tmp_path, sizes):
    for size in range(1, sizes + 1):
        write_run(tmp_path / str(size), Synthetic(model="rnn", settings={"model": {"hidden_size": size}}, probes=3))
    (figure,) = lag_figures(arrange(summaries_of(tmp_path)))
    figure.draw_without_rendering()
    (legend,) = figure.legends
    (axes,) = figure.axes
    assert len(axes.lines) >= sizes
    assert axes.get_position().height > 0.35
    drawn = axes.get_tightbbox()
    assert drawn is not None
    assert not legend.get_window_extent().overlaps(drawn)
    named = [text.get_text() for text in legend.get_texts()]
    assert {"1", str(sizes)} <= set(named)
    assert ("and between" in named) == (sizes == 30)


def test_a_forest_shows_each_difference_with_its_interval_and_verdict(tmp_path):
    for mitigation, steps in (((), 900), (("better",), 300), (("worse",), 1500)):
        folder = write_lag(tmp_path, lag=9, mitigation=mitigation, solved=8)
        edit_json(folder / "result.json", steps_to_solve=[steps + 10 * replica for replica in range(8)])
    baseline, *others = summaries_of(tmp_path)
    comparisons = compare_pairs([(other, baseline) for other in others])
    (figure,) = paired_figures(comparisons)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["better, lstm", "worse, lstm"]
    points = {
        str(line.get_marker()): (np.asarray(line.get_xdata()).item(), np.asarray(line.get_ydata()).item())
        for line in axes.lines
        if line.get_marker() != "None"
    }
    assert points == {"o": (-600.0, 0), "s": (600.0, 1)}


def test_the_forest_has_a_panel_for_each_measure(tmp_path):
    write_lag(tmp_path, lag=9)
    (summary,) = summaries_of(tmp_path)
    some = Estimate(value=1.0, low=0.5, high=1.5)
    verdicts = ("better", "worse", "worse", "worse", "lower", "lower", "higher", "lower")
    effects = tuple(
        Effect(measure=measure, difference=some, improvement=some, pairs=8, left_out=0, verdict=verdict)
        for measure, verdict in zip(MEASURES, verdicts, strict=True)
    )
    comparison = _compared(summary, *effects)
    (figure,) = paired_figures([comparison])
    marks = ["".join(str(line.get_marker()) for line in axes.lines[2:]) for axes in figure.axes]
    assert marks == ["o", "s", "s", "s", "v", "v", "^", "v"]
    assert figure.get_figwidth() * 96 < 1280
    (less,) = paired_figures([replace(comparison, effects=effects[1:])])
    labels = [axes.get_xlabel().partition(" ")[0] for axes in less.axes]
    assert labels == ["steps", "fraction", "final", "log10", "steps", "horizon", "decay"]


def test_the_forest_has_no_panel_of_what_is_the_same_in_all_pairs(tmp_path):
    write_lag(tmp_path, lag=9)
    (summary,) = summaries_of(tmp_path)
    none, some = Estimate(value=0.0, low=math.nan, high=math.nan), Estimate(value=0.0, low=-0.2, high=0.2)
    shown = Effect(measure="loss", difference=some, improvement=some, pairs=8, left_out=0, verdict=NOT_SHOWN)
    same = replace(shown, measure="spikes", difference=none)
    limit = replace(shown, measure="solved", verdict=AT_LIMIT)
    (figure,) = paired_figures([_compared(summary, shown, same, limit)])
    assert [axes.get_xlabel().partition(":")[0] for axes in figure.axes] == ["final loss"]
    assert paired_figures([_compared(summary, same, limit)]) == []


def _compared(summary: Summary, *effects: Effect) -> Comparison:
    return Comparison(
        summary=summary, baseline=summary, is_paired=True, pairs=8, budget=1, primary="solved", effects=effects
    )


@pytest.mark.parametrize("value", [math.nan, 1.0])
def test_what_is_not_finite_is_counted_below_axes_that_have_something(tmp_path, value):
    folder = write_run(tmp_path / "rnn", Synthetic(model="rnn", replicas=3, seq_len=5))
    set_norms(folder, [[math.nan] * 5, [math.nan] * 5, [value] * 5], [math.nan] * 3)
    rows = [
        {"step": 0, "replica": r, "eval/loss": found, "grad_norm/raw": found, "gain_bound/layer_0": math.nan}
        for r, found in enumerate((math.nan, math.nan, value))
    ]
    write_jsonl(folder / "metrics.jsonl", rows)
    layout = arrange(summaries_of(tmp_path)[:1])
    if math.isnan(value):
        assert [*loss_figures(layout), *norm_figures(layout), *lag_figures(layout)] == []
        assert heatmap_figures(summaries_of(tmp_path)) == []
        return
    for (figure,), count in (
        (loss_figures(layout), "not drawn: 2 NaN or infinite"),
        (norm_figures(layout), "not drawn: 2 NaN, infinite or zero"),
        (lag_figures(layout), "not drawn: 20 NaN or infinite"),
    ):
        (axes,) = figure.axes
        assert axes.get_xlabel().endswith(count)
        names = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
        assert "bound of theory" not in names


def test_differences_of_rounding_errors_do_not_fill_the_axes(tmp_path):
    write_lag(tmp_path, lag=9)
    (summary,) = summaries_of(tmp_path)
    tiny = Estimate(value=1e-8, low=-1e-8, high=3e-8)
    effect = Effect(measure="loss", difference=tiny, improvement=tiny, pairs=8, left_out=0, verdict=NOT_SHOWN)
    (figure,) = paired_figures([_compared(summary, effect)])
    assert math.dist(*((limit,) for limit in figure.axes[0].get_xlim())) == pytest.approx(1e-3)


def test_no_logs_no_figures(tmp_path):
    folder = write_run(tmp_path / "run", Synthetic())
    for name in ("metrics.jsonl", "curves.jsonl"):
        (folder / name).write_text("")
    layout = arrange(summaries_of(tmp_path)[:1])
    assert [*loss_figures(layout), *norm_figures(layout), *lag_figures(layout)] == []
    assert heatmap_figures(summaries_of(tmp_path)) == []


def write_lost(
    root: Path, tracks: Mapping[str, Sequence[Sequence[float | None]]], diverged_at: list[int | None], **changes: Any
) -> Path:
    """Write a run with a log entry every 100 steps, tag to values (step, replica); None was not logged."""
    replicas = len(diverged_at)
    folder = write_run(root, Synthetic(**({"model": "rnn", "replicas": replicas, "seq_len": 4} | changes)))
    status = ["finished" if step is None else "diverged" for step in diverged_at]
    edit_json(folder / "result.json", status=status, diverged_at=diverged_at, steps_to_solve=[None] * replicas)
    rows = [
        {"step": 100 * number, "replica": r} | {tag: values[number][r] for tag, values in tracks.items()}
        for number in range(len(next(iter(tracks.values()))))
        for r in range(replicas)
    ]
    kept = [{key: value for key, value in row.items() if value is not None} for row in rows]
    write_jsonl(folder / "metrics.jsonl", kept)
    return folder


def set_probes(folder: Path, probes: Sequence[Sequence[float | None]]) -> None:
    """Give a run a probe every 100 steps, of norms (probe, replica) that are the same at all 4 time steps."""
    rows = [
        {"step": 100 * number, "replica": r, "tag": TAG, "values": [norm] * 4}
        for number, norms in enumerate(probes)
        for r, norm in enumerate(norms)
        if norm is not None
    ]
    write_jsonl(folder / "curves.jsonl", rows)


def set_spikes(folder: Path, spikes: list[tuple[int, float, list[float]]], replicas: int) -> None:
    """Give a run events: replica, norm of the weights' gradient, and norms over time steps."""
    events = [
        Event(
            replica=replica,
            nonfinite=False,
            batch=7,
            ends=(),
            steps=(EventStep(step=7, loss=9.0, raw_norm=raw, clipped_norm=raw, norms={"h/layer_0/total": norms}),),
            histograms={},
        )
        for replica, raw, norms in spikes
    ]
    write_text = (folder / "events.json").write_text
    write_text(json.dumps(Events(first_nonfinite=(None,) * replicas, events=tuple(events)).to_json()))


def test_a_curve_ends_where_its_replica_diverged_and_the_median_is_that_of_the_others(tmp_path):
    losses = [[1.0, 3.0, 5.0], [2.0, 4.0, 90.0], [2.0, 4.0, None], [2.0, 4.0, None]]
    write_lost(tmp_path / "run", {"eval/loss": losses, "eval/accuracy": losses}, [None, None, 150])
    layout = arrange(summaries_of(tmp_path))
    for (figure,) in (loss_figures(layout), accuracy_figures(layout)):
        (axes,) = figure.axes
        (median,) = [each for each in lines(axes, linestyle="-") if len(each[0]) == 4]
        assert median == ([0, 100, 200, 300], [3.0, 4.0, 3.0, 3.0])
        assert lines(axes, marker="x") == [([150], [90.0])]
        assert axes.get_xlabel() == "training step\n✕ rnn: 1 of 3 diverged, at step 150"


def test_where_all_replicas_diverged_the_line_ends_at_the_last_of_them(tmp_path):
    tracks = {"eval/loss": [[1.0, 3.0], [None, None]], "train/largest_raw_norm": [[1.0, 3.0], [50.0, 70.0]]}
    write_lost(tmp_path / "run", tracks, [7, 9])
    layout = arrange(summaries_of(tmp_path))
    for (figure,), ends in ((loss_figures(layout), [2.0, 2.0]), (norm_figures(layout), [2.0, 60.0])):
        (axes,) = figure.axes
        assert ([0, 9], ends) in lines(axes, linestyle="-")
        assert [x for x, _ in lines(axes, marker="x")] == [[7], [9]]
        assert axes.get_xlabel().endswith("✕ rnn: 2 of 2 diverged, from step 7")


def test_older_runs_end_at_their_last_entry_of_a_replica_that_diverged(tmp_path):
    folder = write_lost(tmp_path / "run", {"eval/loss": [[1.0, 3.0], [2.0, 4.0], [2.0, None]]}, [None, 1])
    edit_json(folder / "result.json", diverged_at=[None, None])
    (figure,) = loss_figures(arrange(summaries_of(tmp_path)))
    assert lines(figure.axes[0], marker="x") == [([100], [4.0])]
    assert figure.axes[0].get_xlabel().endswith("✕ rnn: 1 of 2 diverged")


def test_a_replica_that_diverged_has_a_first_probe_and_a_worst_step_but_no_last_probe(tmp_path):
    folder = write_lost(tmp_path / "run", {"eval/loss": [[1.0, 1.0]] * 2}, [None, 7])
    set_probes(folder, [[1.0, 10.0], [4.0, None]])
    set_spikes(folder, [(1, 5.0, [1.0] * 4), (1, 80.0, [1e5, 1e4, 1e3, 1e2]), (1, 60.0, [1.0] * 4)], 2)
    summaries = summaries_of(tmp_path)
    (figure,) = lag_figures(arrange(summaries))
    drawn = [ys for xs, ys in lines(figure.axes[0]) if len(xs) == 4]
    np.testing.assert_allclose(drawn, [[10**0.5] * 4, [1e2, 1e3, 1e4, 1e5], [4.0] * 4])
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "worst step" in named
    edit_json(folder / "result.json", status=["diverged"] * 2)
    (figure,) = lag_figures(arrange(summaries_of(tmp_path)))
    solid = [ys for xs, ys in lines(figure.axes[0], linestyle="-") if len(xs) == 4]
    assert np.isnan(solid).all()


@pytest.mark.parametrize("gain", [1e-9, 1e9])
def test_a_bound_does_not_stretch_the_axes_of_flat_curves(tmp_path, gain):
    folder = write_run(tmp_path / "rnn", Synthetic(model="rnn", replicas=1, seq_len=30))
    set_norms(folder, [[1.0] * 30], [gain])
    (figure,) = lag_figures(arrange(summaries_of(tmp_path)))
    low, high = np.log10(figure.axes[0].get_ylim())
    assert -1.5 < low < 0 < high < 2


def test_runs_that_coincide_are_both_seen(tmp_path):
    for mitigation in ((), ("clip_norm",)):
        write_lost(tmp_path / f"run{len(mitigation)}", {"eval/loss": [[1.0], [2.0]]}, [None], mitigation=mitigation)
    (figure,) = loss_figures(arrange(summaries_of(tmp_path)))
    first, second = [each for each in figure.axes[0].lines if np.asarray(each.get_ydata()).tolist() == [1.0, 2.0]]
    assert first.get_color() != second.get_color()
    assert first.get_linewidth() > second.get_linewidth() + 1  # and drawn below
    marks = [each for each in figure.axes[0].lines if each.get_marker() in {"o", "s"}]
    assert marks[0].get_markersize() > marks[1].get_markersize() + 1


def test_a_heatmap_ends_with_its_last_replica_and_one_of_a_single_row_is_left_out(tmp_path):
    ends = {"a": [250, 350], "b": [7, 9], "c": [None, None]}
    for name, diverged_at in ends.items():
        folder = write_lost(tmp_path / name, {"eval/loss": [[1.0, 1.0]]}, diverged_at, settings={"extra": name})
        set_probes(folder, [[1.0, 2.0]] * 6)
    (figure,) = heatmap_figures(summaries_of(tmp_path))
    *maps, _ = figure.axes
    assert [np.asarray(axes.collections[0].get_array()).shape[0] for axes in maps] == [4, 6]


def overview_of(root: Path) -> list[Axes]:
    """Return the axes, row by row, of the opening figure of the runs below a folder."""
    runs = tuple((summary.name, summary) for summary in summaries_of(root))
    (figure,) = overview_figures([SideBySide(heading="shared", runs=runs)])
    figure.draw_without_rendering()
    return figure.axes


def widths(axes: Axes) -> list[float]:
    """Return the widths of the bars."""
    return [bar.get_width() for bar in axes.patches if isinstance(bar, Rectangle)]


def test_the_overview_shows_spikes_and_the_gradient_before_at_its_worst_and_after(tmp_path):
    means = [[2.0, 2.0], [3.0, 5.0], [1.0, None]]
    largest = [[2.0, 2.0], [4.0, 1e30], [700.0, None]]
    folder = write_lost(tmp_path / "a", {"train/loss": means, "train/largest_loss": largest}, [None, 60])
    set_probes(folder, [[1.0, 1.0], [0.5, None]])
    set_spikes(folder, [(1, 80.0, [1e3, 1e2, 1e1, 1.0])], 2)
    calm = {"train/loss": [[2.0, 2.0], [2.0, 2.0]], "train/largest_loss": [[2.0, 2.0], [2.0, 2.0]]}
    set_probes(write_lost(tmp_path / "b", calm, [None, None], mitigation=("clip_norm",)), [[1.0, 1.0]])
    outcome, its_outcome, loss, its_loss, gradient, its_gradient = overview_of(tmp_path)
    assert widths(outcome) == [0, 0.5, 0.5]
    assert outcome.get_xlabel() == "0 of 2 solved, 1 of 2 diverged"
    assert widths(its_outcome) == [0, 1, 0]
    assert lines(loss, label="median") == [([0, 100, 200], [2.0, 4.0, 1.0])]
    assert lines(loss, label="largest of any step") == [([0, 100, 200], [2.0, 1e30, 700.0])]
    assert lines(loss, marker="x") == [([60], [pytest.approx(loss.get_ylim()[1])])]
    assert 2080 < loss.get_ylim()[1] < 5000  # 1000 times the loss without memory, and a margin
    for label in ("median", "largest of any step"):  # they coincide, and the upper one is thinner
        assert lines(its_loss, label=label) == [([0, 100], [2.0, 2.0])]
    lower, upper = its_loss.lines[:2]
    assert lower.get_linewidth() > upper.get_linewidth() + 1
    drawn = {label: ys for label in ("before", "worst step", "after") for _, ys in lines(gradient, label=label)}
    assert drawn == {"before": [1.0] * 4, "worst step": [1.0, 1e1, 1e2, 1e3], "after": [0.5] * 4}
    assert np.isnan(lines(its_gradient, label="worst step")[0][1]).all()
    low, high = gradient.get_ylim()
    assert low > 0.1
    assert high < 1e4


def test_the_overview_of_an_older_run_shows_what_there_is(tmp_path):
    write_lost(tmp_path / "a", {"train/loss": [[2.0], [1.0]], "eval/loss": [[2.0], [1.0]]}, [None])
    _, loss, gradient = overview_of(tmp_path)
    assert lines(loss, label="median") == [([0, 100], [2.0, 1.0])]
    legends = [legend for axes in (loss, gradient) if (legend := axes.get_legend())]
    named = [text.get_text() for legend in legends for text in legend.get_texts()]
    assert named == ["median", "before", "after"]


def test_the_overview_chooses_the_pairs_that_differ_most_in_what_diverged():
    solved = [make_summary(f"baseline {n}", loss=[1.0] * 4) for n in range(6)]
    lost = [
        replace(make_summary(f"remedy {n}", loss=[1.0] * 4), status=("diverged",) * n + ("finished",) * (4 - n))
        for n in (0, 3, 1, 4, 2, 0)
    ]
    contents = Contents(
        title="",
        folder=Path("report"),
        groups=(),
        comparisons=tuple(compare_pairs(list(zip(lost, solved, strict=True)))),
        baseline="",
        correction="max-t",
        planned=False,
        drawn=(*solved, *lost),
        notes=(),
    )
    assert [each.runs[1][1].name for each in contents.opening] == ["remedy 3", "remedy 1", "remedy 4", "remedy 2"]
    alone = replace(contents, comparisons=())
    assert [len(each.runs) for each in alone.opening] == [2, 2]
