"""The cloud server over real gRPC on this machine."""

import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from eccsnn.errors import CloudUnavailableError, ConfigError, EccsnnError, MessageError
from eccsnn.services.client import CloudClient, CloudTimeoutError
from eccsnn.services.cloud import READY_PREFIX, Bound, background_cloud
from eccsnn.services.handler import CloudLimits
from eccsnn.services.loopback import CloudProcess, factory_command
from eccsnn.transport import messages
from eccsnn.transport.images import encode_image
from eccsnn.transport.messages import Name
from eccsnn.transport.proto.eccsnn.v1 import cloud_pb2 as pb
from eccsnn.transport.shaping import LinkShape, shaped_link

CLASSES = (10, 11, 12, 13)
WAIT_S = 30.0  # for what must come; tests that expect a timeout use a short one of their own


def request(image: np.ndarray, sequence: int, codec: str = "png") -> bytes:
    name = Name("edge", "s", sequence)
    made = messages.image_request(name, encode_image(image, codec), codec, shape=image.shape)
    return made.SerializeToString()


def label(raw: bytes) -> int:
    answer = messages.parse_answer(raw, Name("edge", "s", pb.InferResponse.FromString(raw).sequence), None)
    return answer.class_list.class_ids[int(answer.logits.argmax())]


def test_single_requests_and_information(predict, image) -> None:
    with (
        background_cloud(predict, CLASSES, "m", image_shape=(3, 8, 8), class_names=list("abcd")) as bound,
        CloudClient(bound.host, bound.port) as client,
    ):
        info = client.get_info(WAIT_S)
        assert (info.model_id, info.class_list.class_ids, info.class_list.class_names) == ("m", CLASSES, tuple("abcd"))
        assert [label(client.infer(request(image(v), v), WAIT_S)) for v in range(4)] == list(CLASSES)
        first, repeat = (client.infer(request(image(3), 3), WAIT_S) for _ in range(2))
        assert first == repeat


def test_a_stream_answers_in_order_and_goes_on_after_errors(predict, image) -> None:
    spikes = pb.InferRequest(edge_id="edge", session="s", sequence=2, spikes=pb.SpikePacket()).SerializeToString()
    sent = [request(image(0), 0), b"\xff", spikes, request(image(1), 3)] + [request(image(v), v) for v in range(4, 200)]
    with (
        background_cloud(predict, CLASSES, "m") as bound,
        CloudClient(bound.host, bound.port) as client,
    ):
        answers = list(client.infer_stream(sent, WAIT_S))
        outcomes = [pb.InferResponse.FromString(raw) for raw in answers]
        assert [o.error.code for o in outcomes[1:3]] == [pb.ERROR_CODE_MALFORMED, pb.ERROR_CODE_UNSUPPORTED_PAYLOAD]
        assert [o.sequence for o in outcomes[2:]] == list(range(2, 200))
        assert [label(raw) for raw in answers[3:]] == [11] + [10 + v % 4 for v in range(4, 200)]
        assert client.infer(sent[-1], WAIT_S) == answers[-1]  # one memory for both ways


def test_a_stream_answers_each_request_before_the_next_is_sent(predict, image) -> None:
    answered = threading.Semaphore(1)

    def lock_step():
        for value in range(5):
            assert answered.acquire(timeout=WAIT_S)
            yield request(image(value), value)

    with background_cloud(predict, CLASSES, "m") as bound, CloudClient(bound.host, bound.port) as client:
        labels = []
        for raw in client.infer_stream(lock_step(), WAIT_S):
            labels.append(label(raw))
            answered.release()
    assert labels == [10, 11, 12, 13, 10]


def test_a_stream_that_is_given_up_leaves_the_server_well(predict, image) -> None:
    with background_cloud(predict, CLASSES, "m") as bound:
        with CloudClient(bound.host, bound.port) as client:
            stream = client.infer_stream(request(image(v), v) for v in range(100))
            next(stream)
        with CloudClient(bound.host, bound.port) as client:
            assert label(client.infer(request(image(1), 500), WAIT_S)) == 11


def test_requests_that_wait_together_share_a_batch(predict, image) -> None:
    sizes: list[int] = []

    def sized(batch: np.ndarray) -> np.ndarray:
        sizes.append(len(batch))
        return predict(batch)

    limits = CloudLimits(max_batch=9, max_wait_ms=1000 * WAIT_S)
    with (
        background_cloud(sized, CLASSES, "m", limits=limits) as bound,
        CloudClient(bound.host, bound.port) as client,
    ):
        stream = client.infer_stream((request(image(v), v) for v in range(9)), WAIT_S)
        assert [label(raw) for raw in stream] == [10 + v % 4 for v in range(9)]
    assert sizes == [9]


def test_oversized_messages_are_refused_on_both_sides(predict) -> None:
    large = np.zeros((3, 100, 100), dtype=np.uint8)
    limits = CloudLimits(max_message_bytes=10_000)
    with background_cloud(predict, CLASSES, "m", limits=limits) as bound:
        with CloudClient(bound.host, bound.port) as client:
            with pytest.raises(MessageError, match="size limit"):
                client.infer(request(large, 0, "raw"), WAIT_S)
            with pytest.raises(MessageError, match="size limit"):
                list(client.infer_stream([request(large, 0, "raw")], WAIT_S))
            assert client.get_info(WAIT_S).max_message_bytes == 10_000
        with (
            CloudClient(bound.host, bound.port, max_message_bytes=100) as client,
            pytest.raises(MessageError, match="size limit"),
        ):
            client.infer(request(large, 0, "raw"), WAIT_S)


