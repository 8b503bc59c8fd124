"""A client that a public generator makes from the OpenAPI document runs the README's example."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.helpers.drawn import png

#: `make generator` installs it in an environment of its own: it needs other versions than this project.
GENERATOR = Path(os.environ.get("LEO_GENERATOR", Path(sys.prefix) / "generator" / "bin" / "openapi-python-client"))

PROGRAM = """
import io, sys
from generated import Client
from generated.api.tasks import create_task, delete_task, get_task, list_tasks, predict
from generated.models import CreateTask, CreateTaskForm, PredictImagesForm, ProblemDocument, SupportExample
from generated.types import File

leo = Client(base_url=sys.argv[1], raise_on_unexpected_status=True)

def file(name):
    return File(payload=io.BytesIO(open(name, "rb").read()), file_name=name)

names = ["alpha", "beta", "gamma"]
form = CreateTaskForm(images=[file(f"{name}.png") for name in names], labels=names)
task = create_task.sync(client=leo, body=form)
assert task.labels == names, task
query = PredictImagesForm(images=[file("what.png")])
answer = predict.sync(task.task_id, client=leo, body=query, top_k=3, threshold=0.6)
print(answer.predictions[0].label)

refused = predict.sync_detailed("none", client=leo, body=PredictImagesForm(images=[file("what.png")]))
assert isinstance(refused.parsed, ProblemDocument) and refused.parsed.status == 404
assert refused.headers["x-request-id"]
assert task.task_id in [each.task_id for each in list_tasks.sync(client=leo).tasks]
assert get_task.sync(task.task_id, client=leo).quality.classes[0].label == "alpha"
delete_task.sync_detailed(task.task_id, client=leo)
assert get_task.sync(task.task_id, client=leo).status == 404
"""


@pytest.mark.skipif(not GENERATOR.exists(), reason="openapi-python-client is not here: make generator")
def test_a_generated_client_runs_the_readmes_example(client: httpx.Client, tmp_path: Path) -> None:
    (tmp_path / "openapi.json").write_bytes(client.get("/openapi.json").content)
    for drawing, name in (("ring", "alpha"), ("ex", "beta"), ("tee", "gamma")):
        (tmp_path / f"{name}.png").write_bytes(png(drawing, 1))
    (tmp_path / "what.png").write_bytes(png("ex", 4))
    path = f"{GENERATOR.parent}:{os.environ['PATH']}"  # it calls ruff
    command = [GENERATOR, "generate", "--path", "openapi.json", "--output-path", "generated", "--meta", "none"]
    made = subprocess.run(command, cwd=tmp_path, env=os.environ | {"PATH": path}, capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr
    assert "WARNING" not in made.stdout + made.stderr  # an operation that it cannot express is left out with a warning
    python = GENERATOR.parent / "python"
    url = str(client.base_url).rstrip("/")
    ran = subprocess.run([python, "-c", PROGRAM, url], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "beta\n"
