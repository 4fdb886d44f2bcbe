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
    """What `buckets` should give, bucket by bucket, with loops and in double precision."""
    rows = []
    full = len(values) // width
    for number in range(full):
        part = slice(number * width, None if number == full - 1 else (number + 1) * width)
        bucket, at = values[part], coordinates[part]
        mean = sum(row.astype(np.float64) for row in bucket) / len(bucket)
        low = [min(column) for column in bucket.T]
        high = [max(column) for column in bucket.T]
        rows.append(((at[0] + at[-1]) / 2, mean, low, high))
    return [np.array(column) for column in zip(*rows, strict=True)]


def assert_equal(buckets, expected):
    where, mean, low, high = expected
    np.testing.assert_array_equal(buckets.coordinates, where)
    np.testing.assert_allclose(buckets.mean, mean, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(buckets.low, low)
    np.testing.assert_array_equal(buckets.high, high)
    assert {part.dtype for part in buckets[1:]} == {np.dtype(np.float32)}


@pytest.mark.parametrize("count", [1, 7, 8, 9, 15, 16, 17, 31, 100, 1000, 4097])
@pytest.mark.parametrize("max_buckets", [2, 8, 240])
def test_buckets_equal_a_brute_force_reduction(count, max_buckets):
    coordinates, values = rows_of(count)
    history = History(2, max_buckets)
    history.append(coordinates, values)
    assert_equal(history.buckets(), brute_force(coordinates, values, history.width))


@settings(deadline=None, max_examples=150)
@given(
    chunks=st.lists(st.integers(0, 70), min_size=1, max_size=20),
    max_buckets=st.sampled_from([2, 4, 6, 16]),
    numbers=st.integers(1, 4),
    seed=st.integers(0, 999),
)
def test_buckets_do_not_depend_on_how_the_rows_came(chunks, max_buckets, numbers, seed):
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
    for one, other in zip(by_chunks.buckets(), by_row.buckets(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    if count:
        assert_equal(by_row.buckets(), brute_force(coordinates, values, by_row.width))


@pytest.mark.parametrize("count", [10, 239, 240, 241, 5_000, 1_000_000])
def test_memory_and_buckets_are_bounded(count):
    history = History(1, 240)
    coordinates, values = rows_of(count, 1)
    for begin in range(0, count, 16_384):
        history.append(coordinates[begin : begin + 16_384], values[begin : begin + 16_384])
    assert {len(part) for part in history.buckets()} <= set(range(241))
    assert history.rows == count
    held = sum(getattr(history, name).nbytes for name in ("_mean", "_low", "_high", "_start", "_end"))
    assert held <= 240 * (8 + 4 + 4 + 24 + 24)
    assert len(history._values) < history.width or history.width == 1


def test_a_single_spike_in_a_long_run_stays_visible():
    coordinates, values = rows_of(100_000, 1)
    values[54_321] = 1e6
    values[12_345] = -1e6
    history = History(1, 16)
    for begin in range(0, len(values), 777):
        history.append(coordinates[begin : begin + 777], values[begin : begin + 777])
    buckets = history.buckets()
    assert buckets.high.max() == 1e6 and buckets.low.min() == -1e6


@pytest.mark.parametrize("count", [3, 100, 5000])
def test_coordinates_are_in_the_middle_of_their_rows_and_ascend(count):
    coordinates, values = rows_of(count)
    history = History(2, 16)
    history.append(coordinates, values)
    where = history.buckets().coordinates
    first, last = coordinates[: history.width], coordinates[(len(where) - 1) * history.width :]
    np.testing.assert_allclose(where[0], first.mean(0))
    np.testing.assert_allclose(where[-1], last.mean(0))
    assert np.all(np.diff(where, axis=0) > 0)


def test_the_mean_of_large_numbers_does_not_overflow():
    values = np.full((64, 1), 3e38, np.float32)
    history = History(1, 8)
    history.append(np.arange(64.0)[:, None] * np.ones(3), values)
    assert history.width > 1
    np.testing.assert_allclose(history.buckets().mean, 3e38, rtol=1e-6)


@pytest.mark.parametrize("more", range(1, 16))
def test_no_bucket_holds_fewer_rows_than_the_others(more):
    """The mean of a few rows of a noisy curve would stand far from its neighbours, at the end that everybody looks at."""
    count = 128 + more
    values = np.where(np.arange(count) < 128, np.arange(count) % 2, 40.0).astype(np.float32)[:, None]
    history = History(1, 16)
    history.append(np.arange(3.0 * count).reshape(count, 3), values)
    assert history.width == 16
    mean = history.buckets().mean[:, 0]
    np.testing.assert_allclose(mean, [*[0.5] * 7, (8 + 40 * more) / (16 + more)], rtol=1e-6)


def test_few_rows_are_kept_as_they_are():
    coordinates, values = rows_of(15)
    history = History(2, 16)
    history.append(coordinates, values)
    assert history.width == 1
    for part in history.buckets()[1:]:
        np.testing.assert_array_equal(part, values)


def test_an_empty_history_has_no_buckets():
    where, *parts = History(3, axes=2).buckets()
    assert where.shape == (0, 2) and [part.shape for part in parts] == [(0, 3)] * 3


def test_what_was_given_out_does_not_change_later():
    coordinates, values = rows_of(100)
    history = History(2, 16)
    history.append(coordinates[:50], values[:50])
    given = history.buckets()
    copies = [part.copy() for part in given]
    history.append(coordinates[50:], values[50:])
    for part, copy in zip(given, copies, strict=True):
        np.testing.assert_array_equal(part, copy)


@pytest.mark.parametrize("max_buckets", [-2, 0, 1, 3, 15])
def test_an_odd_or_small_number_of_buckets_is_refused(max_buckets):
    with pytest.raises(ValueError, match=f"even and at least 2, got {max_buckets}"):
        History(1, max_buckets)
