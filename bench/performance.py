"""Writes the tables of docs/performance.md from results files, so that none is typed in.

python -m bench.performance
"""

from typing import Any

from bench.common import DRAWING_MODELS, ROOT, read_results
from bench.tables import between_marks, header, where_and_when

DOCUMENT = ROOT / "docs" / "performance.md"


def latency() -> list[str]:
    """How long one client waits."""
    results = read_results("latency")
    lines = header("median milliseconds over HTTP, one client, CPU", DRAWING_MODELS)
    calls = {"create_5way_1shot_ms": "create a 5-way 1-shot task", "predict_1image_ms": "predict one image"}
    for key, title in calls.items():
        medians = [f"{results['models'][name][key]['p50_ms']:.1f}" for name in DRAWING_MODELS]
        lines.append(f"| {title} | " + " | ".join(medians) + " |")
    return [*lines, "", f"{where_and_when(results)}: `make bench`."]


def throughput() -> list[str]:
    """Requests a second beside what else could serve the model."""
    results = read_results("engine")
    models = [results["models"][name] for name in DRAWING_MODELS]
    lines = header("requests a second, 32 clients, CPU", DRAWING_MODELS)
    for name, title in (("predict", "predict one image"), ("create", "create a 5-way 1-shot task")):
        for what, who in (("ours", "here"), ("litserve", "LitServe"), ("plain", "plain FastAPI, autograd")):
            if name in models[0]["compare"][what]:
                rates = [best(model["compare"], what, name) for model in models]
                lines.append(f"| {title}, {who} | " + " | ".join(f"{rate:.0f}" for rate in rates) + " |")
        shares = [model["ratios"][f"{name}_share_of_limit_by_processes"] for model in models]
        lines.append("| of what the machine can do | " + " | ".join(f"{share:.0%}" for share in shares) + " |")
    return [
        *lines,
        "",
        "Here: as it is installed, a worker process for each core. LitServe: the better of one worker and one for each "
        "core. What the machine can do: 1/(1/a + 1/b), a what decoding and the model do, b what a FastAPI handler "
        "without a model answers, each with a process for each core and with nothing else to do. "
        f"{where_and_when(results)}, shared with the load generator: `make bench-engine`.",
    ]


def best(found: dict[str, Any], what: str, name: str) -> float:
    """Requests a second with one process or, where that is more, with several."""
    return max(found[each][name]["clients_32"]["per_second"] for each in (what, f"{what}_together") if each in found)


def stages() -> list[str]:
    """Where a prediction's time goes on the CPU."""
    results = read_results("engine")
    models = [results["models"][name] for name in DRAWING_MODELS]
    lines = header("milliseconds of a prediction of one image", DRAWING_MODELS)
    alone = {"decode_ms": "decoding, alone", "phi_and_head_ms": "phi and the head, alone"}
    for key, title in alone.items():
        lines.append(f"| {title} | " + " | ".join(f"{model['limits']['single'][key]:.2f}" for model in models) + " |")
    handlers = [1000 / model["compare"]["bare"]["predict"]["clients_1"]["per_second"] for model in models]
    lines.append(
        "| HTTP, a handler that does nothing, one client | " + " | ".join(f"{ms:.2f}" for ms in handlers) + " |"
    )
    whole = [model["compare"]["ours"]["predict"]["clients_1"]["p50_ms"] for model in models]
    lines.append("| the whole request, one client | " + " | ".join(f"{ms:.2f}" for ms in whole) + " |")
    under_load = {
        "decode": "under 32 clients: decoding",
        "device": "waiting for the model and computing",
        "request": "the whole request inside the server",
    }
    for key, title in under_load.items():
        lines.append(f"| {title} | " + " | ".join(f"{model['stages'][key]:.2f}" for model in models) + " |")
    return [*lines, "", f"{where_and_when(results)}, shared with the load generator: `make bench-engine`."]


