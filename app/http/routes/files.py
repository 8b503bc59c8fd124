"""Routes for tasks as files: exports in all their forms, and the import of what was exported."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from app.http import schemas
from app.http.openapi import BINARY, problems
from app.http.reading import read_file
from app.http.responses import answer_task, attachment, location_of
from app.http.routes.deps import ContextDep, IdempotencyKey
from app.tasks.options import ImportOptions

router = APIRouter(prefix="/tasks", tags=["tasks"])


@router.post(
    "/import",
    status_code=201,
    summary="Create a task from an exported one",
    description="The body is a file from `GET /tasks/{task_id}/export.zip` or `GET /tasks/{task_id}/parameters`, of "
    "this service or of another one that runs the same model. With `model` the task is made anew with another model, "
    "from the pictures in the zip; so it is if another version of its own model is loaded. A head alone "
    "holds no support examples, so none can be added to the task later.",
    responses=problems(401, 403, 409, 413, 415, 422, 429, 503, 507),
    # Zips are taken as application/zip too. Neither here nor in answers is that declared: generators leave out an
    # operation with a type that they do not know.
    openapi_extra={"requestBody": {"required": True, "content": {"application/octet-stream": BINARY}}},
)
async def import_task(
    request: Request,
    response: Response,
    context: ContextDep,
    options: Annotated[ImportOptions, Query()],
    idempotency_key: IdempotencyKey = None,
) -> schemas.Task:
    data = await read_file(request)
    record = await context.tasks.import_task(
        data, options, context.owner, idempotency_key=idempotency_key, max_tasks=context.max_tasks
    )
    response.headers["Location"] = location_of(record, request)
    return answer_task(record, response)


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
    "`manifest.json` that describes all of it. `POST /tasks/import` makes a task from it. If the weights that it was "
    "made with are not loaded any more, the zip holds its codes in place of the head.",
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
