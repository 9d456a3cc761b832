"""The training loop."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from rnnstudy.core.errors import Interrupted
from rnnstudy.core.phases import Phases
from rnnstudy.core.seeding import replica_generators
from rnnstudy.instruments.base import Flown, Instrument, Record, Update, Watcher
from rnnstudy.mitigations.base import Mitigation
from rnnstudy.models.base import Network
from rnnstudy.runs import tags
from rnnstudy.runs.events import Events
from rnnstudy.schedules.base import LearningRateSchedule
from rnnstudy.tasks.base import Batch, Task
from rnnstudy.training.averages import Averages
from rnnstudy.training.checkpoint import Checkpoints
from rnnstudy.training.data import TrainingData, draw
from rnnstudy.training.extremes import Extremes, Flags
from rnnstudy.training.optimizer import ReplicaOptimizer
from rnnstudy.training.replicas import NEVER, ReplicaStates, Status
from rnnstudy.training.settings import TrainSettings
from rnnstudy.training.step import StepResult, TrainingStep, evaluate, evaluate_exactly
from rnnstudy.writers.base import Entry, Measurements, Scalar, Writer
from rnnstudy.writers.run_log import RunLog


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Everything a run is made of.

    Args:
        task: Task with the longest sequences to train on.
        seq_lens: Least and most time steps of a training sequence; equal if all have one length.
        other_seq_lens: Other lengths to evaluate at, in time steps.
        solved_batch_size: Fresh sequences per replica to judge "solved" on; None judges on the evaluation set.
        network: Networks of all replicas, on the run's device.
        mitigations: Mitigations in the order in which they act.
        instruments: Instruments that measure the run.
        optimizer: Optimizer of the network's parameters.
        schedule: Schedule of the learning rate.
        settings: Durations and intervals.
        seed: Seed of replica 0's data; replica r uses `seed + r`.
    """

    task: Task
    seq_lens: tuple[int, int]
    other_seq_lens: Sequence[int]
    solved_batch_size: int | None
    network: Network
    mitigations: Sequence[Mitigation]
    instruments: Sequence[Instrument]
    optimizer: ReplicaOptimizer
    schedule: LearningRateSchedule
    settings: TrainSettings
    seed: int


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Progress of a run.

    Attributes:
        step: Optimizer steps done.
        loss: Median training loss over the replicas that train; NaN before the first step.
        states: Status and counters of each replica.
    """

    step: int
    loss: float
    states: ReplicaStates


class Listener(ABC):
    """Receiver of a run's progress."""

    @abstractmethod
    def update(self, progress: Progress) -> None:
        """Receive the progress after each step; this must take no time."""


@dataclass(frozen=True, kw_only=True)
class Outlets:
    """Destinations of a run's figures, checkpoints and progress.

    Args:
        log: The run's own log.
        views: Other writers, which get the same entries.
        checkpoints: The run's checkpoints.
        listener: Receiver of the progress.
        stop_requested: Called after every step; true saves a checkpoint and ends the loop with `Interrupted`.
    """

    log: RunLog
    checkpoints: Checkpoints
    views: Sequence[Writer] = ()
    listener: Listener | None = None
    stop_requested: Callable[[], bool] = field(default=lambda: False)


