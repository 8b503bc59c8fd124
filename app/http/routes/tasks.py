"""Routes for tasks: create, predict, list, read, change, delete, export and import."""

import asyncio
import unicodedata
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.http import schemas
from app.http.evaluation import evaluation_to_schema
from app.http.openapi import (
    BINARY,
    CLASSES_ZIP,
    CREATE_FORM,
    FILES,
    LABELS,
    PICTURES_ZIP,
    body_of,
    feedback_body,
    json_body,
    problems,
)
from app.http.parsing import (
    query_options,
    read_changes,
    read_feedback,
    read_file,
    read_labelled,
    read_queries,
    read_support,
)
from app.http.responses import Rejection, answer_task, attachment, predictions_to_json, task_to_schema
from app.http.routes.deps import ContextDep, IdempotencyKey, IfMatch, get_context
from app.observability import metrics
from app.store import TaskRecord
from app.tasks.options import ImportOptions, UpdateTask
from app.tasks.spelling import normalise

router = APIRouter(prefix="/tasks", tags=["tasks"])


@router.post(
    "",
    status_code=201,
    summary="Create a task: a classifier made from labelled images",
    responses=problems(401, 403, 413, 415, 422, 429, 503, 507),
    openapi_extra=body_of(schemas.CreateTask, CREATE_FORM),
)
async def create_task(
    request: Request, response: Response, context: ContextDep, idempotency_key: IdempotencyKey = None
) -> schemas.Task:
    sent, options = await read_support(request, context.settings)
    with sent.named():
        record = await context.tasks.create(
            sent.labelled,
            sent.labels,
            options,
            context.owner,
            negatives=sent.negatives,
            idempotency_key=idempotency_key,
            max_tasks=context.max_tasks,
        )
    response.headers["Location"] = location_of(record, request)
    return answer_task(record, response)


def location_of(record: TaskRecord, request: Request) -> str:
    """The path of a task, as clients see it."""
    return f"{request.scope.get('root_path', '')}/tasks/{record.task_id}"


class PredictOptions(BaseModel):
    """The query parameters of a prediction. A misspelled one is refused: ignored, it would change the answer."""

    model_config = ConfigDict(extra="forbid")

    top_k: int = Field(
        5, ge=1, description="how many of the likeliest classes to list; an answer lists at most 100,000 in all"
    )
    reject: float = Field(
        0.05,
        ge=0,
        le=1,
        description="answers with `known` below this are marked unknown. It is the share of pictures of the task's own "
        "classes that you accept to lose; 0 rejects none",
    )
    threshold: float = Field(
        0.0,
        ge=0,
        le=1,
        description="answers with a confidence below this are marked unknown too. It is for pictures that may be of "
        "two of the task's classes; of pictures of other classes the confidence says little",
    )


DEFAULT_OPTIONS = PredictOptions()
SMALL_ANSWER = 1000  # classes listed; writing so many takes about a millisecond on the event loop


class PredictRoute(APIRoute):
    """The predict route, which FastAPI documents by its signature but which reads its arguments itself.

    FastAPI's own resolution of arguments takes as long as parsing a prediction's form.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        async def handle(request: Request) -> Response:
            options = DEFAULT_OPTIONS
            if request.scope["query_string"]:
                try:
                    options = PredictOptions.model_validate(query_options(request))
                except ValidationError as error:
                    raise RequestValidationError(
                        [{**each, "loc": ("query", *each["loc"])} for each in error.errors()]
                    ) from None
            return await predict(request.path_params["task_id"], request, await get_context(request), options)

        return handle


async def predict(
    task_id: str, request: Request, context: ContextDep, options: Annotated[PredictOptions, Query()]
) -> Response:
    sent = await read_queries(request, context.settings)
    with sent.named():
        record, predicted = await context.tasks.predict(task_id, sent.images, context.owner, top_k=options.top_k)
    arguments = (record, predicted, options.top_k, Rejection(options.reject, options.threshold), sent.names)
    if len(sent.images) * min(options.top_k, len(record.shots)) <= SMALL_ANSWER:
        body, unknown = predictions_to_json(*arguments)
    else:
        body, unknown = await asyncio.to_thread(predictions_to_json, *arguments)
    metrics.unknown.inc(unknown)
    return Response(body, media_type="application/json")


PREDICT = PredictRoute(
    "/tasks/{task_id}/predict",
    predict,
    methods=["POST"],
    tags=["tasks"],
    operation_id="predict",
    summary="Classify images with a task",
    response_model=schemas.Predictions,
    responses=problems(401, 403, 404, 409, 413, 415, 422, 429, 503),
    openapi_extra=body_of(schemas.PredictImages, {"images": FILES, "archive": PICTURES_ZIP}),
)


class PageOptions(BaseModel):
    """The query parameters of a list of tasks. A misspelled one is refused: ignored, it would list other tasks."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(20, ge=1, le=100)
    cursor: str | None = Field(None, description="`next_cursor` of the previous page")
    name: str | None = Field(None, description="only tasks whose name contains this text, ignoring case")
    label: str | None = Field(None, description="only tasks that have this class")
    model: str | None = Field(None, description="only tasks made with this model")


