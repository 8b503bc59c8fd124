"""Examples of what is none of a task's classes: they sharpen `known`, go where the task goes, and have limits."""

import base64
import io
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime
import pytest
from PIL import Image
from safetensors.numpy import load, save

from app.settings import Settings
from tests.helpers.drawn import png
from tests.helpers.models import WEIGHTS
from tests.helpers.problems import assert_problem
from tests.helpers.serving import serving
from tests.helpers.tasks import FIVE, OTHERS, add, create, files, predict
from tests.helpers.zips import zip_of

NEGATIVES = [png(name, seed) for name in OTHERS for seed in (50, 51)]
QUERIES = [png(name, seed) for name in [*FIVE, *OTHERS] for seed in (20, 21)]


def with_negatives(
    client: httpx.Client, negatives: list[bytes] = NEGATIVES, headers: dict[str, str] | None = None, **options: str
) -> httpx.Response:
    """Create a task of one drawing of each character in a form with negatives."""
    parts = files([png(name, 0) for name in FIVE]) + [("negatives", (f"{n}", data)) for n, data in enumerate(negatives)]
    return client.post("/tasks", data={"labels": FIVE, **options}, files=parts, headers=headers)


def known_of(client: httpx.Client, task_id: str) -> list[float]:
    return [answer["known"] for answer in predict(client, task_id, QUERIES)]


def test_pictures_like_the_negatives_are_less_known_and_the_classes_as_they_were(client: httpx.Client) -> None:
    plain, sharpened = create(client).json(), with_negatives(client).json()
    assert (plain["negatives"], sharpened["negatives"]) == (0, len(NEGATIVES))
    assert sharpened["labels"] == plain["labels"]
    before, after = (predict(client, task["task_id"], QUERIES, top_k=5) for task in (plain, sharpened))
    for one, other in zip(before, after, strict=True):
        assert other["label"] == one["label"]
        assert other["confidence"] == pytest.approx(one["confidence"], abs=1e-3)
        assert other["known"] <= one["known"] + 1e-3
    foreign = slice(2 * len(FIVE), None)
    assert sum(each["known"] for each in after[foreign]) < 0.7 * sum(each["known"] for each in before[foreign])
    assert sum(each["unknown"] for each in after[: 2 * len(FIVE)]) <= 2


def test_forms_json_and_zips_give_the_same_task(client: httpx.Client) -> None:
    known = known_of(client, with_negatives(client).json()["task_id"])
    text = [base64.b64encode(image).decode() for image in NEGATIVES]
    support = [{"label": name, "image": base64.b64encode(png(name, 0)).decode()} for name in FIVE]
    as_json = client.post("/tasks", json={"support": support, "negatives": text}).json()
    assert known_of(client, as_json["task_id"]) == pytest.approx(known, abs=1e-3)
    members = {f"set/{name}/0.png": png(name, 0) for name in FIVE}
    members |= {f"set/_negatives/{n}.png": image for n, image in enumerate(NEGATIVES)}
    zipped = client.post("/tasks", content=zip_of(members), headers={"Content-Type": "application/zip"}).json()
    assert sorted(zipped["labels"]) == sorted(FIVE)
    assert zipped["negatives"] == len(NEGATIVES)
    assert known_of(client, zipped["task_id"]) == pytest.approx(known, abs=1e-3)


def test_negatives_in_folders_of_their_own_are_no_classes(client: httpx.Client) -> None:
    members = {f"{'big' if n % 2 else 'small'}/{name}/0.png": png(name, 0) for n, name in enumerate(FIVE)}
    members |= {f"_negatives/{n % 2}/{n}.png": image for n, image in enumerate(NEGATIVES)}
    zipped = client.post("/tasks", content=zip_of(members), headers={"Content-Type": "application/zip"}).json()
    assert sorted(zipped["shots"]) == sorted(f"{'big' if n % 2 else 'small'}/{name}" for n, name in enumerate(FIVE))
    assert zipped["negatives"] == len(NEGATIVES)


