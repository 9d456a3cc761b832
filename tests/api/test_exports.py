"""Exports of `import rnnstudy as rs`, found in the files, and imported only when they are used."""

import runpy
import subprocess
import sys
from pathlib import Path
from typing import assert_type

import pytest
from reference.discovery import concrete_subclasses

import rnnstudy as rs
from rnnstudy.core.lazy import find_exports
from rnnstudy.inits.base import Initialisation
from rnnstudy.instruments.base import Instrument
from rnnstudy.mitigations.base import Mitigation
from rnnstudy.models.base import Model
from rnnstudy.schedules.base import LearningRateSchedule
from rnnstudy.tasks.adding import Adding
from rnnstudy.tasks.base import Task

PROGRAM = """
import sys
import rnnstudy as rs
listed = [dir(rs), *(dir(getattr(rs, kind)) for kind in rs.KINDS)]
assert all(listed)
print([name for name in ("torch", "numpy", "hydra", "matplotlib", "pandas", "yaml") if name in sys.modules])
"""


def test_importing_and_listing_import_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("package", "base"),
    [
        (rs.inits, Initialisation),
        (rs.instruments, Instrument),
        (rs.mitigations, Mitigation),
        (rs.models, Model),
        (rs.schedules, LearningRateSchedule),
        (rs.tasks, Task),
    ],
)
def test_every_member_is_offered_and_nothing_else(package, base):
    assert [getattr(package, name) for name in dir(package)] == concrete_subclasses(package, base)


def test_every_public_name_leads_to_what_it_says():
    assert {"build", "compare", "hidden_gradients", "read_runs", "train", "tasks", "Every", "ConfigError"} <= {*dir(rs)}
    for name in dir(rs):
        assert getattr(rs, name).__name__.rpartition(".")[2] == name


def test_exports_are_found_without_importing_whatever_their_capitals(tmp_path):
    (tmp_path / "irnn.py").write_text("raise ImportError\nclass IRNN: ...\nclass Other: ...\n")
    (tmp_path / "read_all.py").write_text("def read_all(): ...\n")
    (tmp_path / "base.py").write_text("class Model: ...\n")
    assert find_exports("a.b", tmp_path) == {"IRNN": "a.b.irnn:IRNN", "read_all": "a.b.read_all:read_all"}


def test_a_slip_is_answered_with_the_name_that_was_meant():
    with pytest.raises(AttributeError, match=r"rnnstudy.models has no 'LSTN'. Did you mean 'LSTM'\?"):
        _ = rs.models.LSTN  # pyright: ignore[reportAttributeAccessIssue]


def test_the_stubs_are_as_the_script_writes_them():
    script = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "stubs.py"))
    for path, text in script["stubs"]().items():
        assert path.read_text() == text, "run: python scripts/stubs.py"


def test_type_checkers_see_the_classes():
    """Pyright checks it: the stubs are what it reads."""
    assert_type(rs.tasks.Adding(seq_len=3), Adding)
    assert_type(rs.build(rs.models.RNN(), Adding(seq_len=3)).replicas, int)
