"""Models: settings that build a network of recurrent layers, every parameter with a replica axis."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from rnnstudy.core.encoding import Encoding
from rnnstudy.core.errors import (
    ConfigError,
    RnnstudyError,
    UnsuitedError,
    require_at_least,
    require_between,
    require_size,
)
from rnnstudy.core.seeding import branch
from rnnstudy.inits.base import Fresh, Initialisation
from rnnstudy.recurrence.base import AdjointEdit, AdjointRecorder, Recurrence, ScanOptions, States

Draw = Callable[[tuple[int, ...]], Tensor]
"""Function that draws values of a shape for one replica."""


@dataclass(frozen=True, kw_only=True)
class Interface:
    """Sizes and encoding that a task requires of a network.

    Args:
        input_size: Features of an input, or the number of different tokens.
        output_size: Number of output values.
        encoding: How the inputs enter.
        seq_len: Time steps of the longest sequences to train on.
    """

    input_size: int
    output_size: int
    encoding: Encoding
    seq_len: int


@dataclass(frozen=True, kw_only=True)
class Model(ABC):
    """Settings of a network.

    Args:
        hidden_size: Units of each layer, at least 1.
        num_layers: Layers of recurrence, at least 1; each reads the states of the one below.
        embedding_size: Features of a token's embedding; null is `hidden_size` for words, and no embedding for symbols,
            which then enter one-hot, as published.
        init: Initialisations that replace torch.nn's start of some weights, in the order in which they act.
    """

    set_by_model: ClassVar[tuple[str, ...]] = ()
    """Weights of a layer that the model sets by its definition, and an initialisation must not."""

    orthogonal: ClassVar[bool] = False
    """Whether the recurrent matrix is orthogonal throughout, so that its norm is constant."""

    hidden_size: int = 64
    num_layers: int = 1
    embedding_size: int | None = None
    init: Mapping[str, Initialisation] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_size("hidden_size", self.hidden_size, 1)
        require_at_least("num_layers", self.num_layers, 1)
        if self.embedding_size is not None:
            require_at_least("embedding_size", self.embedding_size, 1)
        cell = self.recurrence()
        if "gain" in cell.shapes(1, self.hidden_size) and self.hidden_size == 1:
            raise ConfigError(
                "hidden_size must be at least 2 with layer_norm, which makes a single unit constant, got 1."
            )
        for name, init in self.init.items():
            try:
                init.require_suits(cell, self.set_by_model)
            except ConfigError as error:
                raise UnsuitedError(f"init.{name} cannot be applied to this model: {error}", init) from None
        _require_all_count(self.init)

    @abstractmethod
    def recurrence(self) -> Recurrence:
        """Make the cell of every layer."""

    def start(self, fresh: Fresh, generator: torch.Generator) -> None:  # noqa: B027 - torch's is the default
        """Set, in place, the weights of one replica that the model sets by its definition."""

    def parametrise(self, layer: "Layer") -> None:  # noqa: B027 - weights are parameters unless a member says otherwise
        """Make weights functions of parameters, by torch.nn.utils.parametrize."""

    def make_output_map(self, draw: Draw) -> nn.Module | None:
        """Make the map from a layer's states to its outputs; None is the identity."""
        return None

    def constrain(self, layer: "Layer", seq_len: int) -> None:  # noqa: B027 - nothing is bounded unless a member says so
        """Put the weights of a layer back into their bounds after an optimizer step; no change if they are within."""

    def build(
        self, interface: Interface, generators: Sequence[torch.Generator], dtype: torch.dtype = torch.float32
    ) -> "Network":
        """Make a network with one replica per generator, each drawn from its own generator alone."""
        return Network(self, interface, generators, dtype)


def _require_all_count(inits: Mapping[str, Initialisation]) -> None:
    """Raise ConfigError, naming both, if one initialisation overwrites all that an earlier one sets."""
    for (name, one), (later, other) in itertools.combinations(inits.items(), 2):
        if other.replaces and set(one.changes) <= set(other.changes):
            raise ConfigError(f"init.{name} would be overwritten by init.{later}, which comes after it; leave one out.")


