"""Parses a multipart body that is whole in memory.

Starlette's own parser writes each part to a temporary file, which takes ten times as long.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser, parse_options_header

from app.http.body_hints import AS_FORM, LEAVE_TO_LIBRARY
from app.problems import Problem

PIECE = 2**20  # bytes that are searched by one call, which keeps other threads from the interpreter


@dataclass(slots=True)
class Part:
    """One part of a form: a file if it has a filename, else a field."""

    name: str
    is_file: bool
    data: bytes

    @property
    def text(self) -> str:
        """The data as text. Raises `Problem` 422 if it is not UTF-8, which browsers and HTTP libraries send."""
        try:
            return self.data.decode()
        except UnicodeDecodeError as error:
            raise Problem(
                422,
                f"field {self.name[:100]!r} is not UTF-8, from byte {error.start} (0x{self.data[error.start]:02X}) on: "
                "send text in UTF-8",
            ) from None


def parse(body: bytes, content_type: str, *, max_files: int, max_fields: int, max_field_bytes: int) -> list[Part]:
    """The parts in their order.

    Raises `Problem` 422 for a body that is not multipart, or with too many or too long parts.
    """
    boundary = parse_options_header(content_type)[1].get("boundary", "")
    if not boundary:
        raise Problem(422, f"the header Content-Type names no boundary: {LEAVE_TO_LIBRARY}")
    too_many = Problem(
        422,
        f"the form has more than {max_files} images or {max_fields} fields, but one request may hold no more; "
        "send the others by another request (a task takes more examples by POST /tasks/{id}/support)",
    )
    parts: list[Part] = []
    files = 0
    try:
        parser = PushMultipartParser(boundary, max_segment_count=max_files + max_fields, header_charset="latin-1")
        for name, is_file, data in _segments(parser, body):
            files += is_file
            if not is_file and len(data) > max_field_bytes:
                hint = "send pictures as files, each with a filename (curl: -F images=@a.png)"
                raise Problem(422, f"field {name[:100]!r} is over {max_field_bytes} bytes; {hint}")
            parts.append(Part(name, is_file, data))
    except MultipartError as error:
        if isinstance(error, ParserLimitReached) and len(parts) == max_files + max_fields:
            raise too_many from None
        # The parser keeps the error, whose traceback keeps the parser and the body, until garbage is collected.
        raise _unread(error.with_traceback(None), boundary, body) from None
    if files > max_files or len(parts) - files > max_fields:
        raise too_many
    return parts


def _unread(error: MultipartError, boundary: str, body: bytes) -> Problem:
    if not body:
        reason = f"it is empty; {AS_FORM}"
    elif isinstance(error, ParserLimitReached):
        reason = f"{error}; send parts with shorter headers"
    elif f"--{boundary}".encode() not in body:
        reason = f"the boundary that Content-Type names is not in it; {LEAVE_TO_LIBRARY}"
    else:
        reason = f"{error}; send the whole form as your HTTP library writes it"
    return Problem(422, f"the multipart body cannot be read: {reason}")


def _segments(parser: PushMultipartParser, body: bytes) -> Iterator[tuple[str, bool, bytes]]:
    with parser:  # raises an error on leaving if the closing boundary is missing
        name, is_file, chunks = "", False, list[bytes]()
        for at in range(0, len(body), PIECE):
            for event in parser.parse(body[at : at + PIECE]):
                if isinstance(event, MultipartSegment):
                    name, is_file, chunks = _in_utf8(event.name), event.filename is not None, []
                elif event is None:
                    yield name, is_file, b"".join(chunks)
                else:
                    chunks.append(bytes(event))


def _in_utf8(name: str) -> str:
    """A field's name, which the parser read as Latin-1 because it refuses any part whose headers are not UTF-8."""
    try:
        return name.encode("latin-1").decode()
    except UnicodeError:
        return name
