"""The event files are read back with TensorBoard's own reader."""

import io
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tools.events import SUMMARY_KINDS, histograms, read, scalars, tags_of
from tools.members import members, run_small

from rnnstudy.runs.events import Event, Events, EventStep, Nonfinite, TimeHistogram, read_events
from rnnstudy.runs.folder import RunFolder
from rnnstudy.writers.base import Curve, Entry, Histogram, HistogramOverTime, Scalar
from rnnstudy.writers.events import EventFile
from rnnstudy.writers.overview import RunFacts
from rnnstudy.writers.run_log import RunLog
from rnnstudy.writers.tensorboard import TensorBoard

TOTAL = "hidden_grad_norm/h/layer_0/total"
OVER_TIME = "hidden_grad_through_time/h/layer_0/total"


def entry(measured, *replicas: bool, scheduled: bool = True) -> Entry:
    return Entry(measured=measured, replicas=torch.tensor(replicas), scheduled=scheduled)


def norms(*rows: list[float]) -> Entry:
    return entry(Curve(values=torch.tensor(rows, dtype=torch.float64)), *[True] * len(rows))


def records(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> RunFolder:
    folder = tmp_path_factory.mktemp("study") / "run"
    names = ("hidden_grad_norm", "hidden_grad_histogram", "grad_norm", "horizon")
    often = [f"instrument.{name}.schedule.interval=10" for name in names]
    steps = ("train.num_steps=54", "train.eval_interval=10", "train.log_interval=5")
    return run_small(
        folder, "mitigation=[clip_norm]", *steps, *often, "instrument.hidden_grad_through_time.schedule.steps=[30]"
    )


def test_a_run_shows_histograms_heatmaps_scalars_and_its_configuration(trained):
    events = read(trained.tensorboard)
    tags = events.Tags()
    parts = {"all_steps", "direct", "carried", "lag_0000", "lag_0001", "lag_0022"}
    of_gradients = set(events.PluginTagToContent("histograms"))
    assert {f"hidden_grad_histogram/h/layer_0/{part}" for part in parts} <= of_gradients
    assert {f"hidden_grad_histogram/c/layer_0/{part}" for part in ("all_steps", "lag_0000", "lag_0022")} <= of_gradients
    assert {f"hidden_grad_norm/{state}/layer_0/total/heatmap" for state in "hc"} == set(tags["images"])
    norms = {"grad_norm/raw", "grad_norm/clipped"}
    assert {"train/loss", "train/skipped", "clip_norm/active", *norms} <= set(tags["scalars"])
    (text,) = events.Tensors("config/text_summary")
    assert b"clip_norm" in text.tensor_proto.string_val[0]
    assert list(scalars(events, "grad_norm/clipped")) == [0, 10, 20, 30, 40, 50, 54]

    lefts, rights, counts = histograms(events, "hidden_grad_histogram/h/layer_0/all_steps")[54]
    zeros = [
        record["hidden_grad_histogram/h/layer_0/zero_count"]
        for record in records(trained.metrics)
        if record["step"] == 54
    ]
    assert counts.sum() == 23 * 3 * 4 * 6 - sum(zeros)
    assert (lefts[0], rights[-1]) == (-16, 8)
    assert list(lefts[1:]) == list(rights[:-1])

    images = events.Images(f"{TOTAL}/heatmap")
    assert [image.step for image in images] == [30, 54]
    pixels = np.asarray(Image.open(io.BytesIO(images[-1].encoded_image_string)))
    assert pixels.std() > 10


def test_the_figures_at_a_glance_are_those_of_the_log(trained):
    """Twin: medians and extremes taken plainly from the records of the last step."""
    last = {record["replica"]: record for record in records(trained.metrics) if record["step"] == 54}
    curves = [record for record in records(trained.curves) if record["step"] == 54 and record["tag"] == TOTAL]
    events = read(trained.tensorboard)

    def shown(tag):
        return scalars(events, tag)[54]

    sources = {
        "loss": "eval/loss",
        "accuracy": "eval/accuracy",
        "horizon": "horizon/h/layer_0/lag",
        "clip_coefficient": "clip_norm/coefficient",
    }
    of = {name: [record[source] for record in last.values()] for name, source in sources.items()}
    # The answer depends on word 4, counted from 0, of 23.
    of["log10_gradient_at_information"] = [math.log10(row["values"][3] / row["values"][-1]) for row in curves]
    for name, values in of.items():
        assert len(values) == 3
        assert shown(f"at_a_glance/{name}") == pytest.approx(np.median(values), rel=1e-5), name
        assert shown(f"spread/{name}/low") == pytest.approx(min(values), rel=1e-5), name
        assert shown(f"spread/{name}/high") == pytest.approx(max(values), rel=1e-5), name
    norms = [record["train/largest_raw_norm"] for record in records(trained.metrics)]
    assert shown("at_a_glance/log10_largest_norm") == pytest.approx(math.log10(max(norms)), rel=1e-5)
    spikes = [record["train/spikes"] for record in records(trained.metrics)]
    assert shown("at_a_glance/spikes") == pytest.approx(sum(spikes) / 3, rel=1e-5)
    assert shown("at_a_glance/diverged_fraction") == 0
    assert shown("at_a_glance/solved_fraction") == np.mean([record["train/solved"] for record in last.values()])
    solved = json.loads(trained.result.read_bytes())["steps_to_solve"]
    assert shown("at_a_glance/solved_fraction") == np.mean([steps is not None for steps in solved])
    median = np.median([row["values"] for row in curves], axis=0)
    for lag in (0, 5, 22):
        assert shown(f"gradient_by_lag/lag_{lag:04d}") == pytest.approx(math.log10(median[-1 - lag]), rel=1e-5)


def test_sub_runs_show_the_gradient_at_every_time_step(trained):
    folders = sorted(path.name for path in trained.path.glob("at_step_*"))
    assert folders == ["at_step_000000", "at_step_000030", "at_step_000054"]
    logged = [record for record in records(trained.histograms) if "time_steps" in record]
    recorded = {(record["step"], record["tag"]): record for record in logged}
    parts = ("h/layer_0/total", "h/layer_0/direct", "h/layer_0/carried", "c/layer_0/total")
    for step in (0, 30, 54):
        events = read(trained.path / f"at_step_{step:06d}")
        assert tags_of(trained.path / f"at_step_{step:06d}") == {f"hidden_grad_through_time/{part}" for part in parts}
        for part in parts:
            record = recorded[step, f"hidden_grad_through_time/{part}"]
            expected = {time: sum(row) for time, row in zip(record["time_steps"], record["counts"], strict=True)}
            shown = histograms(events, f"hidden_grad_through_time/{part}")
            # Time steps at which everything is zero are there as well.
            assert {time: counts.sum() for time, (_, _, counts) in shown.items()} == expected
            assert list(expected) == list(range(23))
            lefts, _, counts = shown[22]
            by_edge = dict(zip(lefts, counts, strict=True))
            edges = record["low"] + record["width"] * np.arange(len(record["counts"][-1]))
            assert [by_edge.get(edge, 0) for edge in edges] == record["counts"][-1]
    direct = recorded[54, "hidden_grad_through_time/h/layer_0/direct"]
    assert [bool(sum(row)) for row in direct["counts"]] == [False] * 22 + [True]


def test_a_scalar_is_the_median_and_a_stopped_replica_keeps_its_last_figure(tmp_path):
    board = TensorBoard(tmp_path)
    for step, values, running in ((0, [1.0, 2.0, 9.0], (True, True, True)), (1, [5.0, 0.0, 9.0], (True, False, True))):
        board.write(step, {"loss": entry(Scalar(values=torch.tensor(values)), *running)})
    board.write(2, {"loss": entry(Scalar(values=torch.tensor([0.0, 0.0, 7.0])), False, False, True, scheduled=False)})
    board.close()
    assert scalars(read(tmp_path), "loss") == {0: 2.0, 1: 5.0}


def test_resuming_leaves_no_doubled_steps(tmp_path):
    counts = torch.ones(1, 3, 4, dtype=torch.long)
    over_time = HistogramOverTime(counts=counts, time_steps=[0, 1, 2], low=-4.0, width=1.0)

    def measured(value: float) -> dict[str, Entry]:
        return {"loss": entry(Scalar(values=torch.tensor([value])), True), OVER_TIME: entry(over_time, True)}

    first = TensorBoard(tmp_path)
    for step in range(0, 6, 2):
        first.write(step, measured(float(step)))
    first.close()
    assert sorted(path.name for path in tmp_path.glob("at_step_*")) == [f"at_step_00000{step}" for step in (0, 2, 4)]
    second = TensorBoard(tmp_path, purge_step=4)
    second.restore([{"step": 2, "replica": 0, "loss": 2.0}], [])
    assert sorted(path.name for path in tmp_path.glob("at_step_*")) == ["at_step_000000", "at_step_000002"]
    for step in range(4, 8, 2):
        second.write(step, measured(10.0 + step))
    second.finish(7, [math.inf])
    second.close()
    assert scalars(read(tmp_path), "loss") == {0: 0, 2: 2, 4: 14, 6: 16}
    for step in (0, 2, 4, 6):
        assert list(histograms(read(tmp_path / f"at_step_00000{step}"), OVER_TIME)) == [0, 1, 2]


def test_at_most_five_sub_runs_the_first_ones_and_the_last(tmp_path):
    counts = torch.ones(1, 1, 1, dtype=torch.long)
    over_time = HistogramOverTime(counts=counts, time_steps=[0], low=-4.0, width=1.0)
    board = TensorBoard(tmp_path)
    for step in range(0, 90, 10):
        board.write(step, {OVER_TIME: entry(over_time, True)})
    board.finish(80, [math.inf])
    board.close()
    assert sorted(int(path.name[8:]) for path in tmp_path.glob("at_step_*")) == [0, 10, 20, 30, 80]


def stopping_early(step: int) -> dict[str, Entry]:
    """Replica 0 stops between two scheduled measurements, replica 1 at one, replica 2 diverges, replica 3 goes on."""
    # Every replica has as many entries at a step as the step's number and its own, all in a bin of its own.
    counts = torch.zeros(4, 2, 6, dtype=torch.long)
    for replica in range(4):
        counts[replica, :, replica + 1] = 10 * step + replica
    running = {0: (True,) * 4, 3: (True, False, False, False), 4: (False, True, True, True), 8: (False,) * 3 + (True,)}
    ending = {3: (True, False, False, False), 4: (False, True, False, False)}
    measured = {
        "hidden_grad_histogram/h/layer_0/all_steps": Histogram(counts=counts[:, 0], low=-4.0, width=0.5),
        OVER_TIME: HistogramOverTime(counts=counts, time_steps=[0, 1], low=-4.0, width=0.5),
    }
    return {
        tag: Entry(
            measured=each,
            replicas=torch.tensor(running[step]),
            scheduled=step != 3,
            stopping=torch.tensor(ending[step]) if step in ending else None,
        )
        for tag, each in measured.items()
    }


@pytest.mark.parametrize("cut", [None, 4, 8])
def test_histograms_keep_the_last_counts_of_replicas_that_have_solved_the_task(tmp_path, cut):
    folder = RunFolder(tmp_path)
    log, board = RunLog(folder), TensorBoard(tmp_path)
    for step in (0, 3, 4, 8):
        if step == cut:
            board.close()
            board = TensorBoard(tmp_path, purge_step=step)
            board.restore(log.metrics(), log.curves(), log.histograms())
        log.write(step, stopping_early(step))
        board.write(step, stopping_early(step))
    board.finish(8, [3, 4, math.inf, math.inf])
    board.close()
    log.close()
    expected = {
        0: [0, 1, 2, 3],
        4: [30, 41, 42, 43],
        8: [30, 41, 0, 83],  # what diverged drops out
    }
    shown = histograms(read(tmp_path), "hidden_grad_histogram/h/layer_0/all_steps")
    assert {step: counts.sum() for step, (*_, counts) in shown.items()} == {
        step: sum(row) for step, row in expected.items()
    }
    for step, row in expected.items():
        over_time = histograms(read(tmp_path / f"at_step_{step:06d}"), OVER_TIME)
        assert len(over_time) == 2
        for _, rights, counts in (shown[step], *over_time.values()):
            by_edge = dict(zip(rights, counts, strict=True))
            assert [by_edge.get(-4.0 + 0.5 * (replica + 2), 0) for replica in range(4)] == row


def restored_and_whole(tmp_path: Path, steps: int, cut: int, facts: RunFacts, entries) -> tuple[Path, Path]:
    """The folders of a run that was cut after some steps and went on, and of one that was not."""
    for name in ("whole", "cut"):
        folder = RunFolder(tmp_path / name)
        folder.path.mkdir()
        log, board = RunLog(folder), TensorBoard(folder.path, facts)
        for step in range(steps):
            if name == "cut" and step == cut:
                board.close()
                board = TensorBoard(folder.path, facts, purge_step=step)
                board.restore(log.metrics(), log.curves(), log.histograms())
            log.write(step, entries(step))
            board.write(step, entries(step))
        board.finish(steps, [math.inf, 3])
        board.close()
        log.close()
    return tmp_path / "cut", tmp_path / "whole"


def assert_shown_alike(one: Path, other: Path) -> None:
    left, right = read(one), read(other)
    assert tags_of(one) == tags_of(other)
    for tag in left.Tags()["images"]:
        last = [events.Images(tag)[-1] for events in (left, right)]
        assert last[0].step == last[1].step
        assert last[0].encoded_image_string == last[1].encoded_image_string
    for tag in left.PluginTagToContent("histograms"):
        assert list(histograms(left, tag)) == list(histograms(right, tag))
    for tag in tags_of(one):
        if scalars(left, tag):
            assert scalars(left, tag) == scalars(right, tag), tag


@pytest.mark.parametrize("cut", [1, 3, 4, 6])
def test_a_resumed_run_shows_what_an_undisturbed_one_does(tmp_path, cut):
    """With replicas that stop between two measurements, more tags than are shown, and some that come late."""
    generator = torch.Generator().manual_seed(0)
    curves = [torch.rand(2, 7, generator=generator, dtype=torch.float64) for _ in range(7)]

    def entries(step: int) -> dict[str, Entry]:
        scheduled = step != 2
        whose = (True, step < 2) if scheduled else (False, True)
        found = {TOTAL: entry(Curve(values=curves[step]), *whose, scheduled=scheduled)}
        late = {
            f"a_late_{index}/figure": Scalar(values=curves[step][:, index]) for index in range(7 if step > 2 else 0)
        }
        bins = {f"bins_{index}": Histogram(counts=torch.ones(2, 3).long(), low=0.0, width=1.0) for index in range(9)}
        many = {f"many/{index}": Scalar(values=curves[step][:, 0] + index) for index in range(9)}
        # The figures at a glance add these up.
        many |= {tag: Scalar(values=curves[step][:, 1]) for tag in ("train/spikes", "train/largest_raw_norm")}
        return found | {tag: entry(each, *whose, scheduled=scheduled) for tag, each in (late | bins | many).items()}

    assert_shown_alike(*restored_and_whole(tmp_path, 7, cut, RunFacts(informative_steps=(2,)), entries))


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf, 1e-300])
def test_gradients_without_a_logarithm_crash_nothing(tmp_path, value):
    board = TensorBoard(tmp_path)
    none, row = torch.zeros(1, 5, dtype=torch.long), torch.full((1, 4), value, dtype=torch.float64)
    over_time = HistogramOverTime(counts=none[:, None], time_steps=[0], low=0.0, width=1.0)
    board.write(
        0,
        {
            TOTAL: entry(Curve(values=row), True),
            "bins": entry(Histogram(counts=none, low=0.0, width=1.0), True),
            "eval/loss": entry(Scalar(values=row[:, 0]), True),
            "horizon/h/layer_0/lag": entry(Scalar(values=row[:, 0]), True),
            OVER_TIME: entry(over_time, True),
        },
    )
    board.finish(0, [math.inf])
    board.close()
    events = read(tmp_path)
    assert f"{TOTAL}/heatmap" in events.Tags()["images"]
    assert "bins" not in tags_of(tmp_path)
    assert not list(tmp_path.glob("at_step_*"))
    shown = {tag: list(scalars(events, tag).values()) for tag in tags_of(tmp_path)}
    assert all(math.isfinite(figure) for figures in shown.values() for figure in figures)
    assert ("at_a_glance/loss" in shown) == math.isfinite(value)
    assert "final/steps_to_solve" not in shown


