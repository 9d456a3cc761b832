from pathlib import Path

import pytest
from tools.members import compose

from rnnstudy.runs.identity import find_run_folder, fingerprint, telling_name


@pytest.mark.parametrize(
    "override",
    [
        "study=other",
        "output_dir=elsewhere",
        "run_dir=here",
        "numerics.threads=4",
        "train.checkpoint_interval=7",
        "train.kept_checkpoints=5",
        "compare.measure=loss",
    ],
)
def test_what_changes_no_figure_changes_no_fingerprint(override):
    assert fingerprint(compose(override)) == fingerprint(compose())


@pytest.mark.parametrize(
    "override",
    ["seed=1", "task.lag=20", "model=gru", "mitigation=[clip_norm]", "train.num_steps=3", "device=cuda", "replicas=2"],
)
def test_what_changes_figures_changes_the_fingerprint(override):
    assert fingerprint(compose(override)) != fingerprint(compose())


def test_names_tell_what_was_asked_for():
    config = compose("model=gru", "mitigation=[clip_norm]", "task.lag=40")
    name = telling_name(
        config, ["model=gru", "mitigation=[clip_norm]", "task.lag=40", "seed=3", "study=x", "train.kept_checkpoints=9"]
    )
    assert name == f"gru+clip_norm_lag=40_seed=3_{fingerprint(config)}"
    hostile = telling_name(config, ["model.hidden_size=../../x y;rm"])
    assert "/" not in hostile
    assert " " not in hostile


def test_a_configuration_has_one_folder_however_it_was_spelt(tmp_path):
    config = compose(f"output_dir='{tmp_path}'")
    first = find_run_folder(config, ["task.lag=19"])
    first.path.mkdir()
    assert find_run_folder(config, []) == first
    assert find_run_folder(compose(f"output_dir='{tmp_path}'", "seed=9"), []) != first
    assert find_run_folder(compose("run_dir=x"), []).path == Path("x")
