"""The multipart parser, with valid and invalid bodies."""

import pytest

from app.http.multipart import PIECE, parse
from app.problems import Problem

KIND = "multipart/form-data; boundary=x"
LIMITS = {"max_files": 3, "max_fields": 3, "max_field_bytes": 10}


def part(name: str, data: bytes, filename: str | None = None) -> bytes:
    file = f'; filename="{filename}"' if filename is not None else ""
    return f'--x\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + data + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--x--\r\n"


def test_files_and_texts_come_in_their_order() -> None:
    body = form(part("labels", "é".encode()), part("images", b"\x00\r\n--y", "a.png"), part("labels", b"\xe9"))
    parts = parse(body, KIND, **LIMITS)
    assert [(each.name, each.is_file) for each in parts] == [("labels", False), ("images", True), ("labels", False)]
    assert parts[0].text == "é"
    with pytest.raises(Problem, match="'labels' is not UTF-8"):
        assert parts[2].text
    assert parts[1].data == b"\x00\r\n--y"
    assert parse(form(part("images", b"", "")), KIND, **LIMITS)[
        0
    ].is_file  # an empty file without a name is still a file
    assert parse(b"--x--\r\n", KIND, **LIMITS) == []


@pytest.mark.parametrize("beyond", range(-60, 10, 7))
def test_a_body_is_read_alike_wherever_its_pieces_end(beyond: int) -> None:
    data = b"\r\n--" + b"y" * (PIECE + beyond - 100) + b"\r\n-"
    parts = parse(form(part("images", data, "a.png"), part("labels", b"b")), KIND, **LIMITS)
    assert [each.data for each in parts] == [data, b"b"]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (form(*[part("images", b"x", "a")] * 4), KIND),
        (form(*[part("labels", b"x")] * 4), KIND),
        (form(*[part("labels", b"x")] * 7), KIND),
        (form(part("labels", b"x" * 11)), KIND),
        (part("labels", b"x"), KIND),
        (b"", KIND),
        (form(part("labels", b"x")), "multipart/form-data"),
        (form(part("labels", b"x")), "multipart/form-data; boundary=y"),
        (b"--x\r\nContent-Type: text/plain\r\n\r\nx\r\n--x--\r\n", KIND),
    ],
)
def test_others_are_refused(body: bytes, kind: str) -> None:
    with pytest.raises(Problem) as refused:
        parse(body, kind, **LIMITS)
    assert refused.value.status == 422


@pytest.mark.parametrize(("images", "labels"), [(4, 0), (4, 4), (3, 4), (400, 0), (400, 400), (0, 5)])
def test_too_many_of_any_number_are_told_how_many_may_come(images: int, labels: int) -> None:
    body = form(*[part("images", b"x", "a")] * images, *[part("labels", b"x")] * labels)
    with pytest.raises(Problem, match="more than 3 images or 3 fields, but one request may hold no more"):
        parse(body, KIND, **LIMITS)


@pytest.mark.parametrize("charset", ["utf-8", "latin-1", "shift-jis"])
def test_filename_may_be_in_any_charset(charset: str) -> None:
    filename = "写真.png" if charset == "shift-jis" else "café.png"
    head = f'--x\r\nContent-Disposition: form-data; name="images"; filename="{filename}"\r\n\r\n'
    (file,) = parse(form(head.encode(charset) + b"data\r\n"), KIND, **LIMITS)
    assert (file.name, file.is_file, file.data) == ("images", True, b"data")


@pytest.mark.parametrize("charset", ["utf-8", "latin-1"])
def test_name_of_a_field_is_utf_8_or_else_latin_1(charset: str) -> None:
    head = '--x\r\nContent-Disposition: form-data; name="étiquette"\r\n\r\n'
    (field,) = parse(form(head.encode(charset) + b"data\r\n"), KIND, **LIMITS)
    assert (field.name, field.is_file) == ("étiquette", False)
