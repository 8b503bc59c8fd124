"""Where a request's time goes inside the server under 32 clients, from the server's own metrics."""

from bench.requests import prediction
from bench.service import CLIENTS, Service, mean_ms_between, metrics

HISTOGRAMS = {
    "decode": ("leo_stage_duration_seconds", "/decode"),
    "device": ("leo_stage_duration_seconds", "/device"),
    "batch": ("leo_batch_duration_seconds", ""),
    "request": ("leo_http_request_duration_seconds", "//tasks/{task_id}/predict"),
}


def stages(model: str) -> dict[str, float]:
    """Mean milliseconds of each stage of a prediction of one image."""
    with Service("ours", model) as service:
        task = service.created()
        requests = [prediction(task, n) for n in range(40)]
        service.load(requests, CLIENTS, 0.0)
        before = metrics(service.url)
        service.load(requests, CLIENTS, 4.0)
        after = metrics(service.url)
    return {stage: round(mean_ms_between(before, after, *of), 3) for stage, of in HISTOGRAMS.items()}
