"""Tests of the Python client against a real server, and behind a proxy that cuts connections."""

import asyncio
import contextlib
import io
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from app.settings import PROJECT
from leo_client import AsyncClient, Client, NotFound, ProblemError, Task, Unreachable
from leo_client.images import to_file
from tests.helpers.drawn import CHARACTERS, canvas, png, shaky

NAMES = ["ring", "ex", "tee"]


@pytest.fixture
def url(client: httpx.Client) -> str:
    return str(client.base_url)


@pytest.fixture
def leo(url: str) -> Iterator[Client]:
    with Client(url) as leo:
        yield leo


def drawing(name: str, seed: int) -> Image.Image:
    return canvas(shaky(CHARACTERS[name], seed))


def test_create_and_predict_take_every_kind_of_image(leo: Client, tmp_path: Path) -> None:
    file = tmp_path / "tee.png"
    file.write_bytes(png("tee", 1))
    task = leo.create({"ring": [png("ring", 1)], "ex": drawing("ex", 1), "tee": file}, name="kinds", ttl_seconds=60)
    assert task.labels == ["ring", "ex", "tee"]
    assert (task.name, task.shots) == ("kinds", {"ring": 1, "ex": 1, "tee": 1})
    assert task.expires_at is not None
    assert (task.expires_at - task.created_at).total_seconds() == pytest.approx(60)
    grey = np.asarray(drawing("ex", 5))
    colours = np.stack([grey] * 3, axis=-1)
    kinds = [grey, colours, grey / 255, grey > 128, drawing("ex", 5).convert("CMYK"), drawing("ex", 5)]
    answers = leo.predict(task.task_id, kinds, top_k=2, threshold=0.5)
    assert [answer.label for answer in answers] == ["ex"] * len(kinds)
    assert len(answers[0].top_k) == 2
    assert not answers[0].unknown


def test_an_evaluation_says_what_is_wrong(leo: Client) -> None:
    task = leo.create({name: [png(name, seed) for seed in range(2)] for name in NAMES})
    found = leo.evaluate(task.task_id, [("ring", png("ring", 9)), ("ring", png("ex", 9)), ("wave", png("wave", 9))])
    assert (found.accuracy.value, found.accuracy.low < 0.5 < found.accuracy.high) == (0.5, True)
    assert [(each.index, each.label, each.worth_adding) for each in found.wrong] == [
        (1, "ring", True),
        (2, "wave", True),
    ]
    assert [each.label for each in found.classes if not each.is_class] == ["wave"]
    assert found.confusion.counts[0] == [1, 1, 0]
    assert 0 <= found.ece <= 1


def test_a_whole_task_goes_there_and_back(leo: Client) -> None:
    task = leo.create({name: png(name) for name in NAMES}, keep_images=True)
    assert leo.picture(task.task_id, 0).startswith(b"\x89PNG")
    again = leo.import_task(leo.export(task.task_id), name="again")
    assert (again.name, again.shots) == ("again", task.shots)
    assert leo.picture(again.task_id, 2) == leo.picture(task.task_id, 2)
    assert leo.import_task(leo.export(task.task_id), model="omniglot").name is None


def test_negatives_make_pictures_like_them_less_known(leo: Client) -> None:
    drawn = {name: png(name) for name in NAMES}
    plain, sharpened = leo.create(drawn), leo.create(drawn, negatives=[png("wave", 1), png("wave", 2)])
    assert (plain.negatives, sharpened.negatives) == (0, 2)
    before, after = (leo.predict(task.task_id, png("wave", 9))[0].known for task in (plain, sharpened))
    assert before is not None
    assert after is not None
    assert after < before
    assert leo.create(drawn, negatives=png("wave", 1)).negatives == 1
    assert leo.add_support(plain.task_id, negatives=[png("wave", 1)]).negatives == 1
    grown = leo.add_support(plain.task_id, {"ring": png("ring", 5)}, negatives=png("wave", 2))
    assert (grown.negatives, grown.shots["ring"]) == (2, 2)
    added = leo.predict(plain.task_id, png("wave", 9))[0].known
    assert added is not None
    assert added < before
    with pytest.raises(ValueError, match="no examples"):
        leo.add_support(plain.task_id)


def test_feedback_counts_and_teaches(leo: Client) -> None:
    task = leo.create({name: png(name) for name in NAMES})
    judged = leo.feedback(task.task_id, [("ring", "ring"), ("ring", "wave", png("wave"))])
    assert (judged.feedback.judged, judged.feedback.right) == (2, 1)
    assert judged.shots["wave"] == 1


