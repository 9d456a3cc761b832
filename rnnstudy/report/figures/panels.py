"""Configurations divided among panels, with their colours and legends."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rnnstudy.plotting.style import BASELINE_COLOR, COLORS, DPI, INK, MARKERS, grid_of, plain, tidy
from rnnstudy.report.analysis.naming import ABSENT, NUMBER, natural
from rnnstudy.report.analysis.summary import Summary
from rnnstudy.runs.labels import short_labels
from rnnstudy.runs.settings import NO_MITIGATION

_ONE_PANEL = 4  # configurations that one axes still shows well
_MOST_PANELS = 6  # panels that one figure still shows well
_MOST_NAMED = 10  # colours that a legend above the axes leaves room for
_LEGEND_ROW = 0.21  # inches


@dataclass(frozen=True, kw_only=True)
class Line:
    """One configuration in a panel.

    Args:
        summary: The run, with its logs.
        label: Text in the legend.
        color: Colour of the line.
        marker: Marker at its end.
        width: Width in points; lines drawn later are thinner, so that all of several equal ones are visible.
    """

    summary: Summary
    label: str
    color: str
    marker: str
    width: float


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Configurations that share one axes."""

    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The panels of a figure.

    Args:
        panels: Panels in reading order.
        columns: Panels in a row.
        shared_legend: Whether a label has the same colour in all panels.
    """

    panels: tuple[Panel, ...]
    columns: int
    shared_legend: bool

    @property
    def lines(self) -> list[Line]:
        """The lines of all panels."""
        return [line for panel in self.panels for line in panel.lines]

    def colors(self) -> dict[str, str]:
        """Return the colour of every run, by name; the first of a run that is in several panels."""
        return {line.summary.name: line.color for line in reversed(self.lines)}

    def only(self, has: Callable[[Summary], bool]) -> "Layout":
        """Return the layout without the panels in which no run has something to draw."""
        kept = tuple(panel for panel in self.panels if any(has(line.summary) for line in panel.lines))
        return replace(self, panels=kept)


@dataclass(frozen=True, kw_only=True)
class PanelFigure:
    """A figure of a handful of panels, to draw into.

    Args:
        figure: The figure.
        panels: Panels with their axes.
        key: Legend entries besides the lines.
    """

    figure: Figure
    panels: list[tuple[Panel, Axes]]
    key: list[Line2D] = field(default_factory=list)


def arrange(summaries: Sequence[Summary]) -> Layout:
    """Return panels of labelled and coloured lines; configurations that are compared share one axes.

    Up to four share a single axes. Beyond that, one axes holds the runs that differ in mitigation only, or, where
    mitigations do not differ, in model only or in the first differing setting.
    """
    if len(summaries) <= _ONE_PANEL:
        lines = tuple(_line(each, each.name, COLORS[place], place) for place, each in enumerate(summaries))
        return Layout(panels=(Panel(title="", lines=lines),), columns=1, shared_legend=True)
    differing = summaries[0].differing
    axis = next((key for key in ("mitigation", "model", *differing) if key in differing), "mitigation")
    labels = {summary.name: _level(summary, axis) for summary in summaries}
    levels = sorted(set(labels.values()), key=_level_order)
    palette = _palette(levels)
    groups: dict[str, list[Summary]] = {}
    for summary in summaries:
        groups.setdefault(_group_title(summary, axis), []).append(summary)
    panels: list[Panel] = []
    for title, members in groups.items():
        members.sort(key=lambda summary: _level_order(labels[summary.name]))
        told = [(member, labels[member.name]) for member in members]
        lines = [_line(member, level, palette[level], levels.index(level)) for member, level in told]
        panels += _divide(title, lines, crowded=len(palette) > len(COLORS) + 1)
    shared = len(set(palette.values())) == len(palette)
    return Layout(panels=tuple(panels), columns=columns_of(len(panels)) if shared else 1, shared_legend=shared)


def columns_of(panels: int) -> int:
    """Return the number of panels in a row."""
    return {1: 1, 2: 2, 4: 2}.get(panels, 3)


def _line(summary: Summary, label: str, color: str, place: int) -> Line:
    width = max(1.6, 4.2 - 1.4 * place)
    return Line(summary=summary, label=label, color=color, marker=MARKERS[place % len(MARKERS)], width=width)


def _level(summary: Summary, axis: str) -> str:
    differing = summary.differing
    own = [key for key, value in differing.items() if key.startswith(f"{axis}.") and value != ABSENT]
    names = short_labels(own)
    main = summary.mitigation if axis == "mitigation" else differing.get(axis, summary.name)
    return ", ".join([main, *(f"{names[key]}={differing[key]}" for key in own)])


def _group_title(summary: Summary, axis: str) -> str:
    differing = summary.differing
    rest = [key for key in differing if key not in {axis, "model"} and not key.startswith(f"{axis}.")]
    names = short_labels(rest)
    parts = [f"{names[key]}={differing[key]}" for key in rest if differing[key] != ABSENT]
    return ", ".join([summary.model, *parts] if axis != "model" and summary.model else parts)


def _level_order(level: str) -> tuple[int, tuple[int, float, str]]:
    return (level != NO_MITIGATION, natural(level))


def _palette(levels: Sequence[str]) -> dict[str, str]:
    rest = [level for level in levels if level != NO_MITIGATION]
    if len(rest) > len(COLORS) and all(natural(level)[0] == NUMBER for level in rest):
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


def panel_figures(layout: Layout, y_label: str, *, share_x: bool = True, star: bool = False) -> Iterator[PanelFigure]:
    """Yield figures of a handful of titled panels; `y_label`, on the left, and the legend follow once the caller drew.

    All axes share one scale of y, with `share_x` also of x. `star` marks runs whose gradients are edited.
    """
    for start in range(0, len(layout.panels), _MOST_PANELS):
        panels = layout.panels[start : start + _MOST_PANELS]
        part = replace(layout, panels=panels, columns=columns_of(len(panels)) if layout.shared_legend else 1)
        figure, grid = _panel_figure(part, share_x=share_x)
        page = PanelFigure(figure=figure, panels=list(zip(panels, grid, strict=True)))
        yield page
        for axes in grid[:: part.columns]:
            axes.set_ylabel(y_label, color=INK)
        _add_legend(page, part, star=star)


def _panel_figure(layout: Layout, *, share_x: bool) -> tuple[Figure, list[Axes]]:
    count, columns = len(layout.panels), layout.columns
    rows = -(-count // columns)
    if columns > 1:
        size = (3.8 * columns, 2.9 * rows + 0.5)
    else:
        # A single axes is read on a phone too: the smaller it is, the larger its text there.
        size = (5.6 if layout.shared_legend else 7.6, 3.9 if count == 1 else 3.2 * rows)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    grid = grid_of(figure, count, columns, share_x=share_x, share_y=True)
    for panel, axes in zip(layout.panels, grid, strict=True):
        tidy(axes)
        axes.set_title(plain(panel.title, limit=44), fontsize=11, loc="left", color=INK)
        axes.tick_params(labelbottom=True, labelleft=True, labelsize=11 if count == 1 else 10)
        axes.xaxis.label.set_fontsize(11)
        axes.yaxis.label.set_fontsize(11)
    return figure, grid


def _add_legend(page: PanelFigure, layout: Layout, *, star: bool) -> None:
    """Name the colours outside of the axes, so that no text lies on data."""
    look = {"frameon": False, "fontsize": 10}
    if not layout.shared_legend:
        told = set[tuple[tuple[str, str], ...]]()
        for panel, axes in page.panels:
            if (own := tuple((line.label, line.color) for line in panel.lines)) not in told:
                told.add(own)
                handles = [_handle(line, star=star) for line in panel.lines]
                axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1.0), **look)
        if page.key:
            page.figure.legend(handles=page.key, loc="outside upper left", ncols=len(page.key), **look)
        return
    ordered = list({line.label: line for line in layout.lines}.values())
    if len(page.panels) > 1:
        ordered.sort(key=lambda line: _level_order(line.label))
    named = ordered
    if len(ordered) > _MOST_NAMED:  # an ordered scale too long for the legend: some from end to end
        places = np.linspace(0, len(ordered) - 1, _MOST_NAMED // 2).round().astype(int)
        named = [ordered[place] for place in places]
    handles = [_handle(line, star=star) for line in named]
    if len(handles) < len(ordered):
        handles.append(Line2D([], [], linestyle="none", label="and between"))
    handles += page.key
    longest = max(len(str(handle.get_label())) for handle in handles)
    columns = min(len(handles), max(1, int(page.figure.get_figwidth() / (0.6 + 0.085 * longest))))
    rows = -(-len(handles) // columns)
    page.figure.set_figheight(page.figure.get_figheight() + _LEGEND_ROW * max(0, rows - 2))  # at the cost of no axes
    page.figure.legend(handles=handles, loc="outside upper left", ncols=columns, **look)


def _handle(line: Line, *, star: bool) -> Line2D:
    label = plain(line.label) + ("*" if star and line.summary.is_edited else "")
    return Line2D([], [], color=line.color, linewidth=line.width, marker=line.marker, markersize=5, label=label)
