from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from pycoredump.intervals import Intervals

pairs = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=25)


def filled(ranges: list[tuple[int, int]]) -> Intervals:
    found = Intervals()
    for start, end in ranges:
        found.add(start, end)
    return found


def points(ranges: list[tuple[int, int]]) -> set[int]:
    return {point for start, end in ranges for point in range(start, end)}


def test_add_returns_what_was_new() -> None:
    found = filled([(10, 20), (30, 40)])
    assert found.add(5, 35) == [(5, 10), (20, 30)]
    assert list(found) == [(5, 40)]


def test_neighbours_become_one_range() -> None:
    assert list(filled([(0, 10), (10, 20)])) == [(0, 20)]
    assert list(filled([(10, 20), (0, 10)])) == [(0, 20)]


def test_an_empty_range_adds_nothing() -> None:
    found = filled([(5, 5), (7, 3)])
    assert list(found) == []


def test_missing_is_what_the_set_has_not() -> None:
    found = filled([(10, 20), (30, 40)])
    assert found.missing(0, 50) == [(0, 10), (20, 30), (40, 50)]
    assert found.missing(12, 18) == []
    assert found.missing(15, 35) == [(20, 30)]
    assert found.missing(20, 30) == [(20, 30)]
    assert list(found) == [(10, 20), (30, 40)]


@given(pairs)
def test_ranges_are_disjoint_in_order_and_cover_what_was_added(ranges: list[tuple[int, int]]) -> None:
    found = list(filled(ranges))
    assert points(found) == points(ranges)
    assert all(start < end for start, end in found)
    assert all(before[1] < after[0] for before, after in itertools.pairwise(found))


@given(pairs, st.integers(0, 60), st.integers(0, 60))
def test_missing_and_the_result_of_add_are_the_points_that_were_not_there(
    ranges: list[tuple[int, int]], start: int, end: int
) -> None:
    found = filled(ranges)
    new = points([(start, end)]) - points(ranges)
    missing = found.missing(start, end)
    assert points(missing) == new
    assert sorted(missing) == missing
    added = found.add(start, end)
    assert points(added) == new
    assert sorted(added) == added


def test_many_ranges_are_asked_in_less_than_their_square() -> None:
    found = filled([(at, at + 1) for at in range(0, 400_000, 2)])
    assert all(found.missing(at, at + 1) == [] for at in range(0, 400_000, 2))
