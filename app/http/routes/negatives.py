"""Routes for the negatives of a task, the examples of none of its classes: list and remove."""

from fastapi import APIRouter, Response

from app.http import schemas
from app.http.openapi import problems
from app.http.responses import answer_task, set_etag
from app.http.routes.deps import ContextDep, TermsDep

router = APIRouter(prefix="/tasks/{task_id}/negatives", tags=["examples"])


@router.get("", summary="List the numbers of a task's negatives", responses=problems(401, 403, 404, 429, 503))
async def list_negatives(task_id: str, response: Response, context: ContextDep) -> schemas.NegativeList:
    record = await context.tasks.get(task_id, context.owner)
    set_etag(record, response)
    return schemas.NegativeList(task_id=task_id, revision=record.revision, negatives=record.numbers_of_negatives[:-1])


@router.delete(
    "/{index}",
    summary="Remove a negative",
    description="The classes stay as they are, and the task is answered. Other negatives keep their numbers.",
    responses=problems(401, 403, 404, 409, 412, 422, 429, 503),
)
async def remove_negative(
    task_id: str, index: int, response: Response, context: ContextDep, terms: TermsDep
) -> schemas.Task:
    return answer_task(await context.tasks.remove_negative(task_id, index, context.owner, terms), response)
