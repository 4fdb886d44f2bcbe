"""Charts as values, built of a cached specification and of data, and `show` to draw them."""

from lib.ui.charts.base import (
    HEIGHT,
    Chart,
    Shown,
    Spec,
    Text,
    build,
    chart,
    legend,
    named,
    repeated,
    show,
    show_all,
    words,
)
from lib.ui.charts.fan import fan, steps_axis
from lib.ui.charts.grid import grid
from lib.ui.charts.lines import Line, lines
from lib.ui.charts.step_times import step_times
from lib.ui.charts.sweep import sweep
from lib.ui.charts.timings import timings

__all__ = [
    "HEIGHT", "Chart", "Line", "Shown", "Spec", "Text", "build", "chart", "fan", "grid", "legend", "lines", "named",
    "repeated", "show", "show_all", "step_times", "steps_axis", "sweep", "timings", "words",
]  # fmt: skip