@router.post(
    "/{task_id}/evaluate",
    summary="See how right a task is on labelled images",
    description="Send images that are no examples of the task, with their labels. The answer holds the accuracy, what "
    "is confused with what, how far confidences can be trusted, and which images would be worth adding. Images whose "
    "label is no class of the task count as wrong, but not in the accuracy. Nothing is stored.",
    responses=problems(401, 403, 404, 409, 413, 415, 422, 429, 503),
    openapi_extra=body_of(schemas.LabelledImages, {"images": FILES, "labels": LABELS, "archive": CLASSES_ZIP}),
)
async def evaluate(task_id: str, request: Request, context: ContextDep) -> schemas.Evaluation:
    sent = await read_labelled(request, context.settings)
    with sent.named():
        evaluated = await context.tasks.evaluate(task_id, sent.images, sent.labels, context.owner)
    return evaluation_to_schema(evaluated, sent.names)


@router.get(
    "",
    summary="List tasks, newest first",
    description="Each call looks at a bounded number of tasks. So with a filter a page may hold fewer tasks than "
    "`limit`, or none, although `next_cursor` says that more follow.",
    responses=problems(401, 403, 422, 429, 503),
)
async def list_tasks(context: ContextDep, options: Annotated[PageOptions, Query()]) -> schemas.TaskPage:
    name, label, model = options.name, options.label, options.model
    name_part = None if name is None else unicodedata.normalize("NFC", name).casefold()
    spelled = None if label is None else normalise(label)

    def matches(record: TaskRecord) -> bool:
        return (
            (name_part is None or name_part in (record.name or "").casefold())
            and (spelled is None or spelled in record.shots or label in record.shots)
            and (model is None or model == record.model)
        )

    filtered = any(value is not None for value in (name, label, model))
    found = await context.tasks.page(context.owner, options.limit, options.cursor, matches if filtered else None)
    return schemas.TaskPage(
        tasks=[task_to_schema(record) for record in found.records],
        unreadable=[schemas.UnreadableTask(task_id=each, reason=reason) for each, reason in found.unreadable.items()],
        next_cursor=found.next_cursor,
    )


@router.post(
    "/import",
    status_code=201,
    summary="Create a task from an exported one",
    description="The body is a file from `GET /tasks/{task_id}/export.zip` or `GET /tasks/{task_id}/parameters`, of "
    "this service or of another one that runs the same model. With `model` the task is made anew with another model, "
    "from the pictures in the zip. A head alone holds no support examples, so none can be added to the task later.",
    responses=problems(401, 403, 409, 413, 415, 422, 429, 503, 507),
    # Zips are taken as application/zip too. Neither here nor in answers is that declared: generators leave out an
    # operation with a type that they do not know.
    openapi_extra={"requestBody": {"required": True, "content": {"application/octet-stream": BINARY}}},
)
async def import_task(
    request: Request, response: Response, context: ContextDep, options: Annotated[ImportOptions, Query()]
) -> schemas.Task:
    data = await read_file(request)
    record = await context.tasks.import_task(data, options, context.owner, max_tasks=context.max_tasks)
    response.headers["Location"] = location_of(record, request)
    return answer_task(record, response)


@router.post(
    "/{task_id}/feedback",
    summary="Say which answers were right, and teach by those that were not",
    description="Each answer comes with what was predicted and with the right label. The task counts how many were "
    "right (`feedback`). A picture that is sent along is added to the task's examples, under the right label; without "
    "pictures nothing but the counts changes.",
    responses=problems(401, 403, 404, 409, 412, 413, 415, 422, 429, 503, 507),
    openapi_extra=feedback_body(schemas.Feedback),
)
async def give_feedback(
    task_id: str, request: Request, response: Response, context: ContextDep, revisions: IfMatch = None
) -> schemas.Task:
    judgements = await read_feedback(request, context.settings)
    record = await context.tasks.judge(task_id, judgements, context.owner, revisions=revisions)
    return answer_task(record, response)


