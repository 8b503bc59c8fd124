"""A task as a folder that needs no service: the classifier, a page that runs it, a Python file, an MLflow model."""

import inspect
import io
import json
import zipfile
from pathlib import Path
from typing import Any

from app.settings import BROWSER_RUNTIME
from model.images import levels, profiles, square, upright

FILES = Path(__file__).resolve().parent.parent / "standalone"
#: Names in the archive, by the names in `app/standalone`.
NAMES = {name: name for name in ("index.html", "page.js", "classifier.js", "style.css", "icon.svg")}
NAMES |= {"predict.txt": "predict.py"}
#: What makes the folder an MLflow model.
NAMES |= {"MLmodel.yaml": "MLmodel", "mlflow.txt": "code/leo_standalone_classifier.py"}
NAMES |= {name: name for name in ("python_env.yaml", "requirements.txt")}
#: What reads pictures in the service reads them in the folder.
READING = {
    "code/leo_standalone_levels.py": levels,
    "code/leo_standalone_profiles.py": profiles,
    "code/leo_standalone_square.py": square,
    "code/leo_standalone_upright.py": upright,
}
GRAPH, LABELS = "classifier.onnx", "labels.json"
#: Files of the npm package onnxruntime-web, and where the page looks for them.
RUNTIME = {source: f"onnxruntime/{Path(source).name}" for source in BROWSER_RUNTIME}


def pack(graph: bytes, about: dict[str, Any], runtime: Path | None) -> bytes:
    """Make a zip of the folder. `about` goes into `labels.json`, `runtime` is a folder with onnxruntime-web or None."""
    files = {name: (FILES / source).read_bytes() for source, name in NAMES.items()}
    files |= {name: inspect.getsource(module).encode() for name, module in READING.items()}
    files[LABELS] = json.dumps(about, ensure_ascii=False, indent=2).encode()
    files[GRAPH] = graph
    if runtime:
        files |= {name: (runtime / source).read_bytes() for source, name in RUNTIME.items()}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            member = zipfile.ZipInfo(name)  # its date is always the same, and so is the archive
            member.external_attr = 0o644 << 16
            archive.writestr(member, content, zipfile.ZIP_STORED if name == GRAPH else zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def unpack(packed: bytes) -> dict[str, bytes]:
    """The files of such a zip by name. Names that `pack` does not give are left out, wherever the zip came from."""
    known = {*NAMES.values(), *READING, LABELS, GRAPH, *RUNTIME.values()}
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name in known}
