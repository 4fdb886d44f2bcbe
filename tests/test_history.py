"""`lib/live/history.py`: bounded memory, and not an extreme lost."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.live.history import History


def rows_of(count, series=2, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(count, series)).astype(np.float32)
    steps = np.arange(1, count + 1, dtype=float)
    return np.stack([steps, 0.5 * steps, 32 * steps], 1), values


def brute_force(coordinates, values, width):
    """What `points` should give, bucket by bucket and series by series, with loops."""
    if width == 1:
        return coordinates, values
    where, points = [], []
    for begin in range(0, len(values), width):
        bucket, at = values[begin : begin + width], coordinates[begin : begin + width]
        first, second = [], []
        for column in bucket.T:
            low, high = int(np.argmin(column)), int(np.argmax(column))
            first.append(column[min(low, high)])
            second.append(column[max(low, high)])
        where += [at[0], at[-1]]
        points += [first, second]
    return np.array(where), np.array(points, np.float32)


@pytest.mark.parametrize("count", [1, 7, 8, 9, 15, 16, 17, 31, 100, 1000, 4097])
@pytest.mark.parametrize("max_buckets", [2, 8, 240])
def test_points_equal_a_brute_force_reduction(count, max_buckets):
    coordinates, values = rows_of(count)
    history = History(2, max_buckets)
    history.append(coordinates, values)
    where, points = history.points()
    expected_where, expected = brute_force(coordinates, values, history.width)
    np.testing.assert_array_equal(points, expected)
    np.testing.assert_array_equal(where, expected_where)


@settings(deadline=None, max_examples=150)
@given(
    chunks=st.lists(st.integers(0, 70), min_size=1, max_size=20),
    max_buckets=st.sampled_from([2, 4, 6, 16]),
    numbers=st.integers(1, 4),
    seed=st.integers(0, 999),
)
def test_points_do_not_depend_on_how_the_rows_came(chunks, max_buckets, numbers, seed):
    """Few different numbers, so that minimum and maximum are often tied."""
    count = sum(chunks)
    coordinates = np.arange(3.0 * count).reshape(count, 3)
    values = np.random.default_rng(seed).integers(0, numbers, (count, 2)).astype(np.float32)
    by_chunks, by_row = History(2, max_buckets), History(2, max_buckets)
    begin = 0
    for size in chunks:
        by_chunks.append(coordinates[begin : begin + size], values[begin : begin + size])
        begin += size
    for i in range(count):
        by_row.append(coordinates[i : i + 1], values[i : i + 1])
    assert by_chunks.rows == by_row.rows == count
    assert by_chunks.width == by_row.width
    for one, other in zip(by_chunks.points(), by_row.points(), strict=True):
        np.testing.assert_array_equal(one, other)
    if count:
        expected_where, expected = brute_force(coordinates, values, by_row.width)
        np.testing.assert_array_equal(by_row.points()[0], expected_where)
        np.testing.assert_array_equal(by_row.points()[1], expected)


@pytest.mark.parametrize("count", [10, 239, 240, 241, 5_000, 1_000_000])
def test_memory_and_points_are_bounded(count):
    history = History(1, 240)
    coordinates, values = rows_of(count, 1)
    for begin in range(0, count, 16_384):
        history.append(coordinates[begin : begin + 16_384], values[begin : begin + 16_384])
    where, points = history.points()
    assert len(where) == len(points) <= 2 * 240
    assert history.rows == count
    held = sum(getattr(history, name).nbytes for name in ("_low", "_high", "_start", "_end"))
    assert held <= 240 * (4 + 4 + 24 + 24)
    assert len(history._values) < history.width or history.width == 1


def test_a_single_spike_in_a_long_run_stays_visible():
    coordinates, values = rows_of(100_000, 1)
    values[54_321] = 1e6
    values[12_345] = -1e6
    history = History(1, 16)
    for begin in range(0, len(values), 777):
        history.append(coordinates[begin : begin + 777], values[begin : begin + 777])
    _, points = history.points()
    assert points.max() == 1e6 and points.min() == -1e6


@pytest.mark.parametrize("count", [3, 100, 5000])
def test_coordinates_begin_with_the_first_row_end_with_the_last_and_ascend(count):
    coordinates, values = rows_of(count)
    history = History(2, 16)
    history.append(coordinates, values)
    where, _ = history.points()
    np.testing.assert_array_equal(where[0], coordinates[0])
    np.testing.assert_array_equal(where[-1], coordinates[-1])
    assert np.all(np.diff(where, axis=0) >= 0)


def test_few_rows_are_kept_as_they_are():
    coordinates, values = rows_of(15)
    history = History(2, 16)
    history.append(coordinates, values)
    assert history.width == 1
    np.testing.assert_array_equal(history.points()[1], values)


def test_an_empty_history_has_no_points():
    where, points = History(3, axes=2).points()
    assert where.shape == (0, 2) and points.shape == (0, 3)


def test_points_that_were_given_out_do_not_change_later():
    coordinates, values = rows_of(100)
    history = History(2, 16)
    history.append(coordinates[:50], values[:50])
    where, points = history.points()
    copies = where.copy(), points.copy()
    history.append(coordinates[50:], values[50:])
    np.testing.assert_array_equal(where, copies[0])
    np.testing.assert_array_equal(points, copies[1])


@pytest.mark.parametrize("max_buckets", [-2, 0, 1, 3, 15])
def test_an_odd_or_small_number_of_buckets_is_refused(max_buckets):
    with pytest.raises(ValueError, match=f"even and at least 2, got {max_buckets}"):
        History(1, max_buckets)
