"""Contour lines of a grid of values, by marching squares, in NumPy.

References:
    Lorensen, W. E., and Cline, H. E. (1987), Marching cubes: a high resolution 3D surface construction algorithm.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def levels_of(values: Float[np.ndarray, "rows columns"], count: int) -> Float[np.ndarray, " levels"]:
    """Levels that divide the area into equal parts: evenly spaced ones would leave the floor of a valley empty."""
    finite = values[np.isfinite(values)]
    return np.unique(np.quantile(finite, (np.arange(count) + 0.5) / count)) if finite.size else np.empty(0)


def contour(values: Float[np.ndarray, "rows columns"], level: float) -> list[Float[np.ndarray, "points 2"]]:
    """The lines on which a grid, interpolated linearly, has the value `level`.

    Returns:
        Lines of (column, row), in units of the grid. A closed line ends where it begins. There are none in cells
        that have a corner that is not finite.
    """
    above = values > level
    rows, columns = values.shape
    corners = np.stack([above[:-1, :-1], above[:-1, 1:], above[1:, 1:], above[1:, :-1]])
    finite = np.isfinite(values)
    whole = finite[:-1, :-1] & finite[:-1, 1:] & finite[1:, 1:] & finite[1:, :-1]
    crossed = whole & (corners.any(0) != corners.all(0))
    neighbours: dict[int, list[int]] = {}
    for row, column in np.argwhere(crossed):
        # The sides of the cell, by number: a horizontal one by its left end, a vertical one by its lower end.
        sides = (
            row * columns + column,
            rows * columns + row * columns + column + 1,
            (row + 1) * columns + column,
            rows * columns + row * columns + column,
        )
        a, b, c, d = (bool(x) for x in corners[:, row, column])
        met = [side for side, differs in zip(sides, (a != b, b != c, c != d, d != a), strict=True) if differs]
        if len(met) == 4 and a != (values[row : row + 2, column : column + 2].mean() > level):
            met = [met[3], *met[:3]]  # a saddle whose middle is on the other side: cut the first corner off
        for one, other in zip(met[::2], met[1::2], strict=True):
            neighbours.setdefault(int(one), []).append(int(other))
            neighbours.setdefault(int(other), []).append(int(one))
    ends = [side for side, near in neighbours.items() if len(near) == 1]
    return [_places(_walk(side, neighbours), values, level) for side in (*ends, *neighbours) if neighbours[side]]


def _walk(start: int, neighbours: dict[int, list[int]]) -> list[int]:
    """The sides from one on, as far as it goes; takes the ways it has gone out of `neighbours`."""
    way = [start]
    while neighbours[way[-1]]:
        following = neighbours[way[-1]].pop()
        neighbours[following].remove(way[-1])
        way.append(following)
    return way


def _places(sides: list[int], values: Float[np.ndarray, "rows columns"], level: float) -> Float[np.ndarray, "points 2"]:
    """Where a level lies on sides of cells, given by number."""
    rows, columns = values.shape
    vertical, place = np.divmod(np.array(sides), rows * columns)
    row, column = np.divmod(place, columns)
    start, end = values[row, column], values[row + vertical, column + 1 - vertical]
    part = (level - start) / (end - start)
    return np.stack([column + part * (1 - vertical), row + part * vertical], axis=1)


def thinned(lines: list[np.ndarray], most: int) -> list[np.ndarray]:
    """Points of each line, its ends among them, so that all lines together have at most `most`.

    A small closed line keeps its shape as long as there is room; of too many lines the shortest are left out.
    """
    total = sum(map(len, lines))
    every, fewest = max(1, -(-total // most)), 12
    while True:
        kept = []
        for line in lines:
            count = max(2, len(line) // max(1, min(every, len(line) // fewest)))
            kept.append(line[np.linspace(0, len(line) - 1, count).round().astype(int)])
        if sum(map(len, kept)) <= most:
            return kept
        if every > total:
            break
        every, fewest = 2 * every, 1
    order = np.argsort([-len(line) for line in lines], kind="stable")
    chosen = order[np.cumsum([len(kept[k]) for k in order]) <= most]
    return [line if k in chosen else line[:0] for k, line in enumerate(kept)]
