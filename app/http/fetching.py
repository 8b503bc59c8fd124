"""Fetches images that callers name by URL, within limits of bytes, time and number.

All of it happens on an event loop of its own, in a thread: whatever other servers send, and however they send it, the
service's own loop goes on.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any
from weakref import WeakValueDictionary

import httpx

from app import __version__
from app.http.image_hosts import ImageHosts, NotFetched, address_in, name_of
from app.problems import Problem, overloaded
from app.settings import Settings

MOST_URLS = 100  # in one request
MOST_REDIRECTS = 3
SECONDS = 10.0  # that one image may take, from the look-up of its host to its last byte
MOST_CONNECTIONS, MOST_OF_AN_OWNER = 64, 8  # at the same time, in one worker
MOST_ADDRESSES = 4  # of a host that are tried
# Threads that look up names. A name server that does not answer holds one for long, and nothing can stop it.
RESOLVERS, LOOKUPS_OF_AN_OWNER = 64, 4
MOST_PIECES, LEAST_OF_A_PIECE = 1000, 100  # more pieces must hold so many bytes on average, as each takes work

REDIRECTS = (301, 302, 303, 307, 308)
# Nothing of the caller's request is sent: no key, no cookie, no other header.
HEADERS = {
    "User-Agent": f"leo/{__version__}",
    "Accept": "image/*",
    "Accept-Encoding": "identity",
    "Connection": "close",
}
TIMEOUT = httpx.Timeout(SECONDS, connect=SECONDS / 2).as_dict()
INSTEAD = "send the file's bytes as base64"


class Room:
    """How many bytes the images of one request may still take, and how many they have taken."""

    def __init__(self, left: int) -> None:
        self.left, self.taken, self.is_over = left, 0, False


class Share:
    """What one owner's requests may do at the same time."""

    def __init__(self) -> None:
        self.connections, self.lookups = asyncio.Semaphore(MOST_OF_AN_OWNER), asyncio.Semaphore(LOOKUPS_OF_AN_OWNER)


