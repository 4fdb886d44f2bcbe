"""Data to train on: four patterns in the plane, one curve, handwritten digits, and any CSV of numbers."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import re
import zlib
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

MAX_CSV_BYTES = 5 * 2**20
MAX_CSV_CELLS = 1_000_000
MAX_CSV_COLUMNS = 200
MAX_CSV_FIELD = 200
"""Characters of a number, a class or a column's name."""
MAX_CLASSES = 20
MAX_BATCH_SIZE = 4096
PASSES = 8
"""Shuffled passes over the examples, after which the order repeats."""
GRID = 36
"""Cells a side of the decision surface, a byte each: a live frame has to stay below 10 kB."""
CURVE_POINTS = 160


class DataError(ValueError):
    """Data that cannot be trained on; the message says what to do about it."""


class Drawn(NamedTuple):
    """Data that a seed draws: one of `NAMES`, and how many examples, None for as many as there are."""

    name: str
    examples: int | None = None


class File(NamedTuple):
    """A visitor's own CSV, and which of its columns is the target."""

    name: str
    target: str


@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples split into train and test.

    Attributes:
        train, test: inputs float32[examples, features] and targets float32[examples]; classes count from 0.
        classes: 0 for regression.
        names: of the features, then of the target.
        labels: what the classes are called.
        digest: tells data apart.
        origin: where it comes from; None if that is nowhere else.
    """

    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    classes: int
    names: tuple[str, ...]
    labels: tuple[str, ...] = ()
    image: bool = False
    digest: str = field(default="")
    origin: Drawn | File | None = None

    @property
    def features(self) -> int:
        return self.train[0].shape[1]

    @property
    def outputs(self) -> int:
        return self.classes if self.classes > 2 else 1

    @property
    def picture(self) -> Literal["surface", "curve", "digits", "scatter", "classes"]:
        """Which picture suits the data."""
        if self.image:
            return "digits"
        if self.classes:
            return "surface" if self.features == 2 else "classes"
        return "curve" if self.features == 1 else "scatter"

    @cached_property
    def grid(self) -> tuple[np.ndarray, tuple[float, float], tuple[float, float]]:
        """Where to evaluate a model for the picture: float32[points, features], and the ranges in x and y."""
        inputs = np.concatenate([self.train[0], self.test[0]])
        low, high = inputs.min(0), inputs.max(0)
        margin = 0.08 * np.where(high > low, high - low, 1.0)
        low, high = low - margin, high + margin
        if self.picture == "curve":
            grid = np.linspace(low, high, CURVE_POINTS)
            return grid.astype(np.float32), (float(low[0]), float(high[0])), (0.0, 1.0)
        if self.picture != "surface":
            return np.zeros((0, self.features), np.float32), (0.0, 1.0), (0.0, 1.0)
        centres = low + (np.arange(GRID)[:, None] + 0.5) * (high - low) / GRID
        xs, ys = np.meshgrid(centres[:, 0], centres[:, 1])
        grid = np.stack([xs.ravel(), ys.ravel()], 1).astype(np.float32)
        return grid, (float(low[0]), float(high[0])), (float(low[1]), float(high[1]))

    @cached_property
    def arrays(self) -> dict[str, Any]:
        """What `training.Training` trains on, as NumPy arrays: `train`, `test`, `grid`, and their `order`."""
        order = shuffled(len(self.train[0]), self.digest)
        return {"train": self.train, "test": self.test, "grid": self.grid[0], "order": order}


def shuffled(n: int, digest: str) -> np.ndarray:
    """int32: eight shuffled passes over `n` examples, and their beginning once more, so that a batch is a slice of it
    wherever it starts."""
    rng = np.random.default_rng(zlib.crc32(digest.encode()))
    order = np.concatenate([rng.permutation(n) for _ in range(PASSES)]).astype(np.int32)
    return np.resize(order, PASSES * n + MAX_BATCH_SIZE)


def _circles(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    label = np.arange(n) % 2
    angle = rng.uniform(0, 2 * np.pi, n)
    radius = np.where(label, 0.45, 1.0)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1), label


def _moons(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    label = np.arange(n) % 2
    angle = rng.uniform(0, np.pi, n)
    upper = np.stack([np.cos(angle) - 0.5, np.sin(angle) - 0.25], 1)
    return np.where(label[:, None], -upper, upper), label


def _spiral(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    label = np.arange(n) % 2
    turn = np.sqrt(rng.uniform(0.01, 1, n))
    angle = 3.5 * np.pi * turn + np.pi * label
    return np.stack([turn * np.cos(angle), turn * np.sin(angle)], 1), label


def _xor(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    points = rng.uniform(-1, 1, (n, 2))
    points += 0.06 * np.sign(points)
    return points, (points[:, 0] * points[:, 1] > 0).astype(int)


PLANE = {"circles": (_circles, 0.1), "moons": (_moons, 0.12), "spiral": (_spiral, 0.02), "XOR": (_xor, 0.0)}
"""Patterns in the plane, and the standard deviation of the noise that is added to the points."""

NAMES = (*PLANE, "regression", "digits")


Examples = tuple[np.ndarray, np.ndarray]
"""Inputs and targets."""


def _split(
    inputs, targets, rng: np.random.Generator, held_out: float, dtype: Any = np.float32
) -> tuple[Examples, Examples]:
    """Shuffles and holds out a part; at least one example goes to each side."""
    order = rng.permutation(len(inputs))
    inputs, targets = inputs[order].astype(dtype), targets[order].astype(dtype)
    cut = min(max(1, round(len(inputs) * (1 - held_out))), len(inputs) - 1)
    return (inputs[:cut], targets[:cut]), (inputs[cut:], targets[cut:])


def digits() -> Examples:
    """What `sklearn.datasets.load_digits(return_X_y=True)` returns: the file is read here, because importing the library
    takes most of a second and 70 MB."""
    library = find_spec("sklearn")
    assert library is not None and library.submodule_search_locations is not None
    file = Path(library.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    with gzip.open(file, "rt", encoding="ascii") as lines:
        table = np.loadtxt(lines, delimiter=",")
    return table[:, :-1], table[:, -1].astype(int)


def draw(name: str, seed: int, examples: int | None = None) -> tuple[Examples, Examples]:
    """Examples to train on, and those held out. The seed draws the noise and the split."""
    rng = np.random.default_rng(seed)
    if name in PLANE:
        pattern, noise = PLANE[name]
        inputs, targets = pattern(rng, examples or 1000)
        inputs = inputs + noise * rng.normal(size=inputs.shape)
        return _split(inputs, targets, rng, 0.3)
    if name == "regression":
        inputs = rng.uniform(-1, 1, (examples or 130, 1))
        targets = np.sin(4 * inputs[:, 0]) + 0.1 * rng.normal(size=len(inputs))
        return _split(inputs, targets, rng, 30 / 130)
    inputs, targets = digits()
    return _split(inputs[:examples] / 16, targets[:examples], rng, 0.3)


def digest_of(name: str, seed: int, examples: int | None = None) -> str:
    """What tells drawn data apart."""
    return f"{name}/{seed}/{examples}"


@lru_cache(maxsize=32)
def load(name: str, seed: int, examples: int | None = None) -> Dataset:
    """One of `NAMES`, as `draw` gives it.

    Args:
        examples: how many to keep, test and train together; None for as many as there are.
    """
    about: dict[str, Any] = {"digest": digest_of(name, seed, examples), "origin": Drawn(name, examples)}
    if name in PLANE:
        about |= {"classes": 2, "names": ("x", "y", "class"), "labels": ("0", "1")}
    elif name == "regression":
        about |= {"classes": 0, "names": ("x", "y")}
    elif name == "digits":
        names = (*(f"pixel {i}" for i in range(64)), "digit")
        about |= {"classes": 10, "names": names, "labels": tuple("0123456789"), "image": True}
    else:
        raise ValueError(f"`name` must be one of {', '.join(NAMES)}, got {name!r}.")
    return Dataset(*draw(name, seed, examples), **about)


def read_csv(content: bytes) -> pd.DataFrame:
    """A table of finite numbers with at least two columns.

    Raises:
        DataError: with one sentence for the visitor.
    """
    if len(content) > MAX_CSV_BYTES:
        raise DataError(
            f"The file has {len(content) / 2**20:.1f} MB; take one of at most {MAX_CSV_BYTES / 2**20:.0f} MB."
        )
    if not content.strip():
        raise DataError("The file is empty; give a first row of column names and then rows of numbers.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"Byte {error.start} is not UTF-8 text; save the table as CSV with UTF-8 encoding.") from None
    if "\x00" in text:
        raise DataError("The file holds binary zeros, so it is no CSV; export the table as CSV text.")
    if not text.strip():
        raise DataError("The file is empty; give a first row of column names and then rows of numbers.")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    first_line = text.lstrip().splitlines()[0]
    separator = max(",;\t", key=re.sub(r'"[^"]*"', "", first_line).count)
    _check_rows(text, separator)
    try:
        table = pd.read_csv(io.StringIO(text), sep=separator, skipinitialspace=True, index_col=False)
    except (ValueError, OverflowError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise DataError(f"The table cannot be read ({reason}); give every row the same number of fields.") from None
    if table.shape[1] < 2:
        raise DataError("There is only one column; a target and at least one input are needed, separated by commas.")
    if len(table) < 4:
        raise DataError(f"There are {len(table)} rows of data; at least 4 are needed for a train and a test part.")
    table.columns = [_in_a_line(name) for name in table.columns]
    return table


def _in_a_line(cell: Any) -> str:
    """A cell as it stands in a sentence."""
    return " ".join(str(cell).split())


def _check_rows(text: str, separator: str) -> None:
    """The table is no larger than can be trained on, before pandas takes seconds for it. No row has more fields than there
    are names, and no name occurs twice: pandas would mend both in silence."""
    try:
        rows = csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True)
        head = next(row for row in rows if row)
        if len(head) > MAX_CSV_COLUMNS:
            raise DataError(f"The table has {len(head):,} columns; take at most {MAX_CSV_COLUMNS}.")
        names = [_in_a_line(name) for name in head]
        if max(map(len, names)) > MAX_CSV_FIELD:
            raise DataError(f"A column name is longer than {MAX_CSV_FIELD} characters; give the columns short names.")
        cells = 0
        for row in rows:
            cells += len(row)
            if cells > MAX_CSV_CELLS:
                raise DataError(f"The table has more than {MAX_CSV_CELLS:,} cells; take fewer rows or columns.")
            if row and max(map(len, row)) > MAX_CSV_FIELD:
                raise DataError(
                    f"Line {rows.line_num} has a field of more than {MAX_CSV_FIELD} characters; write numbers or short names."
                )
            if len(row) > len(names):
                raise DataError(
                    f"Line {rows.line_num} has {len(row)} fields and the first has {len(names)}; "
                    "give every row the same number of fields."
                )
    except csv.Error as error:
        raise DataError(f"The table cannot be read ({error}); export it as plain CSV.") from None
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise DataError(f"The column name '{twice[0]}' occurs twice; give each column a name of its own.")


def _numbers(column: pd.Series) -> np.ndarray:
    """float64, NaN for what is no number and infinity for what is too large."""
    try:
        return pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    except OverflowError:
        return column.map(lambda cell: float(str(cell))).to_numpy(np.float64)


def from_table(table: pd.DataFrame, target: str, seed: int, file: str = "data.csv") -> Dataset:
    """The rows of a table as data to train on.

    Args:
        file: what the table was read from.

    Raises:
        DataError: with one sentence for the visitor.
    """
    train, test, about = split_table(table, target, seed)
    names = (*(name for name in table.columns if name != target), target)
    return Dataset(train, test, names=names, origin=File(file, target), **about)


def split_table(table: pd.DataFrame, target: str, seed: int) -> tuple[Examples, Examples, dict[str, Any]]:
    """Every other column is a feature, scaled to mean 0 and standard deviation 1 of the training part.

    The target is a class if it is text, or if its numbers are whole and there are at most 20 of them, each
    seen twice on average; else it is a number to regress on, scaled alike.

    Returns:
        Examples to train on, those held out, and the `classes`, `labels` and `digest` of a `Dataset`.

    Raises:
        DataError: with one sentence for the visitor.
    """
    features = [name for name in table.columns if name != target]
    columns = []
    for name in features:
        columns.append(_finite(_numbers(table[name]), table[name], name))
    inputs = np.stack(columns, 1)
    classes, labels, targets = _targets(table[target], target)
    rng = np.random.default_rng(seed)
    digest = hashlib.sha256(inputs.tobytes() + targets.tobytes() + repr((features, target, seed)).encode()).hexdigest()
    train, test = _split(inputs, targets, rng, 0.25, np.float64)
    # The statistics of the training part alone, since the test part must stay unseen; in float64, since numbers such
    # as dates differ in digits that float32 does not have.
    scaled = [_standardised(train[0], test[0])]
    scaled.append((train[1], test[1]) if classes else _standardised(train[1], test[1]))
    (train_inputs, test_inputs), (train_targets, test_targets) = scaled
    return (
        (train_inputs.astype(np.float32), train_targets.astype(np.float32)),
        (test_inputs.astype(np.float32), test_targets.astype(np.float32)),
        {"classes": classes, "labels": labels, "digest": digest},
    )


def _standardised(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both with the training part's mean taken off, in units of its standard deviation; a constant becomes 0."""
    constant = train.max(0) == train.min(0)
    mean = np.where(constant, train.min(0), train.mean(0))
    spread = np.where(constant, 1.0, train.std(0))
    # A million of them is far enough: what is farther would overflow in the network.
    return tuple(np.clip((part - mean) / spread, -1e6, 1e6) for part in (train, test))  # type: ignore[return-value]


