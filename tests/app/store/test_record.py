"""Tests of a task record's bytes."""

import pytest

from app.store import StoreUnavailable
from app.store.record import pack, unpack
from tests.helpers.records import assert_same, five_way_record, record


def test_a_record_is_the_same_after_packing() -> None:
    for made in (record("a"), five_way_record("b"), record("c", revision=3, quality={"suspects": []})):
        assert_same(unpack(pack(made)), made)


def test_a_record_of_another_schema_is_refused_and_named() -> None:
    other = pack(record("a")).replace(b'"schema":1', b'"schema":7')
    with pytest.raises(StoreUnavailable, match="task a is a record of schema 7, this program's is 1"):
        unpack(other)


def test_a_five_way_record_is_under_two_kilobytes() -> None:
    assert len(pack(five_way_record("a"))) < 2048
