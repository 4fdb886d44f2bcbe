"""Charts are values: rows of them, and specifications that hold still while data change."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from lib.live.recorder import AXES, Recorder
from lib.live.run import Compilation
from lib.measure.stages import Phases
from lib.measure.timing import Record
from lib.ui import charts
from lib.ui.charts import bands, marks
from lib.ui.charts.base import rows
from lib.ui.style import PHASES


def lines(**series: tuple[list[float], list[float]]) -> charts.Chart:
    arrays = {name: (np.array(x), np.array(y)) for name, (x, y) in series.items()}
    return charts.lines("Loss", "step", "loss", {"train": "#000", "test": "#fff"}, arrays, log=True)


def test_charts_fill_a_row_and_texts_stand_alone() -> None:
    half, whole, text = lines()._replace(width=0.5), lines(), charts.Text("words")
    assert [len(row) for row in rows([half, half, half, text, half, whole, half, half])] == [2, 1, 1, 1, 1, 2]
    thirds = [half._replace(width=1 / 3)] * 4
    assert [len(row) for row in rows(thirds)] == [3, 1]
    assert rows([]) == []


def test_another_frame_changes_data_alone() -> None:
    empty, first = lines(), lines(train=([1.0, 2.0], [3.0, 0.0]))
    second = lines(train=([1.0], [1.0]), test=([1.0, 2.0], [4.0, 5.0]))
    assert empty.spec is first.spec is second.spec
    assert empty.data["lines"].num_rows == 0
    drawn = first.data["lines"].to_pandas()
    assert drawn["y"][0] == 3.0 and np.isnan(drawn["y"][1])  # 0 has no logarithm
    assert column(first, "span", "note")[0] == "1 of 2 points is at or below 0\nand has no place on a logarithmic axis."
    assert second.data["lines"]["series"].to_pylist() == ["train", "test", "test"]


# A noisy run: a smoothed line over a band.


def snapshot(losses, events=(), compilations=(), ms=(), **more):
    """What the charts take of a run that has shown these losses."""
    recorder = Recorder()
    losses = np.asarray(losses, np.float32)
    if len(losses):
        recorder.take_steps({"loss": losses} | more, 1.0, 8, timed=False)
    curves = recorder.curves()
    coordinates = {axis: np.arange(1.0, len(ms) + 1) for axis in AXES}
    times = np.asarray(ms, np.float32)
    return SimpleNamespace(
        coordinates=curves.coordinates, metrics=curves.metrics, lows=curves.lows, highs=curves.highs, step=len(losses),
        events=tuple(events), compilations=tuple(compilations), observed={}, observed_coordinates={},
        step_ms=SimpleNamespace(coordinates=coordinates, mean=times, low=times / 2, high=times * 2),
    )  # fmt: skip


def fan(losses, log=False, **more):
    return charts.fan("Loss", "loss", snapshot(losses, **more), log)


def column(chart, data, name):
    return np.array(chart.data[data][name].to_pylist())


@pytest.mark.parametrize("count", [1, 24, 25, 100, 160, 400])
def test_a_smoothed_line_is_the_rolling_mean_in_the_band_of_all_in_the_window(count):
    rng = np.random.default_rng(0)
    mean = rng.normal(size=count).astype(np.float32)
    low, high = mean - rng.random(count).astype(np.float32), mean + rng.random(count).astype(np.float32)
    line, lowest, highest = bands.smoothed(mean, low, high)
    half = 0 if count < bands.SMOOTHED else max(1, round(count / 50))
    for i in range(count):
        room = min(half, i, count - 1 - i)
        window = slice(i - room, i + room + 1)
        assert line[i] == pytest.approx(mean[window].mean(), abs=1e-6)
        assert (lowest[i], highest[i]) == (low[window].min(), high[window].max())
    assert np.all((lowest <= line) & (line <= highest))


def test_smoothing_forgets_what_has_left_the_window():
    values = np.array([1.0] * 50 + [1e30] + [1.0] * 50, np.float32)
    line, _, _ = bands.smoothed(values, values, values)
    assert line[:40].tolist() == [1.0] * 40 and line[60:].tolist() == [1.0] * 41


def test_a_noisy_loss_is_a_line_with_far_smaller_leaps_than_its_band_is_wide():
    losses = np.random.default_rng(0).exponential(size=20_000)
    drawn = fan(losses)
    line, low, high = (column(drawn, "fan", name) for name in ("loss", "low", "high"))
    assert np.abs(np.diff(line)).max() < 0.1 * (high - low).min()
    assert low.min() == pytest.approx(losses.min(), abs=1e-9) and high.max() == pytest.approx(losses.max())
    assert column(drawn, "now", "loss").tolist() == line[-1:].tolist()


def test_the_band_of_many_models_is_from_the_lowest_to_the_highest():
    each = np.stack([np.linspace(1, 2, 90), np.linspace(3, 5, 90)], 1).astype(np.float32)
    more = {"each": each, "lowest": each.min(1), "highest": each.max(1)}
    drawn = charts.fan("Loss", "loss", snapshot(each.mean(1), **more), False, curves=2)
    np.testing.assert_array_equal(column(drawn, "fan", "low")[[0, -1]], each.min(1)[[0, -1]])
    np.testing.assert_array_equal(column(drawn, "fan", "high")[[0, -1]], each.max(1)[[0, -1]])
    np.testing.assert_allclose(column(drawn, "fan", "c1"), each[:, 1])


# What explodes, and what has no logarithm.


@pytest.mark.parametrize("log", [False, True])
def test_what_explodes_leaves_the_chart_and_does_not_squash_the_rest(log):
    losses = np.concatenate([np.linspace(2, 1, 92), 10.0 ** np.arange(1, 15)])
    drawn = fan(losses, log)
    line, high = column(drawn, "fan", "loss"), column(drawn, "fan", "high")
    top = np.nanmax(high)
    assert np.nanmax(line) == top <= 20
    gone = np.flatnonzero(np.isnan(line))
    assert len(gone) and gone[0] > 90 and np.all(np.diff(gone) == 1)
    assert line[gone[0] - 1] == top, "the line ends at the edge of the chart"


@pytest.mark.parametrize("log", [False, True])
def test_what_falls_fast_from_a_high_start_is_all_shown(log):
    losses = np.concatenate([[1e4, 1e3, 1e2, 10], np.linspace(2, 1, 140)])
    assert not np.isnan(column(fan(losses, log), "fan", "loss")).any()


@pytest.mark.parametrize("sign", [1, -1])
def test_what_explodes_from_the_first_step_on_is_seen_to_leave_the_chart(sign):
    line = column(fan(sign * 2.0 ** np.arange(100)), "fan", "loss")
    assert sign * line[5] == pytest.approx(np.mean([8, 16, 32, 64, 128])) and np.isnan(line[20:]).all()


def test_steady_growth_is_all_shown_on_a_logarithmic_axis():
    losses = 10.0 ** np.linspace(0, 37, 111)
    np.testing.assert_allclose(column(fan(losses, True), "fan", "loss")[[0, -1]], losses[[0, -1]], rtol=1e-5)


def test_a_logarithmic_axis_says_what_it_leaves_out():
    drawn = fan([4.0, 2.0, 0.0, -1.0, 1.0], log=True)
    line = column(drawn, "fan", "loss")
    assert np.isnan(line[[2, 3]]).all() and line[[0, 1, 4]].tolist() == [4.0, 2.0, 1.0]
    assert column(drawn, "fan", "low").min() > 0
    assert (
        column(drawn, "span", "note")[0] == "2 of 5 points are at or below 0\nand have no place on a logarithmic axis."
    )
    assert not column(fan([4.0, 0.0]), "span", "note").any()


# Marks.


def test_every_frame_of_a_run_has_one_specification():
    frames = [fan([]), fan([1.0]), fan([1.0] * 300, events=[(10, "a")]), fan([0.0, 1e38], events=[(0, "a")] * 20)]
    assert all(frame.spec is frames[0].spec for frame in frames)
    json.dumps(frames[0].spec)


@pytest.mark.parametrize(
    "places", [[0], [100], [50], [0, 0, 0, 0, 0], [10, 12, 50, 52, 54, 97, 99, 100], list(range(20))]
)
@pytest.mark.parametrize(
    "text", ["learning rate 0.03 → 0.1", "x", "batch size 4096 → 8192: found compiled, waited 1 s"]
)
def test_texts_of_marks_do_not_cover_each_other_and_the_newest_is_shown(places, text):
    drawn = marks.data([(place, text) for place in places], 100.0)["marks"]
    places = places[-marks.NEWEST :]
    assert drawn["x"].tolist() == places
    taken = []
    width = 100 * (len(text) + 1) / marks.LINE
    for at, shown, side in zip(drawn["at"].tolist(), drawn["text"], drawn["side"].to_pylist(), strict=True):
        begin = {"left": at, "right": at - width, "center": at - width / 2}[side]
        if not shown:
            continue
        assert shown.strip() == text
        row = shown.count("\n")
        assert row < marks.ROWS
        if len(text) < marks.LINE:
            assert begin >= -1e-4 and begin + width <= 100 + 1e-4, "it is not cut off"
        for other_row, other in taken:
            assert other_row != row or begin + width <= other + 1e-4 or begin >= other + width - 1e-4
        taken.append((row, begin))
    assert drawn["text"][-1] == text, "the newest is at the top"


# Time per step.


def compilation(step=0, shared=False, change="", first_ms=0.5, waited_s=0.2, phases=Phases(20.0, 15.0, 114.0)):
    return Compilation(step, SimpleNamespace(phases=phases), waited_s, shared, change, first_ms)


def marked(chart):
    return [text.strip() for text in column(chart, "marks", "text")]


def phase_texts(chart):
    return [text for text in column(chart, "phases", "text") if text]


def test_the_first_program_is_shown_phase_by_phase():
    drawn = charts.step_times(snapshot([1.0] * 3, compilations=[compilation()], ms=[0.1, 0.2]))
    assert phase_texts(drawn) == ["trace 20 ms", "lower 15 ms", "compile 114 ms", "first run 500 µs"]
    assert column(drawn, "phases", "ms").tolist() == [20.0, 15.0, 114.0, 0.5]
    assert column(drawn, "phases", "x").tolist() == [0.0] * 4
    np.testing.assert_allclose(column(drawn, "times", "mean"), [0.1, 0.2])
    np.testing.assert_allclose(column(drawn, "times", "high"), [0.2, 0.4])


def test_a_program_that_was_found_is_never_shown_as_compiled():
    drawn = charts.step_times(snapshot([1.0], compilations=[compilation(shared=True, waited_s=0.0)]))
    assert marked(drawn) == ["found compiled, 0 ms"]
    assert phase_texts(drawn) == ["first run 500 µs"]
    waited = charts.step_times(snapshot([1.0], compilations=[compilation(shared=True, waited_s=0.3, first_ms=None)]))
    assert marked(waited) == ["found compiled, waited 300 ms"]
    assert phase_texts(waited) == []


def test_a_later_program_is_a_mark_with_what_it_cost_and_a_change_of_rate_costs_nothing():
    made = [
        compilation(), compilation(5, change="batch size 32 → 64", phases=Phases(10.0, 8.0, 100.0)),
        compilation(9, True, "batch size 64 → 32", waited_s=0.0),
    ]  # fmt: skip
    events = [(3, "learning rate 0.1 → 1"), (5, "batch size 32 → 64"), (9, "batch size 64 → 32")]
    drawn = charts.step_times(snapshot([1.0] * 12, events, made))
    assert marked(drawn) == [
        "learning rate 0.1 → 1", "batch size 32 → 64: 118 ms", "batch size 64 → 32: found compiled, 0 ms",
    ]  # fmt: skip
    assert column(drawn, "phases", "x").tolist() == [0] * 4 + [5] * 4 + [9]
    assert len(phase_texts(drawn)) == 4, "the phases of later programs have no texts"
    assert "118 ms" in drawn.alt and "compile 114 ms" in drawn.alt


def test_texts_of_phases_and_of_lines_to_compare_with_stand_apart():
    close = compilation(phases=Phases(20.0, 21.0, 22.0), first_ms=19.0)
    compared = [Record(f"way {i}", "eager", 20.0 + i, 19.0, 22.0) for i in range(3)]
    drawn = charts.step_times(snapshot([1.0], compilations=[close], ms=[0.01]), compared)
    for data in ("phases", "compared"):
        places = np.sort(np.log10(column(drawn, data, "at")))
        assert np.diff(places).min() > 0.055 * np.log10(22.0 / 0.005)
        assert places.max() <= np.log10(22.0) + 1e-6
    assert column(drawn, "compared", "text").tolist() == ["way 0 20 ms", "way 1 21 ms", "way 2 22 ms"]
    assert set(column(drawn, "phases", "phase")) <= set(PHASES)


def test_time_a_step_has_one_specification_and_text_in_the_colour_of_the_theme():
    frames = [
        charts.step_times(snapshot([])), charts.step_times(snapshot([1.0], compilations=[compilation()], ms=[1.0])),
        charts.step_times(snapshot([1.0], [(0, "a")], [compilation(first_ms=None)]), [Record("eager", "eager", 5, 4, 6)]),
    ]  # fmt: skip
    assert all(frame.spec is frames[0].spec for frame in frames)
    for layer in frames[0].spec["layer"]:
        if layer["mark"]["type"] == "text":
            assert "color" not in layer["encoding"] and "color" not in layer["mark"] and layer["mark"]["fontSize"] == 13
