"""A stored configuration names no code but members of the package, and stands for what it says and no more."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tools.members import run_small
from tools.synthetic_runs import Synthetic, edit_config, write_run
from tools.waiting import PATIENCE

from rnnstudy.config.build import build, locate
from rnnstudy.config.optimizer import optimizer_factory
from rnnstudy.core.errors import ConfigError, RnnstudyError
from rnnstudy.models.base import Model
from rnnstudy.runs.collection import read_sweep
from rnnstudy.runs.untrusted import MOST_DEPTH, parse_yaml
from rnnstudy.study.run.load import load_run

HOSTILE = [
    "os.system",
    "builtins.eval",
    "antigravity.fly",
    "subprocess.Popen",
    "rnnstudy.__main__.main",
    "rnnstudy.cli.main.main",
    "rnnstudy.bench.memory.Measurement",
    "rnnstudy.config.build.importlib.import_module",
    "rnnstudy.study.run.provenance.subprocess.run",
    "rnnstudy.tasks/../../planted.Planted",
    "rnnstudy.tasks..planted.Planted",
    "rnnstudy.tasks.\0.Planted",
    "rnnstudy.tasks.base\n.Task",
    "rnnstudy_planted.tasks.Planted",
    "torch.optim.os.system",
    "torch.optim.adam.Adam",
    "torch.hub.load",
    "",
    ".",
    "Adam",
]


@pytest.mark.parametrize("target", HOSTILE)
def test_a_target_that_is_no_member_is_refused_before_anything_is_imported(target):
    before = set(sys.modules)
    with pytest.raises(ConfigError, match="may only name classes of rnnstudy"):
        locate(target, "model._target_")
    assert set(sys.modules) - before == set()


@pytest.mark.parametrize(
    "target",
    ["rnnstudy.models.base.Tensor", "rnnstudy.tasks.text.Path", "rnnstudy.tasks.text.hashlib", "torch.optim.os"],
)
def test_what_a_member_imports_is_no_member(target):
    with pytest.raises(ConfigError, match=r"must name a Model|does not exist"):
        build({"_target_": target}, Model, path="model")
    with pytest.raises(ConfigError, match=r"must name an optimizer|does not exist"):
        optimizer_factory({"_target_": target}, path="optimizer")


def test_looking_at_a_run_whose_configuration_names_a_program_does_not_start_it(tmp_path):
    folder = run_small(tmp_path / "run")
    own = yaml.safe_load(folder.config.read_text())
    for group in ("task", "model", "optimizer", "schedule"):
        other = own | {group: {"_target_": "os.mkdir", "path": str(tmp_path / "made")}}
        folder.config.write_text(yaml.safe_dump(other))
        with pytest.raises(RnnstudyError, match=rf"{group}\._target_"):
            load_run(folder.path)
    assert not (tmp_path / "made").exists()


TAGGED = [
    "!!python/object/apply:os.mkdir [{path}]",
    "model: !!python/object/apply:os.mkdir [{path}]",
    "!!python/object/new:os.mkdir [{path}]",
    "model: !!python/name:os.mkdir",
    "model: !!binary aGVsbG8=",
    "model: !own {{path: {path}}}",
]


@pytest.mark.parametrize("text", TAGGED)
def test_a_configuration_that_names_types_makes_none(tmp_path, text):
    target = tmp_path / "made"
    with pytest.raises(ValueError, match="tag"):
        parse_yaml(text.format(path=target).encode())
    assert not target.exists()


def test_the_tagged_file_would_run_code_if_it_were_loaded_without_care(tmp_path):
    yaml.unsafe_load(TAGGED[0].format(path=tmp_path / "made"))
    assert (tmp_path / "made").exists()


LAUGHS = b"a: &a [x,x]\n" + b"".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n".encode()
    for old, new in zip("abcdefghij", "bcdefghijk", strict=True)
)
BOMBS = {
    "billion laughs": LAUGHS,
    "merged laughs": b"a: &a {x: 1}\nb: {<<: *a}\n",
    "itself": b"a: &a [*a]\n",
    "deep": b"[" * 300_000,
    "deep block": b"- " * 300_000,
    "deep mapping": b"{a: " * 300_000,
    "deep key": b"? " * 300_000,
    "long number": b"a: 0x" + b"f" * 100_000,
}


@pytest.mark.parametrize("kind", BOMBS)
def test_yaml_bombs_are_named_and_the_other_runs_are_compared(tmp_path, kind):
    write_run(tmp_path / "good", Synthetic(replicas=2, num_steps=100))
    bad = write_run(tmp_path / "bad", Synthetic(replicas=2, num_steps=100))
    (bad / "config.yaml").write_bytes(BOMBS[kind])
    # In a process of its own: libyaml's own loader is crashed by some of them.
    code = (
        "import sys, pathlib; from rnnstudy.runs.collection import read_sweep; "
        "print(read_sweep(pathlib.Path(sys.argv[1])).unreadable)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr[-300:]
    assert done.stdout.strip() == "('bad: config.yaml is no YAML of plain values',)"


def test_as_many_levels_as_are_allowed_can_be_read():
    assert parse_yaml(b"[" * MOST_DEPTH + b"]" * MOST_DEPTH) is not None


def test_a_stored_interpolation_is_text(tmp_path, monkeypatch):
    monkeypatch.setenv("RNNSTUDY_SECRET", "the secret")
    text = "${oc.env:RNNSTUDY_SECRET}"
    run = write_run(tmp_path / "run", Synthetic(replicas=2, num_steps=100))
    edit_config(run, optimizer={"_target_": text, "lr": text})
    (read,) = read_sweep(tmp_path).runs
    assert read.settings["optimizer.lr"] == text
    assert "RNNSTUDY_SECRET" in os.environ


def test_where_a_stored_configuration_says_its_folder_is_nothing_is_written(tmp_path):
    folder = run_small(tmp_path / "run")
    elsewhere = tmp_path / "elsewhere"
    text = yaml.safe_load(folder.config.read_text()) | {"run_dir": str(elsewhere), "output_dir": str(elsewhere)}
    folder.config.write_text(yaml.safe_dump(text))
    assert load_run(folder.path).folder.path == folder.path
    assert Path(load_run(folder.path).plan.run.output_dir) == elsewhere
    assert not elsewhere.exists()
