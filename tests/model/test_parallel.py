"""Training by several processes."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from model import parallel
from model.data.omniglot import load_drawings
from model.leo import LatentEmbeddingOptimization
from model.training.drawings import DrawingTrainer
from tests.helpers.drawn import write_omniglot
from tests.helpers.ports import free_port
from tests.helpers.training import run_config

PROJECT = Path(__file__).parents[2]


def one_process(folder: str) -> None:
    """What torchrun runs twice: a short training, its weights and gradients kept by rank."""
    parallel.join()
    drawings = load_drawings(Path(folder) / "images")
    config = run_config(episode_steps=6, within_alphabet=0.5)
    trainer = DrawingTrainer(
        config, drawings.split("train"), drawings.split("validation"), Path(folder) / "run", torch.device("cpu")
    )
    losses = [step.loss for step in trainer.run()]
    last = [p.grad for p in trainer.leo.parameters() if p.grad is not None]
    weights = {name: value.detach() for name, value in trainer.leo.named_parameters()}
    torch.save({"losses": losses, "weights": weights, "gradients": last}, Path(folder) / f"{parallel.rank()}.pt")
    parallel.leave()


def on_one_machine() -> list[list[str]]:
    """What docs/training.md says for several GPUs."""
    return [["--standalone", "--nproc-per-node", "2"]]


def on_two_machines() -> list[list[str]]:
    """And for several machines, each its own torchrun."""
    meet = ["--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d"]
    return [[*meet, "--rdzv-endpoint", f"127.0.0.1:{free_port()}"]] * 2


@pytest.mark.parametrize("machines", [on_one_machine, on_two_machines])
def test_two_processes_train_one_model_each_on_its_share(
    machines: Callable[[], list[list[str]]], tmp_path: Path
) -> None:
    write_omniglot(tmp_path / "images", ["Alpha", "Beta", "Tagalog"], drawings=18)
    torchrun = [sys.executable, "-m", "torch.distributed.run"]
    running = [
        subprocess.Popen(
            [*torchrun, *how, "-m", "tests.model.test_parallel", str(tmp_path)],
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for how in machines()
    ]
    try:
        for process in running:
            output, _ = process.communicate(timeout=300)
            assert process.returncode == 0, output
    finally:
        for process in running:
            process.kill()
            process.communicate()
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert first["losses"] != second["losses"]  # each saw images of its own
    for name, value in first["weights"].items():
        assert torch.equal(value, second["weights"][name]), name
    for mine, other in zip(first["gradients"], second["gradients"], strict=True):
        assert torch.equal(mine, other)
    LatentEmbeddingOptimization.from_pretrained(tmp_path / "run" / "model")
    assert len((tmp_path / "run" / "log.csv").read_text().splitlines()) == 1 + 3 + 3  # one process wrote it


@pytest.mark.parametrize(
    ("gpus", "processes", "backend"),
    [(0, 2, "gloo"), (1, 2, "gloo"), (2, 2, "cpu:gloo,cuda:nccl"), (1, 1, "cpu:gloo,cuda:nccl")],
)
def test_processes_that_have_no_gpu_of_their_own_do_not_use_nccl(
    gpus: int, processes: int, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined, chosen = [], []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(parallel.distributed, "init_process_group", joined.append)
    for name, value in {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": str(processes), "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    parallel.join()
    assert joined == [backend]
    assert chosen == ([0] if backend != "gloo" else [])


def test_alone_nothing_is_shared_or_exchanged() -> None:
    assert (parallel.rank(), parallel.size(), parallel.is_first()) == (0, 1, True)
    indices = torch.arange(5)
    assert torch.equal(parallel.share(indices), indices)
    weight = nn.Parameter(torch.ones(2))
    weight.grad = torch.tensor([1.0, 2.0])
    parallel.average_gradients([weight])
    assert weight.grad.tolist() == [1.0, 2.0]
    assert parallel.all_agree(condition=True)
    assert not parallel.all_agree(condition=False)


@pytest.mark.parametrize(("size", "shares"), [(2, [[0, 2, 4], [1, 3]]), (3, [[0, 3], [1, 4], [2]])])
def test_shares_cover_everything_once(size: int, shares: list[list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "size", lambda: size)
    for rank, expected in enumerate(shares):
        monkeypatch.setattr(parallel, "rank", lambda rank=rank: rank)
        assert parallel.share(torch.arange(5)).tolist() == expected


if __name__ == "__main__":
    one_process(sys.argv[1])
