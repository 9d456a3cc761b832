"""One training step: forward, loss, backward, mitigations. The weights do not change here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import override

from rnnstudy.core.phases import Phases
from rnnstudy.gradients.norms import parameter_norms, replica_norms, whole_norm
from rnnstudy.mitigations.base import Backward, Diagnostics, Mitigation, Moment, Outcome
from rnnstudy.models.base import Network
from rnnstudy.recurrence.base import Adjoint, AdjointEdit, AdjointRecorder, States
from rnnstudy.runs import tags
from rnnstudy.tasks.base import Batch, Task

EVALUATED_AT_ONCE = 1 << 18
"""States (time steps of all sequences of all replicas) that an evaluation holds at once: a bound on its memory."""

OUTPUTS_AT_ONCE = 1 << 25
"""Output numbers that it holds at once: with many classes at many time steps they outnumber the states."""


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """Results of one step.

    Attributes:
        losses: Loss per replica, without the mitigations' extra terms.
        raw_norm: Float64 norm of the whole gradient, extra losses and edits included, before mitigations change it.
        raw_norms: The same of each parameter, in the order of the network's parameters with a gradient.
        clipped_norm: Norm of the whole gradient after the mitigations.
        clipped: Whether a mitigation clipped the gradient, or an adjoint.
        finite_outputs: Whether all outputs of the network are finite.
        may_step: Whether each replica may step: if loss and gradient are finite, unless a mitigation decides otherwise.
        diagnostics: Figures that the mitigations report.
        states: Every state at every time step, for each layer.
        adjoints: Adjoints by state name, for each layer.
        gradients: Parameter name to the gradient before mitigations change it; empty unless asked for.
        final: State of each layer after the last time step if the task reads on from there; empty otherwise.
    """

    losses: Float[Tensor, " replica"]
    raw_norm: Float[Tensor, " replica"]
    raw_norms: Float[Tensor, "parameter replica"]
    clipped_norm: Float[Tensor, " replica"]
    clipped: Bool[Tensor, " replica"]
    finite_outputs: Bool[Tensor, " replica"]
    may_step: Bool[Tensor, " replica"]
    diagnostics: Diagnostics
    states: Sequence[States]
    adjoints: Sequence[dict[str, Adjoint]]
    gradients: Mapping[str, Tensor]
    final: Sequence[States]


@dataclass(frozen=True, kw_only=True)
class TrainingStep:
    """Computation of the gradient for the optimizer.

    Args:
        task: Task that computes the loss.
        network: Network whose parameters get the gradients, in `grad`.
        mitigations: Mitigations in the order in which they act.
        num_steps: Optimizer steps of the run at most.
        seeds: One seed per replica.
        phases: Timer of the parts.
    """

    task: Task
    network: Network
    mitigations: Sequence[Mitigation]
    num_steps: int
    seeds: Sequence[int]
    phases: Phases = field(default_factory=Phases)

    def __call__(
        self, batch: Batch, step: int, *, keep_gradients: bool = False, initial: Sequence[States] | None = None
    ) -> StepResult:
        """Compute losses, the gradient (into `grad`) and all adjoints, from `initial` or zero states."""
        moment = self._moment(step)
        edit = self._edit(moment)
        recorders = self._recorders()
        with self.phases.during("engine"):
            self.network.zero_grad(set_to_none=True)
            forward = self.network(batch.inputs, batch.loss_steps, initial=initial, recorders=recorders, edit=edit)
            losses = self.task.loss(forward.outputs, batch)
            objective = losses.sum()
            for mitigation in self.mitigations:
                if (extra := mitigation.extra_loss(self.network)) is not None:
                    objective = objective + extra.sum()
            objective.backward()

        with self.phases.during("mitigations"):
            gradients = self.gradients()
            raw_norms = parameter_norms(gradients.values())
            raw_norm = clipped_norm = whole_norm(raw_norms)
            kept = {name: gradient.clone() for name, gradient in gradients.items()} if keep_gradients else {}
            outcome = Outcome(finite_loss=losses.isfinite(), raw_norm=raw_norm)
            may_step = outcome.finite_loss & raw_norm.isfinite()
            adjoints = [recorder.adjoints for recorder in recorders]
            backward = Backward(
                moment=moment, network=self.network, gradients=gradients, states=forward.states, adjoints=adjoints
            )
            diagnostics: Diagnostics = edit.figures() if edit is not None else {}
            for mitigation in self.mitigations:
                diagnostics |= mitigation.after_backward(backward)
                may_step = mitigation.may_step(may_step, outcome)
            if self.mitigations:
                clipped_norm = replica_norms(gradients.values())
                may_step = may_step & clipped_norm.isfinite() & (raw_norm.isfinite() | (clipped_norm > 0))
        reads_on = batch.ends is not None
        return StepResult(
            losses=losses.detach(),
            raw_norm=raw_norm,
            raw_norms=raw_norms,
            clipped_norm=clipped_norm,
            clipped=_any_active(diagnostics, losses),
            # Nothing but NaN comes of an infinite or undefined output times zero.
            finite_outputs=(forward.outputs.detach() * 0).sum((0, 2, 3)) == 0,
            may_step=may_step,
            diagnostics=diagnostics,
            states=[tuple(state.detach() for state in states) for states in forward.states],
            adjoints=adjoints,
            gradients=kept,
            final=[tuple(state[-1].detach() for state in states) for states in forward.states if reads_on],
        )

    def probe(
        self, batch: Batch, step: int, *, of_answer: bool = False, initial: Sequence[States] | None = None
    ) -> Sequence[dict[str, Adjoint]]:
        """Return each layer's adjoints by state name, of the loss or of the answer's alone; `grad` stays as it is."""
        recorders, edit = self._recorders(), self._edit(self._moment(step))
        forward = self.network(batch.inputs, batch.loss_steps, initial=initial, recorders=recorders, edit=edit)
        loss = self.task.answer_loss if of_answer else self.task.loss
        torch.autograd.grad(loss(forward.outputs, batch).sum(), list(self.network.parameters()))
        return [recorder.adjoints for recorder in recorders]

    def _recorders(self) -> list[AdjointRecorder]:
        return [AdjointRecorder() for _ in self.network.layers]

    def _moment(self, step: int) -> Moment:
        return Moment(step=step, num_steps=self.num_steps, seeds=self.seeds)

    def _edit(self, moment: Moment) -> AdjointEdit | None:
        edits = [edit for mitigation in self.mitigations if (edit := mitigation.adjoint_edit(moment))]
        return _Chain(edits) if edits else None

    def gradients(self) -> dict[str, Tensor]:
        """Return the parameters' current gradients by name."""
        return {name: weight.grad for name, weight in self.network.named_parameters() if weight.grad is not None}


