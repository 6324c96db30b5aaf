"""The samples of one stream: opened, checked, advanced and ended in the event loop."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable
from functools import partial

from eccsnn.services.handler import CloudHandler
from eccsnn.services.split import Packet, Sample, SplitModel, Step
from eccsnn.transport import messages
from eccsnn.transport.messages import Name, RequestError
from eccsnn.transport.proto.eccsnn.v1 import cloud_pb2 as pb
from eccsnn.transport.spike_messages import StreamNames, check_geometry, complete, learn, step_response

REMEMBERED_ENDS = 64
"""Ended samples of a stream that are still known: packets of them may be on their way."""

_Key = tuple[str, str, int]


class SampleStream:
    """What a cloud does with the requests of one stream; images go to the handler as they are.

    A sample belongs to its stream: its state is made with timestep 0 and dropped when the sample or the stream ends. An
    answer is remembered as every other, so a repeat of a packet gets the same bytes, on any stream; but a sample that
    was cut off starts again from timestep 0 under a new sequence number. Packets that reach the cloud after their
    sample has exited or failed are dropped without an answer: the edge sent them before it could know.

    Args:
        handler: of the cloud.
    """

    def __init__(self, handler: CloudHandler) -> None:
        self._handler = handler
        self._limits = handler.limits
        self._splits = {split.split_point: split for split in handler.model.splits}
        self._names = StreamNames()
        self._open: dict[_Key, Sample] = {}
        self._ended: OrderedDict[_Key, str | None] = OrderedDict()  # why a further packet is wrong; None: drop it

    def submit(self, raw: bytes, time_remaining_s: float | None = None) -> asyncio.Task[bytes | None] | None:
        """Take the stream's next request; call it in the order of their arrival.

        Args:
            raw: bytes of an InferRequest, from anyone.
            time_remaining_s: how long the caller will wait; None: for ever.

        Returns:
            The work on its answer, which gives None when none is due; or None when that is known at once.
        """
        start = asyncio.get_running_loop().create_task
        request: pb.InferRequest | None = None
        try:
            request = messages.parse_request(raw)
            kind = request.WhichOneof("payload")
            if kind not in ("spikes", "end") or not self._splits:
                self._names = learn(request, self._names)
                return start(self._handler.answer(raw, time_remaining_s))
            self._names = complete(request, self._names)
            key = (request.edge_id, request.session, request.sequence)
            if kind == "end":
                if key in self._open:
                    self._end(key, "the edge has ended it")
                return None
            work = self._take(key, request, raw, time_remaining_s)
            return start(self._deliver(request, work)) if work is not None else None
        except RequestError as error:
            return start(self._refuse(request, error))

    def close(self) -> None:
        """Drop every sample: nobody waits for them any more."""
        self._handler.count(samples_abandoned=len(self._open))
        for key in list(self._open):
            self._end(key, None)

    def _take(
        self, key: _Key, request: pb.InferRequest, raw: bytes, time_remaining_s: float | None
    ) -> asyncio.Task[bytes | None] | None:
        name = messages.name_of(request)
        try:
            known = self._handler.recall(name, raw, time_remaining_s)
            if known is not None:
                return known
            self._handler.count(packets=1)
            packet = self._admit(key, request)
        except RequestError:
            self._end(key, None)
            raise
        if packet is None:
            self._handler.count(packets_dropped=1)
            return None
        return self._handler.remember(name, raw, time_remaining_s, partial(self._advance, key, name, packet))

    def _admit(self, key: _Key, request: pb.InferRequest) -> Packet | None:
        """The packet as part of its sample; None when the sample needs it no more."""
        timestep, packet = request.timestep, request.spikes
        if key in self._ended:
            why = self._ended[key]
            if why is None:
                return None
            raise _malformed(f"timestep {timestep} came after the sample's end ({why}); use a new sequence number")
        self._handler.check_target(request)
        split = self._splits.get(request.split_point)
        if split is None:
            raise RequestError(
                pb.ERROR_CODE_UNSUPPORTED_PAYLOAD,
                f"split point {request.split_point!r} is not served; expected one of {sorted(self._splits)}",
            )
        check_geometry(packet, split.shape, split.max_count, self._limits.max_message_bytes)
        sample = self._open.get(key)
        if sample is None:
            if timestep != 0:
                raise _malformed(
                    f"timestep {timestep} of a sample that is not under way on this stream; send samples from "
                    "timestep 0, "
                    "and one that was cut off under a new sequence number"
                )
            sample = self._start(key, request, split)
        elif timestep != sample.admitted:
            raise _malformed(
                f"timestep {timestep} came where {sample.admitted} is next; send each timestep once, in order"
            )
        elif (
            (sample.split, sample.codec) != (split, packet.codec) or request.HasField("exit_threshold") or request.brief
        ):
            raise _malformed("the split point, codec, exit threshold or brief came anew; they are said with timestep 0")
        if timestep >= split.timesteps:
            raise _malformed(f"timestep {timestep} is beyond the {split.timesteps} of the model")
        if sample.complete:
            raise _malformed(f"timestep {timestep} came after a packet with last set")
        sample.admitted += 1
        sample.complete = request.last
        return Packet(sample, packet.data, request.last)

    def _start(self, key: _Key, request: pb.InferRequest, split: SplitModel) -> Sample:
        if request.spikes.codec not in (split.decoders or ()):
            raise RequestError(
                pb.ERROR_CODE_UNSUPPORTED_PAYLOAD,
                f"spike codec {request.spikes.codec} is not served; expected one of {sorted(split.decoders or ())}",
            )
        threshold = request.exit_threshold if request.HasField("exit_threshold") else split.exit_threshold
        if math.isnan(threshold):
            raise _malformed("exit_threshold is NaN; expected a confidence, or a number above 1 for never")
        for under_way, limit, where in (
            (len(self._open), self._limits.max_stream_samples, "this stream"),
            (self._handler.samples, self._limits.max_samples, "this cloud"),
        ):
            if under_way >= limit:
                raise RequestError(
                    pb.ERROR_CODE_OVERLOADED, f"{under_way} samples are under way on {where}; end one first"
                )
        sample = self._open[key] = Sample(split, request.spikes.codec, threshold, request.brief)
        self._handler.samples += 1
        self._handler.count(samples=1)
        return sample

    def _end(self, key: _Key, why: str | None) -> None:
        sample = self._open.pop(key, None)
        if sample is not None:
            sample.closed = True
            self._handler.samples -= 1
        self._ended[key] = why
        while len(self._ended) > REMEMBERED_ENDS:
            self._ended.popitem(last=False)

    async def _advance(self, key: _Key, name: Name, packet: Packet, expired: Callable[[], bool]) -> bytes | None:
        sample = packet.sample
        try:
            done = await self._handler.compute(packet, lambda: sample.closed or expired())
        except RequestError:
            if sample.closed:
                self._handler.count(packets_dropped=1)
                return None
            self._end(key, None)
            raise
        step = done.result
        if not isinstance(step, Step):
            self._handler.count(packets_dropped=1)
            return None
        self._handler.count(timesteps_computed=1)
        if step.ends and not sample.closed:
            self._end(key, None if step.exits else "it had its last timestep")
        response = step_response(
            name,
            step.logits,
            self._handler.model.classes,
            model_id=self._handler.model.model_id,
            ends=step.ends,
            exits=step.exits,
            queue_ms=done.queue_ms,
            compute_ms=step.compute_ms,
            batch_size=done.batch_size,
            brief=sample.brief,
        )
        return response.SerializeToString()

    async def _deliver(self, request: pb.InferRequest, work: asyncio.Task[bytes | None]) -> bytes | None:
        try:
            return await asyncio.shield(work)  # a repeat on another stream may wait for it, too
        except RequestError as error:
            return await self._refuse(request, error)

    async def _refuse(self, request: pb.InferRequest | None, error: RequestError) -> bytes:
        return messages.error_response(request, error, self._handler.model.model_id).SerializeToString()


def _malformed(text: str) -> RequestError:
    return RequestError(pb.ERROR_CODE_MALFORMED, text)
