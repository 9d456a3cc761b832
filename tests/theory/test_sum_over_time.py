"""Terms of the weight gradient against plain autograd; float64."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from reference.plain_gradients import run_plain
from tools.members import members
from tools.topics import random_small, table

from rnnstudy.lessons.worked_bptt import lesson_network
from rnnstudy.models.base import RECURRENT
from rnnstudy.theory.measures import terms
from rnnstudy.theory.topics import worked_tables
from rnnstudy.theory.topics.sum_over_time import explain_sum_over_time


def plain_terms(example, loss_steps):
    """Norms and shares of the terms of every layer from autograd on a copy of the weights per step, one replica."""
    run = run_plain(example.network, example.task, example.batch)
    found = {}
    for index, layer, gradients in run.terms():
        names = [name for name in gradients if name in RECURRENT] or list(gradients)
        rows = torch.cat([gradients[name][:, example.replica].flatten(1) for name in names], 1)
        found.setdefault(layer, {})[int(example.batch.loss_steps[index])] = rows
    for layer, by_step in found.items():
        total = torch.stack([rows.sum(0) for rows in by_step.values()]).sum(0)
        share = torch.zeros(len(example.batch.inputs), dtype=torch.float64)
        for step, rows in by_step.items():
            for source in range(step + 1):
                share[step - source] += rows[source] @ total / (total @ total)
        norms = torch.stack([by_step[step].norm(dim=1) for step in loss_steps], 1)
        yield layer, norms.numpy(), share.numpy()


@pytest.mark.parametrize("task", ["end", "every"])
@pytest.mark.parametrize("model", ["rnn", "gru", "lstm", "skip_rnn", "indrnn", "lru"])
def test_norms_and_shares_of_terms_are_those_of_plain_autograd(trained, model, task):
    (example,) = trained(model, task).examples
    splits = terms.split(example)
    assert len(splits) == 2
    for layer, norms, share in plain_terms(example, splits[0].loss_steps):
        found = splits[layer]
        later = np.arange(len(norms))[:, None] > np.array(found.loss_steps)
        assert np.isnan(found.log10_norm[later]).all()
        # What autograd says of sources before the loss is left; norms far below the largest are rounding there.
        np.testing.assert_allclose(10.0 ** found.log10_norm[~later], norms[~later], rtol=1e-9, atol=1e-15 * norms.max())
        np.testing.assert_allclose(found.share, share, rtol=0, atol=1e-9)
        assert found.share.sum() == pytest.approx(1, abs=1e-12)
        assert found.error < 1e-12
        assert found.terms == (~later).sum()


def test_the_table_of_shares_groups_the_lags_and_adds_to_one(trained):
    subject = trained("gru", "every")
    topic = explain_sum_over_time(subject)
    rows = {row["lag"]: row for row in table(topic, "Share of the gradient")}
    for found in terms.split(subject.examples[0]):
        assert rows["3 to 4"][found.name] == f"{found.share[3] + found.share[4]:.4f}"
        assert rows["sum"][found.name] == "1.0000"
        lag = (np.abs(found.share) * np.arange(len(found.share))).sum() / np.abs(found.share).sum()
        assert float(rows["mean lag"][found.name]) == pytest.approx(lag, abs=0.006)


@pytest.mark.parametrize("model", members("model"))
def test_one_replica_taken_out_has_the_gradient_it_has_among_the_others(model):
    (example,) = [each for each in terms.small_examples() if each.name == model]
    settings, task = example.network.model, example.task
    init, data = ([torch.Generator().manual_seed(seed) for seed in range(3)] for _ in range(2))
    three = settings.build(terms.interface_of(task), init, torch.float64)
    batch = terms.draw(task, 2, data, torch.device("cpu"))
    alone = replace(example, network=three, batch=batch, replica=2)
    whole = terms.backward_gradients(three, task, batch)[0]
    own = terms.backward_gradients(terms.one_replica(three, 2), task, batch.replica(slice(2, 3)))[0]
    for name, gradient in whole.items():
        torch.testing.assert_close(own[name][0], gradient[2], rtol=1e-10, atol=1e-14)
    assert terms.split(alone)[0].error < 1e-11
    assert three.replicas == 3


def test_every_model_is_checked_and_its_terms_add_up_to_the_gradient():
    rows = {row["network"]: row for row in table(explain_sum_over_time(random_small()), "The same for every model")}
    assert {name for name in rows if "layer_norm" not in name} == set(members("model"))
    assert {"rnn, layer_norm", "gru, layer_norm", "lstm, layer_norm"} <= rows.keys()
    assert all(float(row["relative error"]) < 1e-12 for row in rows.values())


def test_a_term_that_is_missing_shows_in_the_error(monkeypatch):
    example = random_small().examples[0]
    right = terms.weight_terms
    monkeypatch.setattr(terms, "weight_terms", lambda *given: list(right(*given))[1:])
    missing = next(iter(right(terms.one_replica(example.network, 0), example.task, example.batch)))
    assert missing.gradients["weight_ih"].any()
    assert terms.split(example)[0].error > 1e-3


def test_too_many_terms_leave_some_loss_steps_whose_own_gradient_they_sum_to(monkeypatch, trained):
    subject = trained("lstm", "every")
    (example,) = subject.examples
    every = terms.split(example)
    monkeypatch.setattr(terms, "BUDGET", 20_000)
    some = terms.split(example)
    assert 2 <= len(some[0].loss_steps) < len(every[0].loss_steps)
    assert some[0].loss_steps[-1] == every[0].loss_steps[-1]
    assert all(each.error < 1e-12 and each.share.sum() == pytest.approx(1, abs=1e-12) for each in some)
    assert any(f"{len(some[0].loss_steps)} loss steps between" in line for line in explain_sum_over_time(subject).text)


def test_gradients_below_the_square_root_of_float64_keep_their_norms_and_shares():
    example = random_small().examples[0]
    usual = terms.split(example)[0]
    tiny = replace(example, network=example.network.double())
    with torch.no_grad():
        tiny.network.readout_weight.mul_(1e-200)
    found = terms.split(tiny)[0]
    finite = np.isfinite(found.log10_norm)
    assert (finite == np.isfinite(usual.log10_norm)).all()
    assert found.log10_norm[finite].max() < -190
    assert found.share.sum() == pytest.approx(1, abs=1e-12)


def test_a_gradient_of_zero_has_no_shares_and_is_said_so():
    subject = random_small()
    example = subject.examples[0]
    with torch.no_grad():
        example.network.readout_weight.zero_()
    topic = explain_sum_over_time(replace(subject, examples=(example,)))
    assert "rnn: its gradient is zero or not finite, so there are no shares." in topic.text
    assert {row["rnn"] for row in table(topic, "Share")} == {"-"}
    assert [row["relative error"] for row in table(topic, "The sum of the terms")] == ["0.0e+00"]


def test_weights_that_are_not_finite_are_said_so():
    subject = random_small()
    example = subject.examples[0]
    with torch.no_grad():
        example.network.recurrent_layers[0].get_parameter("weight_hh").fill_(math.nan)
    topic = explain_sum_over_time(replace(subject, examples=(example,)))
    assert [row["relative error"] for row in table(topic, "The sum of the terms")] == ["not finite"]
    assert any("Largest relative error: not finite." in line for line in topic.text)


def test_the_worked_tables_hold_what_torch_computes():
    network, topic = lesson_network(), explain_sum_over_time(replace(random_small(), examples=()))
    u, v, w = (torch.tensor(weight, requires_grad=True) for weight in (network.U, network.V, network.W))
    state, losses = torch.zeros(2, dtype=torch.float64), []
    rows = table(topic, "The worked network, forward")
    for row, symbol, target in zip(rows, worked_tables.INPUTS, worked_tables.TARGETS, strict=True):
        state = torch.tanh(u[:, symbol] + w @ state)
        losses.append(torch.nn.functional.cross_entropy((v @ state)[None], torch.tensor([target])))
        expected = (*state.tolist(), math.exp(-losses[-1].item()), losses[-1].item())
        found = [float(row[name]) for name in ("s_t, unit 1", "s_t, unit 2", "o_t(y_t)", "E_t")]
        assert found == pytest.approx(expected, abs=6e-7)
    (gradient,) = torch.autograd.grad(torch.stack(losses).sum(), w)
    entries = table(topic, "The gradient of W")
    for column in ("all terms", "autograd", "clip ±5"):
        assert [float(row[column]) for row in entries[:4]] == pytest.approx(gradient.flatten().tolist(), abs=6e-9)
    cut = network.terms(worked_tables.INPUTS, worked_tables.TARGETS)
    far = np.subtract.outer(range(8), range(8)) > 3
    cut[far] = 0
    assert [float(row["truncate 3"]) for row in entries[:4]] == pytest.approx(cut.sum((0, 1)).ravel(), abs=6e-9)
    assert abs(float(entries[4]["all terms"])) > 5
    assert abs(float(entries[4]["clip ±5"])) == 5


def test_the_worked_terms_of_the_last_loss_agree_with_autograd_to_rounding():
    rows = table(explain_sum_over_time(replace(random_small(), examples=())), "The terms of dE_t/dW")
    assert [row["lag"] for row in rows] == [str(lag) for lag in range(8)]
    terms = worked_tables.autograd_terms(lesson_network(), worked_tables.INPUTS, worked_tables.TARGETS)[7]
    for row in rows:
        found = [float(row[name]) for name in ("W11", "W12", "W21", "W22")]
        assert found == pytest.approx(terms[7 - int(row["lag"])].ravel(), rel=0.06)
        assert float(row["diff"]) < 1e-15