def test_known_is_the_same_from_codes_from_a_head_and_in_a_batch(client: httpx.Client) -> None:
    task_id = with_negatives(client).json()["task_id"]
    for _ in range(3):  # the head is decoded once the task is asked again
        assert known_of(client, task_id) == pytest.approx(known_of(client, task_id), abs=1e-3)
    many = predict(client, task_id, QUERIES * 20)
    assert [answer["known"] for answer in many] == pytest.approx(known_of(client, task_id) * 20, abs=1e-3)


def test_negatives_stay_when_the_task_changes(client: httpx.Client) -> None:
    task_id = with_negatives(client).json()["task_id"]
    grown = add(client, task_id, [(name, png(name, 1)) for name in FIVE]).json()
    assert grown["negatives"] == len(NEGATIVES)
    plain = create(client, shots=2).json()["task_id"]
    assert sum(known_of(client, task_id)[10:]) < 0.7 * sum(known_of(client, plain)[10:])
    assert client.patch(f"/tasks/{task_id}", json={"name": "other"}).json()["negatives"] == len(NEGATIVES)
    assert client.delete(f"/tasks/{task_id}/support/0").json()["negatives"] == len(NEGATIVES)


@pytest.mark.parametrize("call", ["parameters", "export.zip"])
def test_negatives_are_exported_and_come_back(client: httpx.Client, call: str) -> None:
    task_id = with_negatives(client).json()["task_id"]
    known_of(client, task_id)
    exported = client.get(f"/tasks/{task_id}/{call}").content
    back = client.post("/tasks/import", content=exported)
    assert back.status_code == 201, back.text
    assert back.json()["negatives"] == len(NEGATIVES)
    assert known_of(client, back.json()["task_id"]) == pytest.approx(known_of(client, task_id), abs=1e-3)


@pytest.mark.parametrize("call", ["parameters", "export.zip"])
def test_they_come_back_with_their_numbers(client: httpx.Client, call: str) -> None:
    task_id = with_negatives(client).json()["task_id"]
    for number in (0, len(NEGATIVES) - 1):
        client.delete(f"/tasks/{task_id}/negatives/{number}").raise_for_status()
    before = client.get(f"/tasks/{task_id}/negatives").json()["negatives"]
    back = client.post("/tasks/import", content=client.get(f"/tasks/{task_id}/{call}").content).json()["task_id"]
    assert client.get(f"/tasks/{back}/negatives").json()["negatives"] == before
    more(client, back, NEGATIVES[:1])
    assert client.get(f"/tasks/{back}/negatives").json()["negatives"] == [*before, len(NEGATIVES)]


def test_the_onnx_graph_knows_the_negatives(client: httpx.Client) -> None:
    task_id = with_negatives(client).json()["task_id"]
    graph = client.get(f"/tasks/{task_id}/export.onnx").content
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    for query, answer in zip(QUERIES, predict(client, task_id, QUERIES), strict=True):
        picture = np.asarray(Image.open(io.BytesIO(query)))[..., np.newaxis]
        probabilities, (known,) = session.run(["probabilities", "known"], {"picture": picture})
        assert probabilities.shape == (len(FIVE),)
        assert known == pytest.approx(answer["known"], abs=2e-2)


def test_a_stored_task_keeps_them(settings: Settings, tmp_path: Path) -> None:
    changed = settings.model_copy(update={"data_dir": tmp_path})
    with serving(changed) as client:
        task_id = with_negatives(client).json()["task_id"]
        known = known_of(client, task_id)
    with serving(changed) as client:
        assert known_of(client, task_id) == pytest.approx(known, abs=1e-3)


def test_a_negative_is_removed_and_the_others_keep_their_numbers(client: httpx.Client) -> None:
    made = with_negatives(client)
    path, tag = f"/tasks/{made.json()['task_id']}/negatives", made.headers["etag"]
    listed = client.get(path)
    assert (listed.json()["negatives"], listed.headers["etag"]) == (list(range(len(NEGATIVES))), tag)
    removed = client.delete(f"{path}/1", headers={"If-Match": tag})
    assert removed.status_code == 200, removed.text
    assert (removed.json()["negatives"], removed.json()["revision"]) == (len(NEGATIVES) - 1, 1)
    assert_problem(client.delete(f"{path}/2", headers={"If-Match": tag}), 412, "revision is 1")
    assert_problem(client.delete(f"{path}/1"), 404, "no such negative")
    added = client.post(f"/tasks/{made.json()['task_id']}/support", files=[("negatives", ("n", NEGATIVES[0]))])
    assert added.json()["negatives"] == len(NEGATIVES)
    assert client.get(path).json()["negatives"] == [0, *range(2, len(NEGATIVES) + 1)]
    once = {"Idempotency-Key": "once"}
    assert client.delete(f"{path}/0", headers=once).json() == client.delete(f"{path}/0", headers=once).json()


