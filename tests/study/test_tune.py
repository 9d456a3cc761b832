"""Real searches, small ones, in real files; killed, interrupted and shared ones are real processes."""

import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import optuna
import pytest
import yaml
from optuna.trial import TrialState
from rich.console import Console
from tools.members import SMALL
from tools.waiting import until

from rnnstudy.core.errors import ConfigError, RnnstudyError
from rnnstudy.runs.collection import read_sweep
from rnnstudy.runs.folder import RunFolder
from rnnstudy.study.search.space import Pruning, Search, Tuning, Values
from rnnstudy.study.search.trials import next_trial, open_study
from rnnstudy.study.search.tune import tune
from rnnstudy.study.status import Condition, list_runs

pytestmark = pytest.mark.slow

ADDING = (*SMALL, "task=adding", "task.seq_len=5", "instrument=[]")
RATE = Values(low=1e-4, high=1.0, log=True)
MODEL = Values(choices=["gru", "rnn"])


def tuning(folder: Path, *overrides: str, trials=4, prune=None, space=None, metric="eval/loss") -> Tuning:
    search = Search(space=space or {"optimizer.lr": RATE, "model": MODEL}, metric=metric, trials=trials, prune=prune)
    return Tuning(name="mine", search=search, overrides=[*ADDING, f"output_dir='{folder}'", *overrides])


def recorded() -> Console:
    return Console(width=1000, file=open(os.devnull, "w"), record=True)


@pytest.fixture
def console():
    made = recorded()
    yield made
    made.file.close()


def seed_that_tries_first(value: float, choices: list[float]) -> int:
    for seed in range(100):
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
        if (
            study.ask({"optimizer.lr": optuna.distributions.CategoricalDistribution(choices)}).params["optimizer.lr"]
            == value
        ):
            return seed
    raise AssertionError(value)


def trials_in(folder: Path) -> list[optuna.trial.FrozenTrial]:
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder / 'tune.db'}")
    trials = optuna.load_study(study_name="mine", storage=storage).trials
    storage.engine.dispose()
    return trials


def folders_of(trials) -> list[RunFolder]:
    return [RunFolder(Path(trial.user_attrs["folder"])) for trial in trials]


def last_loss(folder: RunFolder) -> float:
    """The median over the replicas of the last evaluation's loss, from the log."""
    rows = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    last = {row["replica"]: row["eval/loss"] for row in rows if "eval/loss" in row}
    return statistics.median(last.values())


def test_every_trial_is_an_ordinary_run_and_its_figure_is_that_of_the_log(tmp_path, console):
    assert tune(tuning(tmp_path), console) == tmp_path
    trials = trials_in(tmp_path)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 4
    for trial, folder in zip(trials, folders_of(trials), strict=True):
        assert trial.value == pytest.approx(last_loss(folder), rel=1e-9)
        config = yaml.safe_load(folder.config.read_text())
        assert config["choices"]["model"] == trial.params["model"]
        assert config["optimizer"]["lr"] == pytest.approx(trial.params["optimizer.lr"], rel=1e-3)
    assert len(read_sweep(tmp_path).runs) == 4
    shown = console.export_text()
    best = min(trials, key=lambda trial: trial.value or 0)
    assert f"4 trials: 4 finished, 0 given up, 0 failed. Best by eval/loss (minimize):\n  {best.value:.4g}  " in shown
    assert f"model={best.params['model']} seed=1000\n" in shown
    assert list((tmp_path / ".rnnstudy" / "locks").iterdir()) == []


def test_the_same_command_does_nothing_more_and_one_for_more_trials_goes_on_as_if_it_had_never_ended(tmp_path, console):
    tune(tuning(tmp_path / "parts", trials=2), console)
    before = trials_in(tmp_path / "parts")
    tune(tuning(tmp_path / "parts", trials=2), console)
    assert trials_in(tmp_path / "parts") == before
    tune(tuning(tmp_path / "parts", trials=11), console)
    tune(tuning(tmp_path / "whole", trials=11), console)
    parts, whole = ([(t.params, t.value) for t in trials_in(tmp_path / name)] for name in ("parts", "whole"))
    assert parts == whole


