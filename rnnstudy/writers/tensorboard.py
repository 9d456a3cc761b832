"""The TensorBoard view of a run."""

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import override

from rnnstudy.plotting.heatmap import HeatmapImage, log10_norms
from rnnstudy.runs import tags
from rnnstudy.runs.events import Events
from rnnstudy.writers import hparams, overview
from rnnstudy.writers.base import Curve, Entry, Histogram, HistogramOverTime, Scalar, Writer
from rnnstudy.writers.descriptions import FINAL_STEPS_TO_SOLVE, description
from rnnstudy.writers.events import EventFile
from rnnstudy.writers.explosions import explosions_text
from rnnstudy.writers.layout import custom_layout
from rnnstudy.writers.overview import GlanceFigure, RunFacts
from rnnstudy.writers.run_log import shorten
from rnnstudy.writers.selection import Selection
from rnnstudy.writers.through_time import Pooled, ThroughTime, pooled

Records = Iterable[dict[str, Any]]

_EXPLOSIONS = tags.AT_A_GLANCE.format(figure="explosions")  # before `config` on the page of texts
_DRAWN_AT = [4**power for power in range(1, 16)]  # numbers of rows at which a heatmap is drawn


class TensorBoard(Writer):
    """The figures to look at first, a choice of all others, histograms, heatmaps and text as TensorBoard event files.

    `Selection` decides which tags are shown. Scalars are medians over the replicas, histograms pool them. A replica
    that solved the task and stopped keeps its last figures, so that late ones are not of the failures alone. One that
    diverged drops out of all but what sums up the run: fractions, counts and extremes so far. A heatmap (optimizer step
    by time step, log10 of the median) is redrawn when its rows have quadrupled, and at the end: drawing costs far more
    than writing.

    Args:
        folder: Folder of the event files.
        facts: Facts of the run.
        purge_step: Step from which TensorBoard is to forget entries of older files.
    """

    def __init__(self, folder: Path, facts: RunFacts | None = None, purge_step: int = 0) -> None:
        """Open a new event file."""
        self._facts = facts or RunFacts()
        describe = partial(description, self._facts)
        self._events = EventFile(folder, describe, purge_step)
        self._through_time = ThroughTime(folder, describe, purge_step)
        # Ending of the tags of curves that are drawn as heatmaps; the other parts are in the run's log.
        self._heatmaps = f"/{self._facts.norms}"
        self._selection = Selection(self._facts)
        self._figures = overview.overview_figures(self._facts)
        self._lost: dict[int, int] = {}
        self._joined = {figure.source: figure.so_far for figure in self._figures if figure.so_far}
        self._scalars: dict[str, dict[int, float]] = defaultdict(dict)
        self._curves: dict[str, dict[int, list[float]]] = defaultdict(dict)
        self._rows: dict[str, list[tuple[int, np.ndarray]]] = defaultdict(list)
        self._stopped: dict[str, list[tuple[float, np.ndarray]]] = defaultdict(list)
        self._drawn: dict[str, int] = {}
        self._maps: HeatmapImage | None = None
        self._step = purge_step
        self._explosions = ""

    def begin(self, config: str, hyperparameters: hparams.Hyperparameters, chosen: Collection[str] = ()) -> None:
        """Write the Markdown `config` and the hyperparameters before the first step; show those in `chosen` first."""
        columns = [(figure.tag, figure.title, figure.description) for figure in self._figures]
        columns[1:1] = [(tags.FINAL_STEPS_TO_SOLVE, "median steps to solve", FINAL_STEPS_TO_SOLVE)]
        for summary in hparams.started(hyperparameters, chosen, columns):
            self._events.summary(summary, 0)
        self._events.charts(custom_layout(self._facts))
        self._events.text("config", config)
        self._events.flush()

    def restore(self, metrics: Records, curves: Records, histograms: Records = ()) -> None:
        """Restore, from the run's log, what an interrupted run had shown."""
        offered: dict[int, set[str]] = defaultdict(set)
        for record in metrics:
            for tag, figure in record.items():
                if tag not in {"step", "replica"}:
                    self._take(tag, record["replica"], figure, record["step"])
                    offered[record["step"]].add(tag)
        pending: dict[str, int] = {}
        for record in curves:
            tag, step = record["tag"], record["step"]
            if tag.endswith(self._heatmaps):
                offered[step].add(tag)
                if tag in pending and pending[tag] != step:
                    self._add_row(tag, pending.pop(tag))
                self._curves[tag][record["replica"]] = record["values"]
                if record.get("scheduled", True):
                    pending[tag] = step
        for tag, step in pending.items():
            self._add_row(tag, step)
        for tag, rows in self._rows.items():
            self._drawn[tag] = max((power for power in _DRAWN_AT if power <= len(rows)), default=0)
        for record in histograms:
            if "stopped" in record:
                self._stopped[record["tag"]].append((record["low"], np.array(record["counts"], dtype=np.int64)))
            if "time_steps" not in record:
                offered[record["step"]].add(record["tag"])
        for step in sorted(offered):
            self._selection.offer(offered[step])

    @override
    def write(self, step: int, entries: Mapping[str, Entry]) -> None:
        if not entries:
            return
        self._step = step
        offered = [tag for tag, entry in entries.items() if entry.running and self._is_offered(tag, entry)]
        if self._selection.offer(offered):
            self._events.text("left_out", self._selection.as_text(), step)
        medians: dict[str, float] = {}
        through_time: dict[str, Pooled] = {}
        for tag, entry in entries.items():
            match entry.measured:
                case Scalar(values=values):
                    figures = values.tolist()
                    for replica in entry.running:
                        # As in the log, from which a run resumes: further digits would make a difference.
                        self._take(tag, replica, shorten(figures[replica]), step)
                    # Write no median if no replica has the figure.
                    if entry.scheduled and self._selection.shows(tag) and (known := self._known(tag)):
                        medians[tag] = float(_median(known))
                case Curve(values=values) if tag.endswith(self._heatmaps):
                    for replica in entry.running:
                        self._curves[tag][replica] = [shorten(figure) for figure in values[replica].tolist()]
                    if entry.scheduled and self._add_row(tag, step) and len(self._rows[tag]) in _DRAWN_AT:
                        self._draw(tag)
                case Histogram(low=low, width=width) as histogram:
                    together = self._together(tag, entry, histogram)
                    if together.any() and entry.scheduled and self._selection.shows(tag):
                        self._events.histogram(tag, together, (low, width), step)
                case HistogramOverTime() as histograms:
                    together = self._together(tag, entry, histograms)
                    if entry.scheduled:
                        through_time[tag] = pooled(histograms, together)
        sources = {tag for tag, entry in entries.items() if entry.scheduled}
        self._events.scalars(step, self._overview(sources) | medians)
        # A checkpoint may follow, after which what is not in the file would be missing for good.
        self._events.flush()
        if through_time:
            self._through_time.write(step, through_time)

    @override
    def show(self, events: Events) -> None:
        # Called at every checkpoint, and most of them bring nothing new.
        if (text := explosions_text(events)) == self._explosions:
            return
        self._explosions = text
        self._events.text(_EXPLOSIONS, text, self._step)
        self._events.flush()
        if worst := events.worst():
            self._through_time.show_worst(worst)

    def _is_offered(self, tag: str, entry: Entry) -> bool:
        """Return whether a measurement can be shown under its own tag."""
        if isinstance(entry.measured, Curve):
            return tag.endswith(self._heatmaps)
        return not isinstance(entry.measured, HistogramOverTime)

    def _take(self, tag: str, replica: int, figure: float, step: int) -> None:
        """Take the new figure of a replica."""
        if tag == tags.DIVERGED and figure:
            self._lost.setdefault(replica, step)
        known = self._scalars[tag]
        joined = self._joined.get(tag)
        known[replica] = joined(known[replica], figure) if joined and replica in known else figure

    def _known(self, tag: str) -> list[float]:
        """Return the last figure of every replica that has one and was not lost at an earlier step."""
        whole = tag in {tags.SOLVED, tags.DIVERGED, *self._joined}
        return [figure for replica, figure in self._scalars[tag].items() if whole or not self._was_lost(replica)]

    def _was_lost(self, replica: int, step: int | None = None) -> bool:
        """Return whether a replica was lost before a step, that of the last entries by default."""
        return self._lost.get(replica, math.inf) < (self._step if step is None else step)

    def _together(self, tag: str, entry: Entry, histogram: Histogram | HistogramOverTime) -> np.ndarray:
        """Add up the counts of the running replicas and the last ones of those that have stopped."""
        counts = histogram.counts
        together = counts[entry.running].sum(0).cpu().numpy()
        for low, last in self._stopped[tag]:
            first = round((low - histogram.low) / histogram.width)
            together[..., first : first + last.shape[-1]] += last
        if entry.ending:
            self._stopped[tag].append((histogram.low, counts[entry.ending].sum(0).cpu().numpy()))
        return together

    def _overview(self, sources: set[str]) -> dict[str, float]:
        """Return the figures at a glance that have new values, by tag."""
        told: dict[str, float] = {}
        for figure in self._figures:
            values = self._values(figure) if figure.source in sources else []
            value, spread = overview.glance_of(values, figure), overview.spread_of(values)
            # A margin chart wants all three or none.
            if spread is not None and math.isfinite(value):
                told[figure.tag] = value
                if figure.has_bands:
                    told |= dict(zip(figure.bands, spread, strict=True))
        rows = self._rows[self._facts.top_norms]
        if self._facts.top_norms in sources and rows and rows[-1][0] == self._step:
            told |= overview.by_lag(rows[-1][1])
        return told

    def _values(self, figure: GlanceFigure) -> Sequence[float]:
        if figure.source == self._facts.top_norms:
            curves = self._curves[figure.source].items()
            left = {replica: curve for replica, curve in curves if not self._was_lost(replica)}
            return overview.log10_at_information(left, self._facts)
        values = self._known(figure.source)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log10(values).tolist() if figure.is_log10 else values

    def _add_row(self, tag: str, step: int) -> bool:
        """Add the medians of a step to the heatmap; return whether any replica is left."""
        left = [curve for replica, curve in self._curves[tag].items() if not self._was_lost(replica, step)]
        if left:
            self._rows[tag].append((step, _median(left)))
        return bool(left)

    def _draw(self, tag: str) -> None:
        rows = self._rows[tag]
        if not self._selection.shows(tag) or self._drawn.get(tag) == len(rows):
            return
        self._drawn[tag] = len(rows)
        if self._maps is None:
            self._maps = HeatmapImage(self._facts.informative_steps)
        steps, norms = zip(*rows, strict=True)
        image = self._maps.render(_title(tag), np.array(steps), log10_norms(np.array(norms)))
        self._events.image(f"{tag}/heatmap", image, steps[-1])

    def finish(self, step: int, steps_to_solve: Sequence[float]) -> None:
        """Write the final figures after `step` optimizer steps; `steps_to_solve` is infinite for unsolved replicas."""
        steps = float(np.median(steps_to_solve))
        if math.isfinite(steps):
            self._events.scalars(step, {tags.FINAL_STEPS_TO_SOLVE: steps})
        self._events.summary(hparams.ended(), step)
        self._through_time.finish()
        self._draw_all()

    @override
    def close(self) -> None:
        self._draw_all()
        self._events.close()

    def _draw_all(self) -> None:
        for tag in self._rows:
            self._draw(tag)
        self._events.flush()


def _title(tag: str) -> str:
    named = tags.fields(tags.HIDDEN_GRAD_NORM, tag)
    what = f"‖∂L/∂{named['state']}‖ of layer {named['layer']}" if named else tag
    alone = ", L the answer's loss alone" if named and named["part"] == "answer" else ""
    return f"{what}{alone}, median over replicas"


def _median(figures: list[Any]) -> Any:
    """Return the median over the replicas; NaN between minus and plus infinity."""
    with np.errstate(invalid="ignore"):
        return np.median(figures, axis=0)
