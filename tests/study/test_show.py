"""What `rnnstudy show` prints is there to be read: every task, narrow and wide screens, lengths that vary."""

import io
import re

import pytest
from rich.console import Console
from tools.members import SAMPLE_TEXT, members

from rnnstudy.core.errors import ConfigError
from rnnstudy.study.show import show


def shown(*arguments: str, width: int = 100) -> str:
    given = [*arguments, f"task.path='{SAMPLE_TEXT}'"] if "task=text" in arguments else list(arguments)
    screen = io.StringIO()
    show(given, Console(file=screen, width=width))
    return screen.getvalue()


def row(text: str, name: str) -> list[str]:
    """The cells of a row, all pieces of it joined."""
    return [cell for line in text.splitlines() if line.startswith(f"{name} ") for cell in line[len(name) :].split()]


@pytest.mark.parametrize("task", members("task"))
def test_every_task_says_what_it_is(tmp_path, monkeypatch, task):
    monkeypatch.chdir(tmp_path)
    text = shown(f"task={task}")
    lines = text.splitlines()
    assert re.fullmatch(rf"{task}: [A-Z].*[.:,)]", lines[0])
    for fact in ("sequences", "inputs", "outputs", "loss", "chance", "solved", "information", "time step", "target"):
        assert any(line.startswith(fact) for line in lines), fact
    pieces = text.partition("time step ")[2].splitlines()
    assert max(map(len, pieces)) <= 100
    assert "* the answer" in lines[-1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("width", [40, 80, 200])
def test_copy_memory_can_be_checked_by_eye(width):
    text = shown("task=copy_memory", "task.delay=100", width=width)
    steps, inputs, targets = row(text, "time step"), row(text, "input"), row(text, "target")
    assert steps.count("...") == 1
    assert steps[0] == "0"
    assert steps[-1] == "119"
    assert inputs[:10] == targets[-10:]
    assert row(text, "information") == ["at", "time", "steps", "0-9"] + ["^"] * 10
    assert row(text, "judged") == ["*"] * 10
    assert "loss 2.079, accuracy 0.125" in text
    assert "memoryless   loss 0.1733" in text


def test_adding_can_be_checked_by_eye():
    text = shown("task=adding", "task.seq_len=9")
    values = [float(value) for value in row(text, "value")]
    marked = [value for value, marker in zip(values, row(text, "marker"), strict=True) if marker == "1"]
    (target,) = row(text, "target")
    # Shown with two digits after the point.
    assert float(target) == pytest.approx(sum(marked), abs=0.011)


def test_it_is_the_first_sequence_of_replica_0_and_the_seed_chooses_it():
    assert shown("task=parity") == shown("task=parity", "model=gru", "replicas=3")
    assert shown("task=parity") != shown("task=parity", "seed=1")


def test_white_space_can_be_seen():
    text = shown("task=text", "task.seq_len=40")
    assert "\N{OPEN BOX}" in text
    assert "no criterion" in text


def test_lengths_that_vary():
    text = shown("task=parity", "task.seq_len=[5,30]")
    assert "5 to 30 time steps, every batch draws its length; what follows is for 30" in text
    assert len(row(text, "input")) == 30
    text = shown("task=copy_memory", "task.delay=[5,30]")
    assert "mean over 50 time steps" in text


def test_a_long_busy_sequence_is_cut_in_the_middle():
    text = shown("task=parity", "task.seq_len=2000")
    assert len(text.splitlines()) < 60
    assert row(text, "time step").count("...") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["task=text"], "task.path has no default and must be given; conf/task/text.yaml says what it is."),
        (["task=addding"], "task has no member 'addding'. Did you mean 'adding'?"),
        (["task=adding", "task.seq_len=1"], "task.seq_len must be at least 2 with variant=half, got 1."),
        (["-m", "task=adding"], "-m is not known here: there is one run, and overrides."),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ConfigError) as caught:
        show(arguments, Console(quiet=True))
    assert str(caught.value).startswith(message)