def test_the_same_values_twice_are_trained_once(tmp_path, console):
    tune(tuning(tmp_path, trials=3, space={"model": Values(choices=["gru"])}), console)
    trials = trials_in(tmp_path)
    assert len({trial.value for trial in trials}) == 1
    assert len({trial.user_attrs["folder"] for trial in trials}) == 1
    assert console.export_text().count("finished already, nothing to do") == 2
    # What a later one is compared with holds the figures of a run that was found finished, too.
    assert len({tuple(trial.intermediate_values.items()) for trial in trials}) == 1
    assert list(trials[2].intermediate_values) == [0, 4, 8, 12]


def test_hopeless_runs_are_given_up_and_can_be_compared(tmp_path, console):
    asked = tuning(tmp_path, trials=8, prune=Pruning(after=4, startup_trials=2))
    tune(asked, console)
    trials = trials_in(tmp_path)
    given_up = [trial for trial in trials if trial.state is TrialState.PRUNED]
    assert 0 < len(given_up) < 6
    for trial, folder in zip(given_up, folders_of(given_up), strict=True):
        step = max(trial.intermediate_values)
        assert step in {4, 8}
        before = [each for each in trials[: trial.number] if each.state is TrialState.COMPLETE]
        median = statistics.median(each.intermediate_values[step] for each in before)
        assert min(trial.intermediate_values.values()) > median
        assert not folder.is_finished
        assert list(folder.checkpoints.glob("*.pt"))
        failure = json.loads(folder.failure.read_bytes())
        assert (failure["kind"], failure["error"]) == ("pruned", f"given up by the search 'mine' after {step} steps")
    assert list_runs([tmp_path]).counts[Condition.PRUNED] == len(given_up)
    assert [run.result is None for run in read_sweep(tmp_path).runs].count(True) == len(given_up)
    # Those that were not ahead of the median either are left alone.
    for trial in trials:
        if trial.state is TrialState.COMPLETE and trial.number >= 2:
            before = [each for each in trials[: trial.number] if each.state is TrialState.COMPLETE]
            for step in (4, 8):
                best = min(figure for at, figure in trial.intermediate_values.items() if at <= step)
                assert best <= statistics.median(each.intermediate_values[step] for each in before)


def test_the_same_values_as_those_of_a_run_that_was_given_up_are_not_trained_again(tmp_path, console):
    space = {"optimizer.lr": Values(choices=[0.03, 1e-6])}
    seed = f"seed={seed_that_tries_first(0.03, [0.03, 1e-6])}"
    tune(tuning(tmp_path, seed, trials=6, space=space, prune=Pruning(after=4, startup_trials=1)), console)
    trials = trials_in(tmp_path)
    bad = [trial for trial in trials if trial.params["optimizer.lr"] == 1e-6 and trial.state is TrialState.PRUNED]
    assert len(bad) >= 2
    (folder,) = {trial.user_attrs["folder"] for trial in bad}
    assert (RunFolder(Path(folder)).history).read_text().count("stopped after") == 1


def test_runs_are_given_up_by_the_steps_they_take_to_solve_the_task(tmp_path, console):
    space = {"optimizer.lr": Values(choices=[0.05, 1e-6])}
    seed = f"seed={seed_that_tries_first(0.05, [0.05, 1e-6])}"
    overrides = (
        seed,
        "task=latch",
        "train.num_steps=400",
        "train.eval_interval=20",
        "model.hidden_size=16",
        "model=gru",
    )
    asked = tuning(
        tmp_path, *overrides, trials=4, space=space, prune=Pruning(startup_trials=1), metric="steps_to_solve"
    )
    tune(asked, console)
    trials = trials_in(tmp_path)
    good = trials[0]
    assert good.params["optimizer.lr"] == 0.05
    assert good.state is TrialState.COMPLETE
    result = json.loads(folders_of([good])[0].result.read_bytes())
    assert good.value == statistics.mean(400 if steps is None else steps for steps in result["steps_to_solve"]) < 400
    bad = [trial for trial in trials if trial.params["optimizer.lr"] == 1e-6]
    assert {trial.state for trial in bad} == {TrialState.PRUNED}


def test_a_failing_trial_does_not_end_the_search(tmp_path, console):
    """A GRU has no cell state, which h_detach needs."""
    space = {"model": Values(choices=["lstm", "gru"]), "mitigation": Values(choices=["[]", "[h_detach]"])}
    tune(tuning(tmp_path, trials=10, space=space), console)
    states = {(t.params["model"], t.params["mitigation"]): t.state for t in trials_in(tmp_path)}
    assert states.pop(("gru", "[h_detach]")) is TrialState.FAIL
    assert set(states.values()) == {TrialState.COMPLETE}
    shown = console.export_text()
    assert "failed: mitigation.h_detach cannot be applied to this model" in shown
    assert f"{sum(t.state is TrialState.FAIL for t in trials_in(tmp_path))} failed. Best" in shown


