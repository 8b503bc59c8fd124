"""What the engine does beside what it is compared with and beside what the machine could do; bench/results/engine.json.

    python -m bench.engine                          # everything, about fifteen minutes
    python -m bench.engine --only compare --model omniglot-105

`compare`: bare HTTP, a plain FastAPI handler, LitServe and ours, one after the other under the same load generator.
`limits`: decoding, phi and adaptation in one process on all cores; what bare HTTP leaves of it is the limit.
`inner`: many tasks in one inner loop. `cache`: 10,000 tasks at random beside 5. `overload`: twice what is sustainable.
`growth`: cost by ways, shots and clients, and where a request's time goes.
"""

import argparse
import contextlib
import http.client
import itertools
import json
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from app.cache import Head
from app.engine import Adapt, Adapted, Engine, Predict
from app.uploads import decode_one
from bench.latency import RESULTS, multipart, post
from bench.load import Outcome, closed, open_loop, percentiles
from bench.pictures import NAMES, creation, litserve_prediction, picture, prediction, support
from model.adapt import Support
from model.card import machine, today
from model.memory import keep_freed_memory
from model.phi import OnCPU

ROOT = Path(__file__).resolve().parent.parent
TARGET = RESULTS / "engine.json"
CLIENTS, SECONDS, WARM_UP = 32, 6.0, 1.5
TASKS = 10_000
UNDER_WAY = 8  # requests, where overload is shown: the setting LEO_QUEUE_REQUESTS
CORES = os.cpu_count() or 1


