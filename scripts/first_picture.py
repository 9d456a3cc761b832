"""Draw the README's first picture from the runs of `make study`: python scripts/first_picture.py OUTPUTS PNG."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rnnstudy.plotting.style import report_style
from rnnstudy.report.analysis.naming import name_runs
from rnnstudy.report.analysis.pooling import pool_runs
from rnnstudy.report.analysis.summary import Summary, read_logs, summarise
from rnnstudy.report.contents import SideBySide
from rnnstudy.report.figures.overview import overview_figures
from rnnstudy.report.select import read_conditions
from rnnstudy.runs.collection import read_sweep

COLUMNS = {
    "vanishes: a tanh network": ("coconut_clipping", ["model=rnn", "mitigation=[]"]),
    "explodes: a ReLU network": ("coconut_exploding", ["optimizer.lr=0.01", "mitigation=[]"]),
    "explodes, and is clipped": ("coconut_exploding", ["optimizer.lr=0.01", "mitigation=[clip_norm]"]),
}
"""Title of each column: the study, and the conditions that its run meets."""


def find(folder: Path, conditions: Sequence[str]) -> Summary:
    """Return the one run of a study that meets the conditions, with its logs."""
    runs = read_sweep(folder).runs
    met = read_conditions(conditions, runs, option="COLUMNS")
    (named,) = [each for each in name_runs(runs) if all(condition.is_met_by(each.run) for condition in met)]
    return replace(summarise(named), logs=read_logs(pool_runs([named.run])[0]))


def main(outputs: Path, picture: Path) -> None:
    """Draw the runs of three columns side by side."""
    columns = tuple((title, find(outputs / study, wanted)) for title, (study, wanted) in COLUMNS.items())
    with report_style():
        (figure,) = overview_figures([SideBySide(heading="", runs=columns)], share_x=False)
        figure.savefig(picture, facecolor="white")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
