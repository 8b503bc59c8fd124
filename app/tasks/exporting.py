"""A task as files to take away: its head, the whole task, an ONNX graph, a folder that needs no service."""

import numpy as np

from app.inference.work import Head
from app.problems import Problem, no_such_task
from app.store import TaskRecord
from app.store.errors import DamagedRecord
from app.tasks import head_file, standalone, task_file
from app.tasks.base import MOST_TRIES, TaskBase, contended, mean_shots, shift_of
from model.serving.export.classifier import prepared_to_onnx, to_onnx
from model.serving.task_background import background_of_task


class Exporting(TaskBase):
    """A task as a file: its head, or the whole classifier."""

    async def parameters(self, task_id: str, owner: str) -> bytes:
        """The decoded head as a safetensors file: `fc.weight` [N,F], `fc.bias` [N], and the `codes` [N,L]."""
        record, head = await self._record_and_head(task_id, owner)
        return head_file.write(record, head)

    async def export(self, task_id: str, owner: str) -> bytes:
        """The whole task as a zip, see `app.tasks.task_file`; without its head if its model is not loaded any more."""
        for _ in range(MOST_TRIES):
            found = await self._store.with_support(task_id, owner)
            if found is None:
                raise no_such_task()
            record, payload = found
            is_loaded = self._models.of_version(record.model, record.model_version) is not None
            head = await self._decode_head(record) if is_loaded else None
            pictures = await self._store.pictures(task_id, owner) if record.keep_images else {}
            if not record.keep_images or (await self.get(task_id, owner)).revision == record.revision:
                if record.keep_images and len(pictures) != sum(record.shots.values()):  # as where Redis evicts
                    raise DamagedRecord(
                        f"pictures of task {task_id} are missing from the store: take its head alone, with "
                        "GET /tasks/{id}/parameters, or create it again"
                    )
                return await self._in_thread(task_file.write, record, head, payload, pictures)
        raise contended()

    async def onnx(self, task_id: str, owner: str, *, prepared: bool = False) -> bytes:
        """The whole classifier as one ONNX graph, from a picture or from prepared images to probabilities."""
        record, head = await self._record_and_head(task_id, owner)
        return await self._in_thread(self._graph, record, head, prepared)

    async def standalone(self, task_id: str, owner: str) -> bytes:
        """The whole classifier as a zip of a folder that needs no service; see `app.tasks.standalone`."""
        record, head = await self._record_and_head(task_id, owner)
        engine = self._models.for_task(record)
        about = {
            "name": record.name,
            "labels": record.labels,
            "input": "drawings" if engine.takes_drawings else "photos",
            "draft": engine.read.draft_at,
            "task_id": task_id,
            "model": record.model,
            "model_version": record.model_version,
        }

        def export() -> bytes:
            return standalone.pack(self._graph(record, head), about, self._settings.browser_runtime)

        return await self._in_thread(export)

    def _graph(self, record: TaskRecord, head: Head, prepared: bool = False) -> bytes:
        engine = self._models.for_task(record)
        described = {"task_id": record.task_id, "model": record.model, "model_version": record.model_version}
        ways = len(record.codes)
        heads = np.concatenate([head.weight, head.bias[:, None]], axis=1)  # [N+M, F+1]
        background = background_of_task(engine.leo, heads, record.all_codes, ways, sum(record.shots.values()))
        about_support = mean_shots(record), shift_of(record, engine)
        own = head.weight[:ways], head.bias[:ways], record.labels
        given = engine.leo, *own, described, *about_support, background
        try:
            if prepared:
                return prepared_to_onnx(*given)
            return to_onnx(*given, quantised=engine.phi_precision == "int8")
        except TypeError as error:  # a backbone with a layer that has no ONNX form here
            raise Problem(409, f"the model {record.model} cannot be exported: {error}") from None
