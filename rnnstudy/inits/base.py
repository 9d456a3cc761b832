"""Initialisations: they change some of a network's weights after all were drawn as torch draws them."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from rnnstudy.core.errors import ConfigError
from rnnstudy.recurrence.base import Recurrence


@dataclass(frozen=True, kw_only=True)
class Fresh:
    """Freshly drawn weights of one replica, to be changed in place.

    Args:
        cell: Cell of every layer.
        layers: Name to weight for each layer, the lowest first, as `Recurrence.shapes` has them.
        readout_weight: Weight from the top layer to the outputs.
        readout_bias: Bias of the outputs.
        seq_len: Time steps of the longest sequences to train on.
    """

    cell: Recurrence
    layers: Sequence[dict[str, Tensor]]
    readout_weight: Float[Tensor, "output hidden"]
    readout_bias: Float[Tensor, " output"]
    seq_len: int

    def blocks(self, name: str) -> Iterator[Float[Tensor, "hidden _"]]:
        """Return every gate's block of a weight matrix, of all layers."""
        for layer in self.layers:
            yield from layer[name].chunk(self.cell.gates)


class Initialisation(ABC):
    """Changes some weights of every layer of a network.

    All weights are first drawn as torch.nn draws them, so two networks of one seed that differ in an initialisation
    share all weights that it does not change. Several initialisations act in the given order.
    """

    changes: ClassVar[tuple[str, ...]]
    """Names of the weights that are changed."""

    replaces: ClassVar[bool] = True
    """Whether the previous values of these weights are lost."""

    @property
    def needs(self) -> str:
        """Requirement on a cell, as an error message puts it after "needs"."""
        return f"the weights {', '.join(self.changes)}"

    @abstractmethod
    def start(self, fresh: Fresh, generator: torch.Generator) -> None:
        """Change the weights of one replica in place; `generator` belongs to the replica and this initialisation."""

    def suits(self, cell: Recurrence) -> bool:
        """Return whether the cell has what is needed."""
        return set(self.changes) <= cell.shapes(2, 2).keys()

    def require_suits(self, cell: Recurrence, set_by_model: Sequence[str]) -> None:
        """Raise ConfigError if the cell lacks what is needed, or the model sets the weights (`set_by_model`)."""
        if not self.suits(cell):
            raise ConfigError(f"it needs {self.needs}.")
        taken = [weight for weight in self.changes if weight in set_by_model]
        if taken:
            raise ConfigError(f"it sets {taken[0]}, which this model sets by its definition.")


def set_bias(fresh_layer: dict[str, Tensor], rows: slice, values: Tensor | float) -> None:
    """Set an effective bias: torch's two biases add, so one gets the values and the other zero."""
    fresh_layer["bias_ih"][rows] = values
    fresh_layer["bias_hh"][rows] = 0


def rescale(matrix: Float[Tensor, "hidden hidden"], radius: float) -> None:
    """Scale a matrix in place to a spectral radius; one whose eigenvalues are all zero stays as it is."""
    largest = torch.linalg.eigvals(matrix.double()).abs().max()
    if largest > 0:
        matrix.mul_(radius / largest)
