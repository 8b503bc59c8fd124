"""No disk decides whether a worker lives: the files in which it counts."""

import logging
import os
import shutil
from contextlib import closing
from pathlib import Path

import pytest
from prometheus_client.mmap_dict import MmapedDict

from app.observability.metric_files import FILE_BYTES, ReservedCounts, keep_counts_of, unmoved
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


def sums_in(folder: Path) -> dict[str, float]:
    """What readers find: the sum of each count over the files."""
    sums: dict[str, float] = {}
    for file in folder.glob("*.db"):
        for key, value, *_ in MmapedDict.read_all_values_from_file(file):
            sums[key] = sums.get(key, 0.0) + value
    return sums


def test_counts_of_processes_that_ended_stay_in_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    for process in range(1, 6):
        for kind in ("counter", "histogram", "gauge_livesum"):
            with closing(ReservedCounts(str(tmp_path / f"{kind}_{process}.db"))) as counts:
                counts.write_value(f"{kind} of all", float(process), 0.0)  # type: ignore[no-untyped-call]
                counts.write_value(f"{kind} of {process}", 1.0, 0.0)  # type: ignore[no-untyped-call]
                count(counts)
    before = sums_in(tmp_path)
    for process in range(1, 5):
        keep_counts_of(process)
    left = {f"{kind}_5.db" for kind in ("counter", "histogram", "gauge_livesum")}
    assert {file.name for file in tmp_path.iterdir()} == left | {"counter_ended.db", "histogram_ended.db"}
    after = sums_in(tmp_path)
    assert {key: after[key] for key in before if key in after} == after
    for kind in ("counter", "histogram"):
        assert after[f"{kind} of all"] == 15
        assert all(after[f"{kind} of {process}"] == 1 for process in range(1, 6))
    keep_counts_of(77)  # which has counted nothing
    assert sums_in(tmp_path) == after


def test_while_they_are_read_and_on_a_full_disk_counts_stay_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_disk(tmp_path / "disk", 1) as disk:
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(disk))
        for process in (1, 2):
            with closing(ReservedCounts(str(disk / f"counter_{process}.db"))) as counts:
                counts.write_value("of all", 1.0, 0.0)  # type: ignore[no-untyped-call]
        with unmoved(disk), unmoved(disk):  # two readers
            keep_counts_of(1)
        assert {file.name for file in disk.glob("*.db")} == {"counter_1.db", "counter_2.db"}
        keep_counts_of(1)
        with (disk / "other").open("wb") as other:
            os.posix_fallocate(other.fileno(), 0, shutil.disk_usage(disk).free)
        keep_counts_of(2)
        assert {file.name for file in disk.glob("*.db")} == {"counter_ended.db", "counter_2.db"}
        assert sums_in(disk) == {"of all": 2.0}
