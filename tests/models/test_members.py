"""What each model keeps while it is trained, and where it starts."""

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tools.members import members, plan, run_small
from tools.training import assert_resumed_is_undisturbed, batch_of, build, content, step_of
from torch import Tensor

from rnnstudy.core.errors import ConfigError
from rnnstudy.core.seeding import replica_generators
from rnnstudy.models.base import Interface, Layer, Network
from rnnstudy.models.residual_rnn import ResidualRNN
from rnnstudy.models.rnn import RNN
from rnnstudy.recurrence.base import AdjointRecorder
from rnnstudy.recurrence.lru import eigenvalues
from rnnstudy.training.loop import Training

SHORT = ("task=adding", "task.seq_len=9", "train.eval_batch_size=4")
FEATURES = Interface(input_size=3, output_size=2, encoding="features", seq_len=9)


def trained(steps: int, *overrides: str) -> Network:
    """A float32 network after some steps of Adam."""
    chosen = plan(*SHORT, "optimizer.lr=0.01", *overrides)
    network = build(chosen, replicas=2, dtype=torch.float32)
    step, optimizer = step_of(chosen, network), chosen.make_optimizer(network)
    batches = [batch_of(chosen, 2, seed) for seed in range(0, 20, 2)]
    for number in range(steps):
        optimizer.step(step(batches[number % len(batches)], number).may_step)
        network.constrain()
    return network


def recurrent(network: Network, name: str = "weight_hh") -> list[Tensor]:
    return [layer.weights()[name].detach() for layer in network.recurrent_layers]


@pytest.mark.parametrize(
    ("orthogonal_map", "steps"),
    [
        ("cayley", 30),
        ("matrix_exp", 30),
        *(pytest.param(name, 300, marks=pytest.mark.slow) for name in ("cayley", "matrix_exp")),
    ],
)
def test_recurrent_weights_stay_orthogonal(orthogonal_map, steps):
    chosen = ("model=orthogonal_rnn", f"model.orthogonal_map={orthogonal_map}", "model.num_layers=2")
    identity, before = torch.eye(6), recurrent(trained(0, *chosen))
    for weight, start in zip(recurrent(trained(steps, *chosen)), before, strict=True):
        assert (weight.mT @ weight - identity).abs().max() < 1e-5
        assert (weight - start).abs().max() > 0.01


@pytest.mark.parametrize("orthogonal_map", ["cayley", "matrix_exp"])
def test_orthogonal_weights_start_at_random_matrices_of_both_kinds(orthogonal_map):
    """As drawn, whatever the map: rotations and reflections."""
    chosen = plan("task=adding", "model=orthogonal_rnn", f"model.orthogonal_map={orthogonal_map}")
    (weight,) = recurrent(build(chosen, replicas=20))
    (drawn,) = recurrent(build(plan("task=adding", "model=orthogonal_rnn"), replicas=20))
    assert torch.allclose(weight, drawn, atol=1e-12)
    assert set(torch.linalg.det(weight).round().int().tolist()) == {-1, 1}


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("time_steps", [1, 10, 100])
def test_indrnn_is_within_its_bound_after_every_step_whatever_the_learning_rate(
    tmp_path, monkeypatch, time_steps, optimizer
):
    step, sizes = Training._one_step, []

    def checked(training: Training) -> None:
        step(training)
        for weight in recurrent(training.parts.network, "recurrent"):
            sizes.append(float(weight.abs().max()))
            assert sizes[-1] <= 2 ** (1 / time_steps) * (1 + 1e-7)

    monkeypatch.setattr(Training, "_one_step", checked)
    run_small(
        tmp_path / "run",
        *SHORT,
        *("model=indrnn", f"model.time_steps={time_steps}", "model.num_layers=2", "instrument=[]"),
        *(f"optimizer={optimizer}", "optimizer.lr=1"),
    )
    assert len(sizes) == 2 * 13
    assert max(sizes) > 2 ** (1 / time_steps) * (1 - 1e-6)


