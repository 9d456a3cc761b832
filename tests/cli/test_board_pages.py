"""What TensorBoard makes of runs that go well, are resumed, diverge, or have no gradient at all: routes and pages."""

import itertools
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect
from tools.boards import Board, started
from tools.browser import launched, needs_browser
from tools.members import run_small
from tools.prefix_proxy import proxied

from rnnstudy.cli.board.pages import PINNED, THROUGH_TIME

pytestmark = pytest.mark.slow

RUNS = ["all zero", "gru", "lstm+clip_norm", "nothing finite"]


def train_again_from_step_10(folder, *overrides):
    """As if the process had been killed between step 10 and the end."""
    (folder.checkpoints / "step_000000012.pt").unlink()
    (folder.checkpoints / "step_000000012.pt.sha256").unlink()
    folder.result.unlink()
    run_small(folder.path, *overrides)


@pytest.fixture(scope="module")
def board(tmp_path_factory) -> Iterator[Board]:
    study = tmp_path_factory.mktemp("board") / "a study"
    resumed = run_small(study / "lstm+clip_norm_1a2b3c4d", "mitigation=[clip_norm]")
    train_again_from_step_10(resumed, "mitigation=[clip_norm]")
    assert len(list(resumed.path.glob("*tfevents*"))) == 2
    run_small(study / "gru_1a2b3c4d", "model=gru")
    run_small(study / "all zero", "mitigation=[truncated_bptt]", by_hand=["mitigation.truncated_bptt.steps=1"])
    run_small(
        study / "nothing finite", "model=rnn", "optimizer=sgd", "optimizer.lr=1e38", by_hand=["model.nonlinearity=tanh"]
    )
    with started(study) as running:
        running.get_when("data/plugin/text/tags", "nothing finite")
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as running:
        yield running


def is_sub_run(run: str) -> bool:
    return "/at_step_" in run


def tags(board: Board) -> dict[str, dict[str, set[str]]]:
    """Tags by plugin and run, as the Time Series page is told, and text, which it does not show."""
    answer = board.get("data/plugin/timeseries/tags")
    found = {plugin: answer[plugin]["runTagInfo"] for plugin in ("scalars", "histograms")}
    found["images"] = {
        run: [tag for tag in answer["images"]["tagRunSampledInfo"] if run in answer["images"]["tagRunSampledInfo"][tag]]
        for run in board.get("data/runs")
    }
    found["text"] = board.get("data/plugin/text/tags")
    return {plugin: {run: set(names) for run, names in runs.items()} for plugin, runs in found.items()}


def series(board: Board, plugin: str, run: str, tag: str) -> list[dict]:
    request: dict[str, object] = {"plugin": plugin, "tag": tag, "run": run}
    request |= {"sample": 0} if plugin == "images" else {}
    content = urllib.parse.urlencode({"requests": json.dumps([request])}).encode()
    (answer,) = board.post("data/plugin/timeseries/timeSeries", content, "application/x-www-form-urlencoded")
    return answer["runToSeries"][run]


def test_runs_have_short_telling_names_and_sub_runs_lie_below(board):
    names = board.get("data/runs")
    assert sorted(name for name in names if not is_sub_run(name)) == RUNS
    assert {name.partition("/")[0] for name in names if is_sub_run(name)} == set(RUNS)


def test_every_series_can_be_read_and_no_step_comes_twice(board):
    count = 0
    for plugin, runs in tags(board).items():
        if plugin == "text":
            continue
        for run, names in runs.items():
            for tag in names:
                steps = [point["step"] for point in series(board, plugin, run, tag)]
                assert steps, (run, tag)
                assert all(one < other for one, other in itertools.pairwise(steps)), (run, tag, steps)
                count += 1
    assert count > 100


def test_a_resumed_run_has_the_steps_of_one_that_was_not_stopped(board):
    for run in ("lstm+clip_norm", "gru"):
        assert [point["step"] for point in series(board, "scalars", run, "at_a_glance/loss")] == [0, 4, 8, 12]


def test_a_run_has_at_most_60_tags(board):
    counts: dict[str, int] = {}
    for runs in tags(board).values():
        for run, names in runs.items():
            counts[run] = counts.get(run, 0) + len(names)
    assert set(RUNS) <= set(counts)
    assert max(counts.values()) <= 60, counts


