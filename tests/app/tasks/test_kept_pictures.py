"""Tasks that keep the pictures of their examples, over real HTTP."""

import io
import json
import sqlite3
import zipfile
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from app.settings import Settings
from tests.helpers.drawn import CHARACTERS, encoded, photo, png
from tests.helpers.photographed import product
from tests.helpers.problems import assert_problem
from tests.helpers.serving import serving
from tests.helpers.tasks import FIVE, add, create, create_from, predict

THREE = FIVE[:3]


def picture(client: httpx.Client, task_id: str, index: int) -> httpx.Response:
    return client.get(f"/tasks/{task_id}/support/{index}/image")


def test_pictures_are_kept_only_where_that_is_asked_for(client: httpx.Client) -> None:
    made = create(client, THREE).json()
    assert made["keep_images"] is False
    assert_problem(picture(client, made["task_id"], 0), 404, "keep_images")
    kept = create(client, THREE, keep_images="true").json()
    assert kept["keep_images"] is True
    found = picture(client, kept["task_id"], 1)
    assert (found.status_code, found.headers["content-type"]) == (200, "image/png")
    drawn = np.asarray(Image.open(io.BytesIO(png("ell"))).convert("L"))
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(found.content))), drawn)


def test_pictures_come_and_go_with_their_examples(client: httpx.Client) -> None:
    task_id = create(client, THREE, shots=2, keep_images="true").json()["task_id"]
    add(client, task_id, [("wave", png("wave"))])
    client.delete(f"/tasks/{task_id}/support/0")
    client.patch(f"/tasks/{task_id}/support/2", json={"label": "other"})
    assert [picture(client, task_id, index).status_code for index in range(8)] == [404, *[200] * 6, 404]
    client.delete(f"/tasks/{task_id}")
    assert picture(client, task_id, 1).status_code == 404


def test_a_kept_photo_is_small_upright_and_without_metadata(client: httpx.Client) -> None:
    original = photo(CHARACTERS["tee"])
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "where I live"  # turned to the right, and a description
    sideways = encoded(original.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif, comment=b"secret", quality=95)
    task_id = create_from(client, [("tee", sideways), ("ell", png("ell"))], keep_images="true").json()["task_id"]
    found = picture(client, task_id, 0)
    assert found.headers["content-type"] == "image/jpeg"
    assert len(found.content) <= 24 * 2**10
    assert b"where I live" not in found.content
    assert b"secret" not in found.content
    kept = Image.open(io.BytesIO(found.content))
    assert kept.size == (384, 288)
    assert not kept.getexif()
    expected = original.convert("RGB").resize(kept.size)
    assert np.abs(np.asarray(kept.convert("RGB"), dtype=int) - np.asarray(expected, dtype=int)).mean() < 6


def test_an_export_whose_pictures_are_gone_from_the_store_is_not_called_whole(settings: Settings) -> None:
    """As where a Redis evicts them."""
    with serving(settings) as client:
        task_id = create(client, THREE, keep_images="true").json()["task_id"]
        assert client.get(f"/tasks/{task_id}/export.zip").status_code == 200
        with sqlite3.connect(settings.data_dir / "tasks.sqlite3") as connection:
            connection.execute("DELETE FROM pictures WHERE example = 1")
        connection.close()
        assert_problem(client.get(f"/tasks/{task_id}/export.zip"), 500, "missing from the store")
        assert client.get(f"/tasks/{task_id}/parameters").status_code == 200


def test_pictures_need_the_examples_they_belong_to(client: httpx.Client) -> None:
    assert_problem(create(client, THREE, keep_images="true", keep_support="false"), 422, "keep_support")


def test_pictures_of_an_owner_have_a_limit(settings: Settings, tmp_path: Path) -> None:
    with serving(settings.model_copy(update={"data_dir": tmp_path, "kept_bytes": 20_000})) as client:
        task_id = create(client, THREE, keep_images="true").json()["task_id"]
        before = client.get(f"/tasks/{task_id}").json()
        noise = np.random.default_rng(0).integers(0, 255, (200, 200), dtype=np.uint8)
        noisy = encoded(Image.fromarray(noise))
        assert_problem(add(client, task_id, [("noise", noisy)]), 507, "too many bytes")
        assert_problem(create_from(client, [("a", noisy), ("b", png("ell"))], keep_images="true"), 507)
        assert client.get(f"/tasks/{task_id}").json() == before
        assert len(client.get("/tasks").json()["tasks"]) == 1
        assert add(client, create(client, THREE).json()["task_id"], [("noise", noisy)]).status_code == 200


