"""The HTTP contract of tasks, over a real server with the shipped model."""

import base64
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from safetensors.numpy import load as load_tensors

from app.settings import Settings
from model.images.reader import DrawingReader
from tests.helpers.drawn import CHARACTERS, canvas, encoded, photo, png, shaky
from tests.helpers.models import WEIGHTS
from tests.helpers.serving import serving
from tests.helpers.tasks import FIVE, OTHERS, create, files, predict
from tests.helpers.waiting import wait_until


def test_five_drawings_make_a_classifier_with_the_right_answers(client: httpx.Client) -> None:
    response = create(client, name="signs")
    assert response.status_code == 201
    task = response.json()
    assert response.headers["location"] == f"/tasks/{task['task_id']}"
    assert task["labels"] == FIVE
    assert task["shots"] == dict.fromkeys(FIVE, 1)
    assert (task["name"], task["model"], task["expires_at"]) == ("signs", "omniglot", None)
    losses = task["adaptation"]["losses"]
    assert len(losses) == 6
    assert losses[-1] <= losses[0]  # easy drawings leave nothing to lower
    assert task["adaptation"]["support_accuracy"] == 1

    answers = predict(client, task["task_id"], [png(name, seed) for name in FIVE for seed in (10, 11)])
    assert [answer["label"] for answer in answers] == [name for name in FIVE for _ in range(2)]
    for answer in answers:
        assert answer["confidence"] == answer["top_k"][0]["confidence"]
        assert sum(score["confidence"] for score in answer["top_k"]) == pytest.approx(1, abs=1e-5)
        assert not answer["unknown"]


def test_json_and_multipart_mean_the_same(client: httpx.Client) -> None:
    support = [{"image": base64.b64encode(png(name)).decode(), "label": name} for name in FIVE]
    created = client.post("/tasks", json={"support": support, "name": "as json"})
    assert created.status_code == 201
    query = png("ring", 7)
    as_json = client.post(
        f"/tasks/{created.json()['task_id']}/predict", json={"images": [base64.b64encode(query).decode()]}
    ).json()["predictions"]
    as_form = predict(client, create(client).json()["task_id"], [query])
    assert as_json[0]["label"] == as_form[0]["label"] == "ring"
    assert as_json[0]["confidence"] == pytest.approx(as_form[0]["confidence"], abs=1e-5)


def test_ragged_shots_and_labels_in_any_script(client: httpx.Client) -> None:
    pairs = [
        ("кольцо", png("ring", 1)),
        ("ex", png("ex", 1)),
        ("кольцо", png("ring", 2)),
        ("ex", png("ex", 3)),
        ("ex", png("ex", 4)),
    ]
    task = client.post(
        "/tasks", data={"labels": [label for label, _ in pairs]}, files=files([image for _, image in pairs])
    ).json()
    assert task["shots"] == {"кольцо": 2, "ex": 3}
    assert predict(client, task["task_id"], [png("ring", 9)])[0]["label"] == "кольцо"


STYLES = {
    "light on dark": lambda s: encoded(canvas(s, ink=255, paper=0)),
    "tiny": lambda s: encoded(canvas(s, side=32, pen=2)),
    "large": lambda s: encoded(canvas(s, side=2000, pen=60)),
    "in a corner": lambda s: encoded(canvas(s, box=(0.6, 0.62, 0.3))),
    "broad pen": lambda s: encoded(canvas(s, pen=26)),
    "fine pen": lambda s: encoded(canvas(s, side=600, pen=3)),
    "one bit": lambda s: encoded(canvas(s, ink=0, paper=1, mode="1")),
    "palette": lambda s: encoded(canvas(s, mode="RGB", ink=(200, 30, 30), paper=(250, 240, 210)).quantize(16)),
    "colours": lambda s: encoded(canvas(s, mode="RGB", ink=(20, 60, 200), paper=(250, 240, 90))),
    "transparent, dark ink": lambda s: encoded(canvas(s, mode="RGBA", ink=(0, 0, 0, 255), paper=(0, 0, 0, 0))),
    "transparent, white ink": lambda s: encoded(canvas(s, mode="RGBA", ink=(255, 255, 255, 255), paper=(0, 0, 0, 0))),
    "grey with alpha": lambda s: encoded(canvas(s, mode="RGBA", ink=(9, 9, 9, 255), paper=(0, 0, 0, 0)).convert("LA")),
    "sixteen bits": lambda s: encoded(canvas(s).convert("I").point(lambda v: v * 257).convert("I;16")),
    "webp": lambda s: encoded(canvas(s), "WEBP", quality=60),
    "cmyk jpeg": lambda s: encoded(canvas(s, mode="RGB", ink=(0, 0, 0), paper=(255, 255, 255)).convert("CMYK"), "JPEG"),
    "photo": lambda s: encoded(photo(s, 3), "JPEG", quality=80),
    "photo, turned by EXIF": lambda s: exif_turned(photo(s, 4)),
}