class Service:
    """A server in a process of its own (and of its children), and what it costs."""

    def __init__(self, what: str, model: str, **settings: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        python = sys.executable
        self._data = tempfile.TemporaryDirectory()
        command = {
            "ours": [str(Path(python).with_name("leo")), "serve"],
            "litserve": [python, "-m", "bench.peer_litserve", str(self.port), model],
        }.get(what, [python, "-m", "bench.peers", what, str(self.port), model])
        own = {"LEO_PORT": str(self.port), "LEO_DATA_DIR": self._data.name, "LEO_DEVICE": "cpu"}
        own |= {"LEO_WEIGHTS": str(ROOT / "weights" / model)} | settings
        self._process = subprocess.Popen(
            command, env=os.environ | own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        until = time.monotonic() + 120
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                connection.request("GET", "/openapi.json")
                if connection.getresponse().read():
                    return
            time.sleep(0.1)
        raise RuntimeError(f"{what} did not start")

    def __enter__(self) -> "Service":
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._family()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, 15)
        self._process.wait()
        self._data.cleanup()

    def _family(self) -> list[int]:
        family = [self._process.pid]
        for process in family:
            with contextlib.suppress(OSError):
                children = Path(f"/proc/{process}/task/{process}/children").read_text()
                family += [int(child) for child in children.split()]
        return family

    def cpu_seconds(self) -> float:
        ticks = 0
        for process in self._family():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def resident_mb(self) -> float:
        total = 0
        for process in self._family():
            with contextlib.suppress(OSError, StopIteration):
                lines = Path(f"/proc/{process}/status").read_text().splitlines()
                total += int(next(line for line in lines if line.startswith("VmRSS")).split()[1])
        return round(total / 1024, 1)

    def created(self, hand: int = 0) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        answer, _ = post(connection, "/tasks", multipart(*support(hand)))
        return str(answer["task_id"])

    def load(self, requests: list[bytes], clients: int, seconds: float = SECONDS) -> dict[str, Any]:
        """Closed loop over the requests in turn, after a warm-up."""
        turns = itertools.cycle(requests)
        closed(self.port, turns.__next__, clients, WARM_UP)
        before = self.cpu_seconds()
        outcome = closed(self.port, turns.__next__, clients, seconds)
        return outcome.summary() | self._cost(before, outcome)

    def load_open(self, requests: list[bytes], per_second: float, seconds: float = SECONDS) -> dict[str, Any]:
        turns = itertools.cycle(requests)
        before = self.cpu_seconds()
        outcome = open_loop(self.port, turns.__next__, per_second, seconds)
        return {"asked_per_second": round(per_second, 1)} | outcome.summary() | self._cost(before, outcome)

    def _cost(self, before: float, outcome: Outcome) -> dict[str, Any]:
        spent = 1000 * (self.cpu_seconds() - before) / max(1, len(outcome.accepted))
        return {"cpu_ms_a_request": round(spent, 3), "resident_mb": self.resident_mb()}


def median_ms(call: Callable[[], object], seconds: float = 1.0) -> float:
    for _ in range(3):
        call()
    took, until = [], time.perf_counter() + seconds
    while time.perf_counter() < until or len(took) < 5:
        began = time.perf_counter()
        call()
        took.append(1000 * (time.perf_counter() - began))
    return round(statistics.median(took), 4)


# -- sections --------------------------------------------------------------------------------


def compare(model: str) -> dict[str, Any]:
    """Each under 1 and 32 clients, and under random arrivals at 70 % of what it did with 32."""
    found: dict[str, Any] = {}
    for what in ("bare", "plain", "litserve", "ours"):
        with Service(what, model) as service:
            if what == "litserve":
                asked = {"predict": [litserve_prediction(n % 5, n) for n in range(40)]}
            else:
                tasks = [service.created(hand) for hand in range(5)]
                asked = {
                    "predict": [prediction(tasks[n % 5], n) for n in range(40)],
                    "create": [creation(n) for n in range(40)],
                }
            found[what] = {}
            for name, requests in asked.items():
                many = service.load(requests, CLIENTS)
                found[what][name] = {
                    "clients_32": many,
                    "clients_1": service.load(requests, 1, SECONDS / 2),
                    "open_loop": service.load_open(requests, 0.7 * many["per_second"], SECONDS / 2),
                }
                print(model, what, name, many, flush=True)
    return found


def limits(model: str) -> dict[str, Any]:
    """In one process: single steps with nothing else running, and everything on all cores at once."""
    engine = Engine(ROOT / "weights" / model, "cpu")
    phi = engine._phi
    if not isinstance(phi, OnCPU):
        raise TypeError(type(phi))
    images = [picture(NAMES[n % 5], 1000 + n) for n in range(64)]
    decoded = np.stack([decode_one(data, n, engine.read, 10**8) for n, data in enumerate(images)])
    adapt = Adapt(decoded[:5], np.arange(5))
    (adapted,) = engine.run([adapt])
    if not isinstance(adapted, Adapted):
        raise TypeError(type(adapted))
    ask = Predict(decoded[:1], Head(adapted.weight, adapted.bias), adapted.codes.numpy())
    single = {
        "decode_ms": median_ms(lambda: decode_one(images[0], 0, engine.read, 10**8)),
        "phi_ms": median_ms(lambda: phi(decoded[:1])),
        "phi_and_head_ms": median_ms(lambda: engine.run([ask])),
        "phi_of_five_ms": median_ms(lambda: phi(decoded[:5])),
        "adapt_5way_1shot_ms": median_ms(lambda: engine.run([adapt])),
        "create_5way_1shot_ms": median_ms(
            lambda: engine.run(
                [
                    Adapt(
                        np.stack([decode_one(each, n, engine.read, 10**8) for n, each in enumerate(images[:5])]),
                        np.arange(5),
                    )
                ]
            )
        ),
        "phi_threads": phi.threads,
        "phi_chunk": phi.chunk,
    }

    def on_all_cores(work: Callable[[], int], seconds: float = 3.0) -> float:
        """Units a second with a thread for each core."""
        until = time.perf_counter() + seconds

        def loop() -> int:
            done = 0
            while time.perf_counter() < until:
                done += work()
            return done

        with ThreadPoolExecutor(CORES) as pool:
            began = time.perf_counter()
            done = sum(one.result() for one in [pool.submit(loop) for _ in range(CORES)])
            return done / (time.perf_counter() - began)

    def look(see: Callable[[Any], object]) -> int:
        see(np.stack([decode_one(data, n, engine.read, 10**8) for n, data in enumerate(images[:16])]))
        return 16

    def teach() -> int:
        parts = [
            np.stack([decode_one(data, n, engine.read, 10**8) for n, data in enumerate(images[at : at + 5])])
            for at in range(0, 40, 5)
        ]
        engine.run([Adapt(part, np.arange(5)) for part in parts])
        return len(parts)

    return {
        "single": single,
        # phi as it is served, and one thread for each core: whichever is faster.
        "images_a_second": round(max(on_all_cores(partial(look, see)) for see in (phi, phi.session(1))), 1),
        "creations_a_second": round(max(on_all_cores(teach) for _ in range(2)), 1),
    }


def inner(model: str) -> dict[str, Any]:
    """Tasks of five ways and one shot whose features are there already: milliseconds each, by how many go together."""
    engine = Engine(ROOT / "weights" / model, "cpu")
    adapter, width = engine._adapter, engine.leo.config.feature_dim
    tasks = [Support(features, features, torch.arange(5)) for features in torch.randn(256, 5, width)]
    counts = (1, 4, 16, 64, 256)
    with torch.inference_mode():
        took = {count: median_ms(partial(adapter.adapt, tasks[:count])) / count for count in counts}
        torch.set_num_threads(CORES)
        on_all_cores = median_ms(partial(adapter.adapt, tasks[:64])) / 64
        torch.set_num_threads(1)
        without = {count: median_ms(partial(adapter.adapt, tasks[:count], 0)) / count for count in (1, 64)}
        mixed = [(2, 1), (5, 1), (5, 5), (20, 1), (20, 5), (100, 1)]
        growth = {
            f"{ways}-way {shots}-shot": median_ms(partial(adapter.adapt, [_support(ways, shots, width)]), 0.5)
            for ways, shots in mixed
        }
    return {
        "ms_a_task_by_tasks_together": {str(count): round(ms, 4) for count, ms in took.items()},
        "ms_a_task_64_together_on_all_cores": round(on_all_cores, 4),
        "ms_a_task_without_steps": {str(count): round(ms, 4) for count, ms in without.items()},
        "times_faster_64_together": round(took[1] / took[64], 2),
        "times_faster_64_together_in_the_steps_alone": round((took[1] - without[1]) / (took[64] - without[64]), 2),
        "ms_by_size": growth,
    }


def _support(ways: int, shots: int, width: int) -> Support:
    features = torch.randn(ways * shots, width)
    return Support(features, features, torch.arange(ways).repeat_interleave(shots))


def cache(model: str) -> dict[str, Any]:
    """Predictions a second over 5 tasks and over 10,000 at random, the cache at its default size and at a tenth."""
    found: dict[str, Any] = {}
    default = 256 * 2**20
    for name, size in (("default", default), ("a_tenth", default // 10)):
        with Service("ours", model, LEO_CACHE_BYTES=str(size)) as service:
            made = itertools.cycle([creation(n) for n in range(40)])
            ids: list[str] = []
            while len(ids) < TASKS:
                bodies = closed(service.port, made.__next__, CLIENTS, 5.0, keep=True).bodies
                ids += [json.loads(body)["task_id"] for body in bodies]
            ids = ids[:TASKS]
            rates: dict[str, list[float]] = {"5": [], str(TASKS): []}
            for _ in range(3):  # turn about: the machine's own speed changes
                for which in rates:
                    ask = partial(_of_one, ids[:5] if which == "5" else ids)
                    closed(service.port, ask, CLIENTS, WARM_UP)
                    rates[which].append(round(closed(service.port, ask, CLIENTS, 4.0).per_second, 1))
            few, many = (statistics.median(each) for each in rates.values())
            found[name] = {
                "cache_bytes": size,
                "per_second_by_tasks": rates,
                "share": round(many / few, 3),
                "lookups": _samples(service, "leo_cache_lookups_total"),
                "resident_mb": service.resident_mb(),
            }
            print(model, "cache", name, found[name], flush=True)
    return found


def _of_one(tasks: list[str]) -> bytes:
    return prediction(random.choice(tasks), random.randrange(40))


def overload(model: str, seconds: float = 60.0) -> dict[str, Any]:
    """Unloaded, then twice what is sustainable, then half of it again."""
    # So few under way that the wait stays short; all the clients there are to find out what is sustainable.
    with Service("ours", model, LEO_QUEUE_REQUESTS=str(UNDER_WAY)) as service:
        task = service.created()
        requests = [prediction(task, n) for n in range(40)]
        turns = itertools.cycle(requests)
        most = service.load(requests, UNDER_WAY, 4.0)["per_second"]
        unloaded = open_loop(service.port, turns.__next__, most / 10, 8.0)
        memory = [service.resident_mb()]
        parts: list[Outcome] = []
        for _ in range(int(seconds // 15)):
            parts.append(open_loop(service.port, turns.__next__, 2 * most, 15.0))
            memory.append(service.resident_mb())
        after = closed(service.port, turns.__next__, UNDER_WAY, 1.0)
    accepted = [took for part in parts for took in part.accepted]
    refused = [took for part in parts for status, times in part.milliseconds.items() if status >= 400 for took in times]
    return {
        "requests_under_way": UNDER_WAY,
        "sustainable_per_second": most,
        "asked_per_second": round(2 * most, 1),
        "seconds": seconds,
        "unloaded": percentiles(unloaded.accepted),
        "accepted": {"per_second": round(len(accepted) / seconds, 1), **percentiles(accepted)},
        "refused": {"per_second": round(len(refused) / seconds, 1), **percentiles(refused)},
        "unanswered": sum(len(part.milliseconds.get(0, [])) for part in parts),
        "resident_mb": memory,
        "per_second_in_the_second_after": round(after.per_second, 1),
    }


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
        "alone_and_in_company": company(model),
    }


def company(model: str) -> dict[str, Any]:
    """The same pictures asked one by one, and by 32 clients among creations: the largest difference of a confidence."""
    with Service("ours", model) as service:
        task = service.created()
        requests = [prediction(task, n) for n in range(40)]
        alone = [json.loads(closed(service.port, partial(bytes, one), 1, 0.0, keep=True).bodies[0]) for one in requests]
        by_order = {json.dumps([s["label"] for s in one["predictions"][0]["top_k"]]): one for one in alone}
        mixed = itertools.cycle([each for n in range(40) for each in (requests[n], creation(n))])
        answers = [json.loads(body) for body in closed(service.port, mixed.__next__, CLIENTS, 4.0, keep=True).bodies]
        asked = [one for one in answers if "predictions" in one]
        known = np.array([[s["confidence"] for s in _sorted(one)] for one in alone])
        got = np.array([[s["confidence"] for s in _sorted(one)] for one in asked])
        nearest = np.abs(got[:, None] - known[None]).max(axis=2).min(axis=1)
        return {"answers": len(asked), "orders": len(by_order), "largest_difference": float(nearest.max())}


def _sorted(answer: dict[str, Any]) -> list[dict[str, Any]]:
    return sorted(answer["predictions"][0]["top_k"], key=lambda score: str(score["label"]))


def _samples(service: Service, name: str) -> dict[str, float]:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    return {
        line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1])
        for line in text.splitlines()
        if re.match(rf"{name}[{{ ]", line)
    }


def _stages(service: Service) -> dict[str, tuple[float, float]]:
    """Sum of seconds and count, by stage."""
    found = {}
    names = {f'leo_stage_seconds#{{stage="{stage}"}}': stage for stage in ("decode", "device")}
    names |= {"leo_batch_seconds#": "pass", 'leo_http_request_seconds#{route="/tasks/{task_id}/predict"}': "request"}
    for sample, name in names.items():
        family, _, labels = sample.partition("#")
        both = [_samples(service, f"{family}_{kind}").get(f"{family}_{kind}{labels}", 0.0) for kind in ("sum", "count")]
        found[name] = both[0], both[1]
    return found


def _mean(before: tuple[float, float], after: tuple[float, float]) -> float:
    return round(1000 * (after[0] - before[0]) / max(1.0, after[1] - before[1]), 3)


SECTIONS: dict[str, Callable[[str], dict[str, Any]]] = {
    "compare": compare,
    "limits": limits,
    "inner": inner,
    "growth": growth,
    "cache": cache,
    "overload": overload,
}


def verdict(found: dict[str, Any]) -> dict[str, float]:
    """The ratios that the figures above amount to."""
    ratios: dict[str, float] = {}
    if "compare" in found:
        rate = {
            (what, name): each[name]["clients_32"]["per_second"]
            for what, each in found["compare"].items()
            for name in each
        }
        ratios["predictions_times_plain"] = rate["ours", "predict"] / rate["plain", "predict"]
        ratios["predictions_times_litserve"] = rate["ours", "predict"] / rate["litserve", "predict"]
        ratios["creations_times_plain"] = rate["ours", "create"] / rate["plain", "create"]
        if "limits" in found:
            for name, of in (("predict", "images_a_second"), ("create", "creations_a_second")):
                limit = 1 / (1 / found["limits"][of] + 1 / rate["bare", name])
                ratios[f"{name}_limit_per_second"] = limit
                ratios[f"{name}_share_of_limit"] = rate["ours", name] / limit
            single, ours = found["limits"]["single"], found["compare"]["ours"]
            p50 = ours["predict"]["clients_1"]["p50_ms"]
            ratios["predict_p50_over_decode_phi_head_ms"] = p50 - single["decode_ms"] - single["phi_and_head_ms"]
            ratios["create_p50_times_in_process"] = (
                ours["create"]["clients_1"]["p50_ms"] / single["create_5way_1shot_ms"]
            )
            spent = ours["predict"]["clients_32"]["cpu_ms_a_request"] - single["decode_ms"] - single["phi_and_head_ms"]
            bare = found["compare"]["bare"]["predict"]["clients_32"]["cpu_ms_a_request"]
            ratios["predict_overhead_cpu_times_bare"] = spent / bare
    return {name: round(value, 3) for name, value in ratios.items()}


def main() -> None:
    """Run the sections asked for and write them beside those of earlier runs."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, separated by commas")
    parser.add_argument("--model", default="omniglot-105,omniglot", help="models, separated by commas")
    given = parser.parse_args()
    keep_freed_memory()
    results = json.loads(TARGET.read_text()) if TARGET.exists() else {"models": {}}
    for model in given.model.split(","):
        found = results["models"].setdefault(model, {})
        for section in given.only.split(","):
            found[section] = SECTIONS[section](model)
            print(model, section, json.dumps(found[section]), flush=True)
            found["ratios"] = verdict(found)
            written = {
                "what": "over HTTP on loopback, CPU, server and load generator on the same cores",
                "date": today(),
            }
            TARGET.write_text(
                json.dumps(written | {"machine": machine(), "models": results["models"]}, indent=2) + "\n"
            )
        print(model, json.dumps(found["ratios"], indent=2))


if __name__ == "__main__":
    main()
