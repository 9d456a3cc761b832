"""Descriptions of the tags in event files: all have one, with a unit."""

import json
import re

import pytest
from tensorboard.plugins.hparams import metadata
from tools.events import descriptions, read
from tools.members import members, plan, run_small, suited_model

from rnnstudy.runs import tags
from rnnstudy.runs.folder import RunFolder

EVERYTHING = f"instrument=[{','.join(members('instrument'))}]"
ELSEWHERE = ("spectral", "saturation", "skip_nonfinite")
"""Members that log some figures only of other models, or with other settings."""
EXPLODING = ("model=rnn", "model.nonlinearity=relu", "optimizer=sgd", "optimizer.lr=30")


def logged(folder: RunFolder) -> set[str]:
    """Tags in the run's log: all measurements, where TensorBoard shows a choice of them."""
    files = (folder.metrics, folder.curves, folder.histograms)
    rows = [json.loads(line) for path in files for line in path.read_text().splitlines()]
    return {tag for row in rows for tag in ([row["tag"]] if "tag" in row else row.keys() - {"step", "replica"})}


@pytest.mark.parametrize(
    "overrides",
    [(), EXPLODING, (EVERYTHING, "mitigation=[clip_norm,grad_noise]"), ("task=copy_memory", "model.num_layers=2")],
    ids=["default", "exploding", "everything", "answer"],
)
def test_every_tag_of_every_event_file_has_a_description_that_ends_with_its_unit(tmp_path, overrides):
    folder = run_small(tmp_path / "run", *overrides)
    files = list(folder.path.rglob("*tfevents*"))
    assert len(files) >= 3
    for file in files:
        for tag, text in descriptions(file.parent).items():
            assert re.search(r"\w+.*[.] Unit: [^.{}]+\.$", text), (tag, text)
            assert "see there" not in text, tag


@pytest.mark.parametrize(
    ("group", "name"),
    [("mitigation", name) for name in members("mitigation")] + [("instrument", name) for name in members("instrument")],
)
def test_members_tell_the_meaning_of_all_they_log(tmp_path, group, name):
    model = suited_model("mitigation", name) if group == "mitigation" else "lstm"
    chosen = (f"{group}=[{name}]", f"model={model}")
    settings = plan(*chosen)
    own = {tag: text for each in (*settings.instruments, *settings.mitigations) for tag, text in each.meanings.items()}
    found = logged(run_small(tmp_path / "run", *chosen))
    assert [tag for tag in found if tags.meaning(tag, own | dict(tags.TAGS)) is None] == []
    # Nor a meaning of what nothing logs, but for other models or settings.
    own = {tag: text for tag, text in own.items() if tags.group(tag) == name not in ELSEWHERE}
    assert [tag for tag, text in own.items() if not any(tags.meaning(each, {tag: text}) for each in found)] == []


def test_the_metrics_of_the_hparams_page_have_the_descriptions_of_their_charts(tmp_path):
    folder = run_small(tmp_path / "run")
    shown = descriptions(folder.tensorboard)
    content = read(folder.tensorboard).SummaryMetadata(metadata.EXPERIMENT_TAG).plugin_data.content
    infos = metadata.parse_experiment_plugin_data(content).metric_infos
    assert {info.name.tag: info.description for info in infos if info.name.tag in shown}.items() <= shown.items()
    assert all(info.description.endswith(".") for info in infos)
