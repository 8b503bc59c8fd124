"""What a client connects with: the base URL, the key, and the proxies of the environment."""

import re
import urllib.request
from typing import TypeVar

import httpx

from leo_client.errors import BadSettings

Http = TypeVar("Http", httpx.Client, httpx.AsyncClient)

VISIBLE = re.compile(r"[!-~](?:[ -~]*[!-~])?")  # what an HTTP header may hold, in ASCII


def connect(kind: type[Http], base_url: str, key: str | None, timeout: float) -> Http:
    """Make httpx's client of this kind, for the arguments of `leo_client.Client`.

    Raises:
        BadSettings: the URL, the key or a proxy that the environment names cannot be used.
    """
    headers = {"User-Agent": "leo-client"}
    if key:
        headers["Authorization"] = f"Bearer {header_value(key, 'the key')}"
    url = _checked(base_url)
    try:
        return kind(base_url=url, headers=headers, timeout=timeout)
    except (ImportError, ValueError, httpx.InvalidURL) as error:  # httpx makes all proxies ready, used or not
        if urllib.request.proxy_bypass(url.host):
            return kind(base_url=url, headers=headers, timeout=timeout, trust_env=False)
        raise BadSettings(
            f"a proxy that the environment names cannot be used ({_reason(error)}): correct or unset ALL_PROXY, "
            f"HTTP_PROXY and HTTPS_PROXY, or set NO_PROXY={url.host}"
        ) from None


def header_value(value: str, name: str) -> str:
    """Return a value that is sent as a header. Raises `BadSettings`, which does not show it."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    if not VISIBLE.fullmatch(value):
        what = "a line break" if re.search("[\r\n]", value) else "a space at an end"
        if not value.isascii():
            what = "a character that is not ASCII, such as a long dash"
        elif re.search(r"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f]", value):
            what = "a control character"
        raise BadSettings(f"{name} holds {what}; copy it again, or strip() what was read from a file")
    return value


def _checked(base_url: str) -> httpx.URL:
    try:
        url = httpx.URL(base_url)
    except (httpx.InvalidURL, TypeError) as error:
        raise BadSettings(f"the base URL cannot be used: {error}; give one such as http://127.0.0.1:8000") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise BadSettings(
            f"the base URL {str(url.copy_with(username=None, password=None))!r} has no protocol or no host: "
            "begin it with http:// or https://"
        )
    return url


def _reason(error: Exception) -> str:
    """What is wrong, without the proxy's URL: it may hold a password."""
    if isinstance(error, ImportError):
        return "a SOCKS proxy needs the package socksio: pip install 'httpx[socks]'"
    return "its URL is not one of http://, https://, socks5:// or socks5h://"
