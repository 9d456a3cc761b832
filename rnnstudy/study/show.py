"""`rnnstudy show`: a task and one of its sequences, in words for people."""

import inspect
from collections.abc import Iterator, Sequence

import torch
from rich.cells import cell_len
from rich.console import Console

from rnnstudy.config.schema import Plan
from rnnstudy.runs.run import NO_CRITERION
from rnnstudy.study.jobs.check import check
from rnnstudy.study.jobs.compose import first_job
from rnnstudy.tasks.base import Batch, Facts, RegressionTask, Task
from rnnstudy.training.data import TrainingData

LONG = 40
"""Most time steps of a sequence that is shown without leaving out stretches in which nothing happens."""

QUIET = 8
"""Least length of such a stretch; a little of it stays at both ends."""

MOST = 240
"""Most time steps shown of a sequence in which much happens; its middle is left out."""

LABEL = 13
"""Width of the left column."""

INFORMATIVE, JUDGED, UNASKED = "^", "*", "\N{MIDDLE DOT}"

WHITE_SPACE = {" ": "\N{OPEN BOX}", "\n": "\N{RETURN SYMBOL}", "\t": "\N{RIGHTWARDS ARROW}"}


def show(arguments: Sequence[str], console: Console) -> None:
    """Print what a task is, and the first sequence that replica 0 would train on; the longest, if lengths vary.

    The arguments are overrides, as for `rnnstudy train`; a ConfigError reports their faults.
    """
    job = first_job(arguments)
    plan = check(job.config)
    task, batch = plan.task, _first_batch(plan)
    head = f"{job.config['choices']['task']}: {(inspect.getdoc(type(task)) or '').splitlines()[0]}"
    for line in [head, "", *_described(task, plan.seq_lens, batch), "", *_sequence(task.facts, batch, console.width)]:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _first_batch(plan: Plan) -> Batch:
    """Return the first batch of replica 0, without its replica axis."""
    longest = plan.seq_lens[1]
    sizes = {"batch_size": plan.train.batch_size, "seed": plan.run.seed, "replicas": 1}
    data = TrainingData(plan.task, (longest, longest), **sizes, device=torch.device("cpu"))
    return data.next(0).replica(0)


def _described(task: Task, seq_lens: tuple[int, int], batch: Batch) -> Iterator[str]:
    """Yield the facts of the task, one per line."""
    facts = task.facts
    low, high = seq_lens
    varied = f"{low} to {high} time steps, every batch draws its length; what follows is for {high}"
    yield _fact("sequences", _many(high, "time step") if low == high else varied)
    inputs = ", ".join(facts.input_names) if facts.encoding == "features" else _listed(facts.input_names)
    entering = {"features": "as they are", "symbols": "one-hot", "words": "through an embedding"}[facts.encoding]
    kind = "feature" if facts.encoding == "features" else "token"
    yield _fact("inputs", f"{_many(facts.input_size, kind)} ({inputs}), {entering}")
    values = isinstance(task, RegressionTask)
    outputs = _many(facts.output_size, "value") if values else f"{facts.output_size} classes"
    yield _fact("outputs", f"{outputs} ({_listed(facts.output_names)})")
    steps, judged = len(batch.loss_steps), int(batch.answer[:, 0].sum())
    counted = int(batch.counted[:, 0].sum())
    where = "at the last time step" if steps == 1 else f"mean over {counted} time steps; judged at {judged} of them"
    yield _fact("loss", f"{task.loss_name}, {where}")
    yield _fact("chance", f"loss {facts.chance_loss:.4g}, accuracy {facts.chance_accuracy:.4g}, where it is judged")
    if facts.memoryless_loss is not None:
        guess = "the best guess from the time step and the present input"
        yield _fact("memoryless", f"loss {facts.memoryless_loss:.4g}: {guess}")
    solved = facts.solved
    yield _fact("solved", solved.rule if solved else NO_CRITERION)
    informative = len(facts.informative_steps)
    where = "at any time step" if informative == facts.seq_len else f"at {_ranges(facts.informative_steps)}"
    yield _fact("information", where)


def _many(number: int, name: str) -> str:
    return f"{number} {name}" if number == 1 else f"{number} {name}s"


def _fact(name: str, text: str) -> str:
    return f"{name:<{LABEL}}{text}"


def _listed(names: Sequence[str], most: int = 12) -> str:
    """Return names in a row, with the middle ones left out if there are many."""
    shown = [_visible(name) for name in names]
    return " ".join(shown if len(shown) <= most else [*shown[: most - 3], "...", *shown[-2:]])


