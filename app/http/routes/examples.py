"""Routes for the support examples of a task: list, read, add, relabel, remove."""

from fastapi import APIRouter, Request, Response

from app.http import schemas
from app.http.bodies import AddExamples, RelabelExample
from app.http.openapi import CLASSES_ZIP, FILES, LABELS, NEGATIVE_FILES, body_of, json_body, problems
from app.http.reading import read_additions, read_label
from app.http.responses import answer_task, example_to_schema, set_etag
from app.http.routes.deps import ContextDep, TermsDep
from app.tasks.examples import no_such_example

router = APIRouter(prefix="/tasks/{task_id}/support", tags=["examples"])


@router.get(
    "",
    summary="List a task's support examples, and what they say about each other's labels",
    responses=problems(401, 403, 404, 409, 429, 503),
)
async def list_examples(task_id: str, response: Response, context: ContextDep) -> schemas.ExampleList:
    record, reports = await context.tasks.examples(task_id, context.owner)
    set_etag(record, response)
    listed = [example_to_schema(report, record.labels) for report in reports]
    return schemas.ExampleList(task_id=task_id, revision=record.revision, examples=listed)


@router.post(
    "",
    summary="Add support examples, of known or new classes or of none",
    description="The task adapts again to all its examples and keeps its id. New classes follow the known ones. "
    "`negatives`, examples of none of the classes, may come alone.",
    responses=problems(401, 403, 404, 409, 412, 413, 415, 422, 429, 503, 507),
    openapi_extra=body_of(
        AddExamples, {"images": FILES, "labels": LABELS, "negatives": NEGATIVE_FILES, "archive": CLASSES_ZIP}
    ),
)
async def add_support(
    task_id: str, request: Request, response: Response, context: ContextDep, terms: TermsDep
) -> schemas.Task:
    sent = await read_additions(request, context.settings)
    with sent.named():
        record = await context.tasks.add_support(
            task_id, sent.labelled, sent.labels, context.owner, terms, negatives=sent.negatives
        )
    return answer_task(record, response)


@router.get("/{index}", summary="Read a support example", responses=problems(401, 403, 404, 409, 422, 429, 503))
async def get_example(task_id: str, index: int, response: Response, context: ContextDep) -> schemas.Example:
    record, reports = await context.tasks.examples(task_id, context.owner)
    report = next((each for each in reports if each.index == index), None)
    if report is None:
        raise no_such_example()
    set_etag(record, response)
    return example_to_schema(report, record.labels)


@router.get(
    "/{index}/image",
    summary="The picture of a support example, where the task keeps them",
    description="A PNG or JPEG, at most 384 pixels wide and high, without metadata. Only tasks made with "
    "`keep_images=true` have it.",
    response_class=Response,
    # Its types are not declared: generators leave out an operation with a type that they do not know.
    responses=problems(401, 403, 404, 409, 422, 429, 503),
)
async def get_example_image(task_id: str, index: int, context: ContextDep) -> Response:
    picture = await context.tasks.picture(task_id, index, context.owner)
    return Response(picture, media_type="image/png" if picture.startswith(b"\x89PNG") else "image/jpeg")


@router.patch(
    "/{index}",
    summary="Give a support example another label",
    description="The task adapts again, from the features that it keeps of its examples. A class without examples is "
    "removed, and a new one follows the known ones.",
    responses=problems(401, 403, 404, 409, 412, 413, 415, 422, 429, 503),
    openapi_extra=json_body(RelabelExample),
)
async def relabel_example(
    task_id: str, index: int, request: Request, response: Response, context: ContextDep, terms: TermsDep
) -> schemas.Task:
    label = await read_label(request, context.settings)
    record = await context.tasks.relabel_example(task_id, index, label, context.owner, terms)
    return answer_task(record, response)


@router.delete(
    "/{index}",
    summary="Remove a support example",
    description="The task adapts again to the others, from the features that it keeps of them, and is answered. A "
    "class without examples is removed; two must remain. Other examples keep their numbers.",
    responses=problems(401, 403, 404, 409, 412, 422, 429, 503),
)
async def remove_example(
    task_id: str, index: int, response: Response, context: ContextDep, terms: TermsDep
) -> schemas.Task:
    return answer_task(await context.tasks.remove_example(task_id, index, context.owner, terms), response)
