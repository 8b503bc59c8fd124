"""What can be said of deploy/ray without Ray; tests/ray runs it (make test-ray)."""

import importlib.util
import subprocess
import tomllib
from itertools import pairwise
from typing import Any

import kubernetes_validate
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from app.on_ray.affinity import SLOTS, Candidate, Places, held, task_of
from app.settings import PROJECT

RAY = PROJECT / "deploy" / "ray"


@pytest.mark.parametrize(
    ("path", "task"),
    [
        ("/tasks/ab12", "ab12"),
        ("/tasks/ab12/predict", "ab12"),
        ("/tasks/ab12/export.onnx", "ab12"),
        ("/tasks", None),
        ("/tasks/", None),
        ("/tasks/import", None),
        ("/tasks/import/predict", "import"),
        ("/", None),
        ("/page/tasks/x", None),
    ],
)
def test_the_task_of_a_path(path: str, task: str | None) -> None:
    assert task_of(path) == task


def test_a_further_place_takes_less_than_its_share_and_nothing_else_moves() -> None:
    for before, after in pairwise(held(places) for places in range(1, 41)):
        places = len(after)
        assert sorted(slot for slots in after for slot in slots) == list(range(SLOTS))
        assert all(set(now) <= set(then) for now, then in zip(after[:-1], before, strict=True))
        assert 0 < len(after[-1]) < SLOTS / places
        assert max(map(len, after)) <= 9 / 8 * SLOTS / places
        assert min(map(len, after)) >= 7 / 8 * SLOTS / places - 1


KEYS = [f"task{n}" for n in range(100)]
born = st.lists(st.tuples(st.floats(0, 9), st.integers(0, 6)), min_size=1, max_size=6)


def standing(born: list[tuple[float, int]]) -> list[Candidate]:
    return [Candidate(f"replica{n}", at, place) for n, (at, place) in enumerate(born)]


@given(born, st.randoms())
def test_every_replica_stands_somewhere_and_the_order_they_come_in_is_nothing(born: Any, chance: Any) -> None:
    replicas = standing(born)
    ranked = [Places(replicas).ranked(key, most=9) for key in KEYS]
    assert all(set(names) == {one.name for one in replicas} and len(names) == len(replicas) for names in ranked)
    chance.shuffle(replicas)
    assert ranked == [Places(replicas).ranked(key, most=9) for key in KEYS]


@given(st.permutations(range(6)), st.integers(1, 5))
def test_only_a_lost_replicas_tasks_move_and_they_come_back_to_the_one_in_its_place(order: Any, number: int) -> None:
    replicas = [Candidate(f"replica{place}", born=order.index(place), place=place) for place in range(number + 1)]
    lost = replicas[order[0] % (number + 1)]
    left = [one for one in replicas if one != lost]
    instead = Candidate("another", born=9, place=lost.place)
    all_of_them, without = Places(replicas), Places(left)
    again = Places([*left, instead])
    for key in KEYS:
        first = all_of_them.ranked(key, most=1)
        if first == [lost.name]:
            assert again.ranked(key, most=1) == [instead.name]
        else:
            assert without.ranked(key, most=1) == again.ranked(key, most=1) == first


def test_two_that_claim_one_place_both_get_one() -> None:
    places = Places([Candidate("old", 1, 1), Candidate("young", 2, 1), Candidate("other", 0, 0)])
    assert {places.ranked(key, most=1)[0] for key in KEYS} == {"old", "young", "other"}


@pytest.fixture(scope="module")
def service() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((RAY / "rayservice.yaml").read_text())
    return found


def test_kuberay_runs_the_application_that_runs_here(service: dict[str, Any]) -> None:
    here = yaml.safe_load((RAY / "serve.yaml").read_text())
    there = yaml.safe_load(service["spec"]["serveConfigV2"])
    assert there["applications"] == here["applications"]
    assert there["http_options"] == here["http_options"] | {"host": "0.0.0.0"}  # noqa: S104
    module, _, _ = here["applications"][0]["import_path"].partition(":")
    assert importlib.util.find_spec(module) is not None


def test_kuberays_pods_have_the_environment(service: dict[str, Any]) -> None:
    told = ["sh", "-c", ". deploy/ray/environment && env -0"]
    printed = subprocess.run(told, cwd=PROJECT, env={"PATH": "/usr/bin:/bin"}, check=True, capture_output=True).stdout
    expected = dict(line.split("=", 1) for line in printed.decode().split("\0") if line.startswith("RAY_"))
    cluster = service["spec"]["rayClusterConfig"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        for container in group["template"]["spec"]["containers"]:
            given = {one["name"]: one["value"] for one in container["env"]}
            assert {name: value for name, value in given.items() if name.startswith("RAY_")} == expected
            assert given["LEO_STORE_URL"].startswith("redis://")


def test_kuberays_pods_are_valid_and_of_the_version_in_use(service: dict[str, Any]) -> None:
    cluster = service["spec"]["rayClusterConfig"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        template = group["template"]
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"} | template["metadata"]}
        kubernetes_validate.validate(pod | {"spec": template["spec"]}, "1.37", strict=True)
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    version = cluster["rayVersion"]
    assert project["optional-dependencies"]["ray"] == [f"ray[serve]~={version}"]
    assert f"ray[serve]~={version}" in (RAY / "Dockerfile").read_text()
    assert f"\nray=={version}\n" in (PROJECT / "requirements.txt").read_text()
