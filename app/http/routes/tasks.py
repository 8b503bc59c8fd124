"""Routes for tasks: create, list, read, change, judge and delete."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from app.http import schemas
from app.http.bodies import CreateTask, Feedback
from app.http.openapi import CREATE_FORM, body_of, feedback_body, json_body, problems
from app.http.reading import read_changes, read_feedback, read_support
from app.http.responses import answer_task, location_of, page_to_json
from app.http.routes.deps import ContextDep, IdempotencyKey, IfMatch, TermsDep
from app.store import TaskRecord
from app.tasks.options import UpdateTask
from app.tasks.spelling import normalise
from model.data.unicode import compose

router = APIRouter(prefix="/tasks", tags=["tasks"])


@router.post(
    "",
    status_code=201,
    summary="Create a task: a classifier made from labelled images",
    responses=problems(401, 403, 413, 415, 422, 429, 503, 507),
    openapi_extra=body_of(CreateTask, CREATE_FORM),
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


class PageOptions(BaseModel):
    """The query parameters of a list of tasks. A misspelled one is refused: ignored, it would list other tasks."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(20, ge=1, le=100)
    cursor: str | None = Field(None, description="`next_cursor` of the previous page")
    name: str | None = Field(None, description="only tasks whose name contains this text, ignoring case")
    label: str | None = Field(None, description="only tasks that have this class")
    model: str | None = Field(None, description="only tasks made with this model")


@router.get(
    "",
    summary="List tasks, newest first",
    response_model=schemas.TaskPage,
    description="Each call looks at a bounded number of tasks. So with a filter a page may hold fewer tasks than "
    "`limit`, or none, although `next_cursor` says that more follow.",
    responses=problems(401, 403, 422, 429, 503),
)
async def list_tasks(context: ContextDep, options: Annotated[PageOptions, Query()]) -> Response:
    name, label, model = options.name, options.label, options.model
    name_part = None if name is None else compose(name).casefold()
    spelled = None if label is None else normalise(label)

    def matches(record: TaskRecord) -> bool:
        return (
            (name_part is None or name_part in (record.name or "").casefold())
            and (spelled is None or spelled in record.shots or label in record.shots)
            and (model is None or model == record.model)
        )

    filtered = any(value is not None for value in (name, label, model))
    found = await context.tasks.page(context.owner, options.limit, options.cursor, matches if filtered else None)
    return Response(page_to_json(found), media_type="application/json")


@router.post(
    "/{task_id}/feedback",
    summary="Say which answers were right, and teach by those that were not",
    description="Each answer comes with what was predicted and with the right label. The task counts how many were "
    "right (`feedback`). A picture that is sent along is added to the task's examples, under the right label; without "
    "pictures nothing but the counts changes.",
    responses=problems(401, 403, 404, 409, 412, 413, 415, 422, 429, 503, 507),
    openapi_extra=feedback_body(Feedback),
)
async def give_feedback(
    task_id: str, request: Request, response: Response, context: ContextDep, terms: TermsDep
) -> schemas.Task:
    judgements = await read_feedback(request, context.settings)
    record = await context.tasks.judge(task_id, judgements, context.owner, terms)
    return answer_task(record, response)


@router.patch(
    "/{task_id}",
    summary="Change a task's name or time to live",
    responses=problems(401, 403, 404, 409, 412, 413, 415, 422, 429, 503),
    openapi_extra=json_body(UpdateTask),
)
async def update_task(
    task_id: str, request: Request, response: Response, context: ContextDep, terms: TermsDep
) -> schemas.Task:
    changes = await read_changes(request, context.settings)
    return answer_task(await context.tasks.update(task_id, changes, context.owner, terms), response)


@router.get("/{task_id}", summary="Read a task", responses=problems(401, 403, 404, 429, 503))
async def get_task(task_id: str, response: Response, context: ContextDep) -> schemas.Task:
    return answer_task(await context.tasks.get(task_id, context.owner), response)


@router.delete(
    "/{task_id}", status_code=204, summary="Delete a task", responses=problems(401, 403, 404, 412, 422, 429, 503)
)
async def delete_task(task_id: str, context: ContextDep, revisions: IfMatch = None) -> None:
    await context.tasks.delete(task_id, context.owner, revisions=revisions)