def test_one_diverged_replica_hides_none_of_the_others(tmp_path):
    """The median with NaN as an infinite loss; bands of what is finite."""
    board = TensorBoard(tmp_path)
    for step, first in ((0, 3.0), (1, math.nan), (2, math.inf)):
        losses = torch.tensor([first, 1.0, 2.0], dtype=torch.float64)
        board.write(step, {"eval/loss": entry(Scalar(values=losses), True, True, True)})
    board.close()
    events = read(tmp_path)
    assert scalars(events, "at_a_glance/loss") == {0: 2, 1: 2, 2: 2}
    assert scalars(events, "spread/loss/low") == {0: 1, 1: 1, 2: 1}
    assert scalars(events, "spread/loss/high") == {0: 3, 1: 2, 2: 2}


def test_the_figures_so_far_keep_what_lost_replicas_had(tmp_path):
    """Replica 0 is lost between two entries, replica 1 last of all; a largest norm of nothing finite is NaN."""

    def logged(norms: list[float], spikes: list[float], lost: list[bool]) -> dict[str, torch.Tensor]:
        figures = (norms, spikes, lost)
        tags = ("train/largest_raw_norm", "train/spikes", "train/diverged")
        return {tag: torch.tensor(each).double() for tag, each in zip(tags, figures, strict=True)}

    board = TensorBoard(tmp_path)
    for step, figures, running, scheduled in (
        (0, logged([1e3, 1.0], [0.0, 0.0], [False, False]), (True, True), True),
        (3, logged([1e5, 0.0], [4.0, 0.0], [True, False]), (True, False), False),
        (5, logged([0.0, 10.0], [0.0, 1.0], [True, False]), (False, True), True),
        (7, logged([0.0, math.nan], [0.0, 2.0], [True, True]), (False, True), True),
    ):
        entries = {tag: entry(Scalar(values=each), *running, scheduled=scheduled) for tag, each in figures.items()}
        board.write(step, entries)
    board.close()
    events = read(tmp_path)
    assert scalars(events, "at_a_glance/diverged_fraction") == {0: 0, 5: 0.5, 7: 1}
    assert scalars(events, "at_a_glance/spikes") == {0: 0, 5: 2.5, 7: 3.5}
    assert scalars(events, "at_a_glance/log10_largest_norm") == {0: 3, 5: 5, 7: 5}


