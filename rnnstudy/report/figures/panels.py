"""Configurations divided among panels, with their colours and legends."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rnnstudy.plotting.style import BASELINE_COLOR, COLORS, DPI, INK, MARKERS, plain, tidy
from rnnstudy.report.analysis.naming import ABSENT, NO_MITIGATION, Entry, natural
from rnnstudy.runs.labels import short_labels

_ONE_PANEL = 4  # configurations that one axes still shows well


_MOST_PANELS = 6  # panels that one figure still shows well


_MOST_NAMED = 10  # colours that a legend above the axes leaves room for


@dataclass(frozen=True, kw_only=True)
class Line:
    """One configuration in a panel.

    Args:
        entry: The run.
        label: In the legend.
        color: Of the line.
        marker: At its end.
        width: In points; lines that are drawn later are thinner, so that equal ones are all seen.
    """

    entry: Entry
    label: str
    color: str
    marker: str = MARKERS[0]
    width: float = 2.0


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Configurations that share one axes."""

    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The panels of a figure.

    Args:
        panels: In reading order.
        columns: Panels in a row.
        shared_legend: Whether a label has the same colour in all panels.
    """

    panels: tuple[Panel, ...]
    columns: int
    shared_legend: bool

    def colors(self) -> dict[str, str]:
        """Return the colour of every run, by name."""
        return {line.entry.name: line.color for panel in reversed(self.panels) for line in panel.lines}

    def pages(self) -> "list[Layout]":
        """Return layouts of a handful of panels each."""
        parts = [self.panels[start : start + _MOST_PANELS] for start in range(0, len(self.panels), _MOST_PANELS)]
        return [replace(self, panels=part, columns=_columns(len(part)) if self.shared_legend else 1) for part in parts]


def arrange(entries: Sequence[Entry]) -> Layout:
    """Divide configurations among panels so that what is compared shares one axes.

    Up to four share a single axes. Beyond that, one axes holds the runs that differ in mitigation
    only (in model only, or in the first differing setting, where mitigations do not differ).

    Returns:
        Panels with labelled and coloured lines.
    """
    if len(entries) <= _ONE_PANEL:
        lines = tuple(
            Line(entry=each, label=each.name, color=COLORS[i], marker=MARKERS[i], width=_width(i))
            for i, each in enumerate(entries)
        )
        return Layout(panels=(Panel(title="", lines=lines),), columns=1, shared_legend=True)
    axis = _compared(entries)
    labels = {entry.name: _level(entry, axis) for entry in entries}
    levels = sorted(set(labels.values()), key=_level_order)
    palette = _palette(levels)
    places = {level: number for number, level in enumerate(levels)}
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(_group_title(entry, axis), []).append(entry)
    panels: list[Panel] = []
    for title, members in groups.items():
        members.sort(key=lambda entry: _level_order(labels[entry.name]))
        lines = [
            Line(entry=e, label=level, color=palette[level], marker=MARKERS[place % len(MARKERS)], width=_width(place))
            for e, level, place in ((e, labels[e.name], places[labels[e.name]]) for e in members)
        ]
        panels += _divide(title, lines, crowded=len(palette) > len(COLORS) + 1)
    shared = len(set(palette.values())) == len(palette)
    return Layout(panels=tuple(panels), columns=_columns(len(panels)) if shared else 1, shared_legend=shared)


def _width(place: int) -> float:
    return max(1.6, 3.2 - 0.6 * place)


def _columns(panels: int) -> int:
    return {1: 1, 2: 2, 4: 2}.get(panels, 3)


def _compared(entries: Sequence[Entry]) -> str:
    varying = entries[0].settings
    if not varying:
        return "mitigation"
    return next((key for key in ("mitigation", "model") if key in varying), next(iter(varying)))


def _level(entry: Entry, axis: str) -> str:
    own = [key for key, value in entry.settings.items() if key.startswith(f"{axis}.") and value != ABSENT]
    names = short_labels(own)
    main = entry.mitigation if axis == "mitigation" else entry.settings.get(axis, entry.name)
    return ", ".join([main, *(f"{names[key]}={entry.settings[key]}" for key in own)])


def _group_title(entry: Entry, axis: str) -> str:
    rest = [key for key in entry.settings if key not in {axis, "model"} and not key.startswith(f"{axis}.")]
    names = short_labels(rest)
    parts = [f"{names[key]}={entry.settings[key]}" for key in rest if entry.settings[key] != ABSENT]
    return ", ".join([entry.model, *parts] if axis != "model" and entry.model else parts)


def _level_order(level: str) -> tuple[int, tuple[int, float, str]]:
    return (level != NO_MITIGATION, natural(level))


def _palette(levels: Sequence[str]) -> dict[str, str]:
    rest = [level for level in levels if level != NO_MITIGATION]
    if len(rest) > len(COLORS) and all(natural(level)[0] == 1 for level in rest):
        # Many sizes of one setting: an ordered scale tells more than many hues.
        shades = colormaps["viridis"]
        colors = [to_hex(shades(0.9 * i / (len(rest) - 1))) for i in range(len(rest))]
    else:
        colors = [COLORS[i % len(COLORS)] for i in range(len(rest))]
    return {NO_MITIGATION: BASELINE_COLOR} | dict(zip(rest, colors, strict=True))


def _divide(title: str, lines: list[Line], *, crowded: bool) -> list[Panel]:
    """Return the parts of a panel with more lines than colours; the baseline is drawn in each part."""
    baseline = [line for line in lines if line.label == NO_MITIGATION]
    rest = [line for line in lines if line.label != NO_MITIGATION]
    if not crowded or len({line.color for line in rest}) == len(rest):
        return [Panel(title=title, lines=tuple(lines))]
    parts = [rest[start : start + len(COLORS)] for start in range(0, len(rest), len(COLORS))]
    return [
        Panel(title=f"{title} ({number} of {len(parts)})".strip(), lines=(*baseline, *part))
        for number, part in enumerate(parts, start=1)
    ]


def panel_figure(layout: Layout, *, share_x: bool = True) -> tuple[Figure, list[Axes]]:
    """Make a figure with one axes per panel, on common axes scales, titled.

    Args:
        layout: The panels.
        share_x: Whether x has a common scale too; y always has.

    Returns:
        The figure, and its axes in the order of the panels.
    """
    count, columns = len(layout.panels), layout.columns
    rows = -(-count // columns)
    if columns > 1:
        size = (3.8 * columns, 2.9 * rows + 0.5)
    else:
        # A single axes is read on a phone too: the smaller it is, the larger its text there.
        size = (5.6 if layout.shared_legend else 7.6, 3.9 if count == 1 else 3.2 * rows)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    grid = figure.subplots(rows, columns, sharex=share_x, sharey=True, squeeze=False)
    axes = list(grid.flat)
    for unused in axes[count:]:
        unused.remove()
    for panel, each in zip(layout.panels, axes, strict=False):
        tidy(each)
        each.set_title(plain(panel.title, limit=44), fontsize=11, loc="left", color=INK)
        each.tick_params(labelbottom=True, labelleft=True, labelsize=11 if count == 1 else 10)
        each.xaxis.label.set_size(11)
        each.yaxis.label.set_size(11)
    return figure, axes[:count]


def add_legend(
    figure: Figure, axes: Sequence[Axes], layout: Layout, *, extra: Sequence[Line2D] = (), star: bool = False
) -> None:
    """Name the colours outside of the axes, so that no text lies on data.

    Args:
        figure: Of the panels.
        axes: One per panel.
        layout: The panels.
        extra: What else to name.
        star: Whether to mark runs whose gradients are edited.
    """
    if not layout.shared_legend:
        for panel, each in zip(layout.panels, axes, strict=True):
            handles = [*(_handle(line, star=star) for line in panel.lines), *extra]
            each.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=9.5)
        return
    lines = {line.label: line for panel in layout.panels for line in panel.lines}
    ordered = list(lines.values())
    if len(axes) > 1:
        ordered.sort(key=lambda line: _level_order(line.label))
    handles = [_handle(line, star=star) for line in _named(ordered)]
    if len(handles) < len(ordered):
        handles.append(Line2D([], [], linestyle="none", label="and between"))
    handles += extra
    longest = max(len(str(handle.get_label())) for handle in handles)
    columns = max(1, int(figure.get_figwidth() / (0.6 + 0.085 * longest)))
    figure.legend(
        handles=handles, loc="outside upper left", ncols=min(columns, len(handles)), frameon=False, fontsize=10
    )


def _named(ordered: Sequence[Line]) -> Sequence[Line]:
    """Return the lines that a legend names: of an ordered scale too long for it, some from end to end."""
    if len(ordered) <= _MOST_NAMED:
        return ordered
    places = np.linspace(0, len(ordered) - 1, _MOST_NAMED // 2).round().astype(int)
    return [ordered[place] for place in places]


def _handle(line: Line, *, star: bool) -> Line2D:
    label = plain(line.label) + ("*" if star and line.entry.run.edits_adjoints else "")
    return Line2D([], [], color=line.color, linewidth=line.width, marker=line.marker, markersize=5, label=label)
