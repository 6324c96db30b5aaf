"""The edge of a split network in virtual time: latency, what is sent, and broken or hostile streams."""

import re

import numpy as np
import pytest
from fake_cloud import ALPHA, CLOUD_S, EARLY, EDGE_S, LATE, RTT_S, Clock, FakeCloud, agent, cloud_of, serving
from split_net import CLASSES, HEAD_CLASSES, TIMESTEPS, expected, head_logits, image_of, running_logits

from eccsnn.errors import EccsnnError
from eccsnn.offload.exits import NEVER, confidence
from eccsnn.services.breaker import CircuitBreaker
from eccsnn.services.early_exit import EdgeSplit, EdgeStep, ExitMode
from eccsnn.services.edge import Source
from eccsnn.services.stream_edge import StreamAgent
from eccsnn.transport.messages import RequestError, error_response
from eccsnn.transport.proto.eccsnn.v1 import cloud_pb2 as pb


def local(image: np.ndarray) -> np.ndarray:
    return np.array([1.0, 0.0])


# ---- latency and waste ----


@pytest.mark.parametrize("value", [EARLY, LATE])
def test_lock_step_takes_a_round_trip_a_timestep(value: int) -> None:
    cloud, computed = cloud_of(), []
    with agent(cloud, ExitMode.LOCK_STEP, computed) as edge:
        result = edge.process(image_of(value))
    label, needed = expected(value, ALPHA)
    assert (result.label, result.timesteps, result.source) == (label, needed, Source.CLOUD)
    assert result.latency_ms == pytest.approx(1e3 * needed * (EDGE_S + RTT_S + CLOUD_S))
    assert result.compute_ms == pytest.approx(1e3 * needed * (EDGE_S + CLOUD_S), rel=1e-6)
    assert len(computed) == result.edge_timesteps == result.sent_timesteps == result.answered_timesteps == needed
    assert result.wasted_payload_bytes == result.wasted_message_bytes == 0
    ends = [request for request in cloud.sent() if request.WhichOneof("payload") == "end"]
    assert len(ends) == (1 if needed < TIMESTEPS else 0)


@pytest.mark.parametrize("value", [EARLY, LATE])
def test_speculation_takes_one_round_trip(value: int) -> None:
    cloud, computed = cloud_of(), []
    with agent(cloud, ExitMode.SPECULATIVE, computed) as edge:
        result = edge.process(image_of(value))
    label, needed = expected(value, ALPHA)
    assert (result.label, result.timesteps, result.source) == (label, needed, Source.CLOUD)
    assert result.compute_ms == pytest.approx(1e3 * (needed * EDGE_S + CLOUD_S), rel=1e-6)
    assert result.latency_ms == pytest.approx(1e3 * (needed * EDGE_S + CLOUD_S + RTT_S))
    # The stop of a second timestep comes at 0.15 s; all five are sent at 0.1 s.
    assert result.edge_timesteps == result.sent_timesteps == len(computed) == TIMESTEPS
    assert result.payload_bytes_up == 16 * TIMESTEPS
    assert result.wasted_payload_bytes == 16 * (TIMESTEPS - needed)
    assert 0 <= result.wasted_message_bytes < result.message_bytes_up


def test_a_stop_in_mid_stream_keeps_the_rest_from_being_computed_and_sent() -> None:
    clock, computed = Clock(), []
    cloud = FakeCloud(clock, rtt_s=0.025, compute_s=CLOUD_S)
    with agent(cloud, ExitMode.SPECULATIVE, computed) as edge:
        result = edge.process(image_of(EARLY))
    # Sent at 0.04, computed until 0.0625, stop at 0.075: after the fourth step, which is not sent any more.
    assert (result.timesteps, result.edge_timesteps, result.sent_timesteps) == (2, 4, 3)
    assert result.latency_ms == pytest.approx(80)
    assert result.wasted_payload_bytes == 16
    assert len(cloud.sent()) == 3