@pytest.mark.parametrize(("low", "width"), [(-46.0, 0.5), (-16.3, 0.7), (20.0, 0.5), (-40.0, 30.0)])
def test_a_histogram_spans_the_range_of_all_and_loses_nothing(tmp_path, low, width):
    counts = np.arange(1, 100)
    events = EventFile(tmp_path, str.join)
    events.histogram("bins", counts, (low, width), 3)
    events.flush()
    events.close()
    lefts, rights, shown = histograms(read(tmp_path), "bins")[3]
    assert (lefts[0], rights[-1], shown[0], shown[-1]) == (-16, 8, 0, 0)
    assert shown.sum() == counts.sum()
    by_edge = {round(edge, 4): count for edge, count in zip(lefts.tolist(), shown, strict=True)}
    edges = low + width * np.arange(100)
    within = [place for place in range(1, 98) if edges[place - 1] >= -16 and edges[place + 2] <= 8]
    assert all(by_edge[round(edges[place], 4)] == counts[place] for place in within)


def spiked(replica: int, step: int, raw_norm: float) -> Event:
    """Return a step that spiked, with as many entries in its histogram as the step's number."""
    found = EventStep(step=step, loss=2.0, raw_norm=raw_norm, clipped_norm=1.0, norms={})
    bins = TimeHistogram(low=1.0, width=0.5, time_steps=[0, 1], counts=[[step, 0], [0, step]])
    return Event(replica=replica, nonfinite=False, batch=step, ends=(), steps=(found,), histograms={"h/layer_0": bins})


