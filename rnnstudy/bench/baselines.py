"""One training step (forward, loss at the last time step, backward): ours, and the baselines it is compared with."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from rnnstudy.core.seeding import make_generator, replica_generators
from rnnstudy.models.base import Interface, Model
from rnnstudy.models.gru import GRU
from rnnstudy.models.lstm import LSTM
from rnnstudy.models.rnn import RNN
from rnnstudy.recurrence.base import AdjointRecorder

Work = Callable[[], None]
"""One training step of all replicas."""

OUTPUT_SIZE = 10
"""Classes of the readout."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell, here and in torch.nn.

    Args:
        model: Our model.
        module: Fused module of torch.nn, called with the sizes of input and state.
        one_step: Cell of torch.nn for one time step, called likewise.
    """

    model: type[Model]
    module: Callable[[int, int], nn.RNNBase]
    one_step: Callable[[int, int], nn.RNNCellBase]


CELLS = {
    "rnn": Cell(model=RNN, module=nn.RNN, one_step=nn.RNNCell),
    "gru": Cell(model=GRU, module=nn.GRU, one_step=nn.GRUCell),
    "lstm": Cell(model=LSTM, module=nn.LSTM, one_step=nn.LSTMCell),
}


@dataclass(frozen=True, kw_only=True)
class Size:
    """Sizes of a problem.

    Args:
        batch_size: Sequences per replica.
        seq_len: Time steps.
        input_size: Features of an input.
        hidden_size: Units of the one layer.
    """

    batch_size: int
    seq_len: int
    input_size: int
    hidden_size: int


SIZES = {
    "S1": Size(batch_size=32, seq_len=20, input_size=16, hidden_size=32),
    "S2": Size(batch_size=32, seq_len=100, input_size=8, hidden_size=64),
    "S3": Size(batch_size=32, seq_len=200, input_size=8, hidden_size=128),
}

REPLICAS = 8
SIZE_NAME = "S2"
SIZE = SIZES[SIZE_NAME]
"""Size at which models, tasks, instruments and runs are measured on the CPU."""

CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Work of every baseline: one step of `replicas` networks, each on its own batch.

    Args:
        cell: One of `CELLS`.
        size: Size of the problem.
        replicas: Number of networks.
        device: Device of the computation.
    """

    cell: Cell
    size: Size = SIZE
    replicas: int = REPLICAS
    device: torch.device = CPU

    def data(self) -> tuple[Tensor, Tensor]:
        """Draw inputs (time, replica, batch, input) and target classes (replica, batch)."""
        size, generator = self.size, make_generator(0, "data")
        shape = (size.seq_len, self.replicas, size.batch_size)
        inputs = torch.randn(*shape, size.input_size, generator=generator)
        targets = torch.randint(OUTPUT_SIZE, shape[1:], generator=generator)
        return inputs.to(self.device), targets.to(self.device)

    def ours(self, *, record: bool = True, ring: int = 0) -> Work:
        """Return our step, all replicas stacked, recording dL/dh_t (and dL/dc_t) at every time step.

        It keeps the adjoints of the `ring` steps before.
        """
        return self.of(self.cell.model(hidden_size=self.size.hidden_size), record=record, ring=ring)

    def of(self, model: Model, *, record: bool = True, ring: int = 0) -> Work:
        """Return the same step of any model."""
        size = self.size
        inputs, targets = self.data()
        interface = Interface(
            input_size=size.input_size, output_size=OUTPUT_SIZE, encoding="features", seq_len=size.seq_len
        )
        network = model.build(interface, replica_generators(0, self.replicas, "init")).to(self.device)
        last = torch.tensor([size.seq_len - 1], device=self.device)
        kept = deque[object](maxlen=ring)

        def step() -> None:
            network.zero_grad(set_to_none=True)
            recorders = [AdjointRecorder() for _ in network.layers] if record else None
            outputs = network(inputs, last, recorders=recorders).outputs
            total = functional.cross_entropy(outputs[0].flatten(0, 1), targets.flatten(), reduction="sum")
            (total / size.batch_size).backward()
            kept.append(recorders)

        return step

    def torch_nn(self) -> Work:
        """Return torch.nn's step, replica by replica: the fused module and a linear head, recording nothing."""
        return self._one_by_one(self.cell.module, lambda module, inputs: module(inputs)[0])

    def unrolled(self) -> Work:
        """Return an unrolled step, replica by replica: a loop over torch.nn's one-step cell, every state retained."""

        def read(cell: nn.Module, inputs: Tensor) -> list[Tensor]:
            state, kept = None, []
            for frame in inputs:
                state = cell(frame, state)
                # The hidden state comes last.
                for part in reversed(state) if isinstance(state, tuple) else (state,):
                    part.retain_grad()
                    kept.append(part)
            return kept

        return self._one_by_one(self.cell.one_step, read)

    def _one_by_one(
        self, kind: Callable[[int, int], nn.Module], read: Callable[[nn.Module, Tensor], Sequence[Tensor] | Tensor]
    ) -> Work:
        """Return a step, replica by replica: a body of this kind, whose states `read` returns, and a linear head."""
        size, (inputs, targets) = self.size, self.data()
        bodies = [kind(size.input_size, size.hidden_size).to(self.device) for _ in range(self.replicas)]
        heads = [nn.Linear(size.hidden_size, OUTPUT_SIZE).to(self.device) for _ in range(self.replicas)]

        def step() -> None:
            for replica, (body, head) in enumerate(zip(bodies, heads, strict=True)):
                body.zero_grad(set_to_none=True)
                head.zero_grad(set_to_none=True)
                states = read(body, inputs[:, replica])
                functional.cross_entropy(head(states[-1]), targets[replica]).backward()

        return step

    def floor(self) -> Work:
        """Return the arithmetic of the step's matrix products, as one large square product per replica."""
        edge = round((self.flops() / 2) ** (1 / 3))
        generator = make_generator(0, "data")
        left, right = (torch.randn(edge, edge, generator=generator).to(self.device) for _ in range(2))
        out = torch.empty_like(left)

        def step() -> None:
            for _ in range(self.replicas):
                torch.mm(left, right, out=out)

        return step

    def flops(self) -> int:
        """Count the operations of one replica's matrix products: forward, weight gradient, adjoint of the state."""
        size = self.size
        rows = self.cell.model().recurrence().gates * size.hidden_size
        forward = rows * (size.input_size + size.hidden_size)
        return 2 * size.batch_size * size.seq_len * (2 * forward + rows * size.hidden_size)