def test_what_is_known_is_not_said_again() -> None:
    cloud = cloud_of()
    with agent(cloud, ExitMode.SPECULATIVE, model_id="m", edge_id="camera") as edge:
        for value in (LATE, EARLY):
            edge.process(image_of(value))
    first, *others = cloud.sent()
    assert (first.edge_id, first.session, first.split_point, first.model_id) == ("camera", "s", "pool1", "m")
    assert first.class_list_version == 1
    assert first.exit_threshold == pytest.approx(ALPHA)
    assert {(r.edge_id, r.session, r.split_point, r.model_id) for r in others} == {("", "", "", "")}
    assert [r.HasField("exit_threshold") for r in others] == [r.timestep == 0 for r in others]
    assert len(cloud.streams) == 1  # one stream for all samples
    assert [r.sequence for r in cloud.sent()] == [0] * TIMESTEPS + [1] * TIMESTEPS


def test_late_answers_to_a_sample_are_passed_over() -> None:
    cloud = FakeCloud(Clock(), rtt_s=0.5, compute_s=CLOUD_S)
    with agent(cloud, ExitMode.EDGE_EXIT_HEAD, edge={"exit_head": True}, answer_at="edge", edge_threshold=0.85) as edge:
        head_answers = edge.process(image_of(5))
        results = [edge.process(image_of(value)) for value in (2, 7)]  # the head is never sure of even ones
    assert head_answers.source == Source.EDGE
    assert head_answers.sent_timesteps == head_answers.timesteps - 1 > 0
    assert results[0].source == Source.CLOUD
    assert results[0].reason is None
    assert results[1].source == Source.EDGE


# ---- the exit head ----


def test_a_sure_head_ends_the_sample_and_the_cloud_answers() -> None:
    cloud = cloud_of()
    options = {"edge_threshold": 0.8, "answers": "logits"}
    with agent(cloud, ExitMode.EDGE_EXIT_HEAD, edge={"exit_head": True}, **options) as edge:
        result = edge.process(image_of(5))
    needed = head_timesteps(5, 0.8)
    assert 1 < needed < TIMESTEPS
    assert (result.timesteps, result.sent_timesteps, result.edge_timesteps) == (needed,) * 3
    assert result.source == Source.CLOUD
    np.testing.assert_array_equal(result.logits, running_logits(5)[needed - 1])
    assert [request.last for request in cloud.sent()] == [False] * (needed - 1) + [True]
    assert result.latency_ms == pytest.approx(1e3 * (needed * EDGE_S + RTT_S + CLOUD_S))
    assert all(r.exit_threshold == NEVER for r in cloud.sent() if r.timestep == 0)


def test_a_sure_head_may_answer_by_itself() -> None:
    cloud = cloud_of()
    with agent(cloud, ExitMode.EDGE_EXIT_HEAD, edge={"exit_head": True}, edge_threshold=0.8, answer_at="edge") as edge:
        result = edge.process(image_of(5))
    needed = head_timesteps(5, 0.8)
    assert (result.source, result.label, result.class_ids) == (Source.EDGE, HEAD_CLASSES[1], HEAD_CLASSES)
    assert result.latency_ms == pytest.approx(1e3 * needed * EDGE_S)
    assert (result.timesteps, result.sent_timesteps) == (needed, needed - 1)
    assert result.wasted_payload_bytes == result.payload_bytes_up == 16 * (needed - 1)
    assert cloud.sent()[-1].WhichOneof("payload") == "end"


def test_a_head_that_is_sure_at_once_needs_no_cloud() -> None:
    cloud = cloud_of()
    cloud.gone = True
    with agent(cloud, ExitMode.EDGE_EXIT_HEAD, edge={"exit_head": True}, edge_threshold=0.5, answer_at="edge") as edge:
        result = edge.process(image_of(5))
    assert (result.source, result.timesteps, result.attempts, result.reason) == (Source.EDGE, 1, 0, None)


def head_timesteps(value: int, threshold: float) -> int:
    for count in range(1, TIMESTEPS + 1):
        mean = np.mean([head_logits(value, t) for t in range(count)], axis=0)
        if np.exp(mean).max() / np.exp(mean).sum() >= threshold:
            return count
    return TIMESTEPS


# ---- the comparisons ----


