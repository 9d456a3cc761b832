"""TensorBoard as `rnnstudy board` starts it: what it tells, how it ends, and what its HTTP routes answer."""

import json
import re
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.parse
from pathlib import Path

import pytest
from rich.console import Console
from tools.boards import Board, started, tensorboard
from tools.event_folders import EVENTS, add_run
from tools.members import run_small
from tools.waiting import PATIENCE, until

from rnnstudy.cli.board.links import BoardView
from rnnstudy.cli.board.pages import first_page, through_time_page
from rnnstudy.cli.board.serve import Place, board
from rnnstudy.core.errors import RnnstudyError
from rnnstudy.writers.overview import RunFacts, overview_figures

QUIET = Console(quiet=True)


def view_of(folder: Path, twin: Path) -> BoardView:
    twin.mkdir()
    return BoardView(folder, twin, 500)


def test_nothing_to_show(tmp_path):
    with pytest.raises(RnnstudyError, match="There is no folder"):
        board(tmp_path / "nowhere", Place(), QUIET)
    with pytest.raises(RnnstudyError, match="holds no TensorBoard logs"):
        board(tmp_path, Place(), QUIET)


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_cannot_be(tmp_path, port):
    with pytest.raises(RnnstudyError, match=f"--port must be between 0 and 65535, got {port}"):
        board(tmp_path, Place(port=port), QUIET)


def settings(address: str) -> tuple[str, dict[str, str], dict[str, str]]:
    """The page that an address opens, what it says to the Time Series page, and what to the others."""
    parts = urllib.parse.urlsplit(address)
    page, _, others = parts.fragment.partition("&")
    return page, dict(urllib.parse.parse_qsl(parts.query)), dict(urllib.parse.parse_qsl(others))


def matching(pattern: str, view: BoardView) -> list[str]:
    return [name for name in (*view.runs, *view.sub_runs) if re.search(pattern, name)]


def test_the_first_page_leaves_sub_runs_out_and_so_do_the_others(tmp_path):
    for run in (tmp_path / "study" / "lstm lag=4", tmp_path / "study" / "deep" / "lstm lag=4"):
        add_run(run, sub_runs=(300,))
    view = view_of(tmp_path / "study", tmp_path / "twin")
    page, time_series, others = settings(first_page(view))
    assert page == "timeseries"
    assert [time_series["smoothing"], others["_smoothingWeight"]] == ["0", "0"]
    assert matching(time_series["runFilter"], view) == matching(others["regexInput"], view) == view.runs
    page, _, others = settings(through_time_page(view))
    assert page == "histograms"
    assert matching(others["regexInput"], view) == view.sub_runs


def test_the_charts_at_the_top_are_ones_that_runs_have(tmp_path):
    add_run(tmp_path / "study" / "lstm")
    _, time_series, _ = settings(first_page(view_of(tmp_path / "study", tmp_path / "twin")))
    pinned = {pin["tag"] for pin in json.loads(time_series["pinnedCards"])}
    assert {"at_a_glance/loss"} < pinned <= {figure.tag for figure in overview_figures(RunFacts())}


def late_sub_runs(folder: Path, steps: list[int]) -> tuple[list[str], BoardView]:
    """Those that the second address shows of runs that ended at these steps, and were worst at step 400."""
    for last in steps:
        run = add_run(folder / "study" / f"lstm+clip_norm p=0.{last}", sub_runs=(0, 300, last))
        add_run(run / "at_step_000400_worst").joinpath("run.json").unlink()
    view = view_of(folder / "study", folder / "twin")
    _, _, others = settings(through_time_page(view))
    return matching(others["regexInput"], view), view


def test_few_sub_runs_are_shown_all(tmp_path):
    found, view = late_sub_runs(tmp_path, [400, 1000, 2000])
    assert found == view.sub_runs


@pytest.mark.parametrize("shown", [20, 21])
def test_of_many_sub_runs_the_last_of_every_run_is_shown_and_the_worst_if_all_can_be_ticked(tmp_path, shown):
    ends = [400 + 100 * number for number in range(shown)]
    found, _ = late_sub_runs(tmp_path, ends)
    names = ["at_step_{end:06d}", *(["at_step_000400_worst"] if shown == 20 else [])]
    assert sorted(found) == sorted(f"lstm+clip_norm p=0.{end}/{name.format(end=end)}" for end in ends for name in names)


def test_runs_that_end_at_the_same_step_are_found_by_it(tmp_path):
    for seed in range(15):
        add_run(tmp_path / "study" / f"lstm seed={seed}", sub_runs=(0, 300, 2000))
    _, _, others = settings(through_time_page(view_of(tmp_path / "study", tmp_path / "twin")))
    assert others["regexInput"] == "/at_step_002000$"


