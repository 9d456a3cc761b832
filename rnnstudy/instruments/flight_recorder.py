"""The steps that explode, and the few before them."""

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from rnnstudy.core.errors import ConfigError, require_at_least, require_finite
from rnnstudy.core.lags import thinned
from rnnstudy.core.numerics import free_bytes
from rnnstudy.core.schedule import At, Schedule
from rnnstudy.gradients.histograms import LOW, count_log10
from rnnstudy.gradients.norms import sequence_norms
from rnnstudy.gradients.spikes import FACTOR
from rnnstudy.instruments.base import Flown, Instrument, LooksAt, Record, Watcher
from rnnstudy.recurrence.base import Adjoint
from rnnstudy.runs.events import Event, EventStep, TimeHistogram, parse_events
from rnnstudy.writers.base import Measurements
from rnnstudy.writers.through_time import filled_bins

BIN_WIDTH = 0.5
"""Powers of ten, as in the histograms of other instruments."""

MAX_TIME_STEPS = 100
"""Time steps with a histogram, at most; of longer sequences evenly spread ones."""


@dataclass(frozen=True, kw_only=True)
class FlightRecorder(Instrument):
    """Keeps the very steps at which the gradient spikes: norms over time, histograms, losses, and the steps before.

    A step spikes when the raw norm of the parameters' gradient is above `factor` times the median of the replica's last
    100 finite ones (before the tenth: times the first), or is not finite. Each replica keeps, in this order of
    importance, its first spike, the step from which on its steps were not finite (the latest such step, if it
    recovered), and the spikes with the largest finite norms.

    The adjoints are those of the training loss as it was sent back, edits included. Every checkpoint writes norms and
    histograms to `events.json`; `runs.events.Event` explains them. The factor also decides what `train/spikes` counts.

    Args:
        factor: Multiple of the typical norm above which a step spikes, at least 1.
        ring: Steps before a spike to keep with it, at least 1; the memory holds the adjoints of so many steps.
        max_events: Spikes to keep of each replica, at least 2.
    """

    looks_at: ClassVar[LooksAt] = "the training batch"

    schedule: Schedule = field(init=False, default_factory=lambda: At(steps=()))
    factor: float = FACTOR
    ring: int = 3
    max_events: int = 3

    def __post_init__(self) -> None:
        require_at_least("factor", self.factor, 1)
        require_finite("factor", self.factor)
        require_at_least("ring", self.ring, 1)
        require_at_least("max_events", self.max_events, 2)

    @property
    @override
    def spike_factor(self) -> float:
        return self.factor

    @override
    def measure(self, record: Record) -> Measurements:
        return {}

    @override
    def watch(self, replicas: int, step_bytes: int, device: torch.device) -> Watcher:
        # Spikes that are not settled yet hold as much again.
        needed, free = 2 * (self.ring + 1) * step_bytes, free_bytes(device)
        if needed > free:
            raise ConfigError(
                f"instrument.flight_recorder.ring={self.ring} would keep {needed / 1e9:.3g} GB of gradients in memory, "
                f"but {free / 1e9:.3g} GB are free; choose a shorter ring."
            )
        return _Recording(replicas, self)


Totals = Mapping[str, Sequence[float]]
"""`{state}/layer_{layer}/total` to the norm at every time step."""


@dataclass(frozen=True, kw_only=True)
class _Frame:
    """A step in the ring: of one replica, or of all; after a resumption with norms in place of adjoints."""

    step: int
    losses: Float[Tensor, " replica"]
    raw_norm: Float[Tensor, " replica"]
    clipped_norm: Float[Tensor, " replica"]
    adjoints: Sequence[Mapping[str, Adjoint]]
    totals: Sequence[Totals] | None = None

    def replica(self, number: int) -> "_Frame":
        """Return a copy for one replica."""
        figures = (each[number : number + 1].clone() for each in (self.losses, self.raw_norm, self.clipped_norm))
        losses, raw_norm, clipped_norm = figures
        return _Frame(
            step=self.step,
            losses=losses,
            raw_norm=raw_norm,
            clipped_norm=clipped_norm,
            adjoints=[{name: each.replica(number) for name, each in layer.items()} for layer in self.adjoints],
            totals=None if self.totals is None else self.totals[number : number + 1],
        )

    def states(self) -> Iterator[tuple[str, Adjoint]]:
        """Yield `{state}/layer_{layer}` and the adjoint of every state of every layer."""
        for index, layer in enumerate(self.adjoints):
            yield from ((f"{state}/layer_{index}", adjoint) for state, adjoint in layer.items())

    def as_step(self, norms: Totals) -> EventStep:
        """Return the step of a frame of one replica as an event keeps it."""
        return EventStep(
            step=self.step,
            loss=float(self.losses),
            raw_norm=float(self.raw_norm),
            clipped_norm=float(self.clipped_norm),
            norms=norms,
        )

    def of_totals(self) -> Totals:
        """Return the norms of the total derivative, of a frame of one replica."""
        if self.totals is not None:
            return self.totals[0]
        return {f"{name}/total": _norms(adjoint.total) for name, adjoint in self.states()}

    def state(self) -> dict[str, Any]:
        """Return the frame of all replicas for a checkpoint, with norms in place of adjoints."""
        figures = {name: getattr(self, name).clone() for name in ("losses", "raw_norm", "clipped_norm")}
        totals = [self.replica(number).of_totals() for number in range(len(self.losses))]
        return {"step": self.step, **figures, "adjoints": [], "totals": totals}