def overload() -> list[str]:
    """What becomes of requests where clients ask for more than the service can do."""
    found = [read_results("engine")["models"][name]["overload"] for name in DRAWING_MODELS]
    lines = header("more than the service can do", DRAWING_MODELS)

    def add(title: str, cells: list[str]) -> None:
        lines.append(f"| {title} | " + " | ".join(cells) + " |")

    for clients in (16, 64, 256):
        add(
            f"{clients} clients that wait for their answers, predictions a second",
            [f"{each[f'clients_{clients}']['per_second']:.0f}" for each in found],
        )
    add("most predictions a second", [f"{each['sustainable_per_second']:.0f}" for each in found])
    add("p99 with a tenth of that, ms", [f"{each['unloaded']['p99_ms']:.1f}" for each in found])
    for times in (2, 4):
        loaded = [each[f"times_{times}"] for each in found]
        add(
            f"asked for {times} times as many: accepted a second",
            [
                f"{each['accepted']['per_second']:.0f} "
                f"({each['accepted']['per_second'] / most['sustainable_per_second']:.0%})"
                for each, most in zip(loaded, found, strict=True)
            ],
        )
        add("p99 of the accepted, ms", [f"{each['accepted']['p99_ms']:.1f}" for each in loaded])
        add("p99 of the refused, ms", [f"{each['refused']['p99_ms']:.1f}" for each in loaded])
        add("unanswered", [str(each["unanswered"]) for each in loaded])
    shared = " and ".join(["the load generator", *{each["beside"] for each in found if each["beside"]}])
    when = where_and_when(found[-1])
    return [*lines, "", f"{when}, shared with {shared}: `python -m bench.engine --only overload`."]


def device_process() -> list[str]:
    """What a device process costs and survives, with the CPU as its device."""
    results = read_results("device_process")
    hand_over, killed = results["hand_over"], results["killed_under_load"]
    return [
        *header("a device process, with the CPU as its device", [""]),
        f"| handing a request over and back, nothing to compute, median | "
        f"{hand_over['nothing_to_compute']['p50_us']:.0f} µs |",
        f"| killed {killed['kills']} times under load: wrong answers, lost tasks | "
        f"{killed['wrong_answers']}, {killed['lost_tasks']} |",
        f"| not ready after, median | {killed['seconds_until_not_ready']['median']:.2f} s |",
        f"| ready again after, median | {killed['seconds_until_ready_again']['median']:.2f} s |",
        "",
        f"{where_and_when(hand_over)}: `make bench-device`.",
    ]


def supervisors() -> list[str]:
    """The service's own supervisor beside gunicorn and uvicorn."""
    results = read_results("supervisors")
    names = list(results["load"]["supervisors"])
    under_load, kills, broken = (
        [results[part]["supervisors"][name] for name in names] for part in ("load", "kills", "broken")
    )
    rows = {
        "predictions a second": [f"{each['per_second']:.0f}" for each in under_load],
        "median, ms": [f"{each['p50_ms']:.1f}" for each in under_load],
        "ready after, s": [f"{each['start_seconds']:.1f}" for each in under_load],
        "memory, MB": [f"{each['megabytes']:.0f}" for each in under_load],
        f"requests that failed over {kills[0]['kills']} kills": [str(each["failed"]) for each in kills],
        "a killed worker is back after, median, s": [f"{each['back_after_seconds_median']:.1f}" for each in kills],
        f"of {broken[0]['asked']} requests answered while a worker cannot start": [
            str(each["answered"]) for each in broken
        ],
    }
    lines = header("two workers, 16 clients", names)
    lines += [f"| {title} | " + " | ".join(cells) + " |" for title, cells in rows.items()]
    return [*lines, "", f"{where_and_when(results['load'])}: `python -m bench.supervisors`."]


def written(document: str) -> str:
    """The document with its tables brought up to date."""
    for part in (latency, throughput, stages, overload, device_process, supervisors):
        document = between_marks(document, "\n".join(part()), part.__name__)
    return document


if __name__ == "__main__":
    DOCUMENT.write_text(written(DOCUMENT.read_text()))