def test_runs_beyond_the_palette_share_their_methods_colour(tmp_path):
    for model in ("rnn", "lstm+clip_norm"):
        for lag in range(4):
            add_run(tmp_path / "study" / f"{model} lag={lag}")
    view = view_of(tmp_path / "study", tmp_path / "twin")
    _, time_series, _ = settings(first_page(view))
    kind, _, pattern = time_series["runColorGroup"].partition(":")
    assert kind == "regex"
    matches = [re.search(pattern, name) for name in view.runs]
    assert [match and match.groups() for match in matches] == [("lstm+clip_norm",)] * 4 + [("rnn",)] * 4


def main_runs(running: Board) -> list[str]:
    return sorted(name for name in running.get("data/runs") if "/at_step_" not in name)


def boards_in_temporary_folder() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("rnnstudy-board-*"))


def children(process: subprocess.Popen[str]) -> list[int]:
    return [int(number) for number in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def is_running(number: int) -> bool:
    stat = Path(f"/proc/{number}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_leaves_nothing_behind(tmp_path, how):
    run_small(tmp_path / "a run")
    before = boards_in_temporary_folder()
    with started(tmp_path) as running:
        links = boards_in_temporary_folder() - before
        servers = children(running.process) if sys.platform == "linux" else []
        running.process.send_signal(how)
        assert running.process.wait(PATIENCE) == 0
    assert len(links) == 1
    assert not links & boards_in_temporary_folder()
    until(lambda: not any(map(is_running, servers)))
    assert "Traceback" not in "".join(running.rest())


@pytest.mark.slow
def test_it_listens_on_the_loopback_interface_only(tmp_path):
    run_small(tmp_path / "a run")
    with started(tmp_path) as running:
        port = urllib.parse.urlsplit(running.address).port
        with socket.create_connection(("127.0.0.1", port)):
            pass
        # Every 127.x.y.z reaches what listens everywhere, and only that.
        with pytest.raises((ConnectionRefusedError, TimeoutError)):
            socket.create_connection(("127.0.0.2", port), timeout=5)


@pytest.mark.slow
def test_without_a_port_it_takes_the_first_free_one_from_6006(tmp_path):
    run_small(tmp_path / "a run")
    with started(tmp_path, port=None) as one, started(tmp_path, port=None) as other:
        ports = [urllib.parse.urlsplit(each.address).port or 0 for each in (one, other)]
        assert 6006 <= ports[0] < ports[1]
        assert [main_runs(each) for each in (one, other)] == [["a run"]] * 2


@pytest.mark.slow
def test_a_port_that_is_taken(tmp_path):
    # An empty file of events: the data server would warn of one that it cannot read.
    (add_run(tmp_path / "run") / EVENTS).write_bytes(b"")
    with socket.create_server(("localhost", 0)) as other:
        port = str(other.getsockname()[1])
        command = [sys.executable, "-m", "rnnstudy", "board", str(tmp_path), "--port", port]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    reason = f"TensorBoard could not bind to port {port}, it was already in use; choose another port with --port."
    assert ended.stderr == f"rnnstudy: {reason}\n"


@pytest.mark.slow
def test_a_run_that_begins_later_is_shown_too(tmp_path):
    run_small(tmp_path / "early")
    with started(tmp_path) as running:
        assert main_runs(running) == ["early"]
        run_small(tmp_path / "late")
        running.get_when("data/runs", "late")
        assert main_runs(running) == ["early", "late"]


@pytest.mark.slow
@pytest.mark.parametrize("load_fast", ["true", "false"])
def test_both_readers_of_tensorboard_follow_the_links_as_files_grow(tmp_path, load_fast):
    folder = run_small(tmp_path / "my runs" / "rnn_lag=4_1a2b3c4d", "model=rnn")
    events = next(folder.path.glob("*tfevents*"))
    content = events.read_bytes()
    # In the middle of a record.
    cut = content.rindex(b"at_a_glance/loss") + 5
    events.write_bytes(content[:cut])
    view_of(tmp_path / "my runs", tmp_path / "twin")
    with tensorboard(tmp_path / "twin", "--reload_interval", "1", "--load_fast", load_fast) as running:
        running.get_when("data/runs", "rnn")
        scalar = {"run": main_runs(running)[0], "tag": "at_a_glance/loss"}
        assert running.get_when("data/plugin/scalars/scalars", "[", **scalar)[-1][1] < 12
        with events.open("ab") as file:
            file.write(content[cut:])
        running.get_when("data/plugin/scalars/scalars", ", 12, ", **scalar)