@router.patch(
    "/{task_id}",
    summary="Change a task's name or time to live",
    responses=problems(401, 403, 404, 409, 412, 413, 415, 422, 429, 503),
    openapi_extra=json_body(UpdateTask),
)
async def update_task(
    task_id: str, request: Request, response: Response, context: ContextDep, revisions: IfMatch = None
) -> schemas.Task:
    changes = await read_changes(request, context.settings)
    return answer_task(await context.tasks.update(task_id, changes, context.owner, revisions=revisions), response)


@router.get("/{task_id}", summary="Read a task", responses=problems(401, 403, 404, 429, 503))
async def get_task(task_id: str, response: Response, context: ContextDep) -> schemas.Task:
    return answer_task(await context.tasks.get(task_id, context.owner), response)


@router.delete(
    "/{task_id}", status_code=204, summary="Delete a task", responses=problems(401, 403, 404, 412, 422, 429, 503)
)
async def delete_task(task_id: str, context: ContextDep, revisions: IfMatch = None) -> None:
    await context.tasks.delete(task_id, context.owner, revisions=revisions)


@router.get(
    "/{task_id}/parameters",
    summary="Export the decoded head as safetensors",
    description="`fc.weight` [N,F] and `fc.bias` [N], float32, and the `codes` [N,L] they were decoded from. The "
    "metadata holds the labels in the order of the rows. `POST /tasks/import` makes a task from the file.",
    response_class=Response,
    responses=problems(401, 403, 404, 409, 429, 503) | {200: {"content": {"application/octet-stream": BINARY}}},
)
async def export_parameters(task_id: str, context: ContextDep) -> Response:
    return attachment(await context.tasks.parameters(task_id, context.owner), f"{task_id}.safetensors")


class OnnxOptions(BaseModel):
    """The query parameters of an export to ONNX."""

    model_config = ConfigDict(extra="forbid")

    prepared: bool = Field(
        False,
        description="take batches of prepared images, float32 `images` [B,1,R,R] or [B,3,R,R], instead of a picture",
    )


@router.get(
    "/{task_id}/export.zip",
    summary="Export the whole task",
    description="A zip with the head, what the task keeps of its examples, their pictures if it keeps them, and a "
    "`manifest.json` that describes all of it. `POST /tasks/import` makes a task from it.",
    response_class=Response,
    responses=problems(401, 403, 404, 409, 429, 503) | {200: {"content": {"application/octet-stream": BINARY}}},
)
async def export_task(task_id: str, context: ContextDep) -> Response:
    return attachment(await context.tasks.export(task_id, context.owner), f"{task_id}.zip")


@router.get(
    "/{task_id}/export.onnx",
    summary="Export the whole classifier as an ONNX graph",
    description="Input `picture`, uint8 [H,W,C] of any size: grey, grey and alpha, RGB or RGBA. Output "
    "`probabilities` [N] and `known`, as the service answers; not numbers where no drawing is found. The metadata "
    "holds the labels in this order.",
    response_class=Response,
    responses=problems(401, 403, 404, 409, 422, 429, 503) | {200: {"content": {"application/octet-stream": BINARY}}},
)
async def export_onnx(task_id: str, context: ContextDep, options: Annotated[OnnxOptions, Query()]) -> Response:
    graph = await context.tasks.onnx(task_id, context.owner, prepared=options.prepared)
    return attachment(graph, f"{task_id}.onnx")


@router.get(
    "/{task_id}/standalone.zip",
    summary="Export a folder that classifies without the service",
    description="`classifier.onnx`, `labels.json`, `index.html`, which runs it in a browser from any web server, and "
    "`predict.py`. The files of ONNX Runtime for the browser are in it if `LEO_BROWSER_RUNTIME` is set.",
    response_class=Response,
    responses=problems(401, 403, 404, 409, 429, 503) | {200: {"content": {"application/octet-stream": BINARY}}},
)
async def standalone(task_id: str, context: ContextDep) -> Response:
    return attachment(await context.tasks.standalone(task_id, context.owner), f"{task_id}.zip")