def _norms(adjoint: Float[Tensor, "time one batch hidden"]) -> list[float]:
    """Return the mean over the batch of the norm at every time step; five digits keep the file small."""
    return [float(f"{norm:.5g}") for norm in sequence_norms(adjoint).mean(-1)[:, 0].tolist()]


@dataclass(frozen=True, kw_only=True)
class _Spike:
    """A spike of one replica; until it is settled, without norms and with the frames to compute them from."""

    event: Event
    frames: Sequence[_Frame] = ()

    def raw_norm(self) -> float:
        """Return the norm by which spikes are ranked."""
        return self.event.spike.raw_norm

    def settled(self) -> "_Spike":
        """Return the spike with its norms and histograms."""
        if not self.frames:
            return self
        *before, last = self.frames
        parts = {
            f"{name}/{part}": _norms(values)
            for name, adjoint in last.states()
            for part, values in (("total", adjoint.total), ("direct", adjoint.direct), ("carried", adjoint.carried))
        }
        steps = (*(frame.as_step(frame.of_totals()) for frame in before), last.as_step(parts))
        histograms = {name: _histogram(adjoint.total) for name, adjoint in last.states()}
        return _Spike(event=replace(self.event, steps=steps, histograms=histograms))


def _histogram(adjoint: Float[Tensor, "time one batch hidden"]) -> TimeHistogram:
    kept = thinned(list(range(len(adjoint))), MAX_TIME_STEPS)
    counts = count_log10(adjoint[kept], BIN_WIDTH)[:, 0].cpu().numpy()
    first, end = filled_bins(counts.sum(0))
    low = LOW + BIN_WIDTH * first
    return TimeHistogram(low=low, width=BIN_WIDTH, time_steps=kept, counts=counts[:, first:end].tolist())


class _Recording(Watcher):
    """The ring of the last steps, and the spikes that are kept of every replica, by step."""

    def __init__(self, replicas: int, recorder: FlightRecorder) -> None:
        self._most = recorder.max_events
        self._ring: deque[_Frame] = deque(maxlen=recorder.ring + 1)
        self._kept: list[list[_Spike]] = [[] for _ in range(replicas)]
        self._was_nonfinite: Sequence[bool] = [False] * replicas

    @override
    def see(self, flown: Flown, spiked: Sequence[bool], nonfinite: Sequence[bool]) -> None:
        figures = {name: getattr(flown, name) for name in ("step", "losses", "raw_norm", "clipped_norm", "adjoints")}
        self._ring.append(_Frame(**figures))
        for replica, (spike, lost, was_lost) in enumerate(zip(spiked, nonfinite, self._was_nonfinite, strict=True)):
            # Of several steps in a row that are not finite, the first counts.
            if not was_lost if lost else spike:
                self._keep(replica, flown, nonfinite=lost)
        self._was_nonfinite = list(nonfinite)

    def _keep(self, replica: int, flown: Flown, *, nonfinite: bool) -> None:
        """Keep a spike in place of an earlier one that was not finite, or of the smallest norm if all places are taken.

        The first spike is never replaced.
        """
        kept = self._kept[replica]
        rest = [spike for spike in kept[1:] if not (nonfinite and spike.event.nonfinite)]
        smallest = min((each for each in rest if not each.event.nonfinite), key=_Spike.raw_norm, default=None)
        if len(kept[:1]) + len(rest) >= self._most:
            if not nonfinite and (smallest is None or float(flown.raw_norm[replica]) <= smallest.raw_norm()):
                return
            rest = [spike for spike in rest if spike is not smallest]
        frames = [frame.replica(replica) for frame in self._ring]
        event = Event(
            replica=replica,
            nonfinite=nonfinite,
            batch=flown.step,
            ends=() if flown.ends is None else tuple(flown.ends[replica].tolist()),
            steps=(frames[-1].as_step({}),),
            histograms={},
        )
        self._kept[replica] = [*kept[:1], *rest, _Spike(event=event, frames=frames)]

    @override
    def settle(self) -> None:
        self._kept = [[spike.settled() for spike in kept] for kept in self._kept]

    @override
    def events(self) -> list[Event]:
        self.settle()
        return [spike.event for kept in self._kept for spike in kept]

    @override
    def state(self) -> dict[str, Any]:
        return {
            "events": json.dumps([asdict(event) for event in self.events()]),
            "ring": [frame.state() for frame in self._ring],
            "was_nonfinite": list(self._was_nonfinite),
        }

    @override
    def load_state(self, state: dict[str, Any]) -> None:
        for event in parse_events(json.loads(state["events"]), "checkpoint", len(self._kept)):
            self._kept[event.replica].append(_Spike(event=event))
        self._ring.extend(_Frame(**frame) for frame in state["ring"])
        self._was_nonfinite = state["was_nonfinite"]
