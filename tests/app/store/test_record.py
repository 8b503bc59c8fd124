"""Tests of a task record's bytes."""

from collections.abc import Callable

import numpy as np
import pytest

from app.store import TaskRecord
from app.store.errors import DamagedRecord, RecordOfOtherVersion
from app.store.record import pack, unpack
from tests.helpers.records import assert_same, five_way_record, record


def test_a_record_is_the_same_after_packing() -> None:
    for made in (
        record("a"),
        five_way_record("b"),
        record("c", revision=3, quality={"suspects": []}),
        with_negatives("d"),
        record("e", cohesion=0.731),
        record("f", own_score=-1.25),
    ):
        assert_same(unpack(pack(made), made.task_id), made)


def with_negatives(task_id: str) -> TaskRecord:
    return record(task_id, negatives=np.arange(12, dtype=np.float32).reshape(3, 4))


def test_programs_that_know_no_negatives_refuse_records_with_them_and_read_the_others() -> None:
    assert pack(record("a")).startswith(b'{"schema":1,')
    assert pack(with_negatives("a")).startswith(b'{"schema":2,')


def test_a_record_of_another_schema_is_refused_and_named() -> None:
    other = pack(record("a")).replace(b'"schema":1', b'"schema":7')
    with pytest.raises(RecordOfOtherVersion, match="task a is a record of schema 7, this program's is 2"):
        unpack(other, "a")


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: data[:-2],
        lambda data: data.replace(b'"shots":', b'"shorts":'),
        lambda data: data.replace(b'"schema":', b'"schemas":'),
        lambda data: data.replace(b'"task_id":"a"', b'"task_id":"b"'),
        lambda data: b"[]\n" + data,
        lambda data: b"\xff" * len(data),
        lambda data: data[:-4] + b"\xff\xff\xff\x7f",  # not a number
    ],
)
@pytest.mark.parametrize("make", [record, with_negatives])
def test_a_damaged_record_is_refused_and_named(
    make: Callable[[str], TaskRecord], damage: Callable[[bytes], bytes]
) -> None:
    with pytest.raises(DamagedRecord, match="record of task a is damaged"):
        unpack(damage(pack(make("a"))), "a")


@pytest.mark.parametrize("negatives", [b"4", b"-1", b'"3"', b"[3]", b"null", b"1e9", b"9" * 30])
def test_a_wrong_number_of_negatives_is_damage(negatives: bytes) -> None:
    damaged = pack(with_negatives("a")).replace(b'"negatives":3', b'"negatives":' + negatives)
    with pytest.raises(DamagedRecord, match="record of task a is damaged"):
        unpack(damaged, "a")


def test_a_five_way_record_is_under_two_kilobytes() -> None:
    assert len(pack(five_way_record("a"))) < 2048
