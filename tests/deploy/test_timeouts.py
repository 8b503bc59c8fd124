"""How long gateways wait for the service."""

import re

import pytest

from app.settings import PROJECT, Settings


@pytest.mark.parametrize("file", ["nginx.conf", "kubernetes/base/ingress.yaml"])
def test_a_gateway_waits_for_longer_than_a_request_may_take(file: str) -> None:
    waits = re.findall(r'read[_-]timeout:? "?(\d+)', (PROJECT / "deploy" / file).read_text())
    assert waits
    settings = Settings()
    # Fetching images, a turn and the device have the same limit.
    longest = 3 * settings.request_timeout + settings.decode_deadline
    assert all(longest < float(seconds) for seconds in waits)
