"""What a model is: settings that build a network of recurrent layers, every parameter with a replica axis."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from rnnstudy.core.encoding import Encoding
from rnnstudy.core.errors import RnnstudyError, require_at_least
from rnnstudy.recurrence.base import AdjointEdit, AdjointRecorder, CellWeights, Recurrence, ScanOptions, States

Draw = Callable[[tuple[int, ...]], Tensor]
"""Draws values of a shape for one replica."""


@dataclass(frozen=True, kw_only=True)
class Interface:
    """What a task asks of a network.

    Args:
        input_size: Features of an input, or the number of different tokens.
        output_size: Values to put out.
        encoding: How the inputs enter.
    """

    input_size: int
    output_size: int
    encoding: Encoding


@dataclass(frozen=True, kw_only=True)
class Model(ABC):
    """Settings of a network.

    Args:
        hidden_size: Units of each layer, at least 1.
        num_layers: Layers of recurrence, at least 1; each reads the states of the one below.
        embedding_size: Features of the embedding of tokens; null is `hidden_size` for words, and no embedding for
            symbols, which then enter one-hot, as published.
    """

    hidden_size: int = 64
    num_layers: int = 1
    embedding_size: int | None = None

    def __post_init__(self) -> None:
        require_at_least("hidden_size", self.hidden_size, 1)
        require_at_least("num_layers", self.num_layers, 1)
        if self.embedding_size is not None:
            require_at_least("embedding_size", self.embedding_size, 1)

    @abstractmethod
    def recurrence(self) -> Recurrence:
        """The cell of every layer."""

    def build(
        self, interface: Interface, generators: Sequence[torch.Generator], dtype: torch.dtype = torch.float32
    ) -> "Network":
        """Make a network with one replica per generator, each drawn from its own generator alone."""
        return Network(self, interface, generators, dtype)


@dataclass(frozen=True, kw_only=True)
class Forward:
    """What a network gives back.

    Attributes:
        outputs: Readout at the time steps asked for.
        states: Of each layer, every state at every time step.
    """

    outputs: Float[Tensor, "loss_step replica batch output"]
    states: list[States]


class Layer(nn.Module):
    """One recurrent layer's parameters, initialised as torch.nn does: uniform in ±1/sqrt(hidden_size)."""

    def __init__(self, recurrence: Recurrence, input_size: int, hidden_size: int, *, draw: Draw) -> None:
        """Draw the parameters in the order of torch.nn."""
        super().__init__()
        rows = recurrence.gates * hidden_size
        self.recurrence = recurrence
        self.hidden_size = hidden_size
        self.weight_ih = nn.Parameter(draw((rows, input_size)))
        self.weight_hh = nn.Parameter(draw((rows, hidden_size)))
        self.bias_ih = nn.Parameter(draw((rows,)))
        self.bias_hh = nn.Parameter(draw((rows,)))

    @override
    def forward(
        self,
        inputs: Float[Tensor, "time replica batch input"],
        *,
        state: States | None = None,
        options: ScanOptions | None = None,
    ) -> tuple[States, Float[Tensor, "read replica batch hidden"]]:
        """Scan from `state`, or from zero; gives all states, and the output at the steps to read."""
        weights = CellWeights(
            weight_ih=self.weight_ih, weight_hh=self.weight_hh, bias_ih=self.bias_ih, bias_hh=self.bias_hh
        )
        state = self.recurrence.zero_state(inputs, self.hidden_size) if state is None else state
        return self.recurrence.scan(inputs, state, weights, options or ScanOptions())


class Network(nn.Module):
    """Embedding or one-hot code (for tokens), recurrent layers, linear readout; `replicas` networks side by side."""

    def __init__(
        self, model: Model, interface: Interface, generators: Sequence[torch.Generator], dtype: torch.dtype
    ) -> None:
        """Draw all parameters; replica r from `generators[r]`."""
        super().__init__()
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
        recurrence = model.recurrence()
        self.layers = nn.ModuleList(
            Layer(recurrence, size if layer else features, size, draw=uniform) for layer in range(model.num_layers)
        )
        self.readout_weight = nn.Parameter(uniform((interface.output_size, size)))
        self.readout_bias = nn.Parameter(uniform((interface.output_size,)))

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
        """Run all replicas over their sequences.

        Args:
            inputs: Token ids or features.
            loss_steps: Time steps at which to read the output.
            initial: The state of each layer before the first time step; zero if None.
            recorders: One per layer, filled during `backward`.
            edit: Applied to the carried adjoints of every layer.

        Returns:
            Outputs and states.
        """
        hidden = self._embed(inputs)
        states: list[States] = []
        read = hidden
        for index, layer in enumerate(self.layers):
            options = ScanOptions(
                read_steps=loss_steps.tolist() if index == len(self.layers) - 1 else (),
                recorder=recorders[index] if recorders else None,
                edit=edit,
            )
            layer_states, read = layer(hidden, state=initial[index] if initial else None, options=options)
            states.append(layer_states)
            hidden = layer_states[0]
        return Forward(outputs=self._read_out(read), states=states)

    def _embed(self, inputs: Tensor) -> Float[Tensor, "time replica batch feature"]:
        if self.one_hot is not None:
            return functional.embedding(inputs, self.one_hot)
        if self.embedding is None:
            return inputs.to(self.readout_bias.dtype)
        offsets = torch.arange(self.replicas, device=inputs.device) * self.embedding.shape[1]
        return functional.embedding(inputs + offsets[:, None], self.embedding.flatten(0, 1))

    def _read_out(
        self, hidden: Float[Tensor, "loss_step replica batch hidden"]
    ) -> Float[Tensor, "loss_step replica batch output"]:
        steps, _, batch, _ = hidden.shape
        rows = hidden.transpose(0, 1).flatten(1, 2)
        outputs = torch.baddbmm(self.readout_bias.unsqueeze(1), rows, self.readout_weight.transpose(1, 2))
        return outputs.unflatten(1, (steps, batch)).transpose(0, 1)

    def torch_state(self, replica: int) -> dict[str, Tensor]:
        """The recurrent weights of one replica, as torch.nn.RNN, GRU and LSTM name them in their state dict."""
        return {
            f"{name}_l{index}": getattr(layer, name)[replica].detach().clone()
            for index, layer in enumerate(self.layers)
            for name in TORCH_NAMES
        }

    def load_torch_state(self, replica: int, state: dict[str, Tensor]) -> None:
        """Take one replica's recurrent weights from the state dict of a torch.nn.RNN, GRU or LSTM.

        Raises:
            RnnstudyError: A weight is missing, is one too many, or has another shape.
        """
        own = self.torch_state(replica)
        if own.keys() != state.keys():
            odd = ", ".join(sorted(own.keys() ^ state.keys()))
            raise RnnstudyError(f"The state dict must have the weights of this network; these differ: {odd}.")
        for name, value in state.items():
            if own[name].shape != value.shape:
                wanted, given = tuple(own[name].shape), tuple(value.shape)
                raise RnnstudyError(f"{name} must have the shape {wanted}, got {given}.")
        with torch.no_grad():
            for index, layer in enumerate(self.layers):
                for name in TORCH_NAMES:
                    getattr(layer, name)[replica] = state[f"{name}_l{index}"]


TORCH_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
"""The parameters of a layer in torch.nn."""
