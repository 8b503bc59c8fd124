"""What the CPU says it can do."""

from pathlib import Path

import pytest
import torch

from model import devices

X86 = "processor\t: 0\nmodel name\t: avx512_vnni is only a name here\nflags\t\t: fpu avx2 {}\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd {}\n"


@pytest.mark.parametrize(
    ("cpuinfo", "fast"),
    [
        (X86.format("avx512_vnni"), True),
        (X86.format("avx_vnni"), True),
        (ARM.format("asimddp"), True),
        (X86.format("avx512f"), False),
        (ARM.format("crc32"), False),
        ("", False),
    ],
)
def test_8_bit_dot_products_are_read_from_the_cpus_flags(
    cpuinfo: str, fast: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    monkeypatch.setattr(devices, "CPUINFO", tmp_path / "cpuinfo")
    assert devices.int8_is_fast() is fast


@pytest.mark.parametrize(("flag", "fast"), [("avx512_bf16", True), ("amx_bf16", True), ("avx512_vnni", False)])
def test_bfloat16_is_read_from_the_cpus_flags(
    flag: str, fast: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(X86.format(flag))
    monkeypatch.setattr(devices, "CPUINFO", tmp_path / "cpuinfo")
    assert devices.bf16_is_fast(torch.device("cpu")) is fast


def test_without_cpuinfo_nothing_is_fast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "CPUINFO", tmp_path / "missing")
    assert not devices.int8_is_fast()
    assert not devices.bf16_is_fast(torch.device("cpu"))


def test_an_unknown_device_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="choose auto, cpu, cuda or cuda:1"):
        devices.choose("tpu")


def test_gpus_have_numbers_and_of_several_the_first_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices.choose("cuda") == devices.choose("auto") == devices.choose("cuda:0") == torch.device("cuda", 0)
    assert devices.choose("cuda:1,cuda:0") == torch.device("cuda", 1)
    assert devices.choose("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match="no GPU cuda:2 here, the last is cuda:1"):
        devices.choose("cuda:2")
