"""Steps that exploded, as a run keeps them: `events.json`."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rnnstudy.runs.fields import Fields, UnreadableRunError, is_number
from rnnstudy.runs.folder import RunFolder
from rnnstudy.runs.untrusted import parse_json, read_regular

Kind = Literal["output", "loss", "gradient"]


@dataclass(frozen=True, kw_only=True)
class Nonfinite:
    """The first thing of a replica that was not finite.

    Args:
        step: Optimizer steps done before.
        kind: Earliest of output, loss and gradient, in the order in which a step computes them.
        parameters: Names of the parameters whose gradient is not finite.
        layer: Layer where it began. Of a gradient: the highest with an adjoint that is not finite. Of an output or a
            loss: the lowest with a state that is not. None if all are finite.
        time_step: Where it began in that layer. Of a gradient: the latest time step, where the way back met it first.
            Of an output or a loss: the earliest.
    """

    step: int
    kind: Kind
    parameters: tuple[str, ...]
    layer: int | None
    time_step: int | None


@dataclass(frozen=True, kw_only=True)
class EventStep:
    """One step of an event.

    Args:
        step: Optimizer steps done before.
        loss: Mean training loss over the batch.
        raw_norm: Norm of the gradient of all parameters before the mitigations.
        clipped_norm: The same norm after them.
        norms: `{state}/layer_{layer}/{part}` to the mean over the batch of ||dL/ds_t|| at every time step, of the
            training loss as it was sent back, per sequence; of steps before the event the total alone.
    """

    step: int
    loss: float
    raw_norm: float
    clipped_norm: float
    norms: Mapping[str, Sequence[float]]


@dataclass(frozen=True, kw_only=True)
class TimeHistogram:
    """Counts of log10 |dL/ds_t| over units and sequences, per sequence, in bins `width` powers of ten wide from `low`.

    Args:
        low: Left edge of the first bin.
        width: Width of every bin.
        time_steps: Time step of each row.
        counts: Rows of counts.
    """

    low: float
    width: float
    time_steps: Sequence[int]
    counts: Sequence[Sequence[int]]


@dataclass(frozen=True, kw_only=True)
class Event:
    """A step of one replica that spiked.

    Args:
        replica: The replica.
        nonfinite: Whether output, loss or gradient were not finite. Of several such steps in a row it is the first.
        batch: Batches that the replica had drawn before.
        ends: Places in the data where its sequences end, if the task reads on from there; else empty.
        steps: The steps just before, then the one that spiked.
        histograms: `{state}/layer_{layer}` to the histogram of the total derivative.
    """

    replica: int
    nonfinite: bool
    batch: int
    ends: tuple[int, ...]
    steps: tuple[EventStep, ...]
    histograms: Mapping[str, TimeHistogram]

    @property
    def spike(self) -> EventStep:
        """The step that spiked."""
        return self.steps[-1]


@dataclass(frozen=True, kw_only=True)
class Events:
    """Record of the steps of a run that exploded.

    Args:
        first_nonfinite: The first thing that was not finite, of each replica; None where all was finite.
        events: Events by replica and step.
    """

    first_nonfinite: tuple[Nonfinite | None, ...]
    events: tuple[Event, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the content of events.json."""
        return asdict(self)

    def worst(self) -> Event | None:
        """Return the event with the largest finite raw norm; None without any."""
        finite = [event for event in self.events if math.isfinite(event.spike.raw_norm)]
        return max(finite, key=lambda event: event.spike.raw_norm, default=None)


def read_events(folder: RunFolder, replicas: int) -> Events:
    """Return the events of a run, none without a file; raise UnreadableRunError if it is malformed."""
    try:
        content = Fields(parse_json(read_regular(folder.events, most=None)), folder.events.name)
    except FileNotFoundError:
        return Events(first_nonfinite=(None,) * replicas)
    except ValueError as error:
        raise UnreadableRunError(f"corrupt: {folder.events.name} is no JSON") from error
    first = content.items("first_nonfinite", length=replicas)
    return Events(
        first_nonfinite=tuple(None if each is None else _nonfinite(Fields(each, content.source)) for each in first),
        events=parse_events(content.items("events"), content.source, replicas),
    )


def parse_events(content: Sequence[Any], source: str, replicas: int) -> tuple[Event, ...]:
    """Return events from JSON; raise UnreadableRunError, which names the `source`, if they are malformed."""
    return tuple(_event(Fields(each, source), replicas) for each in content)


def _nonfinite(fields: Fields) -> Nonfinite:
    kind = fields.text("kind")
    if kind not in {"output", "loss", "gradient"}:
        raise UnreadableRunError(f"corrupt: {fields.source}: 'kind' is {kind!r:.60}")
    return Nonfinite(
        step=fields.integer("step"),
        kind=kind,  # pyright: ignore[reportArgumentType] - checked above
        parameters=tuple(map(str, fields.items("parameters"))),
        layer=None if fields.take("layer") is None else fields.integer("layer"),
        time_step=None if fields.take("time_step") is None else fields.integer("time_step"),
    )


def _event(fields: Fields, replicas: int) -> Event:
    replica, steps = fields.integer("replica"), fields.items("steps")
    if replica >= replicas or not steps:
        raise UnreadableRunError(f"corrupt: {fields.source}: an event of replica {replica} with {len(steps)} steps")
    histograms = fields.nested("histograms")
    return Event(
        replica=replica,
        nonfinite=fields.flag("nonfinite"),
        batch=fields.integer("batch"),
        ends=tuple(_numbers(fields, "ends", int)),
        steps=tuple(_step(Fields(each, fields.source)) for each in steps),
        histograms={name: _histogram(histograms.nested(name)) for name in histograms.content},
    )


def _step(fields: Fields) -> EventStep:
    norms = fields.nested("norms")
    return EventStep(
        step=fields.integer("step"),
        loss=fields.number("loss"),
        raw_norm=fields.number("raw_norm"),
        clipped_norm=fields.number("clipped_norm"),
        norms={name: _numbers(norms, name) for name in norms.content},
    )


def _histogram(fields: Fields) -> TimeHistogram:
    rows = [_numbers(Fields({"counts": row}, fields.source), "counts", int) for row in fields.items("counts")]
    time_steps = _numbers(fields, "time_steps", int)
    if len({len(row) for row in rows}) > 1 or len(rows) != len(time_steps):
        raise UnreadableRunError(f"corrupt: {fields.source}: 'counts' must have a row of one length per time step")
    return TimeHistogram(low=fields.number("low"), width=fields.number("width"), time_steps=time_steps, counts=rows)


def _numbers(fields: Fields, key: str, kind: type[int] | type[float] = float) -> list[Any]:
    values = fields.items(key)
    if not all(is_number(value) and (kind is float or type(value) is int) for value in values):
        raise UnreadableRunError(f"corrupt: {fields.source}: '{key}' must be a list of numbers")
    return values
