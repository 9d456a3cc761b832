"""What is shown of runs while they go on: the table in a terminal, the lines elsewhere."""

import inspect
import io
import json
import math
import os
import pty
import re
import signal
import subprocess
import sys
import threading

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from tools.members import SMALL
from tools.waiting import PATIENCE
from typing_extensions import override

from rnnstudy.core.errors import ConfigError, Interrupted, RnnstudyError
from rnnstudy.study.screen.progress import RunProgress, Screen
from rnnstudy.study.screen.run_state import RunState, Stage, sweep_seconds_left
from rnnstudy.study.screen.table import draw, duration, line, select, totals
from rnnstudy.study.sweep.train import train
from rnnstudy.training.loop import Progress
from rnnstudy.training.replicas import ReplicaStates, Status
from rnnstudy.writers.base import Entry, Scalar

TINY = (*SMALL, "train.num_steps=8", "task=adding", "task.seq_len=7", "instrument=[horizon]", "replicas=2")


class Terminal(io.StringIO):
    """A file that says it is a terminal."""

    @override
    def isatty(self) -> bool:
        return True


class Clock:
    """Seconds as the test sets them."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def in_terminal(width: int = 100, height: int = 30) -> Console:
    return Console(file=Terminal(), width=width, height=height, force_terminal=True, color_system=None)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def screen_of(raw: str) -> list[str]:
    """The lines that a terminal shows after all of `raw`, those that have scrolled away included."""
    lines, row, column = [""], 0, 0
    for code, char in re.findall(r"(\x1b\[[0-9;?]*[A-Za-z])|([^\x1b])", raw):
        if code.endswith("A"):
            row -= int(code[2:-1] or 1)
        elif code == "\x1b[2K":
            lines[row] = ""
        elif char == "\r":
            column = 0
        elif char == "\n":
            row, column = row + 1, 0
            lines += [""] * (row == len(lines))
        elif char:
            lines[row] = lines[row][:column].ljust(column) + char + lines[row][column + 1 :]
            column += 1
        else:
            assert code.endswith("m") or code in {"\x1b[?25h", "\x1b[?25l"}, code
    return [text.rstrip() for text in lines]


def table_in(raw: str) -> dict[str, list[str]]:
    """The rows of the last table, by the number of the run: the words after its name."""
    rows = [re.fullmatch(r"\[(\d+)/\d+\] (\S+) +(.*)", text) for text in screen_of(raw)]
    return {row[1]: re.split(" {2,}", row[3]) for row in rows if row and ": " not in row[0]}


def printed(states: list[RunState], now: float, width: int, height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    console.print(draw(states, now, width=width, height=height))
    return written(console).splitlines()


def a_run(stage: Stage = Stage.WAITING, **fields) -> RunState:
    return RunState(**{"name": "lstm", "num_steps": 1000, "replicas": 8, "stage": stage, **fields})


def entry(values: list[float], replicas: list[bool]) -> Entry:
    return Entry(measured=Scalar(values=torch.tensor(values)), replicas=torch.tensor(replicas))


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0:00"), (59.4, "0:59"), (59.6, "1:00"), (3599, "59:59"), (3862, "1:04:22"), (183862, "2 d 3:04:22")],
)
def test_durations_read_like_clocks(seconds, shown):
    assert duration(seconds) == shown


def test_a_run_is_taken_to_go_on_at_its_speed_since_its_first_step_here():
    """Resumed at step 400, it did 100 steps in 50 s; what came before its first step here does not count."""
    state = a_run(Stage.RUNNING, started=0.0, counted_from=(400, 80.0), step=400)
    assert state.seconds_left(90.0) is None
    state.step = 500
    assert state.seconds_left(130.0) == pytest.approx(500 * 0.5)
    assert state.seconds_taken(130.0) == 130.0


def test_runs_that_wait_are_taken_to_last_as_long_as_the_mean_of_whole_runs():
    done = [a_run(Stage.DONE, started=0.0, ended=10.0), a_run(Stage.DONE, started=10.0, ended=40.0)]
    partly = [
        a_run(Stage.DONE, started=0.0, ended=1.0, resumed=True),
        a_run(Stage.DONE),
        a_run(Stage.FAILED, started=1.0),
    ]
    going = a_run(Stage.RUNNING, started=40.0, counted_from=(0, 40.0), step=250)
    waiting = [a_run(), a_run(), a_run()]
    assert sweep_seconds_left([*partly, *waiting], 50.0) is None
    assert sweep_seconds_left([*partly, going], 50.0) == pytest.approx(30.0)
    assert sweep_seconds_left([*done, *partly, going, *waiting], 50.0) == pytest.approx(30.0 + 3 * 20.0)
    said = totals([*done, *partly, going, *waiting], 50.0)
    assert said == "4 of 9 runs done, 1 failed; time left about 1:30; 0:50 so far"
    going.step = 0
    assert sweep_seconds_left([*partly, going], 50.0) is None
    assert sweep_seconds_left([*done, *partly, going, *waiting], 50.0) == pytest.approx(20.0 + 3 * 20.0)


@given(st.lists(st.sampled_from(list(Stage)), min_size=1, max_size=60), st.integers(3, 40))
def test_where_not_all_runs_have_room_those_with_most_to_tell_are_shown(stages, most):
    states = [
        a_run(stage, name=str(place), ended=None if stage in {"waiting", "running"} else float(place))
        for place, stage in enumerate(stages)
    ]
    before, shown, after = select(states, most)
    assert len(shown) + (before > 0) + (after > 0) <= most
    assert before + len(shown) + after == len(states)
    assert [int(state.name) for state in shown] == sorted(int(state.name) for state in shown)
    if before + after == 0:
        return
    assert len(shown) == most - 2
    running = [state for state in states if state.stage is Stage.RUNNING]
    hidden = [state for state in states if state not in shown]
    assert all(state in shown for state in running[: most - 2])
    waiting = [state for state in shown if state.stage is Stage.WAITING]
    assert waiting == [state for state in states if state.stage is Stage.WAITING][: len(waiting)]
    last_shown = [state for state in shown if state.stage is Stage.DONE]
    hidden_ends = [int(state.name) for state in hidden if state.stage is Stage.DONE]
    assert all(int(state.name) > end for state in last_shown for end in hidden_ends)


@pytest.mark.parametrize(("width", "height"), [(160, 50), (100, 24), (80, 24), (60, 12), (40, 8), (30, 50)])
@pytest.mark.parametrize("count", [1, 12, 300])
def test_the_table_never_outgrows_the_terminal(width, height, count):
    states = [
        a_run(name=f"[{place}/{count}] gru + clip_norm, lag={place}", num_steps=100_000) for place in range(count)
    ]
    for place, state in enumerate(states[: count // 2]):
        state.stage, state.started, state.ended = Stage.DONE, 10.0 * place, 10.0 * place + 9
        state.loss, state.solved, state.diverged, state.horizon, state.seq_len = 1.23e-5, 3, 1, 12.5, 200
    states[count // 2].stage = Stage.RUNNING
    lines = printed(states, 1e4, width, height)
    assert len(lines) < height
    assert max(map(cell_len, lines)) <= width
    assert any(text.startswith(f"[{count // 2}/") for text in lines)
    assert f"{count // 2} of {count} run" in lines[-1]


def test_a_narrow_terminal_keeps_the_gradient_horizon_longest():
    state = a_run(Stage.RUNNING, name="[1/12] lstm + clip_norm, lag=20", horizon=45.0, seq_len=100, loss=0.5, solved=1)
    heads = {width: printed([state], 0.0, width, 24)[0].split() for width in (120, 60, 55, 48, 40)}
    assert heads[120] == heads[60] == ["run", "step", "loss", "solved", "horizon", "time", "left"]
    assert heads[55] == ["run", "step", "solved", "horizon", "time", "left"]
    assert heads[48] == ["run", "step", "horizon", "time", "left"]
    assert heads[40] == ["run", "step", "time", "left"]


def test_elsewhere_than_in_a_terminal_there_is_a_line_every_ten_seconds():
    clock, console = Clock(), Console(file=io.StringIO(), width=40)
    states = ReplicaStates.fresh(4)
    with (
        Screen(console, [a_run(replicas=4, judged=True, seq_len=60)], clock=clock) as screen,
        screen.follow(a_run()) as run,
    ):
        run.start()
        run.write(0, {"horizon/h/layer_0/lag": entry([30.0, 40.0, math.nan, 50.0], [True] * 4)})
        for step in range(1, 251):
            clock.now = 100 + step / 10
            if step == 150:
                states.steps_to_solve[1], states.status[0] = 150, Status.DIVERGED
            run.update(Progress(step=step, loss=0.5 / step, states=states))
    # From 0.1 s after the start on, 10 steps a second; 900 steps are left at 10 s, 800 at 20 s.
    assert written(console).splitlines() == [
        "lstm  step 100/1000  loss 0.005  solved 0/4  horizon 40/60  time left <= 1:30",
        "lstm  step 200/1000  loss 0.0025  solved 1/4  horizon 40/60  diverged 1  time left <= 1:20",
    ]


def test_what_is_not_known_is_left_out_of_a_line():
    assert line(a_run(Stage.RUNNING, step=5), 0.0) == "lstm  step 5/1000"


@pytest.mark.parametrize(
    "console",
    [
        Console(file=io.StringIO(), force_terminal=True),
        Console(file=Terminal(), force_terminal=True, _environ={"TERM": "dumb"}),
        Console(file=io.StringIO()),
    ],
    ids=["a pipe where colours are forced", "a dumb terminal", "a pipe"],
)
def test_where_no_table_can_be_there_are_no_control_codes(console):
    clock = Clock()
    with Screen(console, [a_run(), a_run(name="gru")], clock=clock) as screen:
        for name in ("lstm", "gru"):
            with screen.follow(a_run(name=name)) as run:
                run.start()
                clock.now += 20
                run.update(Progress(step=1, loss=0.5, states=ReplicaStates.fresh(8)))
                run.say("done")
    assert written(console).splitlines() == [
        "lstm  step 1/1000  loss 0.5",
        "lstm: done",
        "gru  step 1/1000  loss 0.5",
        "gru: done",
    ]


@pytest.mark.slow
def test_a_sweep_in_a_pipe_has_no_control_codes(tmp_path):
    console = Console(file=io.StringIO(), force_terminal=True)
    train(["-m", *TINY, "model=rnn", "optimizer.lr=0.001,0.01", f"output_dir='{tmp_path}'"], console)
    assert "[2/2] rnn, lr=0.01: solved 0 of 2 replicas" in written(console)
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", written(console))


def test_the_horizon_is_the_last_of_every_replica_in_the_top_layer():
    screen = Screen(Console(quiet=True))
    with screen.follow(a_run()) as run:
        every = [True, True, True]
        lower, upper = "horizon/h/layer_2/lag", "horizon/h/layer_10/lag"
        run.write(0, {lower: entry([1.0, 1.0, 1.0], every), upper: entry([5.0, 7.0, 90.0], every)})
        assert run.state.horizon == 7
        run.write(1, {"train/loss": entry([0.0, 0.0, 0.0], every)})
        run.write(2, {upper: entry([30.0, math.nan, 0.0], [True, False, False])})
        assert run.state.horizon == 30
        run.write(3, {upper: entry([math.nan, math.nan, math.nan], every)})
        assert run.state.horizon is None


def test_a_step_that_draws_nothing_takes_no_time():
    """At most a look at the clock; without the checks of shapes that tests put around every function."""
    update = inspect.unwrap(RunProgress.update)
    progress = Progress(step=1, loss=0.5, states=ReplicaStates.fresh(8))
    calls: list[str] = []
    with Screen(in_terminal(), clock=Clock()) as screen, screen.follow(a_run()) as run:
        run.start()
        update(run, progress)
        sys.setprofile(lambda frame, event, called: calls.append(frame.f_code.co_name) if event == "call" else None)
        update(run, progress)
        sys.setprofile(None)
    assert len(calls) < 10, calls


def test_runs_of_one_name_have_a_row_each():
    screen = Screen(Console(quiet=True), [a_run(), a_run()])
    for number in (1, 2, 3):
        with screen.follow(a_run()):
            assert [state.stage for state in screen.states].count(Stage.RUNNING) == 1
        assert [state.stage for state in screen.states].count(Stage.DONE) == number


def test_a_table_is_drawn_twice_a_second():
    clock, console = Clock(), in_terminal()
    with Screen(console, [a_run()], clock=clock) as screen, screen.follow(a_run()) as run:
        run.start()
        drawn = []
        for step in range(1, 101):
            clock.now = 100 + step / 10
            before = len(written(console))
            run.update(Progress(step=step, loss=0.5, states=ReplicaStates.fresh(8)))
            if len(written(console)) > before:
                drawn.append(step)
    assert drawn == list(range(1, 101, 5))


def perform(screen: Screen, name: str, error: BaseException | None = None) -> None:
    with screen.follow(a_run(name=name)) as run:
        run.start()
        for step in range(1, 8):
            run.update(Progress(step=step, loss=0.25, states=ReplicaStates.fresh(8)))
        if error is not None:
            raise error
        run.state.read({"steps": 7, "steps_to_solve": [None, 5], "status": ["diverged", "solved"], "final": {}})


def test_replicas_that_exploded_and_never_recovered_count_as_diverged():
    state = a_run()
    digest = {"dead_from": [None, 40, 40, None]}
    statuses = ["diverged", "finished", "solved", "finished"]
    state.read({"steps": 7, "steps_to_solve": [None] * 4, "status": statuses, "final": {}, "digest": digest})
    assert state.diverged == 2


def test_failed_and_stopped_runs_are_marked_and_the_rest_was_not_started():
    console = in_terminal()
    names = [f"[{number}/4] rnn" for number in (1, 2, 3, 4)]
    with Screen(console, [a_run(name=name) for name in names], clock=Clock()) as screen:
        perform(screen, names[0])
        with pytest.raises(RnnstudyError):
            perform(screen, names[1], error=RnnstudyError("the log is damaged."))
        with pytest.raises(Interrupted):
            perform(screen, names[2], error=Interrupted("stopped after 7 steps"))
    assert "[2/4] rnn: failed: the log is damaged." in screen_of(written(console))
    assert table_in(written(console)) == {
        "1": ["7/1000", "─" * 12, "-", "-", "1", "-", "took 0:00"],
        "2": ["7/1000", "─" * 12, "0.25", "-", "-", "-", "failed"],
        "3": ["7/1000", "─" * 12, "0.25", "-", "-", "-", "stopped"],
        "4": ["0/1000", "─" * 12, "-", "-", "-", "-", "not started"],
    }
    assert "1 of 4 runs done, 1 failed, 1 stopped, 1 not started; took 0:00" in screen_of(written(console))


@pytest.mark.slow
def test_runs_finished_before_show_what_their_results_say(tmp_path):
    arguments = ["-m", *TINY, "model=rnn,lstm,gru", f"output_dir='{tmp_path}'"]
    train([*arguments[:-2], "model=rnn,lstm", arguments[-1]], Console(quiet=True))
    console = in_terminal()
    train(arguments, console)
    rows = table_in(written(console))
    for row, model in (("1", "rnn"), ("2", "lstm")):
        (result,) = [json.loads(path.read_bytes()) for path in tmp_path.glob(f"{model}_*/result.json")]
        assert rows[row] == [*figures_of(result), "done before"]
    assert rows["3"][-1].startswith("took ")
    (damaged,) = tmp_path.glob("lstm_*/result.json")
    damaged.write_text("{}")
    with pytest.raises(ConfigError, match=r"result\.json"):
        train(arguments, in_terminal())


def figures_of(result: dict) -> list[str]:
    """Step, bar, loss, solved and horizon of a run of TINY that went to its end."""
    loss = sum(result["final"]["train/loss"]) / 2
    horizon = sum(result["final"]["horizon/h/layer_0/lag"]) / 2
    return ["8/8", "━" * 12, f"{loss:.3g}", "0/2", f"{horizon:g}/7"]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_the_table_of_a_sweep_in_a_pseudo_terminal(tmp_path, launcher):
    """A real terminal device; messages and what is written to stdout go above the table, which ends as it must."""
    master, slave = pty.openpty()
    chunks: list[bytes] = []

    def drain() -> None:
        while chunk := os.read(master, 65536):
            chunks.append(chunk)
            if b"the end" in chunk:
                return

    reader = threading.Thread(target=drain)
    reader.start()
    with open(slave, "w", encoding="utf-8") as file:
        console = Console(file=file, width=140, height=20, force_terminal=True, _environ={"TERM": "xterm"})
        sweep = ["-m", *TINY, "model=rnn,gru", "mitigation=[],[clip_norm]", f"output_dir='{tmp_path}'"]
        train([*sweep, f"hydra/launcher={launcher}"], console)
        file.write("the end\n")
        file.flush()
        reader.join(30)
    os.close(master)
    raw = b"".join(chunks).decode()
    shown = screen_of(raw.replace("\r\n", "\n"))
    # The cursor is left on from the first table on, so that a killed process leaves it on.
    assert raw.rindex("\x1b[?25l") < raw.index("\x1b[?25h") < raw.index("run ")
    head = next(place for place, text in enumerate(shown) if text.startswith("run "))
    assert shown[head].split() == ["run", "step", "loss", "solved", "horizon", "time", "left"]
    above, rows = [text for text in shown[:head] if text], shown[head + 2 : head + 6]
    names = ["rnn", "rnn + clip_norm", "gru", "gru + clip_norm"]
    told = [text.partition(": ")[0] for text in above]
    # Side by side, runs end in any order.
    assert (told if launcher == "basic" else sorted(told)) == [f"[{n}/4] {name}" for n, name in enumerate(names, 1)]
    for number, (name, row) in enumerate(zip(names, rows, strict=True), 1):
        (path,) = tmp_path.glob(f"{name.replace(' ', '')}_*/result.json")
        words = re.split(" {2,}", row)
        assert words[:-1] == [f"[{number}/4] {name}", *figures_of(json.loads(path.read_bytes()))]
        assert re.fullmatch(r"took \d:\d\d", words[-1])
    assert re.fullmatch(r"4 of 4 runs done; took \d:\d\d", shown[head + 6])
    assert shown[head + 7 :] == ["the end", ""]


@pytest.mark.slow
def test_the_same_run_twice_in_a_sweep_is_one(tmp_path):
    console = in_terminal()
    train(["-m", *TINY, "model=rnn", "seed=3,3,4", f"output_dir='{tmp_path}'"], console)
    rows = table_in(written(console))
    assert rows.keys() == {"1", "2"}
    assert rows["2"][-1].startswith("took ")
    assert len(list(tmp_path.glob("*/result.json"))) == 2


@pytest.mark.slow
def test_ctrl_c_leaves_the_terminal_clean(tmp_path):
    """The real command in a pseudo-terminal, stopped by the key."""
    master, slave = pty.openpty()
    arguments = ["train", "-m", *TINY, "model=rnn,gru", "train.num_steps=1000000", "study=mine"]
    process = subprocess.Popen(
        [sys.executable, "-m", "rnnstudy", *arguments], stdin=slave, stdout=slave, stderr=slave, cwd=tmp_path,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "20"}, start_new_session=True,
    )  # fmt: skip
    os.close(slave)
    raw = b""
    sent = False
    while True:
        try:
            raw += os.read(master, 65536)
        except OSError:
            break
        if not sent and raw.count(b"[1/2] rnn") >= 4:
            process.send_signal(signal.SIGINT)
            sent = True
    os.close(master)
    assert process.wait(PATIENCE) == 130
    text = raw.decode().replace("\r\n", "\n")
    shown = screen_of(text)
    rows = table_in(text)
    assert (rows["1"][-1], rows["2"][-1]) == ("stopped", "not started")
    steps = rows["1"][0].partition("/")[0]
    after = next(place for place, each in enumerate(shown) if each.startswith("0 of 2 runs done"))
    assert shown[after + 1].startswith(f"rnnstudy: stopped after {steps} steps; a checkpoint is saved. To go on: ")
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    assert "Traceback" not in text
