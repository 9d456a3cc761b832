import numpy as np
import pytest
import torch
from tools.members import members, plan, run_small
from tools.training import build
from torch import Tensor

from rnnstudy.core.errors import ConfigError
from rnnstudy.mitigations.spectral_limit import SpectralLimit
from rnnstudy.models.base import Network
from rnnstudy.training.loop import Training

REFUSED = [
    name
    for name in members("model")
    if "weight_hh" in plan(f"model={name}").model.set_by_model
    or "weight_hh" not in plan(f"model={name}").model.recurrence().shapes(2, 2)
]
SUITED = [name for name in members("model") if name not in REFUSED]


def blocks(network: Network) -> dict[str, Tensor]:
    """Every gate's block of every matrix that multiplies states, (replica, hidden, hidden)."""
    return {
        f"{index} {name} {number}": block
        for index, layer in enumerate(network.recurrent_layers)
        for name in ("weight_hh", "weight_skip")
        if name in layer.names
        for number, block in enumerate(layer.get_parameter(name).detach().split(layer.hidden_size, dim=1))
    }


def norms(block: Tensor) -> np.ndarray:
    return np.linalg.svd(block.double().numpy(), compute_uv=False)[:, 0]


@pytest.mark.parametrize("model", SUITED)
def test_after_every_step_of_a_run_the_norms_are_within_the_limit(tmp_path, monkeypatch, model):
    limit, step, reached = 0.3, Training._one_step, []

    def checked(training: Training) -> None:
        for when in ("before", "after"):
            largest = {name: norms(block).max() for name, block in blocks(training.parts.network).items()}
            assert max(largest.values()) <= limit * (1 + 1e-6), (when, largest)
            reached.append(max(largest.values()))
            if when == "before":
                step(training)

    monkeypatch.setattr(Training, "_one_step", checked)
    run_small(
        tmp_path / "run",
        *("task=adding", "task.seq_len=9", f"model={model}", "model.num_layers=2", "mitigation=[spectral_limit]"),
        *(f"mitigation.spectral_limit.limit={limit}", "optimizer.lr=0.05", "train.eval_batch_size=4", "instrument=[]"),
    )
    assert len(reached) == 2 * 13
    assert min(reached[1:]) > limit * (1 - 1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("model", SUITED)
def test_blocks_below_and_replicas_that_sit_out_keep_every_bit(model, dtype):
    net = build(plan("task=adding", f"model={model}"), dtype=dtype)
    before = {name: block.clone() for name, block in blocks(net).items()}
    updated = torch.tensor([True, False, True])
    sizes = np.concatenate([norms(block[updated]) for block in before.values()])
    sitting_out = max(norms(block[1:2]).max() for block in before.values())
    limit = 0.5 if model == "irnn" else float(min((sizes.min() + sizes.max()) / 2, 0.999 * sitting_out))
    SpectralLimit(limit=limit).after_update(net, updated)
    changed = 0
    for name, block in blocks(net).items():
        for replica, norm in enumerate(norms(before[name])):
            one, was = block[replica], before[name][replica]
            if norm > limit and updated[replica]:
                assert torch.allclose(one, was * (limit / norm), rtol=1e-6)
                changed += 1
            else:
                assert torch.equal(one, was)
    assert changed


def test_weights_that_are_not_finite_are_left_to_the_loop():
    net = build(plan("task=adding", "model=lstm"))
    weight = net.recurrent_layers[0].get_parameter("weight_hh")
    with torch.no_grad():
        weight.mul_(10)
        weight[1, 3, 2] = float("nan")
    SpectralLimit().after_update(net, torch.ones(3, dtype=torch.bool))
    for block in blocks(net).values():
        assert norms(block[[0, 2]]).max() <= 1 + 1e-12


@pytest.mark.parametrize("model", REFUSED)
def test_weights_that_are_not_free_are_refused(model):
    with pytest.raises(
        ConfigError, match="spectral_limit cannot be applied to this model: it needs recurrent matrices"
    ):
        plan(f"model={model}", "mitigation=[spectral_limit]")


def test_who_is_refused():
    assert set(REFUSED) == {"orthogonal_rnn", "indrnn", "lru", "antisymmetric_rnn"}