def test_edge_only_takes_the_local_network_or_the_head() -> None:
    cloud = cloud_of()
    with agent(cloud, ExitMode.EDGE_ONLY, edge={"exit_head": True}, edge_threshold=0.8) as edge:
        by_head = edge.process(image_of(5))
    with agent(cloud, ExitMode.EDGE_ONLY, edge={"exit_head": True, "local": local}) as edge:
        by_network = edge.process(image_of(5))
    assert (by_head.label, by_head.timesteps, by_head.edge_timesteps) == (21, *(head_timesteps(5, 0.8),) * 2)
    assert (by_network.label, by_network.timesteps, by_network.edge_timesteps) == (20, 5, 5)
    assert {by_head.source, by_network.source} == {Source.EDGE}
    assert by_head.attempts == by_head.message_bytes_up == 0
    assert cloud.streams == []


@pytest.mark.parametrize(("answers", "knows_brief"), [("brief", True), ("brief", False), ("logits", True)])
def test_an_image_is_uploaded_over_the_same_stream(answers: str, knows_brief: bool) -> None:
    cloud = cloud_of(knows_brief=knows_brief)
    with agent(cloud, ExitMode.UPLOAD_IMAGE, image_codec="raw", answers=answers) as edge:
        results = [edge.process(image_of(value)) for value in range(3)]
    assert [result.logits is None for result in results] == [answers == "brief" and knows_brief] * 3
    assert results[0].confidence == pytest.approx(np.e / (np.e + 3))
    assert [result.label for result in results] == [12] * 3
    assert len(cloud.streams) == 1
    assert results[0].payload_bytes_up == 3 * 8 * 8
    assert results[0].latency_ms == pytest.approx(1e3 * (RTT_S + CLOUD_S))
    assert results[0].compute_ms == pytest.approx(1e3 * CLOUD_S)
    assert results[0].wasted_payload_bytes == results[0].timesteps == results[0].sent_timesteps == 0


def test_a_late_answer_to_an_image_is_passed_over() -> None:
    cloud = FakeCloud(Clock(), rtt_s=0.5, compute_s=CLOUD_S)
    with agent(cloud, ExitMode.UPLOAD_IMAGE, edge={"local": local}, deadline_s=0.4) as edge:
        late = edge.process(image_of(1))
        cloud.rtt_s = 0.05
        cloud.clock.now = 0.52  # both answers come now, that to the first image first
        after = edge.process(image_of(2))
    assert (late.source, late.reason, late.label) == (Source.EDGE_FALLBACK, "deadline", 20)
    assert late.wasted_payload_bytes == late.payload_bytes_up > 0
    assert (after.source, after.label) == (Source.CLOUD, 12)
    assert len(cloud.streams) == 1
    assert {request.WhichOneof("payload") for request in cloud.sent()} == {"image"}


# ---- broken streams ----


@pytest.mark.parametrize(
    ("mode", "source", "timesteps"),
    [(ExitMode.LOCK_STEP, Source.CLOUD_PARTIAL, 3), (ExitMode.SPECULATIVE, Source.NOBODY, 0)],
)
def test_a_break_in_mid_sample_leaves_the_last_running_logits(mode: ExitMode, source: Source, timesteps: int) -> None:
    cloud = cloud_of(break_after=3)
    with agent(cloud, mode, answers="logits") as edge:
        broken, after = (edge.process(image_of(LATE)) for _ in range(2))
    assert (broken.source, broken.reason, broken.timesteps) == (source, "unavailable", timesteps)
    assert broken.sent_timesteps == 3  # speculation had them on their way before an answer came
    assert broken.wasted_payload_bytes == broken.payload_bytes_up == 3 * 16
    if timesteps:
        np.testing.assert_array_equal(broken.logits, running_logits(LATE)[timesteps - 1])
    assert cloud.streams[0].closed
    assert (after.source, after.label, after.reason) == (Source.CLOUD, expected(LATE, ALPHA)[0], None)


