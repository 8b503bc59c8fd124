"""Check answers that refuse a request (RFC 9457)."""

from typing import Any

import httpx


def assert_problem(response: httpx.Response, status: int, *said: str) -> Any:
    """Check that a response is a problem document with this status, and these words in its `detail`. Return it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert problem["title"]
    assert problem["type"]
    for words in said:
        assert words in problem["detail"], problem["detail"]
    return problem
