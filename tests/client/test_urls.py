"""Images that the client names by URL, for the service to fetch."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from safetensors.numpy import load

from app.settings import Settings
from leo_client import AsyncClient, Client, Unprocessable
from tests.helpers.drawn import png
from tests.helpers.picture_host import PictureHost, picture_host
from tests.helpers.serving import serving


@pytest.fixture(scope="module")
def host() -> Iterator[PictureHost]:
    with picture_host() as host:
        yield host


@pytest.fixture(scope="module")
def leo(settings: Settings, host: PictureHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of a service that may fetch pictures from that host."""
    allowing = settings.model_copy(
        update={"image_hosts": f"127.0.0.1:{host.port}", "data_dir": tmp_path_factory.mktemp("urls")}
    )
    with serving(allowing) as service, Client(str(service.base_url)) as leo:
        yield leo


def test_urls_stand_wherever_images_do(leo: Client, host: PictureHost, tmp_path: Path) -> None:
    def url(name: str, seed: int) -> httpx.URL:
        return httpx.URL(host.url(f"/{name}-{seed}.png"))

    (tmp_path / "ring.png").write_bytes(png("ring", 2))
    examples = {"ring": [url("ring", 1), tmp_path / "ring.png"], "ex": [url("ex", 1), png("ex", 2)]}
    task = leo.create(
        examples, name="by URL", ttl_seconds=600, keep_images=True, negatives=[url("wave", 1), png("wave", 2)]
    )
    assert (task.shots, task.negatives, task.name) == ({"ring": 2, "ex": 2}, 2, "by URL")
    assert leo.picture(task.task_id, 2)
    answers = leo.predict(task.task_id, [url("ring", 9), png("ex", 9)], top_k=1)
    assert [(answer.label, len(answer.top_k)) for answer in answers] == [("ring", 1), ("ex", 1)]
    assert leo.predict(task.task_id, url("ex", 9))[0].label == "ex"
    assert leo.add_support(task.task_id, {"tee": url("tee", 1)}, negatives=url("wave", 3)).shots["tee"] == 1
    assert leo.get(task.task_id).negatives == 3
    assert leo.feedback(task.task_id, [("ex", "tee", url("tee", 2))]).shots["tee"] == 2
    assert leo.evaluate(task.task_id, [("ring", url("ring", 8)), ("ex", png("ex", 8))]).accuracy.value == 1


def test_a_task_of_urls_is_the_task_of_their_files(leo: Client, host: PictureHost) -> None:
    names = ("ring", "ex")
    by_url = leo.create({name: httpx.URL(host.url(f"/{name}-1.png")) for name in names}, keep_support=False)
    by_file = leo.create({name: png(name, 1) for name in names}, keep_support=False)
    one, other = (load(leo.parameters(task.task_id))["fc.weight"] for task in (by_url, by_file))
    assert (one == other).all()


def test_refusals_name_the_image(leo: Client, host: PictureHost) -> None:
    good, absent = httpx.URL(host.url("/ring-1.png")), httpx.URL(host.url("/absent"))
    with pytest.raises(Unprocessable) as refused:
        leo.create({"ring": good, "ex": [png("ex"), absent]})
    assert refused.value.index == 2
    with pytest.raises(Unprocessable, match="host"):
        leo.predict("any", httpx.URL("http://elsewhere.example/ring.png"))


@pytest.mark.parametrize("url", ["ring.png", "/ring.png", "ftp://images.example/ring.png", "http:///ring.png"])
def test_what_the_service_cannot_fetch_is_not_sent(leo: Client, url: str) -> None:
    with pytest.raises(ValueError, match="http or https"):
        leo.predict("any", [httpx.URL(url)])


def test_a_url_as_text_is_told_how_to_be_sent(leo: Client) -> None:
    with pytest.raises(ValueError, match=r"httpx\.URL"):
        leo.predict("any", "https://images.example/ring.png")


def test_the_async_client_sends_urls_too(leo: Client, host: PictureHost) -> None:
    task = leo.create({name: png(name) for name in ("ring", "ex")})

    async def ask() -> str:
        async with AsyncClient(str(leo._service.base_url)) as other:
            return (await other.predict(task.task_id, httpx.URL(host.url("/ex-9.png"))))[0].label

    assert asyncio.run(ask()) == "ex"