def _any_active(diagnostics: Diagnostics, like: Tensor) -> Bool[Tensor, " replica"]:
    """Return for which replicas any mitigation reports that it acted on this step."""
    acted = torch.zeros_like(like, dtype=torch.bool)
    for tag, share in diagnostics.items():
        if tags.fields(tags.ACTIVE, tag):
            acted = acted | (share > 0).to(acted.device)
    return acted


class _Chain(AdjointEdit):
    """Several edits, one after the other."""

    def __init__(self, edits: Sequence[AdjointEdit]) -> None:
        self._edits = edits

    @override
    def apply(self, carried: States, time_step: int, num_steps: int) -> None:
        for edit in self._edits:
            edit.apply(carried, time_step, num_steps)

    @override
    def figures(self) -> Diagnostics:
        return {tag: values for edit in self._edits for tag, values in edit.figures().items()}


@torch.no_grad()
def evaluate(
    task: Task, network: Network, batch: Batch, *, dtype: torch.dtype | None = None
) -> dict[str, Float[Tensor, " replica"]]:
    """Return the task's metrics on a batch, which passes through the network a few sequences at a time if large.

    They are computed from the outputs in `dtype`; None leaves that of the network.
    """
    time, replicas, sequences = batch.inputs.shape[:3]
    numbers = len(batch.loss_steps) * replicas * network.readout_bias.shape[-1]
    at_once = max(1, min(EVALUATED_AT_ONCE // (time * replicas), OUTPUTS_AT_ONCE // numbers))
    total: dict[str, Tensor] = {}
    for start in range(0, sequences, at_once):
        part = batch.sequences(start, start + at_once)
        outputs = network(part.inputs, part.loss_steps).outputs
        metrics = task.metrics(outputs.to(dtype or outputs.dtype), part)
        # Every sequence has as many outputs that count, so this mean over the parts is that over the batch.
        share = part.inputs.shape[2] / sequences
        total = {name: total.get(name, 0) + share * values for name, values in metrics.items()}
    return total


def evaluate_exactly(task: Task, network: Network, batch: Batch) -> dict[str, Float[Tensor, " replica"]]:
    """Return the metrics of `evaluate` rounded once, to float32, in however many parts the batch is evaluated.

    So 396 right answers of 400 meet a threshold of 0.99; sums of rounded parts may miss it.
    """
    metrics = evaluate(task, network, batch, dtype=torch.float64)
    return {name: values.float() for name, values in metrics.items()}