def test_the_worst_step_is_a_sub_run_which_a_worse_one_replaces(tmp_path):
    lost = Nonfinite(step=9, kind="gradient", parameters=("cells.0.weight_hh",), layer=0, time_step=17)
    mild, worst = spiked(0, 3, 50.0), spiked(1, 8, 4e9)

    def shows(board: TensorBoard, *events: Event, first: Nonfinite | None = None) -> Path:
        board.write(events[-1].spike.step, {"loss": entry(Scalar(values=torch.ones(2)), True, True)})
        board.show(Events(first_nonfinite=(None, first), events=events))
        (folder,) = tmp_path.glob("at_step_*")
        return folder

    board = TensorBoard(tmp_path)
    assert shows(board, mild).name == "at_step_000003_worst"
    folder = shows(board, mild, worst)
    (file,) = folder.iterdir()
    # Only a worse one is written anew.
    assert list(shows(board, mild, worst, first=lost).iterdir()) == [file]
    board.close()
    resumed = TensorBoard(tmp_path, purge_step=8)
    assert not list(tmp_path.glob("at_step_*"))
    assert shows(resumed, mild, worst, first=lost).name == folder.name == "at_step_000008_worst"
    resumed.close()
    shown = histograms(read(folder), OVER_TIME)
    assert {time: counts.tolist() for time, (*_, counts) in shown.items()} == {0: [0, 8, 0], 1: [0, 8, 0]}
    assert [lefts[1] for lefts, *_ in shown.values()] == [1.0, 1.5]
    told = read(tmp_path).Tensors("at_a_glance/explosions/text_summary")[-1].tensor_proto.string_val[0].decode()
    assert "step **8** of replica **1**" in told
    assert "4e+09" in told
    assert "| 1 | 9 | gradient | `cells.0.weight_hh` | 0 | 17 |" in told