def test_without_the_last_negative_a_task_answers_as_if_it_had_had_none(client: httpx.Client) -> None:
    plain, task_id = create(client).json()["task_id"], with_negatives(client, NEGATIVES[:1]).json()["task_id"]
    for _ in range(3):  # until its head is kept, which has a row for the negative
        assert known_of(client, task_id) != known_of(client, plain)
    assert client.delete(f"/tasks/{task_id}/negatives/0").json()["negatives"] == 0
    assert known_of(client, task_id) == pytest.approx(known_of(client, plain), abs=1e-5)
    assert client.get(f"/tasks/{task_id}/negatives").json()["negatives"] == []
    client.post(f"/tasks/{task_id}/support", files=[("negatives", ("n", NEGATIVES[0]))])
    assert client.get(f"/tasks/{task_id}/negatives").json()["negatives"] == [1]


def test_removed_negatives_stay_removed_in_the_store(settings: Settings, tmp_path: Path) -> None:
    changed = settings.model_copy(update={"data_dir": tmp_path})
    with serving(changed) as client:
        task_id = with_negatives(client).json()["task_id"]
        client.delete(f"/tasks/{task_id}/negatives/0")
    with serving(changed) as client:
        assert client.get(f"/tasks/{task_id}/negatives").json()["negatives"] == list(range(1, len(NEGATIVES)))


def test_the_same_key_with_other_negatives_is_another_request(client: httpx.Client) -> None:
    headers = {"Idempotency-Key": "negatives"}
    first = with_negatives(client, headers=headers)
    assert with_negatives(client, headers=headers).json()["task_id"] == first.json()["task_id"]
    assert_problem(with_negatives(client, NEGATIVES[1:], headers=headers), 422, "Idempotency-Key")
    assert_problem(with_negatives(client, [], headers=headers), 422, "Idempotency-Key")


def test_what_cannot_be_taken_is_refused_by_name(client: httpx.Client) -> None:
    response = with_negatives(client, [NEGATIVES[0], b"text"])
    assert_problem(response, 422, "negative 1")
    assert response.json()["index"] == len(FIVE) + 1
    assert_problem(with_negatives(client, NEGATIVES[:1] * 101), 422, "101 negatives")
    texts = client.post("/tasks", data={"labels": FIVE, "negatives": "a.png"}, files=files([png(n) for n in FIVE]))
    assert_problem(texts, 422, "send it as a file")
    task_id = create(client).json()["task_id"]
    parts = [*files([png("ring", 3)]), ("negatives", ("0", NEGATIVES[0]))]
    assert_problem(client.post(f"/tasks/{task_id}/evaluate", data={"labels": ["ring"]}, files=parts), 422, "negatives")
    beside_zip = [("archive", ("a.zip", zip_of({"a/0.png": png("ring"), "b/0.png": png("ex")})))]
    assert_problem(client.post("/tasks", files=[*beside_zip, parts[-1]]), 422, "_negatives")
    folders = zip_of({"ring/0.png": png("ring"), "_negatives/0.png": png("wave")})
    as_zip = {"content": folders, "headers": {"Content-Type": "application/zip"}}
    assert_problem(client.post(f"/tasks/{task_id}/evaluate", **as_zip), 422, "no use of negatives", "_negatives")


def more(
    client: httpx.Client,
    task_id: str,
    negatives: list[bytes] = NEGATIVES,
    examples: list[tuple[str, bytes]] | None = None,
    headers: dict[str, str] | None = None,
) -> httpx.Response:
    """Add negatives to a task in a form, perhaps with examples of classes."""
    labels, images = zip(*examples, strict=True) if examples else ((), ())
    parts = [*files(list(images)), *(("negatives", (f"{n}", data)) for n, data in enumerate(negatives))]
    return client.post(f"/tasks/{task_id}/support", data={"labels": list(labels)}, files=parts, headers=headers)


