"""Charts as values, built of a cached specification and of data, and `show` to draw them."""

from lib.ui.charts.base import (
    Chart,
    Shown,
    Spec,
    Text,
    Words,
    build,
    chart,
    named,
    repeated,
    show,
    show_all,
    words,
)
from lib.ui.charts.fan import fan
from lib.ui.charts.grid import grid
from lib.ui.charts.lines import Line, Still, lines, still
from lib.ui.charts.step_times import step_times
from lib.ui.charts.sweep import sweep
from lib.ui.charts.timings import timings

__all__ = [
    "Chart", "Line", "Shown", "Spec", "Still", "Text", "Words", "build", "chart", "fan", "grid", "lines", "named",
    "repeated", "show", "show_all", "step_times", "still", "sweep", "timings", "words",
]  # fmt: skip
