"""Drawing of a sweep's runs: a table of all, or a line of one."""

import itertools
from collections.abc import Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rnnstudy.study.screen.run_state import RunState, Stage, sweep_seconds_left

UNKNOWN = "-"
_BAR_WIDTH = 12
_GAP = 2
_WANTED = {"bar": 40, "diverged": 16, "loss": 16, "solved": 16, "horizon": 16}
"""Columns that a narrow terminal drops, in this order, and the room for names that each must leave."""

_STYLES = {
    Stage.WAITING: "dim",
    Stage.RUNNING: "bold",
    Stage.DONE: "",
    Stage.FAILED: "red",
    Stage.STOPPED: "yellow",
    Stage.SKIPPED: "dim",
    Stage.ELSEWHERE: "dim",
}


def duration(seconds: float) -> str:
    """Return seconds as a clock shows them: 0:54, 12:30, 1:04:22, 2 d 3:04:22."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    clock = f"{hours}:{minutes:02}:{rest:02}" if hours or days else f"{minutes}:{rest:02}"
    return f"{days} d {clock}" if days else clock


def line(state: RunState, now: float) -> str:
    """Return a run in one line, such as "lstm  step 812/2000  loss 0.931  time left <= 0:54"; leave out the unknown."""
    told = [f"{name} {text}" for name, text in _figures(state).items() if text != UNKNOWN]
    if state.diverged:
        told.append(f"diverged {state.diverged}")
    if (left := state.seconds_left(now)) is not None:
        told.append(f"time left <= {duration(left)}")
    return "  ".join([state.name, *told])


def draw(states: Sequence[RunState], now: float, *, width: int, height: int) -> RenderableType:
    """Return a table of the runs for a terminal of `width` columns and `height` lines; its last line stays free.

    It leaves out the least informative runs if not all fit.
    """
    before, shown, after = select(states, max(1, height - 5))
    figures = [_figures(state) for state in shown]
    cells: dict[str, list[str]] = {
        "step": [each["step"] for each in figures],
        "bar": [" " * _BAR_WIDTH] * len(shown),
        "loss": [each["loss"] for each in figures],
        "solved": [each["solved"] for each in figures],
        "diverged": [str(state.diverged or UNKNOWN) for state in shown],
        "horizon": [each["horizon"] for each in figures],
        "time left": [_time(state, now) for state in shown],
    }
    if not any(state.diverged for state in states):
        del cells["diverged"]
    names = [f"... {before} more", *(state.name for state in shown), f"... {after} more"]
    names = names[not before : None if after else -1]
    room = _fit(cells, max(map(cell_len, names), default=0), width)

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, _GAP - 1, 0, 0), border_style="dim")
    table.add_column("run", no_wrap=True, max_width=room)
    for header in cells:
        table.add_column("" if header == "bar" else header, no_wrap=True, justify="right")
    if before:
        table.add_row(Text(names[0]), style="dim")
    for row, state in enumerate(shown):
        texts = [_bar(state) if header == "bar" else Text(column[row]) for header, column in cells.items()]
        table.add_row(Text(state.name, overflow="ellipsis"), *texts, style=_STYLES[state.stage])
    if after:
        table.add_row(Text(names[-1]), style="dim")
    return Group(table, Text(totals(states, now), no_wrap=True, overflow="ellipsis"))


def select(states: Sequence[RunState], most: int) -> tuple[int, list[RunState], int]:
    """Choose the runs to show where not all fit: those that run, failures, the last done, the next ones.

    They take `most` rows, at least 1, with the rows that count the others.

    Returns:
        How many that have ended are not shown, the states to show in their order, how many others are not shown.
    """
    if len(states) <= most:
        return 0, list(states), 0
    places = range(len(states))
    chosen = [place for place in places if states[place].stage is Stage.RUNNING]
    waiting = [place for place in places if states[place].stage is Stage.WAITING]
    ended = list(set(places).difference(chosen, waiting))
    ended.sort(key=lambda place: (states[place].stage is not Stage.DONE, states[place].ended or 0, place), reverse=True)
    # Alternate between the last that ended, failures first, and those that come next.
    for last, following in itertools.zip_longest(ended, waiting):
        chosen += [place for place in (last, following) if place is not None]
    kept = set(chosen[: max(1, most - 2)])
    ahead = {Stage.WAITING, Stage.RUNNING}
    left_out = [state.stage in ahead for place, state in enumerate(states) if place not in kept]
    return left_out.count(False), [states[place] for place in sorted(kept)], left_out.count(True)


def totals(states: Sequence[RunState], now: float) -> str:
    """Return the sweep in one line: runs done, time taken so far and time left."""
    stages = [state.stage for state in states]
    told = f"{stages.count(Stage.DONE)} of {len(states)} run{'s' * (len(states) > 1)} done"
    for stage in (Stage.FAILED, Stage.STOPPED, Stage.ELSEWHERE, Stage.SKIPPED):
        if stage in stages:
            told += f", {stages.count(stage)} {stage}"
    going_on = Stage.RUNNING in stages or Stage.WAITING in stages
    if going_on:
        left = sweep_seconds_left(states, now)
        about = "about" if Stage.WAITING in stages else "<="
        told += f"; time left {UNKNOWN if left is None else f'{about} {duration(left)}'}"
    ends = [now] if going_on else [state.ended for state in states if state.ended is not None]
    begun = [state.started for state in states if state.started is not None]
    if begun and ends:
        span = duration(max(ends) - min(begun))
        told += f"; {span} so far" if going_on else f"; took {span}"
    return told


def _fit(cells: dict[str, list[str]], longest_name: int, width: int) -> int:
    """Drop columns until names have room; return the terminal's columns that are left for names."""

    def room() -> int:
        taken = sum(_GAP + max(cell_len(text) for text in (header, *column)) for header, column in cells.items())
        return width - taken - 1

    for header, wanted in _WANTED.items():
        if room() < min(longest_name, wanted):
            cells.pop(header, None)
    return max(8, room())


def _figures(state: RunState) -> dict[str, str]:
    """Return the figures of a run as text, by their names."""
    return {
        "step": f"{state.step}/{state.num_steps}",
        "loss": UNKNOWN if state.loss is None else f"{state.loss:.3g}",
        "solved": UNKNOWN if state.solved is None else f"{state.solved}/{state.replicas}",
        "horizon": UNKNOWN if state.horizon is None else f"{state.horizon:g}/{state.seq_len}",
    }


def _bar(state: RunState) -> Text:
    done = round(_BAR_WIDTH * state.step / max(1, state.num_steps))
    return Text("━" * done, "cyan").append("─" * (_BAR_WIDTH - done), "dim")


def _time(state: RunState, now: float) -> str:
    if state.stage is Stage.RUNNING:
        left = state.seconds_left(now)
        return UNKNOWN if left is None else f"<= {duration(left)}"
    if state.stage is Stage.DONE:
        taken = state.seconds_taken(now)
        return "done before" if taken is None else f"took {duration(taken)}"
    return str(state.stage)
