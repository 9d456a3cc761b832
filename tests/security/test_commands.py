"""The command line that goes on with a study is a stranger's where the folder is: only harmless ones are repeated."""

import json
import os

import pytest
from tools.synthetic_runs import Synthetic, edit_json, write_run

from rnnstudy.runs.folder import RECORDS
from rnnstudy.study.jobs.compose import compose_jobs
from rnnstudy.study.status import list_runs

HOSTILE = [
    "rm -rf ~",
    "rnnstudy train; rm -rf ~",
    "rnnstudy train $(rm -rf ~)",
    "rnnstudy train `rm`",
    "rnnstudy train\nrm -rf ~",
    "rnnstudy train x=1 > .bashrc",
    "rnnstudy train +hydra.callbacks.x._target_=os.mkdir",
    "rnnstudy train '+hydra.callbacks={x: {_target_: os.mkdir}}'",
    "rnnstudy train 'hydra.searchpath=[file:///tmp/theirs]'",
    "rnnstudy train --config-dir theirs",
    "rnnstudy train -cd theirs",
    "rnnstudy train hydra.launcher._target_=os.mkdir",
    "rnnstudyx train",
]


def study(folder, command: str):
    """A study whose list has one run that is missing."""
    write_run(folder / "run", Synthetic(replicas=2, num_steps=100))
    lists = folder / RECORDS / "sweeps"
    lists.mkdir(parents=True)
    entry = {"folder": "/etc/run_1a2b3c4d", "fingerprint": "1a2b3c4d", "label": "x", "overrides": [], "config": {}}
    (lists / "a.jsonl").write_text(json.dumps(entry) + "\n")
    (lists / "a.json").write_text(json.dumps({"command": command, "started": ""}))
    return folder


@pytest.mark.parametrize("command", HOSTILE)
def test_a_command_that_does_more_than_train_is_not_repeated(tmp_path, command):
    assert list_runs([study(tmp_path, command)]).commands == {}


@pytest.mark.parametrize(
    "command",
    [
        "rnnstudy train -m study=lags 'mitigation=[],[clip_norm]' task.lag=19,40",
        "rnnstudy train -m model=rnn,gru hydra/launcher=joblib hydra.launcher.n_jobs=2",
    ],
)
def test_a_command_that_trains_is(tmp_path, command):
    assert list(list_runs([study(tmp_path, command)]).commands) == [command]


def test_a_run_in_a_list_is_looked_for_beside_it_alone(tmp_path):
    places = [run.folder.path for run in list_runs([study(tmp_path, "")]).runs]
    assert places != []
    assert all(place.parent == tmp_path for place in places)


@pytest.mark.parametrize("override", ["x;rm -rf ~", "+hydra.callbacks.x._target_=os.mkdir", "$(id)"])
def test_what_was_set_by_hand_is_quoted_or_left_out(tmp_path, override):
    run = write_run(tmp_path / "run", Synthetic(replicas=2, num_steps=100, finished=False))
    edit_json(run / "run.json", overrides=[override])
    commands = list(list_runs([tmp_path]).commands)
    assert commands == ([] if "hydra" in override else [f"rnnstudy train '{override}'"])


def test_hydra_would_call_what_a_command_line_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    compose_jobs(["+hydra.callbacks.x._target_=os.mkdir", f"+hydra.callbacks.x.path={tmp_path}/made"])
    assert os.path.isdir(tmp_path / "made")