def test_a_run_that_explodes_has_a_sub_run_with_the_tags_of_the_others(tmp_path):
    explosion = ("model=rnn", "model.nonlinearity=relu", "optimizer=sgd", "optimizer.lr=30")
    folder = run_small(tmp_path / "run", *explosion)
    kept = read_events(folder, replicas=3).worst()
    assert kept is not None
    (worst,) = folder.path.glob("at_step_*_worst")
    assert worst.name == f"at_step_{kept.spike.step:06d}_worst"
    assert tags_of(worst) == {OVER_TIME}
    assert OVER_TIME in tags_of(folder.path / "at_step_000000")


def test_the_gradient_at_the_information_is_a_ratio_of_norms(tmp_path):
    board = TensorBoard(tmp_path, RunFacts(layers=2, informative_steps=(1, 2)))
    top, lowest = TOTAL.replace("layer_0", "layer_1"), TOTAL
    board.write(0, {top: norms([9, 1e-3, 9, 10], [9, 1e-5, 9, 10]), lowest: norms([1, 1, 1, 1], [1, 1, 1, 1])})
    # Of two replicas, one whose gradient has vanished to exactly zero leaves no middle.
    board.write(1, {top: norms([9, 1e-3, 9, 10], [9, 0, 9, 10])})
    board.close()
    events = read(tmp_path)
    assert scalars(events, "at_a_glance/log10_gradient_at_information") == {0: pytest.approx(-5)}
    assert scalars(events, "spread/log10_gradient_at_information/low") == {0: pytest.approx(-6)}
    assert scalars(events, "gradient_by_lag/lag_0002") == {
        0: pytest.approx(math.log10(0.000505)),
        1: pytest.approx(math.log10(0.0005)),
    }


