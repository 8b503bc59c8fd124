"""No disk decides whether a worker lives: the files in which it counts."""

import logging
import os
import shutil
from contextlib import closing
from pathlib import Path

import pytest
from prometheus_client.mmap_dict import MmapedDict

from app.observability.metric_files import FILE_BYTES, ReservedCounts
from tests.helpers.small_disk import small_disk

KEYS = [f"{n}{'k' * 100}" for n in range(2 * FILE_BYTES // 100)]  # over two files' first sizes


def count(counts: ReservedCounts) -> None:
    for n, key in enumerate(KEYS):
        counts.write_value(key, float(n), 0.0)  # type: ignore[no-untyped-call]


def counted(counts: ReservedCounts) -> list[float]:
    return [counts.read_value(key)[0] for key in KEYS]  # type: ignore[no-untyped-call]


def test_what_one_process_counts_another_reads(tmp_path: Path) -> None:
    file = tmp_path / "counter_1.db"
    counts = ReservedCounts(str(file))
    count(counts)
    assert counted(counts) == [float(n) for n in range(len(KEYS))]
    read = {key: value for key, value, *_ in MmapedDict.read_all_values_from_file(file)}
    assert read == {key: float(n) for n, key in enumerate(KEYS)}
    counts.close()  # type: ignore[no-untyped-call]
    with closing(ReservedCounts(str(file))) as again:
        assert counted(again) == [float(n) for n in range(len(KEYS))]
    assert file.stat().st_blocks * 512 >= file.stat().st_size  # without holes


@pytest.mark.parametrize("free", ["nothing", "a file but not two"])
def test_on_a_full_disk_counts_stay_in_memory(tmp_path: Path, free: str, caplog: pytest.LogCaptureFixture) -> None:
    with small_disk(tmp_path / "disk", 1) as disk:
        room = 0 if free == "nothing" else FILE_BYTES + 8192
        with (disk / "other").open("wb") as other:
            os.posix_fallocate(other.fileno(), 0, 2**20 - room)
        with caplog.at_level(logging.ERROR):
            counts = ReservedCounts(str(disk / "counter_1.db"))
            count(counts)
        assert counted(counts) == [float(n) for n in range(len(KEYS))]
        assert "not counted" in caplog.text
        counts.close()  # type: ignore[no-untyped-call]
        for file in disk.glob("counter*"):  # what is there can be read
            list(MmapedDict.read_all_values_from_file(file))


def test_a_folder_that_was_cleaned_away_is_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    for process in (1, 2):
        shutil.rmtree(folder, ignore_errors=True)
        with closing(ReservedCounts(str(folder / f"counter_{process}.db"))) as counts:
            count(counts)
    assert [file.name for file in folder.iterdir()] == ["counter_2.db"]