def test_the_plugins_own_routes_answer(board):
    for plugin in ("scalars", "histograms", "images", "text"):
        listed = board.get(f"data/plugin/{plugin}/tags")
        assert set(RUNS) <= set(listed), plugin
        for run in RUNS:
            for tag in listed[run]:
                assert board.get(f"data/plugin/{plugin}/{plugin}", run=run, tag=tag, sample="0"), (plugin, run, tag)


def test_histograms_over_time_steps_lie_in_sub_runs(board):
    untrained = "lstm+clip_norm/at_step_000000"
    points = {
        f"{state}/{part}": series(board, "histograms", untrained, f"hidden_grad_through_time/{state}/layer_0/{part}")
        for state, part in [("h", "total"), ("h", "direct"), ("h", "carried"), ("c", "total")]
    }
    # The coconut-water review is 23 words long; where a gradient is exactly zero, as the direct one is at all but the
    # last, there is a histogram too, an empty one, so that the axis of time is the same everywhere.
    for found in points.values():
        assert [point["step"] for point in found] == list(range(23))
    filled = [point["step"] for point in points["h/direct"] if any(bar["count"] for bar in point["bins"])]
    assert filled == [22]
    # Untrained, the gradient decays on its way back: its largest log10 falls.
    largest = [max(bar["max"] for bar in point["bins"] if bar["count"]) for point in points["h/total"]]
    assert largest[0] < largest[-1] - 1


def test_histograms_of_all_runs_have_one_range(board):
    count = 0
    for run, names in tags(board)["histograms"].items():
        for tag in names:
            bins = [point["bins"] for point in series(board, "histograms", run, tag)]
            assert {(found[0]["min"], found[-1]["max"]) for found in bins} == {(-16, 8)}, (run, tag)
            count += 1
    assert count > 50


def test_images_are_pictures(board):
    for run, names in tags(board)["images"].items():
        for tag in names:
            image = series(board, "images", run, tag)[-1]["imageId"]
            question = urllib.parse.urlencode({"imageId": image})
            with urllib.request.urlopen(f"{board.address}data/plugin/timeseries/imageData?{question}") as answer:
                assert answer.read().startswith(b"\x89PNG")


def custom_charts(board: Board) -> list[dict]:
    (category,) = board.get("data/plugin/custom_scalars/layout")["category"]
    return category["chart"]


def test_the_layouts_of_all_runs_make_one_with_data_in_every_chart(board):
    titles = [chart["title"] for chart in custom_charts(board)]
    assert len(titles) == len(set(titles))
    for chart in custom_charts(board):
        lines = chart.get("margin", {}).get("series", [])
        parts = [line[part] for line in lines for part in ("value", "lower", "upper")]
        for tag in [*parts, *chart.get("multiline", {}).get("tag", [])]:
            answer = board.get("data/plugin/custom_scalars/scalars", run="lstm+clip_norm", tag=tag)
            assert answer["regex_valid"]
            assert answer["tag_to_events"], tag


def test_a_margin_chart_has_its_band_around_its_value(board):
    lines = [line for chart in custom_charts(board) for line in chart.get("margin", {}).get("series", [])]
    assert len(lines) >= 5
    for line in lines:
        low, value, high = (
            {point["step"]: point["value"] for point in series(board, "scalars", "lstm+clip_norm", line[part])}
            for part in ("lower", "value", "upper")
        )
        assert low.keys() == value.keys() == high.keys()
        assert all(low[step] <= value[step] <= high[step] for step in value)


def ask_hparams(board: Board, route: str, **question: object) -> dict:
    content = json.dumps({"experimentName": "", **question}).encode()
    return board.post(f"data/plugin/hparams/{route}", content, "application/json")


