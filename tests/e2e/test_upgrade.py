"""A service is upgraded to new weights: tasks of the old ones move if they keep pictures, and else say what to do."""

import io
import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGTERM

import httpx
import pytest
import torch

from app.settings import PROJECT
from leo_client import Client, Conflict
from model.checkpoint import save_model
from model.leo import LatentEmbeddingOptimization
from tests.helpers.command import run_leo
from tests.helpers.drawn import png
from tests.helpers.problems import assert_problem
from tests.helpers.server import Server
from tests.helpers.tasks import FIVE, create


@contextmanager
def serving_weights(folder: Path, tmp_path: Path) -> Iterator[Server]:
    """A service with these weights and the data folder that is there."""
    server = Server(tmp_path / "data", LEO_WEIGHTS=str(folder))
    try:
        server.start()
        yield server
        assert server.stop(SIGTERM) == 0
    finally:
        server.close()


@pytest.fixture(scope="module")
def two_weights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The shipped weights, and some that differ a little, as if they had been trained further."""
    old, new = (tmp_path_factory.mktemp("weights") / name for name in ("old", "new"))
    shutil.copytree(PROJECT / "weights" / "omniglot", old)
    shutil.copytree(old, new)
    leo = LatentEmbeddingOptimization.from_pretrained(new)
    with torch.no_grad():
        leo.alpha.mul_(1.01)
    save_model(leo, new, "omniglot", {})
    return old, new


def test_tasks_that_keep_pictures_move_to_new_weights(
    two_weights: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    old, new = two_weights
    whole = tmp_path / "task.zip"
    with serving_weights(old, tmp_path) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        kept = create(client, FIVE, shots=2, name="signs", keep_images="true").json()
        client.post(f"/tasks/{kept['task_id']}/feedback", json={"answers": [{"predicted": "ex", "label": "ex"}]})
        bare = create(client, FIVE).json()["task_id"]
        of_old = client.get(f"/tasks/{kept['task_id']}/export.zip").content

    with serving_weights(new, tmp_path) as server, Client(server.url) as client:
        with pytest.raises(Conflict, match=r"its export\.zip, which makes it anew"):
            client.predict(kept["task_id"], png("ring", 70))
        with pytest.raises(Conflict, match="create the task again"):
            client.predict(bare, png("ring", 70))
        run_leo("tasks", "export", kept["task_id"], whole, LEO_URL=server.url)
        with zipfile.ZipFile(whole) as archive:
            manifest = json.loads(archive.read("manifest.json"))
            assert len([name for name in archive.namelist() if name.startswith("pictures/")]) == 10
        assert (manifest["labels"], manifest["model_version"]) == (FIVE, kept["model_version"])
        assert kept["model_version"] in manifest["note"]
        assert manifest["quality"] is not None
        by_command = run_leo("tasks", "import", whole, LEO_URL=server.url).stdout.strip()
        before_the_upgrade = client.import_task(of_old)
        for task in (client.get(by_command), before_the_upgrade):
            assert (task.name, task.labels) == ("signs", FIVE)
            assert client.picture(task.task_id, 0).startswith(b"\x89PNG")
            assert task.model_version != kept["model_version"]
            assert client.predict(task.task_id, png("ring", 70))[0].label == "ring"
        assert client.get(by_command).feedback.judged == 0  # of the answers of the old weights

        without = client.export(bare)
        with pytest.raises(Conflict, match=r"does not hold a picture of every example: keep_images=true keeps them"):
            client.import_task(without)
        refused = run_leo("tasks", "import", _file(tmp_path, without), status=1, LEO_URL=server.url)
        assert kept["model_version"] in refused.stderr
        assert client.get(bare).labels == FIVE  # it is still there, and can still be exported
        monkeypatch.setenv("LEO_URL", server.url)
        operations = (PROJECT / "docs" / "operations.md").read_text()
        (program,) = re.findall(
            r"```python\n(.*?)```", operations.split("## New weights")[1].split("\n## ")[0], re.DOTALL
        )
        exec(program, {})  # noqa: S102, it is the documentation's own
        said = capsys.readouterr().out
        assert f"{bare} stays: " in said
        assert f"{kept['task_id']} is now " in said
        left = [task for task in client.tasks() if task.model_version == kept["model_version"]]
        assert [task.task_id for task in left] == [bare]

    with serving_weights(old, tmp_path) as server, httpx.Client(base_url=server.url, timeout=60) as http:
        for data, shots in ((whole.read_bytes(), 2), (without, 1)):  # which the old weights restore as they were
            back = http.post("/tasks/import", content=data).json()
            assert back["model_version"] == kept["model_version"]
            assert set(back["shots"].values()) == {shots}
            assert server.predict_ring(back["task_id"]).json()["predictions"][0]["label"] == "ring"
        assert_problem(http.get("/tasks/none/export.zip"), 404)


def test_a_zip_of_another_model_that_is_not_loaded_says_which_to_name(
    two_weights: tuple[Path, Path], tmp_path: Path
) -> None:
    old, new = two_weights
    with serving_weights(old, tmp_path) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        kept = create(client, FIVE, keep_images="true").json()["task_id"]
        data = client.get(f"/tasks/{kept}/export.zip").content
    renamed = tmp_path / "renamed"
    shutil.copytree(new, renamed)
    (renamed / "config.json").write_text((renamed / "config.json").read_text().replace('"omniglot"', '"signs"'))
    with serving_weights(renamed, tmp_path) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        assert_problem(client.post("/tasks/import", content=data), 409, "send model=NAME")
        moved = client.post("/tasks/import", content=data, params={"model": "signs"})
        assert (moved.status_code, moved.json()["model"]) == (201, "signs")


def _file(folder: Path, data: bytes) -> Path:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert not [name for name in archive.namelist() if name.startswith("pictures/")]
    (folder / "bare.zip").write_bytes(data)
    return folder / "bare.zip"
