"""What Redis says when it refuses, as callers are told."""

import pytest
from redis.exceptions import OutOfMemoryError, ReadOnlyError, ResponseError

from app.store.redis_errors import describe

SHA = "d9fc3c52ac6c0a2c5b8a9d1f3c1f8c4a5b6c7d8e"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OutOfMemoryError(
                f"command not allowed when used memory > 'maxmemory'. script: {SHA}, on @user_script:37."
            ),
            "command not allowed when used memory > 'maxmemory': delete tasks, or raise its maxmemory",
        ),
        (
            ResponseError(f"Error running script (call to f_{SHA}): @user_script:12: WRONGTYPE Operation on a key"),
            "WRONGTYPE Operation on a key: something else has written to a key that begins with leo:",
        ),
        (
            ReadOnlyError(f"You can't write against a read only replica. script: {SHA}, on @user_script:3"),
            "You can't write against a read only replica: let LEO_STORE_URL name the primary",
        ),
        (ResponseError("user_script:5: index a nil value\nand more"), "index a nil value and more"),
        (ConnectionRefusedError(111, "Connection refused"), "[Errno 111] Connection refused"),
        (OSError(), "OSError"),
    ],
)  # fmt: skip
def test_an_error_is_told_without_the_insides_of_scripts(error: Exception, said: str) -> None:
    assert describe(error) == said