def exif_turned(upright: Image.Image) -> bytes:
    """Encode a picture as phones do: its pixels lie on their side, and an EXIF tag says so."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(upright.rotate(90, expand=True), "JPEG", exif=exif, quality=85)


@pytest.mark.parametrize("style", STYLES)
def test_drawings_are_recognised_in_every_style(client: httpx.Client, style: str) -> None:
    """Support from a canvas, queries in the style; then the other way round."""
    restyle = STYLES[style]
    task_id = create(client).json()["task_id"]
    answers = predict(client, task_id, [restyle(shaky(CHARACTERS[name], 20)) for name in FIVE])
    assert [answer["label"] for answer in answers] == FIVE
    styled = client.post(
        "/tasks", data={"labels": FIVE}, files=files([restyle(shaky(CHARACTERS[name], 21)) for name in FIVE])
    )
    answers = predict(client, styled.json()["task_id"], [png(name, 22) for name in FIVE])
    assert [answer["label"] for answer in answers] == FIVE


def test_top_k_and_threshold_are_kept_to(client: httpx.Client) -> None:
    task_id = create(client).json()["task_id"]
    (answer,) = predict(client, task_id, [png("wave", 3)], top_k=2, threshold=1.0)
    assert len(answer["top_k"]) == 2
    assert answer["unknown"] is (answer["confidence"] < 1)
    (answer,) = predict(client, task_id, [png("wave", 3)], top_k=50)
    assert len(answer["top_k"]) == 5


def test_pictures_of_other_classes_are_unknown_without_being_asked_for(client: httpx.Client) -> None:
    for shots in (1, 3):
        task_id = create(client, shots=shots).json()["task_id"]
        own = predict(client, task_id, [png(name, seed) for name in FIVE for seed in range(20, 28)])
        foreign = predict(client, task_id, [png(name, seed) for name in OTHERS for seed in range(20, 28)])
        assert sum(answer["unknown"] for answer in own) <= 4  # of 40
        assert sum(answer["unknown"] for answer in foreign) >= 34
        for answer in own + foreign:
            assert 0 <= answer["known"] <= 1
            assert answer["unknown"] == (answer["known"] < 0.05)


def test_how_many_are_rejected_can_be_asked_for(client: httpx.Client) -> None:
    task_id = create(client).json()["task_id"]
    images = [png(name, seed) for name in [*FIVE, *OTHERS] for seed in (30, 31)]
    for reject in (0, 0.3, 1):
        for answer in predict(client, task_id, images, reject=reject):
            assert answer["unknown"] == (answer["known"] < reject)
    for answer in predict(client, task_id, images, reject=0, threshold=0.9):
        assert answer["unknown"] == (answer["confidence"] < 0.9)


def test_known_does_not_depend_on_how_the_task_came_here(client: httpx.Client) -> None:
    task_id = create(client, shots=2).json()["task_id"]
    images = [png(name, 40) for name in [*FIVE, *OTHERS]]
    cold = [answer["known"] for answer in predict(client, task_id, images)]
    warm = [predict(client, task_id, images[:1])[0]["known"] for _ in range(3)][-1]
    assert warm == pytest.approx(cold[0], abs=1e-3)
    head = client.get(f"/tasks/{task_id}/parameters").content
    imported = client.post("/tasks/import", content=head, headers={"Content-Type": "application/octet-stream"}).json()
    assert [answer["known"] for answer in predict(client, imported["task_id"], images)] == pytest.approx(cold, abs=1e-3)
    whole = client.get(f"/tasks/{task_id}/export.zip").content
    imported = client.post("/tasks/import", content=whole).json()
    assert [answer["known"] for answer in predict(client, imported["task_id"], images)] == pytest.approx(cold, abs=1e-3)
    many = predict(client, task_id, images * 40)
    assert [answer["known"] for answer in many] == pytest.approx(cold * 40, abs=1e-3)


def test_a_model_that_is_not_calibrated_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(WEIGHTS / "omniglot", folder)
    (folder / "known.safetensors").unlink()
    with serving(Settings(data_dir=tmp_path / "data", weights=folder, device="cpu")) as client:
        task_id = create(client).json()["task_id"]
        sure, unsure = (predict(client, task_id, [png("gate", 9)], threshold=threshold) for threshold in (0, 1))
        assert (sure[0]["known"], sure[0]["unknown"]) == (None, False)
        assert (unsure[0]["known"], unsure[0]["unknown"]) == (None, True)


def test_tasks_are_read_listed_in_pages_and_deleted(client: httpx.Client) -> None:
    made = [create(client, name=f"page {n}").json() for n in range(5)]
    assert client.get(f"/tasks/{made[0]['task_id']}").json() == made[0]
    found: list[Any] = []
    cursor = None
    while True:
        page = client.get("/tasks", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        assert len(page["tasks"]) <= 2
        found += page["tasks"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    ids = [task["task_id"] for task in found]
    assert len(set(ids)) == len(ids)
    assert [task for task in found if (task["name"] or "").startswith("page")] == made[::-1]  # newest first

    gone = made[2]["task_id"]
    assert client.delete(f"/tasks/{gone}").status_code == 204
    for call in (client.get, client.delete):
        assert call(f"/tasks/{gone}").status_code == 404
    assert client.post(f"/tasks/{gone}/predict", files=files([png("tee")])).status_code == 404


def test_a_listed_task_is_written_as_it_is_when_it_is_read(client: httpx.Client) -> None:
    swapped = files([png(name, seed) for name in FIVE for seed in range(2)])
    labels = [name for name in FIVE for _ in range(2)]
    labels[0], labels[2] = labels[2], labels[0]  # so that some look mislabelled
    negatives = [("negatives", ("0", png(OTHERS[0], 9)))]
    data = {"labels": labels, "ttl_seconds": "1000", "name": "\u00fc \u05d0"}
    created = [
        create(client, FIVE[:2]),
        client.post("/tasks", data=data, files=swapped + negatives),
        client.post("/tasks", data={"labels": labels, "keep_images": "true"}, files=swapped),
    ]
    assert created[1].json()["quality"]["suspects"]
    client.post(f"/tasks/{created[0].json()['task_id']}/feedback", json={"answers": [{"predicted": "a", "label": "a"}]})
    listing = client.get("/tasks", params={"limit": 3})
    assert listing.headers["content-type"] == "application/json"
    for one in created:
        assert client.get(f"/tasks/{one.json()['task_id']}").text in listing.text


def test_parameters_are_the_head_that_answers(client: httpx.Client, settings: Settings) -> None:
    import numpy as np
    import torch

    from app.inference.decoding import decode_one
    from model.leo import LatentEmbeddingOptimization

    task_id = create(client).json()["task_id"]
    response = client.get(f"/tasks/{task_id}/parameters")
    assert response.status_code == 200
    params = {key: torch.from_numpy(value) for key, value in load_tensors(response.content).items()}
    leo = LatentEmbeddingOptimization.from_pretrained(settings.weights)
    assert params["fc.weight"].shape == (5, leo.config.feature_dim)
    assert params["fc.bias"].shape == (5,)
    query = png("ex", 5)
    image = decode_one(query, 0, DrawingReader(leo.config.resolution), 10**6)
    with torch.no_grad():
        logits = leo.classifier(torch.from_numpy(np.array(image))[None, None].float() / 255, params)
    (answer,) = predict(client, task_id, [query])
    assert answer["confidence"] == pytest.approx(float(logits.softmax(-1).max()), abs=1e-4)


def test_a_task_expires(client: httpx.Client) -> None:
    task = create(client, ttl_seconds="1").json()
    task_id = task["task_id"]
    wait_until(lambda: client.get(f"/tasks/{task_id}").status_code != 200)
    assert client.get(f"/tasks/{task_id}").status_code == 404
    assert client.post(f"/tasks/{task_id}/predict", files=files([png("tee")])).status_code == 404
    assert task_id not in [listed["task_id"] for listed in client.get("/tasks").json()["tasks"]]


def test_the_same_input_gets_the_same_answer(client: httpx.Client) -> None:
    first, second = create(client).json(), create(client).json()
    assert first["adaptation"]["losses"] == second["adaptation"]["losses"]
    queries = [png(name, 30) for name in FIVE]
    assert predict(client, first["task_id"], queries) == predict(client, second["task_id"], queries)


def test_ten_concurrent_tasks_get_the_answers_each_gets_alone(client: httpx.Client) -> None:
    names = list(CHARACTERS)
    tasks = [names[n:] + names[:n] for n in range(10)]  # ten different orders of ten classes
    tasks = [classes[: 2 + n % 8] for n, classes in enumerate(tasks)]  # and different numbers of ways

    def whole(classes: list[str]) -> tuple[list[float], list[Any]]:
        made = create(client, classes, shots=1 + len(classes) % 3).json()
        return made["adaptation"]["losses"], predict(client, made["task_id"], [png(name, 40) for name in classes])

    alone = [whole(classes) for classes in tasks]
    with ThreadPoolExecutor(10) as pool:
        together = list(pool.map(whole, tasks))
    for (losses, answers), (losses_together, answers_together) in zip(alone, together, strict=True):
        assert losses_together == pytest.approx(losses, abs=1e-4)
        for answer, other in zip(answers, answers_together, strict=True):
            assert other["label"] == answer["label"]
            assert other["confidence"] == pytest.approx(answer["confidence"], abs=1e-4)