@dataclass(frozen=True, kw_only=True)
class Forward:
    """Outputs and states of a network.

    Attributes:
        outputs: Readout at the requested time steps.
        states: Every state at every time step, per layer.
    """

    outputs: Float[Tensor, "loss_step replica batch output"]
    states: list[States]


RECURRENT = ("weight_hh", "weight_skip", "recurrent")
"""Names of the weights that multiply states in the recurrence."""

CONSTANTS = {"gain": 1.0, "threshold": 0.0}
"""Weights that start as constants: the gain of layer normalisation, the threshold of modReLU."""


class Layer(nn.Module):
    """Parameters of one recurrent layer, initialised as torch.nn does: uniform in ±1/sqrt(hidden_size)."""

    def __init__(self, model: Model, input_size: int, draw: Draw) -> None:
        """Draw the parameters in the order of the cell, then those of the output map."""
        super().__init__()
        self.recurrence = model.recurrence()
        self.hidden_size = model.hidden_size
        shapes = self.recurrence.shapes(input_size, model.hidden_size)
        self.names = tuple(shapes)
        for name, shape in shapes.items():
            drawn = draw(shape)
            self.register_parameter(
                name, nn.Parameter(torch.full_like(drawn, CONSTANTS[name]) if name in CONSTANTS else drawn)
            )
        self.output_map = model.make_output_map(draw)

    def weights(self) -> dict[str, Tensor]:
        """Return the cell's weights by name, as functions of the parameters where the model makes them so."""
        return {name: getattr(self, name) for name in self.names}

    def recurrent_weights(self) -> dict[str, Tensor]:
        """Return those weights that multiply states."""
        return {name: weight for name, weight in self.weights().items() if name in RECURRENT}

    @override
    def forward(
        self,
        inputs: Float[Tensor, "time replica batch input"],
        *,
        state: States | None = None,
        options: ScanOptions | None = None,
    ) -> tuple[States, Float[Tensor, "read replica batch hidden"]]:
        """Scan from `state`, or from zero; return all states, and the hidden state at the steps to read."""
        state = self.recurrence.zero_state(inputs, self.hidden_size) if state is None else state
        return self.recurrence.scan(inputs, state, self.weights(), options or ScanOptions())

    def output(self, hidden: Float[Tensor, "time replica batch hidden"]) -> Float[Tensor, "time replica batch hidden"]:
        """Return what the next layer or the readout sees of a hidden state."""
        return hidden if self.output_map is None else self.output_map(hidden)


