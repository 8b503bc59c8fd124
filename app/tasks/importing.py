"""Makes tasks of what was exported: of a head, or of a whole task. All limits of created tasks hold."""

from collections import Counter
from dataclasses import replace

import numpy as np

from app.inference.engine import Engine
from app.inference.work import Head
from app.problems import Problem
from app.store import IdempotencyRecord, PictureChanges, TaskRecord
from app.tasks import head_file, task_file
from app.tasks.adaptation import in_pool_if_large
from app.tasks.creating import Creating, new_record
from app.tasks.examples import pack
from app.tasks.head_file import ExportedHead
from app.tasks.idempotency import record_of_call
from app.tasks.limits import check_lifetime, check_negatives, check_shots, most_header_bytes, spell_labels
from app.tasks.options import ImportOptions, TaskLifetime, TaskOptions
from app.tasks.quality_report import of_support
from app.tasks.task_file import WholeTask
from app.tasks.zip_files import ZIP


class Importing(Creating):
    """How an exported task comes back, here or in another service."""

    async def import_task(
        self,
        data: bytes,
        options: ImportOptions,
        owner: str,
        *,
        idempotency_key: str | None = None,
        max_tasks: int | None = None,
    ) -> TaskRecord:
        """Make a task from a file that `parameters` or `export` gave, unless the same idempotency key has made it.

        Raises `Problem`; nothing is stored then.
        """
        once = None
        if idempotency_key is not None:
            once = await self._in_thread(record_of_call, idempotency_key, "import", data, options.model_dump_json())
            if first := await self._first_answer(owner, once):
                return first
        lifetime = TaskLifetime(name=options.name, ttl_seconds=options.ttl_seconds)
        if data.startswith(ZIP):
            whole = await self._in_thread(task_file.read, data, self._settings)
            if options.name is None:
                lifetime = lifetime.model_copy(update={"name": whole.manifest.name})
            lifetime = check_lifetime(lifetime, self._settings)
            return await self._import_whole(whole, lifetime, options.model, owner, once, max_tasks)
        if options.model is not None:
            raise Problem(422, "a head fits one model alone: leave model out, or import a zip with pictures")
        lifetime = check_lifetime(lifetime, self._settings)
        exported = await self._in_thread(head_file.read, data, most_header_bytes(self._settings))
        record, head, _ = await self._restored(exported, lifetime, owner)
        return await self._add(record, head, None, once, max_tasks)

    async def _import_whole(
        self,
        whole: WholeTask,
        lifetime: TaskLifetime,
        model: str | None,
        owner: str,
        once: IdempotencyRecord | None,
        max_tasks: int | None,
    ) -> TaskRecord:
        """Restore a task as it was, or make it anew from its pictures.

        It is made anew if another model was asked for, or if the version that it was made with is not loaded, but
        another one of the same model.
        """
        made_with = whole.manifest.model, whole.manifest.model_version
        if model is None and whole.pictures and self._models.of_version(*made_with) is None:
            model = next((each.info.name for each in self._models if each.info.name == whole.manifest.model), None)
        if model is not None and self._models.by_name(model).info.version != whole.manifest.model_version:
            if not whole.pictures:
                raise Problem(422, "the zip does not hold a picture of every example, which another model needs")
            options = TaskOptions(**lifetime.model_dump(), model=model, keep_images=whole.manifest.keep_images)
            labels = spell_labels(whole.labels, self._settings)
            check_shots(Counter(labels), self._settings)
            return await self._create(whole.pictures, labels, options, owner, once, max_tasks)
        try:
            record, head, engine = await self._restored(whole.head, lifetime, owner)
            record = replace(record, judged=whole.manifest.judged, judged_right=whole.manifest.judged_right)
        except Problem as problem:
            if problem.status == 409 and whole.pictures:
                problem.detail += "; or make it anew from its pictures: send model=NAME after the question mark"
            elif problem.status == 409:
                problem.detail += (
                    ", since the zip does not hold a picture of every example: keep_images=true keeps them"
                )
            raise
        examples = await self._in_thread(task_file.read_examples, whole, record, engine.info.config)
        if examples is None:
            return await self._add(record, head, None, once, max_tasks)
        quality, _ = await in_pool_if_large(of_support, examples, self._pool)
        pictures: PictureChanges | None = None
        if whole.manifest.keep_images and whole.pictures:
            # Copied once more: nothing else shows that these are pictures, and hold nothing but a picture.
            copies = await self._decoder.small_copies(whole.pictures)
            pictures = self._picture_changes(dict(zip(examples.numbers.tolist(), copies, strict=True)))
        # Cohesion and score are those of the file. A task from before there were any has none, and answers as it did.
        record = replace(record, quality=quality, keep_images=pictures is not None)
        return await self._add(record, head, pack(examples), once, max_tasks, pictures)

    async def _restored(
        self, exported: ExportedHead, lifetime: TaskLifetime, owner: str
    ) -> tuple[TaskRecord, Head, Engine]:
        """A new task with an exported head, which is that of its codes. Raises `Problem` 409 or 422."""
        shots = dict(zip(spell_labels(exported.labels, self._settings), exported.shots, strict=True))
        if len(shots) < len(exported.labels):
            raise Problem(422, "the file's labels must differ, and not only in spaces or their form in Unicode")
        check_shots(shots, self._settings)
        negatives = 0 if exported.negatives is None else len(exported.negatives)
        check_negatives(sum(shots.values()), negatives, self._settings)
        record = new_record(
            owner,
            lifetime,
            model=exported.model,
            model_version=exported.model_version,
            shots=shots,
            codes=exported.codes,
            negatives=exported.negatives,
            negative_numbers=exported.negative_numbers,
            adaptation=exported.adaptation,
            cohesion=exported.cohesion,
            own_score=exported.own_score,
        )
        engine = self._models.for_task(record)
        record = replace(record, model=engine.info.name)  # not what the file calls it: metrics have it as a label
        config = engine.info.config
        width = config.feature_dim if exported.weight is None else exported.weight.shape[1]
        if exported.codes.shape[1] != config.latent_dim or width != config.feature_dim:
            raise Problem(422, f"codes must be [N,{config.latent_dim}] and fc.weight [N,{config.feature_dim}]")
        if exported.negatives is not None and exported.negatives.shape[1] != config.latent_dim:
            raise Problem(422, f"negatives must be [M,{config.latent_dim}]")
        head = await self._decode_head(record)
        ways = len(shots)
        weight, bias = head.weight[:ways], head.bias[:ways]
        for name, given, ours in (("fc.weight", exported.weight, weight), ("fc.bias", exported.bias, bias)):
            if given is not None and not np.allclose(given, ours, rtol=1e-3, atol=1e-3):
                raise Problem(422, f"{name} is not what the file's codes decode to: it was changed after its export")
        return record, head, engine
