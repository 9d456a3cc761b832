"""Runs that have not ended, judged by their logs; and what a result says of the logs."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tools.members import run_small
from tools.summaries import summaries_of
from tools.synthetic_runs import Synthetic, edit_json, read_json, write_jsonl, write_run

from rnnstudy.report.analysis.summary import Summary
from rnnstudy.report.compare import Request, assemble
from rnnstudy.runs.failure import FAILED, PRUNED, record
from rnnstudy.runs.folder import RunFolder
from rnnstudy.runs.lock import Lock
from rnnstudy.runs.run import Run, read_run


def unfinished(root: Path, rows: list[dict[str, Any]], **facts: Any) -> Summary:
    folder = write_run(root / "run", Synthetic(replicas=3, finished=False, probes=2))
    write_jsonl(folder / "metrics.jsonl", rows)
    edit_json(folder / "run.json", facts=read_json(folder / "run.json")["facts"] | facts)
    return summaries_of(root)[0]


def row(step: int, replica: int, accuracy: float, **more: float) -> dict[str, Any]:
    own = {"eval/accuracy": accuracy, "eval/loss": 1 - accuracy, "train/skipped": 0}
    return {"step": step, "replica": replica} | own | more


def test_a_replica_has_solved_the_task_at_its_first_evaluation_that_meets_the_criterion(tmp_path: Path) -> None:
    accuracies = {0: [0.1, 0.99, 0.2, 1.0], 1: [0.1, 0.98, 0.98, 0.989], 2: [math.nan, math.nan, 1.0, 1.0]}
    rows = [row(100 * k, replica, values[k]) for k in range(4) for replica, values in accuracies.items()]
    summary = unfinished(tmp_path, rows)
    assert summary.status == ("solved", "unfinished", "solved")
    assert summary.steps_to_solve == (100, None, 200)
    assert summary.steps_run is None
    assert summary.last_step == 300
    assert summary.accuracy == (1.0, 0.989, 1.0)


def test_a_criterion_may_ask_for_less(tmp_path: Path) -> None:
    rows = [row(step, replica, accuracy) for step, accuracy in ((0, 0.5), (10, 0.75)) for replica in range(3)]
    summary = unfinished(tmp_path, rows, solved_metric="loss", solved_at=0.25, solved_when="at_most")
    assert summary.steps_to_solve == (10, 10, 10)


def test_without_a_criterion_nothing_is_solved(tmp_path: Path) -> None:
    rows = [row(0, replica, 1.0) for replica in range(3)]
    summary = unfinished(tmp_path, rows, solved_metric=None, solved_at=None, solved_when=None)
    assert summary.status == ("unfinished",) * 3
    assert not summary.is_judged


def test_a_replica_that_fell_silent_without_solving_diverged_and_a_torn_step_is_no_silence(tmp_path: Path) -> None:
    rows = [row(step, 0, 0.1) for step in range(0, 600, 100)]
    rows += [row(step, 1, 0.1) for step in range(0, 500, 100)]  # one behind: its last line is not yet written
    rows += [row(step, 2, 0.1) for step in range(0, 400, 100)]
    assert unfinished(tmp_path, rows).status == ("unfinished", "unfinished", "diverged")


def test_a_run_that_has_only_begun_has_no_figures(tmp_path: Path) -> None:
    summary = unfinished(tmp_path, [])
    assert summary.status == ("unfinished",) * 3
    assert summary.last_step == 0
    assert summary.loss == summary.horizon == (None, None, None)
    assert summary.state == "stopped, step 0 of 2000"
    for kind, told in ((FAILED, "failed"), (PRUNED, "pruned"), ("<b>", "stopped")):
        record(RunFolder(summary.path), "out of luck", kind=kind)
        assert summaries_of(tmp_path)[0].state == f"{told}, step 0 of 2000"


def test_a_run_is_running_while_its_lock_is_held(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", Synthetic(finished=False))
    last = max(json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines())
    with Lock(RunFolder(folder).lock):
        assert summaries_of(tmp_path)[0].state == f"running, step {last} of 2000"
    assert summaries_of(tmp_path)[0].state == f"stopped, step {last} of 2000"
    edit_json(write_run(tmp_path / "other", Synthetic()) / "result.json", steps=2000)
    assert summaries_of(tmp_path / "other")[0].state == ""


@pytest.mark.slow
def test_a_run_stopped_in_the_middle_is_judged_as_it_is_at_its_end(tmp_path: Path) -> None:
    """The standing of a run without its result is that of its result, but for replicas that may go on."""
    folder = run_small(tmp_path / "run", "mitigation=[clip_norm]")
    ended = read_run(folder, label="run")
    assert ended.result
    folder.result.unlink()
    stopped = read_run(folder, label="run")
    assert stopped.standing.final == ended.standing.final
    assert stopped.standing.last_step == ended.result.steps
    assert stopped.standing.steps_to_solve == ended.result.steps_to_solve
    assert stopped.standing.status == ("unfinished",) * 3


def without_digest(folder: RunFolder) -> Run:
    content = read_json(folder.result)
    del content["digest"]
    folder.result.write_text(json.dumps(content))
    return read_run(folder, label="run")


@pytest.mark.parametrize(("target", "part"), [("answer", "total"), ("next_word", "answer")])
def test_the_digest_of_a_result_is_that_of_its_logs(tmp_path: Path, target: str, part: str) -> None:
    folder = run_small(tmp_path / "run", "mitigation=[clip_norm,clip_value]", "model=lstm", f"task.target={target}")
    run = read_run(folder, label="run")
    curves = [json.loads(line) for line in folder.curves.read_text().splitlines()]
    metrics = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    assert run.digest.active.keys() == {"clip_norm", "clip_value"}
    for replica in range(3):
        tag = f"hidden_grad_norm/h/layer_0/{part}"
        own = [c["values"] for c in curves if c["replica"] == replica and c["tag"] == tag]
        step = read_json(folder.manifest)["facts"]["informative_steps"][0]
        for found, values in ((run.digest.ratio_first, own[0]), (run.digest.ratio_last, own[-1])):
            assert found[replica] == pytest.approx(math.log10(values[step]) - math.log10(values[-1]), abs=1e-12)
        active = [m["clip_norm/active"] for m in metrics if m["replica"] == replica and "clip_norm/active" in m]
        assert run.digest.active["clip_norm"][replica] == pytest.approx(np.mean(active), abs=1e-15)
    assert without_digest(folder).digest == run.digest


def test_a_run_with_a_digest_is_summarised_without_its_logs(tmp_path: Path) -> None:
    folder = run_small(tmp_path / "run")
    (whole,) = summaries_of(tmp_path)
    folder.metrics.unlink()
    folder.curves.unlink()
    (alone,) = summaries_of(tmp_path)
    for name in ("status", "loss", "accuracy", "skipped", "active", "ratio_first", "ratio_last", "horizon", "decay"):
        assert getattr(alone, name) == getattr(whole, name)
        assert getattr(alone, name) is not None


def test_horizon_and_decay_are_those_of_the_top_layer(tmp_path: Path) -> None:
    folder = run_small(tmp_path / "run", "model.num_layers=2")
    final = read_json(folder.result)["final"]
    (summary,) = summaries_of(tmp_path)
    np.testing.assert_array_equal(summary.horizon, final["horizon/h/layer_1/lag"])
    np.testing.assert_array_equal(summary.decay, final["horizon/h/layer_1/decay"])
    assert final["horizon/h/layer_1/decay"] != final["horizon/h/layer_0/decay"]


def test_a_diverged_replica_has_no_last_figures(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", Synthetic(replicas=4, digest=True))
    final = {
        "eval/loss": [0.1, 1.0, 2.0, None],
        "eval/accuracy": [1.0, 0.9, 0.8, 0.7],
        "horizon/h/layer_0/lag": [5.0, 6.0, 7.0, 8.0],
        "horizon/h/layer_0/decay": [-0.1, -0.2, -0.3, -0.4],
        "eval_at_60/accuracy": [0.9, 0.8, 0.7, 0.6],
        "eval/answer_loss": [None] * 4,
    }
    status = ["diverged", "finished", "finished", "diverged"]
    edit_json(folder / "result.json", final=final, status=status, steps_to_solve=[None] * 4)
    (summary,) = summaries_of(tmp_path)
    nan = math.nan
    np.testing.assert_array_equal(summary.loss, [nan, 1.0, 2.0, nan])
    np.testing.assert_array_equal(summary.accuracy, [nan, 0.9, 0.8, nan])
    np.testing.assert_array_equal(summary.horizon, [nan, 6.0, 7.0, nan])
    np.testing.assert_array_equal(summary.decay, [nan, -0.2, -0.3, nan])
    np.testing.assert_array_equal(summary.elsewhere[60, "accuracy"], [nan, 0.8, 0.7, nan])
    assert summary.answer_loss == (None,) * 4  # nobody has it
    assert all(ratio is not None and math.isfinite(ratio) for ratio in summary.ratio_first)
    np.testing.assert_array_equal(np.isnan(np.array(summary.ratio_last, dtype=float)), [True, False, False, True])


def test_a_run_that_has_not_ended_is_compared_at_the_step_it_is_at(tmp_path: Path) -> None:
    """Replica 0 goes on, 1 solved the task before, 2 diverged before, 3 diverged after the step."""
    done = write_run(tmp_path / "done", Synthetic(replicas=4))
    ends = {0: 2000, 1: 400, 2: 300, 3: 1000}
    rows = [
        row(step, r, 0.0) | {"eval/loss": step + r / 10} for r, end in ends.items() for step in range(0, end + 1, 100)
    ]
    write_jsonl(done / "metrics.jsonl", rows)
    status = ["finished", "solved", "diverged", "diverged"]
    final = {"eval/loss": [2000.0, 400.1, 300.2, 1000.3]}
    edit_json(done / "result.json", status=status, steps_to_solve=[None, 400, None, None], final=final)
    going = write_run(tmp_path / "going", Synthetic(replicas=4, finished=False, mitigation=["clip_norm"]))
    rows = [row(step, r, 0.0) | {"eval/loss": 1.0} for r in range(4) for step in range(0, 601, 100)]
    write_jsonl(going / "metrics.jsonl", rows)
    (found,) = assemble(Request(directories=(tmp_path,))).comparisons
    loss = found.effect("loss")
    assert loss is not None
    assert found.at_step == 600
    assert (loss.pairs, loss.left_out) == (3, 1)
    assert loss.difference is not None
    assert loss.difference.value == pytest.approx(1 - (600.0 + 400.1 + 600.3) / 3)
    assert "compared at step 600, which is as far as lstm + clip_norm is" in found.notes[0]


def curves_and_rows(norms: list[list[float]], losses: list[float], spikes: list[int]) -> tuple[list, list]:
    """Make up the logs of one replica, with a probe, an evaluation and an entry at every hundredth step."""
    steps = [{"step": 100 * k, "replica": 0} for k in range(len(norms))]
    tag = {"tag": "hidden_grad_norm/h/layer_0/total"}
    curves = [step | tag | {"values": values} for step, values in zip(steps, norms, strict=True)]
    figures = zip(steps, losses, spikes, strict=True)
    rows = [step | {"eval/answer_loss": loss, "train/spikes": count} for step, loss, count in figures]
    return curves, rows


HEALTHY = [1e-3, 1e-2, 1.0]
DEAD = [0.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("norms", "losses", "spikes", "dead_from"),
    [
        ([HEALTHY] * 4, [2.0, 1e25, 3e3, 2.09e3], [0, 1, 0, 0], 100),
        ([HEALTHY] * 4, [2.0, 1e25, 3e3, 2.07e3], [0, 1, 0, 0], None),  # it returned
        ([HEALTHY] * 4, [2.0, 2.0, 2.0, math.nan], [0, 1, 0, 0], 300),
        ([HEALTHY] * 4, [1e4, 1e4, 1e4, 1e4], [0, 1, 0, 0], None),  # it never was below
        ([HEALTHY, HEALTHY, DEAD, DEAD], [2.0] * 4, [0, 0, 1, 0], 200),
        ([HEALTHY, HEALTHY, DEAD, DEAD], [2.0] * 4, [0, 1, 0, 1], None),  # vanished: no spike came before
        ([HEALTHY, DEAD, HEALTHY, HEALTHY], [2.0] * 4, [0, 1, 0, 0], None),
        ([DEAD] * 4, [2.0] * 4, [0, 1, 0, 0], None),
        ([[0.0, 1e-30, 1.0]] * 4, [2.0] * 4, [1] * 4, None),  # vanishes on its way
    ],
)
def test_a_replica_that_explodes_and_never_recovers_counts_as_diverged(
    tmp_path: Path, norms: list[list[float]], losses: list[float], spikes: list[int], dead_from: int | None
) -> None:
    folder = write_run(tmp_path / "run", Synthetic(replicas=1, seq_len=3, probes=2, speed=0))
    curves, rows = curves_and_rows(norms, losses, spikes)
    write_jsonl(folder / "curves.jsonl", curves)
    write_jsonl(folder / "metrics.jsonl", rows)
    run = read_run(RunFolder(folder), label="run")
    assert run.digest.dead_from == (dead_from,)
    assert run.standing.status == ("finished" if dead_from is None else "diverged",)
    assert run.standing.diverged_at == (dead_from,)
    assert run.digest.spikes == (sum(spikes),)


def test_the_growth_is_the_largest_of_probes_and_kept_steps(tmp_path: Path) -> None:
    spiking = ("optimizer=sgd", "optimizer.lr=3", "instrument.flight_recorder.factor=1", "train.num_steps=40")
    folder = run_small(tmp_path / "run", "model=rnn", *spiking, "mitigation=[]", "replicas=2")
    run = read_run(folder, label="run")
    assert run.events.events
    for replica in range(2):
        probes = run.curves["hidden_grad_norm/h/layer_0/total"].of_replica(replica).tolist()
        kept = [step.norms["h/layer_0/total"] for e in run.events.events if e.replica == replica for step in e.steps]
        wanted = max(math.log10(max(norms) / norms[-1]) for norms in [*probes, *kept])
        assert run.digest.growth[replica] == pytest.approx(wanted, abs=1e-9)


def test_final_figures_say_which_step_they_are_of(tmp_path: Path) -> None:
    lost = ("model=rnn", "model.nonlinearity=relu", "optimizer=sgd", "optimizer.lr=1e12", "mitigation=[]")
    folder = run_small(tmp_path / "run", *lost, "replicas=2", "train.num_steps=40", "train.eval_interval=5")
    result = read_json(folder.result)
    assert result["status"] == ["diverged", "diverged"]
    assert result["final_steps"]["eval/loss"] == 5 * ((result["steps"] - 1) // 5)
    rows = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    for replica, step in enumerate(result["diverged_at"]):
        mine = [row for row in rows if row["replica"] == replica]
        assert mine[-1]["train/diverged"] == 1
        assert mine[-1]["step"] == step + 9  # ten in a row