@pytest.mark.parametrize(
    ("edge", "source", "label"),
    [
        ({"exit_head": True, "local": local}, Source.EDGE_FALLBACK, 21),
        ({"local": local}, Source.EDGE_FALLBACK, 20),
        ({}, Source.NOBODY, None),
    ],
)
def test_without_any_answer_the_edge_finishes_with_what_it_has(edge: dict, source: Source, label: int | None) -> None:
    cloud, computed = cloud_of(break_after=1), []
    with agent(cloud, ExitMode.SPECULATIVE, computed, edge=edge, edge_threshold=0.99) as agent_:
        result = agent_.process(image_of(5))
    assert (result.source, result.label, result.reason) == (source, label, "unavailable")
    assert "went away" in result.error
    assert len(computed) == len(set(computed))


@pytest.mark.parametrize("mode", [ExitMode.LOCK_STEP, ExitMode.SPECULATIVE])
def test_a_broken_sample_is_sent_again_without_computing_twice(mode: ExitMode) -> None:
    cloud, computed = cloud_of(break_after=3), []
    with agent(cloud, mode, computed, on_break="resend") as edge:
        result = edge.process(image_of(LATE))
    assert (result.source, result.label) == (Source.CLOUD, expected(LATE, ALPHA)[0])
    assert (result.attempts, result.reason) == (2, "unavailable")
    assert computed == [(LATE, t) for t in range(TIMESTEPS)]
    first, second = cloud.streams
    assert {request.sequence for request in first.sent} == {0}
    assert {request.sequence for request in second.sent} == {1}
    assert second.sent[0].session == "s"  # a new stream knows nothing
    assert result.sent_timesteps == 3 + TIMESTEPS
    assert result.wasted_payload_bytes == 3 * 16


def test_a_stall_is_a_timeout_and_a_deadline_keeps_the_stream() -> None:
    stalled = cloud_of(silent_after=2)
    with agent(stalled, ExitMode.LOCK_STEP, timeout_s=1.0) as edge:
        result = edge.process(image_of(LATE))
    assert (result.source, result.reason, result.timesteps) == (Source.CLOUD_PARTIAL, "timeout", 2)
    assert result.latency_ms == pytest.approx(1e3 * (3 * EDGE_S + 2 * (RTT_S + CLOUD_S) + 1.0))
    assert stalled.streams[0].closed

    slow = cloud_of()
    with agent(slow, ExitMode.LOCK_STEP, deadline_s=0.3, on_break="resend") as edge:
        late, after = (edge.process(image_of(value)) for value in (LATE, EARLY))
    assert (late.source, late.reason, late.attempts, late.timesteps) == (Source.CLOUD_PARTIAL, "deadline", 1, 2)
    assert late.latency_ms == pytest.approx(300)
    assert (after.source, after.label) == (Source.CLOUD, expected(EARLY, ALPHA)[0])
    assert len(slow.streams) == 1
    assert [r.sequence for r in slow.sent() if r.WhichOneof("payload") == "end"] == [0, 1]


def test_a_circuit_that_is_open_spares_the_waiting() -> None:
    cloud = cloud_of()
    cloud.gone = True
    breaker = CircuitBreaker(failures_to_open=2, open_s=1.0, clock=cloud.clock)
    with agent(cloud, ExitMode.SPECULATIVE, edge={"local": local}, breaker=breaker) as edge:
        results = [edge.process(image_of(1)) for _ in range(3)]
        cloud.gone, cloud.clock.now = False, 2.0
        back = edge.process(image_of(EARLY))
    assert [result.reason for result in results] == ["unavailable", "unavailable", "circuit_open"]
    assert results[-1].error.endswith(f"; the last failure: {results[0].error}")
    assert {result.label for result in results} == {20}
    assert (back.source, back.reason) == (Source.CLOUD, None)


# ---- hostile and wrong answers ----


def change(number: int, **changes):
    """Tamper with the answer to one packet; None takes a field away."""

    def tamper(index: int, answers: list[pb.InferResponse]) -> list[bytes]:
        if index == number:
            for answer in answers:
                for field, value in changes.items():
                    if field == "logits":
                        del answer.answer.logits[:]
                        answer.answer.logits.extend(value)
                    elif field in ("class_id", "confidence", "class_list_version"):
                        answer.answer.ClearField(field)
                        if value is not None:
                            setattr(answer.answer, field, value)
                    else:
                        setattr(answer, field, value)
        return [answer.SerializeToString() for answer in answers]

    return tamper


