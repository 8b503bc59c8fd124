"""Turns errors of Redis into what a caller can use: its reason, without the insides of scripts, and how to fix it."""

import re

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
)

# What Redis adds to an error within a script, by its versions: where in the script, before the error or after it.
IN_SCRIPT = re.compile(
    r"(?:Error running script \(call to \w+\): )?@?user_script:\d+:\s*|\s*script: \w{40}, on @?user_script:\d+\.?"
)
RIGHTS = "allow this user the keys leo:* and all commands on them, as by ACL SETUSER NAME ~leo:* +@all -@dangerous"
ADVICE_BY_KIND: dict[type[Exception], str] = {
    OutOfMemoryError: "delete tasks, or raise its maxmemory",
    ReadOnlyError: "let LEO_STORE_URL name the primary",
    AuthenticationError: "put its password into LEO_STORE_URL, as redis://:PASSWORD@HOST:PORT/DB",
    NoPermissionError: RIGHTS,
    BusyLoadingError: "it is reading its data after a start",
    ClusterDownError: "see CLUSTER INFO",
}
ADVICE_BY_CODE = {
    "NOREPLICAS": "start its replicas, or lower min-replicas-to-write",
    "MISCONF": "its log says why it cannot write to disk",
    "WRONGTYPE": "something else has written to a key that begins with leo:",
    "BUSY": "a script of somebody else keeps it busy",
}
ADVICE_BY_TEXT = {
    "can't run this command": RIGHTS,  # in a script, where Redis does not say which
    "CERTIFICATE_VERIFY_FAILED": "let LEO_STORE_URL name the host as its certificate does, and end with "
    "?ssl_ca_certs=FILE if the system does not know who issued that",
    "No such file or directory": "a file that LEO_STORE_URL names, such as ssl_ca_certs, is not there",
}


def describe(error: Exception) -> str:
    """The reason that Redis gives, in one line, and how to fix it where that is known."""
    reason = " ".join(IN_SCRIPT.sub("", str(error)).split()).rstrip(".") or type(error).__name__
    advice = next((advice for kind, advice in ADVICE_BY_KIND.items() if isinstance(error, kind)), None)
    advice = advice or ADVICE_BY_CODE.get(reason.partition(" ")[0])
    advice = advice or next((advice for text, advice in ADVICE_BY_TEXT.items() if text in reason), None)
    return f"{reason}: {advice}" if advice else reason
