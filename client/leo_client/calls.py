"""Every call of the service, described once for the sync and the async client."""

import uuid
from collections.abc import Iterable
from enum import Enum
from typing import Any

import httpx

from leo_client.answers import Evaluation, Example, Model, Prediction, Task, TaskPage, read_fields
from leo_client.bodies import as_text, of_examples, of_queries
from leo_client.call import Call
from leo_client.checks import header_value, path_of, text
from leo_client.images import Examples, Image, Images, labels_and_contents, to_content, to_contents
from leo_client.method import method


class NotGiven(Enum):
    """The type of `NOT_GIVEN`."""

    NOT_GIVEN = "not given"


#: The default of an argument for which None has a meaning of its own.
NOT_GIVEN = NotGiven.NOT_GIVEN


class Calls:
    """The methods of `Client` and `AsyncClient`. One annotated with `Call[Task]` returns a `Task` once it is sent.

    Every method raises `ProblemError` if the service refuses the call, and `Unreachable` if it does not answer.
    """

    @method
    def create(
        self,
        examples: Examples,
        *,
        name: str | None = None,
        ttl_seconds: int | None = None,
        model: str | None = None,
        negatives: Images = (),
        keep_support: bool = True,
        keep_images: bool = False,
        idempotency_key: str | None = None,
    ) -> Call[Task]:
        """Create a task: a classifier made from labelled images.

        Args:
            examples: the support set, as images by label or as pairs of label and image. Here and elsewhere an image
                may be an `httpx.URL`, if the service's operator allows its host (`LEO_IMAGE_HOSTS`).
            negatives: images of what is none of the classes, so that more such pictures are answered as unknown.
            name: what to call the task.
            ttl_seconds: after so many seconds the task is deleted; None keeps it.
            model: which of the service's models to use; None leaves the choice to the service.
            keep_support: keep the examples' features, so that `add_support` can add to them.
            keep_images: keep small copies of the pictures too, which `export` gives away with the task.
            idempotency_key: creations with the same key make one task. None takes a new key for each call, which
                is the same in all attempts of that call.

        Raises:
            TypeError, ValueError, OSError: one of `examples` or `negatives` is not an image.

        Example:
            task = client.create({"ring": ["ring1.png", "ring2.png"], "ex": "ex.png"})
        """
        given = _given(name=name, ttl_seconds=ttl_seconds, model=model)
        if not keep_support:
            given["keep_support"] = False
        if keep_images:
            given["keep_images"] = True
        labels, contents = labels_and_contents(examples)
        body = of_examples(labels, contents, to_contents(negatives, fewest=0), **given)
        return Call("POST", "/tasks", _read_task, body | {"headers": _once(idempotency_key)})

    @method
    def add_support(
        self, task_id: str, examples: Examples = (), *, negatives: Images = (), idempotency_key: str | None = None
    ) -> Call[Task]:
        """Add examples of old or new classes to a task, and adapt it again.

        Args:
            task_id: which task.
            examples: images by label, or pairs of label and image. None are needed beside `negatives`.
            negatives: images of what is none of the classes, so that more such pictures are answered as unknown.
            idempotency_key: calls with the same key add the examples once. None takes a new key for each call, which
                is the same in all attempts of that call.

        Raises:
            TypeError, ValueError, OSError: one of `examples` or `negatives` is not an image, or there are none.
        """
        of_none = to_contents(negatives, fewest=0)
        labels, contents = labels_and_contents(examples, fewest=0 if of_none else 1)
        body = of_examples(labels, contents, of_none)
        return Call("POST", f"{path_of(task_id)}/support", _read_task, body | {"headers": _once(idempotency_key)})

    @method
    def evaluate(self, task_id: str, examples: Examples) -> Call[Evaluation]:
        """See how right a task is on labelled images that are no examples of it. Nothing is stored.

        Args:
            task_id: which task.
            examples: images by label, or pairs of label and image. Other labels than the task's count as wrong.

        Raises:
            TypeError, ValueError, OSError: one of `examples` is not an image.
        """
        body = of_examples(*labels_and_contents(examples))
        read = Evaluation.from_json
        return Call("POST", f"{path_of(task_id)}/evaluate", lambda response: read(response.json()), body)

    @method
    def feedback(
        self,
        task_id: str,
        answers: Iterable[tuple[str, str] | tuple[str, str, Image]],
        *,
        idempotency_key: str | None = None,
    ) -> Call[Task]:
        """Say which answers were right; the task counts them. Pictures are added as examples.

        Args:
            task_id: which task.
            answers: the label that was answered, and the right one; with the image, it is added to the examples under
                the right label.
            idempotency_key: calls with the same key count once, as with `add_support`.

        Raises:
            TypeError, ValueError, OSError: one of the images is not an image.

        Example:
            client.feedback(task.task_id, [("ring", "ring"), ("ring", "hat", Path("hat.png"))])
        """
        judged = []
        for predicted, label, *images in answers:
            answer = {"predicted": text(predicted, "the answer"), "label": text(label, "the label")}
            if images:
                answer["image"] = as_text(to_content(images[0]))
            judged.append(answer)
        options = {"json": {"answers": judged}, "headers": _once(idempotency_key)}
        return Call("POST", f"{path_of(task_id)}/feedback", _read_task, options)

    @method
    def examples(self, task_id: str) -> Call[list[Example]]:
        """List a task's support examples, in the order they were sent."""

        def read(response: httpx.Response) -> list[Example]:
            return [read_fields(Example, example) for example in response.json()["examples"]]

        return Call("GET", f"{path_of(task_id)}/support", read)

    @method
    def remove_example(self, task_id: str, index: int, *, revision: int | None = None) -> Call[Task]:
        """Remove a support example, and adapt the task again to the others.

        Args:
            task_id: which task.
            index: which example, as `examples` numbers them.
            revision: remove it only if the task is still at this revision; None removes it in any case.

        Raises:
            NotFound: there is no such example.
            PreconditionFailed: the task is at another revision.
        """
        options = {"headers": _if_match(revision) | _once(None)}
        return Call("DELETE", f"{path_of(task_id)}/support/{index}", _read_task, options)

    @method
    def negatives(self, task_id: str) -> Call[list[int]]:
        """List the numbers of a task's negatives, in the order they were sent."""

        def read(response: httpx.Response) -> list[int]:
            return [int(number) for number in response.json()["negatives"]]

        return Call("GET", f"{path_of(task_id)}/negatives", read)

    @method
    def remove_negative(self, task_id: str, index: int, *, revision: int | None = None) -> Call[Task]:
        """Remove a negative; the classes, and the numbers of the others, stay as they are.

        Args:
            task_id: which task.
            index: which negative, as `negatives` numbers them.
            revision: remove it only if the task is still at this revision; None removes it in any case.

        Raises:
            NotFound: there is no such negative.
            PreconditionFailed: the task is at another revision.
        """
        options = {"headers": _if_match(revision) | _once(None)}
        return Call("DELETE", f"{path_of(task_id)}/negatives/{index}", _read_task, options)

    @method
    def relabel_example(self, task_id: str, index: int, label: str, *, revision: int | None = None) -> Call[Task]:
        """Give a support example another label, of an old class or a new one, and adapt the task again.

        Args:
            task_id: which task.
            index: which example, as `examples` numbers them.
            label: its label from now on.
            revision: change it only if the task is still at this revision; None changes it in any case.
        """
        options = {"json": {"label": text(label, "the label")}, "headers": _if_match(revision) | _once(None)}
        return Call("PATCH", f"{path_of(task_id)}/support/{index}", _read_task, options)

    @method
    def update(
        self,
        task_id: str,
        *,
        name: str | NotGiven | None = NOT_GIVEN,
        ttl_seconds: int | NotGiven | None = NOT_GIVEN,
        revision: int | None = None,
    ) -> Call[Task]:
        """Change a task's name or time limit; what is not given stays as it is.

        Args:
            task_id: which task.
            name: the new name; None removes it.
            ttl_seconds: the task is deleted in so many seconds from now; None keeps it.
            revision: change it only if the task is still at this revision; None changes it in any case.

        Raises:
            PreconditionFailed: the task is at another revision.

        Example:
            client.update(task.task_id, name="signs", ttl_seconds=None)
        """
        if isinstance(name, str):
            text(name, "the name")
        changes = {"name": name, "ttl_seconds": ttl_seconds}
        given = {key: value for key, value in changes.items() if not isinstance(value, NotGiven)}
        options = {"json": given, "headers": _if_match(revision) | _once(None)}
        return Call("PATCH", path_of(task_id), _read_task, options)

    @method
    def import_head(self, data: bytes, *, name: str | None = None, ttl_seconds: int | None = None) -> Call[Task]:
        """Create a task from a head that `parameters` returned.

        Args:
            data: the safetensors file.
            name: what to call the task.
            ttl_seconds: after so many seconds the task is deleted; None keeps it.
        """
        options = {
            "params": _given(name=name, ttl_seconds=ttl_seconds),
            "content": data,
            "headers": {"Content-Type": "application/octet-stream"} | _once(None),
        }
        return Call("POST", "/tasks/import", _read_task, options)

    @method
    def import_task(
        self, data: bytes, *, name: str | None = None, ttl_seconds: int | None = None, model: str | None = None
    ) -> Call[Task]:
        """Create a task from what `export` returned.

        Args:
            data: the zip.
            name: what to call the task; None leaves its name.
            ttl_seconds: after so many seconds the task is deleted; None keeps it.
            model: which of the service's models to make the task anew with, from the pictures in the zip. None restores
                the task as it was, or makes it anew if the service runs another version of its model.

        Raises:
            Conflict: the service does not run the version that made the task, and the zip has no pictures.
        """
        options = {
            "params": _given(name=name, ttl_seconds=ttl_seconds, model=model),
            "content": data,
            "headers": {"Content-Type": "application/zip"} | _once(None),
        }
        return Call("POST", "/tasks/import", _read_task, options)

    @method
    def predict(
        self,
        task_id: str,
        images: Images,
        *,
        top_k: int | None = None,
        reject: float | None = None,
        threshold: float | None = None,
    ) -> Call[list[Prediction]]:
        """Classify images with a task; the answers are in the images' order.

        Args:
            task_id: which task.
            images: the queries, or a single one. An array is one image, so give several as a list.
            top_k: how many of the likeliest classes each answer lists.
            reject: an answer with a lower `known` is marked `unknown`: the share of the task's own pictures to lose.
                The service's default is 0.05.
            threshold: an answer with a lower confidence is marked `unknown` too.

        Raises:
            TypeError, ValueError, OSError: one of `images` is not an image, or there are none.

        Example:
            answer = client.predict(task.task_id, "what.png")[0]
        """

        def read(response: httpx.Response) -> list[Prediction]:
            return [Prediction.from_json(prediction) for prediction in response.json()["predictions"]]

        params = {"params": _given(top_k=top_k, reject=reject, threshold=threshold)}
        options = params | of_queries(to_contents(images))
        return Call("POST", f"{path_of(task_id)}/predict", read, options)

    @method
    def get(self, task_id: str) -> Call[Task]:
        """Read a task."""
        return Call("GET", path_of(task_id), _read_task)

    @method
    def page(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        name: str | None = None,
        label: str | None = None,
        model: str | None = None,
    ) -> Call[TaskPage]:
        """List one page of tasks, newest first; `tasks` goes through all pages.

        Args:
            limit: most tasks on the page.
            cursor: the `next_cursor` of the page before.
            name: only tasks whose name contains this.
            label: only tasks that have this class.
            model: only tasks of this model.
        """
        options = {"params": _given(limit=limit, cursor=cursor, name=name, label=label, model=model)}

        def read(response: httpx.Response) -> TaskPage:
            page = TaskPage.from_json(response.json())
            if cursor is not None and page.next_cursor == cursor:
                raise ValueError("a page that leads to itself would be asked for without end")
            return page

        return Call("GET", "/tasks", read, options)

    @method
    def delete(self, task_id: str, *, revision: int | None = None) -> Call[None]:
        """Delete a task, for good.

        Args:
            task_id: which task.
            revision: delete it only if it is still at this revision; None deletes it in any case.

        Raises:
            NotFound: there is no such task.
            PreconditionFailed: the task is at another revision.
        """
        options = {"headers": _if_match(revision)}
        return Call("DELETE", path_of(task_id), _read_deletion, options, repeatable=revision is None, removes=True)

    @method
    def parameters(self, task_id: str) -> Call[bytes]:
        """Download a task's head as a safetensors file: `fc.weight` [N,F] and `fc.bias` [N]."""
        return Call("GET", f"{path_of(task_id)}/parameters", _read_content)

    @method
    def export(self, task_id: str) -> Call[bytes]:
        """Download the whole task as a zip, with the pictures if it keeps them; also if its weights are not loaded."""
        return Call("GET", f"{path_of(task_id)}/export.zip", _read_zip)

    @method
    def picture(self, task_id: str, index: int) -> Call[bytes]:
        """Download the picture of a support example, a PNG or JPEG, of a task that keeps them."""
        return Call("GET", f"{path_of(task_id)}/support/{index}/image", _read_content)

    @method
    def onnx(self, task_id: str) -> Call[bytes]:
        """Download the whole classifier, feature extractor and head, as an ONNX graph."""
        return Call("GET", f"{path_of(task_id)}/export.onnx", _read_content)

    @method
    def standalone(self, task_id: str) -> Call[bytes]:
        """Download a zip of a folder that needs no service: the classifier, a page that runs it, and a Python file."""
        return Call("GET", f"{path_of(task_id)}/standalone.zip", _read_zip)

    @method
    def models(self) -> Call[list[Model]]:
        """List the models that are loaded, with their limits and cards; the default model comes first."""
        return Call("GET", "/models", lambda response: [Model.from_json(each) for each in response.json()["models"]])


def _once(key: str | None) -> dict[str, str]:
    """The header by which all attempts of a call do its work once."""
    return {"Idempotency-Key": header_value(key or uuid.uuid4().hex, "the idempotency key")}


def _if_match(revision: int | None) -> dict[str, str]:
    return {} if revision is None else {"If-Match": f'"{revision}"'}


def _given(**values: Any) -> dict[str, Any]:
    """Leave out what was not given, and check what is text."""
    given = {key: value for key, value in values.items() if value is not None}
    return {key: text(value, key) if isinstance(value, str) else value for key, value in given.items()}


def _read_task(response: httpx.Response) -> Task:
    return Task.from_json(response.json())


def _read_deletion(response: httpx.Response) -> None:
    if response.status_code not in (httpx.codes.NO_CONTENT, httpx.codes.NOT_FOUND):
        raise ValueError("something other than a deletion")


def _read_content(response: httpx.Response) -> bytes:
    if not response.content:
        raise ValueError("nothing")
    return response.content


def _read_zip(response: httpx.Response) -> bytes:
    if not response.content.startswith(b"PK"):
        raise ValueError("no zip")
    return response.content
