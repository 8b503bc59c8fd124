"""Routes about the service itself, its settings in the README, and admission of requests."""

import asyncio
import re
from typing import Any

import httpx

from app.http.middleware.limits import Admission
from app.settings import PROJECT, Settings
from app.shared_state import SharedState


def test_models_tells_limits_and_card(client: httpx.Client) -> None:
    (model,) = client.get("/models").json()["models"]
    assert model["name"] == "omniglot"
    assert model["default"]
    assert model["limits"]["max_ways"] == 100
    row = model["card"]["validation"]["rows"][0]
    assert (row["way"], row["shot"]) == (5, 1)
    assert row["accuracy"] > 0.98


def test_alive_and_ready(client: httpx.Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready", "workers": 1, "workers_ready": 1}


def test_docs_load_nothing_from_elsewhere(client: httpx.Client) -> None:
    page = client.get("/docs").text
    sources = re.findall(r"""(?:src|href)=["']([^"']+)""", page)
    assert sources
    for source in sources:
        assert source.startswith("/"), source
        assert client.get(source).status_code == 200


def test_openapi_is_complete(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    assert set(document["paths"]) >= {
        "/tasks",
        "/tasks/{task_id}",
        "/tasks/{task_id}/predict",
        "/tasks/{task_id}/parameters",
        "/models",
        "/healthz",
        "/readyz",
    }
    body = document["paths"]["/tasks"]["post"]["requestBody"]["content"]
    assert set(body) == {"multipart/form-data", "application/json"}
    names = set(document["components"]["schemas"])
    for reference in re.findall(r"#/components/schemas/(\w+)", str(document)):
        assert reference in names


def test_every_setting_is_documented() -> None:
    readme = (PROJECT / "README.md").read_text()
    for name in Settings.model_fields:
        assert f"`LEO_{name.upper()}`" in readme, f"{name} is missing in the README's table of settings"
    for name in re.findall(r"`LEO_([A-Z_]+)`", readme):
        assert name.lower() in Settings.model_fields, f"the README documents LEO_{name}, which does not exist"


def test_requests_over_the_limit_are_refused_unread(client: httpx.Client) -> None:
    async def scenario() -> None:
        entered, let_go = asyncio.Event(), asyncio.Event()

        async def slow(*_: Any) -> None:
            entered.set()
            await let_go.wait()

        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def never() -> Any:
            raise AssertionError("the body was read")

        shared_state = SharedState()
        admission = Admission(slow, 1, shared_state)
        scope = {"type": "http", "method": "POST", "path": "/tasks", "headers": [(b"content-length", b"100")]}
        first = asyncio.create_task(admission(scope, never, send))
        await entered.wait()
        await admission(scope, never, send)
        assert sent[0]["status"] == 503
        assert (b"retry-after", b"1") in sent[0]["headers"]
        let_go.set()
        await first
        assert shared_state.requests == 0

    asyncio.run(scenario())


def test_where_one_worker_is_overloaded_all_admit_few() -> None:
    async def scenario() -> None:
        let_go = asyncio.Event()
        statuses: list[int] = []

        async def slow(*_: Any) -> None:
            await let_go.wait()

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        async def never() -> Any:
            raise AssertionError("the body was read")

        shared_state = SharedState(2)
        shared_state.join(1)
        shared_state.own_overloaded_until = 101.0  # set by the other worker
        shared_state.join(0)
        now = 100.5
        admission = Admission(slow, 128, shared_state, clock=lambda: now)
        scope = {"type": "http", "method": "POST", "path": "/tasks", "headers": [(b"content-length", b"100")]}
        tasks = [asyncio.create_task(admission(scope, never, send)) for _ in range(5)]
        await asyncio.sleep(0)
        assert (shared_state.own_requests, statuses) == (2, [503] * 3)
        now = 102.0
        tasks += [asyncio.create_task(admission(scope, never, send)) for _ in range(5)]
        await asyncio.sleep(0)
        assert (shared_state.own_requests, len(statuses)) == (7, 3)
        let_go.set()
        await asyncio.gather(*tasks)

    asyncio.run(scenario())


def test_few_are_admitted_while_many_are_refused() -> None:
    """A burst up to the limit is admitted; under a load that goes on, the queue is short."""
    now = 100.0

    async def scenario() -> None:
        nonlocal now
        gate = asyncio.Event()
        statuses: list[int] = []

        async def slow(*_: Any) -> None:
            await gate.wait()

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        async def never() -> Any:
            raise AssertionError("the body was read")

        admission = Admission(slow, most=64, clock=lambda: now)
        scope = {"type": "http", "method": "POST", "path": "/tasks", "headers": [(b"content-length", b"100")]}

        async def admitted(requests: int) -> int:
            """Send a number of requests at once, let them finish, and return how many were admitted."""
            refused_before = len(statuses)
            gate.clear()
            tasks = [asyncio.create_task(admission(scope, never, send)) for _ in range(requests)]
            await asyncio.sleep(0)
            gate.set()
            await asyncio.gather(*tasks)
            return requests - (len(statuses) - refused_before)

        async def a_second_passes() -> None:
            nonlocal now
            for part in (0.4, 0.4, 0.2):
                now += part
                if part > 0.2:  # a request, so that the service is not idle
                    assert await admitted(1) == 1

        assert await admitted(64) == 64
        assert await admitted(100) == 64
        await a_second_passes()  # 36 of 166 were refused, over a fifth: still overloaded
        assert await admitted(10) == 2
        await a_second_passes()  # 8 of 12 were refused: still overloaded
        assert [await admitted(2) for _ in range(10)] == [2] * 10
        assert await admitted(3) == 2
        await a_second_passes()  # 1 of 25 was refused: no longer overloaded
        assert await admitted(64) == 64
        assert await admitted(100) == 64
        now += 0.6  # no request came meanwhile, but the second is not over
        assert await admitted(3) == 2
        now += 0.6  # the second is over
        assert await admitted(64) == 64
        assert set(statuses) == {503}

    asyncio.run(scenario())