def instead(number: int, *raws: bytes):
    """Other bytes in place of the answer to one packet."""

    def tamper(index: int, answers: list[pb.InferResponse]) -> list[bytes]:
        return list(raws) if index == number else [answer.SerializeToString() for answer in answers]

    return tamper


@pytest.mark.parametrize(
    ("tamper", "text"),
    [
        (change(1, sequence=7), "sequence 7, timestep 1; expected sequence 0, timestep 1"),
        (change(1, timestep=4), "timestep 4; expected"),
        (change(1, timestep=3), "timestep 3; expected"),
        (change(1, timestep=0, session="s"), "expected version 1|timestep 0; expected"),
        (change(1, class_list_version=2), "class list version 2; expected version 1"),
        (change(1, session="other"), "session 'other'"),
        (change(1, last=True), "last True, exit False"),
        (change(1, exit=True), "although the edge decides"),
        (change(4, last=False), "last False"),
        (change(1, compute_ms=float("nan")), "expected finite numbers"),
        (instead(1, b"\xff\xff"), "are no eccsnn"),
        (instead(1, b""), "class list|session|neither"),
        (instead(1, *[pb.InferResponse(sequence=0, timestep=0, session="s").SerializeToString()] * 9), "neither"),
    ],
)
@pytest.mark.parametrize("answers", ["brief", "logits"])
def test_an_answer_that_cannot_be_is_not_used(tamper, text: str, answers: str) -> None:
    not_used(tamper, text, answers)


@pytest.mark.parametrize(
    ("tamper", "text", "answers"),
    [
        (change(1, logits=[0, float("nan"), 0, 0]), "not all finite", "logits"),
        (change(1, logits=[0, 0, 0]), "3 logits for 4 classes", "logits"),
        (change(1, logits=[], class_id=10, confidence=0.5), "not asked to be brief", "logits"),
        (change(1, logits=[0, 0, 0, 0]), "both logits and a brief answer", "brief"),
        (change(1, class_id=14), "class 14 is none of the 4 classes", "brief"),
        (change(1, confidence=float("nan")), "confidence is nan", "brief"),
        (change(1, confidence=1.5), "confidence is 1.5", "brief"),
        (change(1, confidence=-0.5), "confidence is -0.5", "brief"),
        (change(1, confidence=None), "lacks its class_id or its confidence", "brief"),
        (change(1, class_id=None), "lacks its class_id or its confidence", "brief"),
        (change(1, class_id=None, confidence=None, class_list_version=1), "neither logits nor a class", "brief"),
    ],
)
def test_a_verdict_that_cannot_be_is_not_used(tamper, text: str, answers: str) -> None:
    not_used(tamper, text, answers)


def not_used(tamper, text: str, answers: str) -> None:
    cloud = cloud_of(tamper=tamper)
    with agent(cloud, ExitMode.LOCK_STEP, on_break="resend", answers=answers) as edge:
        result = edge.process(image_of(LATE))
    assert (result.source, result.reason) == (Source.CLOUD_PARTIAL, "bad_answer")
    assert result.timesteps == result.answered_timesteps
    said = running_logits(LATE)[result.timesteps - 1]
    assert result.label == CLASSES[said.argmax()]
    assert result.confidence == pytest.approx(float(confidence(said)), abs=1e-7)
    assert (result.logits is None) == (answers == "brief")
    assert result.attempts == 1  # a cloud that does so is not asked again
    assert any(part in result.error for part in text.split("|"))
    assert cloud.streams[0].closed


def test_answers_nobody_asked_for_end_the_stream() -> None:
    def flood(index: int, answers: list[pb.InferResponse]) -> list[bytes]:
        late = pb.InferResponse(session="s", sequence=0, answer=pb.Answer(logits=[0] * 4, class_list_version=1))
        late.answer.class_ids.extend((10, 11, 12, 13))
        raws = [answer.SerializeToString() for answer in answers]
        return [late.SerializeToString()] * 50 + raws if index == TIMESTEPS else raws

    cloud = cloud_of(tamper=flood)
    with agent(cloud, ExitMode.LOCK_STEP, edge={"local": local}) as edge:
        first, second = (edge.process(image_of(LATE)) for _ in range(2))
    assert first.source == Source.CLOUD
    assert (second.source, second.reason) == (Source.EDGE_FALLBACK, "bad_answer")
    assert "more answers" in second.error


