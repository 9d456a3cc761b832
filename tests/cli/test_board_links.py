"""The names under which TensorBoard is shown the runs."""

import os
from pathlib import Path

import pytest
from tools.event_folders import EVENTS, add_run

from rnnstudy.cli.board.links import BoardView


def shown(folder: Path) -> dict[str, set[str]]:
    """Which folders' files TensorBoard finds, by the name of the run they are in."""
    found: dict[str, set[str]] = {}
    for place, _, files in os.walk(folder):
        for file in files:
            link = Path(place, file)
            found.setdefault(str(Path(place).relative_to(folder)), set()).add(link.read_text())
    return found


@pytest.fixture
def source(tmp_path):
    return tmp_path / "a study"


@pytest.fixture
def twin(tmp_path):
    folder = tmp_path / "twin"
    folder.mkdir()
    return folder


def test_a_run_has_the_name_it_gave_itself_and_so_have_its_sub_runs(source, twin):
    run = add_run(source / "lstm+clip_norm_lag=100_1a2b3c4d", "lstm+clip_norm lag=100", sub_runs=(300,))
    view = BoardView(source, twin, 500)
    assert shown(twin) == {
        "lstm+clip_norm lag=100": {str(run)},
        "lstm+clip_norm lag=100/at_step_000300": {str(run / "at_step_000300")},
    }
    assert view.runs == ["lstm+clip_norm lag=100"]
    assert view.sub_runs == ["lstm+clip_norm lag=100/at_step_000300"]


@pytest.mark.parametrize("name", [None, 3, " ", "."])
def test_a_run_without_a_name_has_its_folders_less_the_hash(source, twin, name):
    add_run(source / "lstm_lag=40_1a2b3c4d", name)
    assert BoardView(source, twin, 500).runs == ["lstm_lag=40"]


@pytest.mark.parametrize("content", ["{", "[]", "\udcff"])
def test_a_damaged_manifest_costs_only_the_name(source, twin, content):
    run = add_run(source / "lstm_lag=40_1a2b3c4d", "lstm lag=40")
    (run / "run.json").write_bytes(content.encode(errors="surrogateescape"))
    assert BoardView(source, twin, 500).runs == ["lstm_lag=40"]


def test_a_folder_a_person_has_named_keeps_that_name(source, twin):
    add_run(source / "my baseline", "lstm lag=100")
    assert BoardView(source, twin, 500).runs == ["my baseline"]


def test_a_name_cannot_lead_elsewhere(source, twin):
    add_run(source / "lstm_lag=40_1a2b3c4d", "../../lstm\n/lag")
    assert BoardView(source, twin, 500).runs == ["..-..-lstm--lag"]


def test_runs_of_several_studies_are_told_apart_by_folder(source, twin):
    add_run(source / "first" / "lstm_1a2b3c4d", "lstm")
    add_run(source / "second" / "lstm_1a2b3c4d", "lstm")
    add_run(source / "gru_1a2b3c4d", "gru")
    assert BoardView(source, twin, 500).runs == ["first/lstm", "gru", "second/lstm"]


def test_runs_of_the_same_name_are_told_apart_by_their_hash(source, twin):
    one, other = (add_run(source / f"lstm_{code}", "lstm") for code in ("11111111", "22222222"))
    add_run(source / "gru_33333333", "gru")
    BoardView(source, twin, 500)
    assert shown(twin) == {
        "lstm 11111111": {str(one)},
        "lstm 22222222": {str(other)},
        "gru": {f"{source}/gru_33333333"},
    }


def test_copies_of_a_run_are_told_apart_too(source, twin):
    for folder in ("lstm_lag=4_11111111", "lstm_lag=40_11111111", "lstm lag=4 11111111", "lstm lag=4"):
        add_run(source / folder, "lstm lag=4")
    assert len(set(BoardView(source, twin, 500).runs)) == 4
    assert len(shown(twin)) == 4


def test_a_sweep_is_followed_while_it_runs(source, twin):
    first = add_run(source / "lstm_11111111", "lstm")
    view = BoardView(source, twin, 500)
    # A name that is known by now stays, so that TensorBoard does not show the run twice.
    second = add_run(source / "lstm_22222222", "lstm")
    resumed = add_run(first, "lstm", file="events.out.tfevents.9.host.1.0")
    view.refresh()
    assert shown(twin) == {"lstm": {str(first)}, "lstm 22222222": {str(second)}}
    assert len(list((twin / "lstm").iterdir())) == 2
    for file in resumed.iterdir():
        file.unlink()
    view.refresh()
    assert shown(twin) == {"lstm 22222222": {str(second)}}
    assert view.runs == ["lstm 22222222"]


def test_the_folder_of_a_single_run_can_be_given(source, twin):
    run = add_run(source / "lstm_lag=40_1a2b3c4d", "lstm lag=40", sub_runs=(300,))
    view = BoardView(run, twin, 500)
    assert [view.runs, view.sub_runs] == [["lstm lag=40"], ["lstm lag=40/at_step_000300"]]