def test_negatives_are_listed_and_removed(leo: Client) -> None:
    task = leo.create({name: png(name) for name in NAMES}, negatives=[png("wave", seed) for seed in range(3)])
    assert leo.negatives(task.task_id) == [0, 1, 2]
    removed = leo.remove_negative(task.task_id, 1, revision=task.revision)
    assert (removed.negatives, leo.negatives(task.task_id)) == (2, [0, 2])
    with pytest.raises(ProblemError, match="412"):
        leo.remove_negative(task.task_id, 0, revision=task.revision)
    with pytest.raises(ProblemError, match="404"):
        leo.remove_negative(task.task_id, 1)


def test_examples_are_listed_removed_and_relabelled(leo: Client) -> None:
    task = leo.create({name: [png(name, seed) for seed in range(2)] for name in NAMES})
    found = leo.examples(task.task_id)
    assert [(each.index, each.label, each.suspect) for each in found] == [
        (index, NAMES[index // 2], False) for index in range(6)
    ]
    removed = leo.remove_example(task.task_id, 2, revision=task.revision)
    assert (removed.shots, removed.revision) == ({"ring": 2, "ex": 1, "tee": 2}, 1)
    assert leo.relabel_example(task.task_id, 5, "new").labels == [*NAMES, "new"]
    with pytest.raises(ProblemError, match="412"):
        leo.remove_example(task.task_id, 0, revision=removed.revision)
    with pytest.raises(ProblemError, match="412"):
        leo.update(task.task_id, name="late", revision=removed.revision)
    with pytest.raises(ProblemError, match="404"):
        leo.remove_example(task.task_id, 2)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((3, 3), dtype=np.complex64), "complex64"),
        (np.full((3, 3), -0.5), "0..1"),
        (np.zeros((2, 3, 3, 3), dtype=np.uint8), "H,W"),
        (7, "a path"),
    ],
)
def test_anything_but_an_image_is_an_error(leo: Client, image: object, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        leo.predict("any", [image])  # type: ignore[list-item]


def test_tasks_from_pairs_are_listed_read_downloaded_and_deleted(leo: Client) -> None:
    made = [leo.create([(name, png(name)) for name in NAMES], name=f"c{n}") for n in range(3)]
    assert leo.get(made[1].task_id) == made[1]
    listed = [task.task_id for task in leo.tasks()]
    assert [task for task in listed if task in {m.task_id for m in made}] == [m.task_id for m in made[::-1]]
    assert len(leo.page(limit=1).tasks) == 1
    assert leo.parameters(made[0].task_id)[8:9] == b"{"  # safetensors' header
    model = leo.models()[0]
    assert (model.name, model.default, model.input) == ("omniglot", True, "drawings")
    assert (model.resolution, model.feature_dim, model.limits.max_ways) == (28, 512, 100)
    assert model.card["date"]
    leo.delete(made[0].task_id)
    with pytest.raises(ProblemError) as refused:
        leo.get(made[0].task_id)
    assert refused.value.status == 404


def test_a_task_grows_changes_and_is_imported_again(leo: Client) -> None:
    task = leo.create({name: png(name) for name in NAMES[:2]}, ttl_seconds=60)
    grown = leo.add_support(task.task_id, {NAMES[2]: [png(NAMES[2]), png(NAMES[2], 1)]})
    assert grown.shots == {NAMES[0]: 1, NAMES[1]: 1, NAMES[2]: 2}
    assert grown.quality is not None
    changed = leo.update(task.task_id, name="a later name", ttl_seconds=None)
    assert (changed.name, changed.expires_at) == ("a later name", None)
    assert [found.task_id for found in leo.page(name="LATER", label=NAMES[2]).tasks] == [task.task_id]
    back = leo.import_head(leo.parameters(task.task_id), name="back")
    assert back.shots == grown.shots
    assert b"probabilities" in leo.onnx(task.task_id)
    assert b"index.html" in leo.standalone(task.task_id)
    bare = leo.create({name: png(name) for name in NAMES[:2]}, keep_support=False)
    with pytest.raises(ProblemError, match="keep_support"):
        leo.add_support(bare.task_id, {NAMES[2]: png(NAMES[2])})


def test_a_refusal_carries_the_problem_document(leo: Client) -> None:
    with pytest.raises(ProblemError, match="image 1 is not a PNG") as refused:
        leo.create([("a", png("ring")), ("b", b"not an image")])
    assert (refused.value.status, refused.value.index) == (422, 1)
    assert refused.value.document["title"]


def test_the_async_client_has_the_same_calls(url: str) -> None:
    async def scenario() -> None:
        async with AsyncClient(url) as leo:
            task = await leo.create({name: png(name) for name in NAMES})
            answers = await asyncio.gather(*(leo.predict(task.task_id, [drawing(name, 4)]) for name in NAMES))
            assert [answer[0].label for answer in answers] == NAMES
            assert task.task_id in [listed.task_id async for listed in leo.tasks()]
            assert (await leo.get(task.task_id)).task_id == task.task_id
            assert await leo.parameters(task.task_id)
            assert await leo.models()
            assert (await leo.add_support(task.task_id, {"zed": png("zed")})).labels[-1] == "zed"
            assert (await leo.update(task.task_id, name="x")).name == "x"
            assert (await leo.import_head(await leo.parameters(task.task_id))).labels[-1] == "zed"
            assert await leo.onnx(task.task_id)
            assert len((await leo.page(limit=1)).tasks) == 1
            await leo.delete(task.task_id)
            with pytest.raises(ProblemError):
                await leo.get(task.task_id)

    asyncio.run(scenario())


class LossyProxy:
    """A proxy that cuts the first `cuts` connections once the server has begun to answer."""

    def __init__(self, url: str, cuts: int) -> None:
        self._there = httpx.URL(url)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.cut, self._cuts = 0, cuts
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                here, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=(here,), daemon=True).start()

    def _pass_on(self, here: socket.socket) -> None:
        with here, socket.create_connection((self._there.host, self._there.port)) as there:

            def upwards() -> None:
                while data := here.recv(65536):
                    there.sendall(data)

            sending = threading.Thread(target=self._quietly, args=(upwards,), daemon=True)
            sending.start()
            while data := there.recv(65536):
                if self.cut < self._cuts:
                    self.cut += 1  # the server has made the task, and the answer is lost
                    here.shutdown(socket.SHUT_RDWR)
                    break
                here.sendall(data)
            there.shutdown(socket.SHUT_RDWR)
            sending.join()

    @staticmethod
    def _quietly(work: object) -> None:
        with contextlib.suppress(OSError):
            work()  # type: ignore[operator]

    def close(self) -> None:
        self._listening.close()