@pytest.mark.parametrize(("code", "attempts"), [(pb.ERROR_CODE_OVERLOADED, 2), (pb.ERROR_CODE_BAD_PAYLOAD, 1)])
def test_a_refused_sample_is_sent_again_where_that_may_help(code: int, attempts: int) -> None:
    refusal = error_response(pb.InferRequest(session="s", sequence=0, timestep=0), RequestError(code, "because"))
    cloud = cloud_of(tamper=instead(0, refusal.SerializeToString()))
    with agent(cloud, ExitMode.SPECULATIVE, on_break="resend", edge={"local": local}) as edge:
        result = edge.process(image_of(LATE))
    assert result.attempts == attempts
    assert result.reason.startswith("refused_")
    assert result.source == (Source.CLOUD if attempts == 2 else Source.EDGE_FALLBACK)
    assert len(cloud.streams) == 1


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"split_point": "pool2"}, "does not serve split point 'pool1', but"),
        ({"timesteps": 4}, "4 timesteps"),
        ({"codecs": (3,)}, r"decodes codecs \[3\]"),
        ({"model_id": "other"}, "serves 'other'"),
    ],
)
def test_a_cloud_that_serves_something_else_is_not_used(changes: dict, text: str) -> None:
    cloud = cloud_of()
    serving(cloud, **changes)
    with agent(cloud, ExitMode.SPECULATIVE, model_id="m", edge={"local": local}) as edge:
        result = edge.process(image_of(1))
    assert (result.source, result.reason) == (Source.EDGE_FALLBACK, "bad_answer")
    assert re.search(text, result.error)
    assert cloud.streams == []


# ---- the edge's own faults ----


@pytest.mark.parametrize("logits", [None, np.zeros(3), np.array([0, np.nan])])
def test_a_broken_exit_head_is_an_error_of_the_edge(logits) -> None:
    cloud = cloud_of()
    made = EdgeSplit(
        lambda image: lambda timestep: EdgeStep(bytes(16), np.zeros(2) if timestep == 0 else logits),
        "pool1",
        TIMESTEPS,
        class_ids=HEAD_CLASSES,
        exit_head=True,
    )
    edge = StreamAgent(made, cloud, ExitMode.EDGE_EXIT_HEAD, ALPHA, session="s", clock=cloud.clock)
    with pytest.raises(EccsnnError, match=r"the exit head returned .*expected finite logits of shape \[2\]"):
        edge.process(image_of(1))
    assert cloud.streams[0].closed  # with the half-sent sample


@pytest.mark.parametrize(
    ("mode", "edge", "options", "text"),
    [
        (ExitMode.EDGE_EXIT_HEAD, {}, {}, "needs an edge with an exit head"),
        (ExitMode.EDGE_ONLY, {}, {}, "a local network or an exit head"),
        (ExitMode.LOCK_STEP, {}, {"timeout_s": 0}, "timeout_s is 0"),
        (ExitMode.LOCK_STEP, {}, {"deadline_s": 0.0}, "deadline_s 0"),
        (ExitMode.LOCK_STEP, {}, {"resends": -1}, "resends -1"),
        (ExitMode.LOCK_STEP, {}, {"answer_at": "home"}, "answer_at is 'home'"),
        (ExitMode.LOCK_STEP, {}, {"on_break": "cry"}, "on_break 'cry'"),
        (ExitMode.LOCK_STEP, {}, {"answers": "long"}, "answers is 'long'"),
        (ExitMode.LOCK_STEP, {}, {"edge_threshold": float("nan")}, "NaN"),
        (ExitMode.LOCK_STEP, {}, {"image_codec": "gif"}, "'gif'"),
        ("by_magic", {}, {}, "by_magic"),
    ],
)
def test_options_are_checked(mode, edge: dict, options: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        agent(cloud_of(), mode, edge=edge, **options)