def test_hparams_have_one_session_a_run_with_its_final_metrics(board):
    statuses = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]
    experiment = ask_hparams(board, "experiment")
    columns = [{"metric": info["name"]} for info in experiment["metricInfos"]]
    groups = ask_hparams(
        board, "session_groups", allowedStatuses=statuses, colParams=columns, startIndex=0, sliceSize=1000
    )["sessionGroups"]
    sessions = [session for group in groups for session in group["sessions"]]
    assert sorted(session["name"] for session in sessions) == RUNS
    assert all(session["status"] == "STATUS_SUCCESS" for session in sessions)
    assert {"model", "mitigation", "task", "seed"} <= {info["name"] for info in experiment["hparamInfos"]}
    rows = {group["sessions"][0]["name"]: group for group in groups}
    assert rows["gru"]["hparams"]["model"] == "gru"
    assert rows["lstm+clip_norm"]["hparams"]["mitigation"] == "clip_norm"
    metrics = {value["name"]["tag"]: value for value in rows["gru"]["metricValues"]}
    last = series(board, "scalars", "gru", "at_a_glance/loss")[-1]
    assert [metrics["at_a_glance/loss"][key] for key in ("value", "trainingStep")] == [last["value"], 12]


def test_hparams_have_the_columns_of_all_runs_those_first_in_which_they_differ(board):
    """No run has all columns: one alone set a nonlinearity, another a number of steps."""
    columns = {info["name"]: info["differs"] for info in ask_hparams(board, "experiment")["hparamInfos"]}
    differing = ["mitigation", "model", "optimizer", "optimizer.lr"]
    differing += ["mitigation.truncated_bptt.steps", "model.nonlinearity"]
    assert list(columns)[: len(differing)] == differing
    assert [name for name, differs in columns.items() if differs] == differing
    assert {"task", "seed", "seq_len", "model.hidden_size"} < columns.keys()
    few = ask_hparams(board, "experiment", hparamsLimit=2)["hparamInfos"]
    assert [info["name"] for info in few] == differing[:2]


def test_hparams_have_the_metrics_of_all_runs_with_their_descriptions(board):
    metrics = ask_hparams(board, "experiment")["metricInfos"]
    tags = [info["name"]["tag"] for info in metrics]
    assert tags[:2] == ["at_a_glance/solved_fraction", "final/steps_to_solve"]
    # Of one run alone.
    assert "at_a_glance/clip_coefficient" in tags
    assert len(tags) == len(set(tags))
    assert all(" Unit: " in info["description"] for info in metrics)


def test_every_series_is_described_with_its_unit(board):
    answer = board.get("data/plugin/timeseries/tags")
    for plugin, runs in tags(board).items():
        if plugin != "text":
            texts = answer[plugin]["tagDescriptions"]
            assert [tag for names in runs.values() for tag in names if "Unit: " not in texts.get(tag, "")] == []


