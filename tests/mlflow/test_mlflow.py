"""An exported folder is loaded by MLflow, in an environment of its own."""

import json
import subprocess
from pathlib import Path

import httpx
import pytest

from app.settings import PROJECT
from tests.helpers.drawn import png
from tests.helpers.standalone import export
from tests.helpers.tasks import FIVE, create, predict

PYTHON = PROJECT / ".cache" / "mlflow" / "bin" / "python"
LOAD = """
import base64, json, sys, mlflow, pandas
model, picture = mlflow.pyfunc.load_model(sys.argv[1]), open(sys.argv[2], "rb").read()
table = pandas.DataFrame({"image": [base64.b64encode(picture).decode()]})
print(json.dumps([*model.predict([picture]), *model.predict(table)]))
"""


def test_mlflow_loads_the_folder(client: httpx.Client, tmp_path: Path) -> None:
    task_id, picture = create(client, FIVE, shots=2).json()["task_id"], tmp_path / "ring.png"
    folder = export(client, task_id, tmp_path / "folder", None)
    picture.write_bytes(png("ring", 9))
    command = [PYTHON, "-c", LOAD, folder, picture]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    answers = json.loads(done.stdout)
    (said,) = predict(client, task_id, [picture.read_bytes()])
    assert answers[0] == answers[1]
    assert answers[0]["label"] == said["label"] == "ring"
    assert answers[0]["probabilities"]["ring"] == pytest.approx(said["confidence"], abs=1e-3)