def test_a_search_all_of_whose_trials_fail_is_an_error(tmp_path, console):
    asked = tuning(tmp_path, trials=1, space={"model": Values(choices=["gru"])})
    tune(asked, console)
    (folder,) = folders_of(trials_in(tmp_path))
    folder.result.unlink()
    (tmp_path / "tune.db").unlink()
    (folder.path / "config.yaml.part").mkdir()
    with pytest.raises(RnnstudyError, match=r"none of 1 trials has a figure: .* cannot be written to: Is a directory"):
        tune(asked, console)


def test_a_figure_that_no_run_has_ends_the_search_with_its_first_trial(tmp_path, console):
    with pytest.raises(ConfigError, match=r"got 'eval/los'. Tags: eval/accuracy"):
        tune(tuning(tmp_path, metric="eval/los"), console)
    assert [trial.state for trial in trials_in(tmp_path)] == [TrialState.FAIL]


WRONG = {
    "fixed": ({"model": MODEL}, ["model=gru"], "model is searched by mine, and fixed on the command line"),
    "unknown": ({"optimizer.rl": RATE}, [], "optimizer.rl is not a known key. Allowed: .*lr"),
    "impossible choice": (
        {"model": Values(choices=["gru", "lsmt"])},
        [],
        "space.model holds lsmt: .*Did you mean 'lstm'",
    ),
    "seed": ({"seed": Values(low=0, high=3)}, [], "space.seed finds a lucky seed"),
    "too great": (
        {"mitigation.h_detach.probability": Values(low=0.5, high=2.0)},
        ["mitigation=[h_detach]"],
        "space.mitigation.h_detach.probability holds 2: .*between 0 and 1",
    ),
    "unessential": ({"numerics.threads": Values(low=1, high=2)}, [], "space.numerics.threads changes no figure"),
    "run_dir": ({"model": MODEL}, ["run_dir=x"], "run_dir is one folder, and every trial needs its own"),
    "several": ({"model": MODEL}, ["seed=1,2"], "seed=1,2 holds several values"),
    "flag": ({"model": MODEL}, ["-m", "seed=1,2"], "a trial is a single run"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_told_before_anything_is_done(tmp_path, console, case):
    space, overrides, message = WRONG[case]
    with pytest.raises(ConfigError, match=message):
        tune(tuning(tmp_path, *overrides, space=space), console)
    assert list(tmp_path.iterdir()) == []


def test_a_task_that_nobody_has_said_when_it_is_solved_needs_another_figure(tmp_path, console):
    text = tmp_path / "text.txt"
    text.write_text("abc " * 3000)
    overrides = ["task=text", f"task.path='{text}'"]
    asked = tuning(tmp_path / "runs", metric="steps_to_solve")
    asked = Tuning(name="mine", search=asked.search, overrides=[*SMALL, "instrument=[]", *overrides])
    with pytest.raises(ConfigError, match="metric=steps_to_solve needs a task that says when it is solved"):
        tune(asked, console)


def test_another_search_of_the_same_name_in_a_folder_is_refused(tmp_path, console):
    tune(tuning(tmp_path, trials=1), console)
    for other in (
        tuning(tmp_path, trials=1, space={"model": MODEL}),
        tuning(tmp_path, "train.num_steps=13", trials=1),
        tuning(tmp_path, trials=1, metric="train/loss"),
    ):
        with pytest.raises(ConfigError, match=r"holds a search 'mine' with another (space|overrides|metric); choose"):
            tune(other, console)


def test_a_damaged_storage_is_named(tmp_path, console):
    (tmp_path / "tune.db").write_bytes(b"no database " * 100)
    with pytest.raises(RnnstudyError, match=r"tune.db cannot be used: .*not a database\. Move it away"):
        tune(tuning(tmp_path), console)


def test_a_folder_may_have_any_name(tmp_path, console):
    folder = tmp_path / "a?b#c %41"
    tune(tuning(folder, trials=1), console)
    assert (folder / "tune.db").stat().st_size > 0


LONG = ("train.num_steps=400", "train.eval_interval=100", "train.checkpoint_interval=20", "model.hidden_size=16")


def command(tmp_path: Path, name: str, trials: int) -> list[str]:
    space = tmp_path / "mine.yaml"
    space.write_text("metric: eval/loss\nprune: null\nspace: {optimizer.lr: {low: 1.0e-4, high: 1.0e-2, log: true}}\n")
    rnnstudy = [sys.executable, "-m", "rnnstudy", "tune", str(space), f"--trials={trials}"]
    return [*rnnstudy, *ADDING, *LONG, f"output_dir='{tmp_path / name}'"]


def start(tmp_path: Path, name: str, trials: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(tmp_path, name, trials), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )


def test_a_killed_and_an_interrupted_search_go_on_with_the_trial_they_were_at(tmp_path):
    undisturbed = start(tmp_path, "whole", 2)
    _, errors = undisturbed.communicate()
    assert undisturbed.returncode == 0, errors
    for number in (signal.SIGKILL, signal.SIGINT):
        process = start(tmp_path, "parts", 2)
        seen = {path.parent for path in tmp_path.glob("parts/*/checkpoints/*.pt")}
        until(lambda seen=seen: {path.parent for path in tmp_path.glob("parts/*/checkpoints/*.pt")} != seen, process)
        process.send_signal(number)
        _, errors = process.communicate()
        if number == signal.SIGINT:
            assert process.returncode == 130
            assert "a checkpoint is saved. To go on: rnnstudy tune" in errors
        else:
            assert process.returncode == -signal.SIGKILL
    last = start(tmp_path, "parts", 2)
    told, errors = last.communicate()
    assert last.returncode == 0, errors
    assert "resumed after" in told
    whole, parts = trials_in(tmp_path / "whole"), trials_in(tmp_path / "parts")
    complete = [trial for trial in parts if trial.state is TrialState.COMPLETE]
    assert len(parts) > len(complete) == 2
    assert [(t.params, t.value) for t in complete] == [(t.params, t.value) for t in whole]
    assert [t.intermediate_values for t in complete] == [t.intermediate_values for t in whole]
    for one, other in zip(folders_of(complete), folders_of(whole), strict=True):
        assert one.metrics.read_bytes() == other.metrics.read_bytes()
    assert list((tmp_path / "parts" / ".rnnstudy" / "locks").iterdir()) == []


def test_two_processes_share_a_search(tmp_path):
    processes = [start(tmp_path, "runs", 6) for _ in range(2)]
    told = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], told
    trials = trials_in(tmp_path / "runs")
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 6
    assert len({trial.params["optimizer.lr"] for trial in trials}) == 6
    assert all(folder.history.read_text().count("solved") == 1 for folder in folders_of(trials))
    assert all("solved" in out for out, _ in told)


def test_the_trial_of_a_process_on_a_machine_whose_clock_is_behind_is_left_to_it(tmp_path):
    """Its beats, as a file server would show them: seconds old by the clock here, but they come."""
    search = Search(space={"optimizer.lr": Values(low=1e-3, high=1e-2)}, trials=3)
    tuning = Tuning(name="s", search=search, overrides=[])
    study = open_study(tuning, tmp_path)
    theirs, ours = (tmp_path / ".rnnstudy" / "locks" / f"tune_{name}" for name in ("theirs", "ours"))
    theirs.parent.mkdir(parents=True, exist_ok=True)
    stopped = threading.Event()

    def beat(count: int) -> None:
        about = {"host": "elsewhere", "pid": 1, "since": "x", "every": 2.0, "beat": count, "state": {}}
        theirs.write_text(json.dumps(about).ljust(4095) + "\n")
        behind = time.time() - 15
        os.utime(theirs, (behind, behind))

    def keep_beating() -> None:
        count = 1
        while not stopped.wait(0.3):
            beat(count := count + 1)

    beat(1)
    beating = threading.Thread(target=keep_beating)
    beating.start()
    try:
        first = next_trial(tuning, study, own=theirs, seed=0)
        second = next_trial(tuning, study, own=ours, seed=0)
    finally:
        stopped.set()
        beating.join()
    assert first is not None
    assert second is not None
    assert first.params != second.params
    assert [trial.state for trial in study.get_trials()] == [TrialState.RUNNING] * 2
    assert theirs.exists()