def test_tls(predict, image, certificate) -> None:
    files = {"tls_cert": certificate.certificate, "tls_key": certificate.key}
    with background_cloud(predict, CLASSES, "m", **files) as bound:
        assert bound.tls
        for host, name in (("127.0.0.1", None), ("localhost", None), ("127.0.0.1", "localhost")):
            with CloudClient(host, bound.port, tls_root=certificate.root, tls_name=name) as client:
                assert label(client.infer(request(image(2), 2), WAIT_S)) == 12
        with (
            CloudClient("127.0.0.1", bound.port, tls_root=certificate.root, tls_name="elsewhere") as client,
            pytest.raises(CloudUnavailableError),
        ):
            client.get_info(WAIT_S)
        with CloudClient("127.0.0.1", bound.port) as client, pytest.raises(CloudUnavailableError, match="TLS"):
            client.get_info(WAIT_S)


def test_tls_needs_both_files(predict, certificate) -> None:
    with (
        pytest.raises(ValueError, match="belong together"),
        background_cloud(predict, CLASSES, "m", tls_cert=certificate.certificate),
    ):
        pass
    with (
        pytest.raises(ConfigError, match="gone"),
        background_cloud(predict, CLASSES, "m", tls_cert="gone.pem", tls_key=certificate.key),
    ):
        pass


def test_an_address_in_use_is_an_error_with_advice(predict) -> None:
    with (
        background_cloud(predict, CLASSES, "m") as bound,
        pytest.raises(EccsnnError, match=f"127.0.0.1:{bound.port}.*Port 0"),
        background_cloud(predict, CLASSES, "m", port=bound.port),
    ):
        pass


def test_another_service_on_the_port_is_a_message_error() -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with (
            CloudClient("127.0.0.1", port) as client,
            pytest.raises(MessageError, match=r"does not answer as eccsnn\.v1"),
        ):
            client.get_info(WAIT_S)
    finally:
        server.stop(None).wait()


def test_no_cloud_and_a_slow_cloud_are_told_apart(predict, image) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with (
            CloudClient("127.0.0.1", unused.getsockname()[1]) as client,
            pytest.raises(CloudUnavailableError, match="is not there") as caught,
        ):
            client.get_info(WAIT_S)
        assert not isinstance(caught.value, CloudTimeoutError)
        with (
            CloudClient("127.0.0.1", unused.getsockname()[1]) as client,
            pytest.raises(CloudTimeoutError, match=r"no connection to 127\.0\.0\.1"),
        ):
            client.wait_ready(0.05)

    opened = threading.Event()

    def slow(batch: np.ndarray) -> np.ndarray:
        opened.wait()
        return predict(batch)

    with background_cloud(slow, CLASSES, "m") as bound, CloudClient(bound.host, bound.port) as client:
        with pytest.raises(CloudTimeoutError, match=r"within 0\.05 s"):
            client.infer(request(image(1), 1), 0.05)
        opened.set()
        assert label(client.infer(request(image(1), 1), WAIT_S)) == 11


def test_a_model_that_never_returns_does_not_keep_the_server_from_stopping(predict, image) -> None:
    forever = threading.Event()

    def stuck(batch: np.ndarray) -> np.ndarray:
        forever.wait()
        return predict(batch)

    with (
        background_cloud(stuck, CLASSES, "m", grace_s=0.05) as bound,
        CloudClient(bound.host, bound.port) as client,
        pytest.raises(CloudTimeoutError),
    ):
        client.infer(request(image(1), 1), 0.05)
    forever.set()


def test_nothing_of_grpc_is_left_to_the_end_of_the_interpreter(predict, image) -> None:
    # Its poller thread, still there at the interpreter's shutdown, makes a process hang now and then.
    with background_cloud(predict, CLASSES, "m") as bound, CloudClient(bound.host, bound.port) as client:
        client.infer(request(image(1), 1), WAIT_S)
        assert [thread for thread in threading.enumerate() if "poll" in thread.name]
    assert not [thread for thread in threading.enumerate() if "poll" in thread.name]


def test_a_connection_may_take_several_slow_trips(predict, image, certificate) -> None:
    files = {"tls_cert": certificate.certificate, "tls_key": certificate.key}
    with (
        background_cloud(predict, CLASSES, "m", **files) as bound,
        shaped_link(bound.host, bound.port, LinkShape(rtt_ms=120)) as link,
        CloudClient(link.host, link.port, tls_root=certificate.root, tls_name="localhost") as client,
    ):
        assert label(client.infer(request(image(1), 1), WAIT_S)) == 11


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_ends_in_good_order_on_a_signal(number, image, child_env) -> None:
    process = CloudProcess(factory_command("cloud_factories:first_pixel"), env=child_env)
    bound = process.start()
    try:
        with CloudClient(bound.host, bound.port) as client:
            assert label(client.infer(request(image(1), 1), WAIT_S)) == 11
        process.signal(number)
        assert process.wait(WAIT_S) == 0
    finally:
        process.stop()


def test_the_ready_line_can_be_read_back() -> None:
    bound = Bound("127.0.0.1", 5, True, "m", 7)
    assert Bound.parse(bound.line()) == bound
    for line in ("", "hello", READY_PREFIX + "{", READY_PREFIX + '{"port": 1}'):
        with pytest.raises(MessageError, match="ready"):
            Bound.parse(line)
