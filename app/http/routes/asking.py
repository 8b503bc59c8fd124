"""Routes that ask a task about images: predict, and evaluate on labelled ones."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.types import Receive, Scope, Send

from app.http import schemas
from app.http.bodies import LabelledImages, PredictImages
from app.http.evaluation import evaluation_to_schema
from app.http.openapi import CLASSES_ZIP, FILES, LABELS, PICTURES_ZIP, body_of, problems
from app.http.reading import query_options, read_labelled, read_queries
from app.http.responses import Rejection, predictions_to_json
from app.http.routes.deps import ContextDep, get_context
from app.observability import metrics

router = APIRouter(prefix="/tasks", tags=["tasks"])


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

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """Take what `APIRoute` takes."""
        super().__init__(*arguments, **named)
        self.app = _answer_prediction


async def _answer_prediction(scope: Scope, receive: Receive, send: Send) -> None:
    request, options = Request(scope, receive, send), DEFAULT_OPTIONS
    context = await get_context(request)
    if scope["query_string"]:
        try:
            options = PredictOptions.model_validate(query_options(request))
        except ValidationError as error:
            raise RequestValidationError(
                [{**each, "loc": ("query", *each["loc"])} for each in error.errors()]
            ) from None
    response = await predict(request.path_params["task_id"], request, context, options)
    await response(scope, receive, send)


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
    if unknown:
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
    openapi_extra=body_of(PredictImages, {"images": FILES, "archive": PICTURES_ZIP}),
)


@router.post(
    "/{task_id}/evaluate",
    summary="See how right a task is on labelled images",
    description="Send images that are no examples of the task, with their labels. The answer holds the accuracy, what "
    "is confused with what, how far confidences can be trusted, and which images would be worth adding. Images whose "
    "label is no class of the task count as wrong, but not in the accuracy. Nothing is stored.",
    responses=problems(401, 403, 404, 409, 413, 415, 422, 429, 503),
    openapi_extra=body_of(LabelledImages, {"images": FILES, "labels": LABELS, "archive": CLASSES_ZIP}),
)
async def evaluate(task_id: str, request: Request, context: ContextDep) -> schemas.Evaluation:
    sent = await read_labelled(request, context.settings)
    with sent.named():
        evaluated = await context.tasks.evaluate(task_id, sent.images, sent.labels, context.owner)
    return evaluation_to_schema(evaluated, sent.names)
