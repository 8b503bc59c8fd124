"""What a prediction costs, stage by stage, measured from outside and from the server's metrics."""

import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from app.cli.load import percentiles
from bench.service import Service, cpu_seconds, mean_ms_between, metrics
from bench.tasks import predict

IMAGES = (1, 2, 4, 8, 16)  # in one request, to see what a batch costs
PAUSE = 1.5  # times the median: one client's request that took longer was held up by the machine


def loop_seconds(process_id: int) -> float:
    """Processor time of a process's first thread, which runs its event loop."""
    return int(Path(f"/proc/{process_id}/schedstat").read_text().split()[0]) / 1e9


def measure_device(server: Service, tasks: list[str], seconds: float) -> dict[str, Any]:
    """With one client: milliseconds of a batch by its images, and of each further one."""
    device: list[float] = []
    for images in IMAGES:
        before = metrics(server.url)
        predict(server.url, tasks, 1, seconds, warm_up=0.5, images=images)
        # Readiness proofs are among the batches, one in some hundreds.
        device.append(mean_ms_between(before, metrics(server.url), "leo_batch_duration_seconds"))
    per_image, _ = np.polyfit(IMAGES, device, 1)
    by_images = dict(zip(map(str, IMAGES), [round(ms, 3) for ms in device], strict=True))
    return {"device_by_images_ms": by_images, "device_further_image_ms": round(max(0.0, float(per_image)), 3)}


class MeasuredLoad:
    """A number of clients and replicas, measured in several rounds: machines are slow for a while and fast again."""

    def __init__(self, server: Service, url: str, tasks: list[str], clients: int, replicas: int) -> None:
        self.server, self.url, self.tasks, self.clients, self.replicas = server, url, tasks, clients, replicas
        self.took: list[float] = []
        self.spent: Counter[str] = Counter()  # seconds of this server, and how many of each thing they were for
        self.statuses: Counter[str] = Counter()

    def measure(self, seconds: float) -> None:
        """One round."""
        before = self._now()
        found = predict(self.url, self.tasks, self.clients, seconds, warm_up=0.5)
        self.spent.update({name: value - before[name] for name, value in self._now().items()})
        self.spent.update({"client": found["client_ms"] * len(found["took"]) / 1000, "seconds": seconds})
        self.took += found["took"]
        self.statuses.update(found["statuses"])

    def _now(self) -> dict[str, float]:
        seen = metrics(self.server.url)
        return {
            "cpu": cpu_seconds(self.server.process_id),
            "loop": loop_seconds(self.server.process_id),
            "requests": seen.get("leo_stage_duration_seconds_count/device", 0.0),
            "decode": seen.get("leo_stage_duration_seconds_sum/decode", 0.0),
            "batch": seen.get("leo_batch_duration_seconds_sum", 0.0),
            "batches": seen.get("leo_batch_duration_seconds_count", 0.0),
        }

    def each(self, what: str, of: str = "requests") -> float:
        """Milliseconds spent on something, by the number of something."""
        return round(1000 * self.spent[what] / self.spent[of], 3)

    def found(self) -> dict[str, Any]:
        """The figures of all rounds together."""
        return {
            "replicas": self.replicas,
            "clients": self.clients,
            "a_second": round(len(self.took) / self.spent["seconds"], 1),
            "mean_ms": round(statistics.mean(self.took), 3),
            **percentiles(self.took),
            "statuses": dict(self.statuses),
            "server_cpu_ms": self.each("cpu"),
        }


def stages_from(one: MeasuredLoad) -> dict[str, Any]:
    """The stages of a one-image prediction, from a load of one client."""
    usual = statistics.median(one.took)
    pauses = [round(took - usual, 2) for took in one.took if took > PAUSE * usual]
    client = round(1000 * one.spent["client"] / len(one.took), 3)
    device = one.each("batch", of="batches")
    loop = round(one.each("loop") - device, 3)  # which does the device's quick work, as this is, too
    return {
        "mean_ms": round(statistics.mean(one.took), 3),
        "p50_ms": round(usual, 3),
        "client_ms": client,
        "loop_ms": loop,
        "decode_in_loop_ms": one.each("decode"),
        "device_ms": device,
        "waits_ms": round(max(0.0, usual - client - loop - device), 3),
        "server_cpu_ms": one.each("cpu"),
        "pauses_ms": pauses,
        "pause_every_ms": round(sum(one.took) / max(1, len(pauses)), 1),
    }