def test_a_lost_answer_makes_no_second_task(url: str) -> None:
    proxy = LossyProxy(url, cuts=2)
    with Client(proxy.url) as unlucky, Client(url) as leo:
        before = len(list(leo.tasks()))
        task = unlucky.create({name: png(name) for name in NAMES})
        assert proxy.cut == 2
        assert len(list(leo.tasks())) == before + 1
        assert leo.get(task.task_id) == task
    proxy.close()


def test_no_answer_raises_unreachable_after_the_last_attempt() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}", retries=1) as leo, pytest.raises(Unreachable, match=str(port)):
        leo.models()


def busy_twice(attempts: list[httpx.Request]) -> httpx.MockTransport:
    """A server that is busy twice and then refuses; it records what it was sent."""

    def answer(request: httpx.Request) -> httpx.Response:
        attempts.append(request)
        if len(attempts) < 3:
            return httpx.Response(503, headers={"Retry-After": "0"}, json={"detail": "busy"})
        return httpx.Response(422, json={"detail": "no"})

    return httpx.MockTransport(answer)


def test_a_busy_answer_is_retried_and_a_refusal_is_not(url: str) -> None:
    attempts: list[httpx.Request] = []
    leo = Client(url, retries=4)
    leo._http = httpx.Client(transport=busy_twice(attempts), base_url=url)
    with leo, pytest.raises(ProblemError, match="no") as refused:
        leo.models()
    assert refused.value.status == 422
    assert len(attempts) == 3


def test_the_async_client_retries_as_often_as_it_may(url: str) -> None:
    async def send_to_a_busy_server(retries: int) -> tuple[int, int]:
        attempts: list[httpx.Request] = []
        leo = AsyncClient(url, retries=retries)
        leo._http = httpx.AsyncClient(transport=busy_twice(attempts), base_url=url)
        async with leo:
            with pytest.raises(ProblemError) as refused:
                await leo.create({"ring": png("ring"), "ex": png("ex")})
        assert len({request.headers["Idempotency-Key"] for request in attempts}) == 1
        return refused.value.status, len(attempts)

    assert asyncio.run(send_to_a_busy_server(retries=1)) == (503, 2)
    assert asyncio.run(send_to_a_busy_server(retries=4)) == (422, 3)


def test_all_attempts_of_a_change_carry_one_idempotency_key(url: str) -> None:
    calls: list[Callable[[Client], object]] = [
        lambda leo: leo.add_support("any", {"ring": png("ring")}),
        lambda leo: leo.feedback("any", [("ring", "ex")]),
        lambda leo: leo.import_head(b"head"),
        lambda leo: leo.import_task(b"zip"),
        lambda leo: leo.remove_example("any", 0, revision=3),
        lambda leo: leo.relabel_example("any", 0, "ring", revision=3),
        lambda leo: leo.update("any", name="x", revision=3),
    ]
    keys = set()
    for call in calls:
        attempts: list[httpx.Request] = []
        with Client(url) as leo:
            leo._http = httpx.Client(transport=busy_twice(attempts), base_url=url)
            with pytest.raises(ProblemError) as refused:
                call(leo)
        assert refused.value.status == 422
        assert len(attempts) == 3
        (key,) = {request.headers["Idempotency-Key"] for request in attempts}
        keys.add(key)
    assert len(keys) == len(calls)


