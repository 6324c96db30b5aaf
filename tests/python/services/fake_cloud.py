"""A cloud and its link in virtual time: what an edge sends is answered when a link and a model of known times would."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from split_net import CLASSES, TIMESTEPS, edge_split, expected, split_model

from eccsnn.errors import CloudUnavailableError
from eccsnn.offload.exits import NEVER
from eccsnn.services.cloud_stream import CloudTimeoutError
from eccsnn.services.early_exit import EdgeSplit, EdgeStep, ExitMode
from eccsnn.services.split import Packet, Sample, Step, advance
from eccsnn.services.stream_edge import StreamAgent
from eccsnn.transport import messages
from eccsnn.transport.answers import make_answer
from eccsnn.transport.messages import ClassList, CloudInfo, Name, SplitInfo
from eccsnn.transport.proto.eccsnn.v1 import cloud_pb2 as pb
from eccsnn.transport.spike_messages import step_response

LISTED = ClassList(CLASSES)


class Clock:
    """Seconds that pass only when somebody says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class FakeCloud:
    """Stands for a `CloudClient`.

    Args:
        clock: of the edge.
        rtt_s: of the link.
        compute_s: a timestep in the cloud.
        tamper: may change the answers to a packet: takes its number on the stream and the answers, returns bytes.
        break_after: packets after which the first stream breaks; None: never.
        silent_after: packets after which the first stream has no more answers; None: never.
        knows_brief: whether it answers briefly where it is asked to, as clouds do since there are brief answers.
    """

    def __init__(
        self,
        clock: Clock,
        rtt_s: float = 0.1,
        compute_s: float = 0.01,
        *,
        tamper: Callable[[int, list[pb.InferResponse]], list[bytes]] | None = None,
        break_after: int | None = None,
        silent_after: int | None = None,
        knows_brief: bool = True,
    ) -> None:
        self.clock, self.rtt_s, self.compute_s, self.tamper = clock, rtt_s, compute_s, tamper
        self.break_after, self.silent_after = break_after, silent_after
        self.knows_brief = knows_brief
        self.streams: list[FakeStream] = []
        self.model = split_model()
        self.info = CloudInfo("fake", "m", LISTED, splits=(self.model.info,))
        self.gone = False

    def get_info(self, timeout_s: float) -> CloudInfo:
        if self.gone:
            raise CloudUnavailableError("no cloud here")
        return self.info

    def open_stream(self) -> "FakeStream":
        first = not self.streams
        self.streams.append(FakeStream(self, self.break_after if first else None, self.silent_after if first else None))
        return self.streams[-1]

    def sent(self) -> list[pb.InferRequest]:
        return [request for stream in self.streams for request in stream.sent]


