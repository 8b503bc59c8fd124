"""Predictions by the same model in LitServe, with its batching.

python -m bench.peer_litserve PORT MODEL [WORKERS]
"""

import os
import sys
from typing import Any

import litserve as ls
import torch
from fastapi import Request
from torch import Tensor

from bench.peers import adapted, load, read, tensor, to_prediction
from bench.requests import NAMES, picture

BATCH, BATCH_TIMEOUT = 32, float(os.environ.get("LITSERVE_BATCH_TIMEOUT", "0.005"))  # seconds


class Predictions(ls.LitAPI):  # type: ignore[misc]
    """Answers for five tasks, made when it starts; a request names one by its number."""

    def setup(self, device: str) -> None:  # noqa: ARG002
        self.name = sys.argv[2]
        self.leo = load(self.name)
        side = self.leo.config.resolution
        support = [[read(picture(name, hand), side) for name in NAMES] for hand in range(5)]
        self.heads = [adapted(self.leo, drawings, NAMES) for drawings in support]

    def decode_request(self, request: Request) -> tuple[int, Tensor]:
        drawing = read(request["images"].file.read(), self.leo.config.resolution)  # type: ignore[index]
        return int(request["task"]), tensor([drawing])  # type: ignore[index]

    def batch(self, inputs: list[tuple[int, Tensor]]) -> tuple[list[int], Tensor]:
        return [task for task, _ in inputs], torch.cat([images for _, images in inputs])

    def predict(self, batch: tuple[list[int], Tensor]) -> list[dict[str, Any]]:
        answers = []
        with torch.no_grad():
            features = self.leo.classifier.extract_features(batch[1])
            for task, row in zip(batch[0], features, strict=True):
                labels, params = self.heads[task]
                logits = params["fc.weight"] @ row + params["fc.bias"]
                shares = (logits / self.leo.config.temperature).softmax(dim=-1).tolist()
                predictions = [to_prediction(labels, shares)]
                answers.append({"task_id": str(task), "model_version": self.name, "predictions": predictions})
        return answers

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return output

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        return output


if __name__ == "__main__":
    api = Predictions(max_batch_size=BATCH, batch_timeout=BATCH_TIMEOUT, api_path="/predict")
    workers = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=workers, timeout=60)
    server.run(port=int(sys.argv[1]), host="127.0.0.1", generate_client_file=False, log_level="warning")
