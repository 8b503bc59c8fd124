"""Work and results survive being taken apart, and answers fit where their requests were."""

import numpy as np
import pytest

from app.inference.remote import protocol
from app.inference.remote.protocol import Reply, Request
from app.inference.remote.slots import Piece, bytes_of, read, write
from app.inference.support_features import SupportFeatures
from app.inference.work import Adapt, Adapted, Decode, Head, Predict, Predicted, Result, Work
from app.problems import Problem
from model.config import LEOConfig
from tests.helpers.results import assert_alike

CONFIG = LEOConfig(resolution=28, latent_dim=64)
WIDTH = CONFIG.feature_dim
chance = np.random.default_rng(0)


def support(examples: int, own_encoder: bool = False) -> SupportFeatures:
    features = chance.normal(size=(examples, WIDTH)).astype(np.float16)
    return SupportFeatures(features, features[::-1].copy() if own_encoder else None, np.arange(examples) % 2)


def images(count: int) -> np.ndarray:
    return chance.integers(0, 256, (count, 28, 28), dtype=np.uint8)


codes = chance.normal(size=(3, 64)).astype(np.float32)
WORKS: list[Work] = [
    Adapt(images(4), np.array([0, 1, 0, 2]), None, "0123456789ab"),
    Adapt(images(1), np.array([2]), support(5), "v"),
    Adapt(images(0), np.empty(0, dtype=np.int64), support(5), "v"),  # as after a removed example
    Adapt(images(1), np.array([0]), support(2, own_encoder=True)),
    Predict(images(9), None, codes, "v", 2.5),
    Predict(images(2), None, codes, "v", negatives=1),
    Predict(images(2), None, codes, "v", 3.0, shift=0.25),
    Decode(codes, "v"),
]


def through_memory(arrays: list[np.ndarray]) -> list[np.ndarray]:
    memory = memoryview(bytearray(bytes_of(arrays)))
    write(memory, arrays)
    return read(memory)


@pytest.mark.parametrize("work", WORKS, ids=lambda work: type(work).__name__)
def test_work_comes_back_as_it_was(work: Work) -> None:
    kind, arrays = protocol.work_to_arrays(work)
    found = protocol.work_from_arrays(kind, through_memory(arrays), work.model_version)
    assert type(found) is type(work)
    assert found.model_version == work.model_version
    for one, other in zip(protocol.work_to_arrays(found)[1], arrays, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("kind", "result"),
    [
        (protocol.PREDICT, Predicted(np.full((2, 4), 0.25, dtype=np.float32), None)),
        (
            protocol.PREDICT,
            Predicted(np.full((2, 4), 0.25, dtype=np.float32), None, np.array([0, 0.5], dtype=np.float32)),
        ),
        (protocol.DECODE, Head(chance.normal(size=(2, 5)).astype(np.float32), np.zeros(2, dtype=np.float32))),
        (protocol.ADAPT, Adapted(codes, None, [1.5, 0.5], 0.75, True, support(3))),
        (protocol.ADAPT, Adapted(codes, None, [1.5], 1.0, False, support(3, own_encoder=True))),
    ],
    ids=["predicted", "predicted with known", "head", "adapted", "adapted by its own encoder"],
)
def test_a_result_comes_back_as_it_was(kind: int, result: Result) -> None:
    memory = through_memory(protocol.result_to_arrays(result))
    found = protocol.result_from_arrays(kind, memory)
    for array in memory:
        array[...] = 0  # another request's by now
    assert_alike(found, result)


def test_a_problem_comes_back_as_it_was_and_bounded() -> None:
    for problem in (Problem(503, "später", retry_after=1), Problem(500, "x" * 100_000)):
        arrays = protocol.result_to_arrays(problem)
        assert bytes_of(arrays) <= protocol.PROBLEM_BYTES
        found = protocol.problem_from_arrays(through_memory(arrays))
        assert (found.status, found.retry_after) == (problem.status, problem.retry_after)
        assert problem.detail.startswith(found.detail)


@pytest.mark.parametrize("own_encoder", [False, True])
@pytest.mark.parametrize("examples", [1, 2, 40, 1000])
def test_every_answer_fits_where_its_request_was(examples: int, own_encoder: bool) -> None:
    config = CONFIG.model_copy(update={"own_encoder": own_encoder})
    earlier = support(examples, own_encoder)
    steps = config.inner_steps + config.finetune_steps + 1
    for ways in (1, examples):
        own = np.zeros((ways, config.latent_dim), dtype=np.float32)
        labels = np.arange(examples) % ways
        adapted = Adapted(own, None, [0.0] * steps, 1.0, True, earlier)
        for work in (
            Adapt(images(examples), labels),
            Adapt(images(1), labels[-1:], SupportFeatures(earlier.features[1:], None, np.sort(labels)[1:])),
            Adapt(images(0), labels[:0], SupportFeatures(earlier.features, None, np.sort(labels))),
        ):
            own_labels = [work.labels, *([work.earlier.labels] if work.earlier else [])]
            if np.concatenate(own_labels).max() + 1 < ways:
                continue
            size = bytes_of(protocol.result_to_arrays(adapted))
            assert size <= protocol.result_bytes(work, config)
    known = np.zeros(examples, dtype=np.float32)
    answered = Predicted(np.zeros((examples, 100), dtype=np.float32), None, known)
    asked = Predict(images(examples), None, np.zeros((100, 64), dtype=np.float32))
    assert bytes_of(protocol.result_to_arrays(answered)) <= protocol.result_bytes(asked, config)
    head = Head(np.zeros((examples, WIDTH), dtype=np.float32), np.zeros(examples, dtype=np.float32))
    wanted = Decode(np.zeros((examples, 64), dtype=np.float32))
    assert bytes_of(protocol.result_to_arrays(head)) <= protocol.result_bytes(wanted, config)


def test_packets_are_small_and_come_back_as_they_were() -> None:
    request = Request(protocol.PREDICT, 2**40, Piece(2**35, 2**20), "f4ba304b45b5")
    assert Request.unpack(request.pack()) == request
    assert Reply.unpack(Reply(True, 7).pack()) == Reply(True, 7)
    packets = {protocol.HELLO, protocol.READY, request.pack(), Reply(True, 7).pack()}
    assert len({len(packet) for packet in packets} & {len(protocol.HELLO)}) == 1  # none is taken for another
    assert max(map(len, packets)) <= protocol.PACKET_BYTES
