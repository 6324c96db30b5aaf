"""Messages of samples that travel timestep by timestep: the bytes, what may be left out, what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eccsnn.errors import MessageError
from eccsnn.transport import messages, spike_messages
from eccsnn.transport.messages import ClassList, Name, RequestError
from eccsnn.transport.proto.eccsnn.v1 import cloud_pb2 as pb
from eccsnn.transport.spike_messages import StreamNames

CLASSES = ClassList((0, 5), 2)
GOLDEN_FIRST = bytes.fromhex(
    "0a06656467652d3712027331"  # edge_id, session
    "18ac02"  # sequence 300
    "22056d6f64656c"  # model_id "model"
    "2a05706f6f6c31"  # split_point "pool1"
    "3002"  # class_list_version 2
    "4d0000003f"  # exit_threshold 0.5
    "8a010412020102"  # spikes: 2 bytes, codec 0
)
GOLDEN_NEXT = bytes.fromhex("18ac02380140018a0105080112010f")  # sequence, timestep 1, last, codec 1, 1 byte
GOLDEN_END = bytes.fromhex("18ac029a0100")
GOLDEN_ANSWER = bytes.fromhex(
    "10ac02"  # sequence
    "1801"  # timestep
    "20012801"  # last, exit
    "3d0000003f"  # queue_ms 0.5
    "450000c03f"  # compute_ms 1.5
    "4803"  # batch_size 3
    "82010c"  # answer, 12 bytes
    "0a080000803f000000c0"  # logits 1, -2; class_ids are left out
    "1802"  # class_list_version
)
GOLDEN_BRIEF_FIRST = bytes.fromhex(
    "10ac02"  # sequence; session and model_id are left out
    "20012801"  # last, exit
    "3d0000003f"  # queue_ms 0.5
    "450000c03f"  # compute_ms 1.5
    "820109"  # answer, 9 bytes
    "1802"  # class_list_version
    "2000"  # class_id 0, which is said although it is 0
    "2de5db733f"  # confidence 0.952574126...; the nearest float, 0x3f73dbe6, is larger
)
GOLDEN_BRIEF_NEXT = bytes.fromhex("10ac021801200128013d0000003f450000c03f82010720002de5db733f")


def answer(timestep: int, *, brief: bool = False, **changes) -> pb.InferResponse:
    made = spike_messages.step_response(
        Name("edge-7", "s1", 300, timestep),
        np.float32([1, -2]),
        CLASSES,
        model_id="model",
        ends=True,
        exits=True,
        queue_ms=0.5,
        compute_ms=1.5,
        batch_size=3,
        brief=brief,
    )
    for field, value in changes.items():
        setattr(made, field, value)
    return made


def test_golden_requests() -> None:
    first = spike_messages.spike_request(
        Name("edge-7", "s1", 300),
        b"\1\2",
        split_point="pool1",
        exit_threshold=0.5,
        model_id="model",
        class_list_version=2,
    )
    assert first.SerializeToString() == GOLDEN_FIRST
    asking = spike_messages.spike_request(Name("", "", 300), b"\x0f", codec=1, brief=True)
    assert asking.SerializeToString() == bytes.fromhex("18ac0250018a0105080112010f")  # sequence, brief, spikes
    following = spike_messages.spike_request(Name("", "", 300, 1), b"\x0f", codec=1, last=True)
    assert following.SerializeToString() == GOLDEN_NEXT
    assert spike_messages.end_request(300).SerializeToString() == GOLDEN_END


def test_golden_answer() -> None:
    assert answer(1).SerializeToString() == GOLDEN_ANSWER
    parsed = spike_messages.parse_step(GOLDEN_ANSWER, "s1", CLASSES)
    np.testing.assert_array_equal(parsed.logits, np.float32([1, -2]))
    assert (parsed.sequence, parsed.timestep, parsed.exit, parsed.last) == (300, 1, True, True)
    assert (parsed.queue_ms, parsed.compute_ms) == (0.5, 1.5)


def test_the_first_answer_of_a_sample_has_what_later_ones_leave_out() -> None:
    first = answer(0)
    assert (first.session, first.model_id, list(first.answer.class_ids)) == ("s1", "model", [0, 5])
    assert len(first.SerializeToString()) > len(GOLDEN_ANSWER)
    assert spike_messages.parse_step(first.SerializeToString(), "s1", CLASSES).timestep == 0


def test_golden_brief_answers() -> None:
    for timestep, golden in enumerate((GOLDEN_BRIEF_FIRST, GOLDEN_BRIEF_NEXT)):
        assert answer(timestep, brief=True).SerializeToString() == golden
        parsed = spike_messages.parse_step(golden, "s1", CLASSES, brief=True)
        assert (parsed.label, parsed.logits, parsed.timestep, parsed.exit, parsed.last) == (
            0,
            None,
            timestep,
            True,
            True,
        )
        in_full = spike_messages.parse_step(answer(timestep).SerializeToString(), "s1", CLASSES, brief=True)
        assert (in_full.label, in_full.confidence) == (parsed.label, parsed.confidence)  # from a cloud of before
        with pytest.raises(MessageError, match="not asked to be brief"):
            spike_messages.parse_step(golden, "s1", CLASSES)


def brief(timestep: int = 1, session: str = "", **fields) -> bytes:
    fields = {"class_id": 5, "confidence": 0.5} | fields
    said = pb.Answer(**{name: value for name, value in fields.items() if value is not None})
    return pb.InferResponse(session=session, timestep=timestep, answer=said).SerializeToString()


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (brief(class_id=1), "class 1 is none of the 2 classes"),
        (brief(class_id=2**32 - 1), "class 4294967295 is none"),
        (brief(confidence=float("nan")), "confidence is nan"),
        (brief(confidence=float("inf")), "confidence is inf"),
        (brief(confidence=1.0000001), "confidence is 1.0000001"),
        (brief(confidence=-1e-9), "confidence is -9.9"),
        (brief(class_id=None), "lacks its class_id or its confidence"),
        (brief(confidence=None), "lacks its class_id or its confidence"),
        (brief(logits=[1, 2]), "both logits and a brief answer"),
        (brief(class_ids=[0, 5]), "both logits and a brief answer"),
        (brief(class_ids=[5, 0]), "expected version 2"),
        (brief(class_id=None, confidence=None, class_list_version=2), "neither logits nor a class"),
        (brief(class_list_version=3), "class list version 3; expected version 2"),
        (brief(timestep=0), "class list version 0; expected version 2"),
        (brief(session="other"), "session 'other'"),
    ],
)
def test_brief_answers_that_cannot_be_are_refused(raw: bytes, text: str) -> None:
    with pytest.raises(MessageError, match=text):
        spike_messages.parse_step(raw, "s1", CLASSES, brief=True)


def test_names_that_are_left_out_are_those_of_the_request_before() -> None:
    known = StreamNames()
    for given_names, expected in [
        (("e", "s", "p"), ("e", "s", "p")),
        (("", "", ""), ("e", "s", "p")),
        (("", "t", ""), ("e", "t", "p")),
        (("f", "", "q"), ("f", "t", "q")),
    ]:
        edge_id, session, split_point = given_names
        request = pb.InferRequest(edge_id=edge_id, session=session, split_point=split_point)
        known = spike_messages.complete(request, known)
        assert (request.edge_id, request.session, request.split_point) == expected
        assert known == StreamNames(*expected)


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (pb.InferRequest(session="s", split_point="p"), "edge_id has 0"),
        (pb.InferRequest(edge_id="e", split_point="p"), "session has 0"),
        (pb.InferRequest(edge_id="e", session="s"), "split_point has 0"),
        (pb.InferRequest(edge_id="e" * 129, session="s", split_point="p"), "edge_id has 129"),
        (pb.InferRequest(edge_id="e", session="s", split_point="p", model_id="m" * 129), "model_id has 129"),
    ],
)
def test_missing_and_long_names_are_malformed(request_: pb.InferRequest, text: str) -> None:
    with pytest.raises(RequestError, match=text) as caught:
        spike_messages.complete(request_, StreamNames())
    assert caught.value.code_name == "malformed"


@pytest.mark.parametrize(
    ("packet", "code"),
    [
        (pb.SpikePacket(timesteps=2), "unsupported_payload"),
        (pb.SpikePacket(channels=6, height=4, width=5), "shape_mismatch"),
        (pb.SpikePacket(channels=6), "shape_mismatch"),
        (pb.SpikePacket(max_count=2), "shape_mismatch"),
        (pb.SpikePacket(data=bytes(101)), "bad_payload"),
    ],
)
def test_packets_of_another_geometry_are_refused(packet: pb.SpikePacket, code: str) -> None:
    with pytest.raises(RequestError) as caught:
        spike_messages.check_geometry(packet, (6, 4, 4), 1, 100)
    assert caught.value.code_name == code
    spike_messages.check_geometry(
        pb.SpikePacket(timesteps=1, channels=6, height=4, width=4, max_count=1, data=bytes(100)), (6, 4, 4), 1, 100
    )


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"\xff", "are no eccsnn.v1"),
        (answer(0, session="other").SerializeToString(), "session 'other'"),
        (answer(0, session="").SerializeToString(), "session ''"),
        (answer(1, session="other").SerializeToString(), "session 'other'"),
        (pb.InferResponse(sequence=3, timestep=1).SerializeToString(), "neither logits nor an error"),
        (pb.InferResponse(timestep=1, answer=pb.Answer(logits=[1, 2])).SerializeToString(), "class list version 0"),
        (
            pb.InferResponse(session="s1", answer=pb.Answer(logits=[1, 2], class_list_version=2)).SerializeToString(),
            "expected version 2",
        ),
        (
            pb.InferResponse(
                timestep=1, answer=pb.Answer(logits=[1, 2], class_ids=[0, 6], class_list_version=2)
            ).SerializeToString(),
            "expected version 2",
        ),
        (
            pb.InferResponse(timestep=1, answer=pb.Answer(class_list_version=2)).SerializeToString(),
            "neither logits nor a class",
        ),
        (
            pb.InferResponse(timestep=1, answer=pb.Answer(logits=[1], class_list_version=2)).SerializeToString(),
            "1 logits for 2 classes",
        ),
        (
            pb.InferResponse(
                timestep=1, answer=pb.Answer(logits=[1, float("nan")], class_list_version=2)
            ).SerializeToString(),
            "not all finite",
        ),
        (answer(1, compute_ms=float("inf")).SerializeToString(), "expected finite numbers"),
        (answer(1, queue_ms=-1.0).SerializeToString(), "expected finite numbers >= 0"),
    ],
)
def test_answers_that_cannot_be_are_refused(raw: bytes, text: str) -> None:
    with pytest.raises(MessageError, match=text):
        spike_messages.parse_step(raw, "s1", CLASSES)


def test_a_refusal_names_its_sample() -> None:
    request = pb.InferRequest(session="s1", sequence=7, timestep=2)
    raw = messages.error_response(request, RequestError(pb.ERROR_CODE_OVERLOADED, "full")).SerializeToString()
    with pytest.raises(spike_messages.SampleRefusedError, match=r"overloaded.*full") as caught:
        spike_messages.parse_step(raw, "s1", CLASSES)
    assert (caught.value.sequence, caught.value.retryable) == (7, True)


@given(
    st.sampled_from([GOLDEN_ANSWER, GOLDEN_BRIEF_FIRST, GOLDEN_BRIEF_NEXT]),
    st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 255)), min_size=1, max_size=4),
    st.binary(max_size=60),
    st.booleans(),
)
def test_any_answer_bytes_are_an_answer_or_an_error(
    golden: bytes, edits: list[tuple[int, int]], junk: bytes, brief_asked: bool
) -> None:
    damaged = bytearray(golden)
    for position, value in edits:
        damaged[position % len(damaged)] = value
    for raw in (bytes(damaged), golden + junk, junk):
        try:
            parsed = spike_messages.parse_step(raw, "s1", CLASSES, brief=brief_asked)
        except MessageError:
            continue
        assert parsed.label in CLASSES.class_ids
        assert 0 <= parsed.confidence <= 1
        assert brief_asked or np.isfinite(parsed.logits).all()
