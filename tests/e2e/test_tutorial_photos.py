"""A user's first photos, as in a vision service's tutorial: the model is chosen, the task made, the rest classified."""

import json
import zipfile
from pathlib import Path

import httpx
import pytest

from tests.helpers.command import run_leo
from tests.helpers.datasets import DATA
from tests.helpers.photographed import jpeg, product, tool
from tests.helpers.server import Server

SHOTS = 5
RIGHT = 0.9  # share of the answers


def tutorial() -> dict[str, list[bytes]]:
    """The tutorial's photos by class: hemlock, cherry, forks and scissors, the last two on a plain table."""
    path = DATA / "natural" / "tutorial.zip"
    if not path.exists():
        pytest.skip("the tutorial's photos are not here; set LEO_TEST_DATA to a folder with natural/tutorial.zip")
    photos: dict[str, list[bytes]] = {}
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(".jpg"):
                photos.setdefault(name.split("/")[-2], []).append(archive.read(name))
    return photos


def tools() -> dict[str, list[bytes]]:
    """Made photos of two tools and a carton: grey things on white, as hard to tell from drawings as the tutorial's."""
    return {
        "dark tool": [jpeg(tool(seed, metal=60)) for seed in range(10)],
        "bright tool": [jpeg(tool(seed, ground=120, metal=150)) for seed in range(10)],
        "carton": [jpeg(product("carton", seed)) for seed in range(10)],
    }


@pytest.fixture(params=[tutorial, tools], ids=["tutorial", "made"])
def photos(request: pytest.FixtureRequest) -> dict[str, list[bytes]]:
    """Photos by class; the first five of each are the examples."""
    found: dict[str, list[bytes]] = request.param()
    return found


def test_the_command_line_classifies_them(photos: dict[str, list[bytes]], tmp_path: Path) -> None:
    for label, images in photos.items():
        for part, some in (("train", images[:SHOTS]), ("test", images[SHOTS:])):
            folder = tmp_path / part / label
            folder.mkdir(parents=True)
            for n, image in enumerate(some):
                (folder / f"{n}.jpg").write_bytes(image)
    result = run_leo("classify", tmp_path / "train", tmp_path / "test", "--format", "json")
    assert "photos" in result.stderr  # the model that answers
    answers = json.loads(result.stdout)
    assert len(answers) == sum(len(images) - SHOTS for images in photos.values())
    assert sum(answer["label"] == Path(answer["file"]).parent.name for answer in answers) >= RIGHT * len(answers)


def test_the_service_classifies_them(photos: dict[str, list[bytes]], tmp_path: Path) -> None:
    server = Server(tmp_path, LEO_MODELS="photos-lite0")
    try:
        server.start()
        examples = [(label, image) for label, images in photos.items() for image in images[:SHOTS]]
        with httpx.Client(base_url=server.url, timeout=60) as client:
            files = [("images", ("example.jpg", image)) for _, image in examples]
            made = client.post("/tasks", files=files, data={"labels": [label for label, _ in examples]}).json()
            assert made["model"] == "photos-lite0"
            asked = [(label, image) for label, images in photos.items() for image in images[SHOTS:]]
            files = [("images", ("query.jpg", image)) for _, image in asked]
            answers = client.post(f"/tasks/{made['task_id']}/predict", files=files).json()["predictions"]
        right = sum(answer["label"] == label for answer, (label, _) in zip(answers, asked, strict=True))
        assert right >= RIGHT * len(asked)
    finally:
        server.close()
