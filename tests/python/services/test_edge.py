"""The edge agent: who answers, what is counted, and how it lives without its cloud."""

import socket
import threading
from collections.abc import Callable

import numpy as np
import pytest

from eccsnn.errors import EccsnnError, MessageError
from eccsnn.services.breaker import CircuitBreaker
from eccsnn.services.client import CloudClient
from eccsnn.services.cloud import background_cloud
from eccsnn.services.edge import EdgeAgent, Source, run_edge
from eccsnn.services.handler import CloudLimits
from eccsnn.transport.shaping import LinkShape, shaped_link

CLASSES = (10, 11, 12, 13)
WAIT_S = 30.0


def edge_predict(batch: np.ndarray) -> np.ndarray:
    """Knows classes 20 and 21; sure of images whose first value is even."""
    return np.array([[4.0, 0.0] if pixels[0, 0, 0] % 2 == 0 else [0.1, 0.2] for pixels in batch], dtype=np.float32)


def closeness(logits: np.ndarray) -> np.ndarray:
    """Ambiguity in [0, 1]: 1 for equal logits."""
    return 1 / (1 + np.abs(logits[:, 0] - logits[:, 1]))


def agent_for(client: CloudClient, **options) -> EdgeAgent:
    settings = {"class_ids": (20, 21), "timeout_s": WAIT_S, "sleep": lambda _: None} | options
    return EdgeAgent(edge_predict, closeness, 0.5, client, **settings)


def run(images, **options):
    settings = {"edge_predict": edge_predict, "measure": closeness, "threshold": 0.5, "class_ids": (20, 21)}
    return run_edge(images, **(settings | {"timeout_s": WAIT_S} | options))


@pytest.fixture
def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]


class ImpatientClient(CloudClient):
    """Waits for its first two answers for a moment only."""

    calls = 0

    def infer(self, request: bytes, timeout_s: float) -> bytes:
        self.calls += 1
        return super().infer(request, 0.2 if self.calls <= 2 else timeout_s)


class Held:
    """A cloud model that waits until it is released, and counts images."""

    def __init__(self, predict: Callable) -> None:
        self._predict = predict
        self.release = threading.Event()
        self.images = 0

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        self.images += len(batch)
        self.release.wait()
        return self._predict(batch)


@pytest.mark.parametrize("codec", ["png", "raw", "jpeg"])
def test_sure_images_stay_and_ambiguous_ones_travel(predict, image, codec) -> None:
    values = [0, 1, 2, 3, 5]
    # JPEG changes single values, so there the model only has to see the right number of images.
    with background_cloud(predict, CLASSES, "m", image_shape=(3, 8, 8)) as bound:
        done = run(
            [image(v) for v in values], host=bound.host, port=bound.port, codec=codec, labels=[20, 11, 20, 13, 11]
        )
    results, link = done.results, done.link
    assert [r.source for r in results] == ["edge", "cloud", "edge", "cloud", "cloud"]
    assert all(r.label == 20 and r.class_ids == (20, 21) and r.attempts == 0 for r in results if r.source == "edge")
    if codec != "jpeg":
        assert [r.label for r in results] == [20, 11, 20, 13, 11]
        assert link["accuracy"] == 1.0
    for result in results:
        assert result.latency_ms >= result.edge_ms >= 0
        assert result.reason is None
        if result.source == "cloud":
            assert result.class_ids == CLASSES
            assert 0 < result.payload_bytes_up < result.message_bytes_up < result.wire_bytes_up
            assert 0 < result.message_bytes_down < result.wire_bytes_down
            assert result.queue_ms >= 0
            assert result.compute_ms >= 0
        else:
            assert result.payload_bytes_up == result.message_bytes_up == 0
    assert (link["requests"], link["uploaded"], link["fallbacks"]) == (5, 3, 0)
    assert link["image_codec"].startswith(codec)
    assert link["transport"] == "gRPC over TCP, loopback, through a counting proxy"
    if codec == "raw":
        assert link["payload_bytes_up"] == 192
    assert (
        link["wire_total_bytes_up"] > 3 * link["wire_bytes_up"]
    )  # the connection's set-up and the warm-up come on top


def test_the_wire_carries_what_the_link_counts(predict, image) -> None:
    with background_cloud(predict, CLASSES, "m") as bound, shaped_link(bound.host, bound.port) as outer:
        done = run([image(1), image(3)], host=outer.host, port=outer.port)
        assert done.link["uploaded"] == 2
        assert outer.wire.up == done.link["wire_total_bytes_up"]
        assert outer.connections == 1


def test_over_tls_and_a_shaped_link(predict, image, certificate) -> None:
    files = {"tls_cert": certificate.certificate, "tls_key": certificate.key}
    with background_cloud(predict, CLASSES, "m", **files) as bound:
        plain = {"host": bound.host, "port": bound.port, "tls_root": certificate.root}
        done = run([image(1), image(2)], shape=LinkShape(1, 100, 100), **plain)
        assert [r.label for r in done.results] == [11, 20]
        assert done.link["transport"] == "gRPC over TLS over TCP, loopback, through a counting proxy"
        assert done.link["shape"] == "RTT 1 ms, 100 Mbit/s up, 100 Mbit/s down"
        uncounted = run([image(1)], count_wire=False, **plain)
        assert uncounted.results[0].label == 11
        assert uncounted.link["wire_bytes_up"] is None
        assert uncounted.link["transport"].endswith("TCP, loopback")