def _visible(name: str) -> str:
    """Return a name with signs for white space, and escapes for what a screen cannot show."""
    if name in WHITE_SPACE:
        return WHITE_SPACE[name]
    return "".join(it if it.isprintable() and cell_len(it) else it.encode("unicode_escape").decode() for it in name)


def _ranges(steps: Sequence[int]) -> str:
    """Return time steps as ranges, such as "time steps 5-9, 25-29"."""
    ordered, every = sorted(steps), set(steps)
    starts = [step for step in ordered if step - 1 not in every]
    ends = [step for step in ordered if step + 1 not in every]
    parts = [f"{start}" if start == end else f"{start}-{end}" for start, end in zip(starts, ends, strict=True)]
    listed = ", ".join(parts if len(parts) <= 6 else [*parts[:4], "...", parts[-1]])
    return f"time step{'s' if len(ordered) > 1 else ''} {listed}"


def _column(cells: Sequence[str]) -> list[str]:
    """Return the cells of one time step, right-aligned; letters of double width count twice."""
    width = max(map(cell_len, cells))
    return [" " * (width - cell_len(cell)) + cell for cell in cells]


def _sequence(facts: Facts, batch: Batch, width: int) -> Iterator[str]:
    """Yield the first sequence of a batch as the rows of a table, cut into pieces of the screen's width."""
    if facts.encoding == "features":
        labels = list(facts.input_names)
        inputs = [[_number(value) for value in batch.inputs[:, 0, index].tolist()] for index in range(len(labels))]
    else:
        labels, inputs = ["input"], [[_visible(facts.input_names[token]) for token in batch.inputs[:, 0].tolist()]]
    targets, judged = _asked(facts, batch)
    marks = batch.informative[:, 0]
    informative = [INFORMATIVE if mark and not marks.all() else "" for mark in marks.tolist()]
    rows = [list(map(str, range(len(targets)))), *inputs, informative, targets, judged]
    names = ["time step", *labels, "information", "target", "judged"]

    busy = [bool(mark) or bool(star) for mark, star in zip(marks.tolist(), judged, strict=True)]
    gap = ["...", *[""] * (len(rows) - 1)]
    columns = [_column(gap if step is None else [row[step] for row in rows]) for step in _shown(busy)]
    for piece in _pieces(columns, max(width - LABEL, 20)):
        for index, name in enumerate(names):
            cells = " ".join(column[index] for column in piece)
            if cells.strip():
                yield f"{name:<{LABEL}}{cells}".rstrip()
        yield ""
    legend = {INFORMATIVE: "what decides the answer", JUDGED: "the answer", UNASKED: "not asked for"}
    used = {*informative, *judged, *targets}
    yield "   ".join(f"{sign} {meaning}" for sign, meaning in legend.items() if sign in used)


def _asked(facts: Facts, batch: Batch) -> tuple[list[str], list[str]]:
    """Return the target at each time step, and a mark where it is the answer; empty where no output is read."""
    targets, judged = [""] * len(batch.inputs), [""] * len(batch.inputs)
    for index, step in enumerate(batch.loss_steps.tolist()):
        goal = batch.targets[index, 0]
        named = _visible(facts.output_names[int(goal)]) if goal.ndim == 0 else " ".join(map(_number, goal.tolist()))
        targets[step] = named if batch.counted[index, 0] else UNASKED
        judged[step] = JUDGED if batch.answer[index, 0] else ""
    return targets, judged


def _number(value: float) -> str:
    return f"{value:g}" if value == int(value) else f"{value:.2f}".replace("0.", ".", 1)


def _shown(busy: Sequence[bool]) -> Iterator[int | None]:
    """Yield the time steps to show in order; None marks a stretch that is left out."""
    steps = len(busy)
    kept = [True] * steps
    if steps > LONG:
        busy_steps = [step for step in range(steps) if busy[step] or step in {0, steps - 1}]
        near = {step + lag for step in busy_steps for lag in range(-(QUIET // 2), QUIET // 2 + 1)}
        kept = [step in near for step in range(steps)]
    if sum(kept) > MOST:
        kept = [keep and not MOST // 2 <= step < steps - MOST // 2 for step, keep in enumerate(kept)]
    for step in range(steps):
        if kept[step]:
            yield step
        elif step == 0 or kept[step - 1]:
            yield None


def _pieces(columns: Sequence[list[str]], width: int) -> Iterator[list[list[str]]]:
    """Yield columns that fit side by side, at least one at a time."""
    piece: list[list[str]] = []
    for column in columns:
        if piece and sum(cell_len(each[0]) + 1 for each in piece) + cell_len(column[0]) > width:
            yield piece
            piece = []
        piece.append(column)
    yield piece