def test_a_request_by_a_foreign_name_gets_no_runs(board):
    for path in ("", "through_time", "data/runs", "data/plugin/scalars/tags"):
        question = urllib.request.Request(f"{board.address}{path}", headers={"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(question)
        with refused.value as answer:
            assert (answer.code, answer.read()[:33]) == (403, b"TensorBoard does not answer to th")


@contextmanager
def opened(browser: Browser, address: str) -> Iterator[Page]:
    """A page at first sight, which must not complain."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # TensorBoard asks for its fonts at the root, where a proxy with a prefix has none.
        if message.type == "error" and "/font-roboto/" not in message.location["url"]:
            complaints.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(address)
    yield page
    page.close()
    assert complaints == []


def other_page(board: Board, name: str) -> str:
    """Where the tabs of the first page lead."""
    return board.leads_to("").replace("#timeseries", f"#{name}")


@needs_browser
def test_the_first_page_shows_the_runs_at_a_glance(board, browser):
    with opened(browser, board.links[0]) as page:
        rows = page.locator("runs-data-table tb-data-table-content-row")
        expect(rows).to_have_count(len(RUNS))
        assert [text.strip() for text in rows.all_inner_texts()] == RUNS
        cards = page.locator("metrics-pinned-view scalar-card")
        expect(cards.locator("line-chart")).to_have_count(len(PINNED))
        assert cards.locator(".tag").evaluate_all("titles => titles.map(each => each.title)") == list(PINNED)
        page.get_by_role("button", name="Settings").last.click()
        smoothing = page.locator("metrics-dashboard-settings-component input[type=number]").first
        expect(smoothing).to_have_value("0")
        outliers = page.locator("metrics-dashboard-settings-component mat-checkbox", has_text="Ignore outliers")
        expect(outliers.get_by_role("checkbox")).not_to_be_checked()


@needs_browser
def test_behind_a_proxy_with_a_prefix_both_addresses_stay_below_it_and_show_their_pages(board, browser):
    with proxied(board.address) as below:
        with opened(browser, below) as page:
            expect(page.locator("runs-data-table tb-data-table-content-row")).to_have_count(len(RUNS))
            expect(page.locator("metrics-pinned-view scalar-card line-chart")).to_have_count(len(PINNED))
            assert page.url.startswith(f"{below}?")
        with opened(browser, f"{below}{THROUGH_TIME[1:]}") as page:
            expect(page.locator("tf-histogram-loader g.histogram").first).to_be_visible()
            assert page.url.startswith(f"{below}?")
        with opened(browser, f"{below}?smoothing=0#hparams") as page:
            expect(page.locator("tf-hparams-table-view").get_by_text("gru", exact=True).first).to_be_visible()


def test_a_proxy_that_passes_on_the_browsers_host_must_be_named(board, tmp_path):
    run_small(tmp_path / "a run")

    def ask(address: str) -> int:
        with proxied(address, passes_host=True) as below:
            question = urllib.request.Request(f"{below}data/runs", headers={"Host": "hub.example"})
            with urllib.request.urlopen(question) as answer:
                return answer.status

    with pytest.raises(urllib.error.HTTPError, match="403"):
        ask(board.address)
    with started(tmp_path, "--allow-host", "hub.example") as named:
        assert ask(named.address) == 200


@needs_browser
def test_the_custom_scalars_page_has_a_line_for_every_run(board, browser):
    with opened(browser, other_page(board, "custom_scalars")) as page:
        charts = page.locator("tf-custom-scalar-margin-chart-card, tf-custom-scalar-multi-line-chart-card")
        expect(charts).to_have_count(len(custom_charts(board)))
        accuracy = page.locator("tf-custom-scalar-margin-chart-card", has_text="accuracy")
        # A line, and a band around it.
        expect(accuracy.locator("path.line")).to_have_count(2 * len(RUNS))


@needs_browser
def test_the_second_address_shows_the_sub_runs_histograms_offset(board, browser):
    sub_runs = [name for name in board.get("data/runs") if is_sub_run(name)]
    with opened(browser, board.links[1]) as page:
        charts = page.locator("tf-category-paginated-view").first.locator("tf-histogram-loader")
        expect(charts).to_have_count(len(sub_runs))
        expect(page.locator("tf-option-selector paper-button.selected").first).to_have_text("offset")
        untrained = charts.filter(has_text="gru/at_step_000000")
        # A ridge for every word.
        expect(untrained.locator("g.histogram")).to_have_count(23)
        axes = [chart.locator(".axis.x text").all_inner_texts() for chart in charts.all()]
        assert axes[0]
        assert all(axis == axes[0] for axis in axes)


@needs_browser
def test_the_histograms_page_opens_with_histograms_of_every_run(board, browser):
    with opened(browser, other_page(board, "histograms")) as page:
        for run in RUNS:
            heading = page.locator("tf-card-heading", has_text=run).first
            expect(heading).to_contain_text("hidden_grad_histogram/")


@needs_browser
def test_the_images_page_shows_a_heatmap_of_every_run(board, browser):
    with opened(browser, other_page(board, "images")) as page:
        pictures = page.locator("tf-image-loader img")
        # dL/dc too for the two LSTMs.
        expect(pictures).to_have_count(len(RUNS) + 2)
        sizes = pictures.evaluate_all(
            "images => Promise.all(images.map(image => image.decode().then(() => image.naturalWidth)))"
        )
        assert min(sizes) > 300


@needs_browser
def test_the_hparams_table_has_a_row_for_every_run(board, browser):
    with opened(browser, other_page(board, "hparams")) as page:
        table = page.locator("tf-hparams-table-view")
        for run in RUNS:
            expect(table.get_by_text(run, exact=True).first).to_be_visible()
        expect(page.get_by_text("Number of matching session groups")).to_contain_text(str(len(RUNS)))


@needs_browser
def test_the_text_page_shows_what_exploded_and_then_the_configuration(board, browser):
    with opened(browser, other_page(board, "text")) as page:
        texts = page.locator("tf-text-loader")
        expect(texts.nth(RUNS.index("nothing finite"))).to_contain_text("that was not finite:")
        expect(texts.nth(len(RUNS))).to_contain_text("hidden_size")
