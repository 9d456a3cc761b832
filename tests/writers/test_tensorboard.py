"""The event files are read back with TensorBoard's own reader."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tools.members import run_small

from rnnstudy.writers.base import Curve, Entry, Histogram, Scalar
from rnnstudy.writers.run_log import RunLog
from rnnstudy.writers.tensorboard import TensorBoard

TOTAL = "hidden_grad_norm/h/layer_0/total"


def read(folder) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder), size_guidance=dict.fromkeys(("images", "histograms", "scalars"), 0))
    return accumulator.Reload()


def entry(measured, *replicas: bool, scheduled: bool = True) -> Entry:
    return Entry(measured=measured, replicas=torch.tensor(replicas), scheduled=scheduled)


def test_a_run_shows_histograms_heatmaps_scalars_and_its_configuration(tmp_path):
    folder = run_small(tmp_path / "run", "mitigation=[clip_norm]", "train.num_steps=210", "train.eval_interval=100")
    events = read(folder.tensorboard)
    tags = events.Tags()
    assert "hidden_grad_histogram/h/layer_0/all_steps" in tags["histograms"]
    assert "hidden_grad_histogram/c/layer_0/lag_0022" in tags["histograms"]
    assert f"{TOTAL}/heatmap" in tags["images"]
    assert {"eval/accuracy", "grad_norm/raw", "grad_norm/clipped", "clip_norm/active"} <= set(tags["scalars"])
    (text,) = events.Tensors("config/text_summary")
    assert b"clip_norm" in text.tensor_proto.string_val[0]
    assert [event.step for event in events.Scalars("grad_norm/raw")] == [0, 100, 200, 210]

    histogram = events.Histograms("hidden_grad_histogram/h/layer_0/all_steps")[-1].histogram_value
    assert histogram.num > 0
    log = RunLog(folder)
    zeros = {
        (record["step"], record["replica"]): record["hidden_grad_histogram/h/layer_0/zero_count"]
        for record in log.metrics()
        if "hidden_grad_histogram/h/layer_0/zero_count" in record
    }
    log.close()
    entries = 23 * 3 * 4 * 6
    assert histogram.num == entries - sum(count for (step, _), count in zeros.items() if step == 210)
    assert all(-46 <= limit <= 40 for limit in histogram.bucket_limit)

    images = events.Images(f"{TOTAL}/heatmap")
    assert [image.step for image in images] == [0, 100, 210]
    pixels = np.asarray(Image.open(io.BytesIO(images[-1].encoded_image_string)))
    assert pixels.std() > 10


def test_a_scalar_is_the_median_and_a_stopped_replica_keeps_its_last_figure(tmp_path):
    board = TensorBoard(tmp_path)
    for step, values, running in ((0, [1.0, 2.0, 9.0], (True, True, True)), (1, [5.0, 0.0, 9.0], (True, False, True))):
        board.write(step, {"loss": entry(Scalar(values=torch.tensor(values)), *running)})
    board.write(2, {"loss": entry(Scalar(values=torch.tensor([0.0, 0.0, 7.0])), False, False, True, scheduled=False)})
    board.close()
    assert [event.value for event in read(tmp_path).Scalars("loss")] == [2.0, 5.0]


def test_resuming_leaves_no_doubled_steps(tmp_path):
    first = TensorBoard(tmp_path)
    for step in range(6):
        first.write(step, {"loss": entry(Scalar(values=torch.tensor([float(step)])), True)})
    first.close()
    second = TensorBoard(tmp_path, purge_step=4)
    second.restore([{"step": 3, "replica": 0, "loss": 3.0}], [])
    for step in range(4, 8):
        second.write(step, {"loss": entry(Scalar(values=torch.tensor([10.0 + step])), True)})
    second.close()
    events = read(tmp_path).Scalars("loss")
    assert [(event.step, event.value) for event in events] == [(step, step + 10 * (step > 3)) for step in range(8)]


def test_the_heatmap_of_a_resumed_run_is_that_of_an_undisturbed_one(tmp_path):
    generator = torch.Generator().manual_seed(0)
    curves = [torch.rand(2, 7, generator=generator, dtype=torch.float64) for _ in range(5)]
    whole, half = TensorBoard(tmp_path / "whole"), TensorBoard(tmp_path / "half")
    half.restore(
        [],
        [
            {"step": step, "replica": replica, "tag": TOTAL, "values": curves[step][replica].tolist()}
            for step in range(3)
            for replica in range(2)
        ],
    )
    for step in range(5):
        whole.write(step, {TOTAL: entry(Curve(values=curves[step]), True, True)})
        if step >= 3:
            half.write(step, {TOTAL: entry(Curve(values=curves[step]), True, True)})
    whole.close()
    half.close()
    images = [read(tmp_path / name).Images(f"{TOTAL}/heatmap")[-1] for name in ("whole", "half")]
    assert images[0].step == images[1].step == 4
    assert images[0].encoded_image_string == images[1].encoded_image_string


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf, 1e-300])
def test_gradients_without_a_logarithm_crash_nothing(tmp_path, value):
    board = TensorBoard(tmp_path)
    none = torch.zeros(1, 5, dtype=torch.long)
    board.write(
        0,
        {
            TOTAL: entry(Curve(values=torch.full((1, 4), value, dtype=torch.float64)), True),
            "bins": entry(Histogram(counts=none, low=0.0, width=1.0), True),
        },
    )
    board.close()
    assert f"{TOTAL}/heatmap" in read(tmp_path).Tags()["images"]
    assert "bins" not in read(tmp_path).Tags()["histograms"]
