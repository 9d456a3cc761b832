"""Names, columns and panels."""

from pathlib import Path
from typing import Any

from tools.summaries import summaries_of
from tools.synthetic_runs import Synthetic, edit_config, write_run, write_sweep

from rnnstudy.plotting.style import BASELINE_COLOR
from rnnstudy.report.analysis.naming import confounded
from rnnstudy.report.figures.panels import arrange


def settings(lag: int, **more: Any) -> dict[str, Any]:
    return {"task": {"_target_": f"x{lag}", "lag": lag}, **more}


def test_names_say_model_and_mitigation(tmp_path: Path) -> None:
    runs = summaries_of(write_sweep(tmp_path, replicas=1))
    assert [run.name for run in runs][3:6] == ["lstm", "lstm + clip_norm", "lstm + orthogonal_init"]
    assert set(runs[0].differing) == {"model", "mitigation"}


def test_initialisations_are_named_where_they_differ_and_get_no_column_of_their_settings(tmp_path: Path) -> None:
    def init(*names: str) -> dict[str, Any]:
        return {"model": {"init": {name: {"_target_": f"x.{name}", "t_max": 9} for name in names}}}

    cases = [((), ()), (("chrono",), ()), ((), ("clip_norm",)), (("chrono", "orthogonal"), ())]
    for number, (inits, mitigation) in enumerate(cases):
        folder = write_run(tmp_path / f"run{number}", Synthetic(settings=init(*inits), mitigation=mitigation))
        choices = {"task": "x", "model": "lstm", "init": list(inits), "mitigation": list(mitigation)}
        edit_config(folder, choices=choices)
    runs = summaries_of(tmp_path)
    names = ["lstm", "lstm (chrono)", "lstm (chrono + orthogonal)", "lstm + clip_norm"]
    assert [run.name for run in runs] == [run.short for run in runs] == names
    assert runs[1].differing == {"init": "chrono", "mitigation": "none"}


def test_an_initialisation_that_a_model_brings_along_follows_from_the_model(tmp_path: Path) -> None:
    for number, (model, inits) in enumerate([("irnn", ["identity"]), ("rnn", [])]):
        settings_ = {"model": {"init": {name: {"scale": 1.0} for name in inits}}}
        folder = write_run(tmp_path / f"run{number}", Synthetic(model=model, settings=settings_))
        edit_config(folder, choices={"model": model, "init": inits, "mitigation": []})
    assert [run.name for run in summaries_of(tmp_path)] == ["irnn (identity)", "rnn"]


def test_a_swept_setting_becomes_a_column_in_the_order_of_its_size(tmp_path: Path) -> None:
    runs = summaries_of(tmp_path, *(Synthetic(settings=settings(lag)) for lag in (100, 9, 20)))
    assert [run.name for run in runs] == ["lstm, lag=9", "lstm, lag=20", "lstm, lag=100"]
    assert [run.differing for run in runs] == [{"task.lag": lag} for lag in ("9", "20", "100")]


def test_the_plan_of_a_study_is_no_column(tmp_path: Path) -> None:
    for measure in ("solved", "loss"):
        write_run(tmp_path / measure, Synthetic(settings={"compare": {"measure": measure}}, replicas=1))
    assert [run.differing for run in summaries_of(tmp_path)] == [{}, {}]


def test_what_follows_from_the_choice_is_no_column_but_is_told(tmp_path: Path) -> None:
    models = {name: {"model": {"hidden_size": size, "own": name}} for name, size in (("rnn", 90), ("lstm", 45))}
    runs = summaries_of(tmp_path, *(Synthetic(model=name, settings=models[name]) for name in models))
    assert [run.differing for run in runs] == [{"model": "lstm"}, {"model": "rnn"}]
    assert confounded([run.choices for run in runs], [run.settings for run in runs]) == [
        "model.hidden_size",
        "model.own",
    ]