def test_negatives_added_later_do_what_those_given_at_once_do(client: httpx.Client) -> None:
    plain, known = create(client).json(), known_of(client, with_negatives(client).json()["task_id"])
    task_id = plain["task_id"]
    before = known_of(client, task_id)
    half = len(NEGATIVES) // 2
    changed = more(client, task_id, NEGATIVES[:half]).json()
    assert (changed["negatives"], changed["revision"], changed["shots"]) == (half, 1, plain["shots"])
    assert changed["adaptation"] == plain["adaptation"]
    between = known_of(client, task_id)
    assert more(client, task_id, NEGATIVES[half:]).json()["negatives"] == len(NEGATIVES)
    for _ in range(3):  # the head that was decoded before must not answer
        assert known_of(client, task_id) == pytest.approx(known, abs=1e-2)
    assert sum(before[10:]) > sum(between[10:]) > sum(known[10:])


def test_negatives_and_examples_are_added_together(client: httpx.Client) -> None:
    task_id = create(client).json()["task_id"]
    grown = more(client, task_id, NEGATIVES, [("new", png(FIVE[0], 5)), (FIVE[1], png(FIVE[1], 5))]).json()
    assert (grown["negatives"], grown["shots"]["new"], grown["shots"][FIVE[1]]) == (len(NEGATIVES), 1, 2)
    assert len(client.get(f"/tasks/{task_id}/support").json()["examples"]) == len(FIVE) + 2


def test_json_and_zips_add_them_too(client: httpx.Client) -> None:
    task_id, as_zip = create(client).json()["task_id"], {"headers": {"Content-Type": "application/zip"}}
    path = f"/tasks/{task_id}/support"
    text = [base64.b64encode(image).decode() for image in NEGATIVES[:2]]
    assert client.post(path, json={"negatives": text}).json()["negatives"] == 2
    members = {"set/ring/0.png": png("ring", 4), "set/_negatives/0.png": NEGATIVES[2]}
    added = client.post(path, content=zip_of(members), **as_zip).json()
    assert (added["negatives"], added["shots"]["ring"]) == (3, create(client).json()["shots"]["ring"] + 1)
    alone = zip_of({"_negatives/0.png": NEGATIVES[3]})
    assert client.post(path, content=alone, **as_zip).json()["negatives"] == 4
    deep = zip_of({"set/_negatives/a/b/0.png": NEGATIVES[4], "set/_negatives/c/0.png": NEGATIVES[5]})
    deeper = client.post(path, files={"archive": ("a.zip", deep)}).json()
    assert (deeper["negatives"], deeper["labels"]) == (6, added["labels"])


def test_tasks_without_examples_take_negatives(client: httpx.Client) -> None:
    forgetful = create(client, keep_support="false").json()["task_id"]
    assert_problem(add(client, forgetful, [("ring", png("ring", 1))]), 409, "not kept")
    assert more(client, forgetful).json()["negatives"] == len(NEGATIVES)
    exported = client.get(f"/tasks/{forgetful}/parameters").content
    imported = client.post("/tasks/import", content=exported).json()["task_id"]
    assert more(client, imported, NEGATIVES[:1]).json()["negatives"] == len(NEGATIVES) + 1


def test_one_key_adds_negatives_once(client: httpx.Client) -> None:
    task_id, headers = create(client).json()["task_id"], {"Idempotency-Key": "more"}
    first = more(client, task_id, headers=headers)
    assert more(client, task_id, headers=headers).json() == first.json()
    assert client.get(f"/tasks/{task_id}").json()["negatives"] == len(NEGATIVES)
    assert_problem(more(client, task_id, NEGATIVES[1:], headers=headers), 422, "Idempotency-Key")
    others = {"Idempotency-Key": "both"}
    both = [more(client, task_id, NEGATIVES[:1], [("ring", png("ring", 7))], others).json() for _ in range(2)]
    assert both[0] == both[1]
    assert client.get(f"/tasks/{task_id}").json()["negatives"] == len(NEGATIVES) + 1


