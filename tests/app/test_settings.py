"""Settings that make no sense are refused at the start, by their name."""

import pytest
from pydantic import ValidationError

from app.main import create_app
from app.settings import Settings, misspelt


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LEO_STOP_SECONDS", "inf"),
        ("LEO_DRAIN_SECONDS", "nan"),
        ("LEO_DECODE_DEADLINE", "inf"),
        ("LEO_REQUEST_TIMEOUT", "inf"),
        ("LEO_DEVICE_DEADLINE", "1e999"),
        ("LEO_MAX_TTL_SECONDS", str(10**12)),
        ("LEO_STOP_SECONDS", "1e300"),
        ("LEO_STOP_SECONDS", "0"),
        ("LEO_DRAIN_SECONDS", "1e300"),
        ("LEO_DEVICE_DEADLINE", "0.001"),
        ("LEO_DEVICE_DEADLINE", "1e300"),
        ("LEO_DECODE_DEADLINE", "5e-324"),
        ("LEO_REQUEST_TIMEOUT", "1e-9"),
        ("LEO_WORKERS", "1000000"),
        ("LEO_KEPT_BYTES", str(2**64)),
        ("LEO_QUEUE_IMAGES", str(10**30)),
    ],
)
def test_a_number_that_cannot_work_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError, match=name.removeprefix("LEO_").lower()):
        Settings()


@pytest.mark.parametrize("text", ["gateway", "10.0.0.1/8", "10.0.0.1,,", "*"])
def test_a_proxy_that_is_no_address_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("LEO_TRUSTED_PROXIES", text)
    with pytest.raises(ValidationError, match="write an address or a network"):
        Settings()


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("LEO_HOST", "[::1]", "without brackets, as ::1"),
        ("LEO_ROOT_PATH", "/../x", "without them"),
        ("LEO_ROOT_PATH", "/x/./", "without them"),
    ],
)
def test_an_address_or_prefix_that_cannot_work_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError, match=says):
        Settings()


@pytest.mark.parametrize("prefix", ["/tasks", "/docs/", "/page/x"])
def test_a_prefix_that_is_a_path_of_the_service_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="choose another, as /leo"):
        create_app(Settings(root_path=prefix))


def test_every_number_has_bounds() -> None:
    for name, field in Settings.model_fields.items():
        if field.annotation in (int, float):
            bounds = {bound for kind in field.metadata for bound in ("ge", "gt", "le") if hasattr(kind, bound)}
            assert len(bounds) == 2, name


def test_misspelt_settings_are_named() -> None:
    given = (
        "LEO_KEY_FILE",
        "LEO_WORKER",
        "LEO_WORKERS",
        "leo_port",
        "LEO_URL",
        "LEO_PORT_8000_TCP",
        "LEO_API_KEY",
        "PATH",
    )
    assert misspelt(dict.fromkeys(given, "1")) == {"LEO_KEY_FILE": "LEO_KEYS_FILE", "LEO_WORKER": "LEO_WORKERS"}
