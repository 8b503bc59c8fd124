"""Which URLs of images the service follows: those on hosts that `LEO_IMAGE_HOSTS` names, where they lead."""

import ipaddress
import re
from functools import lru_cache

import httpx

MOST_CHARACTERS = 2048  # of a URL
NAME = re.compile(r"[a-z0-9._-]+")
SCHEMES = {"http": 80, "https": 443}
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Addresses that are not public, but to which the name of an operator's own host may lead.
OWN_NETWORKS = tuple(
    map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "fc00::/7", "::1/128"))
)
# Addresses in these at which cloud machines read their own keys; IPv4's 169.254.169.254 is in none of them.
METADATA = {ipaddress.ip_address("fd00:ec2::254"), ipaddress.ip_address("fd20:ce::254")}
NAT64 = ipaddress.ip_network("64:ff9b::/96")


class NotFetched(Exception):
    """An image that is not fetched; the text goes on after "image 3"."""


class ImageHosts:
    """The hosts from which images are fetched."""

    def __init__(self, named: str) -> None:
        """`named`: hosts, separated by commas: names, `*.name` for all names below one, or addresses.

        Each may have a port. Without one, URLs on the standard port of their scheme are allowed.

        Raises `ValueError` for a text that names no host.
        """
        self._exact, self._below = set[tuple[str, int | None]](), set[tuple[str, int | None]]()
        for text in filter(None, map(str.strip, named.split(","))):
            (self._below if text.startswith("*.") else self._exact).add(_entry(text))

    def __bool__(self) -> bool:
        return bool(self._exact or self._below)

    def check(self, text: str, leads: str = "is") -> httpx.URL:
        """Read the URL that an image "is" or "is redirected to".

        Raises `NotFetched` for one that is not on a host that is named.
        """
        if len(text) > MOST_CHARACTERS:
            raise NotFetched(f"{leads} a URL of more than {MOST_CHARACTERS} characters; send a shorter one")
        try:
            url = httpx.URL(text.strip())
            name = name_of(url)
        except (httpx.InvalidURL, ValueError):
            raise NotFetched(f"{leads} a URL that cannot be read; send it as https://HOST/PATH") from None
        if url.scheme not in SCHEMES:
            raise NotFetched(f"{leads} a URL of {url.scheme[:20] or 'no scheme'}; only http and https are fetched")
        if not name:
            raise NotFetched(f"{leads} a URL that names no host; send it as https://HOST/PATH")
        if url.userinfo:
            raise NotFetched(f"{leads} a URL with a user name or password, which are not sent; leave them out")
        if not self._names(name, url.port):
            where = name[:253] + (f":{url.port}" if url.port else "")
            raise NotFetched(
                f"{leads} a URL on {where}, which is not among the hosts that this service fetches from; send the "
                "file's bytes as base64, or ask the service's operator to add the host to LEO_IMAGE_HOSTS"
            )
        return url

    def may_connect(self, url: httpx.URL, address: str) -> bool:
        """Whether the host of a checked URL may be reached at this address, to which its name leads.

        Public addresses are. Others are where the address itself is named, or where the very name is and the address
        is one of an own network. Names below a named one may be anybody's, so these lead to public addresses only.
        """
        name = name_of(url)
        reached = _innermost(ipaddress.ip_address(address))
        if address_in(name) is not None or _is_public(reached):
            return True
        is_own = any(reached in network for network in OWN_NETWORKS) and reached not in METADATA
        return is_own and (name, url.port) in self._exact

    def _names(self, name: str, port: int | None) -> bool:
        if (name, port) in self._exact:
            return True
        parents = (name[at + 1 :] for at, character in enumerate(name) if character == ".")
        return address_in(name) is None and any((parent, port) in self._below for parent in parents)


def name_of(url: httpx.URL) -> str:
    """The host of a URL in its one spelling: in lower case, in ASCII, without a final dot."""
    name = url.raw_host.decode("ascii").lower().removesuffix(".")
    address = address_in(name)
    return name if address is None else str(address)


def _entry(text: str) -> tuple[str, int | None]:
    """The host and the port of one entry of the setting. Raises `ValueError`."""
    try:
        url = httpx.URL(f"host://{text.removeprefix('*.')}/")  # a scheme of no standard port, which would be left out
        name = name_of(url)
    except (httpx.InvalidURL, ValueError):
        name = ""
    is_name = NAME.fullmatch(name) or address_in(name) is not None
    if not is_name or url.raw_path != b"/" or url.userinfo or (url.port or 0) > 65535:
        raise ValueError(
            f"LEO_IMAGE_HOSTS: {text!r} is no host: write names such as images.example.com, *.example.com or "
            "10.0.0.5:9000, separated by commas"
        )
    if text.startswith("*.") and address_in(name) is not None:
        raise ValueError(f"LEO_IMAGE_HOSTS: {text!r}: there are no names below an address; write the address itself")
    return name, None if url.port in SCHEMES.values() else url.port


@lru_cache(1024)
def address_in(name: str) -> Address | None:
    """The address that the name of a host is, or None."""
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _innermost(address: Address) -> Address:
    """The address that is reached in the end: IPv6 has several ways to write one of IPv4."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else address)
    return address


def _is_public(address: Address) -> bool:
    if address.version == 6 and (address.is_site_local or address.is_reserved):
        return False
    return address.is_global and not address.is_multicast