def test_without_a_cloud_every_image_is_answered_and_counted(image, free_port) -> None:
    done = run([image(v) for v in (1, 2, 3, 5, 7, 9)], host="127.0.0.1", port=free_port, warm_up=0)
    assert [r.source for r in done.results] == ["edge_fallback", "edge"] + ["edge_fallback"] * 4
    assert [r.label for r in done.results] == [21, 20, 21, 21, 21, 21]
    assert done.link["fallback_reasons"] == {"unavailable": 3, "circuit_open": 2}
    assert f"the cloud at 127.0.0.1:{free_port} is not there" in done.link["fallback_error"]  # not the counting proxy
    assert done.link["payload_bytes_up"] is None
    assert done.results[0].payload_bytes_up == 0
    assert "again later; the last failure: the cloud at 127.0.0.1" in done.results[-1].error


def test_a_slow_cloud_times_out_and_a_repeat_finds_the_work_done(predict, image) -> None:
    held = Held(predict)
    pauses = []

    def release_and_pause(pause_s: float) -> None:
        pauses.append(pause_s)
        if len(pauses) == 2:
            held.release.set()

    with background_cloud(held, CLASSES, "m") as bound, ImpatientClient(bound.host, bound.port) as client:
        agent = agent_for(client, retries=2, backoff_s=0.25, sleep=release_and_pause)
        agent.connect()
        result = agent.process(image(1))
        assert (result.source, result.label, result.attempts) == (Source.CLOUD, 11, 3)
        assert pauses == [0.25, 0.5]
        assert held.images == 1  # three attempts, one sequence number, one computation
        assert result.message_bytes_up > 3 * result.payload_bytes_up


def test_a_cloud_that_stays_slow_leaves_the_answer_to_the_edge(predict, image) -> None:
    held = Held(predict)
    with background_cloud(held, CLASSES, "m", grace_s=0) as bound, CloudClient(bound.host, bound.port) as client:
        agent = agent_for(client, timeout_s=0.05, retries=1)
        result = agent.process(image(1))
        held.release.set()
    assert (result.source, result.label, result.reason) == (Source.EDGE_FALLBACK, 21, "timeout")
    assert "0.05 s" in result.error


def test_a_cloud_that_stops_in_mid_run_and_comes_back(predict, image) -> None:
    now = [0.0]
    breaker = CircuitBreaker(failures_to_open=2, open_s=10, clock=lambda: now[0])
    with background_cloud(predict, CLASSES, "m") as bound:
        client = CloudClient(bound.host, bound.port)
        agent = agent_for(client, breaker=breaker)
        sources = [agent.process(image(1)).source]
    results = [agent.process(image(v)) for v in (1, 3, 5)]
    assert [r.reason for r in results] == ["unavailable", "unavailable", "circuit_open"]
    assert [r.attempts for r in results] == [2, 2, 0]
    now[0] = 10.0
    trial = agent.process(image(5))
    assert (trial.reason, trial.attempts) == ("unavailable", 1)
    now[0] = 30.0
    with background_cloud(predict, CLASSES, "m", port=bound.port):
        client.wait_ready(WAIT_S)  # gRPC reconnects by itself, after a back-off of its own
        result = agent.process(image(3))
        assert (result.source, result.label) == (Source.CLOUD, 13)
    client.close()
    assert sources == [Source.CLOUD]


@pytest.mark.parametrize(
    "changed",
    [
        {"class_ids": (10, 11, 12, 14)},
        {"class_ids": (10, 11, 12, 13), "class_list_version": 2},
        {"class_ids": (13, 12, 11, 10)},
    ],
)
def test_a_cloud_whose_classes_change_is_not_believed_until_asked_again(predict, image, changed) -> None:
    with background_cloud(predict, CLASSES, "m") as bound:
        client = CloudClient(bound.host, bound.port)
        agent = agent_for(client, retries=5)
        assert agent.process(image(1)).source is Source.CLOUD
    with background_cloud(predict, model_id="m", port=bound.port, **changed):
        client.wait_ready(WAIT_S)
        result = agent.process(image(1))
        assert (result.source, result.label) == (Source.EDGE_FALLBACK, 21)
        assert result.reason in ("bad_answer", "refused_class_list_mismatch")
        agent.connect()
        again = agent.process(image(1))
        assert (again.source, again.class_ids) == (Source.CLOUD, tuple(changed["class_ids"]))
    client.close()


