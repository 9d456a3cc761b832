"""Profiles over thresholds and figures over all tasks, against plain counting and enumeration."""

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom, binomtest, trim_mean
from tools.summaries import make_summary

from rnnstudy.report.analysis.profiles import (
    aggregates,
    final_losses,
    levels_of,
    profile,
    stratified_mean,
    times_to_solve,
)
from rnnstudy.report.analysis.summary import Summary
from rnnstudy.report.figures.profiles import profile_figures


def run(mitigation: str, lag: str, *, guess: float | None = 2.0, planned: int = 1000, **figures: Any) -> Summary:
    """Make up a run of a sweep over mitigations and lags."""
    made = make_summary(f"{mitigation} {lag}", settings={"train.num_steps": str(planned)}, **figures)
    differing = {"mitigation": mitigation, "task.lag": lag}
    facts = replace(made.facts, memoryless_loss=guess)
    return replace(made, short=mitigation, differing=differing, facts=facts)


def four(**figures: Any) -> list[Summary]:
    figures = {"loss": [1.0, 2.0]} | figures
    return [run(mitigation, lag, **figures) for mitigation in ("none", "clip") for lag in ("10", "20")]


def wilson(count: int, size: int) -> tuple[float, float]:
    found = binomtest(count, size).proportion_ci(method="wilson")
    return found.low, found.high


def test_a_level_has_one_ended_run_of_each_task():
    none_10, none_20, clip_10, clip_20 = four()
    running = replace(clip_20, steps_run=None)
    assert [level.summary.name for level in levels_of([none_10, clip_20, none_20, clip_10])] == ["none", "clip"]
    assert [level.runs for level in levels_of([none_10, clip_20, none_20, clip_10])] == [
        (none_10, none_20),
        (clip_10, clip_20),
    ]
    assert [level.summary.name for level in levels_of([none_10, none_20, clip_10, running])] == ["none"]
    assert [level.summary.name for level in levels_of([none_10, none_20, clip_10, clip_20, clip_20])] == ["none"]


def test_other_settings_are_part_of_a_level_and_of_its_name():
    runs = [replace(each, differing=each.differing | {"optimizer.lr": "0.1", "optimizer": "sgd"}) for each in four()]
    assert [level.summary.name for level in levels_of(runs)] == ["none, lr=0.1, sgd", "clip, lr=0.1, sgd"]
    assert all("task.lag" not in level.summary.differing for level in levels_of(runs))


def test_losses_are_in_units_of_the_guess_without_memory_and_those_that_are_not_finite_are_the_worst():
    runs = four(loss=[1.0, math.nan, -math.inf, None])
    ((losses, others), *_), relative = final_losses(levels_of([replace(runs[0], loss=(3.0, 1.0)), *runs[1:]]))
    assert relative
    assert losses.tolist() == [1.5, 0.5]
    assert others.tolist() == [0.5, math.inf, math.inf, math.inf]


def test_losses_without_a_common_unit_are_not_put_together():
    runs = four(guess=None)
    assert final_losses(levels_of(runs)) == ([], False)
    assert final_losses(levels_of(four(loss=[None, None], steps=[1, 1]))) == ([], False)
    one_task = [replace(each, differing={"mitigation": each.mitigation}) for each in (runs[0], runs[2])]
    assert [found[0].tolist() for found in final_losses(levels_of(one_task))[0]] == [[1.0, 2.0], [1.0, 2.0]]


def test_times_are_parts_of_the_smallest_budget_of_a_task():
    runs = [
        run("none", "10", planned=1000, steps=[100, 900, None, 200], status=["solved"] * 3 + ["diverged"]),
        run("clip", "10", planned=500, steps=[500, None], last_step=500),
    ]
    (first,), (second,) = times_to_solve(levels_of(runs))
    assert first.tolist() == [0.2, math.inf, math.inf, math.inf]
    assert second.tolist() == [1.0, math.inf]
    assert times_to_solve(levels_of([replace(runs[0], facts=make_summary("x", judged=False, steps=[1]).facts)])) == []