def _finite(numbers: np.ndarray, raw: pd.Series, name: str) -> np.ndarray:
    """The numbers of a column, or what is wrong with the first that is none."""
    with np.errstate(over="ignore"):
        bad = np.flatnonzero(~np.isfinite(numbers.astype(np.float32)))
    if len(bad):
        cell = raw.iloc[bad[0]]
        what = "is empty" if raw.isna().iloc[bad[0]] else f"holds '{_in_a_line(cell)[:30]}', which is no finite number"
        raise DataError(f"Row {bad[0] + 2}, column '{name}' {what}; give numbers, or leave the column out.")
    return numbers


def _targets(column: pd.Series, name: str) -> tuple[int, tuple[str, ...], np.ndarray]:
    """The number of classes (0: regression), their names, and the targets as numbers."""
    numbers = _numbers(column)
    if column.isna().any():
        row = int(np.flatnonzero(column.isna())[0])
        raise DataError(f"Row {row + 2}, column '{name}' is empty; give every row a target.")
    if np.isnan(numbers).any():
        values, codes = np.unique(column.astype(str).to_numpy(), return_inverse=True)
        if len(values) > MAX_CLASSES:
            raise DataError(
                f"The target '{name}' is text with {len(values)} different values; "
                f"take a column of numbers, or one of at most {MAX_CLASSES} classes."
            )
    else:
        numbers = _finite(numbers, column, name)
        values, codes = np.unique(numbers, return_inverse=True)
        whole = np.all(values == np.round(values))
        if not whole or len(values) > MAX_CLASSES or 2 * len(values) > len(numbers):
            if len(values) == 1:
                raise DataError(f"The target '{name}' is {values[0]:g} in every row; there is nothing to learn.")
            return 0, (), numbers
        values = np.array([str(int(value)) for value in values], dtype=object)
    if len(values) == 1:
        raise DataError(f"The target '{name}' is {values[0]} in every row; there is nothing to learn.")
    return len(values), tuple(str(v) for v in values), codes.astype(np.float64)