class Network(nn.Module):
    """Embedding or one-hot code (for tokens), recurrent layers, linear readout; `replicas` networks side by side."""

    def __init__(
        self, model: Model, interface: Interface, generators: Sequence[torch.Generator], dtype: torch.dtype
    ) -> None:
        """Draw all parameters; replica r from `generators[r]`."""
        super().__init__()
        self.model, self.seq_len = model, interface.seq_len
        self.replicas = len(generators)
        size, features = model.hidden_size, interface.input_size

        def normal(shape: tuple[int, ...]) -> Tensor:
            return torch.stack([torch.randn(shape, generator=generator, dtype=dtype) for generator in generators])

        def uniform(shape: tuple[int, ...]) -> Tensor:
            draws = [torch.rand(shape, generator=generator, dtype=dtype) for generator in generators]
            return (torch.stack(draws) * 2 - 1) / size**0.5

        self.embedding = None
        if interface.encoding == "words" or (interface.encoding == "symbols" and model.embedding_size):
            features = model.embedding_size or size
            self.embedding = nn.Parameter(normal((interface.input_size, features)))
        self.one_hot: Tensor | None
        self.register_buffer("one_hot", None)
        if interface.encoding == "symbols" and self.embedding is None:
            self.register_buffer("one_hot", torch.eye(features, dtype=dtype), persistent=False)
        self.layers = nn.ModuleList(
            Layer(model, size if layer else features, uniform) for layer in range(model.num_layers)
        )
        self.readout_weight = nn.Parameter(uniform((interface.output_size, size)))
        self.readout_bias = nn.Parameter(uniform((interface.output_size,)))
        self._start(interface.seq_len, generators)
        for layer in self.recurrent_layers:
            model.parametrise(layer)

    @property
    def recurrent_layers(self) -> list[Layer]:
        """The layers, the lowest first."""
        return [layer for layer in self.layers if isinstance(layer, Layer)]

    @torch.no_grad()
    def _start(self, seq_len: int, generators: Sequence[torch.Generator]) -> None:
        """Let the model and the initialisations change what was drawn, replica by replica."""
        model = self.model
        for replica, generator in enumerate(generators):
            fresh = Fresh(
                cell=model.recurrence(),
                layers=[{k: w[replica] for k, w in layer.weights().items()} for layer in self.recurrent_layers],
                readout_weight=self.readout_weight[replica],
                readout_bias=self.readout_bias[replica],
                seq_len=seq_len,
            )
            model.start(fresh, branch(generator, "model"))
            for name, init in model.init.items():
                init.start(fresh, branch(generator, f"init {name}"))

    @torch.no_grad()
    def constrain(self) -> None:
        """Put weights back into the model's bounds, after an optimizer step."""
        for layer in self.recurrent_layers:
            self.model.constrain(layer, self.seq_len)

    @override
    def forward(
        self,
        inputs: Shaped[Tensor, "time replica batch ..."],
        loss_steps: Int[Tensor, " loss_step"],
        *,
        initial: Sequence[States] | None = None,
        recorders: Sequence[AdjointRecorder] | None = None,
        edit: AdjointEdit | None = None,
    ) -> Forward:
        """Return the outputs and states of all replicas run over their sequences.

        Args:
            inputs: Token ids or features.
            loss_steps: Time steps at which to read the output.
            initial: State of each layer before the first time step; zero if None.
            recorders: One recorder per layer, filled during `backward`.
            edit: Edit of the carried adjoints of every layer.
        """
        hidden = self.embed(inputs)
        states: list[States] = []
        read = hidden
        for index, layer in enumerate(self.recurrent_layers):
            options = ScanOptions(
                read_steps=loss_steps.tolist() if index == len(self.layers) - 1 else (),
                recorder=recorders[index] if recorders else None,
                edit=edit,
            )
            layer_states, read = layer(hidden, state=initial[index] if initial else None, options=options)
            states.append(layer_states)
            if index < len(self.layers) - 1:
                hidden = layer.output(layer_states[0])
        return Forward(outputs=self.read_out(self.recurrent_layers[-1].output(read)), states=states)

    def embed(self, inputs: Shaped[Tensor, "time replica batch ..."]) -> Float[Tensor, "time replica batch feature"]:
        """Return what the lowest layer reads of token ids or features."""
        if self.one_hot is not None:
            return functional.embedding(inputs, self.one_hot)
        if self.embedding is None:
            return inputs.to(self.readout_bias.dtype)
        offsets = torch.arange(self.replicas, device=inputs.device) * self.embedding.shape[1]
        return functional.embedding(inputs + offsets[:, None], self.embedding.flatten(0, 1))

    def read_out(
        self, hidden: Float[Tensor, "loss_step replica batch hidden"]
    ) -> Float[Tensor, "loss_step replica batch output"]:
        """Compute the network's outputs from those of the highest layer."""
        steps, _, batch, _ = hidden.shape
        rows = hidden.transpose(0, 1).flatten(1, 2)
        outputs = torch.baddbmm(self.readout_bias.unsqueeze(1), rows, self.readout_weight.transpose(1, 2))
        return outputs.unflatten(1, (steps, batch)).transpose(0, 1)

    def torch_state(self, replica: int) -> dict[str, Tensor]:
        """Return copies of one replica's recurrent weights, named as in the state dict of torch.nn.RNN, GRU and LSTM.

        Raises:
            ConfigError: torch.nn has no such cell, or there is no such replica.
        """
        require_between("replica", replica, 0, self.replicas - 1)
        self._in_torch()
        return {
            f"{name}_l{index}": weight[replica].detach().clone()
            for index, layer in enumerate(self.recurrent_layers)
            for name, weight in layer.weights().items()
        }

    def load_torch_state(self, replica: int, state: dict[str, Tensor]) -> None:
        """Load one replica's recurrent weights from the state dict of a torch.nn.RNN, GRU or LSTM.

        Raises:
            RnnstudyError: A weight is missing, superfluous, of another shape, or not a free parameter.
        """
        own = self.torch_state(replica)
        if own.keys() != state.keys():
            odd = ", ".join(sorted(own.keys() ^ state.keys()))
            raise RnnstudyError(f"The state dict must have the weights of this network; these differ: {odd}.")
        for name, value in state.items():
            if own[name].shape != value.shape:
                wanted, given = tuple(own[name].shape), tuple(value.shape)
                raise RnnstudyError(f"{name} must have the shape {wanted}, got {given}.")
        parameters = dict(self.named_parameters())
        with torch.no_grad():
            for index, layer in enumerate(self.recurrent_layers):
                for name in layer.names:
                    parameter = parameters.get(f"layers.{index}.{name}")
                    if parameter is None:
                        raise RnnstudyError(f"{name} of this network is a function of other parameters.")
                    parameter[replica] = state[f"{name}_l{index}"]

    def to_torch(self, replica: int = 0) -> nn.RNNBase:
        """Return one replica's recurrent layers as a module of torch.nn, for code without this package.

        Its inputs, shape `(time, batch, feature)`, are `network.embed(inputs)[:, replica]`. The readout of its outputs
        is `torch.nn.functional.linear(outputs, network.readout_weight[replica], network.readout_bias[replica])`.

        >>> import rnnstudy as rs
        >>> network = rs.build(rs.models.LSTM(hidden_size=3), rs.tasks.Adding(seq_len=20), replicas=2, seed=0)
        >>> network.to_torch(replica=1)
        LSTM(2, 3)

        Args:
            replica: Number of the replica, from 0.

        Returns:
            A `torch.nn.RNN`, `torch.nn.LSTM` or `torch.nn.GRU` with copies of the weights, bit for bit.

        Raises:
            ConfigError: torch.nn has no such cell, or there is no such replica.
        """
        state, construct = self.torch_state(replica), self._in_torch()
        sizes = (state["weight_ih_l0"].shape[1], self.model.hidden_size, self.model.num_layers)
        # On the device "meta" torch.nn draws no weights, so the global random stream stays as it is.
        module = construct(*sizes, device="meta")
        module.load_state_dict(state, assign=True)
        return module

    def load_torch(self, module: nn.RNNBase, replica: int = 0) -> None:
        """Copy the weights of a `torch.nn.RNN`, `torch.nn.LSTM` or `torch.nn.GRU` into one replica's recurrent layers.

        Args:
            module: Module of this network's cell and sizes; its weights are converted to the network's precision.
            replica: Number of the replica, from 0.

        Raises:
            ConfigError: The module has another cell, or there is no such replica.
            RnnstudyError: The module has other weights.
        """
        own = self._in_torch()(1, 1, device="meta")
        if module.mode != own.mode:
            raise ConfigError(f"module must be a {own.mode}, as this network is, got a {module.mode}.")
        self.load_torch_state(replica, module.state_dict())

    def _in_torch(self) -> Callable[..., nn.RNNBase]:
        """Return the constructor of torch.nn's module with this network's cell; raise ConfigError if there is none."""
        cell = self.model.recurrence()
        if cell.in_torch is None:
            raise ConfigError(f"torch.nn has RNN (tanh or relu), GRU and LSTM, without layer_norm; it has no {cell}.")
        return cell.in_torch
