import json
import math

import pandas as pd
import pytest
import torch

from rnnstudy.runs.folder import RunFolder
from rnnstudy.writers.base import Curve, Entry, Histogram, HistogramOverTime, Scalar
from rnnstudy.writers.run_log import JsonLines, RunLog, shorten


def flags(*values: bool) -> torch.Tensor:
    return torch.tensor(values)


def write_steps(log: RunLog, *steps: int) -> None:
    for step in steps:
        everyone, second = flags(True, True), flags(False, True)
        counts = torch.tensor([[0, 1, 2], [10, 0, 0]])
        log.write(
            step,
            {
                "loss": Entry(measured=Scalar(values=torch.tensor([step / 3, math.nan])), replicas=everyone),
                "late": Entry(measured=Scalar(values=torch.tensor([1.0, math.inf])), replicas=second),
                "norm": Entry(measured=Curve(values=torch.tensor([[1e-30, 2.0], [3.0, 4.0]])), replicas=everyone),
                "bins": Entry(measured=Histogram(counts=counts, low=-2.0, width=0.5), replicas=everyone),
            },
        )


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path)


def test_one_line_of_pandas_reads_it(folder):
    log = RunLog(folder)
    write_steps(log, 0, 10)
    log.close()
    frame = pd.read_json(folder.metrics, lines=True)
    assert frame[["step", "replica"]].to_numpy().tolist() == [[0, 0], [0, 1], [10, 0], [10, 1]]
    loss, late = frame["loss"].to_numpy(), frame["late"].to_numpy()
    assert loss[2] == pytest.approx(10 / 3, rel=1e-7)
    assert math.isnan(loss[1])
    assert math.isinf(late[1])
    curves = pd.read_json(folder.curves, lines=True)["values"].to_list()
    assert curves[0] == [pytest.approx(1e-30, rel=1e-6), 2.0]
    histograms = pd.read_json(folder.histograms, lines=True)["counts"].to_list()
    assert histograms[0] == [10, 1, 2]


def test_a_replica_that_does_not_count_has_no_row(folder):
    log = RunLog(folder)
    entry = Entry(measured=Scalar(values=torch.tensor([1.0, 2.0])), replicas=flags(True, False))
    log.write(0, {"loss": entry})
    assert list(log.metrics()) == [{"step": 0, "replica": 0, "loss": 1.0}]
    log.close()


def test_histograms_over_time_are_kept_without_the_bins_that_are_empty_throughout(folder):
    counts = torch.zeros(2, 3, 9, dtype=torch.long)
    counts[0, 0, 3], counts[1, 0, 3], counts[0, 2, 5] = 4, 1, 7
    measured = HistogramOverTime(counts=counts, time_steps=[0, 10, 20], low=-5.0, width=0.5)
    log = RunLog(folder)
    log.write(300, {"gradient": Entry(measured=measured, replicas=flags(True, True))})
    log.write(400, {"gradient": Entry(measured=measured, replicas=flags(False, True))})
    first, second = log.histograms()
    log.close()
    told = {"tag": "gradient", "width": 0.5, "time_steps": [0, 10, 20], "low": -3.5}
    assert first == {"step": 300, "counts": [[5, 0, 0], [0, 0, 0], [0, 0, 7]], **told}
    assert second == {"step": 400, "counts": [[1], [0], [0]], **told}


def test_the_last_curve_of_a_replica_that_stops_is_marked(folder):
    log = RunLog(folder)
    curve = Curve(values=torch.ones(2, 2))
    log.write(0, {"norm": Entry(measured=curve, replicas=flags(True, True))})
    log.write(7, {"norm": Entry(measured=curve, replicas=flags(False, True), scheduled=False)})
    assert [record.get("scheduled", True) for record in log.curves()] == [True, True, False]
    log.close()


def test_resuming_drops_what_came_after_the_checkpoint(folder):
    log = RunLog(folder)
    write_steps(log, 0, 10)
    lengths = log.sync()
    files = (folder.metrics, folder.curves, folder.histograms)
    before = [path.read_bytes() for path in files]
    write_steps(log, 20)
    log.close()
    with folder.metrics.open("ab") as file:
        file.write(b'{"step":30,"rep')
    log = RunLog(folder)
    log.resume(lengths)
    assert [path.read_bytes() for path in files] == before
    write_steps(log, 20)
    assert [record["step"] for record in log.metrics()] == [0, 0, 10, 10, 20, 20]
    log.close()


def test_records_reach_the_file_at_once(tmp_path):
    lines = JsonLines(tmp_path / "log")
    lines.append([{"a": 1}, {"a": 2}])
    assert [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()] == [{"a": 1}, {"a": 2}]
    lines.close()


def test_figures_keep_every_float32_apart():
    value = torch.tensor(0.1)
    above = torch.nextafter(value, torch.tensor(1.0))
    assert shorten(float(value)) != shorten(float(above))
    assert torch.tensor(shorten(float(value))) == value
    assert math.isnan(shorten(math.nan))
