"""Judging whether a task is solved on sequences of its own: `eval.solved_batch_size`."""

import json
from dataclasses import dataclass, replace

import pytest
import torch
from scipy.stats import binom, binomtest
from tools.members import SAMPLE_TEXT, compose, members, plan, run_small
from tools.training import assert_resumed_is_undisturbed, same_weights
from typing_extensions import override

from rnnstudy.config.schema import plan_run
from rnnstudy.core.errors import ConfigError
from rnnstudy.core.seeding import replica_generators
from rnnstudy.runs.folder import RunFolder
from rnnstudy.runs.identity import fingerprint
from rnnstudy.runs.run import read_run
from rnnstudy.tasks.base import stack
from rnnstudy.tasks.parity import Parity
from rnnstudy.training import step
from rnnstudy.training.loop import Training

JUDGED = [name for name in members("task") if name != "text"]
"""Tasks with a criterion."""


@dataclass(frozen=True, kw_only=True)
class RarelyOdd(Parity):
    """Only the last bit can be a one."""

    error: float

    @override
    def draw(self, batch_size, generator):
        odd = torch.rand(batch_size, generator=generator) < self.error
        return torch.stack([torch.zeros_like(odd)] * (self.seq_len - 1) + [odd]).long()


@pytest.mark.parametrize(("error", "size"), [(0.02, 256), (0.02, 1000), (0.01, 400)])
def test_a_network_with_a_known_error_passes_as_often_as_binomial_counts_do(start, monkeypatch, error, size):
    """A network that always says even errs on the odd sequences; 20 evaluations of 64 replicas."""
    # Counted in parts of 64 sequences; of 400, 396 right ones are enough.
    monkeypatch.setattr(step, "EVALUATED_AT_ONCE", 64 * 64 * 2)
    settings = ("train.num_steps=19", "train.eval_interval=1", "train.stop_when_solved=false", "optimizer.lr=0.0")
    started = start("run", 0, 64, "task=parity", "task.seq_len=2", *settings, f"eval.solved_batch_size={size}")
    training = Training(replace(started.parts, task=RarelyOdd(seq_len=2, error=error)), started.outlets)
    with torch.no_grad():
        training.parts.network.readout_weight.zero_()
        training.parts.network.readout_bias.copy_(torch.tensor([1.0, 0.0]).expand(64, 2))
    training.run()
    rows = [row for row in training.outlets.log.metrics() if "judged/accuracy" in row]
    passed = [row for row in rows if row["judged/accuracy"] >= 0.99]
    chance = float(binom.cdf(size // 100, size, error))
    assert len(rows) == 20 * 64
    assert binomtest(len(passed), len(rows), chance).pvalue > 0.01
    first = {row["replica"]: row["step"] for row in reversed(passed)}
    assert training.states.steps_to_solve.tolist() == [first.get(replica, -1) for replica in range(64)]


@pytest.mark.parametrize("task", JUDGED)
def test_every_task_is_judged_by_its_own_metric_on_sequences_of_the_step_and_the_replica(start, monkeypatch, task):
    training = start("run", 5, 2, f"task={task}", "eval.solved_batch_size=13", "train.num_steps=0", "instrument=[]")
    held_out, network = training.parts.task.held_out(), training.parts.network
    batch = stack([held_out.sample(13, generator) for generator in replica_generators(5, 2, "solved:0")])
    with torch.no_grad():
        metrics = training.parts.task.metrics(network(batch.inputs, batch.loss_steps).outputs, batch)
    monkeypatch.setattr(step, "EVALUATED_AT_ONCE", 5 * 2 * len(batch.inputs))
    training.run()
    name = training.parts.task.facts.solved.metric
    logged = [row[f"judged/{name}"] for row in training.outlets.log.metrics()]
    assert logged == pytest.approx(metrics[name].tolist(), rel=1e-5)


def rows_of(folder: RunFolder) -> list[dict[str, float]]:
    """Return the log without what judging adds to it or decides."""
    own = {"judged/accuracy", "train/solved"}
    rows = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    return [{tag: value for tag, value in row.items() if tag not in own} for row in rows]


def test_it_changes_nothing_but_when_a_replica_counts_as_solved(tmp_path):
    settings = ("train.stop_when_solved=false", "eval.seq_lens=[30]")
    plain, judged = (run_small(tmp_path / size, *settings, f"eval.solved_batch_size={size}") for size in ("null", "50"))
    assert same_weights(plain, judged)
    assert rows_of(plain) == rows_of(judged)
    assert "judged" not in plain.metrics.read_text()


def test_a_run_that_is_resumed_judges_on_the_same_sequences(tmp_path, monkeypatch):
    assert_resumed_is_undisturbed(tmp_path, monkeypatch, "eval.solved_batch_size=50")


def test_a_run_that_has_not_ended_is_judged_by_the_same_figures(tmp_path):
    """An evaluation set of one sequence is soon right; 200 fresh ones are right later."""
    settings = ("task=parity", "task.seq_len=1", "train.eval_batch_size=1", "eval.solved_batch_size=200")
    folder = run_small(tmp_path / "run", *settings, "train.num_steps=400", "optimizer.lr=0.003")
    ended = read_run(folder, label="run").standing
    folder.result.unlink()
    assert read_run(folder, label="run").standing.steps_to_solve == ended.steps_to_solve
    assert None not in ended.steps_to_solve


def test_it_is_part_of_a_run_only_where_it_is_set():
    older = compose()
    del older["eval"]["solved_batch_size"]
    assert fingerprint(older) == fingerprint(compose())
    assert fingerprint(compose("eval.solved_batch_size=512")) != fingerprint(compose())
    assert plan_run(older).eval.solved_batch_size is None


def test_what_cannot_be_judged_on_is_refused():
    with pytest.raises(ConfigError, match=r"^eval\.solved_batch_size must be at least 1, got 0\.$"):
        plan("eval.solved_batch_size=0")
    with pytest.raises(ConfigError, match=r"^eval\.solved_batch_size must be null for a task without a criterion"):
        plan("task=text", f"task.path={SAMPLE_TEXT}", "eval.solved_batch_size=512")
