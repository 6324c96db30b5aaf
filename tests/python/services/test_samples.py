"""Samples on a stream, without gRPC: order, ends, repeats, limits, and what hostile requests get."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Awaitable, Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from split_net import CLASSES, TIMESTEPS, cloud_step, image_of, predict, running_logits, spikes_of, split_model

from eccsnn.offload.exits import NEVER
from eccsnn.services.handler import CloudHandler, CloudLimits, CloudModel, class_list
from eccsnn.services.samples import REMEMBERED_ENDS, SampleStream
from eccsnn.transport import messages
from eccsnn.transport.answers import judge
from eccsnn.transport.images import encode_image
from eccsnn.transport.messages import Name
from eccsnn.transport.packed_spikes import pack_spikes
from eccsnn.transport.proto.eccsnn.v1 import cloud_pb2 as pb
from eccsnn.transport.spike_messages import end_request, spike_request

LISTED = class_list(CLASSES, version=3)


def run(
    body: Callable[[CloudHandler, SampleStream], Awaitable[None]],
    limits: CloudLimits | None = None,
    split=None,
) -> CloudHandler:
    async def main() -> CloudHandler:
        handler = CloudHandler(CloudModel(predict, LISTED, "model", None, (split or split_model(),)), limits)
        handler.start()
        stream = SampleStream(handler)
        try:
            await body(handler, stream)
        finally:
            stream.close()
            await handler.close()
        assert handler.samples == 0
        return handler

    return asyncio.run(main())


def step(value: int, timestep: int, sequence: int | None = None, edge: str = "edge", **changes) -> bytes:
    """A packet of the image with this value; the sequence is the value unless it is given."""
    request = spike_request(
        Name(edge, "s", value if sequence is None else sequence, timestep),
        pack_spikes(spikes_of(value, timestep)),
        split_point="pool1",
        exit_threshold=changes.pop("exit_threshold", NEVER if timestep == 0 else None),
        **{key: changes.pop(key) for key in ("last", "codec", "model_id", "class_list_version") if key in changes},
    )
    for field, given_value in changes.items():
        if field in ("timesteps", "channels", "height", "width", "max_count", "data"):
            setattr(request.spikes, field, given_value)
        else:
            setattr(request, field, given_value)
    return request.SerializeToString()


async def ask(stream: SampleStream, raw: bytes) -> pb.InferResponse | None:
    work = stream.submit(raw)
    answer = await work if work is not None else None
    return pb.InferResponse.FromString(answer) if answer is not None else None


async def ask_all(stream: SampleStream, raws: list[bytes]) -> list[pb.InferResponse | None]:
    """Submit without waiting, as a stream does, then collect."""
    works = [stream.submit(raw) for raw in raws]
    answers = [await work if work is not None else None for work in works]
    return [pb.InferResponse.FromString(answer) if answer is not None else None for answer in answers]


def logits(response: pb.InferResponse | None) -> np.ndarray:
    assert response is not None
    assert response.WhichOneof("outcome") == "answer", response
    return np.float32(response.answer.logits)


def code(response: pb.InferResponse | None) -> str:
    assert response is not None
    assert response.WhichOneof("outcome") == "error", response
    assert response.error.message
    assert response.last
    return messages.code_name(response.error.code)


class Held:
    """A step that waits until it is let go."""

    def __init__(self) -> None:
        self.entered, self.go = threading.Event(), threading.Event()
        self.computed = 0

    def __call__(self, spikes, states):
        self.entered.set()
        self.go.wait()
        self.computed += len(spikes)
        return cloud_step(spikes, states)

    async def until_entered(self) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self.entered.wait)


def test_timesteps_are_answered_with_running_logits() -> None:
    async def body(handler: CloudHandler, stream: SampleStream) -> None:
        for waits in (True, False):
            raws = [step(5, t, sequence=int(waits)) for t in range(TIMESTEPS)]
            answers = [await ask(stream, raw) for raw in raws] if waits else await ask_all(stream, raws)
            for timestep, answer in enumerate(answers):
                np.testing.assert_array_equal(logits(answer), running_logits(5)[timestep])
                assert answer.timestep == timestep
                assert answer.last == (timestep == TIMESTEPS - 1)
                assert not answer.exit

    handler = run(body)
    assert (handler.counts.samples, handler.counts.packets, handler.counts.timesteps_computed) == (2, 10, 10)
    assert (handler.counts.packets_dropped, handler.counts.samples_abandoned) == (0, 0)


def test_what_is_sent_beyond_an_exit_gets_no_answer() -> None:
    async def body(handler: CloudHandler, stream: SampleStream) -> None:
        together = await ask_all(stream, [step(1, 0, exit_threshold=0.0), step(1, 1), step(1, 2)])
        assert (together[0].exit, together[0].last, together[1:]) == (True, True, [None, None])
        assert await ask(stream, step(1, 3)) is None  # came after the answer had left
        assert await ask(stream, end_request(1).SerializeToString()) is None

    handler = run(body)
    assert handler.counts.timesteps_computed == 1
    assert handler.counts.packets_dropped == 3


def test_the_models_threshold_holds_where_a_request_has_none() -> None:
    async def body(handler: CloudHandler, stream: SampleStream) -> None:
        request = pb.InferRequest.FromString(step(1, 0))
        request.ClearField("exit_threshold")
        assert (await ask(stream, request.SerializeToString())).exit

    run(body, split=split_model(exit_threshold=0.0))


def test_several_edges_share_batches_on_streams_of_their_own() -> None:
    held = Held()

    async def body(handler: CloudHandler, stream: SampleStream) -> None:
        others = [SampleStream(handler) for _ in range(3)]
        first = stream.submit(step(9, 0))
        await held.until_entered()
        works = [other.submit(step(v, 0, sequence=0, edge=f"edge-{v}")) for v, other in enumerate(others)]
        await asyncio.sleep(0)
        held.go.set()
        answers = [pb.InferResponse.FromString(await work) for work in works]
        np.testing.assert_array_equal(logits(pb.InferResponse.FromString(await first)), running_logits(9)[0])
        for value, answer in enumerate(answers):
            np.testing.assert_array_equal(logits(answer), running_logits(value)[0])
            assert answer.batch_size == 3
        for other in others:
            other.close()

    assert run(body, split=split_model(step=held)).counts.samples_abandoned == 4


def test_names_may_be_left_out_after_the_first_packet() -> None:
    async def body(handler: CloudHandler, stream: SampleStream) -> None:
        answers = [await ask(stream, step(1, 0, sequence=0))]
        for timestep in (1, 2):
            short = spike_request(Name("", "", 0, timestep), pack_spikes(spikes_of(1, timestep)))
            answers.append(await ask(stream, short.SerializeToString()))
        assert [answer.session for answer in answers] == ["s", "", ""]
        for timestep, answer in enumerate(answers):
            np.testing.assert_array_equal(logits(answer), running_logits(1)[timestep])

    run(body)


def test_brief_samples_and_images_get_a_class_and_a_confidence_in_place_of_logits() -> None:
    async def body(handler: CloudHandler, stream: SampleStream) -> None:
        steps = [step(1, t, brief=t == 0, last=t == 2) for t in range(3)]
        brief = await ask_all(stream, steps)
        assert await stream.submit(steps[1]) == brief[1].SerializeToString()  # a repeat
        full = await ask_all(stream, [step(1, t, sequence=500, last=t == 2) for t in range(3)])
        pixels = image_of(2)
        upload = messages.image_request(Name("edge", "s", 0), encode_image(pixels, "png"), "png", brief=True)
        brief.append(await ask(stream, upload.SerializeToString()))
        full.append(pb.InferResponse(answer=pb.Answer(logits=[0, 0, 1, 0])))
        for timestep, (short, in_full) in enumerate(zip(brief, full, strict=True)):
            verdict = judge(logits(in_full), CLASSES)
            assert (short.answer.class_id, short.answer.confidence) == (verdict.label, verdict.confidence)
            assert not short.answer.logits
            assert not short.answer.class_ids
            assert short.answer.class_list_version == (3 if timestep in (0, 3) else 0)
            assert (short.session, short.model_id, short.batch_size) == ("", "", 0)
            assert short.last == (timestep >= 2)

    run(body)


def test_brief_is_said_with_timestep_0() -> None:
    async def body(handler: CloudHandler, stream: SampleStream) -> None:
        first = await ask(stream, step(1, 0))
        assert logits(first).shape == (4,)
        refused = await ask(stream, step(1, 1, brief=True))
        assert code(refused) == "malformed"
        assert "brief came anew" in refused.error.message

    run(body)


def test_images_and_spikes_share_a_stream_and_its_names() -> None:
    async def body(handler: CloudHandler, stream: SampleStream) -> None:
        pixels = image_of(2)
        request = messages.image_request(Name("edge", "s", 0), encode_image(pixels, "png"), "png", shape=pixels.shape)
        image, spikes = await ask_all(
            stream,
            [
                request.SerializeToString(),
                spike_request(
                    Name("", "", 1), pack_spikes(spikes_of(1, 0)), split_point="pool1", last=True
                ).SerializeToString(),
            ],
        )
        assert list(image.answer.logits) == [0, 0, 1, 0]
        request.edge_id = "e" * 200  # no name; the one before goes on to hold
        assert code(await ask(stream, request.SerializeToString())) == "malformed"
        again = spike_request(Name("", "", 2), pack_spikes(spikes_of(2, 0)), last=True)
        np.testing.assert_array_equal(logits(await ask(stream, again.SerializeToString())), running_logits(2)[0])
        np.testing.assert_array_equal(logits(spikes), running_logits(1)[0])

    run(body)


def test_repeats_get_the_same_bytes_and_are_computed_once() -> None:
    async def body(handler: CloudHandler, stream: SampleStream) -> None:
        first = await stream.submit(step(1, 0))
        second = await stream.submit(step(1, 1))
        for again in (stream, SampleStream(handler)):
            assert await again.submit(step(1, 0)) == first
            assert await again.submit(step(1, 1)) == second
        np.testing.assert_array_equal(logits(await ask(stream, step(1, 2))), running_logits(1)[2])

    handler = run(body)
    assert handler.counts.timesteps_computed == 3
    assert handler.counts.packets == 3


def test_a_sample_that_was_cut_off_cannot_go_on_elsewhere_but_start_anew() -> None:
    async def body(handler: CloudHandler, stream: SampleStream) -> None:
        broken = SampleStream(handler)
        assert await broken.submit(step(1, 0)) is not None
        broken.close()
        assert "sequence number" in (refused := await ask(stream, step(1, 1))).error.message
        assert code(refused) == "malformed"
        np.testing.assert_array_equal(logits(await ask(stream, step(1, 0, sequence=50))), running_logits(1)[0])

    assert run(body).counts.samples_abandoned == 2


def test_other_bytes_under_the_same_name_are_refused() -> None:
    async def body(handler: CloudHandler, stream: SampleStream) -> None:
        await ask(stream, step(1, 0, sequence=0))
        assert code(await ask(stream, step(2, 0, sequence=0))) == "sequence_conflict"
        assert await ask(stream, step(1, 1, sequence=0)) is None  # any error ends its sample

    run(body)


@pytest.mark.parametrize(
    ("before", "raw", "expected"),
    [
        (0, step(1, 1), "malformed"),  # no timestep 0
        (1, step(1, 2), "malformed"),  # a gap
        (TIMESTEPS, step(1, TIMESTEPS), "malformed"),  # beyond the end
        (0, step(1, 2**32 - 1), "malformed"),
        (1, step(1, 1, exit_threshold=0.5), "malformed"),
        (0, step(1, 0, exit_threshold=float("nan")), "malformed"),
        (0, step(1, 0, codec=9), "unsupported_payload"),
        (1, step(1, 1, codec=9), "malformed"),
        (0, step(1, 0, split_point="elsewhere"), "unsupported_payload"),
        (0, step(1, 0, timesteps=5), "unsupported_payload"),
        (0, step(1, 0, channels=6, height=4, width=5), "shape_mismatch"),
        (0, step(1, 0, max_count=3), "shape_mismatch"),
        (0, step(1, 0, data=b"\1"), "bad_payload"),
        (0, step(1, 0, data=b"\xff" * 16), "bad_payload"),  # padding bits
        (1, step(1, 1, data=b""), "bad_payload"),
        (0, step(1, 0, data=bytes(2000)), "bad_payload"),
        (0, step(1, 0, model_id="other"), "model_mismatch"),
        (0, step(1, 0, class_list_version=1), "class_list_mismatch"),
        (0, step(1, 0, edge_id="e" * 129), "malformed"),
    ],
)
def test_wrong_packets_end_their_sample_with_a_typed_error(before: int, raw: bytes, expected: str) -> None:
    async def body(handler: CloudHandler, stream: SampleStream) -> None:
        for timestep in range(before):
            await ask(stream, step(1, timestep))
        refused = await ask(stream, raw)
        assert code(refused) == expected
        assert handler.samples == 0
        # The stream and other samples go on.
        np.testing.assert_array_equal(logits(await ask(stream, step(2, 0))), running_logits(2)[0])

    run(body, CloudLimits(max_message_bytes=1000))


def test_nothing_may_follow_the_end() -> None:
    async def body(handler: CloudHandler, stream: SampleStream) -> None:
        assert (await ask(stream, step(1, 0, last=True))).last
        assert code(await ask(stream, step(1, 1))) == "malformed"
        last, after = await ask_all(stream, [step(2, 0, last=True), step(2, 1)])
        assert last is None  # an error ends the sample, also for what waits
        assert code(after) == "malformed"
        await ask(stream, step(3, 0))
        assert await ask(stream, end_request(3).SerializeToString()) is None
        assert handler.samples == 0
        assert code(await ask(stream, step(3, 1))) == "malformed"
        assert await ask(stream, end_request(77).SerializeToString()) is None  # of nothing

    run(body)


def test_an_end_and_a_closed_stream_keep_waiting_packets_from_the_model() -> None:
    held = Held()

    async def body(handler: CloudHandler, stream: SampleStream) -> None:
        other = SampleStream(handler)
        running = stream.submit(step(1, 0))
        await held.until_entered()
        waiting = stream.submit(step(1, 1))
        gone = other.submit(step(2, 0, edge="other"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert stream.submit(end_request(1).SerializeToString()) is None
        other.close()
        held.go.set()
        assert await running is not None  # it was being computed
        assert (await waiting, await gone) == (None, None)
        assert held.computed == 1

    handler = run(body, split=split_model(step=held))
    assert handler.counts.packets_dropped == 2
    assert handler.counts.samples_abandoned == 1


def test_a_deadline_that_has_passed_ends_the_sample() -> None:
    held = Held()

    async def body(handler: CloudHandler, stream: SampleStream) -> None:
        running = stream.submit(step(1, 0))
        await held.until_entered()
        late = stream.submit(step(2, 0), time_remaining_s=-1.0)
        held.go.set()
        assert await running is not None
        refused = pb.InferResponse.FromString(await late)
        assert code(refused) == "deadline_exceeded"
        assert refused.error.retryable
        assert refused.sequence == 2

    run(body, split=split_model(step=held))


def test_limits_on_samples_and_on_the_queue() -> None:
    held = Held()

    async def body(handler: CloudHandler, stream: SampleStream) -> None:
        other = SampleStream(handler)
        running = stream.submit(step(0, 0))
        await held.until_entered()
        second = stream.submit(step(1, 0))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        third = await ask(stream, step(2, 0))
        assert (code(third), third.error.retryable) == ("overloaded", True)
        assert "this stream" in third.error.message
        full = await ask(other, step(0, 0, edge="a"))
        assert code(full) == "overloaded"
        assert "are waiting already" in full.error.message
        held.go.set()
        assert await running is not None
        assert await second is not None
        assert logits(await ask(other, step(1, 0, edge="a"))) is not None
        most = await ask(other, step(2, 0, edge="a"))
        assert code(most) == "overloaded"
        assert "this cloud" in most.error.message
        other.close()

    run(body, CloudLimits(max_stream_samples=2, max_samples=3, max_queue=1), split_model(step=held))


def test_a_handler_that_closes_refuses_samples() -> None:
    async def body(handler: CloudHandler, stream: SampleStream) -> None:
        await handler.close()
        assert code(await ask(stream, step(1, 0))) == "shutting_down"

    run(body)


def test_a_stream_forgets_what_has_ended() -> None:
    class State:
        def __init__(self) -> None:
            self.sum = np.zeros(4)

    alive: weakref.WeakSet = weakref.WeakSet()

    def start() -> State:
        made = State()
        alive.add(made)
        return made

    def keep(spikes, states):
        after, _ = cloud_step(spikes, [state.sum for state in states])
        return after, states

    async def body(handler: CloudHandler, stream: SampleStream) -> None:
        for sequence in range(3 * REMEMBERED_ENDS):
            await ask(stream, step(1, 0, sequence=sequence))
            if sequence % 3 == 0:
                stream.submit(end_request(sequence).SerializeToString())
            elif sequence % 3 == 1:
                await ask(stream, step(1, 1, sequence=sequence, last=True))
            else:
                await ask(stream, step(1, 3, sequence=sequence))  # out of order
        assert handler.samples == 0
        assert len(stream._ended) == REMEMBERED_ENDS
        gc.collect()
        assert len(alive) <= 1  # of the batch that the model's thread had last

    run(body, split=split_model(start=start, step=keep))


def test_information_names_what_is_served() -> None:
    async def body(handler: CloudHandler, stream: SampleStream) -> None:
        await ask(stream, step(1, 0))
        info = messages.parse_info(handler.info())
        assert info.splits == (split_model(exit_threshold=0.5).info,)
        assert (info.splits[0].shape, info.splits[0].timesteps, info.splits[0].codecs) == ((6, 4, 4), TIMESTEPS, (0,))
        assert info.counts.timesteps_computed == 1
        assert (info.counts - info.counts).packets == 0
        raw = pb.GetInfoResponse.FromString(handler.info())
        assert (list(raw.split_points), raw.max_timesteps) == (["pool1"], TIMESTEPS)

    run(body, split=split_model(exit_threshold=0.5))


def test_split_points_have_different_names() -> None:
    for splits in ((split_model(), split_model()), (split_model(split_point="input"),)):
        with pytest.raises(ValueError, match="split points are"):
            CloudModel(predict, LISTED, "model", None, splits)


ACTIONS = st.tuples(
    st.sampled_from(["step", "end", "junk", "edited"]),
    st.integers(0, 3),  # sequence
    st.integers(0, TIMESTEPS + 1),
    st.booleans(),  # last
    st.sampled_from([0.0, 0.9, 2.0]),
    st.tuples(st.integers(0, 10_000), st.integers(0, 255)),
)


@settings(max_examples=60, deadline=None)
@given(actions=st.lists(ACTIONS, max_size=40), junk=st.binary(max_size=60))
def test_any_requests_in_any_order_are_answered_or_dropped_and_nothing_grows(actions, junk: bytes) -> None:
    async def body(handler: CloudHandler, stream: SampleStream) -> None:
        works = []
        for kind, sequence, timestep, last, threshold, (position, value) in actions:
            raw = junk
            if kind == "end":
                raw = pb.InferRequest(edge_id="edge", session="s", sequence=sequence, end=pb.EndSample())
                raw = raw.SerializeToString()
            elif kind != "junk":
                said = {"exit_threshold": threshold} if timestep == 0 else {}
                raw = step(1, timestep, sequence=sequence, last=last, **said)
            if kind == "edited":
                edited = bytearray(raw)
                edited[position % len(edited)] = value
                raw = bytes(edited)
            works.append(stream.submit(raw))
            assert handler.samples <= 8
        for work in works:
            answer = await work if work is not None else None
            if answer is not None:
                assert pb.InferResponse.FromString(answer).WhichOneof("outcome") in ("answer", "error")
        fresh = SampleStream(handler)
        np.testing.assert_array_equal(logits(await ask(fresh, step(3, 0, edge="after"))), running_logits(3)[0])
        fresh.close()

    run(body)
