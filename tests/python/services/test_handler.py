"""The cloud's answer to each request, without gRPC."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eccsnn.services.handler import CloudHandler, CloudLimits, CloudModel, class_list
from eccsnn.transport import messages
from eccsnn.transport.images import encode_image
from eccsnn.transport.messages import Name
from eccsnn.transport.proto.eccsnn.v1 import cloud_pb2 as pb

CLASSES = class_list([10, 11, 12, 13], version=3)


def run(
    predict: Callable,
    body: Callable[[CloudHandler], Awaitable[None]],
    limits: CloudLimits | None = None,
    shape=(3, 8, 8),
) -> None:
    async def main() -> None:
        handler = CloudHandler(CloudModel(predict, CLASSES, "model", shape), limits)
        handler.start()
        try:
            await body(handler)
        finally:
            await handler.close()

    asyncio.run(main())


def request(image: np.ndarray, sequence: int = 0, codec: str = "png", edge: str = "edge", **changes) -> bytes:
    made = messages.image_request(Name(edge, "s", sequence), encode_image(image, codec), codec, shape=image.shape)
    for field, value in changes.items():
        setattr(made, field, value)
    return made.SerializeToString()


def code(raw: bytes) -> str:
    response = pb.InferResponse.FromString(raw)
    assert response.WhichOneof("outcome") == "error", response
    assert response.error.message
    return messages.code_name(response.error.code)


def label(raw: bytes) -> int:
    answer = pb.InferResponse.FromString(raw).answer
    assert list(answer.class_ids) == list(CLASSES.class_ids)
    assert answer.class_list_version == 3
    return answer.class_ids[int(np.argmax(answer.logits))]


class Counting:
    """A predict function that counts images and can be held."""

    def __init__(self, predict: Callable) -> None:
        self._predict = predict
        self.images = 0
        self.entered = threading.Event()
        self.open = threading.Event()
        self.open.set()

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        self.images += len(batch)
        self.entered.set()
        self.open.wait()
        return self._predict(batch)


@pytest.mark.parametrize("codec", ["png", "raw"])
def test_each_image_gets_its_own_answer(predict, image, codec) -> None:
    async def body(handler: CloudHandler) -> None:
        raws = [request(image(value), value, codec) for value in range(8)]
        answers = await asyncio.gather(*(handler.answer(raw) for raw in raws))
        assert [label(raw) for raw in answers] == [10, 11, 12, 13] * 2
        assert [pb.InferResponse.FromString(raw).sequence for raw in answers] == list(range(8))
        assert messages.parse_answer(answers[5], Name("edge", "s", 5), CLASSES).model_id == "model"

    run(predict, body)


def test_a_repeat_returns_the_same_bytes_and_is_computed_once(predict, image) -> None:
    counting = Counting(predict)

    async def body(handler: CloudHandler) -> None:
        raw = request(image(2))
        first = await handler.answer(raw)
        assert await handler.answer(raw) == first
        assert counting.images == 1
        assert await handler.answer(request(image(2), edge="other")) != b""
        assert counting.images == 2  # another edge, another request

    run(counting, body)


def test_a_repeat_while_the_first_is_computed_joins_it(predict, image) -> None:
    counting = Counting(predict)
    counting.open.clear()

    async def body(handler: CloudHandler) -> None:
        raw = request(image(1))
        gave_up = asyncio.create_task(handler.answer(raw))
        await asyncio.get_running_loop().run_in_executor(None, counting.entered.wait)
        gave_up.cancel()  # as when the caller's deadline passes
        repeat = asyncio.create_task(handler.answer(raw))
        await asyncio.sleep(0)
        counting.open.set()
        assert label(await repeat) == 11
        assert counting.images == 1

    run(counting, body)


def test_another_request_under_the_same_name_is_refused(predict, image) -> None:
    async def body(handler: CloudHandler) -> None:
        first = await handler.answer(request(image(1)))
        assert code(await handler.answer(request(image(2)))) == "sequence_conflict"
        assert await handler.answer(request(image(1))) == first

    run(predict, body)


def test_only_the_newest_answers_are_remembered(predict, image) -> None:
    counting = Counting(predict)

    async def body(handler: CloudHandler) -> None:
        for sequence in (0, 1, 0, 2):  # 0 was used again, so 1 is the oldest
            await handler.answer(request(image(0), sequence))
        assert counting.images == 3
        await handler.answer(request(image(0), 0))
        assert counting.images == 3
        await handler.answer(request(image(0), 1))
        assert counting.images == 4

    run(counting, body, CloudLimits(remembered_answers=2))


def test_refusals_name_the_fault(predict, image) -> None:
    async def body(handler: CloudHandler) -> None:
        broken = messages.image_request(Name("edge", "s", 1), b"\x89PNG\r\n\x1a\n", "png").SerializeToString()
        spikes = pb.InferRequest(edge_id="e", session="s", spikes=pb.SpikePacket(timesteps=1)).SerializeToString()
        wide = np.zeros((3, 8, 9), dtype=np.uint8)
        for raw, expected in [
            (b"\xff", "malformed"),
            (broken, "bad_payload"),
            (spikes, "unsupported_payload"),
            (request(wide, 2), "shape_mismatch"),
            (request(image(0), 3, model_id="other"), "model_mismatch"),
            (request(image(0), 4, class_list_version=2), "class_list_mismatch"),
        ]:
            assert code(await handler.answer(raw)) == expected
        assert label(await handler.answer(request(image(3), 5, model_id="model", class_list_version=3))) == 13

    run(predict, body)


def test_a_broken_image_fails_alone_in_its_batch(predict, image) -> None:
    counting = Counting(predict)
    counting.open.clear()

    async def body(handler: CloudHandler) -> None:
        first = asyncio.create_task(handler.answer(request(image(0), 0)))
        await asyncio.get_running_loop().run_in_executor(None, counting.entered.wait)
        broken = messages.image_request(Name("edge", "s", 2), b"junk", "jpeg").SerializeToString()
        raws = [request(image(1), 1), broken, request(image(3), 3)]
        tasks = [asyncio.create_task(handler.answer(raw)) for raw in raws]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        counting.open.set()
        assert label(await first) == 10
        one, two, three = await asyncio.gather(*tasks)
        assert (label(one), code(two), label(three)) == (11, "bad_payload", 13)
        assert pb.InferResponse.FromString(one).batch_size == 3

    run(counting, body)


def test_images_of_different_shapes_are_computed_apart_when_any_shape_goes(image) -> None:
    shapes = []

    def predict(batch: np.ndarray) -> np.ndarray:
        shapes.append(batch.shape)
        return np.zeros((len(batch), 4))

    async def body(handler: CloudHandler) -> None:
        small, grey = image(0), np.zeros((1, 4, 4), dtype=np.uint8)
        await asyncio.gather(
            *(handler.answer(request(picture, i)) for i, picture in enumerate([small, grey, small, grey]))
        )
        assert sum(shape[0] for shape in shapes) == 4
        assert {shape[1:] for shape in shapes} == {(3, 8, 8), (1, 4, 4)}

    run(predict, body, shape=None)


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (lambda batch: 1 / 0, "ZeroDivisionError"),
        (lambda batch: np.zeros((len(batch), 3)), "expected [1, 4]"),
        (lambda batch: np.full((len(batch), 4), np.nan), "not finite"),
        (lambda batch: None, "InternalError|EccsnnError|TypeError"),
    ],
)
def test_a_failing_model_is_answered_and_may_recover(predict, image, bad, text) -> None:
    broken = [True]

    async def body(handler: CloudHandler) -> None:
        raw = await handler.answer(request(image(1)))
        assert code(raw) == "internal"
        message = pb.InferResponse.FromString(raw).error.message
        assert any(part in message for part in text.split("|"))
        assert "division by zero" not in message  # what went wrong inside is for the log
        broken[0] = False
        assert label(await handler.answer(request(image(1)))) == 11  # refusals are not remembered

    run(lambda batch: bad(batch) if broken[0] else predict(batch), body)


def test_overload_and_passed_deadlines_are_retryable(predict, image) -> None:
    counting = Counting(predict)
    counting.open.clear()

    async def body(handler: CloudHandler) -> None:
        running = asyncio.create_task(handler.answer(request(image(0), 0)))
        await asyncio.get_running_loop().run_in_executor(None, counting.entered.wait)
        late = asyncio.create_task(handler.answer(request(image(1), 1), time_remaining_s=-1.0))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        refused = await handler.answer(request(image(2), 2))
        assert code(refused) == "overloaded"
        assert pb.InferResponse.FromString(refused).error.retryable
        counting.open.set()
        assert label(await running) == 10
        assert code(await late) == "deadline_exceeded"
        assert label(await handler.answer(request(image(1), 1), time_remaining_s=60.0)) == 11
        assert counting.images == 2

    run(counting, body, CloudLimits(max_queue=1))


def test_a_handler_that_closes_refuses(predict, image) -> None:
    counting = Counting(predict)
    counting.open.clear()

    async def body(handler: CloudHandler) -> None:
        running = asyncio.create_task(handler.answer(request(image(0), 0)))
        await asyncio.get_running_loop().run_in_executor(None, counting.entered.wait)
        await handler.close()
        assert code(await running) == "shutting_down"
        assert code(await handler.answer(request(image(0), 1))) == "shutting_down"
        counting.open.set()

    run(counting, body)


def test_information(predict) -> None:
    async def body(handler: CloudHandler) -> None:
        info = messages.parse_info(handler.info())
        assert (info.model_id, info.class_list, info.image_shape) == ("model", CLASSES, (3, 8, 8))
        assert info.max_image_pixels == handler.limits.max_image_pixels
        assert info.server.startswith("eccsnn ")

    run(predict, body)


def test_models_and_limits_are_checked(predict) -> None:
    for arguments in (("", None), ("x" * 129, None), ("model", (3, 0, 8))):
        with pytest.raises(ValueError, match="expected"):
            CloudModel(predict, CLASSES, *arguments)
    with pytest.raises(ValueError, match="max_batch"):
        CloudLimits(max_batch=0)
    with pytest.raises(ValueError, match="class_ids"):
        class_list([1, 1])


@settings(max_examples=25, deadline=None)
@given(
    junk=st.lists(st.binary(max_size=80), max_size=10),
    edits=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=20),
)
def test_any_bytes_get_an_answer_and_the_handler_lives(junk: list[bytes], edits: list[tuple[int, int]]) -> None:
    good = request(np.zeros((3, 8, 8), dtype=np.uint8), 9)
    damaged = []
    for position, value in edits:
        copy = bytearray(good)
        copy[position % len(copy)] = value
        damaged.append(bytes(copy))

    async def body(handler: CloudHandler) -> None:
        for raw in await asyncio.gather(*(handler.answer(raw) for raw in junk + damaged)):
            assert pb.InferResponse.FromString(raw).WhichOneof("outcome") in ("answer", "error")
        fresh = request(np.zeros((3, 8, 8), dtype=np.uint8), 10, edge="after")
        assert label(await handler.answer(fresh)) == 10

    run(lambda batch: np.eye(4)[batch[:, 0, 0, 0] % 4], body)
