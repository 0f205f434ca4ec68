from __future__ import annotations

import pickle

import pytest

from pycoredump.record import Record


class Point(Record):
    x: int
    y: int = 2
    _hidden: int = 3


class Named(Point):
    name: str = "origin"


def test_fields_not_given_have_their_defaults() -> None:
    assert (Point(x=1).x, Point(x=1).y) == (1, 2)


def test_a_subclass_adds_its_fields_to_those_of_its_base() -> None:
    named = Named(x=1, name="a")
    assert (named.x, named.y, named.name) == (1, 2, "a")


def test_a_field_without_default_is_required() -> None:
    with pytest.raises(TypeError, match="Point needs 'x'"):
        Point()  # type: ignore[call-arg]  # the point of the test


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(TypeError, match="Point has no field 'z'"):
        Point(x=1, z=3)  # type: ignore[call-arg]  # the point of the test


def test_names_with_underscore_are_no_fields() -> None:
    with pytest.raises(TypeError, match="has no field '_hidden'"):
        Point(x=1, _hidden=4)  # the point of the test


def test_fields_cannot_be_set_again() -> None:
    with pytest.raises(AttributeError, match=r"Point\.x cannot be set"):
        Point(x=1).x = 2  # type: ignore[misc]  # the point of the test


def test_replace_changes_some_fields_and_leaves_the_original() -> None:
    before = Point(x=1, y=5)
    assert before.replace(x=7) == Point(x=7, y=5)
    assert before == Point(x=1, y=5)


def test_replace_with_an_unknown_field_is_refused() -> None:
    with pytest.raises(TypeError, match="has no field 'z'"):
        Point(x=1).replace(z=0)


def test_records_of_equal_fields_are_equal_and_hash_alike() -> None:
    assert Point(x=1) == Point(y=2, x=1)
    assert hash(Point(x=1)) == hash(Point(y=2, x=1))
    assert Point(x=1) != Point(x=2)


def test_records_of_different_classes_are_not_equal() -> None:
    assert Named(x=1) != Point(x=1)


def test_repr_names_class_and_fields() -> None:
    assert repr(Point(x=1)) == "Point(x=1, y=2)"


def test_a_record_survives_pickling() -> None:
    assert pickle.loads(pickle.dumps(Point(x=1))) == Point(x=1)
