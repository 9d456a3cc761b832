"""What a search judges a run by."""

import json
import math

import pytest

from rnnstudy.core.errors import RnnstudyError
from rnnstudy.runs.folder import RunFolder
from rnnstudy.study.search.objective import NoFigureError, falls_behind, figure_of
from rnnstudy.study.search.space import Pruning, Search, Values

SPACE = {"model": Values(choices=["gru"])}
RESULT = {
    "status": ["solved", "finished", "diverged", "finished"],
    "steps_to_solve": [100, None, None, 300],
    "final": {"eval/loss": [0.1, 0.4, 0.2, 0.3], "eval/accuracy": [0.9, None, 0.99, math.nan]},
}


def search(metric="steps_to_solve", direction="minimize", prune=None) -> Search:
    return Search(space=SPACE, metric=metric, direction=direction, prune=prune)


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    (tmp_path / "result.json").write_text(json.dumps(RESULT))
    return RunFolder(tmp_path)


@pytest.mark.parametrize(
    ("metric", "direction", "figure"),
    [
        ("steps_to_solve", "minimize", (100 + 1000 + 1000 + 300) / 4),
        ("eval/loss", "minimize", (0.3 + 0.4) / 2),  # of .1 .4 inf .3
        ("eval/loss", "maximize", (0.1 + 0.3) / 2),  # of .1 .4 -inf .3
        ("eval/accuracy", "maximize", -math.inf),  # of .9 -inf -inf -inf
    ],
)
def test_a_finished_run_is_judged_by_all_its_replicas(folder, metric, direction, figure):
    assert figure_of(folder, search(metric, direction), 1000) == pytest.approx(figure, rel=1e-12)


def test_a_tag_that_no_run_has_is_told_with_those_there_are(folder):
    with pytest.raises(NoFigureError, match=r"got 'eval/los'. Tags: eval/accuracy, eval/loss."):
        figure_of(folder, search("eval/los"), 1000)


@pytest.mark.parametrize("content", ["{", "[]", '{"status": []}', "null"])
def test_a_damaged_result_is_named_and_not_used(folder, content):
    folder.result.write_text(content)
    for metric in ("steps_to_solve", "eval/loss"):
        with pytest.raises(RnnstudyError, match=r"result\.json is damaged"):
            figure_of(folder, search(metric), 1000)


FINISHED = [{0: 1.0, 10: 0.5}, {0: 1.0, 10: 0.9, 20: 0.7}, {0: 1.0, 10: 0.8, 20: 0.6}]


@pytest.mark.parametrize(
    ("own", "hopeless"),
    [
        ({0: 1.0}, False),  # the median is 1.0: no worse
        ({0: 1.0, 10: 0.81}, True),  # 0.8
        ({0: 1.0, 10: 0.8}, False),
        ({0: 1.0, 10: 0.55, 20: 0.61}, False),  # its best counts
        ({0: 1.0, 10: 0.9, 20: 0.61}, True),  # 0.6, since the one that ended after 10 steps keeps its 0.5
        ({0: 1.0, 10: math.inf, 20: math.inf}, True),
    ],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_run_is_hopeless_if_its_best_is_worse_than_the_median_of_the_finished(own, hopeless, sign):
    asked = search("eval/loss", "minimize" if sign == 1 else "maximize", Pruning(startup_trials=3))
    others = [{step: sign * figure for step, figure in each.items()} for each in FINISHED]
    assert falls_behind({step: sign * figure for step, figure in own.items()}, others, asked) is hopeless


def test_no_run_is_hopeless_before_enough_are_finished():
    asked = search("eval/loss", prune=Pruning(startup_trials=4))
    assert not falls_behind({0: 1.0, 10: 9.0}, FINISHED, asked)
    # One that had logged nothing by that step does not count.
    asked = search("eval/loss", prune=Pruning(startup_trials=3))
    assert not falls_behind({0: 1.0, 10: 9.0}, [*FINISHED[:2], {30: 0.1}], asked)