def test_margin_charts_have_value_and_band_at_the_same_steps(trained):
    events = read(trained.tensorboard)
    bands = [tag for tag in tags_of(trained.tensorboard) if tag.startswith("spread/")]
    assert len(bands) == 10
    for tag in bands:
        name = tag.split("/")[1]
        assert list(scalars(events, tag)) == list(scalars(events, f"at_a_glance/{name}"))
        assert list(scalars(events, tag))
        times = [event.wall_time for event in events.Scalars(f"at_a_glance/{name}")]
        assert [event.wall_time for event in events.Scalars(tag)] == times


def test_a_final_median_counts_replicas_that_never_solved_as_infinite(tmp_path):
    for name, steps, expected in (
        ("all", [100, 300, 200], {500: 200}),
        ("most", [100, 300, math.inf], {500: 300}),
        ("few", [100, math.inf, math.inf], {}),
    ):
        board = TensorBoard(tmp_path / name)
        board.finish(500, steps)
        board.close()
        assert scalars(read(tmp_path / name), "final/steps_to_solve") == expected


def test_a_run_has_few_tags_whatever_is_measured_and_names_what_is_left_out(tmp_path):
    """Three layers, all instruments, a mitigation, other lengths: hundreds of tags in the log."""
    folder = run_small(
        tmp_path / "run",
        "model.num_layers=3",
        f"instrument=[{','.join(members('instrument'))}]",
        "mitigation=[clip_norm,clip_adjoint,grad_noise]",
        "eval.seq_lens=[30]",
        "task=adding",
        "task.seq_len=12",
    )
    shown = tags_of(folder.tensorboard)
    assert 50 < len(shown) <= 60
    assert all(len(tags_of(path)) <= 8 for path in folder.path.glob("at_step_*"))
    logged = {tag for record in records(folder.metrics) for tag in record} - {"step", "replica"}
    logged |= {record["tag"] for record in records(folder.histograms) if "time_steps" not in record}
    assert len(logged) > 150
    told = read(folder.tensorboard).Tensors("left_out/text_summary")[-1].tensor_proto.string_val[0].decode()
    told = {group: rest for group, rest in re.findall(r"- \*\*(.+?)\*\*: (.*)", told)}
    summarised = {"eval/loss", "eval/accuracy", "train/solved", "clip_norm/coefficient", "horizon/h/layer_2/lag"}
    summarised |= {"train/diverged", "train/largest_raw_norm", "train/spikes"}
    for tag in logged - summarised:
        group, _, rest = tag.partition("/")
        assert (tag in shown) != (f"`{rest}`" in told.get(group, "")), tag
    assert not summarised & shown


