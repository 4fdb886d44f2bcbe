"""Contour lines of a grid of values, by marching squares, in NumPy.

References:
    Lorensen, W. E., and Cline, H. E. (1987), Marching cubes: a high resolution 3D surface construction algorithm.
    Douglas, D. H., and Peucker, T. K. (1973), Algorithms for the reduction of the number of points required to represent
        a digitized line or its caricature.
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


TOLERANCE = 0.06
"""How far a line may be from what is drawn of it, in cells: less than one sees."""


def thinned(lines: list[np.ndarray], most: int) -> list[np.ndarray]:
    """Lines with fewer points, the ends among them, so that all together have at most `most`.

    Where there are too many the tolerance doubles; of too many lines the shortest are left out.
    """
    tolerance, kept = TOLERANCE, [_thin(line, TOLERANCE) for line in lines]
    while sum(map(len, kept)) > most and tolerance < 10:
        tolerance *= 2
        kept = [_thin(line, tolerance) for line in kept]
    order = np.argsort([-len(line) for line in lines], kind="stable")
    chosen = order[np.cumsum([len(kept[k]) for k in order]) <= most]
    return [line if k in chosen else line[:0] for k, line in enumerate(kept)]


def _thin(line: np.ndarray, tolerance: float) -> np.ndarray:
    """The points of a line that it needs to stay that near to itself (Ramer 1972, Douglas and Peucker 1973)."""
    keep, pieces = {0, len(line) - 1}, [(0, len(line) - 1)]
    while pieces:
        start, end = pieces.pop()
        along, between = line[end] - line[start], line[start + 1 : end] - line[start]
        length = np.hypot(*along)
        if not len(between):
            continue
        across = between[:, 0] * along[1] - between[:, 1] * along[0]
        away = np.abs(across) / length if length > 1e-9 else np.hypot(*between.T)  # a closed line ends where it begins
        farthest = int(away.argmax())
        if away[farthest] > tolerance:
            middle = start + 1 + farthest
            keep.add(middle)
            pieces += [(start, middle), (middle, end)]
    return line[sorted(keep)]
