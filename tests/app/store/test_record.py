"""Tests of a task record's bytes."""

from collections.abc import Callable

import pytest

from app.store import DamagedRecord, RecordOfOtherVersion
from app.store.record import pack, unpack
from tests.helpers.records import assert_same, five_way_record, record


def test_a_record_is_the_same_after_packing() -> None:
    for made in (record("a"), five_way_record("b"), record("c", revision=3, quality={"suspects": []})):
        assert_same(unpack(pack(made), made.task_id), made)


def test_a_record_of_another_schema_is_refused_and_named() -> None:
    other = pack(record("a")).replace(b'"schema":1', b'"schema":7')
    with pytest.raises(RecordOfOtherVersion, match="task a is a record of schema 7, this program's is 1"):
        unpack(other, "a")


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: data[:-2],
        lambda data: data.replace(b'"shots":', b'"shorts":'),
        lambda data: data.replace(b'"schema":1,', b""),
        lambda data: data.replace(b'"task_id":"a"', b'"task_id":"b"'),
        lambda data: b"[]\n" + data,
        lambda data: b"\xff" * len(data),
        lambda data: data[:-4] + b"\xff\xff\xff\x7f",  # not a number
    ],
)
def test_a_damaged_record_is_refused_and_named(damage: Callable[[bytes], bytes]) -> None:
    with pytest.raises(DamagedRecord, match="record of task a is damaged"):
        unpack(damage(pack(record("a"))), "a")


def test_a_five_way_record_is_under_two_kilobytes() -> None:
    assert len(pack(five_way_record("a"))) < 2048
