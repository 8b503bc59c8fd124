"""Exported folders, served by a web server that knows nothing of the service and opened in a browser."""

import base64
import contextlib
import functools
import http.server
import importlib.util
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from playwright.sync_api import Page

from app.settings import BROWSER_RUNTIME, PROJECT
from app.tasks.standalone import RUNTIME, unpack

PACKAGE = Path(os.environ.get("LEO_TEST_ONNXRUNTIME_WEB", PROJECT / ".cache" / "onnxruntime-web"))

CLASSIFY = """async (encoded) => {
  const bytes = Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0));
  const { classify } = await import("./classifier.js");
  return await classify(new Blob([bytes]));
}"""


def browser_runtime() -> Path:
    """The npm package onnxruntime-web; the test is skipped where it is not."""
    if not all((PACKAGE / name).is_file() for name in BROWSER_RUNTIME):
        pytest.skip(f"onnxruntime-web is not in {PACKAGE}: make browser-runtime")
    return PACKAGE


def export(client: httpx.Client, task_id: str, folder: Path, runtime: Path | None) -> Path:
    """Write a task's folder."""
    response = client.get(f"/tasks/{task_id}/standalone.zip")
    assert response.status_code == 200, response.text
    files = unpack(response.content)
    if runtime:
        files |= {name: (runtime / source).read_bytes() for source, name in RUNTIME.items()}
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def python_classifier(folder: Path) -> Any:
    """The classifier of an exported folder, as MLflow loads it."""
    flavor = yaml.safe_load((folder / "MLmodel").read_text())["flavors"]["python_function"]
    path = folder / flavor["code"] / f"{flavor['loader_module']}.py"
    spec = importlib.util.spec_from_file_location("loader", path)
    assert spec is not None
    assert spec.loader is not None
    loader = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loader)
    return loader._load_pyfunc(str(folder / flavor["data"]))


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder, as `python -m http.server` serves it."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()


def classify(page: Page, picture: bytes) -> tuple[list[float], float]:
    """Ask an opened folder about an image file -> the probability of each label, and `known`."""
    said = page.evaluate(CLASSIFY, base64.b64encode(picture).decode())
    return said["probabilities"], said["known"]
