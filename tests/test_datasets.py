"""`lib/routines/datasets.py`: the built-in data, and CSV files good and bad."""

import string
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lib.routines.datasets import (
    CURVE_POINTS,
    GRID,
    MAX_BATCH_SIZE,
    MAX_CLASSES,
    MAX_CSV_BYTES,
    MAX_CSV_COLUMNS,
    NAMES,
    PASSES,
    PLANE,
    DataError,
    digits,
    from_table,
    load,
    read_csv,
)

# Built-in data.


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    for ours, theirs in zip(digits(), load_digits(return_X_y=True), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_digits_do_not_import_scikit_learn():
    program = "import sys; from lib.routines.datasets import load; load('digits', 0); print('sklearn' in sys.modules)"
    command = [sys.executable, "-c", program]
    root = Path(__file__).parents[1]
    assert subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.parametrize("name", NAMES)
def test_built_in_data_are_finite_float32_and_split(name):
    dataset = load(name, 0)
    for inputs, targets in (dataset.train, dataset.test):
        assert inputs.dtype == targets.dtype == np.float32
        assert inputs.shape == (len(targets), dataset.features)
        assert np.isfinite(inputs).all() and np.isfinite(targets).all()
    assert len(dataset.names) == dataset.features + 1
    if dataset.classes:
        assert set(np.unique(dataset.train[1])) == set(range(dataset.classes))
        assert len(dataset.labels) == dataset.classes


@pytest.mark.parametrize(
    ("name", "train", "test", "classes", "outputs", "picture"),
    [
        *[(name, 700, 300, 2, 1, "surface") for name in PLANE],
        ("regression", 100, 30, 0, 1, "curve"),
        ("digits", 1258, 539, 10, 10, "digits"),
    ],
)
def test_built_in_data_have_their_sizes_and_pictures(name, train, test, classes, outputs, picture):
    dataset = load(name, 0)
    assert (len(dataset.train[0]), len(dataset.test[0])) == (train, test)
    assert (dataset.classes, dataset.outputs, dataset.picture) == (classes, outputs, picture)


@pytest.mark.parametrize("name", NAMES)
def test_built_in_data_follow_the_seed(name):
    once = load(name, 3)
    load.cache_clear()
    again, other = load(name, 3), load(name, 4)
    np.testing.assert_array_equal(once.train[0], again.train[0])
    np.testing.assert_array_equal(once.test[1], again.test[1])
    assert not np.array_equal(once.train[0], other.train[0])
    assert once.digest == again.digest != other.digest


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("examples", [8, 32])
def test_fewer_examples_can_be_asked_for(name, examples):
    dataset = load(name, 0, examples)
    assert len(dataset.train[0]) + len(dataset.test[0]) == examples
    assert dataset.digest != load(name, 0).digest


@pytest.mark.parametrize("name", NAMES)
def test_no_example_is_both_trained_on_and_tested(name):
    dataset = load(name, 0)
    train = {row.tobytes() for row in np.column_stack([dataset.train[0], dataset.train[1]])}
    assert not [row for row in np.column_stack([dataset.test[0], dataset.test[1]]) if row.tobytes() in train]


@pytest.mark.parametrize("name", PLANE)
def test_the_patterns_are_balanced(name):
    targets = np.concatenate([load(name, 0).train[1], load(name, 0).test[1]])
    assert 0.45 <= targets.mean() <= 0.55


def test_the_patterns_are_what_they_are_called():
    inputs, label = load("circles", 0).train
    radius = np.linalg.norm(inputs, axis=1)
    assert radius[label == 0].mean() == pytest.approx(1.0, abs=0.05)
    assert radius[label == 1].mean() == pytest.approx(0.45, abs=0.05)
    inputs, label = load("XOR", 0).train
    np.testing.assert_array_equal(inputs[:, 0] * inputs[:, 1] > 0, label == 1)
    inputs, targets = load("regression", 0).train
    residuals = targets - np.sin(4 * inputs[:, 0])
    assert residuals.std() == pytest.approx(0.1, rel=0.3)
    inputs, label = load("digits", 0).train
    assert inputs.min() == 0 and inputs.max() == 1


def test_an_unknown_name_is_refused_with_the_names():
    with pytest.raises(ValueError, match=r"circles.*got 'squares'"):
        load("squares", 0)


# What is trained on.


@pytest.mark.parametrize("name", ["circles", "digits"])
def test_the_order_is_eight_shuffled_passes_and_their_beginning_once_more(name):
    arrays = load(name, 0).arrays
    n, order = len(arrays["train"][0]), arrays["order"]
    assert order.dtype == np.int32 and len(order) == PASSES * n + MAX_BATCH_SIZE
    passes = order[: PASSES * n].reshape(PASSES, n)
    for one in passes:
        np.testing.assert_array_equal(np.sort(one), np.arange(n))
    assert not np.array_equal(passes[0], passes[1])
    beginning = np.tile(order[: PASSES * n], 1 + MAX_BATCH_SIZE // (PASSES * n) + 1)[:MAX_BATCH_SIZE]
    np.testing.assert_array_equal(order[PASSES * n :], beginning)


def test_the_grid_of_a_surface_covers_all_examples_with_rows_along_the_second_feature():
    dataset = load("moons", 0)
    grid, (left, right), (bottom, top) = dataset.grid
    assert grid.shape == (GRID * GRID, 2)
    for inputs, _ in (dataset.train, dataset.test):
        assert left < inputs[:, 0].min() and inputs[:, 0].max() < right
        assert bottom < inputs[:, 1].min() and inputs[:, 1].max() < top
    width, height = (right - left) / GRID, (top - bottom) / GRID
    for index in (0, 1, GRID, 5 * GRID + 7, GRID * GRID - 1):
        row, column = divmod(index, GRID)
        expected = (left + (column + 0.5) * width, bottom + (row + 0.5) * height)
        np.testing.assert_allclose(grid[index], expected, rtol=1e-5, atol=1e-6)


def test_the_grid_of_a_curve_spans_its_range_and_others_have_none():
    dataset = load("regression", 0)
    grid, (left, right), _ = dataset.grid
    assert grid.shape == (CURVE_POINTS, 1)
    np.testing.assert_allclose(grid[:, 0], np.linspace(left, right, CURVE_POINTS), rtol=1e-5, atol=1e-6)
    assert left < dataset.train[0].min() and dataset.train[0].max() < right
    assert load("digits", 0).grid[0].shape == (0, 64)


# Good files.


def csv(rows, header="a,b,c", end="\n"):
    return end.join([header, *[",".join(str(cell) for cell in row) for row in rows]]).encode()


NUMBERS = [(i, i * i % 7, 3 * i + 0.5) for i in range(40)]


@pytest.mark.parametrize(
    "content",
    [
        csv(NUMBERS),
        csv(NUMBERS, end="\r\n"),
        csv(NUMBERS, end="\r"),
        b"\xef\xbb\xbf" + csv(NUMBERS),
        csv(NUMBERS) + b"\n\n\n",
        b"\n\n" + csv(NUMBERS),
        csv(NUMBERS).replace(b",", b";"),
        csv(NUMBERS).replace(b",", b"\t"),
        csv(NUMBERS).replace(b",", b" , "),
        csv(NUMBERS, header='"a","b","c"'),
        csv(NUMBERS, header='"a", "b", "c"').replace(b",", b";"),
        csv(NUMBERS, header=" a ,b , c"),
    ],
    ids=[
        "plain",
        "CRLF",
        "CR",
        "BOM",
        "blank lines",
        "blank first",
        "semicolons",
        "tabs",
        "spaces",
        "quotes",
        "quotes and semicolons",
        "padded header",
    ],
)
def test_files_of_several_kinds_give_the_same_table(content):
    table = read_csv(content)
    assert list(table.columns) == ["a", "b", "c"]
    np.testing.assert_allclose(table.to_numpy(float), NUMBERS)


def test_what_separates_fields_is_not_counted_inside_quotes():
    table = read_csv(b'"a; b; c",d\n' + b"1,2\n" * 5)
    assert list(table.columns) == ["a; b; c", "d"]


def test_a_name_is_one_line_whatever_it_is_in_the_file():
    assert list(read_csv(csv(NUMBERS, header='"a\nb", a\t b  c ,c')).columns) == ["a b", "a b c", "c"]


@pytest.mark.parametrize(
    "content",
    [
        b",".join(b"c%d" % i for i in range(20_000)) + b"\n" + b"1," * 19_999 + b"1\n",
        b"," * MAX_CSV_BYTES,
        b"a,b\n" + b"1,2\n" * (MAX_CSV_BYTES // 4 - 1),
    ],
    ids=["twenty thousand columns", "5 MB of commas", "a million rows"],
)
def test_what_is_too_large_is_refused_at_once(content):
    begun = time.thread_time()
    assert "at most 200" in (said := sentence(read_csv, content)) or "1,000,000 cells" in said
    assert time.thread_time() - begun < 2


def test_names_need_not_be_english():
    table = read_csv("größe,gewicht,täglich\n".encode() + b"1,2,3\n" * 5)
    assert list(table.columns) == ["größe", "gewicht", "täglich"]


def test_numbers_are_a_regression_scaled_by_the_training_part():
    dataset = from_table(read_csv(csv(NUMBERS)), "c", 0)
    assert dataset.classes == 0 and dataset.labels == () and dataset.names == ("a", "b", "c")
    assert (len(dataset.train[0]), len(dataset.test[0])) == (30, 10)
    for part in dataset.train:
        np.testing.assert_allclose(part.mean(0), 0, atol=1e-5)
        np.testing.assert_allclose(part.std(0), 1, rtol=1e-5)
    # c = 3 a + 0.5, so that after scaling both are the same, in the test part too
    np.testing.assert_allclose(dataset.train[0][:, 0], dataset.train[1], atol=1e-5)
    np.testing.assert_allclose(dataset.test[0][:, 0], dataset.test[1], atol=1e-5)
    assert abs(dataset.test[1].mean()) > 1e-4, "its own mean is not 0"


@pytest.mark.parametrize(
    ("cells", "labels"),
    [
        ([0, 1], ("0", "1")),
        ([7, 3, 5], ("3", "5", "7")),
        ([-1, 1], ("-1", "1")),
        (["yes", "no"], ("no", "yes")),
        (["a", "b", "c"], ("a", "b", "c")),
        ([1.0, 2.0], ("1", "2")),
        (list(range(MAX_CLASSES)), tuple(str(i) for i in range(MAX_CLASSES))),
    ],
)
def test_few_whole_numbers_or_words_are_classes(cells, labels):
    rows = [(i, 0.5 * i, cells[i % len(cells)]) for i in range(60)]
    dataset = from_table(read_csv(csv(rows)), "c", 0)
    assert dataset.classes == len(labels) and dataset.labels == labels
    assert dataset.outputs == (len(labels) if len(labels) > 2 else 1)
    # Each example still has its own class: `a` tells which row it was.
    a = np.array([row[0] for row in rows])
    inputs, targets = (np.concatenate(parts) for parts in zip(dataset.train, dataset.test, strict=True))
    order = np.argsort(inputs[:, 0])
    assert [labels[int(code)] for code in targets[order]] == [
        str(int(row[2])) if isinstance(row[2], float) else str(row[2]) for row in np.array(rows, object)[np.argsort(a)]
    ]


@pytest.mark.parametrize(
    "cells",
    [[0.5, 1.5], list(range(MAX_CLASSES + 1)), [1e9 + i for i in range(60)]],
    ids=["halves", "many", "all differ"],
)
def test_other_numbers_are_a_regression(cells):
    rows = [(i, 0.5 * i, cells[i % len(cells)]) for i in range(60)]
    assert from_table(read_csv(csv(rows)), "c", 0).classes == 0


@pytest.mark.parametrize(
    ("columns", "target", "picture"), [(2, "c", "surface"), (1, "c", "curve"), (3, "c", "classes")]
)
def test_the_picture_suits_the_columns(columns, target, picture):
    header = [*["x", "y", "z"][:columns], "c"]
    rows = [(*[i * k % 11 for k in range(1, columns + 1)], i % 2 if picture != "curve" else 0.3 * i) for i in range(40)]
    assert from_table(read_csv(csv(rows, ",".join(header))), target, 0).picture == picture


def test_any_column_can_be_the_target():
    table = read_csv(csv(NUMBERS))
    assert from_table(table, "a", 0).names == ("b", "c", "a")


def test_the_digest_tells_data_target_and_seed_apart():
    table, other = read_csv(csv(NUMBERS)), read_csv(csv([(a + 1, b, c) for a, b, c in NUMBERS]))
    digests = [
        from_table(table, "c", 0).digest, from_table(table, "c", 1).digest,
        from_table(table, "a", 0).digest, from_table(other, "c", 0).digest,
    ]  # fmt: skip
    assert len(set(digests)) == 4 and from_table(table, "c", 0).digest == digests[0]


def test_four_rows_are_enough():
    dataset = from_table(read_csv(csv(NUMBERS[:4])), "c", 0)
    assert len(dataset.train[0]) == 3 and len(dataset.test[0]) == 1
    assert all(np.isfinite(part).all() for part in (*dataset.train, *dataset.test))


def test_a_constant_column_becomes_zeros():
    rows = [(i, 0.1, 3.0 * i) for i in range(40)]
    dataset = from_table(read_csv(csv(rows)), "c", 0)
    np.testing.assert_allclose(dataset.train[0][:, 1], 0, atol=1e-6)
    np.testing.assert_allclose(dataset.test[0][:, 1], 0, atol=1e-6)


@pytest.mark.parametrize("offset", [1_700_000_000, 20_240_101])
def test_large_numbers_that_differ_little_keep_their_differences(offset):
    """Such as seconds since 1970: float32 cannot tell neighbours apart before they are scaled."""
    rows = [(offset + i, i % 5, 0.5 * i) for i in range(40)]
    dataset = from_table(read_csv(csv(rows)), "c", 0)
    np.testing.assert_allclose(dataset.train[0][:, 0], dataset.train[1], atol=1e-4)


@pytest.mark.parametrize("scale", [1e-30, 1e-10, 1e10, 1e25, 1e36])
def test_tiny_and_huge_numbers_are_scaled_alike(scale):
    rows = [(i * scale, i % 5, i * scale) for i in range(40)]
    dataset = from_table(read_csv(csv(rows)), "c", 0)
    for part in (dataset.train[0][:, 0], dataset.train[1]):
        np.testing.assert_allclose(part.mean(), 0, atol=1e-4)
        np.testing.assert_allclose(part.std(), 1, rtol=1e-4)


def test_huge_whole_classes_keep_their_names_apart():
    rows = [(i, 0.5 * i, 1e30 * (1 + i % 2)) for i in range(40)]
    dataset = from_table(read_csv(csv(rows)), "c", 0)
    assert dataset.classes == 0 or len(set(dataset.labels)) == dataset.classes


# Bad files: each raises `DataError` with one sentence.


def sentence(call, *args):
    """The message of the `DataError` that a call raises, checked to be one sentence for people."""
    with pytest.raises(DataError) as caught:
        call(*args)
    message = str(caught.value)
    assert message[0].isupper() and message.endswith(".") and "\n" not in message
    assert 15 < len(message) < 300
    return message


MANY = range(MAX_CSV_COLUMNS + 1)
ROWS = "1,2,3\n4,5,6\n7,8,10\n1,0,3\n"

MALFORMED = {
    "nothing": (b"", "empty"),
    "blank": (b" \n\t\n ", "empty"),
    "byte order mark alone": (b"\xef\xbb\xbf", "empty"),
    "byte order mark and blank": (b"\xef\xbb\xbf\n \n", "empty"),
    "other blanks": ("\u3000\u00a0".encode(), "empty"),
    "control characters": (b"\x1c\x1d", ""),
    "latin-1": ("größe,b\n1,2\n".encode("latin-1") * 4, "UTF-8"),
    "UTF-16": (csv(NUMBERS).decode().encode("utf-16"), "UTF-8"),
    "binary zeros": (b"a,b\n1,\x002\n" * 5, "zeros"),
    "a picture": (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" * 9, "UTF-8"),
    "too long": (b"a,b\n" + b"1,2\n" * (MAX_CSV_BYTES // 4 + 1), "MB"),
    "header alone": (b"a,b,c\n", "rows"),
    "three rows": (b"a,b,c\n1,2,3\n4,5,6\n7,8,9\n", "3 rows"),
    "one column": (b"a\n1\n2\n3\n4\n5\n", "one column"),
    "a row too long": (b"a,b,c\n" + ROWS.encode() + b"1,2,3,4\n", "fields"),
    "all rows too long": (b"a,b\n" + ROWS.encode(), "fields"),
    "a field too long": (csv(NUMBERS) + b"\n1,2," + b"3" * 5000, "Line 42"),
    "a name too long": (csv(NUMBERS, header=f"{'a' * 201},b,c"), "short names"),
    "open quote": (b'a,b\n"1,2\n3,4\n5,6\n7,8\n', ""),
    "names twice": (b"a,a,b\n" + ROWS.encode(), "'a' occurs twice"),
    "names twice but for blanks": (b"a ,a,b\n" + ROWS.encode(), "'a' occurs twice"),
    "too many columns": (csv([MANY] * 5, ",".join(f"c{i}" for i in MANY)), "columns"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_file_is_refused_in_one_sentence(name):
    content, word = MALFORMED[name]
    assert word in sentence(read_csv, content)


WITH_BAD_CELLS = {
    "empty cell": ("1,,3", "c", ("Row 6", "'b'", "empty")),
    "word": ("1,two,3", "c", ("Row 6", "'b'", "two")),
    "missing end": ("1,2", "b", ("Row 6", "'c'", "empty")),
    "infinite": ("1,inf,3", "c", ("Row 6", "'b'", "inf")),
    "not a number": ("1,nan,3", "c", ("Row 6", "'b'")),
    "beyond float32": ("1,1e39,3", "c", ("Row 6", "'b'")),
    "beyond float64": ("1,1e400,3", "c", ("Row 6", "'b'")),
    "a date": ("1,2024-01-01,3", "c", ("Row 6", "'b'", "2024")),
    "decimal comma": ('1,"2,5",3', "c", ("Row 6", "'b'", "2,5")),
    "per cent": ("1,50%,3", "c", ("Row 6", "'b'", "50%")),
    "empty target": ("1,2,", "c", ("Row 6", "'c'", "empty")),
    "infinite target": ("1,2,inf", "c", ("Row 6", "'c'", "inf")),
}


@pytest.mark.parametrize("name", WITH_BAD_CELLS)
def test_a_bad_cell_is_named_by_row_and_column(name):
    row, target, words = WITH_BAD_CELLS[name]
    table = read_csv(("a,b,c\n" + ROWS + row + "\n").encode())
    message = sentence(from_table, table, target, 0)
    assert all(word in message for word in words), message


def test_a_class_that_is_missing_is_named_by_its_own_row():
    rows = [(i, 0.5 * i, "" if i == 5 else "xy"[i % 2]) for i in range(20)]
    message = sentence(from_table, read_csv(csv(rows)), "c", 0)
    assert "Row 7" in message and "empty" in message


@pytest.mark.parametrize("cell", [4, 0.5, "word"])
def test_a_target_that_is_always_the_same_is_refused(cell):
    message = sentence(from_table, read_csv(csv([(i, i, cell) for i in range(20)])), "c", 0)
    assert "'c'" in message and "every row" in message


def test_a_target_of_too_many_words_is_refused():
    message = sentence(from_table, read_csv(csv([(i, i, f"w{i}") for i in range(40)])), "c", 0)
    assert "40 different" in message


@pytest.mark.parametrize("digits", [25, 400])
def test_integers_of_many_digits_are_taken_or_refused_in_a_sentence(digits):
    rows = [(i, 0.5 * i, 10**digits + i) for i in range(20)]
    try:
        dataset = from_table(read_csv(csv(rows)), "c", 0)
    except DataError as error:
        assert "-9223372036854775808" not in str(error)
    else:
        assert np.isfinite(dataset.train[1]).all()


# Whatever comes.


def survives(content):
    """Reads and takes each column as the target; nothing but `DataError` may come of it, and nothing not finite."""
    try:
        table = read_csv(content)
    except DataError as error:
        assert str(error).endswith(".")
        return
    assert table.shape[1] >= 2 and len(table) >= 4
    for target in table.columns[:3]:
        try:
            dataset = from_table(table, target, 0)
        except DataError as error:
            assert str(error).endswith(".")
            continue
        for part in (*dataset.train, *dataset.test):
            assert part.dtype == np.float32 and np.isfinite(part).all()
        assert len(dataset.labels) == dataset.classes
        if dataset.classes:
            assert 2 <= dataset.classes <= MAX_CLASSES
            assert {*dataset.train[1], *dataset.test[1]} == set(range(dataset.classes))


relaxed = settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.too_slow])


@relaxed
@given(st.binary(max_size=200))
def test_whatever_bytes_come_only_a_data_error_is_raised(content):
    survives(content)


@relaxed
@given(st.text(string.digits + ",;\t\n\"' .-+eEnaif#\r\x00\ufeff\u3000", max_size=150))
def test_whatever_text_comes_only_a_data_error_is_raised(text):
    survives(text.encode())


cells = st.one_of(
    st.integers(-(10**20), 10**20), st.integers(0, 3), st.floats(), st.floats(-5, 5),
    st.sampled_from(["", "x", "NA", "None", "true", "1e400", "2024-01-01", '"', "1,5", "0x10", "１"]),
)  # fmt: skip


@relaxed
@given(st.data(), st.integers(2, 4), st.integers(3, 12))
def test_whatever_table_comes_only_a_data_error_is_raised(data, columns, rows):
    of_one_kind = st.sampled_from([cells, st.floats(-1e3, 1e3), st.integers(0, 2), st.floats(width=32)])
    kinds = [data.draw(of_one_kind) for _ in range(columns)]
    made = [[data.draw(kind) for kind in kinds] for _ in range(rows)]
    survives(csv(made, ",".join("abcd"[:columns])))