def test_another_model_is_refused(predict, image) -> None:
    with background_cloud(predict, CLASSES, "vgg16") as bound, CloudClient(bound.host, bound.port) as client:
        agent = agent_for(client, model_id="resnet18")
        with pytest.raises(MessageError, match=r"'vgg16'; expected 'resnet18'"):
            agent.connect()
        assert agent.process(image(1)).reason == "bad_answer"


@pytest.mark.parametrize(
    ("options", "reason", "attempts"),
    [
        ({"image_shape": (3, 9, 9)}, "refused_shape_mismatch", 1),
        ({"limits": CloudLimits(max_message_bytes=1)}, "refused_bad_payload", 1),
        ({"limits": CloudLimits(max_image_pixels=63)}, "refused_bad_payload", 1),
    ],
)
def test_refused_images_are_counted_and_do_not_open_the_circuit(predict, image, options, reason, attempts) -> None:
    with background_cloud(predict, CLASSES, "m", **options) as bound, CloudClient(bound.host, bound.port) as client:
        agent = agent_for(client, breaker=CircuitBreaker(failures_to_open=1))
        results = [agent.process(image(v)) for v in (1, 3)]
    assert [(r.source, r.reason, r.attempts) for r in results] == [(Source.EDGE_FALLBACK, reason, attempts)] * 2


def test_an_image_above_the_message_limit_is_a_fallback(predict) -> None:
    large = np.ones((3, 64, 64), dtype=np.uint8)
    limits = CloudLimits(max_message_bytes=1000)
    with (
        background_cloud(predict, CLASSES, "m", limits=limits) as bound,
        CloudClient(bound.host, bound.port) as client,
    ):
        result = agent_for(client, codec="raw").process(large)
    assert (result.source, result.reason) == (Source.EDGE_FALLBACK, "bad_answer")
    assert "size limit" in result.error


def test_a_model_that_fails_in_the_cloud_is_a_fallback(image) -> None:
    with (
        background_cloud(lambda batch: 1 / 0, CLASSES, "m") as bound,
        CloudClient(bound.host, bound.port) as client,
    ):
        assert agent_for(client).process(image(1)).reason == "refused_internal"


def test_two_edges_and_two_sessions_do_not_share_answers(predict, image) -> None:
    with background_cloud(predict, CLASSES, "m") as bound, CloudClient(bound.host, bound.port) as client:
        agents = [agent_for(client, edge_id="a"), agent_for(client, edge_id="b"), agent_for(client, edge_id="a")]
        labels = [agent.process(image(v)).label for agent, v in zip(agents, (1, 3, 5), strict=True)]
        assert labels == [11, 13, 11]


@pytest.mark.parametrize(
    ("predict_edge", "measure", "text"),
    [
        (lambda batch: np.zeros((1, 3)), closeness, r"\[1, 3\]"),
        (lambda batch: np.full((1, 2), np.nan), closeness, "finite"),
        (lambda batch: np.zeros((1, 2)), lambda logits: [float("nan")], "NaN"),
    ],
)
def test_a_broken_edge_model_is_an_error_of_its_own(image, free_port, predict_edge, measure, text) -> None:
    with CloudClient("127.0.0.1", free_port) as client:
        agent = EdgeAgent(predict_edge, measure, 0.5, client, class_ids=(20, 21))
        with pytest.raises(EccsnnError, match=text):
            agent.process(image(1))


@pytest.mark.parametrize(
    ("threshold", "options", "text"),
    [
        (float("nan"), {}, "threshold"),
        (0.5, {"timeout_s": 0}, "timeout_s"),
        (0.5, {"retries": -1}, "retries"),
        (0.5, {"codec": "bmp"}, "png, jpeg, raw"),
    ],
)
def test_settings_are_checked(free_port, threshold, options, text) -> None:
    with CloudClient("127.0.0.1", free_port) as client, pytest.raises(ValueError, match=text):
        EdgeAgent(edge_predict, closeness, threshold, client, class_ids=(20, 21), **options)


def test_the_number_of_labels_must_fit(predict, image) -> None:
    with background_cloud(predict, CLASSES, "m") as bound, pytest.raises(EccsnnError, match="2 labels for 1 images"):
        run([image(2)], host=bound.host, port=bound.port, labels=[1, 2])


@pytest.mark.parametrize(
    ("served", "known", "accepted"),
    [
        (("a", "b", "c", "d"), {10: "a", 11: "b", 12: "c", 13: "d", 14: "e"}, True),
        ((), {10: "a", 11: "b", 12: "c", 13: "d"}, True),
        (("a", "b", "c", "x"), {10: "a", 11: "b", 12: "c", 13: "d"}, False),
        ((), {10: "a", 11: "b", 12: "c"}, False),
    ],
)
def test_a_cloud_of_other_classes_is_not_believed(image, predict, served, known, accepted):
    with background_cloud(predict, CLASSES, "m", class_names=served) as cloud:
        done = run([image(1)], host=cloud.host, port=cloud.port, known_classes=known)
    (result,) = done.results
    assert result.source == (Source.CLOUD if accepted else Source.EDGE_FALLBACK)
    if not accepted:
        assert "of other data" in result.error
