"""Limits of containers, as Linux shows them to a process."""

from pathlib import Path

import pytest

from model.cgroups import core_limit, memory_limit


class Groups:
    """The files of a machine's control groups."""

    def __init__(self, folder: Path) -> None:
        self.root, self.own = folder / "cgroup", folder / "own"

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")

    def limits(self, own: str) -> tuple[int | None, int | None]:
        self.own.write_text(own)
        return core_limit(self.root, self.own), memory_limit(self.root, self.own)


@pytest.fixture
def groups(tmp_path: Path) -> Groups:
    return Groups(tmp_path)


def test_the_limits_of_a_container_that_sees_its_own_group_as_the_top(groups: Groups) -> None:
    groups.write("cpu.max", "250000 100000")
    groups.write("memory.max", "2147483648")
    for own in ("0::/\n", "0::/system.slice/docker-123.scope\n"):
        assert groups.limits(own) == (3, 2**31)


def test_the_narrowest_limit_of_all_groups_around_counts(groups: Groups) -> None:
    groups.write("a/cpu.max", "400000 100000")
    groups.write("a/b/cpu.max", "max 100000")
    groups.write("a/memory.max", "1000")
    groups.write("a/b/memory.max", "5000")
    groups.write("c/cpu.max", "100000 100000")  # not one around it
    assert groups.limits("0::/a/b\n") == (4, 1000)


def test_half_a_core_is_one(groups: Groups) -> None:
    groups.write("cpu.max", "50000 100000")
    assert groups.limits("0::/\n") == (1, None)


def test_groups_of_the_first_version(groups: Groups) -> None:
    groups.write("cpu/box/cpu.cfs_quota_us", "200000")
    groups.write("cpu/box/cpu.cfs_period_us", "100000")
    groups.write("cpu/cpu.cfs_quota_us", "-1")
    groups.write("cpu/cpu.cfs_period_us", "100000")
    groups.write("memory/box/memory.limit_in_bytes", "3000")
    own = "4:cpu,cpuacct:/box\n3:memory:/box\n1:name=systemd:/box\n"
    assert groups.limits(own) == (2, 3000)


def test_no_groups_no_limits(groups: Groups) -> None:
    assert groups.limits("0::/\n") == (None, None)
    assert (core_limit(groups.root, groups.root), memory_limit(groups.root, groups.root)) == (None, None)
