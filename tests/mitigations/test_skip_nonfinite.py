import json
from dataclasses import replace

import pytest
import torch
from tools.members import plan, run_small
from tools.training import batch_of, build, content, gradients_of, step_of
from torch import Tensor
from typing_extensions import override

from rnnstudy.mitigations.base import Mitigation
from rnnstudy.models.base import Network
from rnnstudy.training.step import TrainingStep

CHOSEN = ("task=adding", "task.seq_len=9", "model=lstm", "train.eval_batch_size=4")
ON = (*CHOSEN, "mitigation=[skip_nonfinite]")
PLACE = (1, 2, 0)  # replica 1, an entry of a matrix


def poison(network: Network, value: float) -> None:
    """From now on one entry of one gradient of replica 1 is not what it should be."""

    def change(gradient: Tensor) -> Tensor:
        changed = gradient.clone()
        changed[PLACE] = value
        return changed

    network.recurrent_layers[0].get_parameter("weight_hh").register_hook(change)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("policy", [None, "skip", "zero"])
def test_what_becomes_of_a_gradient_that_is_not_finite(policy, bad):
    settings = plan(*CHOSEN) if policy is None else plan(*ON, f"mitigation.skip_nonfinite.policy={policy}")
    net = build(settings)
    step_of(settings, net)(batch_of(settings), 0)
    clean = gradients_of(net)
    poison(net, bad)
    result = step_of(settings, net)(batch_of(settings), 0)
    assert result.may_step.tolist() == ([True, True, True] if policy == "zero" else [True, False, True])
    assert not result.raw_norm[1].isfinite()
    for name, gradient in gradients_of(net).items():
        expected = clean[name]
        if name == "layers.0.weight_hh":
            expected[PLACE] = 0 if policy == "zero" else bad
        assert torch.equal(gradient.nan_to_num(nan=7), expected.nan_to_num(nan=7)), name
    if policy == "zero":
        assert result.diagnostics["skip_nonfinite/zeroed"].tolist() == [0, 1, 0]


@pytest.mark.parametrize("policy", [None, "skip", "zero"])
def test_in_a_run(tmp_path, monkeypatch, policy):
    """Replica 1 has a NaN in its gradient at every third step."""
    compute = TrainingStep.__call__

    def poisoned(self, batch, step, **options):
        weight = self.network.recurrent_layers[0].get_parameter("weight_hh")
        hook = weight.register_hook(lambda gradient: gradient.index_put(tuple(map(torch.tensor, PLACE)), NAN))
        if step % 3:
            hook.remove()
        result = compute(self, batch, step, **options)
        hook.remove()
        return result

    monkeypatch.setattr(TrainingStep, "__call__", poisoned)
    overrides = CHOSEN if policy is None else (*ON, f"mitigation.skip_nonfinite.policy={policy}")
    folder = run_small(tmp_path / "run", *overrides)
    result = json.loads(folder.result.read_text())
    assert result["skipped"] == [0, 0 if policy == "zero" else 4, 0]
    assert result["status"] == ["finished"] * 3
    assert all(weight.isfinite().all() for weight in content(folder)["network"].values())


NAN = torch.tensor(float("nan"))


def test_a_step_that_is_not_skipped_does_not_depend_on_the_policy(tmp_path):
    folders = [run_small(tmp_path / policy, *ON, f"mitigation.skip_nonfinite.policy={policy}") for policy in POLICIES]
    first, second = (content(folder)["network"] for folder in folders)
    assert all(torch.equal(first[name], second[name]) for name in first)


POLICIES = ("skip", "zero")


@pytest.mark.parametrize("policy", POLICIES)
def test_steps_with_a_large_norm_are_skipped_and_counted(tmp_path, monkeypatch, policy):
    norms: list[Tensor] = []
    compute = TrainingStep.__call__

    def watched(self, batch, step, **options):
        result = compute(self, batch, step, **options)
        assert torch.equal(result.may_step, result.raw_norm <= 2.3)
        norms.append(result.raw_norm)
        return result

    monkeypatch.setattr(TrainingStep, "__call__", watched)
    limits = ("mitigation.skip_nonfinite.above=2.3", f"mitigation.skip_nonfinite.policy={policy}")
    folder = run_small(tmp_path / "run", *ON, *limits, "train.max_skipped_in_a_row=100")
    # The last step has no update that could be skipped.
    large = (torch.stack(norms[:-1]) > 2.3).sum(0).tolist()
    assert 0 < sum(large) < 3 * 12
    assert json.loads(folder.result.read_text())["skipped"] == large


def test_the_norm_is_the_one_before_other_mitigations():
    clipped = plan(
        *CHOSEN,
        "mitigation=[clip_norm,skip_nonfinite]",
        "mitigation.clip_norm.max_norm=1e-3",
        "mitigation.skip_nonfinite.above=0.1",
    )
    result = step_of(clipped, build(clipped))(batch_of(clipped), 0)
    assert (result.raw_norm > 0.1).all()
    assert not result.may_step.any()


def test_a_run_that_skips_every_step_says_that_it_diverged(tmp_path):
    folder = run_small(tmp_path / "run", *ON, "mitigation.skip_nonfinite.above=1e-9")
    result = json.loads(folder.result.read_text())
    assert result["status"] == ["diverged"] * 3
    assert result["skipped"] == [10] * 3


def test_zero_does_not_hide_that_a_replica_has_diverged(tmp_path):
    """A linear network far beyond float32: nothing is left of the gradient, so no step is taken."""
    folder = run_small(
        tmp_path / "run",
        *("task=adding", "task.seq_len=20", "model=linear_rnn", "optimizer=sgd", "optimizer.lr=1e10"),
        *("mitigation=[skip_nonfinite]", "mitigation.skip_nonfinite.policy=zero", "train.num_steps=30"),
    )
    result = json.loads(folder.result.read_text())
    assert result["status"] == ["diverged"] * 3
    assert min(result["skipped"]) >= 10


def test_what_a_mitigation_makes_infinite_is_not_taken():
    class Spoiler(Mitigation):
        @override
        def after_backward(self, backward):
            next(iter(backward.gradients.values()))[1] = torch.inf
            return {}

    chosen = plan(*CHOSEN)
    result = step_of(replace(chosen, mitigations=[Spoiler()]), build(chosen))(batch_of(chosen), 0)
    assert result.raw_norm.isfinite().all()
    assert result.may_step.tolist() == [True, False, True]
