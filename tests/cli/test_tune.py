"""The command line of a search."""

import shlex
import sys

import pytest
from tools.members import SMALL

from rnnstudy.cli.main import main

ADDING = (*SMALL, "task=adding", "task.seq_len=5", "instrument=[]")


@pytest.fixture
def space(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "500")
    (tmp_path / "rates.yaml").write_text(
        "metric: eval/loss\ntrials: 9\nspace: {optimizer.lr: {low: 1.0e-3, high: 1.0e-1, log: true}}\n"
    )
    return "rates.yaml"


@pytest.mark.slow
def test_a_search_ends_with_its_best_trials_and_the_commands_that_look_further(tmp_path, space, capsys):
    assert main(["tune", space, *ADDING, "--trials", "2"]) == 0
    shown = capsys.readouterr().out
    assert "2 trials: 2 finished, 0 given up, 0 failed. Best by eval/loss (minimize):" in shown
    assert "Compare all of them: rnnstudy compare outputs/tune_rates\n" in shown
    assert main(["compare", "outputs/tune_rates"]) == 0
    again = next(line for line in shown.splitlines() if line.startswith("  rnnstudy train"))
    assert again.endswith(" seed=1000")
    assert main(shlex.split(again)[1:]) == 0
    assert len(list((tmp_path / "outputs" / "tune_rates").glob("*/result.json"))) == 3


@pytest.mark.slow
def test_overrides_may_stand_before_and_after_the_options(tmp_path, space, capsys):
    assert main(["tune", "--trials", "1", space, *ADDING, f"output_dir='{tmp_path / 'here'}'", "seed=5"]) == 0
    assert len(list(tmp_path.glob("here/*/result.json"))) == 1
    assert "seed=1005" in capsys.readouterr().out


def test_what_is_wrong_is_one_line_and_exit_code_1(tmp_path, space, capsys):
    assert main(["tune", space, "--trials", "0"]) == 1
    assert capsys.readouterr().err == "rnnstudy: trials must be at least 1, got 0.\n"
    assert main(["tune", space, "optimizer.lr=0.1"]) == 1
    assert capsys.readouterr().err.startswith("rnnstudy: optimizer.lr is searched by rates, and fixed")
    assert not (tmp_path / "outputs").exists()


def test_an_unknown_option_is_refused(space, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["tune", space, "--trails", "2"])
    assert caught.value.code == 2
    assert "unrecognized arguments: --trails" in capsys.readouterr().err


def test_without_optuna_it_says_what_to_install(space, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert main(["tune", space]) == 1
    assert capsys.readouterr().err == "rnnstudy: rnnstudy tune needs Optuna: pip install 'rnnstudy[tune]'\n"
