"""The client for a Redis or a Redis Cluster, by the URL that the operator sets."""

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

CALL_TIMEOUT = 0.8  # seconds, including the waits for a connection
MAX_CONNECTIONS = 64  # to Redis, or to each node of a cluster
SECONDS, TRUTH, TEXT = r"[0-9]+(\.[0-9]+)?", "(?i:true|false|yes|no|0|1)", "(?s).+"
# What may stand after the question mark, and its pattern. redis-py passes any word on to its connections, which fail at
# the first call. `decode_responses`, `encoding` and `protocol` are left out: the store reads bytes.
OPTIONS = {
    "client_name": r"\S+",
    "db": "[0-9]{1,9}",
    "health_check_interval": SECONDS,
    "password": TEXT,
    "socket_connect_timeout": SECONDS,
    "socket_keepalive": TRUTH,
    "socket_timeout": SECONDS,
    "ssl_ca_certs": TEXT,
    "ssl_ca_path": TEXT,
    "ssl_cert_reqs": "none|optional|required",
    "ssl_certfile": TEXT,
    "ssl_check_hostname": TRUTH,
    "ssl_keyfile": TEXT,
    "ssl_password": TEXT,
    "username": TEXT,
}
SCHEMES = ("redis", "rediss", "unix")  # of redis-py
ESCAPED = "in a password /, ?, # and @ are written %2F, %3F, %23 and %40"


def client_for(url: str) -> Redis | RedisCluster:
    """A client for `redis://HOST:PORT/DB`, or for `redis+cluster://HOST:PORT,HOST:PORT`, not yet connected.

    Raises `ValueError`, or `RedisClusterException` for options that a cluster does not support.
    """
    options: dict[str, Any] = {
        "socket_connect_timeout": CALL_TIMEOUT,
        "socket_timeout": CALL_TIMEOUT,
        # No retries: a write that may have happened is not repeated here; the client of the service decides.
        "retry": Retry(NoBackoff(), 0),
        # With these notifications redis-py does not check whether a pooled connection has been closed, as after a
        # restart of Redis, and the call would fail. Without them it reconnects before it sends anything.
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        "max_connections": MAX_CONNECTIONS,
    }
    scheme, separator, rest = url.partition("+cluster://")
    if not separator:
        _check(url)
        return Redis.from_url(url, **options)
    before, at, hosts = rest.rpartition("@")
    nodes = []
    for host in hosts.split(","):
        node = f"{scheme}://{before}{at}{host}"
        _check(node)
        address: dict[str, Any] = {**parse_url(node)}
        nodes.append(ClusterNode(address.pop("host", "localhost"), address.pop("port", 6379)))
        options["ssl"] = address.pop("connection_class", None) is not None  # parse_url sets it for rediss://
        options |= address
    # Without full coverage, tasks on the other nodes stay available while one node is down.
    return RedisCluster(startup_nodes=nodes, require_full_coverage=False, **options)


def _check(url: str) -> None:
    """Raise `ValueError` for what redis-py would drop, or fail on only at the first call.

    The messages quote nothing but names of options, since the rest may hold a piece of a password.
    """
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise ValueError("begin it with redis://, rediss://, redis+cluster:// or rediss+cluster://")
    try:
        _ = parts.port
    except ValueError:
        raise ValueError(f"the port is no number up to 65535; {ESCAPED}") from None
    if parts.fragment:
        raise ValueError(f"there is a # in it; {ESCAPED}")
    if parts.scheme != "unix" and not re.fullmatch(r"/?|/[0-9]{1,9}", parts.path):
        raise ValueError(f"the database is a number, as in redis://HOST:PORT/2; {ESCAPED}")
    for name, values in parse_qs(parts.query, keep_blank_values=True).items():
        if name not in OPTIONS:
            called = f" called {name}" if re.fullmatch("[a-z_]+", name) else f"; {ESCAPED}"
            raise ValueError(f"there are the options {', '.join(OPTIONS)}, and none{called}")
        if len(values) > 1 or not re.fullmatch(OPTIONS[name], values[0]):
            raise ValueError(f"the option {name} is given twice, or has a value that it cannot have")
