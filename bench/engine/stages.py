"""Cost by ways, shots and clients, and where a request's time goes."""

from typing import Any

from bench.engine.service import CLIENTS, Service
from bench.pictures import creation, prediction


def growth(model: str) -> dict[str, Any]:
    """Over HTTP: creations by ways and shots with one client, predictions by clients, and a request's stages."""
    with Service("ours", model) as service:
        sizes = [(2, 1), (5, 1), (5, 5), (20, 1), (20, 5), (50, 1)]
        by_size = {}
        for ways, shots in sizes:
            requests = [creation(n, ways, shots) for n in range(8)]
            by_size[f"{ways}-way {shots}-shot"] = service.load(requests, 1, 1.5)["p50_ms"]
        task = service.created()
        requests = [prediction(task, n) for n in range(40)]
        by_clients = {}
        for clients in (1, 2, 4, 8, 16, 32, 64, 128):
            found = service.load(requests, clients, 2.0)
            by_clients[str(clients)] = {key: found[key] for key in ("per_second", "p50_ms", "p99_ms")}
        before = _stages(service)
        service.load(requests, CLIENTS, 4.0)
        after = _stages(service)
    return {
        "create_p50_ms_by_size": by_size,
        "predict_by_clients": by_clients,
        "stages_ms_32_clients": {name: _mean(before[name], after[name]) for name in after},
    }


def _stages(service: Service) -> dict[str, tuple[float, float]]:
    """Sum of seconds and count, by stage."""
    found = {}
    names = {f'leo_stage_seconds#{{stage="{stage}"}}': stage for stage in ("decode", "device")}
    names |= {"leo_batch_seconds#": "pass", 'leo_http_request_seconds#{route="/tasks/{task_id}/predict"}': "request"}
    for sample, name in names.items():
        family, _, labels = sample.partition("#")
        both = [service.samples(f"{family}_{kind}").get(f"{family}_{kind}{labels}", 0.0) for kind in ("sum", "count")]
        found[name] = both[0], both[1]
    return found


def _mean(before: tuple[float, float], after: tuple[float, float]) -> float:
    return round(1000 * (after[0] - before[0]) / max(1.0, after[1] - before[1]), 3)
