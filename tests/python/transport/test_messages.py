"""Messages: what is accepted, what is refused and with which code, and the bytes themselves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eccsnn.errors import MessageError
from eccsnn.transport import messages
from eccsnn.transport.messages import ClassList, CloudInfo, Name, RequestError
from eccsnn.transport.proto.eccsnn.v1 import cloud_pb2 as pb

NAME = Name("edge-7", "s1", 300)
PIXELS = bytes(range(12))
GOLDEN_REQUEST = bytes.fromhex(
    "0a06656467652d3712027331"  # edge_id, session
    "18ac02"  # sequence 300
    "22056d6f64656c"  # model_id "model"
    "2a05696e707574"  # split_point "input"
    "3002"  # class_list_version 2
    "4001"  # last
    "820116"  # image, 22 bytes
    "0803120c000102030405060708090a0b180320022802"  # raw, 12 bytes, 3 x 2 x 2
)
GOLDEN_RESPONSE = bytes.fromhex(
    "0a02733110ac022001"  # session, sequence, last
    "32056d6f64656c"  # model_id
    "3d0000003f"  # queue_ms 0.5
    "450000c03f"  # compute_ms 1.5
    "4804"  # batch_size 4
    "820110"  # answer, 16 bytes
    "0a080000803f000000c0"  # logits 1, -2
    "12020005"  # class_ids 0, 5
    "1802"  # class_list_version
)
GOLDEN_BRIEF_RESPONSE = bytes.fromhex(
    "10ac022001"  # sequence, last; session, model_id and batch_size are left out
    "3d0000003f"  # queue_ms 0.5
    "450000c03f"  # compute_ms 1.5
    "820109"  # answer, 9 bytes
    "1802"  # class_list_version
    "2005"  # class_id
    "2d0000403f"  # confidence 0.75
)


def request(**changes) -> pb.InferRequest:
    made = messages.image_request(NAME, PIXELS, "raw", shape=(3, 2, 2), model_id="model", class_list_version=2)
    for field, value in changes.items():
        setattr(made, field, value)
    return made


def response(**changes) -> pb.InferResponse:
    made = pb.InferResponse(
        session="s1",
        sequence=300,
        last=True,
        model_id="model",
        queue_ms=0.5,
        compute_ms=1.5,
        batch_size=4,
        answer=pb.Answer(logits=[1.0, -2.0], class_ids=[0, 5], class_list_version=2),
    )
    for field, value in changes.items():
        setattr(made, field, value)
    return made


def refusal(raw: bytes) -> RequestError:
    with pytest.raises(RequestError) as caught:
        messages.check_request(messages.parse_request(raw))
    return caught.value


def test_golden_request() -> None:
    assert request().SerializeToString() == GOLDEN_REQUEST
    parsed = messages.parse_request(GOLDEN_REQUEST)
    assert messages.name_of(parsed) == NAME
    image = messages.decode_payload(parsed.image, image_shape=(3, 2, 2), max_pixels=4, max_bytes=12)
    assert image.tobytes() == PIXELS


def test_golden_response() -> None:
    assert response().SerializeToString() == GOLDEN_RESPONSE
    answer = messages.parse_answer(GOLDEN_RESPONSE, NAME, ClassList((0, 5), 2))
    np.testing.assert_array_equal(answer.logits, np.float32([1, -2]))
    assert answer.class_list == ClassList((0, 5), 2)
    assert (answer.model_id, answer.queue_ms, answer.compute_ms, answer.batch_size) == ("model", 0.5, 1.5, 4)
    assert (answer.label, answer.confidence) == (0, pytest.approx(1 / (1 + np.exp(-3))))


def test_golden_brief_request_and_response() -> None:
    asking = messages.image_request(NAME, PIXELS, "raw", shape=(3, 2, 2), brief=True)
    plain = messages.image_request(NAME, PIXELS, "raw", shape=(3, 2, 2))
    at = plain.SerializeToString().index(bytes.fromhex("4001")) + 2  # behind `last`
    assert asking.SerializeToString() == plain.SerializeToString()[:at] + b"\x50\x01" + plain.SerializeToString()[at:]
    answer = messages.parse_answer(GOLDEN_BRIEF_RESPONSE, NAME, ClassList((0, 5), 2), brief=True)
    assert (answer.label, answer.confidence, answer.logits) == (5, 0.75, None)
    assert (answer.class_list, answer.model_id, answer.batch_size) == (ClassList((0, 5), 2), "", 1)
    in_full = messages.parse_answer(GOLDEN_RESPONSE, NAME, ClassList((0, 5), 2), brief=True)
    np.testing.assert_array_equal(in_full.logits, np.float32([1, -2]))  # from a cloud that cannot be brief
    with pytest.raises(MessageError, match="not asked to be brief"):
        messages.parse_answer(GOLDEN_BRIEF_RESPONSE, NAME, ClassList((0, 5), 2))


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"class_id": 1}, "class 1 is none of the 2 classes"),
        ({"confidence": float("nan")}, "confidence is nan"),
        ({"confidence": 2.0}, "confidence is 2.0"),
        ({"logits": [1.0, 2.0]}, "both logits and a brief answer"),
        ({"class_list_version": 3}, "version 3 with 2"),
        ({"class_list_version": 0}, "class list is not valid"),
    ],
)
def test_brief_answers_that_cannot_be_are_refused(fields: dict, text: str) -> None:
    made = pb.InferResponse.FromString(GOLDEN_BRIEF_RESPONSE)
    made.answer.MergeFrom(pb.Answer(**fields))
    if fields.get("class_list_version") == 0:
        made.answer.ClearField("class_list_version")
    with pytest.raises(MessageError, match=text):
        messages.parse_answer(made.SerializeToString(), NAME, ClassList((0, 5), 2), brief=True)
    made.session = "other"
    with pytest.raises(MessageError, match="session, sequence"):
        messages.parse_answer(made.SerializeToString(), NAME, ClassList((0, 5), 2), brief=True)


def test_an_unknown_field_from_a_newer_peer_is_harmless() -> None:
    later = b"\xf8\x07\x01"  # field 127, varint 1
    assert messages.name_of(messages.parse_request(GOLDEN_REQUEST + later)) == NAME
    assert messages.parse_answer(GOLDEN_RESPONSE + later, NAME, None).batch_size == 4


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"edge_id": ""}, "edge_id has 0 characters"),
        ({"edge_id": "x" * 129}, "129"),
        ({"session": ""}, "session"),
        ({"model_id": "x" * 129}, "model_id"),
        ({"split_point": "x" * 129}, "split_point"),
        ({"timestep": 1}, "timestep 1"),
        ({"last": False}, "last False"),
    ],
)
def test_fields_out_of_range_are_malformed(changes, text) -> None:
    error = refusal(request(**changes).SerializeToString())
    assert error.code == pb.ERROR_CODE_MALFORMED
    assert text in str(error)
    assert not error.retryable


def test_bytes_that_are_no_message_are_malformed() -> None:
    assert refusal(b"\xff\xff\xff").code == pb.ERROR_CODE_MALFORMED
    assert refusal(GOLDEN_REQUEST[:-1]).code == pb.ERROR_CODE_MALFORMED
    assert refusal(pb.InferRequest(edge_id="a", session="b").SerializeToString()).code == pb.ERROR_CODE_MALFORMED


@pytest.mark.parametrize(
    "payload",
    [
        {"spikes": pb.SpikePacket(data=b"\x01", timesteps=1, channels=8)},
        {"features": pb.FeaturePacket(data=b"\x01", shape=[1])},
        {"end": pb.EndSample()},
    ],
)
def test_payloads_of_later_versions_are_named_as_unsupported(payload) -> None:
    made = pb.InferRequest(edge_id="a", session="b", timestep=2, split_point="layer3", **payload)
    error = refusal(made.SerializeToString())
    assert error.code == pb.ERROR_CODE_UNSUPPORTED_PAYLOAD
    assert next(iter(payload)) in str(error)


def test_unknown_codecs_and_split_points_are_unsupported() -> None:
    assert refusal(request(split_point="pool3").SerializeToString()).code == pb.ERROR_CODE_UNSUPPORTED_PAYLOAD
    made = request()
    for codec in (0, 99):
        made.image.codec = codec
        assert refusal(made.SerializeToString()).code == pb.ERROR_CODE_UNSUPPORTED_PAYLOAD


def test_payloads_that_do_not_decode_or_do_not_fit_have_their_codes() -> None:
    payload = request().image
    for options, code in [
        ({"image_shape": (3, 4, 4), "max_pixels": 16, "max_bytes": 99}, pb.ERROR_CODE_SHAPE_MISMATCH),
        ({"image_shape": None, "max_pixels": 3, "max_bytes": 99}, pb.ERROR_CODE_BAD_PAYLOAD),
        ({"image_shape": None, "max_pixels": 16, "max_bytes": 11}, pb.ERROR_CODE_BAD_PAYLOAD),
    ]:
        with pytest.raises(RequestError) as caught:
            messages.decode_payload(payload, **options)
        assert caught.value.code == code


def test_image_request_refuses_what_cannot_be_sent() -> None:
    with pytest.raises(ValueError, match="codec"):
        messages.image_request(NAME, b"", "bmp")
    with pytest.raises(ValueError, match="shape"):
        messages.image_request(NAME, b"", "raw")


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"\xff", "no eccsnn.v1.Cloud answer"),
        (response(sequence=301).SerializeToString(), "301"),
        (response(session="other").SerializeToString(), "other"),
        (response(timestep=1).SerializeToString(), "expected Name"),
        (pb.InferResponse(session="s1", sequence=300).SerializeToString(), "neither logits nor an error"),
    ],
)
def test_answers_that_are_not_to_this_request_are_refused(raw: bytes, text: str) -> None:
    with pytest.raises(MessageError, match=text) as caught:
        messages.parse_answer(raw, NAME, None)
    assert not isinstance(caught.value, RequestError)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (pb.Answer(logits=[1.0], class_ids=[0, 5], class_list_version=2), "1 logits for 2 classes"),
        (pb.Answer(logits=[1.0, float("nan")], class_ids=[0, 5], class_list_version=2), "finite"),
        (pb.Answer(logits=[1.0, 2.0], class_ids=[5, 5], class_list_version=2), "class list"),
        (pb.Answer(logits=[1.0, 2.0], class_ids=[0, 5], class_list_version=0), "class list"),
        (pb.Answer(), "neither logits nor a class"),
        (pb.Answer(logits=[1.0, 2.0], class_ids=[0, 5], class_list_version=3), "version 3 with 2"),
        (pb.Answer(logits=[1.0, 2.0], class_ids=[5, 0], class_list_version=2), "fetch"),
        (pb.Answer(logits=[1.0], class_ids=[0], class_list_version=2), "with 1 classes; expected version 2 with 2"),
    ],
)
def test_answers_over_other_classes_are_refused(answer: pb.Answer, text: str) -> None:
    made = response()
    made.answer.CopyFrom(answer)
    with pytest.raises(MessageError, match=text):
        messages.parse_answer(made.SerializeToString(), NAME, ClassList((0, 5), 2))


@pytest.mark.parametrize(("code", "retryable"), [(pb.ERROR_CODE_OVERLOADED, True), (pb.ERROR_CODE_BAD_PAYLOAD, False)])
def test_a_refusal_travels_with_its_code(code: int, retryable: bool) -> None:
    raw = messages.error_response(request(), RequestError(code, "why"), "model").SerializeToString()
    with pytest.raises(RequestError, match="why") as caught:
        messages.parse_answer(raw, NAME, None)
    assert (caught.value.code, caught.value.retryable) == (code, retryable)
    sent = pb.InferResponse.FromString(raw)
    assert (sent.session, sent.sequence, sent.last, sent.model_id) == ("s1", 300, True, "model")


def test_a_code_from_a_newer_cloud_is_kept() -> None:
    raw = pb.InferResponse(error=pb.ErrorDetail(code=77, message="later", retryable=True)).SerializeToString()
    with pytest.raises(RequestError, match="code_77") as caught:
        messages.parse_answer(raw, NAME, None)
    assert caught.value.retryable


def test_information_round_trip() -> None:
    info = CloudInfo("eccsnn 1", "vgg16", ClassList((3, 1), 4, ("cat", "dog")), (3, 32, 32), 1000, 2000)
    assert messages.parse_info(messages.info_response(info).SerializeToString()) == info
    anything = CloudInfo("", "m", ClassList((0,)))
    assert messages.parse_info(messages.info_response(anything).SerializeToString()).image_shape is None


@pytest.mark.parametrize(
    ("info", "text"),
    [
        (pb.GetInfoResponse(), "class list"),
        (pb.GetInfoResponse(class_list=pb.ClassList(version=1, class_ids=[0], class_names=["a", "b"])), "class_names"),
        (pb.GetInfoResponse(class_list=pb.ClassList(version=1, class_ids=[0]), image_shape=[3, 0, 3]), "image shape"),
    ],
)
def test_impossible_information_is_refused(info: pb.GetInfoResponse, text: str) -> None:
    with pytest.raises(MessageError, match=text):
        messages.parse_info(info.SerializeToString())
    with pytest.raises(MessageError, match="no eccsnn"):
        messages.parse_info(b"\xff")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=120), st.integers(0, len(GOLDEN_REQUEST)), st.integers(0, len(GOLDEN_RESPONSE)))
def test_any_bytes_parse_or_raise_message_error(noise: bytes, cut: int, cut_answer: int) -> None:
    for parse in (
        lambda: messages.check_request(messages.parse_request(noise)),
        lambda: messages.check_request(messages.parse_request(GOLDEN_REQUEST[:cut] + noise)),
        lambda: messages.parse_answer(noise, NAME, None),
        lambda: messages.parse_answer(GOLDEN_RESPONSE[:cut_answer] + noise, NAME, None),
        lambda: messages.parse_answer(noise, NAME, ClassList((0, 5), 2), brief=True),
        lambda: messages.parse_answer(
            GOLDEN_BRIEF_RESPONSE[:cut_answer] + noise, NAME, ClassList((0, 5), 2), brief=True
        ),
        lambda: messages.parse_info(noise),
    ):
        try:
            parse()
        except MessageError:
            continue