def test_a_profile_is_the_mean_of_the_fractions_of_each_task():
    strata = [np.array([1.0, 2.0, 2.0, math.inf]), np.array([2.0, 3.0])]
    thresholds, fraction, low, high = profile(strata)
    assert thresholds.tolist() == [-math.inf, 1, 2, 3]
    for place, tau in enumerate(thresholds):
        counts = [(sum(value <= tau for value in stratum), len(stratum)) for stratum in strata]
        mean = sum(count / size for count, size in counts) / 2
        down = sum((count / size - wilson(count, size)[0]) ** 2 for count, size in counts)
        up = sum((wilson(count, size)[1] - count / size) ** 2 for count, size in counts)
        assert fraction[place] == pytest.approx(mean)
        assert low[place] == pytest.approx(mean - math.sqrt(down) / 2)
        assert high[place] == pytest.approx(mean + math.sqrt(up) / 2)
    _, _, low, high = profile(strata[:1])
    for place, count in enumerate((0, 1, 3)):
        assert (low[place], high[place]) == pytest.approx(wilson(count, 4))


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.1, 0.9), (0.05, 0.3), (0.9, 0.95)])
def test_the_band_covers_the_mean_fraction(shares):
    size, covered = 8, 0.0
    for counts in itertools.product(range(size + 1), repeat=2):
        strata = [np.repeat([0.0, 1.0], [count, size - count]) for count in counts]
        thresholds, _, low, high = profile(strata)
        place = np.searchsorted(thresholds, 0.0, side="right") - 1
        if low[place] <= sum(shares) / 2 <= high[place]:
            covered += math.prod(binom.pmf(count, size, share) for count, share in zip(counts, shares, strict=True))
    assert covered > 0.91


def test_the_interquartile_mean_weighs_tasks_alike():
    first, second = np.array([1.0, 2.0, 3.0, 9.0]), np.array([10.0, 30.0])
    assert stratified_mean([first]).value == pytest.approx(2.5)
    assert stratified_mean([first, second]).value == pytest.approx(trim_mean([*first, *second, *second], 0.25))
    assert stratified_mean([np.array([1.0, 2.0, 3.0, math.inf])]).value == pytest.approx(2.5)
    assert stratified_mean([np.array([1.0, 2.0, math.inf, math.inf])]).value == math.inf


def test_the_interval_is_that_of_resampling_each_task_by_itself():
    strata = [np.array([1.0, 4.0, 6.0]), np.array([100.0, 150.0, 400.0])]
    resamples = [itertools.product(stratum, repeat=3) for stratum in strata]
    every = np.sort([trim_mean([*one, *other], 0.25) for one, other in itertools.product(*resamples)])
    found = stratified_mean(strata)
    assert found.rough
    assert np.mean(every < found.low) < 0.035
    assert np.mean(every <= found.low) > 0.015
    assert np.mean(every > found.high) < 0.035
    assert np.mean(every >= found.high) > 0.015
    assert math.isnan(stratified_mean([np.full(8, 1.0), np.full(8, 2.0)]).low)
    assert math.isnan(stratified_mean([np.array([1.0])]).low)
    assert not stratified_mean([np.arange(8.0)]).rough
    assert stratified_mean([np.array([*np.arange(6.0), math.inf, math.inf])]).high == math.inf


def test_aggregates_are_of_levels_over_several_tasks():
    runs = four(
        steps=[5, None, None, 7], status=["solved", "finished", "diverged", "solved"], loss=[1.0, 2.0, 4.0, 1.0]
    )
    first, second = aggregates(runs)
    assert (first.level, first.networks, first.strata) == ("none", 8, 2)
    assert first.solved is not None
    assert first.loss is not None
    assert (first.solved.value, first.diverged.value, second.diverged.value) == (0.5, 0.25, 0.25)
    half = (wilson(2, 4)[1] - 0.5) / math.sqrt(2)
    assert first.solved.ends == pytest.approx((0.5, 0.5 - half, 0.5 + half))
    assert first.loss.value == pytest.approx(0.75)  # of 0.5 0.5 0.5 0.5 1 1 2 2
    assert aggregates(runs[:2]) == aggregates([runs[0], runs[2]]) == []


def test_the_figure_shows_the_profile_of_each_level():
    runs = four(steps=[100, None], loss=[1.0, 6.0])
    loss, steps = profile_figures(runs)
    for figure, name, point in ((loss, "final loss / loss", 0.5), (steps, "steps to solve /", 0.1)):
        (axes,) = figure.axes
        assert axes.get_xlabel().startswith(name)
        curves = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
        assert len(curves) == 2
        for line in curves:
            jumps = dict(zip(*np.asarray(line.get_data()).tolist(), strict=True))
            assert jumps[point] == 0.5
        assert {text.get_text() for text in figure.legends[0].get_texts()} >= {"none", "clip"}
    assert profile_figures(runs[:2]) == []
    assert len(profile_figures([runs[0], runs[2]])) == 1  # of one task, other figures have the steps
    assert len(profile_figures(four(loss=[1.0, 6.0]))) == 1  # nothing was solved
    (steps,) = profile_figures(four(steps=[100, 200]))  # everything was: the losses are those of the criterion
    assert steps.axes[0].get_xlabel().startswith("steps")
