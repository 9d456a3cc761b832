"""The page's tables, lists and links, without a browser."""

import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

from tools.summaries import make_summary

from rnnstudy.report.analysis.summary import Logs, Summary
from rnnstudy.report.contents import Contents
from rnnstudy.report.page.html import MAX_ROWS, render
from rnnstudy.report.select import Group
from rnnstudy.runs.events import Event, EventStep, Nonfinite


def page(summaries: list[list[Summary]], *, folder: str = "report", drawn: tuple[Summary, ...] = ()) -> str:
    """Render the page of groups of runs, without figures."""
    contents = Contents(
        title="title",
        folder=Path(folder),
        groups=tuple(Group(title=f"group {n}", summaries=tuple(each)) for n, each in enumerate(summaries)),
        comparisons=(),
        baseline="",
        correction="max-t",
        planned=False,
        drawn=drawn,
        notes=("a note",),
    )
    return render(contents, {})


def rows(text: str) -> list[tuple[str, str]]:
    return re.findall(r'<td [^>]*><a href="([^"]*)">([^<]*)</a></td>', text)


def runs(*labels: str) -> list[Summary]:
    return [make_summary(label, loss=[1.0] * 8) for label in labels]


def test_every_group_has_its_own_rows():
    text = page([runs("a", "b"), runs("c")])
    assert [name for _, name in rows(text)] == ["a", "b", "c"]
    first, second = text.split("<h3>group 1</h3>")
    assert [name for _, name in rows(first)] == ["a", "b"]
    assert [name for _, name in rows(second)] == ["c"]


def test_long_tables_are_cut_with_a_word_on_where_the_rest_is():
    labels = [f"run {number}" for number in range(MAX_ROWS + 7)]
    text = page([runs(*labels[:-20]), runs(*labels[-20:])])
    assert [name for _, name in rows(text)] == labels[:MAX_ROWS]
    assert '7 more runs: <a href="runs.csv">' in text
    assert f"All {MAX_ROWS + 7} configurations" in text
    assert "7 more: see the tables." in text


def test_links_lead_from_the_page_to_the_run_wherever_that_is(tmp_path):
    (summary,) = runs(str(tmp_path / 'a sweep #1/"><b>%41?'))
    ((link, _),) = rows(page([[summary]], folder=str(tmp_path / "else where" / "report")))
    assert "../.." in link
    assert not set(link) & set(' "<>#?')
    target = (tmp_path / "else where" / "report" / unquote(link)).resolve()
    assert target == summary.path.resolve()


def test_names_are_text_in_tables_lists_and_notes():
    (summary,) = runs("x")
    hostile = '<script>1</script>"><img src=x>'
    text = page([[replace(summary, name=hostile, short=hostile)]])
    assert "<script" not in text
    assert "<img" not in text
    assert text.count("&lt;script&gt;") >= 3


def test_kept_steps_that_exploded_are_listed_with_where_a_number_was_not_finite_first():
    step = EventStep(step=12, loss=30.5, raw_norm=4e5, clipped_norm=1.0, norms={})
    spike = Event(replica=1, nonfinite=False, batch=12, ends=(), steps=(step,), histograms={})
    first = Nonfinite(step=13, kind="gradient", parameters=("embedding", "weight_hh"), layer=0, time_step=4)
    (run,) = runs("a")
    logs = Logs(events=(spike,), first_nonfinite=(None, first, *(None,) * 6))
    text = page([[run]], drawn=(replace(run, logs=logs),))
    assert (
        "<li>a, replica 1: step 12: norm 4e+05, loss 30.5; step 13: the gradient is not finite, first in layer 0, "
        "time step 4; of embedding, weight_hh</li>"
    ) in text
