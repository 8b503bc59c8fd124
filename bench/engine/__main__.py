"""What the engine does beside what it is compared with and beside what the machine could do; bench/results/engine.json.

python -m bench.engine                          # everything, about fifteen minutes
python -m bench.engine --only compare --model omniglot-105
"""

import argparse
import json
from collections.abc import Callable
from typing import Any

from bench.engine.cache import cache
from bench.engine.company import company
from bench.engine.compare import compare
from bench.engine.growth import growth
from bench.engine.inner import inner
from bench.engine.limits import limits
from bench.engine.overload import overload
from bench.engine.path import path
from bench.engine.single import single
from bench.latency import RESULTS
from model.allocator import keep_freed_memory
from model.evaluation.card import machine, today

TARGET = RESULTS / "engine.json"

SECTIONS: dict[str, Callable[[str], dict[str, Any]]] = {
    "compare": compare,
    "limits": limits,
    "single": single,
    "inner": inner,
    "growth": growth,
    "company": company,
    "path": path,
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
        litserve = max(rate["litserve", "predict"], rate["litserve_together", "predict"])
        ratios["predictions_times_plain"] = rate["ours", "predict"] / rate["plain", "predict"]
        ratios["predictions_times_litserve"] = rate["ours", "predict"] / litserve
        ratios["creations_times_plain"] = rate["ours", "create"] / rate["plain", "create"]
        if "limits" in found:
            for name, of in (("predict", "images_a_second"), ("create", "creations_a_second")):
                # In one process of each, and in as many as there are cores, which is more.
                for where, bare in (("", "bare"), ("_by_processes", "bare_together")):
                    limit = 1 / (1 / found["limits"][of + where] + 1 / rate[bare, name])
                    ratios[f"{name}_limit{where}_per_second"] = limit
                    ratios[f"{name}_share_of_limit{where}"] = rate["ours", name] / limit
            parts, ours = found["limits"]["single"], found["compare"]["ours"]
            spent = ours["predict"]["clients_32"]["cpu_ms_a_request"] - parts["decode_ms"] - parts["phi_and_head_ms"]
            bare_cpu = found["compare"]["bare"]["predict"]["clients_32"]["cpu_ms_a_request"]
            ratios["predict_overhead_cpu_times_bare"] = spent / bare_cpu
    if "single" in found:
        ratios["predict_p50_over_decode_phi_head_ms"] = found["single"]["predict_over_in_turn_ms"]
        ratios["predict_p50_over_them_hot_ms"] = found["single"]["predict_over_hot_ms"]
        ratios["create_p50_times_in_process"] = found["single"]["create_times_in_process"]
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
            write(results)
        found["ratios"] = verdict(found)
        write(results)
        print(model, json.dumps(found["ratios"], indent=2))


def write(results: dict[str, Any]) -> None:
    what = "over HTTP on loopback, CPU, server and load generator on the same cores"
    written = {"what": what, "date": today(), "machine": machine(), "models": results["models"]}
    TARGET.write_text(json.dumps(written, indent=2) + "\n")


if __name__ == "__main__":
    main()
