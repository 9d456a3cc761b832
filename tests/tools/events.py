"""Event files, read back with TensorBoard's own reader."""

from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto import event_pb2
from tensorboard.util.tensor_util import make_ndarray

# Protobuf makes its classes at run time, where type checkers do not see them.
_events: Any = event_pb2

SUMMARY_KINDS = ("images", "scalars", "tensors")


def read(folder: Path) -> EventAccumulator:
    """All entries of one folder, not a sample of them."""
    return EventAccumulator(str(folder), size_guidance=dict.fromkeys(SUMMARY_KINDS, 0)).Reload()


def scalars(events: EventAccumulator, tag: str) -> dict[int, float]:
    """Step to figure; a step that is there twice is an error."""
    found: list[tuple[int, float]] = []
    if tag in events.Tags()["scalars"]:
        found = [(event.step, event.value) for event in events.Scalars(tag)]
    elif tag in events.Tags()["tensors"] and events.SummaryMetadata(tag).plugin_data.plugin_name == "scalars":
        found = [(event.step, float(make_ndarray(event.tensor_proto))) for event in events.Tensors(tag)]
    assert len({step for step, _ in found}) == len(found), f"{tag} has doubled steps"
    return dict(found)


def histograms(events: EventAccumulator, tag: str) -> dict[int, np.ndarray]:
    """Step to left edges, right edges and counts of a histogram's buckets; a step that is there twice is an error."""
    found = {event.step: make_ndarray(event.tensor_proto).T for event in events.Tensors(tag)}
    assert events.SummaryMetadata(tag).plugin_data.plugin_name == "histograms"
    assert len(found) == len(events.Tensors(tag)), f"{tag} has doubled steps"
    return found


def descriptions(folder: Path) -> dict[str, str]:
    """Description of every tag, of all kinds, in the event files of one folder, as its first summary gives it."""
    found: dict[str, str] = {}
    for path in sorted(folder.glob("*tfevents*")):
        for raw in RawEventFileLoader(str(path)).Load():
            for value in _events.Event.FromString(raw).summary.value:
                found.setdefault(value.tag, value.metadata.summary_description)
    return found


def tags_of(folder: Path) -> set[str]:
    """Tags of all kinds in the event files of one folder, however they are shown."""
    return set(descriptions(folder))
