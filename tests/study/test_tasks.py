"""Every task trains with every model; lengths that vary, other lengths, texts; each kept when a run is resumed."""

import json
from contextlib import closing
from pathlib import Path

import pytest
import torch
from rich.console import Console
from tools.members import SAMPLE_TEXT, SMALL, members, run_small
from tools.training import assert_resumed_is_undisturbed, content

from rnnstudy.core.errors import ConfigError
from rnnstudy.runs.folder import RunFolder
from rnnstudy.study.sweep.train import train
from rnnstudy.writers.run_log import RunLog

TWO_STEPS = (
    "train.num_steps=2",
    "train.eval_interval=2",
    "train.log_interval=1",
    "replicas=2",
    "instrument=[grad_norm]",
)
VARYING = ("task=adding", "task.seq_len=[5,30]", "eval.seq_lens=[10,50]")


def rows(folder: RunFolder) -> list[dict]:
    with closing(RunLog(folder)) as log:
        return list(log.metrics())


@pytest.mark.slow
@pytest.mark.parametrize("model", members("model"))
@pytest.mark.parametrize("task", members("task"))
def test_every_task_trains_with_every_model(tmp_path, task, model):
    folder = run_small(tmp_path / "run", f"task={task}", f"model={model}", *TWO_STEPS)
    logged = {tag: figure for row in rows(folder) for tag, figure in row.items()}
    for tag in ("eval/loss", "eval/answer_loss", "eval/accuracy", "train/loss", "grad_norm/raw"):
        assert abs(logged[tag]) < 1e6, tag
    result = json.loads(folder.result.read_text())
    assert result["skipped"] == [0, 0]
    assert result["steps"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("task", members("task"))
def test_replica_1_alone_is_replica_1_of_a_stack(tmp_path, task):
    stack = run_small(tmp_path / "stack", f"task={task}", *TWO_STEPS)
    alone = run_small(tmp_path / "alone", f"task={task}", *TWO_STEPS, "replicas=1", "seed=1")
    for one, other in zip(rows(alone), [row for row in rows(stack) if row["replica"] == 1], strict=True):
        for tag in one.keys() - {"replica"}:
            assert one[tag] == pytest.approx(other[tag], rel=1e-4, abs=1e-6, nan_ok=True), tag


def test_lengths_that_vary_and_evaluation_at_others(tmp_path):
    folder = run_small(tmp_path / "run", *VARYING, "instrument.hidden_grad_norm.schedule.interval=1")
    manifest = json.loads(folder.manifest.read_text())
    assert manifest["facts"]["seq_len"] == 30
    assert {"eval/loss", "eval_at_10/loss", "eval_at_10/accuracy", "eval_at_50/loss"} <= rows(folder)[-1].keys()
    log = RunLog(folder)
    curves = list(log.curves())
    log.close()
    # Measured at one length throughout, the greatest, at every step.
    assert {len(curve["values"]) for curve in curves} == {30}
    assert {curve["step"] for curve in curves} == set(range(13))


@pytest.mark.parametrize("task", [VARYING, ("task=text", "task.seq_len=20")], ids=["lengths vary", "text"])
def test_the_observer_changes_nothing_where_gradients_are_sent_back_once_more(tmp_path, task):
    every = ("instrument.hidden_grad_norm.schedule.interval=1", "instrument.grad_norm.schedule.interval=1")
    watched = run_small(tmp_path / "watched", *task, *every)
    blind = run_small(tmp_path / "blind", *task, "instrument=[]")
    for name, value in content(blind)["network"].items():
        assert torch.equal(value, content(watched)["network"][name]), name
    seen = [row["train/loss"] for row in rows(watched) if "train/loss" in row]
    assert seen == [row["train/loss"] for row in rows(blind) if "train/loss" in row]


def test_evaluation_at_the_trained_length_is_the_evaluation(tmp_path):
    folder = run_small(tmp_path / "run", "task=adding", "task.seq_len=12", "eval.seq_lens=[12,13]")
    for row in rows(folder):
        if "eval/loss" in row:
            assert row["eval_at_12/loss"] == row["eval/loss"]
            assert row["eval_at_13/loss"] != row["eval/loss"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        VARYING,
        ("task=text", "task.seq_len=20"),
        ("task=text", "task.seq_len=[5,20]", "model=gru", "model.num_layers=2"),
        ("task=text", "task.seq_len=20", "task.windows=independent", "task.unit=word"),
    ],
)
def test_interrupted_at_any_step_and_resumed_is_undisturbed(tmp_path, monkeypatch, arguments):
    assert_resumed_is_undisturbed(tmp_path, monkeypatch, *arguments)