def test_the_first_screen_shows_the_gradient_of_the_answer_alone(tmp_path):
    folder = run_small(tmp_path / "run", "task=copy_memory", "task.delay=4", "task.num_symbols=2")
    events, part = read(folder.tensorboard), "hidden_grad_norm/h/layer_0/answer"
    rows = [row["values"] for row in records(folder.curves) if row["tag"] == part and row["step"] == 0]
    ratios = [math.log10(row[0] / row[-1]) for row in rows]
    assert scalars(events, "at_a_glance/log10_gradient_at_information")[0] == pytest.approx(np.median(ratios), rel=1e-6)
    by_lag = scalars(events, "gradient_by_lag/lag_0007")[0]
    assert by_lag == pytest.approx(math.log10(np.median([row[0] for row in rows])), rel=1e-6)
    assert f"{part}/heatmap" in events.Tags()["images"]
    assert len(tags_of(folder.tensorboard)) <= 60


@pytest.mark.parametrize(
    ("task", "defined"), [("associative_recall", {"credit"}), ("text", {"horizon", "log10_gradient_at_information"})]
)
def test_what_a_task_leaves_undefined_is_absent(tmp_path, task, defined):
    events = read(run_small(tmp_path / "run", f"task={task}", "task.seq_len=16", "train.num_steps=2").tensorboard)
    shown = {tag: scalars(events, tag) for kind in ("scalars", "tensors") for tag in events.Tags()[kind]}
    assert not any(math.isnan(value) for figures in shown.values() for value in figures.values())
    names = ("credit", "horizon", "log10_gradient_at_information")
    assert {name for name in names if any(name in tag for tag in shown)} == defined


def test_every_run_has_all_kinds_of_tags(trained):
    assert set(EventAccumulator(str(trained.tensorboard)).Reload().Tags()) >= set(SUMMARY_KINDS)
    assert 40 < len(tags_of(trained.tensorboard)) <= 60


@pytest.mark.parametrize("resumed", [False, True])
def test_a_lost_replica_has_no_part_in_later_figures(tmp_path, resumed):
    """An earlier loss and an earlier curve of replica 0 are not taken for its last, also after a resumption."""
    tag = "hidden_grad_norm/h/layer_0/total"
    board = TensorBoard(tmp_path, RunFacts(informative_steps=(0,)))

    def write(
        step: int, losses: list[float], lost: bool, running: tuple[bool, bool], *, scheduled: bool = True
    ) -> None:
        figures = {"eval/loss": torch.tensor(losses), "train/diverged": torch.tensor([float(lost), 0.0])}
        entries = {
            name: entry(Scalar(values=each.double()), *running, scheduled=scheduled) for name, each in figures.items()
        }
        curve = Curve(values=torch.tensor([[loss, 1.0] for loss in losses]).double())
        board.write(step, entries | ({tag: entry(curve, *running)} if scheduled else {}))

    write(0, [9.0, 1.0], False, (True, True))
    write(3, [9.0, 1.0], True, (True, False), scheduled=False)
    if resumed:
        board.close()
        board = TensorBoard(tmp_path, RunFacts(informative_steps=(0,)), purge_step=5)
        rows = [(0, 0, 9.0, 0.0), (0, 1, 1.0, 0.0), (3, 0, 9.0, 1.0)]
        metrics = [{"step": s, "replica": r, "eval/loss": x, "train/diverged": lost} for s, r, x, lost in rows]
        curves = [{"step": 0, "replica": r, "tag": tag, "values": [x, 1.0]} for r, x in ((0, 9.0), (1, 1.0))]
        board.restore(metrics, curves)
    write(5, [9.0, 100.0], False, (False, True))
    board.close()
    events = read(tmp_path)
    assert scalars(events, "at_a_glance/loss") == {0: 5, 5: 100}
    assert scalars(events, "at_a_glance/log10_gradient_at_information")[5] == 2
    assert board._rows[tag][-1][1].tolist() == [100, 1]
