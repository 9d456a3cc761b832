"""Plans stored with studies, and what overrides them."""

from pathlib import Path
from typing import Any

import pytest
from tools.synthetic_runs import Synthetic, write_run

import rnnstudy as rs
from rnnstudy.core.errors import ConfigError
from rnnstudy.report.compare import Request, assemble
from rnnstudy.report.contents import Contents

PLAN = {"measure": "diverged", "baseline": "model=gru", "correct": "none"}


def compared(root: Path, *plans: dict[str, Any] | None, **asked: Any) -> Contents:
    """Write a run per plan, of models gru, lstm and rnn, and compare them."""
    for plan, model in zip(plans, ("gru", "lstm", "rnn"), strict=False):
        settings = None if plan is None else {"compare": plan}
        write_run(root / model, Synthetic(model=model, probes=2, diverged=2 * (model == "lstm"), settings=settings))
    return assemble(Request(directories=(root,), **asked))


def test_the_plan_decides_measure_baseline_and_correction(tmp_path: Path) -> None:
    contents = compared(tmp_path, PLAN, PLAN, PLAN)
    assert (contents.baseline, contents.correction, contents.planned) == ("model=gru", "none", True)
    assert contents.primary == ("diverged",)
    assert [each.summary.model for each in contents.comparisons] == ["lstm", "rnn"]
    assert any("not corrected for" in sentence for sentence in contents.verdicts)
    told = "measure diverged, correct none and baseline model=gru"
    assert f"Planned before the results, and stored with the runs: {told}." in contents.notes


def test_what_is_asked_for_takes_precedence_and_is_told(tmp_path: Path) -> None:
    contents = compared(tmp_path, PLAN, PLAN, PLAN, measure="loss", correct="max-t", baseline=("model=rnn",))
    assert (contents.baseline, contents.correction, contents.planned) == ("model=rnn", "max-t", False)
    assert contents.primary == ("loss",)
    told = "measure diverged, correct none and baseline model=gru"
    assert f"Not as planned: the plan stored with the runs has {told}." in contents.notes


def test_without_a_plan_or_with_several_the_defaults_hold(tmp_path: Path) -> None:
    none = compared(tmp_path / "none", None, None)
    assert (none.correction, none.planned, none.primary) == ("max-t", False, ("solved",))
    several = compared(tmp_path / "several", PLAN, PLAN | {"measure": "loss"})
    assert (several.correction, several.planned) == ("max-t", False)
    assert any(note.startswith("The runs have 2 different plans") for note in several.notes)
    broken = compared(tmp_path / "broken", {"measure": "beauty"})
    assert any("The plan of the study cannot be read: compare.measure" in note for note in broken.notes)


def test_from_python_too(tmp_path: Path) -> None:
    compared(tmp_path, None, None)
    found = rs.compare(tmp_path, measure="loss", correct="holm")
    assert set(found.comparisons["run"]) == {"lstm"}
    assert found.contents.primary == ("loss",)
    assert found.contents.correction == "holm"
    with pytest.raises(ConfigError, match="measure must be null or name a measure, got 'beauty'"):
        rs.compare(tmp_path, measure="beauty")
