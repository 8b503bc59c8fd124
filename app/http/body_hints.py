"""Says why a body cannot be read and how to fix it. Only bodies that could not be parsed come here."""

import json
import re
import string

from pydantic import BaseModel, ValidationError
from starlette.datastructures import Headers

from app.http.bodies import Feedback, PredictImages, RelabelExample
from app.problems import Problem, describe_validation_errors
from app.tasks.options import UpdateTask

AS_FORM = "send the pictures as files in multipart/form-data (curl: -F images=@a.png)"
LEAVE_TO_LIBRARY = "leave the header Content-Type to your HTTP library, which writes it with the form"
BYTES_AS_BASE64 = "send the file's bytes as base64"

PICTURE = re.compile(rb"\x89PNG|\xff\xd8\xff|RIFF|GIF8|BM|II\*|MM\0\*|....ftyp", re.DOTALL)
GZIP = b"\x1f\x8b"
BASE64 = string.ascii_letters.encode() + string.digits.encode() + b"+/-_= \t\r\n"
FILE_NAME = re.compile(r"[^\n]{1,300}\.[A-Za-z]{3,4}")

MOST_ERRORS = 100  # that are told apart; making Python objects of a million takes seconds
# Errors of pydantic that say that the body has another form than the schema.
OTHER_FORM = {"missing", "extra_forbidden", "list_type", "model_type", "model_attributes_type", "string_type"}
SUPPORT_EXAMPLE = '{"support": [{"image": "BASE64", "label": "ring"}, ...]}'
EXAMPLES: dict[type[BaseModel], str] = {
    PredictImages: '{"images": ["BASE64", ...]}',
    Feedback: '{"answers": [{"predicted": "ring", "label": "ex"}, ...]}',
    RelabelExample: '{"label": "ring"}',
    UpdateTask: '{"name": "greek", "ttl_seconds": 3600}',
}
MEANT = {"image": "images", "file": "images", "files": "images", "picture": "images", "label": "labels"}
IN_QUERY = ("top_k", "reject", "threshold")


def encoding_problem(headers: Headers, body: bytes) -> Problem | None:
    """Problem 415 for a body that is compressed, else None."""
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity") and not body.startswith(GZIP):
        return None
    found = "is compressed with gzip" if encoding in ("", "identity") else f"has Content-Encoding {encoding[:50]}"
    return Problem(415, f"the body {found}, which this service does not read: send it uncompressed")


def kind_problem(kind: str, body: bytes) -> Problem:
    """The problem with a body whose content type is neither JSON's nor a form's."""
    if not body.strip():
        return Problem(422, f"no images: the body is empty; {AS_FORM} or as JSON")
    if PICTURE.match(body) or kind.startswith("image/"):
        hint = f"a picture alone is not read: {AS_FORM}"
    elif body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"{", b"[")):
        hint = "this looks like JSON: send it with Content-Type: application/json"
    elif body.startswith(b"--"):
        hint = f"this looks like a form: {LEAVE_TO_LIBRARY}"
    elif body.startswith(b"PK\x03\x04"):
        hint = "this looks like a zip: send it with Content-Type: application/zip"
    else:
        hint = f"{AS_FORM}, or JSON as application/json"
    return Problem(415, f"content type {kind[:100] or 'missing'} is not supported: {hint}")


def json_problem(schema: type[BaseModel], body: bytes, error: ValidationError) -> Problem:
    """The problem with a body that is not JSON, or not that of the schema."""
    example = EXAMPLES.get(schema, SUPPORT_EXAMPLE)
    if error.error_count() > MOST_ERRORS:
        return Problem(422, f"the body has {error.error_count()} errors, such as unknown fields: send {example}")
    errors = error.errors(include_url=False, include_input=False)
    kinds = {each["type"] for each in errors}
    if "json_invalid" not in kinds:
        misplaced = next((name for name in IN_QUERY if any(each["loc"] == (name,) for each in errors)), None)
        hint = f"; send it in the query (?{misplaced}=...)" if misplaced else f"; send {example}"
        return Problem(422, describe_validation_errors(errors) + (hint if kinds & OTHER_FORM else ""))
    if not body.strip():
        return Problem(422, f"the body is empty: send {example}")
    if PICTURE.match(body):
        return Problem(422, f"the body is a picture instead of JSON: {AS_FORM}")
    if body.startswith(b"--"):
        return Problem(422, f"the body looks like a form instead of JSON: {LEAVE_TO_LIBRARY}")
    encoding = json.detect_encoding(body)
    if not encoding.startswith("utf-8"):
        return Problem(422, f"the body is JSON in {encoding.upper()}: send it in UTF-8")
    try:
        body.decode()
    except UnicodeDecodeError as undecodable:
        return Problem(422, f"the body is not UTF-8, from byte {undecodable.start}: send JSON in UTF-8")
    return Problem(422, f"the body cannot be read as JSON: {describe_validation_errors(errors)}; send {example}")


def base64_problem(text: str, index: int) -> Problem:
    """The problem with an image whose text is not base64."""
    if FILE_NAME.fullmatch(text):
        reason = "is the name of a file"
    elif other := _first_other_character(text):
        reason = f"is not base64, since it holds {other!a}"
    else:
        reason = "is not base64, since characters of it are missing"
    return Problem(422, f"image {index} {reason}; {BYTES_AS_BASE64}", index=index)


def _first_other_character(text: str) -> str:
    """The first character that no form of base64 has, or an empty text."""
    try:
        return text.encode("ascii").translate(None, BASE64)[:1].decode()
    except UnicodeEncodeError as error:
        return text[error.start]


def unknown_field(name: str, known: list[str]) -> Problem:
    """The problem with a field of a form that the call does not know."""
    meant = name.removesuffix("[]").lower()
    meant = MEANT.get(meant, meant)
    if name in IN_QUERY:
        hint = f"send it in the query (?{name}=...)"
    elif meant in known:
        hint = f"call it {meant!r}"
    else:
        hint = f"known are {', '.join(known)}"
    return Problem(422, f"unknown field {name[:100]!r}; {hint}")


def label_count_problem(images: int, labels: list[str], labels_are_files: bool) -> Problem:
    """The problem with a form that has another number of labels than of images."""
    hint = "send one label for each image, in the same order (curl: -F labels=ring)"
    if labels_are_files:
        hint = "labels were sent as files; send them as text (curl: -F labels=ring)"
    elif len(labels) == 1 and ("," in labels[0] or labels[0].lstrip().startswith("[")):
        hint = "send the field 'labels' once for each image, not one list (curl: -F labels=ring -F labels=ex)"
    return Problem(422, f"{images} images but {len(labels)} labels: {hint}")