def test_negatives_of_several_callers_at_once_are_all_added(client: httpx.Client) -> None:
    task_id = create(client).json()["task_id"]
    with ThreadPoolExecutor(8) as callers:
        wanted = [([negative], [("ring", png("ring", n))] if n % 2 else None) for n, negative in enumerate(NEGATIVES)]
        answers = list(callers.map(lambda each: more(client, task_id, *each), wanted))
    assert {answer.status_code for answer in answers} == {200}
    task = client.get(f"/tasks/{task_id}").json()
    assert (task["negatives"], task["shots"]["ring"]) == (len(NEGATIVES), 1 + len(NEGATIVES) // 2)


def test_what_cannot_be_added_leaves_the_task_as_it_was(client: httpx.Client) -> None:
    task = create(client).json()
    task_id, path = task["task_id"], f"/tasks/{task['task_id']}/support"
    broken = more(client, task_id, [NEGATIVES[0], b"text"], [("ring", png("ring", 1))])
    assert_problem(broken, 422, "negative 1")
    assert broken.json()["index"] == 2
    assert_problem(more(client, task_id, NEGATIVES[:1], headers={"If-Match": '"7"'}), 412)
    assert_problem(more(client, task_id, []), 422, "no images")
    assert_problem(client.post(path, json={}), 422, "no images")
    assert_problem(client.post(path, json={"negatives": "text"}), 422, "negatives")
    assert_problem(more(client, "0" * 24), 404)
    assert client.get(f"/tasks/{task_id}").json() == task
    assert more(client, task_id, NEGATIVES[:1] * 60).status_code == 200
    assert_problem(more(client, task_id, NEGATIVES[:1] * 41), 422, "101 negatives")
    assert_problem(more(client, task_id, NEGATIVES[:1] * 41, [("ring", png("ring", 1))]), 422, "101 negatives")
    assert client.get(f"/tasks/{task_id}").json()["revision"] == 1


def test_examples_and_negatives_fill_a_task_together(settings: Settings, tmp_path: Path) -> None:
    """Else its export could not be imported."""
    with serving(settings.model_copy(update={"data_dir": tmp_path, "max_images": 12})) as client:
        task_id = with_negatives(client, NEGATIVES[:6]).json()["task_id"]
        assert more(client, task_id, NEGATIVES[:1]).json()["negatives"] == 7
        assert_problem(more(client, task_id, NEGATIVES[:1]), 422, "5 examples and 8 negatives")
        assert_problem(add(client, task_id, [("ring", png("ring", 1))]), 422, "6 examples and 7 negatives")
        assert client.delete(f"/tasks/{task_id}/support/0").status_code == 200
        assert add(client, task_id, [("ring", png("ring", 1))]).status_code == 200


def test_a_model_that_cannot_use_them_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(WEIGHTS / "omniglot", folder)
    (folder / "known.safetensors").unlink()
    with serving(Settings(data_dir=tmp_path / "data", weights=folder, device="cpu")) as client:
        assert_problem(with_negatives(client), 422, "leave them out")


NAN = np.full((2, 64), np.nan, np.float32)


@pytest.mark.parametrize(
    "negatives",
    [
        NAN,
        np.zeros((0, 64), np.float32),
        np.zeros((2, 63), np.float32),
        np.zeros((2, 64), np.float16),
        np.zeros(64, np.float32),
        np.zeros((101, 64), np.float32),
        np.full((1, 64), np.inf, np.float32),
        np.full((1, 64), 3e38, np.float32),
    ],
    ids=["not finite", "none", "of another width", "in float16", "flat", "too many", "infinite", "huge"],
)
def test_tampered_negatives_are_refused(client: httpx.Client, negatives: Any) -> None:
    exported = client.get(f"/tasks/{with_negatives(client).json()['task_id']}/parameters").content
    header = httpx.Response(200, content=exported[8 : 8 + int.from_bytes(exported[:8], "little")]).json()
    changed = save(load(exported) | {"negatives": negatives}, metadata=header["__metadata__"])
    assert_problem(client.post("/tasks/import", content=changed), 422, "negatives")