class Training:
    """A run in progress: its parts and all state that changes.

    Step k works on the weights after k updates: evaluation, a fresh batch, gradient, measurements, then update k + 1.
    The last step omits the update, so that the final weights are evaluated and measured too.

    Evaluation uses the task's held-out data, at the greatest training length and at the other lengths requested.
    Instruments also get a probe: one fixed batch of the greatest length that is not trained on. If training lengths
    vary, all gradients through time are measured on the probe: at varying lengths they could not be compared.
    """

    def __init__(self, parts: Parts, outlets: Outlets) -> None:
        """Draw the evaluation sets and the probe; nothing else happens before `run`."""
        self.parts, self.outlets = parts, outlets
        self.step = 0
        self.done = False
        replicas = parts.network.replicas
        self.seconds_before = 0.0
        self._started = time.monotonic()
        self.states = ReplicaStates.fresh(replicas)
        self._averages = Averages(replicas)
        self._device = parts.network.readout_bias.device
        factors = [each.spike_factor for each in parts.instruments if each.spike_factor is not None]
        self._extremes = Extremes(replicas, *factors[:1])
        self._watchers = [each for instrument in parts.instruments if (each := self._watcher_of(instrument))]
        settings = parts.settings
        self._data = TrainingData(
            parts.task,
            parts.seq_lens,
            batch_size=settings.batch_size,
            seed=parts.seed,
            replicas=replicas,
            device=self._device,
        )
        self.phases = Phases()
        self._compute = TrainingStep(
            task=parts.task,
            network=parts.network,
            mitigations=parts.mitigations,
            num_steps=settings.num_steps,
            seeds=[parts.seed + replica for replica in range(replicas)],
            phases=self.phases,
        )
        self._held_out = parts.task.held_out()
        self._eval_batches = {tags.EVAL: self._draw(self._held_out, settings.eval_batch_size, "eval")}
        for seq_len in parts.other_seq_lens:
            other = self._draw(self._held_out.with_seq_len(seq_len), settings.eval_batch_size, "eval")
            self._eval_batches[tags.EVAL_AT.format(seq_len=seq_len, metric="{metric}")] = other
        self._probe_batch = self._draw(parts.task, settings.batch_size, "probe")

    def _watcher_of(self, instrument: Instrument) -> Watcher | None:
        network = self.parts.network
        states = sum(len(layer.recurrence.recorded) for layer in network.recurrent_layers)
        numbers = self.parts.seq_lens[1] * network.replicas * self.parts.settings.batch_size * network.model.hidden_size
        return instrument.watch(network.replicas, states * numbers * network.readout_bias.element_size(), self._device)

    def _draw(self, task: Task, batch_size: int, stream: str) -> Batch:
        generators = replica_generators(self.parts.seed, self.parts.network.replicas, stream)
        return draw(task, batch_size, generators, self._device)

    def run(self) -> None:
        """Train until no step or replica is left; on a stop request, save a checkpoint and raise Interrupted."""
        while not self.done:
            self._one_step()
            if self.done:
                return
            if self.step % self.parts.settings.checkpoint_interval == 0:
                with self.phases.during("checkpoints"):
                    self.save()
            if self.outlets.stop_requested():
                self.save()
                raise Interrupted(f"stopped after {self.step} steps; a checkpoint is saved")

    def _one_step(self) -> None:
        """Do one step, or set `done` if no replica trains any more."""
        settings = self.parts.settings
        training = self.states.training
        if not training.any():
            self.done = True
            return
        entries: dict[str, Entry] = {}
        stopping = torch.zeros_like(training)
        out_of_steps = self.step >= settings.num_steps
        if out_of_steps or self.step % settings.eval_interval == 0:
            with self.phases.during("evaluation"):
                stopping = self._evaluate(entries)
        last = out_of_steps or not self.states.training.any()

        due = [instrument for instrument in self.parts.instruments if last or instrument.schedule.is_due(self.step)]
        measuring = self.parts.instruments if stopping.any() else due
        with self.phases.during("data"):
            batch = self._data.next(self.step)
        kept = any(instrument.needs_gradients for instrument in measuring)
        result = self._compute(batch, self.step, keep_gradients=kept, initial=self._data.initial)
        with self.phases.during("instruments"):
            flags = self._watch(batch, result)
        if measuring:
            with self.phases.during("instruments"):
                record = self._record(batch, result)
                for instrument in measuring:
                    whose, scheduled = (training, True) if instrument in due else (stopping, False)
                    entries |= _entries(instrument.measure(record), whose, scheduled=scheduled, stopping=stopping)
        self._data.keep(result.final)
        lost = torch.zeros_like(training)
        if not last:
            watching = [instrument for instrument in due if instrument.sees_updates]
            updated, lost = self._update_measured(result, flags.may_step, watching)
            entries |= updated
        if self.step % settings.log_interval == 0 or last:
            entries |= self._logged(training)
        elif lost.any():
            # Their last entry. Views of all replicas draw it with the next one, unless none follows.
            entries |= self._logged(lost, scheduled=not self.states.training.any())
        with self.phases.during("writers"):
            for writer in (self.outlets.log, *self.outlets.views):
                writer.write(self.step, entries)
        self.done = last
        if not last:
            self.step += 1
            if self.outlets.listener is not None:
                losses = result.losses[self.states.training.to(result.losses.device)]
                loss = float(losses.median()) if len(losses) else float("nan")
                self.outlets.listener.update(Progress(step=self.step, loss=loss, states=self.states))

    def _watch(self, batch: Batch, result: StepResult) -> Flags:
        """Take the step into account before the weights change, and return the flags of the replicas."""
        flags = self._extremes.see(result, self.states.training)
        if any(flags.nonfinite):
            self._extremes.note_nonfinite(self.step, result, list(self._compute.gradients()), flags.nonfinite)
        if self._watchers:
            flown = Flown(
                step=self.step,
                losses=result.losses,
                raw_norm=result.raw_norm,
                clipped_norm=result.clipped_norm,
                adjoints=result.adjoints,
                ends=batch.ends,
            )
            for watcher in self._watchers:
                watcher.see(flown, flags.spiked, flags.nonfinite)
        return flags

    def _logged(self, whose: Bool[Tensor, " replica"], *, scheduled: bool = True) -> dict[str, Entry]:
        """Return what training itself yields of some replicas since their last entry."""
        for watcher in self._watchers:
            watcher.settle()
        stepped = whose & self._averages.counted
        entries = _scalars(self._averages.take(whose), stepped, scheduled=scheduled)
        rate = self.parts.optimizer.learning_rate * self.parts.schedule.factor(self.step, self.parts.settings.num_steps)
        figures = self._extremes.take(whose) | {
            tags.SKIPPED: self.states.skipped,
            tags.LEARNING_RATE: torch.full((self.parts.network.replicas,), rate, dtype=torch.float64),
            tags.DIVERGED: self.states.status == Status.DIVERGED,
        }
        return entries | _scalars(figures, whose, scheduled=scheduled)

    @property
    def events(self) -> Events:
        """Steps that exploded so far, and the first thing that was not finite."""
        kept = [event for watcher in self._watchers for event in watcher.events()]
        return Events(first_nonfinite=tuple(self._extremes.first_nonfinite), events=tuple(kept))

    def _evaluate(self, entries: dict[str, Entry]) -> Bool[Tensor, " replica"]:
        """Evaluate on all evaluation sets and add the figures to `entries`; return which replicas stop as solved."""
        training, parts = self.states.training, self.parts
        metrics = {family: evaluate(parts.task, parts.network, batch) for family, batch in self._eval_batches.items()}
        for family, figures in metrics.items():
            entries |= _scalars({family.format(metric=metric): values for metric, values in figures.items()}, training)
        if (criterion := parts.task.facts.solved) is None:
            return torch.zeros_like(training)
        judged = metrics[tags.EVAL]
        if parts.solved_batch_size is not None:
            fresh = self._draw(self._held_out, parts.solved_batch_size, f"solved:{self.step}")
            judged = evaluate_exactly(parts.task, parts.network, fresh)
            entries |= _scalars({tags.JUDGED.format(metric=criterion.metric): judged[criterion.metric]}, training)
        met = criterion.is_met(judged).cpu()
        stopping = self.states.mark_solved(met, self.step, stop=parts.settings.stop_when_solved)
        entries |= _scalars({tags.SOLVED: self.states.steps_to_solve != NEVER}, training)
        return stopping

    def _record(self, batch: Batch, result: StepResult) -> Record:
        adjoints, initial = result.adjoints, self._data.initial
        if self._lengths_vary:
            batch, adjoints, initial = self._probe_batch, self._compute.probe(self._probe_batch, self.step), None
        of_answer = adjoints
        if not self.parts.task.facts.answer_alone:
            of_answer = self._compute.probe(batch, self.step, of_answer=True, initial=initial)
        return Record(
            step=self.step,
            task=self.parts.task,
            network=self.parts.network,
            batch=batch,
            adjoints=adjoints,
            answer_adjoints=of_answer,
            probe=self._probe_batch,
            raw_norm=result.raw_norm,
            clipped_norm=result.clipped_norm,
            gradients=result.gradients,
        )

    @property
    def _lengths_vary(self) -> bool:
        return self.parts.seq_lens[0] < self.parts.seq_lens[1]

    def _update_measured(
        self, result: StepResult, may_step: Bool[Tensor, " replica"], watching: Sequence[Instrument]
    ) -> tuple[dict[str, Entry], Bool[Tensor, " replica"]]:
        """Let the optimizer step; return what `watching` instruments measure of it, and which replicas are given up."""
        network, training = self.parts.network, self.states.training.clone()
        before = {name: weight.detach().clone() for name, weight in network.named_parameters()} if watching else {}
        with self.phases.during("optimizer"):
            lost = self._update(result, may_step)
        entries: dict[str, Entry] = {}
        with self.phases.during("instruments"):
            for instrument in watching:
                entries |= _entries(instrument.measure_update(Update(network=network, before=before)), training)
        return entries, lost

    def _update(self, result: StepResult, may_step: Bool[Tensor, " replica"]) -> Bool[Tensor, " replica"]:
        """Let the optimizer step, without the replicas that have stopped or must skip it; return those given up."""
        parts = self.parts
        taking_part = self.states.training & may_step
        self._averages.add({tags.TRAIN_LOSS: result.losses, **result.diagnostics}, taking_part)
        factor = parts.schedule.factor(self.step, parts.settings.num_steps)
        parts.optimizer.step(taking_part, factor)
        parts.network.constrain()
        for mitigation in parts.mitigations:
            mitigation.after_update(parts.network, taking_part)
        return self.states.note_skips(may_step, self.step, parts.settings.max_skipped_in_a_row)

    @property
    def seconds(self) -> float:
        """Wall-clock seconds spent on the run, including those before an interruption."""
        return self.seconds_before + time.monotonic() - self._started

    def save(self) -> None:
        """Save a checkpoint of everything that changes, with the length of the log; show the events so far."""
        parts = self.parts
        for writer in (self.outlets.log, *self.outlets.views):
            writer.show(self.events)
        content = {
            "step": self.step,
            "done": self.done,
            "network": parts.network.state_dict(),
            "optimizer": parts.optimizer.state(),
            "mitigations": [mitigation.state() for mitigation in parts.mitigations],
            "data": self._data.state(),
            "replicas": self.states.state(),
            "averages": self._averages.state(),
            "extremes": self._extremes.state(),
            "watchers": [watcher.state() for watcher in self._watchers],
            "log": self.outlets.log.sync(),
            "seconds": self.seconds,
        }
        self.outlets.checkpoints.save(self.step, content)

    def restore(self, content: dict[str, Any]) -> None:
        """Resume from a checkpoint; what the log holds beyond it is dropped."""
        parts = self.parts
        self.step, self.done = content["step"], content["done"]
        parts.network.load_state_dict(content["network"])
        parts.optimizer.load_state(content["optimizer"])
        for mitigation, state in zip(parts.mitigations, content["mitigations"], strict=True):
            mitigation.load_state(state)
        self._data.load_state(content["data"])
        self.states = ReplicaStates.from_state(content["replicas"])
        self._averages.load_state(content["averages"])
        # Checkpoints of older versions have neither.
        if "extremes" in content:
            self._extremes.load_state(content["extremes"])
            for watcher, state in zip(self._watchers, content["watchers"], strict=True):
                watcher.load_state(state)
        self.outlets.log.resume(content["log"])
        self.seconds_before = content["seconds"]


def _entries(
    measurements: Measurements,
    replicas: Bool[Tensor, " replica"],
    *,
    scheduled: bool = True,
    stopping: Bool[Tensor, " replica"] | None = None,
) -> dict[str, Entry]:
    return {
        tag: Entry(measured=measured, replicas=replicas, scheduled=scheduled, stopping=stopping)
        for tag, measured in measurements.items()
    }


def _scalars(
    figures: dict[str, Tensor], replicas: Bool[Tensor, " replica"], *, scheduled: bool = True
) -> dict[str, Entry]:
    scalars = {tag: Scalar(values=values.double()) for tag, values in figures.items()}
    return _entries(scalars, replicas, scheduled=scheduled)