def test_a_setting_swept_within_a_choice_is_a_column(tmp_path: Path) -> None:
    sizes = [("rnn", 16), ("rnn", 32), ("lstm", 16), ("lstm", 32)]
    runs = summaries_of(tmp_path, *(Synthetic(model=m, settings={"model": {"hidden_size": h}}) for m, h in sizes))
    assert [e.name for e in runs] == [f"{m}, hidden_size={h}" for m in ("lstm", "rnn") for h in (16, 32)]


def test_equal_configs_are_told_apart_by_folder(tmp_path: Path) -> None:
    runs = summaries_of(tmp_path, Synthetic(), Synthetic())
    assert [run.name for run in runs] == ["lstm [run0]", "lstm [run1]"]


def test_a_mitigation_that_edits_adjoints_is_known_in_combinations_too(tmp_path: Path) -> None:
    specs = [Synthetic(replicas=1, mitigation=names) for names in ([], ["clip_norm"], ["clip_norm", "h_detach"])]
    edited = {run.mitigation: run.is_edited for run in summaries_of(tmp_path, *specs)}
    assert edited == {"none": False, "clip_norm": False, "clip_norm + h_detach": True}


def test_without_choices_the_folder_is_the_name(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "some run", Synthetic())
    edit_config(folder, choices=None)
    assert [run.name for run in summaries_of(tmp_path)] == ["some run"]


def test_panels_hold_what_differs_in_mitigation_only(tmp_path: Path) -> None:
    layout = arrange(summaries_of(write_sweep(tmp_path, replicas=1)))
    assert [panel.title for panel in layout.panels] == ["gru", "lstm", "rnn"]
    for panel in layout.panels:
        assert [line.label for line in panel.lines] == ["none", "clip_norm", "orthogonal_init"]
        assert {line.summary.model for line in panel.lines} == {panel.title}
        assert panel.lines[0].color == BASELINE_COLOR
    assert layout.shared_legend


def test_strengths_of_a_mitigation_share_the_axes_of_the_baseline(tmp_path: Path) -> None:
    specs = [Synthetic(model=model) for model in ("rnn", "lstm")]
    for norm in (0.5, 1.0):
        mitigation = {"mitigation": {"clip_norm": {"max_norm": norm}}}
        specs += [Synthetic(model=m, mitigation=["clip_norm"], settings=mitigation) for m in ("rnn", "lstm")]
    layout = arrange(summaries_of(tmp_path, *specs))
    labels = [[line.label for line in panel.lines] for panel in layout.panels]
    assert labels == [["none", "clip_norm, max_norm=0.5", "clip_norm, max_norm=1"]] * 2


def test_models_share_axes_task_by_task(tmp_path: Path) -> None:
    specs = [Synthetic(model=model, settings=settings(lag)) for lag in (5, 50) for model in ("rnn", "gru", "lstm")]
    layout = arrange(summaries_of(tmp_path, *specs))
    assert [panel.title for panel in layout.panels] == ["lag=5", "lag=50"]
    assert [[line.label for line in panel.lines] for panel in layout.panels] == [["gru", "lstm", "rnn"]] * 2


def test_more_mitigations_than_colours_are_divided_with_the_baseline_in_each_part(tmp_path: Path) -> None:
    specs = [Synthetic(replicas=1), *(Synthetic(replicas=1, mitigation=[f"m{i}"]) for i in range(10))]
    layout = arrange(summaries_of(tmp_path, *specs))
    assert [len(panel.lines) for panel in layout.panels] == [7, 5]
    for panel in layout.panels:
        assert panel.lines[0].label == "none"
        assert len({line.color for line in panel.lines}) == len(panel.lines)
    drawn = {line.summary.name for panel in layout.panels for line in panel.lines}
    assert len(drawn) == 11


def test_many_values_of_one_setting_get_an_ordered_scale(tmp_path: Path) -> None:
    layout = arrange(summaries_of(tmp_path, *(Synthetic(replicas=1, settings=settings(lag)) for lag in range(1, 10))))
    (panel,) = layout.panels
    assert [line.label for line in panel.lines] == [str(lag) for lag in range(1, 10)]
    assert len({line.color for line in panel.lines}) == 9