@pytest.mark.parametrize("time_steps", [1, 100])
def test_indrnn_starts_uniform_between_zero_and_its_bound(time_steps):
    chosen = plan("task=adding", "model=indrnn", f"model.time_steps={time_steps}", "model.hidden_size=500")
    bound = 2 ** (1 / time_steps)
    for weight in recurrent(build(chosen), "recurrent"):
        assert weight.min() >= 0
        assert weight.max() <= bound
        assert float(weight.mean()) == pytest.approx(bound / 2, rel=0.05)
        assert float(weight.var()) == pytest.approx(bound**2 / 12, rel=0.1)


@pytest.mark.parametrize("diffusion", [0.0, 0.01, 0.5])
@pytest.mark.parametrize("steps", [0, 20])
def test_antisymmetric_up_to_the_diffusion(diffusion, steps):
    chosen = ("model=antisymmetric_rnn", f"model.diffusion={diffusion}", "model.num_layers=2")
    for weight in recurrent(trained(steps, *chosen)):
        expected = (-2 * diffusion * torch.eye(6)).expand_as(weight)
        assert torch.allclose(weight + weight.mT, expected, atol=1e-7)
        assert (weight - weight.mT).abs().max() > 0.1


def unroll(layer: Layer, inputs: Tensor, start: Tensor) -> Tensor:
    with torch.no_grad():
        return layer(inputs, state=(start,))[0][0]


@given(rate=st.floats(0.01, 1), seed=st.integers(0, 100))
@settings(max_examples=15)
def test_a_leaky_unit_forgets_at_its_rate_and_a_residual_one_adds_up(rate, seed):
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(2, 4, 6, generator=generator, dtype=torch.float64)
    inputs = torch.randn(9, 2, 4, 3, generator=generator, dtype=torch.float64)
    leaky = ResidualRNN(hidden_size=6, variant="leaky", rate=rate)
    residual = ResidualRNN(hidden_size=6, variant="residual", rate=rate)
    for model, keep in ((leaky, 1 - rate), (residual, 1.0)):
        network = model.build(FEATURES, replica_generators(seed, 2, "init"), torch.float64)
        (layer,) = network.recurrent_layers
        with torch.no_grad():
            layer.get_parameter("weight_hh").zero_()
        weights = layer.weights()
        new = torch.tanh(inputs @ weights["weight_ih"].mT + (weights["bias_ih"] + weights["bias_hh"])[:, None]).detach()
        expected, state = [], start
        for each in new:
            state = keep * state + rate * each
            expected.append(state)
        assert torch.allclose(unroll(layer, inputs, start), torch.stack(expected), rtol=1e-10, atol=1e-13)