class Fetcher:
    """Fetches images of one worker's requests; owners of requests have equal shares."""

    def __init__(self, settings: Settings) -> None:
        """Raises `ValueError` if `LEO_IMAGE_HOSTS` names no hosts."""
        self._hosts = ImageHosts(settings.image_hosts)
        self._max_bytes, self._max_held_bytes = settings.max_body_bytes, settings.queue_bytes
        self._seconds = settings.request_timeout
        self._held_bytes = 0
        self._resolvers = ThreadPoolExecutor(RESOLVERS, thread_name_prefix="resolve")
        self._connections = asyncio.Semaphore(MOST_CONNECTIONS)
        self._shares: WeakValueDictionary[str, Share] = WeakValueDictionary()  # by their owners

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()

        def run() -> None:
            try:
                loop.run_forever()
            finally:
                loop.close()

        threading.Thread(target=run, name="fetch", daemon=True).start()
        return loop

    @property
    def _has_fetched(self) -> bool:
        return "_loop" in self.__dict__

    @cached_property
    def _transport(self) -> httpx.AsyncHTTPTransport:
        # No `httpx.AsyncClient`, which would keep cookies for later requests and follow proxies of the environment.
        # Connections are not kept: they are made to addresses, and another host may have the same one.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        return httpx.AsyncHTTPTransport(verify=httpx.create_ssl_context(), trust_env=False, limits=limits)

    def close(self) -> None:
        """Stop fetching."""
        if self._has_fetched:
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._resolvers.shutdown(wait=False, cancel_futures=True)

    def room(self, *, beside: int) -> Room:
        """Room for the images of one request, `beside` so many bytes of others, until `release` is called with it."""
        return Room(self._max_bytes - beside)

    async def fetch(self, urls: Mapping[int, str], owner: str, room: Room) -> dict[int, bytes]:
        """Fetch the images of one request: URLs by the images' numbers -> their files by the same numbers.

        Args:
            urls: not one is asked for if another is not allowed.
            owner: whose share they count in.
            room: of the request.

        Raises:
            Problem: 422 with the `index` of an image that is not allowed or cannot be fetched; 413 with that at which
                all are over `LEO_MAX_BODY_BYTES`; 503 if too many bytes are held.
        """
        if not self._hosts:
            index = min(urls)
            raise Problem(
                422, f"image {index} is a URL, and this service loads nothing from elsewhere; {INSTEAD}", index=index
            )
        if len(urls) > MOST_URLS:
            raise Problem(
                422, f"{len(urls)} images are URLs, but one request may name {MOST_URLS}; send the others in another"
            )
        work = self._fetch_all(urls, owner, room)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def release(self, room: Room) -> None:
        """Say that a request is over."""
        if self._has_fetched:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._release, room)

    def _release(self, room: Room) -> None:
        self._held_bytes -= room.taken
        room.is_over = True

    async def _fetch_all(self, urls: Mapping[int, str], owner: str, room: Room) -> dict[int, bytes]:
        checked = {}
        for index, text in urls.items():
            with _naming(index):
                checked[index] = self._hosts.check(text)
        share = self._shares.setdefault(owner, Share())

        async def fetch_one(index: int, url: httpx.URL) -> bytes:
            with _naming(index):
                async with share.connections, self._connections:
                    return await self._fetch_one(url, room, share)

        tasks = {index: asyncio.create_task(fetch_one(index, url)) for index, url in checked.items()}
        try:
            async with asyncio.timeout(self._seconds):
                return dict(zip(tasks, await asyncio.gather(*tasks.values()), strict=True))
        except TimeoutError:
            index = next((index for index, task in tasks.items() if task.cancelled()), min(tasks))
            raise Problem(
                422,
                f"image {index} was not fetched within the {self._seconds:g} s that a request may take; "
                f"send fewer URLs, or {INSTEAD}",
                index=index,
            ) from None
        finally:
            for task in tasks.values():
                task.cancel()

    async def _fetch_one(self, url: httpx.URL, room: Room, share: Share) -> bytes:
        """Fetch one image. Raises `NotFetched` or `Problem`, which say why."""
        host = name_of(url)
        try:
            async with asyncio.timeout(SECONDS):
                for _ in range(MOST_REDIRECTS + 1):
                    host = name_of(url)
                    async with contextlib.aclosing(await self._ask(url, share)) as response:
                        if (elsewhere := _redirect(response)) is None:
                            return await self._read(response, room)
                    url = self._hosts.check(str(url.join(elsewhere)), "is redirected to")
                raise NotFetched(f"is redirected more than {MOST_REDIRECTS} times; send the URL it ends at")
        except (TimeoutError, httpx.TimeoutException):
            reason = f"{host} did not send it within {SECONDS:g} s"
        except httpx.ConnectError as error:
            bad_certificate = "certificate" in str(error).lower()
            reason = f"{host} " + ("has a certificate that is not trusted" if bad_certificate else "cannot be reached")
        except (httpx.HTTPError, httpx.InvalidURL, ValueError):
            reason = f"{host} answered with something that cannot be read"
        raise NotFetched(f"was not fetched: {reason}; try again, or {INSTEAD}")

    async def _ask(self, url: httpx.URL, share: Share) -> httpx.Response:
        """Ask a host, at the first of its addresses that can be reached; the body is still to be read."""
        *others, last = await self._addresses(url, share)
        for address in others:
            with contextlib.suppress(httpx.ConnectError, httpx.ConnectTimeout):
                return await self._ask_at(address, url)
        return await self._ask_at(last, url)

    async def _ask_at(self, address: str, url: httpx.URL) -> httpx.Response:
        # To the address, which was checked: it does not matter if the name leads elsewhere in the next moment. The
        # certificate is still that of the name.
        request = httpx.Request(
            "GET",
            url.copy_with(host=address),
            headers={"Host": url.netloc.decode("ascii"), **HEADERS},
            extensions={"timeout": TIMEOUT, "sni_hostname": url.raw_host.decode("ascii")},
        )
        return await self._transport.handle_async_request(request)

    async def _addresses(self, url: httpx.URL, share: Share) -> list[str]:
        """The addresses at which a host may be reached. Raises `NotFetched` if there are none."""
        name = name_of(url)
        try:
            addresses = [name] if address_in(name) else await self._look_up(name, share)
        except (OSError, UnicodeError):
            raise NotFetched(f"was not fetched: there is no host {name}; check the URL, or {INSTEAD}") from None
        allowed = [address for address in addresses if self._hosts.may_connect(url, address)]
        if not allowed:
            raise NotFetched(f"was not fetched: {name} leads to an address that is not public; {INSTEAD}")
        return allowed[:MOST_ADDRESSES]

    async def _look_up(self, name: str, share: Share) -> list[str]:
        """The addresses of a name. Raises `OSError` or `UnicodeError`.

        A look-up counts in its owner's share until its thread has ended, also if nobody waits for it any more: else an
        owner's names that no server answers for would soon hold all threads.
        """
        await share.lookups.acquire()

        def ended(found: asyncio.Future[Any]) -> None:
            share.lookups.release()
            if not found.cancelled():
                found.exception()  # or asyncio would report that nobody has asked for it

        loop = asyncio.get_running_loop()
        looking = loop.run_in_executor(self._resolvers, lambda: socket.getaddrinfo(name, None, type=socket.SOCK_STREAM))
        looking.add_done_callback(ended)
        return list(dict.fromkeys(str(each[4][0]) for each in await asyncio.shield(looking)))

    async def _read(self, response: httpx.Response, room: Room) -> bytes:
        """Read an image, as far as there is room. Raises `NotFetched` or `Problem`."""
        if response.status_code != 200:
            raise NotFetched(f"was not fetched: its host answered {response.status_code}; check the URL, or {INSTEAD}")
        if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise NotFetched(f"was not fetched: its host sends it compressed, although not asked to; {INSTEAD}")
        declared = response.headers.get("content-length", "")
        if declared.isdecimal() and (len(declared) > 15 or int(declared) > room.left):  # before the first byte
            raise self._too_large()
        pieces, size = [], 0
        async for piece in response.aiter_raw():
            self._take(room, len(piece))
            pieces.append(piece)
            size += len(piece)
            if len(pieces) > MOST_PIECES and size < LEAST_OF_A_PIECE * len(pieces):
                raise NotFetched(f"was not fetched: its host sends it in pieces of a few bytes; {INSTEAD}")
        return b"".join(pieces)

    def _take(self, room: Room, size: int) -> None:
        """Count bytes that have come. Raises `Problem` 413 or 503 if they are too many."""
        if room.is_over:
            return
        room.left -= size
        room.taken += size
        self._held_bytes += size
        if room.left < 0:
            raise self._too_large()
        if self._max_held_bytes < self._held_bytes > room.taken:
            raise overloaded("the service holds as many bytes of fetched images as it may; try again shortly")

    def _too_large(self) -> Problem:
        return Problem(
            413,
            f"is a URL, and the images are over the limit of {self._max_bytes} bytes together; send fewer or smaller",
        )


def _redirect(response: httpx.Response) -> str | None:
    """Where a response says that the image is instead."""
    return response.headers.get("location") if response.status_code in REDIRECTS else None


@contextlib.contextmanager
def _naming(index: int) -> Iterator[None]:
    """Name the image in what goes wrong with it. Raises `Problem`."""
    try:
        yield
    except NotFetched as error:
        raise Problem(422, f"image {index} {error}", index=index) from None
    except Problem as problem:
        if problem.status == 413:
            raise Problem(413, f"image {index} {problem.detail}", index=index) from None
        raise
