"""How right a task is on labelled images, over real HTTP."""

import base64

import httpx
import pytest

from tests.helpers.drawn import png
from tests.helpers.problems import assert_problem
from tests.helpers.tasks import FIVE, create, files, predict
from tests.helpers.zips import zip_of

THREE = FIVE[:3]


@pytest.fixture(scope="module")
def task_id(client: httpx.Client) -> str:
    return str(create(client, THREE, shots=2).json()["task_id"])


def test_an_evaluation_agrees_with_the_predictions(client: httpx.Client, task_id: str) -> None:
    pairs = [(name, png(name, seed)) for name in THREE for seed in range(40, 46)]
    pairs += [("tee", png("ring", 50)), ("wave", png("wave", 1))]
    labels, images = [label for label, _ in pairs], [image for _, image in pairs]
    response = client.post(f"/tasks/{task_id}/evaluate", data={"labels": labels}, files=files(images))
    assert response.status_code == 200, response.text
    found = response.json()
    answers = predict(client, task_id, images)
    right = [answer["label"] == label for answer, label in zip(answers, labels, strict=True)]
    assert [each["index"] for each in found["wrong"]] == [n for n, is_right in enumerate(right) if not is_right]
    for each in found["wrong"]:
        assert (each["label"], each["answer"]) == (labels[each["index"]], answers[each["index"]]["label"])
        assert each["confidence"] == pytest.approx(answers[each["index"]]["confidence"], abs=1e-5)
    assert found["accuracy"]["value"] == pytest.approx(
        sum(right) / (len(right) - 1)
    )  # the wave is no class of the task
    assert found["accuracy"]["low"] < found["accuracy"]["value"] < found["accuracy"]["high"]
    assert found["confusion"]["labels"] == [*THREE, "wave"]
    assert found["confusion"]["answers"] == THREE
    assert sum(map(sum, found["confusion"]["counts"])) == len(pairs)
    assert [each["is_class"] for each in found["classes"]] == [True, True, True, False]
    assert found["classes"][3]["recall"] == 0
    assert 0 <= found["calibration"]["ece"] <= 1
    assert sum(each["count"] for each in found["calibration"]["bins"]) == len(pairs) - 1
    assert client.get(f"/tasks/{task_id}").json()["revision"] == 0  # nothing is stored


def test_what_is_worth_adding_makes_the_task_better(client: httpx.Client, task_id: str) -> None:
    pairs = [("tee", png("wave", seed)) for seed in range(6)] + [("ell", png("ell", 40))]
    task = create(client, THREE, shots=2).json()["task_id"]
    form = {"data": {"labels": [label for label, _ in pairs]}, "files": files([image for _, image in pairs])}
    before = client.post(f"/tasks/{task}/evaluate", **form).json()
    added = [pairs[each["index"]] for each in before["wrong"] if each["worth_adding"]]
    assert 0 < len(added) <= 6
    more = {"data": {"labels": [label for label, _ in added]}, "files": files([image for _, image in added])}
    assert client.post(f"/tasks/{task}/support", **more).status_code == 200
    after = client.post(f"/tasks/{task}/evaluate", **form).json()
    assert after["accuracy"]["value"] > before["accuracy"]["value"]


def test_json_form_and_zip_are_answered_alike(client: httpx.Client, task_id: str) -> None:
    pairs = {f"{name}/{seed}.png": png(name, seed) for name in THREE for seed in (3, 4)}
    labels = [name.partition("/")[0] for name in sorted(pairs)]
    images = [pairs[name] for name in sorted(pairs)]
    url = f"/tasks/{task_id}/evaluate"
    support = [
        {"label": label, "image": base64.b64encode(image).decode()} for label, image in zip(labels, images, strict=True)
    ]
    answers = [
        client.post(url, data={"labels": labels}, files=files(images)),
        client.post(url, json={"support": support}),
        client.post(url, content=zip_of(pairs), headers={"Content-Type": "application/zip"}),
        client.post(url, files={"archive": ("pictures.zip", zip_of(pairs))}),
    ]
    for answer in answers:
        assert answer.status_code == 200, answer.text
        found = answer.json()
        for each in found["wrong"]:
            each["file"] = None
        assert found == answers[0].json()


@pytest.mark.parametrize(
    ("labels", "status", "said"),
    [(["other", "another"], 422, "no label"), (["tee"], 422, "2 images but 1 labels"), (["tee", ""], 422, "empty")],
)
def test_labels_that_cannot_be_judged_are_refused(
    client: httpx.Client, task_id: str, labels: list[str], status: int, said: str
) -> None:
    form = {"data": {"labels": labels}, "files": files([png("tee"), png("ell")])}
    assert_problem(client.post(f"/tasks/{task_id}/evaluate", **form), status, said)


def test_a_label_is_judged_as_it_is_spelled(client: httpx.Client, task_id: str) -> None:
    form = {"data": {"labels": [" tee "]}, "files": files([png("tee", 7)])}
    found = client.post(f"/tasks/{task_id}/evaluate", **form).json()
    assert (found["wrong"], found["accuracy"]["value"], found["confusion"]["labels"]) == ([], 1, THREE)


def test_a_bad_image_and_an_unknown_task_are_said(client: httpx.Client, task_id: str) -> None:
    form = {"data": {"labels": ["tee", "ell"]}, "files": files([png("tee"), b"no picture"])}
    assert assert_problem(client.post(f"/tasks/{task_id}/evaluate", **form), 422)["index"] == 1
    form["files"] = files([png("tee"), png("ell")])
    assert_problem(client.post(f"/tasks/{'0' * 24}/evaluate", **form), 404)