def exported(client: httpx.Client, task_id: str) -> bytes:
    response = client.get(f"/tasks/{task_id}/export.zip")
    assert response.status_code == 200, response.text
    assert ".zip" in response.headers["content-disposition"]
    return response.content


def imported(client: httpx.Client, data: bytes, **params: Any) -> Any:
    response = client.post("/tasks/import", content=data, headers={"Content-Type": "application/zip"}, params=params)
    assert response.status_code == 201, response.text
    return response.json()


@pytest.mark.parametrize("options", [{}, {"keep_images": "true"}, {"keep_support": "false"}])
def test_a_whole_task_comes_back_as_it_was(each_model: httpx.Client, options: dict[str, str]) -> None:
    made = create(each_model, THREE, shots=3, name="whole", **options).json()
    task_id = made["task_id"]
    if "keep_support" not in options:
        add(each_model, task_id, [("a/../b", png("wave"))])  # a name that no folder may have
        each_model.delete(f"/tasks/{task_id}/support/4")
    answers = [{"predicted": "tee", "label": label} for label in THREE]
    each_model.post(f"/tasks/{task_id}/feedback", json={"answers": answers})
    before = each_model.get(f"/tasks/{task_id}").json()
    assert before["feedback"] == {"judged": 3, "right": 1}
    data = exported(each_model, task_id)
    each_model.delete(f"/tasks/{task_id}")
    after = imported(each_model, data)
    own = ("task_id", "created_at", "revision")
    assert {**after, **dict.fromkeys(own)} == {**before, **dict.fromkeys(own)} | (
        {"quality": None} if "keep_support" in options else {}
    )
    queries = [png(name, 40) for name in THREE]
    assert [each["label"] for each in predict(each_model, after["task_id"], queries)] == THREE
    again = exported(each_model, after["task_id"])
    members, others = (zipfile.ZipFile(io.BytesIO(each)) for each in (data, again))
    assert members.namelist() == others.namelist()
    for name in members.namelist():
        if name not in ("manifest.json", "head.safetensors"):  # which hold the task's id, and when it was made
            assert members.read(name) == others.read(name), name
    if "keep_support" not in options:
        grown = add(each_model, after["task_id"], [("new", png("hook"))])
        assert grown.status_code == 200
        listed = each_model.get(f"/tasks/{after['task_id']}/support").json()["examples"]
        assert [each["index"] for each in listed] == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10]


def test_the_zip_explains_itself(client: httpx.Client) -> None:
    task_id = create(client, THREE, shots=2, name="whole", keep_images="true").json()["task_id"]
    with zipfile.ZipFile(io.BytesIO(exported(client, task_id))) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        assert (manifest["format"], manifest["version"], manifest["name"]) == ("leo-task", 1, "whole")
        assert [each["label"] for each in manifest["examples"]] == [name for name in THREE for _ in range(2)]
        for each in manifest["examples"]:
            assert archive.read(each["image"]) == picture(client, task_id, each["index"]).content
        assert manifest["quality"] is not None
        assert "codes" not in manifest


def test_with_pictures_a_task_moves_to_another_model(both: httpx.Client) -> None:
    pairs = [(name, encoded(product(name, seed), "JPEG")) for name in ("orange", "carton") for seed in range(3)]
    task = create_from(both, pairs, model="omniglot", keep_images="true", name="moved").json()
    data = exported(both, task["task_id"])
    moved = imported(both, data, model="photos", ttl_seconds=60)
    assert (moved["model"], moved["name"], moved["shots"]) == ("photos-lite0", "moved", task["shots"])
    assert moved["keep_images"] is True
    queries = [encoded(product(name, 50), "JPEG") for name in ("orange", "carton")]
    assert [each["label"] for each in predict(both, moved["task_id"], queries)] == ["orange", "carton"]
    same = imported(both, data, model="omniglot", name="same")
    assert (same["model_version"], same["name"]) == (task["model_version"], "same")
    bare = exported(both, create(both, THREE, model="omniglot").json()["task_id"])
    refused = both.post("/tasks/import", content=bare, params={"model": "photos"})
    assert_problem(refused, 422, "picture of every example")
