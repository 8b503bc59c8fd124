"""Routes about the service itself."""

import re

import httpx


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