def test_a_change_whose_answer_was_lost_is_made_once(leo: Client, url: str) -> None:
    class LosesFirstAnswer(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            response = super().handle_request(request)
            nonlocal sent
            sent += 1
            if sent == 1:
                response.close()
                raise httpx.RemoteProtocolError("the connection was lost", request=request)
            return response

    sent = 0
    task = leo.create({name: png(name) for name in NAMES[:2]})
    exported = leo.export(task.task_id)
    before = len(list(leo.tasks()))
    calls: list[Callable[[Client], Task]] = [
        lambda losing: losing.add_support(task.task_id, {"zed": png("zed")}),
        lambda losing: losing.feedback(task.task_id, [(NAMES[0], NAMES[0])]),
        lambda losing: losing.remove_example(task.task_id, 2),
        lambda losing: losing.import_task(exported),
        lambda losing: losing.import_head(leo.parameters(task.task_id)),
    ]
    for call in calls:
        sent = 0
        with httpx.Client(transport=LosesFirstAnswer()) as http, Client(url, http_client=http) as losing:
            call(losing)
        assert sent == 2
    assert leo.get(task.task_id).revision == 3
    assert len(list(leo.tasks())) == before + 2


def test_a_deletion_whose_answer_was_lost_is_done(url: str) -> None:
    """The first attempt deletes the task, and the second finds none."""

    def answer(request: httpx.Request) -> httpx.Response:
        attempts.append(request)
        if len(attempts) == 1:
            raise httpx.RemoteProtocolError("the connection was lost", request=request)
        return httpx.Response(404, json={"detail": "no such task"})

    attempts: list[httpx.Request] = []
    with Client(url) as leo:
        leo._http = httpx.Client(transport=httpx.MockTransport(answer), base_url=url)
        leo.delete("any")
        assert len(attempts) == 2
        with pytest.raises(NotFound):
            leo.delete("any")  # nothing was lost here


def test_a_deletion_of_one_revision_is_never_repeated(url: str) -> None:
    attempts: list[httpx.Request] = []
    with Client(url) as leo:
        leo._http = httpx.Client(transport=busy_twice(attempts), base_url=url)
        with pytest.raises(ProblemError, match="busy"):
            leo.delete("any", revision=3)
    assert [request.headers["If-Match"] for request in attempts] == ['"3"']


def test_importing_the_client_imports_nothing_heavy() -> None:
    code = (
        "import sys, leo_client\n"
        "bad = [m for m in sys.modules if m.split('.')[0] in ('torch', 'model', 'fastapi', 'numpy', 'PIL')\n"
        "       or m.split('.')[0] == 'app']\n"
        "print(bad)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PROJECT)
    assert done.stdout.strip() == "[]"


def test_an_array_becomes_a_png() -> None:
    with Image.open(io.BytesIO(to_file(np.zeros((4, 5), dtype=np.uint8)))) as picture:
        assert (picture.format, picture.size) == ("PNG", (5, 4))


def test_open_file_is_one_image(leo: Client, tmp_path: Path) -> None:
    data = {name: png(name, 0) for name in NAMES}
    paths = {name: tmp_path / f"{name}.png" for name in NAMES}
    for name, path in paths.items():
        path.write_bytes(data[name])
    with paths["ring"].open("rb") as ring, paths["ex"].open("rb") as ex:
        task = leo.create({"ring": ring, "ex": [ex, io.BytesIO(data["ex"])]})
    assert task.shots == {"ring": 1, "ex": 2}
    assert leo.add_support(task.task_id, [("tee", io.BytesIO(data["tee"]))]).shots["tee"] == 1
    with paths["ring"].open("rb") as ring:
        assert [answer.label for answer in leo.predict(task.task_id, ring)] == ["ring"]
        with pytest.raises(ValueError, match=r"seek\(0\)"):
            leo.predict(task.task_id, ring)
    answers = leo.predict(task.task_id, [io.BytesIO(data["ex"]), paths["tee"]])
    assert [answer.label for answer in answers] == ["ex", "tee"]
    with paths["ring"].open(encoding="latin-1") as text, pytest.raises(TypeError, match="rb"):
        leo.predict(task.task_id, text)  # type: ignore[arg-type]
