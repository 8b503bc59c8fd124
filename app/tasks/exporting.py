"""Files of a task, to take away."""

from app.tasks import head_file
from app.tasks.base import TaskBase, mean_shots
from model.serving.onnx_export import to_onnx


class Exporting(TaskBase):
    """A task as a file: its head, or the whole classifier."""

    async def parameters(self, task_id: str, owner: str) -> bytes:
        """The decoded head as a safetensors file: `fc.weight` [N,F], `fc.bias` [N], and the `codes` [N,L]."""
        record, head = await self._record_and_head(task_id, owner)
        return head_file.write(record, head.weight, head.bias)

    async def onnx(self, task_id: str, owner: str) -> bytes:
        """phi and the head as one ONNX graph; see `model.serving.onnx_export`."""
        record, head = await self._record_and_head(task_id, owner)
        leo = self._models.for_task(record).leo
        described = {"task_id": task_id, "model": record.model, "model_version": record.model_version}
        return await self._in_thread(to_onnx, leo, head.weight, head.bias, record.labels, described, mean_shots(record))
