"""More examples for a task that there is, over real HTTP."""

import base64
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from app.settings import Settings
from tests.helpers.drawn import png
from tests.helpers.serving import serving
from tests.helpers.tasks import FIVE, add, create, create_from, files, predict


def test_examples_added_later_count_as_much_as_those_sent_at_first(each_model: httpx.Client) -> None:
    first, more = [(name, 0) for name in FIVE[:3]], [(name, seed) for name in FIVE for seed in (1, 2)]
    task = create(each_model, FIVE[:3]).json()
    response = add(each_model, task["task_id"], [(name, png(name, seed)) for name, seed in more])
    assert response.status_code == 200, response.text
    grown = response.json()
    assert grown["task_id"] == task["task_id"]
    assert grown["shots"] == {name: (3 if name in FIVE[:3] else 2) for name in FIVE}
    assert each_model.get(f"/tasks/{task['task_id']}").json() == grown

    pairs = first + more
    whole = create_from(each_model, [(name, png(name, seed)) for name, seed in pairs]).json()
    queries = [png(name, 30) for name in FIVE]
    for one, other in zip(*(predict(each_model, t["task_id"], queries) for t in (grown, whole)), strict=True):
        assert one["label"] == other["label"]
        assert one["confidence"] == pytest.approx(other["confidence"], abs=5e-3)  # what is kept is float16
        assert one["known"] == pytest.approx(other["known"], abs=2e-2)
    assert [answer["label"] for answer in predict(each_model, task["task_id"], queries)] == FIVE


def test_classes_may_be_added_one_at_a_time_as_json(client: httpx.Client) -> None:
    task_id = create(client, FIVE[:2]).json()["task_id"]
    for n, name in enumerate(FIVE[2:]):
        body = {"support": [{"image": base64.b64encode(png(name)).decode(), "label": name}]}
        assert client.post(f"/tasks/{task_id}/support", json=body).json()["labels"] == FIVE[: n + 3]
    assert [answer["label"] for answer in predict(client, task_id, [png(name, 8) for name in FIVE])] == FIVE


def test_concurrent_additions_are_counted_or_refused_never_lost(client: httpx.Client) -> None:
    task_id = create(client, FIVE[:2]).json()["task_id"]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda seed: add(client, task_id, [("ring", png("ring", seed))]), range(1, 5)))
    for response in answers:
        assert response.status_code in (200, 409)
    done = sum(response.status_code == 200 for response in answers)
    assert done >= 1
    assert client.get(f"/tasks/{task_id}").json()["shots"].get("ring") == done


@pytest.mark.parametrize(
    ("labels", "status", "said"),
    [([], 422, "no images"), (["new"] * 2, 422, "1 images but 2 labels"), ([" "], 422, "empty")],
)
def test_bad_additions_leave_the_task_as_it_was(
    client: httpx.Client, labels: list[str], status: int, said: str
) -> None:
    task = create(client, FIVE[:2]).json()
    url = f"/tasks/{task['task_id']}"
    if labels:
        response = client.post(f"{url}/support", data={"labels": labels}, files=files([png("ex")]))
    else:
        response = client.post(f"{url}/support", json={"support": []})
    assert response.status_code == status
    assert said in response.json()["detail"]
    bad_image = add(client, task["task_id"], [("new", b"no picture")])
    assert (bad_image.status_code, bad_image.json()["index"]) == (422, 0)
    assert add(client, "0" * 24, [("new", png("ex"))]).status_code == 404
    assert client.get(url).json() == task


def test_limits_count_the_examples_that_a_task_has_already(settings: Settings, tmp_path: Path) -> None:
    tight = settings.model_copy(update={"data_dir": tmp_path, "max_ways": 3, "max_images": 4})
    with serving(tight) as client:
        task_id = create(client, FIVE[:3]).json()["task_id"]
        assert "4 classes" in add(client, task_id, [("fourth", png("ex"))]).json()["detail"]
        assert add(client, task_id, [(FIVE[0], png(FIVE[0], 1))]).status_code == 200
        assert "5 examples in all" in add(client, task_id, [(FIVE[0], png(FIVE[0], 2))]).json()["detail"]


def test_a_task_that_kept_no_support_takes_no_more(client: httpx.Client) -> None:
    task_id = create(client, FIVE[:2], keep_support="false").json()["task_id"]
    response = add(client, task_id, [("ring", png("ring"))])
    assert response.status_code == 409
    assert "keep_support" in response.json()["detail"]
