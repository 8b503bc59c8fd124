"""Runs the sections of this package, model by model, and writes bench/results/engine.json.

python -m bench.engine                          # everything, about ten minutes
python -m bench.engine --only compare --model omniglot-105
"""

import argparse
import json
from collections.abc import Callable
from typing import Any

from bench.common import DRAWING_MODELS, read_results, replace_results
from bench.engine.answers_under_load import answers_under_load
from bench.engine.cache import cache
from bench.engine.compare import compare
from bench.engine.inner_loop import inner_loop
from bench.engine.limits import limits
from bench.engine.overload import overload
from bench.engine.stages import stages
from model.allocator import keep_freed_memory
from model.evaluation.provenance import machine, today

SECTIONS: dict[str, Callable[[str], dict[str, Any]]] = {
    "compare": compare,
    "limits": limits,
    "stages": stages,
    "inner_loop": inner_loop,
    "answers_under_load": answers_under_load,
    "cache": cache,
    "overload": overload,
}


def ratios(found: dict[str, Any]) -> dict[str, float]:
    """How far ahead of the others the service is, and its share of what the machine can do."""
    if not {"compare", "limits"} <= found.keys():
        return {}
    rate = {
        (server, call): figures["clients_32"]["per_second"]
        for server, calls in found["compare"].items()
        for call, figures in calls.items()
    }
    litserve = max(rate["litserve", "predict"], rate["litserve_together", "predict"])
    compared = {
        "predictions_times_plain": rate["ours", "predict"] / rate["plain", "predict"],
        "predictions_times_litserve": rate["ours", "predict"] / litserve,
        "creations_times_plain": rate["ours", "create"] / rate["plain", "create"],
    }
    for call, work in (("predict", "images_a_second_by_processes"), ("create", "creations_a_second_by_processes")):
        # A request costs the work of the model and that of HTTP, so their times add up.
        limit = 1 / (1 / found["limits"][work] + 1 / rate["bare_together", call])
        compared[f"{call}_limit_by_processes_per_second"] = limit
        compared[f"{call}_share_of_limit_by_processes"] = rate["ours", call] / limit
    return {name: round(value, 3) for name, value in compared.items()}


def main() -> None:
    """Run the sections asked for and write them beside those of earlier runs."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, separated by commas")
    parser.add_argument("--model", default=",".join(DRAWING_MODELS), help="models, separated by commas")
    parser.add_argument("--beside", help="what else ran on the machine meanwhile, to be noted beside the overload")
    given = parser.parse_args()
    keep_freed_memory()
    results = read_results("engine")
    models = results.get("models", {})
    if given.only == parser.get_default("only") or not results:  # else the date is that of the last whole run
        results |= {"date": today(), "machine": machine()}
    for model in given.model.split(","):
        found = models.setdefault(model, {})
        for section in given.only.split(","):
            found[section] = SECTIONS[section](model)
            if section == "overload":
                found[section] |= {"date": today(), "machine": machine(), "beside": given.beside}
            print(model, section, json.dumps(found[section]), flush=True)
            found["ratios"] = ratios(found)
            what = "over HTTP on loopback, CPU, server and load generator on the same cores"
            replace_results("engine", {"what": what, **results, "models": models})
        print(model, json.dumps(found["ratios"], indent=2))


if __name__ == "__main__":
    main()
