"""Which of a run's tags TensorBoard shows."""

import pytest
from tools.events import read, tags_of
from tools.members import members, run_small

from rnnstudy.config.members import on_by_default
from rnnstudy.runs import tags
from rnnstudy.runs.folder import RunFolder
from rnnstudy.writers.selection import MAX_TAGS

DEFAULT = on_by_default("instrument")
OTHERS = [name for name in members("instrument") if name not in DEFAULT]
EVERYTHING = f"instrument=[{','.join(members('instrument'))}]"
LEFT_OUT = "left_out/text_summary"


def left_out(folder: RunFolder) -> str:
    """Return the text that names the tags which are not shown; empty without one."""
    if LEFT_OUT not in tags_of(folder.tensorboard):
        return ""
    return read(folder.tensorboard).Tensors(LEFT_OUT)[-1].tensor_proto.string_val[0].decode()


@pytest.mark.parametrize("name", members("instrument"))
def test_of_an_instrument_alone_every_tag_is_shown(tmp_path, name):
    assert left_out(run_small(tmp_path / "run", f"instrument=[{name}]")) == ""


@pytest.mark.parametrize("name", OTHERS)
def test_an_instrument_switched_on_beside_those_on_by_default_loses_no_tag(tmp_path, name):
    folder = run_small(tmp_path / "run", f"instrument=[{','.join([*DEFAULT, name])}]")
    assert any(tags.group(tag) == name for tag in tags_of(folder.tensorboard))
    assert "**hidden_grad_histogram**" in left_out(folder)
    assert f"**{name}**" not in left_out(folder)


def test_the_tags_of_a_run_do_not_depend_on_its_mitigations_and_fill_the_limit(tmp_path):
    shown: list[set[str]] = []
    for chosen in ((), ("clip_norm",), ("clip_value", "clip_adjoint", "grad_noise")):
        folder = run_small(tmp_path / "-".join(["run", *chosen]), EVERYTHING, f"mitigation=[{','.join(chosen)}]")
        found = tags_of(folder.tensorboard)
        # All but the final figure, of a run that has solved the task.
        assert "clip_norm" not in chosen or len(found) == MAX_TAGS - 1
        shown.append({tag for tag in found if tags.group(tag) not in chosen and "clip_coefficient" not in tag})
    assert shown[0] == shown[1] == shown[2]