def test_logs_of_other_programs_are_shown_as_they_lie(source, twin):
    for place in (source, source / "train", source / "deep" / "er"):
        place.mkdir(parents=True, exist_ok=True)
        (place / EVENTS).write_text(str(place))
    assert BoardView(source, twin, 500).runs == ["a study", "deep/er", "train"]


def test_links_are_followed_but_not_in_circles(source, twin, tmp_path):
    run = add_run(tmp_path / "elsewhere" / "lstm_1a2b3c4d", "lstm")
    source.mkdir()
    (source / "lstm_1a2b3c4d").symlink_to(run)
    (run / "back").symlink_to(source)
    assert BoardView(source, twin, 500).runs == ["lstm"]


def test_where_there_are_too_many_runs_the_sub_runs_are_left_out(source, twin):
    for number in range(3):
        add_run(source / f"lstm_{number}1111111", f"lstm seed={number}", sub_runs=(300,))
    view = BoardView(source, twin, 6)
    assert [len(view.runs), len(view.sub_runs), view.left_out] == [3, 3, 0]
    add_run(source / "gru_11111111", "gru")
    view.refresh()
    assert [len(view.runs), len(view.sub_runs), view.left_out] == [4, 0, 3]
    assert set(shown(twin)) == {"gru", "lstm seed=0", "lstm seed=1", "lstm seed=2"}


def test_names_leave_out_the_settings_that_all_runs_share(source, twin):
    for number, model in enumerate(("rnn", "lstm+clip_norm")):
        for lag in (20, 40):
            add_run(source / f"{model}_{number}{lag:07d}", f"{model} lag={lag} num_steps=500 path=a b")
    view = BoardView(source, twin, 500)
    assert view.runs == ["lstm+clip_norm lag=20", "lstm+clip_norm lag=40", "rnn lag=20", "rnn lag=40"]
    # A run that comes later says all of itself: it may not share what the others do.
    add_run(source / "gru_11111111", "gru lag=40 num_steps=900 path=a b")
    view.refresh()
    assert "gru lag=40 num_steps=900 path=a b" in view.runs
    assert "rnn lag=20" in view.runs


def test_runs_that_are_alike_but_for_their_seed_keep_it(source, twin):
    for seed in (1, 2):
        add_run(source / f"lstm_{seed:08d}", f"lstm lag=40 seed={seed}")
    assert BoardView(source, twin, 500).runs == ["lstm seed=1", "lstm seed=2"]


SHARED = " ".join(f"a_long_setting_{number}=value{number}" for number in range(12))


@pytest.mark.parametrize("later", [0, 1, 3])
def test_long_names_keep_the_setting_they_differ_in(source, twin, later):
    """All at once, or some that come later."""
    names = {seed: f"lstm+clip_norm {SHARED} a_seed_with_a_name_of_some_length={seed}" for seed in (0, 10, 20)}
    for seed in list(names)[later:]:
        add_run(source / f"lstm_{seed:08x}", names[seed])
    view = BoardView(source, twin, 500)
    for seed in list(names)[:later]:
        add_run(source / f"lstm_{seed:08x}", names[seed])
    view.refresh()
    told = sorted(name.rpartition(" ")[2] for name in view.runs)
    assert told == [f"a_seed_with_a_name_of_some_length={seed}" for seed in names]
    assert all(name.startswith("lstm+clip_norm ") and len(name.encode()) <= 220 for name in view.runs)


def test_of_more_than_fits_the_settings_with_most_values_are_kept(source, twin):
    for number in range(6):
        rare = " ".join(f"a_setting_that_takes_two_values_{each}={(number >> each % 2) & 1}" for each in range(9))
        add_run(source / f"lstm_{number:08x}", f"lstm {rare} a_lag_with_a_name_of_some_length={number}")
    names = BoardView(source, twin, 500).runs
    assert {name.partition(" … ")[2] for name in names} == {
        f"a_lag_with_a_name_of_some_length={number}" for number in range(6)
    }
    assert all(name.startswith("lstm a_setting_that_takes_two_values_0=") for name in names)


@pytest.mark.parametrize(("start", "end"), [("é" * 90, "ω" * 90), ("", "z" * 190), ("a" * 190, "")])
def test_a_long_value_is_cut_to_where_it_differs(source, twin, start, end):
    for number, middle in enumerate(("one", "two")):
        add_run(source / f"lstm_{number:08x}", f"lstm path={start}{middle}{end} x=1")
    gaps = ["…" if text else "" for text in (start, end)]
    assert BoardView(source, twin, 500).runs == [f"lstm path={gaps[0]}{each}{gaps[1]}" for each in ("one", "two")]


def test_long_names_that_differ_in_nothing_are_told_apart_by_their_hash(source, twin):
    for number in (0x1A2B3C4D, 0x5E6F7A8B):
        add_run(source / f"lstm_{number:08x}", "lstm " + "x" * 250)
    start, end = f"lstm {'x' * 25}", "x" * 30
    assert BoardView(source, twin, 500).runs == [f"{start}…{end} 1a2b3c4d", f"{start}…{end} 5e6f7a8b"]
