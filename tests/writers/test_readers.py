"""Event files as other readers see them: tbparse, tensorboard-reducer and TensorBoard's own EventAccumulator."""

import pytest
import tensorboard_reducer
from tbparse import SummaryReader
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tools.members import run_small

FIGURES = ("at_a_glance/loss", "at_a_glance/accuracy", "at_a_glance/solved_fraction", "spread/loss/low", "train/loss")


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> list[str]:
    study = tmp_path_factory.mktemp("study")
    return [str(run_small(study / f"seed={seed}", f"seed={seed}").tensorboard) for seed in (0, 10)]


def accumulated(folder: str) -> dict[str, dict[int, float]]:
    events = EventAccumulator(folder).Reload()
    return {tag: {each.step: each.value for each in events.Scalars(tag)} for tag in events.Tags()["scalars"]}


def test_the_event_accumulator_has_every_figure_as_a_scalar(folders):
    events = EventAccumulator(folders[0]).Reload()
    scalars = set(events.Tags()["scalars"])
    assert scalars > set(FIGURES)
    assert not [
        tag for tag in events.Tags()["tensors"] if events.SummaryMetadata(tag).plugin_data.plugin_name == "scalars"
    ]
    assert set(accumulated(folders[0])["at_a_glance/loss"]) == {0, 4, 8, 12}


# Its own, of pandas.
@pytest.mark.filterwarnings("ignore:The inplace keyword")
def test_tbparse_reads_the_same_figures(folders):
    table = SummaryReader(folders[0]).scalars
    found = {tag: dict(zip(rows["step"], rows["value"], strict=True)) for tag, rows in table.groupby("tag")}
    assert found == accumulated(folders[0])


def test_tensorboard_reducer_averages_the_runs_of_two_seeds(folders):
    loaded = tensorboard_reducer.load_tb_events(folders, verbose=False)
    means = tensorboard_reducer.reduce_events(loaded, ["mean"])["mean"]
    one, other = map(accumulated, folders)
    assert set(means) == one.keys() & other.keys()
    for tag in FIGURES:
        expected = {step: (one[tag][step] + other[tag][step]) / 2 for step in one[tag]}
        assert means[tag].to_dict() == pytest.approx(expected)