def test_a_leaky_network_that_keeps_nothing_is_the_vanilla_one():
    leaky, vanilla = (
        model.build(FEATURES, replica_generators(0, 2, "init"), torch.float64)
        for model in (ResidualRNN(hidden_size=6, variant="leaky", rate=1.0), RNN(hidden_size=6))
    )
    inputs = torch.randn(9, 2, 4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    steps = torch.arange(9)
    assert torch.allclose(leaky(inputs, steps).outputs, vanilla(inputs, steps).outputs, rtol=1e-12)


@pytest.mark.parametrize("skip", [2, 3, 5, 12])
def test_without_its_other_weights_a_skip_network_sees_only_every_skipth_step(skip):
    network = build(plan("task=adding", "model=skip_rnn", f"model.skip={skip}"))
    with torch.no_grad():
        network.recurrent_layers[0].get_parameter("weight_hh").zero_()
    inputs = torch.randn(9, 3, 4, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    recorder = AdjointRecorder()
    network(inputs, torch.tensor([8]), recorders=[recorder]).outputs.sum().backward()
    reached = [bool(values.any()) for values in recorder.adjoints["h"].total]
    assert reached == [(8 - step) % skip == 0 for step in range(9)]


finite = st.floats(-1e3, 1e3)


@given(decay=st.floats(-15, 1e3), phase=finite)
@settings(max_examples=25)
def test_eigenvalues_of_the_lru_are_inside_the_unit_circle(decay, phase):
    size = float(eigenvalues(*(torch.tensor([value], dtype=torch.float64) for value in (decay, phase % 10))).abs())
    assert size < 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("decay", [-1e30, -50.0, -17.0, 0.0, 5.0, 1e30])
def test_they_are_never_beyond_it(dtype, decay):
    phase = torch.linspace(-20, 3, 1000, dtype=dtype)
    size = eigenvalues(torch.full_like(phase, decay), phase).abs()
    assert (size <= 1 + 2 * torch.finfo(dtype).eps).all()
    assert not size.isnan().any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("r_min", "r_max"), [(0.0, 0.5), (0.5, 0.6), (0.9, 0.999), (0.0, 1.0)])
def test_they_start_in_their_ring(r_min, r_max, dtype):
    """Uniform on the ring's area: the square of the radius is uniform."""
    chosen = plan(
        *("task=adding", "model=lru", "model.hidden_size=400"),
        *(f"model.r_min={r_min}", f"model.r_max={r_max}", "model.max_phase=0.5"),
    )
    network = build(chosen, dtype=dtype)
    for layer in network.recurrent_layers:
        weights = {name: weight.detach() for name, weight in layer.weights().items()}
        found = eigenvalues(weights["log_decay"], weights["log_phase"]).to(torch.complex128)
        radius = found.abs()
        assert (radius >= r_min - 1e-5).all()
        assert (radius <= r_max + 1e-5).all()
        assert (radius < 1).all()
        assert (found.angle() >= 0).all()
        assert (found.angle() <= 0.5 * (1 + 1e-6)).all()
        shares = (radius.square() - r_min**2) / (r_max**2 - r_min**2)
        assert float(shares.mean()) == pytest.approx(0.5, abs=0.06)
        assert float(shares.var()) == pytest.approx(1 / 12, rel=0.15)
        # The scale of the inputs makes the variance of a state driven by white noise 1.
        scale = weights["log_scale"].double().exp()
        assert torch.allclose(scale.square(), 1 - radius.square(), rtol=1e-2)


def test_without_its_gates_the_lru_is_linear():
    network = build(plan("task=adding", "model=lru", "model.gated=false", "model.num_layers=2"))
    generator, steps = torch.Generator().manual_seed(1), torch.arange(7)
    one, other = (torch.randn(7, 3, 4, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    zero = network(torch.zeros_like(one), steps).outputs
    both = network(2 * one - 3 * other, steps).outputs - zero
    apart = 2 * (network(one, steps).outputs - zero) - 3 * (network(other, steps).outputs - zero)
    assert torch.allclose(both, apart, rtol=1e-9, atol=1e-12)
    gated = build(plan("task=adding", "model=lru", "model.num_layers=2"))
    assert not torch.allclose(gated(2 * one, steps).outputs, 2 * gated(one, steps).outputs, rtol=1e-2)


@pytest.mark.parametrize("size", [1, 5, 7])
def test_the_lru_refuses_an_odd_number_of_units(size):
    with pytest.raises(ConfigError, match=f"hidden_size must be even for lru.*, got {size}"):
        plan("model=lru", f"model.hidden_size={size}")


@pytest.mark.parametrize("model", ["rnn", "gru", "lstm"])
def test_layer_normalisation_trains(tmp_path, model):
    chosen = (f"model={model}", "model.layer_norm=true", "model.num_layers=2", "instrument=[]")
    folder = run_small(tmp_path / "run", *SHORT, *chosen)
    weights = content(folder)["network"]
    for layer in range(2):
        gain = weights[f"layers.{layer}.gain"]
        assert gain.isfinite().all()
        assert ((gain - 1).abs() > 1e-4).any(-1).all()


@pytest.mark.parametrize("model", ["rnn", "gru", "lstm"])
def test_with_layer_normalisation_the_scale_of_weights_does_not_matter(model):
    network = build(plan("task=adding", f"model={model}", "model.layer_norm=true", "model.hidden_size=20"))
    inputs = 10 * torch.randn(7, 3, 4, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    steps = torch.arange(7)
    before = network(inputs, steps).outputs
    with torch.no_grad():
        for name in ("weight_ih", "weight_hh"):
            network.recurrent_layers[0].get_parameter(name).mul_(100)
    # Up to the 1e-5 that is added to the variance.
    assert torch.allclose(network(inputs, steps).outputs, before, atol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("model", members("model"))
def test_interrupted_and_resumed_is_undisturbed(tmp_path, monkeypatch, model):
    assert_resumed_is_undisturbed(tmp_path, monkeypatch, *SHORT, f"model={model}", "optimizer.lr=0.05", "instrument=[]")


@pytest.mark.slow
@pytest.mark.parametrize("model", members("model"))
def test_a_run_is_the_same_again(tmp_path, model):
    folders = [run_small(tmp_path / name, *SHORT, f"model={model}", "instrument=[]") for name in ("one", "other")]
    assert folders[0].metrics.read_bytes() == folders[1].metrics.read_bytes()


def test_presets_are_what_their_names_say():
    irnn, linear = plan("model=irnn").model, plan("model=linear_rnn").model
    assert isinstance(irnn, RNN)
    assert isinstance(linear, RNN)
    assert (irnn.nonlinearity, list(irnn.init)) == ("relu", ["identity"])
    assert (linear.nonlinearity, list(linear.init)) == ("identity", [])


def test_a_linear_network_is_linear():
    network = build(plan("task=adding", "model=linear_rnn", "model.num_layers=2"))
    inputs = torch.randn(7, 3, 4, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    steps = torch.arange(7)
    zero, once, twice = (network(factor * inputs, steps).outputs for factor in (0, 1, 2))
    assert torch.allclose(twice - zero, 2 * (once - zero), rtol=1e-10, atol=1e-14)
    assert math.isfinite(float(once.detach().sum()))


@pytest.mark.parametrize("hidden_size", [3, 9, 8])
def test_a_diverged_orthogonal_replica_does_not_end_the_run(tmp_path, hidden_size):
    """Its Cayley map has no solution; its neighbours go on as if it stood alone."""
    chosen = (*SHORT, "model=orthogonal_rnn", f"model.hidden_size={hidden_size}", "optimizer=sgd", "optimizer.lr=1e3")
    folder = run_small(tmp_path / "run", *chosen, "train.num_steps=40", "instrument=[]")
    assert json.loads(folder.result.read_text())["status"] == ["diverged"] * 3


def test_one_diverged_orthogonal_replica_leaves_the_others_alone():
    network = build(plan(*SHORT, "model=orthogonal_rnn", "model.hidden_size=5"), replicas=3)
    before = recurrent(network)[0]
    with torch.no_grad():
        original = network.get_parameter("layers.0.parametrizations.weight_hh.original")
        original[1] = 1e30
    after = recurrent(network)[0]
    assert after[1].isnan().all()
    assert torch.equal(after[[0, 2]], before[[0, 2]])


@pytest.mark.parametrize("model", ["rnn", "gru", "lstm"])
def test_a_single_normalised_unit_is_refused(model):
    with pytest.raises(ConfigError, match=r"model\.hidden_size must be at least 2 with layer_norm"):
        plan("task=adding", f"model={model}", "model.layer_norm=true", "model.hidden_size=1")


def test_indrnn_takes_the_length_of_the_sequences_unless_told():
    chosen = plan("task=adding", "task.seq_len=7", "model=indrnn", "model.hidden_size=40")
    network = build(chosen)
    with torch.no_grad():
        network.get_parameter("layers.0.recurrent").fill_(9)
    network.constrain()
    assert torch.allclose(recurrent(network, "recurrent")[0], torch.tensor(2 ** (1 / 7), dtype=torch.float64))
