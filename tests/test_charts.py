"""Charts are values: rows of them, and specifications that hold still while data change."""

import numpy as np

from lib.ui import charts
from lib.ui.charts.base import rows


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
    assert first.data["lines"].to_pylist() == [{"x": 1.0, "y": 3.0, "series": "train"}]  # 0 has no logarithm
    assert second.data["lines"]["series"].to_pylist() == ["train", "test", "test"]
