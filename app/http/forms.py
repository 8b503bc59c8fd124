"""Reads forms: their files, the zip that may stand for them, and their options."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from app.http import body_hints
from app.http.bodies import AddExamples, CreateTask, LabelledImages
from app.http.json_images import URL
from app.http.multipart import Part, parse
from app.problems import Problem, describe_validation_errors
from app.settings import Settings
from app.tasks.zip_files import ZIP

ARCHIVE = "archive"  # the field that holds a zip
AnyExamples = type[CreateTask] | type[AddExamples] | type[LabelledImages]
IMAGES_OF_JSON = {"support", "negatives"}  # the fields of a JSON body that are no options


def read_form(content_type: str, body: bytes, settings: Settings, fields_an_image: int = 1) -> list[Part]:
    """Parse a form of images, with so many fields for each. Raises `Problem` 415 or 422."""
    # Fields are a label for each image and a few options. UTF-8 takes at most four bytes a character.
    return parse(
        body,
        content_type,
        max_files=settings.max_images,
        max_fields=fields_an_image * settings.max_images + 10,
        max_field_bytes=max(1024, 4 * settings.max_label_length + 1),
    )


def files_of(form: list[Part], name: str = "images", first: int = 0) -> list[bytes]:
    """The images in a form's fields of this name, numbered from `first`.

    Raises `Problem` 422 for one that is no file, or a zip.
    """
    images = [part for part in form if part.name == name]
    for index, part in enumerate(images, first):
        if not part.is_file:
            as_file = f"send it as a file (curl: -F {name}=@a.png)"
            hint = "send URLs in a JSON body" if URL.match(part.data.decode("latin-1")) else as_file
            raise Problem(422, f"image {index} was sent as text; {hint}", index=index)
        if part.data.startswith(ZIP):
            raise Problem(422, f"image {index} is a zip: send it in the field {ARCHIVE!r}", index=index)
    return [part.data for part in images]


def texts_of(form: list[Part], name: str) -> list[str]:
    """The text fields of a form that have this name. Raises `Problem` 422 with the index of one that is no text."""
    texts: list[str] = []
    for part in form:
        if part.name == name and not part.is_file:
            try:
                texts.append(part.text)
            except Problem as problem:
                raise Problem(problem.status, problem.detail, index=len(texts)) from None
    return texts


def archive_of(form: list[Part]) -> bytes | None:
    """The zip in a form, or None. Raises `Problem` 422 where there is anything beside it that it stands for."""
    archives = [part for part in form if part.name == ARCHIVE]
    if not archives:
        return None
    if len(archives) > 1 or any(part.name in ("images", "labels") for part in form):
        raise Problem(422, f"send one zip in the field {ARCHIVE!r}, and no 'images' and 'labels' beside it")
    if not archives[0].is_file:
        raise Problem(422, f"{ARCHIVE} was sent as text; send it as a file (curl: -F {ARCHIVE}=@pictures.zip)")
    return archives[0].data


def options_of(form: list[Part], schema: AnyExamples) -> dict[str, Any]:
    """The other fields of a form, checked by the schema that also checks JSON bodies. Raises `Problem` 422."""
    names = [name for name in schema.model_fields if name not in IMAGES_OF_JSON]
    pictured = ["images", "labels", ARCHIVE, *(["negatives"] if "negatives" in schema.model_fields else [])]
    others = [part for part in form if part.name not in pictured]
    unknown = {part.name for part in others} - set(names)
    if unknown:
        raise body_hints.unknown_field(min(unknown), [*pictured, *names])
    if len(fields := Counter(part.name for part in others)) < len(others):
        raise Problem(422, f"field {fields.most_common(1)[0][0]!r} was sent more than once; send it once")
    return check_options({part.name: None if part.is_file else part.text for part in others}, schema)


def check_options(values: Mapping[str, str | None], schema: AnyExamples) -> dict[str, Any]:
    """Check options that are no JSON by the schema that also checks JSON bodies. Raises `Problem` 422."""
    try:
        return schema.model_validate({**values, "support": []}).model_dump(exclude=IMAGES_OF_JSON)
    except ValidationError as error:
        raise Problem(422, describe_validation_errors(error.errors(include_url=False, include_input=False))) from None
