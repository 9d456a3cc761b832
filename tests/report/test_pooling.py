"""Runs that differ in the seed alone are one configuration with more networks."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tools.synthetic_runs import Synthetic, edit_config, edit_json, read_json, write_jsonl, write_part, write_run

from rnnstudy.report.analysis.naming import name_runs
from rnnstudy.report.analysis.pooling import Pool, kept_apart, pool_runs
from rnnstudy.report.analysis.summary import figures_at, read_logs, summarise
from rnnstudy.runs.collection import read_sweep

REPLICAS = 5
RANGE = st.tuples(st.integers(0, REPLICAS - 1), st.integers(1, REPLICAS)).map(
    lambda ends: range(ends[0], min(REPLICAS, ends[0] + ends[1]))
)
PARTS = st.lists(RANGE, max_size=3).flatmap(
    lambda parts: st.permutations(
        [*parts, *(range(each, each + 1) for each in range(REPLICAS) if not any(each in part for part in parts))]
    )
)
"""Ways to train all replicas in several runs, some of them perhaps in more than one."""

SHORT = Synthetic(model="gru", replicas=REPLICAS, num_steps=200, speed=120, probes=3, seed=3)
WHOLE = {
    "solved": SHORT,
    "digest": replace(SHORT, digest=True, mitigation=("clip_norm",)),
    "diverged": replace(SHORT, extremes=True, diverged_at=(0, 60), spikes=2, growth=3.0, speed=500),
    "lost": replace(SHORT, diverged=2, num_steps=600, speed=0),
    "no accuracy": replace(SHORT, accuracy=False, extra_tags=2),
}


def pools_of(root: Path) -> list[Pool]:
    return pool_runs(read_sweep(root).runs)


def figures(pool: Pool) -> dict[str, Any]:
    """Return all that a report takes from a pool, without the names of its runs."""
    (named,) = name_runs([pool.first], pooled=True)
    summary = replace(summarise(named, pool), logs=read_logs(pool))
    own = {"labels", "paths", "settings", "fingerprint", "wall_seconds", "repeated"}
    found = {name: value for name, value in asdict(summary).items() if name not in own}
    return found | {f"at {step}": figures_at(pool, step) for step in (0, 50, 100, 1000)}


@pytest.fixture(scope="module", params=WHOLE.keys())
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole")
    run = write_run(root / "run", WHOLE[request.param])
    rows = [{"step": 0, "replica": replica, "gain_bound/layer_0": 1.5 + replica} for replica in range(2, REPLICAS)]
    with (run / "metrics.jsonl").open("a") as file:
        write_jsonl(root / "more.jsonl", rows)
        file.write((root / "more.jsonl").read_text())
    if (run / "events.json").exists():
        (spike,) = read_json(run / "events.json")["events"]
        edit_json(run / "events.json", events=[spike, spike | {"replica": 3}])
    return run


@settings(max_examples=8)
@given(parts=PARTS)
def test_parts_of_a_run_put_together_are_the_run(
    whole: Path, parts: Sequence[range], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("parts")
    for number, part in enumerate(parts):
        write_part(whole, root / str(number), part)
    (pool,), (expected,) = pools_of(root), pools_of(whole)
    assert pool.seeds == tuple(range(3, 3 + REPLICAS))
    assert pool.repeated == sum(map(len, parts)) - REPLICAS
    np.testing.assert_equal(figures(pool), figures(expected))


def tiny(root: Path, name: str, *, seed: int = 0, **changes: Any) -> Path:
    return write_run(root / name, Synthetic(replicas=4, num_steps=40, probes=2, seed=seed, **changes))


def test_each_network_counts_once(tmp_path: Path) -> None:
    for number, seed in enumerate((2, 0, 100)):
        tiny(tmp_path, str(number), seed=seed)
    (pool,) = pools_of(tmp_path)
    assert pool.seeds == (0, 1, 2, 3, 4, 5, 100, 101, 102, 103)
    assert pool.repeated == 2
    assert [run.label for run in pool.runs] == ["1", "0", "2"]
    summary = summarise(name_runs([pool.first], pooled=True)[0], pool)
    assert (summary.replicas, summary.seeds, summary.repeated) == (10, pool.seeds, 2)
    assert summary.label == "1 and 2 more"
    assert summary.wall_seconds == 3 * 42.5
    assert kept_apart([pool]) == []


def change_commit(run: Path) -> None:
    edit_json(run / "run.json", commit="0123abc")


def change_version(run: Path) -> None:
    edit_json(run / "run.json", versions={"rnnstudy": "0.1.0", "torch": "2.0.0"})


def end_with_another_commit(run: Path) -> None:
    edit_json(run / "result.json", commit="0123abc")


def change_device(run: Path) -> None:
    edit_json(run / "run.json", device="cuda")


def stop(run: Path) -> None:
    (run / "result.json").unlink()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (change_commit, "computed by different code"),
        (change_version, "computed by different code"),
        (end_with_another_commit, "computed by different code"),
        (change_device, "on different devices (cpu, cuda)"),
        (stop, "one has not ended"),
    ],
)
def test_runs_of_different_code_or_device_or_without_end_stay_apart(tmp_path: Path, change: Any, why: str) -> None:
    for number in range(3):
        tiny(tmp_path, str(number), seed=4 * number)
    change(tmp_path / "1")
    pools = pools_of(tmp_path)
    assert [pool.seeds for pool in pools] == [(0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7)]
    assert kept_apart(pools) == [f"Not put together, though equal but for the seed: 0 and 1 ({why})."]


def change_settings(run: Path) -> None:
    edit_config(run, optimizer={"lr": 0.5})


def change_model(run: Path) -> None:
    edit_config(run, choices={"task": "coconut_water", "model": "gru", "mitigation": [], "optimizer": "adam"})


def change_task_facts(run: Path) -> None:
    edit_json(run / "run.json", facts=read_json(run / "run.json")["facts"] | {"solved_at": 0.9})


@pytest.mark.parametrize("change", [change_settings, change_model, change_task_facts])
def test_runs_that_differ_in_more_than_the_seed_are_no_twins(tmp_path: Path, change: Any) -> None:
    for number in range(2):
        tiny(tmp_path, str(number), seed=4 * number)
    change(tmp_path / "1")
    pools = pools_of(tmp_path)
    assert [pool.seeds for pool in pools] == [(0, 1, 2, 3), (4, 5, 6, 7)]
    assert kept_apart(pools) == []


def test_names_places_and_threads_do_not_keep_runs_apart(tmp_path: Path) -> None:
    for number in range(2):
        settings = {"numerics": {"threads": 1 + number}, "study": f"study{number}", "compare": {"measure": "loss"}}
        tiny(tmp_path, str(number), seed=4 * number, settings=settings)
    edit_json(tmp_path / "1" / "run.json", versions={"rnnstudy": "0.1.0", "matplotlib": "3"})
    assert [pool.seeds for pool in pools_of(tmp_path)] == [tuple(range(8))]


def test_configurations_keep_the_order_of_their_first_runs(tmp_path: Path) -> None:
    for number, model in enumerate(("lstm", "gru", "lstm", "rnn", "gru")):
        tiny(tmp_path, str(number), seed=4 * (4 - number), model=model)
    pools = pools_of(tmp_path)
    assert [pool.first.choices["model"] for pool in pools] == ["lstm", "gru", "rnn"]
    assert [pool.seeds for pool in pools] == [
        (*range(8, 12), *range(16, 20)),
        (*range(4), *range(12, 16)),
        (4, 5, 6, 7),
    ]
