"""Servers that the service is compared with: plain FastAPI around the library, and FastAPI without a model.

    python -m bench.peers plain|bare|bare_together PORT MODEL

`plain` calls the library, with autograd, in its handler, one request at a time. `bare` reads the same requests and
gives constant answers, which is what HTTP costs; `bare_together` has a process for each core. `bench.peer_litserve`
is another.
"""

import io
import os
import secrets
import socket
import sys
from typing import Any

import numpy as np
import torch
import uvicorn
from fastapi import FastAPI, Form, UploadFile
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from bench.common import WEIGHTS
from bench.requests import NAMES
from model.devices import CORES
from model.images.drawings import to_drawing, to_input
from model.leo import LatentEmbeddingOptimization

Head = tuple[list[str], dict[str, Tensor]]  # the classes' names, fc.weight and fc.bias


def load(name: str) -> LatentEmbeddingOptimization:
    """A shipped model."""
    return LatentEmbeddingOptimization.from_pretrained(WEIGHTS / name)


def read(data: bytes, side: int) -> NDArray[np.uint8]:
    """An encoded picture as phi's input, 255 full ink."""
    return to_input(to_drawing(Image.open(io.BytesIO(data))), side)


def tensor(drawings: list[NDArray[np.uint8]]) -> Tensor:
    """[B,1,R,R], 1 full ink."""
    return torch.from_numpy(np.stack(drawings)).unsqueeze(1).float() / 255


def adapted(leo: LatentEmbeddingOptimization, drawings: list[NDArray[np.uint8]], labels: list[str]) -> Head:
    names = list(dict.fromkeys(labels))
    support, numbers = tensor(drawings), torch.tensor([names.index(label) for label in labels])
    codes = leo.inner_update(support, numbers, leo.encode_task(support, numbers)).detach()
    with torch.no_grad():
        return names, leo.decode_to_params(codes)


def to_prediction(labels: list[str], row: list[float]) -> dict[str, Any]:
    best = sorted(range(len(row)), key=lambda n: -row[n])[:5]
    scores = [{"label": labels[n], "confidence": row[n]} for n in best]
    return {**scores[0], "top_k": scores, "unknown": False}


def plain(name: str) -> FastAPI:
    app, leo, heads = FastAPI(), load(name), dict[str, Head]()
    side = leo.config.resolution

    @app.post("/tasks", status_code=201)
    async def create(images: list[UploadFile], labels: list[str] = Form()) -> dict[str, Any]:  # noqa: B008
        task_id = secrets.token_hex(12)
        heads[task_id] = adapted(leo, [read(await image.read(), side) for image in images], labels)
        return {"task_id": task_id, "labels": heads[task_id][0]}

    @app.post("/tasks/{task_id}/predict")
    async def predict(task_id: str, images: list[UploadFile]) -> dict[str, Any]:
        labels, params = heads[task_id]
        queries = tensor([read(await image.read(), side) for image in images])
        with torch.no_grad():
            shares = (leo.classifier(queries, params) / leo.config.temperature).softmax(dim=-1)
        predictions = [to_prediction(labels, row) for row in shares.tolist()]
        return {"task_id": task_id, "model_version": name, "predictions": predictions}

    return app


def bare(_: str) -> FastAPI:
    app = FastAPI()
    predictions = [to_prediction(NAMES, [0.9, 0.05, 0.03, 0.01, 0.01])]
    losses = [0.21334, 0.09221, 0.05112, 0.03123, 0.02321, 0.02012]

    @app.post("/tasks", status_code=201)
    async def create(images: list[UploadFile], labels: list[str] = Form()) -> dict[str, Any]:  # noqa: B008
        for image in images:
            await image.read()
        shots = dict.fromkeys(labels, 1)
        report = {"losses": losses, "support_accuracy": 1.0, "milliseconds": 2.512}
        return {"task_id": secrets.token_hex(12), "labels": labels, "shots": shots, "adaptation": report}

    @app.post("/tasks/{task_id}/predict")
    async def predict(task_id: str, images: list[UploadFile]) -> dict[str, Any]:
        for image in images:
            await image.read()
        return {"task_id": task_id, "model_version": "f4ba304b45b5", "predictions": predictions}

    return app


def main() -> None:
    """Serve until killed."""
    what, port, name = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    app = {"plain": plain, "bare": bare, "bare_together": bare}[what](name)
    for _ in range(CORES - 1 if what == "bare_together" else 0):
        if os.fork() == 0:
            break
    with socket.create_server(("127.0.0.1", port), backlog=2048, reuse_port=True) as listening:
        uvicorn.Server(uvicorn.Config(app, access_log=False, log_level="warning")).run([listening])


if __name__ == "__main__":
    main()
