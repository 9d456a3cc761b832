"""The loop around a replica that diverges, put there on purpose."""

import math
from dataclasses import replace

import pytest
import torch
from reference.plain_gradients import run_plain
from tools.members import members
from tools.training import PATIENCE, STEPS

from rnnstudy.core.seeding import replica_generators
from rnnstudy.runs import tags
from rnnstudy.training import step
from rnnstudy.training.loop import Training
from rnnstudy.training.step import evaluate


def records(training: Training, replica: int) -> list[dict]:
    return [record for record in training.outlets.log.metrics() if record["replica"] == replica]


@pytest.mark.parametrize(
    ("bad", "optimizer"), [*((math.nan, name) for name in members("optimizer")), (math.inf, "adam"), (3e38, "sgd")]
)
def test_a_diverging_replica_is_frozen_and_its_neighbours_never_notice(start, bad, optimizer):
    training = start("stack", 0, 3, f"optimizer={optimizer}")
    with torch.no_grad():
        training.parts.network.layers[0].weight_hh[1] = bad
        training.parts.network.readout_weight[1] = bad
    poisoned = training.parts.network.readout_bias[1].detach().clone()
    training.run()
    assert training.states.names() == ["finished", "diverged", "finished"]
    assert training.states.skipped.tolist() == [0, PATIENCE, 0]
    assert torch.equal(training.parts.network.readout_bias[1], poisoned)
    assert records(training, 1)[-1]["step"] < STEPS
    for replica in (0, 2):
        alone = start(str(replica), replica, 1, f"optimizer={optimizer}")
        alone.run()
        for (name, one), other in zip(
            alone.parts.network.named_parameters(), training.parts.network.parameters(), strict=True
        ):
            assert torch.allclose(one[0], other[replica], rtol=1e-4, atol=1e-6), name
        for one, other in zip(records(alone, 0), records(training, replica), strict=True):
            assert one["step"] == other["step"]
            assert one.get("train/loss", 0) == pytest.approx(other.get("train/loss", 0), rel=1e-4)


def test_a_single_bad_step_is_skipped_and_counted(start, monkeypatch):
    training = start("run", 0, 2)
    compute, calls = training._compute, []

    def poison_the_sixth_gradient(batch, step, **options):
        result = compute(batch, step, **options)
        calls.append(step)
        if step == 5:
            result.raw_norm[0], result.may_step[0] = math.nan, False
            for gradient in compute.gradients().values():
                gradient[0] = math.nan
        return result

    monkeypatch.setattr(training, "_compute", poison_the_sixth_gradient)
    monkeypatch.setattr(poison_the_sixth_gradient, "gradients", compute.gradients, raising=False)
    training.run()
    assert training.states.names() == ["finished", "finished"]
    assert training.states.skipped.tolist() == [1, 0]
    assert all(parameter.isfinite().all() for parameter in training.parts.network.parameters())
    assert records(training, 0)[-1]["train/skipped"] == 1


def test_the_clipped_norm_is_that_after_the_mitigations(start):
    training = start("run", 0, 2, "mitigation.clip_norm.max_norm=0.1", "instrument.grad_norm.schedule.interval=1")
    training.run()
    norms = [(row["grad_norm/raw"], row["grad_norm/clipped"]) for row in records(training, 0)]
    assert [clipped for _, clipped in norms] == pytest.approx([min(raw, 0.1) for raw, _ in norms], rel=1e-4)
    assert max(norms)[0] > 0.1


def test_when_all_have_diverged_the_run_ends(start):
    training = start("run", 0, 2)
    with torch.no_grad():
        training.parts.network.readout_bias.fill_(math.nan)
    training.run()
    assert training.step == PATIENCE
    assert training.states.names() == ["diverged", "diverged"]


def test_evaluation_is_on_what_was_held_out(start):
    training = start("run", 0, 2, "task=sequential_digits")
    task = training.parts.task
    batch = training._eval_batches[tags.EVAL]
    generators = replica_generators(0, 2, "eval")
    for replica, generator in enumerate(generators):
        wanted = task.held_out().sample(batch.inputs.shape[2], generator)
        assert torch.equal(batch.inputs[:, replica], wanted.inputs)
        assert torch.equal(batch.targets[:, replica], wanted.targets)
    assert task.held_out() != task


def test_a_probe_leaves_the_gradient_as_it_is(start):
    training = start("run", 0, 2, "task=adding", "task.seq_len=[5,9]")
    assert training._probe_batch is not None
    training._compute(training._data.next(0), 0)
    before = {name: gradient.clone() for name, gradient in training._compute.gradients().items()}
    (adjoints,) = training._compute.probe(training._probe_batch, 0)
    assert adjoints["h"].total.shape[0] == 9
    for name, gradient in training._compute.gradients().items():
        assert torch.equal(before[name], gradient), name


@pytest.mark.parametrize(
    "overrides",
    [
        ("task=copy_memory", "task.delay=3", "task.num_symbols=2"),
        ("task=copy_memory", "task.delay=[2,5]", "task.num_symbols=2"),
        ("task=coconut_water", "task.target=next_word"),
        ("task=text", "task.seq_len=7"),
        ("task=adding", "task.seq_len=5"),
    ],
    ids=" ".join,
)
def test_the_answers_gradient_is_that_of_plain_autograd(start, overrides, monkeypatch):
    """At every step, in float64: of a text too, which begins where the batch before ended."""
    small = ("train.num_steps=2", "train.batch_size=3", "model.hidden_size=4", "model.num_layers=2")
    training = start("run", 0, 2, *overrides, *small, "instrument.grad_norm.schedule.interval=1")
    network, task = training.parts.network.double(), training.parts.task
    take_record, seen = training._record, []

    def compare(batch, result):
        record = take_record(batch, result)
        initial = training._data.initial if record.batch is batch else None
        answered = record.batch.answer.clone()
        if overrides[0] == "task=text":
            answered[:-1] = False
            assert (initial is None) == (training.step == 0)
        twin = run_plain(network, task, replace(record.batch, counted=answered), initial)
        for layer, states in enumerate(record.answer_norms):
            for state, norms in states.items():
                assert torch.allclose(norms, 10 ** twin.log10_norms(layer, state), rtol=1e-9, atol=0)
        seen.append(record.sends_answer_alone)
        return record

    monkeypatch.setattr(training, "_record", compare)
    training.run()
    assert seen == [overrides[0] != "task=adding"] * 3


def test_an_evaluation_in_parts_is_one_evaluation(start, monkeypatch):
    training = start("run", 0, 2)
    network, task, batch = training.parts.network, training.parts.task, training._eval_batches[tags.EVAL]
    whole = evaluate(task, network, batch)
    monkeypatch.setattr(step, "EVALUATED_AT_ONCE", 23 * 2 * 5)
    parts = evaluate(task, network, batch)
    monkeypatch.setattr(step, "EVALUATED_AT_ONCE", 1 << 18)
    monkeypatch.setattr(step, "OUTPUTS_AT_ONCE", 2 * task.facts.output_size * 3)
    few = evaluate(task, network, batch)
    for name, values in whole.items():
        assert torch.allclose(values, parts[name], rtol=1e-5), name
        assert torch.allclose(values, few[name], rtol=1e-5), name


def test_training_and_evaluation_are_of_different_streams(start):
    training = start("run", 0, 2, "train.eval_batch_size=4", "train.batch_size=4")
    trained, judged = training._data.next(0), training._eval_batches[tags.EVAL]
    assert trained.inputs.shape == judged.inputs.shape
    assert not torch.equal(trained.inputs, judged.inputs)