def test_the_state_is_carried_from_window_to_window(tmp_path):
    carried = run_small(tmp_path / "carried", "task=text", "task.seq_len=20")
    assert len(content(carried)["data"]["final"]) == 1
    independent = run_small(tmp_path / "independent", "task=text", "task.seq_len=20", "task.windows=independent")
    assert content(independent)["data"]["final"] is None


def test_a_text_that_has_changed_is_refused(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text(SAMPLE_TEXT.read_text())
    arguments = ("task=text", f"task.path='{text}'", "task.seq_len=20")
    run_small(tmp_path / "run", *arguments)
    run_small(tmp_path / "run", *arguments)
    text.write_text(SAMPLE_TEXT.read_text().replace("soup", "soap"))
    with pytest.raises(ConfigError, match="holds a run on other data: the file that the task reads has changed"):
        run_small(tmp_path / "run", *arguments)


def test_a_text_is_never_solved(tmp_path):
    folder = run_small(tmp_path / "run", "task=text", "task.seq_len=20")
    facts = json.loads(folder.manifest.read_text())["facts"]
    assert facts["solved_metric"] is facts["solved_at"] is facts["solved_when"] is None
    assert json.loads(folder.result.read_text())["status"] == ["finished"] * 3


@pytest.mark.parametrize(
    ("arguments", "at_end", "of_answer"),
    [
        ("task=adding", True, False),
        ("task=copy_memory", False, True),
        ("task=associative_recall", False, False),
        ("task=text", False, True),
    ],
)
def test_a_run_says_whether_its_loss_is_at_the_end_or_else_its_gradient_that_of_the_answer(
    tmp_path, arguments, at_end, of_answer
):
    folder = run_small(tmp_path / "run", arguments, *TWO_STEPS)
    facts = json.loads(folder.manifest.read_text())["facts"]
    assert (facts["loss_at_end"], facts["answer_gradient"]) == (at_end, of_answer)


def test_a_changed_text_is_found_before_any_run_starts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = tmp_path / "text.txt"
    text.write_text(SAMPLE_TEXT.read_text())
    arguments = ["task=text", "task.path=text.txt", "task.seq_len=20", *SMALL, *TWO_STEPS]
    train([*arguments, "model=lstm"], Console(quiet=True))
    text.write_text(SAMPLE_TEXT.read_text().replace("soup", "soap"))
    with pytest.raises(ConfigError, match="the file that the task reads has changed"):
        train(["-m", *arguments, "model=gru,lstm"], Console(quiet=True))
    assert len(list((tmp_path / "outputs" / "runs").glob("*/config.yaml"))) == 1


def test_facts_of_a_fixed_set_are_those_of_the_part_that_is_judged(tmp_path):
    folder = run_small(tmp_path / "run", "task=sequential_digits", *TWO_STEPS)
    facts = json.loads(folder.manifest.read_text())["facts"]
    # The most frequent digit of the 360 images of the test part.
    assert facts["chance_accuracy"] * 360 == pytest.approx(round(facts["chance_accuracy"] * 360))
    assert Path(folder.metrics).stat().st_size > 0
