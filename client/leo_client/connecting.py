"""What a client connects with: the base URL, the key, and the proxies and certificates of the environment."""

import os
import urllib.request
from dataclasses import dataclass
from typing import TypeVar

import httpx

from leo_client.checks import header_value, seconds
from leo_client.errors import BadSettings
from leo_client.version import __version__

Http = TypeVar("Http", httpx.Client, httpx.AsyncClient)

LOCAL = "http://127.0.0.1:8000"


@dataclass(frozen=True)
class Service:
    """Where the service is, and what every request to it carries."""

    base_url: httpx.URL
    headers: dict[str, str]

    @classmethod
    def named(cls, base_url: str | httpx.URL | None, key: str | None) -> "Service":
        """Take what was given, else LEO_URL and LEO_API_KEY, else the service on this machine, without a key.

        Raises:
            BadSettings: the URL or the key cannot be used.
        """
        base_url = os.environ.get("LEO_URL") or LOCAL if base_url is None else base_url
        key = os.environ.get("LEO_API_KEY") if key is None else key
        headers = {"User-Agent": f"leo-client/{__version__}"}
        if key:
            headers["Authorization"] = f"Bearer {header_value(key, 'the key')}"
        return cls(_checked(base_url), headers)

    def url(self, path: str) -> httpx.URL:
        """The address of a call."""
        prefix = self.base_url.raw_path.partition(b"?")[0].rstrip(b"/")
        return self.base_url.copy_with(raw_path=prefix + path.encode())


def connect(kind: type[Http], given: Http | None, url: httpx.URL, timeout: float | httpx.Timeout | None) -> Http:
    """Return the client of httpx that was given, or make one.

    Raises:
        TypeError: the given one is not of this kind, or the timeout is no number.
        BadSettings: the timeout is no time that can be waited, or a proxy or a certificate file that the environment
            names cannot be used.
    """
    if given is not None:
        if not isinstance(given, kind):
            raise TypeError(f"http_client must be an httpx.{kind.__name__}, not {type(given).__name__}")
        return given
    if timeout is not None and not isinstance(timeout, httpx.Timeout):
        timeout = seconds(timeout, "timeout")
    try:
        return kind(timeout=timeout)
    except (ImportError, ValueError, httpx.InvalidURL) as error:  # httpx makes all proxies ready, used or not
        if urllib.request.proxy_bypass(url.host):
            return kind(timeout=timeout, trust_env=False)
        raise BadSettings(
            f"a proxy that the environment names cannot be used ({_reason(error)}): correct or unset ALL_PROXY, "
            f"HTTP_PROXY and HTTPS_PROXY, or set NO_PROXY={url.host}"
        ) from None
    except OSError as error:
        names = [name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)]
        which = " and ".join(f"{name}={os.environ[name]}" for name in names) or "the certificates of this machine"
        raise BadSettings(
            f"{which} cannot be read ({error.strerror or error}): give a file of certificates in PEM, or unset it"
        ) from error


def proxy_between(url: httpx.URL) -> str | None:
    """Name the proxy of the environment that requests to `url` go through, without its password."""
    proxies = urllib.request.getproxies()
    scheme = url.scheme if proxies.get(url.scheme) else "all"
    address = proxies.get(scheme)
    if not address or urllib.request.proxy_bypass(url.host):
        return None
    shown = httpx.URL(address if "://" in address else f"http://{address}").copy_with(username=None, password=None)
    return f"the proxy {shown} ({scheme.upper()}_PROXY)"


def _checked(base_url: str | httpx.URL) -> httpx.URL:
    try:
        url = httpx.URL(base_url)
    except (httpx.InvalidURL, TypeError, UnicodeError) as error:
        raise BadSettings(f"the base URL cannot be used: {error}; give one such as {LOCAL}") from None
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
