"""Run folders, whole, torn and broken."""

import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from tools.synthetic_runs import Synthetic, edit_json, read_json, write_jsonl, write_run

from rnnstudy.core.errors import RnnstudyError
from rnnstudy.runs.collection import read_sweep
from rnnstudy.runs.fields import UnreadableRunError
from rnnstudy.runs.logs import read_curves, read_metrics


def unreadable(root: Path) -> str:
    """Return the one line on the one bad run; a good run stands beside it."""
    write_run(root / "good", Synthetic(model="gru"))
    sweep = read_sweep(root)
    assert [run.label for run in sweep.runs] == ["good"]
    (line,) = sweep.unreadable
    assert line.startswith("bad: ")
    assert "\n" not in line
    return line


def test_values_are_those_of_the_file(tmp_path: Path) -> None:
    write_run(tmp_path / "deep" / "er", Synthetic(replicas=3))
    (run,) = read_sweep(tmp_path).runs
    assert run.label == "deep/er"
    track = run.metrics["eval/loss"]
    for line in (tmp_path / "deep/er/metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        assert track.values[track.steps.tolist().index(row["step"]), row["replica"]] == row["eval/loss"]
    assert track.logged.sum() == len((tmp_path / "deep/er/metrics.jsonl").read_text().splitlines())


def test_last_value_is_carried_forward_and_nan_is_not_missing(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    rows = [(0, 0, 1.0), (0, 1, 5.0), (1, 0, math.nan), (1, 1, 4.0), (2, 1, 3.0), (3, 1, math.inf)]
    write_jsonl(path, [{"step": s, "replica": r, "x": v} for s, r, v in rows])
    track = read_metrics(path, 3)["x"]
    np.testing.assert_array_equal(track.carried()[:, 0], [1.0, math.nan, math.nan, math.nan])
    np.testing.assert_array_equal(track.carried()[:, 1], [5.0, 4.0, 3.0, math.inf])
    assert track.logged_replicas().tolist() == [0, 1]
    np.testing.assert_array_equal(track.first(), [1.0, 5.0])
    np.testing.assert_array_equal(track.last(), [math.nan, math.inf])


def test_a_repeated_step_counts_once_and_the_later_line_wins(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write_jsonl(path, [{"step": 5, "replica": 0, "x": value} for value in (1.0, 2.0)])
    assert read_metrics(path, 1)["x"].values.tolist() == [[2.0]]


def test_torn_last_line_is_skipped(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", Synthetic(finished=False))
    before = read_sweep(tmp_path).runs[0].metrics["eval/loss"].logged.sum()
    for name in ("metrics.jsonl", "curves.jsonl"):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) - 30])
    sweep = read_sweep(tmp_path)
    assert not sweep.unreadable
    assert sweep.runs[0].metrics["eval/loss"].logged.sum() == before - 1


@pytest.mark.parametrize("name", ["metrics.jsonl", "curves.jsonl"])
@pytest.mark.parametrize(
    "line",
    [
        '{"step": 1, ',
        "[1]",
        '{"replica": 0}',
        '{"step": 1, "replica": 8}',
        '{"step": 1, "replica": -1, "tag": "x", "values": [1.0]}',
        '{"step": 1, "replica": 0, "tag": 3, "values": [1], "x": "high"}',
        '{"step": 1, "replica": 0, "tag": "x", "values": ["a"], "x": null}',
        "\x00\x00",
    ],
)
def test_corrupt_line_is_named(tmp_path: Path, name: str, line: str) -> None:
    path = write_run(tmp_path / "bad", Synthetic()) / name
    lines = path.read_text().splitlines()
    lines[2] = line
    path.write_text("\n".join(lines) + "\n")
    found = unreadable(tmp_path)
    assert "corrupt" in found
    assert f"{name}, line 3" in found


SHORT = '{"step": 9, "replica": 0, "tag": "hidden_grad_norm/h/layer_0/total", "values": [1.0]}'


@pytest.mark.parametrize(
    ("name", "line", "reason"),
    [("metrics.jsonl", '{"step": ', "corrupt"), ("curves.jsonl", SHORT, "1 values, 24 in earlier lines")],
)
def test_complete_last_line_is_held_against_those_before(tmp_path: Path, name: str, line: str, reason: str) -> None:
    path = write_run(tmp_path / "bad", Synthetic()) / name
    path.write_text(f"{path.read_text()}{line}\n")
    assert reason in unreadable(tmp_path)


@pytest.mark.parametrize("name", ["run.json", "result.json"])
def test_newer_format_is_refused(tmp_path: Path, name: str) -> None:
    edit_json(write_run(tmp_path / "bad", Synthetic()) / name, format=2)
    assert f"{name} has format 2" in unreadable(tmp_path)


@pytest.mark.parametrize(
    ("name", "key"),
    [("run.json", key) for key in ("format", "replicas", "facts", "seed", "device")]
    + [("result.json", key) for key in ("format", "status", "steps_to_solve", "steps", "final", "wall_seconds")],
)
@pytest.mark.parametrize("value", ["missing", {"wrong": "type"}, None])
def test_missing_and_wrong_keys_are_named(tmp_path: Path, name: str, key: str, value: object) -> None:
    path = write_run(tmp_path / "bad", Synthetic()) / name
    content = read_json(path)
    if value == "missing":
        del content[key]
    else:
        content[key] = value
    path.write_text(json.dumps(content))
    line = unreadable(tmp_path)
    assert name in line
    assert f"'{key}'" in line


def test_a_run_says_by_itself_which_mitigations_edit_adjoints(tmp_path: Path) -> None:
    edit_json(write_run(tmp_path / "bad", Synthetic(mitigation=["new"])) / "run.json", edits_adjoints=["new"])
    assert read_sweep(tmp_path).runs[0].edits_adjoints == ("new",)
    edit_json(tmp_path / "bad" / "run.json", edits_adjoints=[3])
    assert "'edits_adjoints' must be names" in unreadable(tmp_path)


@pytest.mark.parametrize(
    "key",
    [
        "chance_loss",
        "chance_accuracy",
        "memoryless_loss",
        "loss_at_end",
        "seq_len",
        "informative_steps",
        "solved_metric",
    ],
)
def test_missing_facts_are_named(tmp_path: Path, key: str) -> None:
    path = write_run(tmp_path / "bad", Synthetic()) / "run.json"
    facts = read_json(path)["facts"]
    del facts[key]
    edit_json(path, facts=facts)
    assert f"'{key}'" in unreadable(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("config.yaml", "a: [1", "no YAML"),
        ("config.yaml", "- 1", "no mapping"),
        ("config.yaml", "a: !!python/object/apply:os.getcwd []", "no YAML"),
        ("run.json", "{", "no JSON"),
        ("result.json", "[]", "no mapping"),
        ("config.yaml", None, "missing"),
        ("run.json", None, "missing"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, name: str, text: str | None, reason: str) -> None:
    path = write_run(tmp_path / "bad", Synthetic()) / name
    path.unlink() if text is None else path.write_text(text)
    line = unreadable(tmp_path)
    assert name in line
    assert reason in line


def test_replica_count_must_agree(tmp_path: Path) -> None:
    edit_json(write_run(tmp_path / "bad", Synthetic()) / "result.json", status=["solved"])
    assert "1 entries for 8 replicas" in unreadable(tmp_path)


def test_hidden_folders_checkpoints_and_the_report_hold_no_runs(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", Synthetic())
    for other in (tmp_path / ".hydra", folder / ".hydra", folder / "checkpoints", tmp_path / "report" / "x"):
        other.mkdir(parents=True)
        (other / "config.yaml").write_text("{}")
    sweep = read_sweep(tmp_path)
    assert [run.label for run in sweep.runs] == ["run"]
    assert not sweep.unreadable


def test_missing_and_empty_folders_say_what_to_do(tmp_path: Path) -> None:
    for folder in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(RnnstudyError, match="rnnstudy train") as caught:
            read_sweep(folder)
        assert str(folder) in str(caught.value)


def test_only_unreadable_runs_is_an_error_that_names_the_first(tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "config.yaml").write_text("{}")
    with pytest.raises(RnnstudyError, match=r"bad: run\.json is missing"):
        read_sweep(tmp_path)


def test_long_logs_are_read_whole(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random(100).tolist()
    write_jsonl(
        tmp_path / "m", [{"step": i, "replica": 0, **{f"t{k}": 0.1 * k for k in range(8)}} for i in range(10_000)]
    )
    write_jsonl(tmp_path / "c", [{"step": i, "replica": 0, "tag": "t", "values": values} for i in range(1_000)])
    assert read_metrics(tmp_path / "m", 1)["t7"].values.shape == (10_000, 1)
    assert read_curves(tmp_path / "c", 1)["t"].values.shape == (1_000, 1, 100)


def test_several_folders_are_one_sweep_with_labels_that_tell_them_apart(tmp_path: Path) -> None:
    for place in ("a/lags", "b/lags", "a space"):
        write_run(tmp_path / place / "run", Synthetic(model=place, replicas=1, probes=2))
    sweep = read_sweep(tmp_path / "a" / "lags", tmp_path / "a space")
    assert [run.label for run in sweep.runs] == ["lags/run", "a space/run"]
    sweep = read_sweep(tmp_path / "a" / "lags", tmp_path / "b" / "lags")
    assert [run.label for run in sweep.runs] == ["a/lags/run", "b/lags/run"]
    sweep = read_sweep(tmp_path / "a" / "lags" / "run", tmp_path / "a space")
    assert [run.label for run in sweep.runs] == ["run", "a space/run"]


def test_a_run_that_is_reached_twice_counts_once(tmp_path: Path) -> None:
    write_run(tmp_path / "sweep" / "run", Synthetic(replicas=1, probes=2))
    (tmp_path / "link").symlink_to(tmp_path / "sweep")
    sweep = read_sweep(tmp_path, tmp_path / "sweep", tmp_path / "sweep" / ".." / "sweep", tmp_path / "link")
    assert len(sweep.runs) == 1
    assert not sweep.unreadable


def test_what_is_no_folder_with_runs_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    write_run(tmp_path / "good" / "run", Synthetic(replicas=1, probes=2))
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    bad = [tmp_path / name for name in ("empty", "file", "nowhere")]
    sweep = read_sweep(*bad, tmp_path / "good")
    assert [run.label for run in sweep.runs] == ["good/run"]
    assert sweep.unreadable == ()
    assert len(sweep.unusable) == 3
    for folder, line, told in zip(bad, sweep.unusable, ("No run in", "is a file", "no folder"), strict=True):
        assert str(folder) in line
        assert told in line
        assert "rnnstudy train" in line
    with pytest.raises(RnnstudyError, match="None of 3 folders can be compared: No run in") as caught:
        read_sweep(*bad)
    assert all(str(folder) in str(caught.value) for folder in bad)


def test_the_error_on_folders_of_any_name_names_them_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(RnnstudyError) as caught:
        read_sweep(Path("../no..where"))
    assert str(caught.value) == "There is no folder ../no..where. Runs come from `rnnstudy train ...`."


def test_where_nothing_can_be_read_five_are_named_and_the_rest_counted(tmp_path: Path) -> None:
    for number in range(7):
        (tmp_path / f"bad{number}").mkdir()
        (tmp_path / f"bad{number}" / "config.yaml").write_text("{}")
    with pytest.raises(RnnstudyError) as caught:
        read_sweep(tmp_path)
    named = "; ".join(f"bad{number}: run.json is missing" for number in range(5))
    assert str(caught.value) == f"None of 7 folders can be compared: {named}; and 2 more."


def test_a_file_where_another_should_be_a_folder_or_the_reverse_is_named(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "bad", Synthetic(replicas=1, probes=2))
    (folder / "run.json").unlink()
    (folder / "run.json").mkdir()
    assert unreadable(tmp_path) == "bad: run.json: Is a directory"


def test_a_folder_that_may_not_be_looked_into_is_named(tmp_path: Path) -> None:
    write_run(tmp_path / "good", Synthetic(replicas=1, probes=2))
    locked = write_run(tmp_path / "locked", Synthetic(replicas=1, probes=2))
    code = (
        "import os, sys; from pathlib import Path; from rnnstudy.runs.collection import read_sweep\n"
        "os.getuid() or os.setuid(65534)\n"
        "sweep = read_sweep(Path(sys.argv[1]))\n"
        "print([run.label for run in sweep.runs], *sweep.unreadable)"
    )
    temporary = Path(tempfile.gettempdir()).resolve()
    for folder in (tmp_path, *(above for above in tmp_path.parents if temporary in above.parents)):
        folder.chmod(0o755)
    locked.chmod(0)
    try:
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    finally:
        locked.chmod(0o755)
    assert done.stdout == f"['good'] {locked}: cannot be looked into: Permission denied\n"


def test_folders_for_tensorboard_within_a_run_are_not_searched(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", Synthetic(replicas=1, probes=2))
    write_run(folder / "at_step_100", Synthetic(replicas=1, probes=2))
    write_run(folder / "nested", Synthetic(replicas=1, probes=2))
    write_run(tmp_path / "at_step_5", Synthetic(replicas=1, probes=2))
    assert [run.label for run in read_sweep(tmp_path).runs] == ["at_step_5", "run", "run/nested"]


def test_a_corrupt_log_is_found_though_the_result_is_whole(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "bad", Synthetic(digest=True))
    (folder / "curves.jsonl").write_text("{}\n")
    assert "bad: corrupt: curves.jsonl, line 1" in unreadable(tmp_path)


EVENT = {"replica": 0, "nonfinite": False, "batch": 3, "ends": [], "histograms": {}}
STEP = {"step": 3, "loss": 1.0, "raw_norm": math.inf, "clipped_norm": 1.0, "norms": {"h/layer_0/total": [1, 2.5]}}
NONFINITE = {"step": 1, "kind": "gradient", "parameters": ["w"], "layer": 0, "time_step": None}


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"events": []},
        {"first_nonfinite": [None] * 7, "events": []},
        {"first_nonfinite": [NONFINITE | {"kind": "x"}] * 8, "events": []},
        {"first_nonfinite": [NONFINITE | {"layer": -1}] * 8, "events": []},
        {"first_nonfinite": [None] * 8, "events": [EVENT | {"steps": []}]},
        {"first_nonfinite": [None] * 8, "events": [EVENT | {"steps": [STEP], "replica": 8}]},
        {"first_nonfinite": [None] * 8, "events": [EVENT | {"steps": [STEP | {"norms": {"h": ["a"]}}]}]},
        {
            "first_nonfinite": [None] * 8,
            "events": [
                EVENT
                | {
                    "steps": [STEP],
                    "histograms": {"h": {"low": 0.0, "width": 1.0, "time_steps": [0], "counts": [[1], [2]]}},
                }
            ],
        },
    ],
)
def test_wrong_events_are_named(tmp_path: Path, content: object) -> None:
    folder = write_run(tmp_path / "bad", Synthetic())
    (folder / "events.json").write_text(json.dumps(content))
    assert "events.json" in unreadable(tmp_path)


def test_events_are_read_as_they_were_written(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "good", Synthetic())
    whole = {"first_nonfinite": [NONFINITE, *[None] * 7], "events": [EVENT | {"steps": [STEP]}]}
    (folder / "events.json").write_text(json.dumps(whole))
    (run,) = read_sweep(tmp_path).runs
    assert json.loads(json.dumps(run.events.to_json())) == whole


@pytest.mark.parametrize(
    "digest",
    [
        [],
        {},
        {"active": {"x": [1.0]}, "log10_ratio_first": [None] * 8, "log10_ratio_last": [None] * 8},
        {"active": {}, "log10_ratio_first": ["a"] * 8, "log10_ratio_last": [None] * 8},
    ],
)
def test_a_wrong_digest_is_named(tmp_path: Path, digest: object) -> None:
    edit_json(write_run(tmp_path / "bad", Synthetic()) / "result.json", digest=digest)
    assert "bad: result.json" in unreadable(tmp_path)


def test_logs_are_read_when_they_are_asked_for_and_again_after_they_were_forgotten(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", Synthetic(replicas=2, probes=3))
    (run,) = read_sweep(tmp_path).runs
    first = run.curves
    assert run.curves is first
    run.forget_logs()
    again = run.curves
    assert again is not first
    for tag, track in first.items():
        np.testing.assert_array_equal(again[tag].values, track.values)
    (folder / "metrics.jsonl").write_text("nonsense\n")
    run.forget_logs()
    with pytest.raises(UnreadableRunError, match=r"metrics\.jsonl, line 1"):
        _ = run.metrics