class FakeStream:
    def __init__(self, cloud: FakeCloud, break_after: int | None, silent_after: int | None) -> None:
        self.cloud, self.break_after, self.silent_after = cloud, break_after, silent_after
        self.sent: list[pb.InferRequest] = []
        self.due: list[tuple[float, bytes]] = []
        self.samples: dict[int, Sample] = {}
        self.free_s = 0.0
        self.closed = False

    def send(self, message: bytes, timeout_s: float) -> None:
        assert not self.closed
        assert timeout_s > 0
        if self.break_after is not None and len(self.sent) >= self.break_after:
            raise CloudUnavailableError("the cloud went away")
        request = pb.InferRequest.FromString(message)
        number = len(self.sent)
        self.sent.append(request)
        answers = [answer for answer in [self.answer(request)] if answer is not None]
        if self.silent_after is not None and number >= self.silent_after:
            answers = []
        raws = [answer.SerializeToString() for answer in answers]
        if self.cloud.tamper is not None:
            raws = self.cloud.tamper(number, answers)
        arrival = self.cloud.clock.now + self.cloud.rtt_s / 2
        if raws:
            self.free_s = max(self.free_s, arrival) + self.cloud.compute_s
        self.due += [(self.free_s + self.cloud.rtt_s / 2, raw) for raw in raws]

    def answer(self, request: pb.InferRequest) -> pb.InferResponse | None:
        kind = request.WhichOneof("payload")
        brief = request.brief and self.cloud.knows_brief
        name = Name("edge", "s", request.sequence, request.timestep)
        milliseconds = self.cloud.compute_s * 1e3
        if kind == "image":
            answer = make_answer(np.float32([0, 0, 1, 0]), CLASSES, 1, brief=brief)
            session = "" if brief else "s"
            return pb.InferResponse(
                session=session, sequence=request.sequence, last=True, compute_ms=milliseconds, answer=answer
            )
        if kind == "end":
            self.samples[request.sequence].closed = True
            return None
        if request.timestep == 0:
            threshold = request.exit_threshold if request.HasField("exit_threshold") else NEVER
            self.samples[request.sequence] = Sample(self.cloud.model, request.spikes.codec, threshold, brief)
        packet = Packet(self.samples[request.sequence], request.spikes.data, request.last)
        (step,) = advance([packet], len(CLASSES))
        if step is None:
            return None
        if not isinstance(step, Step):
            return messages.error_response(request, step)
        return step_response(
            name,
            step.logits,
            LISTED,
            model_id="m",
            ends=step.ends,
            exits=step.exits,
            queue_ms=0.0,
            compute_ms=milliseconds,
            batch_size=1,
            brief=packet.sample.brief,
        )

    def poll(self) -> bytes | None:
        if self.due and self.due[0][0] <= self.cloud.clock.now:
            return self.due.pop(0)[1]
        return None

    def wait(self, timeout_s: float) -> bytes:
        clock = self.cloud.clock
        if self.break_after is not None and len(self.sent) >= self.break_after and not self.due:
            raise CloudUnavailableError("the cloud went away")
        if not self.due or self.due[0][0] - clock.now > timeout_s:
            clock.now += timeout_s
            raise CloudTimeoutError(f"nothing within {timeout_s:g} s")
        due_s, raw = self.due.pop(0)
        clock.now = max(clock.now, due_s)
        return raw

    def close(self) -> None:
        self.closed = True


def serving(cloud: FakeCloud, **changes) -> None:
    """Make the cloud say that it serves something else."""
    split = {"split_point": "pool1", "shape": (6, 4, 4), "timesteps": 5} | changes
    cloud.info = CloudInfo("fake", split.pop("model_id", "m"), LISTED, splits=(SplitInfo(**split),))


# ---- a small network in front of it ----

EDGE_S, RTT_S, CLOUD_S = 0.02, 0.1, 0.01
ALPHA = 0.8
EARLY = next(v for v in range(200) if expected(v, ALPHA)[1] == 2)
LATE = next(v for v in range(200) if expected(v, ALPHA)[1] == TIMESTEPS)


def slow_edge(clock: Clock, computed: list | None = None, **changes) -> EdgeSplit:
    """The small network, whose timesteps take `EDGE_S`."""
    inner = edge_split(computed, **changes)

    def start(image: np.ndarray):
        step = inner.start(image)

        def timed(timestep: int) -> EdgeStep:
            clock.now += EDGE_S
            return step(timestep)

        return timed

    return replace(inner, start=start)


def agent(cloud: FakeCloud, mode: ExitMode, computed: list | None = None, *, edge: dict | None = None, **options):
    """Asks the cloud for what the small network needs."""
    options = {"session": "s", "clock": cloud.clock, "timeout_s": 5.0} | options
    return StreamAgent(slow_edge(cloud.clock, computed, **(edge or {})), cloud, mode, ALPHA, **options)


def cloud_of(**options) -> FakeCloud:
    """A cloud with a clock of its own."""
    return FakeCloud(Clock(), RTT_S, CLOUD_S, **options)
