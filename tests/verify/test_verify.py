"""`rnnstudy verify` as a user runs it."""

import json
import math
import subprocess
import sys

import pytest
import torch
from reference.problems import RECURRENCES

from rnnstudy.cli.main import main
from rnnstudy.verify import all_checks
from rnnstudy.verify.cells import all_cells, has_kink, name_of
from rnnstudy.verify.finding import Finding, relative_error, share_of_different_bits, worst_error

QUICK = ("closed forms", "worked examples")


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch):
    """The quickest checks alone."""
    monkeypatch.setattr(all_checks, "CHECKS", {name: all_checks.CHECKS[name] for name in QUICK})


def test_every_cell_of_the_package_is_checked_under_a_name_of_its_own():
    assert set(all_cells()) == set(RECURRENCES)
    assert len({name_of(cell) for cell in all_cells()}) == len(all_cells()) == len(RECURRENCES)
    assert {"rnn tanh", "rnn modrelu layer_norm", "lstm", "skip skip=3"} <= {name_of(cell) for cell in all_cells()}
    assert {name_of(cell).split()[1] for cell in all_cells() if has_kink(cell)} == {"relu", "modrelu"}


def test_errors_are_relative_to_the_largest_entry_beside_them():
    expected = torch.tensor([[1e-20, 2e-20], [5.0, 10.0]])
    assert relative_error(expected, expected, keep=1) == 0
    assert relative_error(expected + torch.tensor([[0, 1e-21], [0, 0]]), expected, keep=1) == pytest.approx(0.05)
    assert relative_error(expected + torch.tensor([[0, 0], [1, 0]]), expected, keep=1) == pytest.approx(0.1)
    assert relative_error(expected + torch.tensor([[1, 0], [0, 0]]), expected, keep=0) == pytest.approx(0.1)
    assert relative_error(expected[1] + 1, expected[1], keep=1) == pytest.approx(0.2)


def test_zero_infinity_and_nan_are_told_apart():
    zero, one, nan = torch.zeros(2, 3), torch.ones(2, 3), torch.full((2, 3), math.nan)
    assert relative_error(zero, zero, keep=1) == 0
    assert relative_error(one, zero, keep=1) == math.inf
    assert relative_error(zero, one, keep=1) == 1
    for pair in ((nan, one), (one, nan), (nan, nan), (nan, zero)):
        assert not relative_error(*pair, keep=1) < math.inf
    assert math.isnan(worst_error([1.0, math.nan, 2.0]))
    assert worst_error([1.0, 3.0, 2.0]) == 3
    assert share_of_different_bits(torch.tensor([1.0, math.nan, 3.0, 4.0]), torch.tensor([1.0, 2, 3, 4])) == 0.25


@pytest.mark.parametrize(
    ("error", "failed"), [(0.0, False), (1e-6, False), (1.1e-6, True), (math.nan, True), (math.inf, True)]
)
def test_a_figure_fails_unless_its_error_is_within_the_tolerance(error, failed):
    assert Finding(check="a", against="b", cell="c", error=error, tolerance=1e-6).failed == failed
    assert not Finding(check="a", against="b", cell="c", error=error, tolerance=None).failed


@pytest.mark.usefixtures("_quick")
def test_figures_are_written_as_they_are_printed(tmp_path, capsys):
    place = tmp_path / "figures.json"
    assert main(["verify", "--device", "cpu", "--json", str(place)]) == 0
    content = json.loads(place.read_text())
    printed = capsys.readouterr().out
    assert content["versions"]["torch"] == torch.__version__
    assert {figure["group"] for figure in content["figures"]} == set(QUICK)
    for figure in content["figures"]:
        assert figure["device"] == "cpu"
        assert figure["ok"]
        assert figure["error"] <= figure["tolerance"]
        assert figure["check"] in printed
        assert f"{figure['error']:.1e}" in printed
    assert f"All is well: {len(content['figures'])} comparisons" in printed


def test_what_is_not_a_number_fails_and_is_written_as_text(tmp_path, capsys, monkeypatch):
    def check(device):
        yield Finding(check="first", against="truth", cell="rnn", error=1e-9, tolerance=1e-6)
        yield Finding(check="first", against="truth", cell="gru", error=math.nan, tolerance=1e-6)
        yield Finding(check="first", against="truth", cell="lstm", error=0.5, tolerance=1e-6)
        yield Finding(check="second", against="truth", cell="rnn", error=9.0, tolerance=None, remark="Look here.")

    monkeypatch.setattr(all_checks, "CHECKS", {"group": check})
    place = tmp_path / "figures.json"
    assert main(["verify", "--device", "cpu", "--json", str(place)]) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert "FAILED on cpu: group: first, compared with truth: gru (nan), lstm (5.0e-01); allowed is 1e-06." in printed
    assert "1 of 2 rows FAILED" in printed
    assert "Note: Look here." in printed
    figures = json.loads(place.read_text())["figures"]
    assert [figure["error"] for figure in figures] == [1e-9, "nan", 0.5, 9.0]
    assert [figure["ok"] for figure in figures] == [True, False, False, None]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "tpu"], "device must be cpu, cuda, cuda:N or auto, got 'tpu'."),
        (["--device", "cuda:99"], "device=cuda:99 asks for CUDA"),
        (["--json", "/nowhere/v.json"], "--json must name a file in a folder that exists; there is no /nowhere."),
    ],
)
def test_bad_options_are_told_before_anything_is_computed(arguments, message, capsys):
    assert main(["verify", *arguments]) == 1
    seen = capsys.readouterr()
    assert seen.out == ""
    assert seen.err.startswith(f"rnnstudy: {message}")
    assert seen.err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("command", [["-m", "rnnstudy", "verify"], ["scripts/verify.py"]])
def test_all_is_well_in_a_process_of_its_own_and_fits_into_80_columns(command, pytestconfig):
    done = subprocess.run(
        [sys.executable, *command, "--device", "cpu"],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=pytestconfig.rootpath,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert "FAILED" not in done.stdout
    assert lines[-1].startswith("All is well: ")
    assert all(any(line.strip() == group for line in lines) for group in all_checks.CHECKS)
    fused = next(line for line in lines if line.startswith("dL/dh_t of fused LSTM"))
    assert fused.split()[-2:] == ["1.0e+00", "note"]
    assert "other than zero at 1 of 70 time steps, where the true one has 70" in " ".join(done.stdout.split())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device here")
def test_all_is_well_on_cuda(capsys):
    assert main(["verify", "--device", "cuda"]) == 0
    assert "On cuda" in capsys.readouterr().out
