"""Routes about the service itself: models, metrics, liveness and readiness."""

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from app.http import schemas
from app.http.openapi import problems
from app.http.routes.deps import ContextDep
from app.inference.engine import Engine
from app.problems import Problem

router = APIRouter(tags=["service"])


@router.get("/models", summary="List the loaded models, their limits and cards", responses=problems(401, 403, 429))
async def list_models(context: ContextDep) -> schemas.Models:
    models, settings = context.models, context.settings
    limits = {
        "max_ways": settings.max_ways,
        "max_images": settings.max_images,
        "max_image_pixels": settings.max_image_pixels,
        "max_body_bytes": settings.max_body_bytes,
        "max_ttl_seconds": settings.max_ttl_seconds,
    }
    return schemas.Models(
        models=[to_schema(engine, engine is models.default, limits) for engine in models],
        left_out=[schemas.LeftOutModel(name=name, reason=reason) for name, reason in models.left_out.items()],
    )


def to_schema(engine: Engine, default: bool, limits: dict[str, int]) -> schemas.Model:
    """Describe a loaded model."""
    info, config = engine.info, engine.info.config
    return schemas.Model(
        name=info.name,
        version=info.version,
        default=default,
        input="drawings" if engine.takes_drawings else "photos",
        phi_precision=engine.phi_precision,
        resolution=config.resolution,
        feature_dim=config.feature_dim,
        latent_dim=config.latent_dim,
        inner_steps=config.inner_steps,
        limits=limits,
        card=info.card,
    )


@router.get(
    "/metrics", summary="Metrics for Prometheus", response_class=PlainTextResponse, responses=problems(401, 403, 429)
)
async def get_metrics(context: ContextDep) -> Response:
    return Response(await context.scrapes.page(), media_type=CONTENT_TYPE_LATEST)


@router.get("/healthz", summary="Liveness: the process answers")
async def get_health() -> schemas.Health:
    return schemas.Health(status="ok")


@router.get(
    "/readyz", summary="Readiness: a real adaptation and prediction ran in the last seconds", responses=problems(503)
)
async def get_readiness(context: ContextDep) -> schemas.ReadyHealth:
    state = context.shared_state
    reason = context.readiness.reason_not_ready() or context.tasks.reason_store_is_lost()
    if not reason and not state.has_started:
        # Connections are spread over all workers, so some would wait until theirs has loaded its models.
        reason = f"starting; {state.ready_workers} of {state.workers} workers are ready"
    if reason:
        raise Problem(503, f"not ready: {reason}", retry_after=1)
    return schemas.ReadyHealth(status="ready", workers=state.workers, workers_ready=state.ready_workers)
