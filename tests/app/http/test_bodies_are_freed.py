"""Bodies are freed with their requests, not when garbage is collected: many large ones would fill the memory."""

import contextlib
import gc
import sys
from collections.abc import Callable, Iterator

import pytest

from app.http import multipart, zips
from app.problems import Problem
from app.settings import Settings
from app.tasks import task_file
from tests.helpers.drawn import png
from tests.helpers.zips import zip_of


@pytest.fixture
def _nothing_is_collected() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def as_form(body: bytes, _: Settings) -> object:
    return multipart.parse(body, "multipart/form-data; boundary=x", max_files=3, max_fields=3, max_field_bytes=10)


READERS = [as_form, zips.read_labelled, zips.read_pictures, task_file.read]


@pytest.mark.usefixtures("_nothing_is_collected")
@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    "body",
    [
        b"no zip and no form" * 1000,
        b"--x\r\n\r\nbroken in a header" * 1000,
        zip_of({"a/1.png": png("ring", 1), "b/1.png": png("ell", 1)}),
        zip_of({"a.txt": b"no picture" * 1000}),
        zip_of({"a.png": png("ring", 1)})[:-30],
    ],
    ids=["neither", "form", "zip", "no picture", "cut off"],
)
def test_a_body_is_freed_with_its_request(read: Callable[[bytes, Settings], object], body: bytes) -> None:
    before = sys.getrefcount(body)
    with contextlib.suppress(Problem):
        read(body, Settings())
    assert sys.getrefcount(body) == before
