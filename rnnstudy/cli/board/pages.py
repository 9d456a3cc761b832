"""Pages of TensorBoard to open, and their initial view, all of which the address holds.

Addresses are relative to that of the page which redirects to them, so a proxy may serve TensorBoard below a prefix.
"""

import json
import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote

from rnnstudy.cli.board.links import BoardView
from rnnstudy.runs import tags
from rnnstudy.runs.folder import SUB_RUN, WORST

MOST_TICKED = 500
"""With more runs than these, TensorBoard's Time Series page starts with none of them ticked."""

MOST_TICKED_ELSEWHERE = 40
"""The same limit for its other pages."""

COLORS = 7
"""Colours in TensorBoard's palette: with more runs than these, some look alike."""

_FIRST_ROW = ("solved_fraction", "diverged_fraction", "loss")
_OTHER_ROWS = ("log10_gradient_at_information", "log10_largest_norm", "spikes", "horizon", "clip_coefficient")
PINNED = tuple(tags.AT_A_GLANCE.format(figure=figure) for figure in (*_FIRST_ROW, *_OTHER_ROWS))
"""Charts at the top of the Time Series page; they repeat names from `writers.overview`, whose import takes seconds."""

PER_PAGE = 12
"""Charts on a page of TensorBoard's Histograms."""

SETTINGS = {
    "_tb_global_settings": {"ignoreOutliers": False, "autoReload": True, "timeSeriesSettingsPaneOpened": False},
    "_ignoreYOutliers": False,
}
"""TensorBoard's browser settings: explosions are not cut off as outliers, charts of a running sweep reload, and the
settings pane, one click away, leaves its place to the charts."""

NO_SUB_RUNS = f"^(?!.*/{SUB_RUN})"
"""Pattern of the runs themselves, without their sub-runs, whose steps are time steps."""

SUB_RUNS = f"/{SUB_RUN}"

TOTAL = "through_time/h/.*total"
"""Pattern of the histograms of the total gradient in the sub-runs."""

METHOD = "^([^ ]+)"
"""Pattern of the model and its mitigations in a run's name."""

THROUGH_TIME = "/through_time"
"""Short address of the sub-runs' histograms."""

Application = Callable[[dict[str, Any], Callable[..., object]], Iterable[bytes]]


def first_page(view: BoardView) -> str:
    """Return the relative address of the Time Series page with all runs; its tabs lead to the other pages."""
    pins = json.dumps([{"plugin": "scalars", "tag": tag} for tag in PINNED], separators=(",", ":"))
    # The part after the question mark is for the Time Series page, that after the hash for all others.
    settings, others = f"smoothing=0&pinnedCards={_quoted(pins)}", "_smoothingWeight=0"
    methods = {name.partition(" ")[0] for name in view.runs}
    if len(view.runs) > COLORS and 1 < len(methods) <= COLORS:
        settings += f"&runColorGroup={_quoted(f'regex:{METHOD}')}"
    if view.sub_runs:
        settings += f"&runFilter={_quoted(NO_SUB_RUNS)}"
        others += f"&regexInput={_quoted(NO_SUB_RUNS)}"
    return f"./?{settings}#timeseries&{others}"


def through_time_page(view: BoardView) -> str:
    """Return the relative address of the sub-runs' histograms, the gradient at every time step.

    Where there are more than one page holds, it shows the last sub-run of every run, and its worst step.
    """
    patterns = [SUB_RUNS]
    worst = [name for name in view.sub_runs if name.endswith(WORST)]
    # Sub-runs are sorted by run, then by training step.
    last = {name.rpartition("/")[0]: name.rpartition("/")[2] for name in view.sub_runs if name not in worst}
    if len(view.sub_runs) > PER_PAGE and len(last) <= MOST_TICKED_ELSEWHERE:
        patterns = [f"/{step}$" for step in set(last.values())]
        if len(patterns) > 1:
            patterns = [f"^({'|'.join(_escaped(f'{run}/{step}') for run, step in last.items())})$"]
        if worst and len(last) + len(worst) <= MOST_TICKED_ELSEWHERE:
            patterns.append(f"{WORST}$")
    return f"./?smoothing=0#histograms&regexInput={_quoted('|'.join(patterns))}&tagFilter={_quoted(TOTAL)}"


def with_short_addresses(application: Application, view: BoardView) -> Application:
    """Return TensorBoard, a WSGI application, with pages at `/` and `/through_time` that redirect to those above."""

    def leading(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        match environ.get("PATH_INFO"), environ.get("QUERY_STRING"):
            case (("/" | ""), ("" | None)):
                page = _leading_to(first_page(view))
            case path, _ if path == THROUGH_TIME:
                page = _leading_to(through_time_page(view))
            case _:
                return application(environ, start_response)
        headers = [("Content-Type", "text/html"), ("Content-Length", str(len(page))), ("Cache-Control", "no-store")]
        start_response("200 OK", headers)
        return [page]

    return leading


def _leading_to(place: str) -> bytes:
    """Return a page that redirects to another, and stores TensorBoard's settings if the browser has none yet."""
    settings = json.dumps({name: json.dumps(value) for name, value in SETTINGS.items()})
    # Addresses are quoted: nothing in them ends the script.
    return f"""<!doctype html>
<meta charset="utf-8">
<title>TensorBoard</title>
<script>
for (const [name, value] of Object.entries({settings})) {{
  if (localStorage.getItem(name) === null) localStorage.setItem(name, value);
}}
location.replace({json.dumps(place)});
</script>
""".encode()


def _escaped(text: str) -> str:
    """Return a pattern that matches this text alone, for the browser, which has fewer escapes than Python."""
    return re.sub(r"[.*+?^${}()|[\]\\]", r"\\\g<0>", text)


def _quoted(text: str) -> str:
    return quote(text, safe="")
