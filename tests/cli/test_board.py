"""A real TensorBoard, started as `rnnstudy board` starts it, asked over HTTP."""

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from rich.console import Console
from tools.members import run_small

from rnnstudy.cli.board import board
from rnnstudy.core.errors import RnnstudyError


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    run_small(folder / "lstm", "mitigation=[clip_norm]")
    port = free_port()
    # What a shell puts into the background is deaf to Ctrl-C, and children inherit that.
    previous = signal.signal(signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(
        [sys.executable, "-m", "rnnstudy", "board", str(folder), "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    signal.signal(signal.SIGINT, previous)
    try:
        yield f"http://localhost:{port}"
        process.send_signal(signal.SIGINT)
        process.wait(20)
    finally:
        process.kill()
        process.wait()


def ask(address: str) -> bytes:
    for _ in range(300):
        try:
            with urllib.request.urlopen(address) as answer:
                return answer.read()
        except urllib.error.URLError:
            time.sleep(0.1)
    raise AssertionError(f"no answer from {address}")


def ask_until_loaded(address: str, part: str) -> dict:
    """TensorBoard loads the logs after it has begun to answer."""
    for _ in range(300):
        answer = json.loads(ask(address))
        if part in json.dumps(answer):
            return answer
        time.sleep(0.1)
    raise AssertionError(f"{part} is not in what {address} gives")


@pytest.mark.slow
def test_every_plugin_used_has_its_data(server):
    run = "lstm"
    scalars = ask_until_loaded(f"{server}/data/plugin/scalars/tags", "eval/accuracy")
    assert run in scalars
    values = json.loads(ask(f"{server}/data/plugin/scalars/scalars?run={run}&tag=eval/accuracy"))
    assert [entry[1] for entry in values] == [0, 4, 8, 12]
    histograms = ask_until_loaded(f"{server}/data/plugin/histograms/tags", "all_steps")
    tag = "hidden_grad_histogram/h/layer_0/all_steps"
    assert tag in histograms[run]
    values = json.loads(ask(f"{server}/data/plugin/histograms/histograms?run={run}&tag={tag}"))
    assert [entry[1] for entry in values] == [0, 12]
    images = ask_until_loaded(f"{server}/data/plugin/images/tags", "heatmap")
    assert "hidden_grad_norm/c/layer_0/total/heatmap" in images[run]
    assert "config" in json.dumps(ask_until_loaded(f"{server}/data/plugin/text/tags", "config"))


def test_nothing_to_show(tmp_path):
    with pytest.raises(RnnstudyError, match="There is no folder"):
        board(tmp_path / "nowhere", None, Console(quiet=True))
    with pytest.raises(RnnstudyError, match="holds no TensorBoard logs"):
        board(tmp_path, None, Console(quiet=True))
