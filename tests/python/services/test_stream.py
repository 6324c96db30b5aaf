"""Early exit over real gRPC on this machine: the same labels in all modes, many edges, and a cloud that goes away."""

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from split_net import (
    CLASSES,
    TIMESTEPS,
    cloud_step,
    edge_split,
    expected,
    image_of,
    predict,
    running_logits,
    spikes_of,
    split_model,
)

from eccsnn.errors import EccsnnError
from eccsnn.offload.exits import NEVER
from eccsnn.services.client import CloudClient
from eccsnn.services.cloud import background_cloud
from eccsnn.services.early_exit import EdgeSplit, EdgeStep, ExitMode
from eccsnn.services.edge import Source
from eccsnn.services.loopback import CloudProcess, factory_command, measure_stream
from eccsnn.services.stream_edge import StreamAgent
from eccsnn.services.stream_run import run_stream
from eccsnn.transport.messages import Name
from eccsnn.transport.packed_spikes import pack_spikes
from eccsnn.transport.shaping import LinkShape, shaped_link
from eccsnn.transport.spike_messages import spike_request

WAIT_S = 30.0
CLOUD_MODES = (ExitMode.LOCK_STEP, ExitMode.SPECULATIVE)


def serving(**changes):
    return background_cloud(predict, CLASSES, "m", splits=[split_model(**changes)])


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.8, 0.95, NEVER])
def test_the_label_is_the_same_in_all_modes(threshold: float) -> None:
    images = [image_of(value) for value in range(40)]
    with serving() as bound:
        for mode in CLOUD_MODES:
            done = run_stream(
                images,
                edge=edge_split(),
                mode=mode,
                threshold=threshold,
                host=bound.host,
                port=bound.port,
                timeout_s=WAIT_S,
                warm_up=1,
            )
            assert [(r.label, r.timesteps) for r in done.results] == [expected(v, threshold) for v in range(40)]
            assert {r.source for r in done.results} == {Source.CLOUD}
            counts, wasted = done.summary["timesteps"], done.summary["wasted"]
            assert counts["cloud"] == counts["needed"]  # the cloud drops what comes after an exit
            assert wasted["cloud_timesteps"] == 0
            assert done.summary["bytes"]["wire_up"] > done.summary["bytes"]["message_up"]
            assert done.summary["lost"] == 0


def test_brief_answers_take_fewer_bytes_down_and_say_the_same() -> None:
    images = [image_of(value) for value in range(20)]
    with serving() as bound:
        options = {"host": bound.host, "port": bound.port, "timeout_s": WAIT_S, "warm_up": 1}
        runs = {
            (mode, answers): run_stream(images, edge=edge_split(), mode=mode, threshold=0.8, answers=answers, **options)
            for mode in (ExitMode.LOCK_STEP, ExitMode.UPLOAD_IMAGE)
            for answers in ("brief", "logits")
        }
    for mode in (ExitMode.LOCK_STEP, ExitMode.UPLOAD_IMAGE):
        brief, full = runs[mode, "brief"], runs[mode, "logits"]
        assert [(r.label, r.confidence) for r in brief.results] == [(r.label, r.confidence) for r in full.results]
        assert all(r.logits is None for r in brief.results)
        sizes = [run.summary["bytes"]["message_down"] for run in (brief, full)]
        assert sizes[0] < sizes[1] - 10
        assert [run.summary["answers"] for run in (brief, full)] == ["brief", "logits"]


def test_several_edges_at_once_and_samples_of_all_kinds() -> None:
    modes = [*CLOUD_MODES, ExitMode.EDGE_EXIT_HEAD, ExitMode.UPLOAD_IMAGE] * 2

    def work(number: int) -> list[tuple[int, int]]:
        with CloudClient(bound.host, bound.port) as client:
            edge = edge_split(exit_head=True)
            with StreamAgent(
                edge, client, modes[number], 0.8, edge_threshold=NEVER, edge_id=f"edge-{number}", timeout_s=WAIT_S
            ) as agent:
                return [(r.label, r.timesteps) for r in map(agent.process, map(image_of, range(30)))]

    with serving() as bound:
        with ThreadPoolExecutor(len(modes)) as pool:
            answers = list(pool.map(work, range(len(modes))))
        with CloudClient(bound.host, bound.port) as client:
            counts = client.get_info(WAIT_S).counts
    for mode, given in zip(modes, answers, strict=True):
        if mode is ExitMode.UPLOAD_IMAGE:
            assert given == [(CLASSES[v % 4], 0) for v in range(30)]
        else:
            threshold = NEVER if mode is ExitMode.EDGE_EXIT_HEAD else 0.8
            assert given == [expected(v, threshold) for v in range(30)]
    assert counts.samples == 30 * 6
    assert counts.samples_abandoned == 0


def test_one_connection_and_one_stream_serve_all_samples() -> None:
    with (
        serving() as bound,
        shaped_link(bound.host, bound.port) as link,
        CloudClient(link.host, link.port) as client,
        StreamAgent(edge_split(), client, ExitMode.SPECULATIVE, 0.8, timeout_s=WAIT_S) as agent,
    ):
        opened = []
        client_open = client.open_stream
        client.open_stream = lambda: opened.append(1) or client_open()
        for value in range(20):
            agent.process(image_of(value))
        assert (link.connections, len(opened)) == (1, 1)


def test_a_cloud_that_is_killed_in_mid_sample(child_env) -> None:
    process = CloudProcess(factory_command("split_net:cloud"), env=child_env)
    bound = process.start()
    inner = edge_split()

    def start(image: np.ndarray):
        step = inner.start(image)

        def killing(timestep: int) -> EdgeStep:
            if image[0, 0, 0] == 3 and timestep == 2:
                process.kill()
            return step(timestep)

        return killing

    edge = EdgeSplit(
        start, "pool1", TIMESTEPS, class_ids=(20, 21), local=lambda image: np.array([0.0, 1.0], dtype=np.float32)
    )
    try:
        done = run_stream(
            [image_of(value) for value in range(5)],
            edge=edge,
            mode=ExitMode.LOCK_STEP,
            threshold=NEVER,
            host=bound.host,
            port=bound.port,
            timeout_s=WAIT_S,
            labels=[0] * 5,
        )
    finally:
        process.stop()
    assert [r.source for r in done.results] == ["cloud"] * 3 + ["cloud_partial", "edge_fallback"]
    assert done.results[3].timesteps == 2
    assert done.results[3].label == expected_after(3, 2)
    assert done.summary["lost"] == 2
    assert done.summary["failures"] == {"unavailable": 2}
    assert done.summary["bytes"]["wire_up"] is None  # there is no cloud left to ask


def expected_after(value: int, timesteps: int) -> int:
    return CLASSES[int(running_logits(value)[timesteps - 1].argmax())]


def test_samples_of_an_edge_that_vanishes_are_dropped() -> None:
    with serving() as bound, CloudClient(bound.host, bound.port) as observer:
        client = CloudClient(bound.host, bound.port)
        stream = client.open_stream()
        for sequence in range(3):
            name = Name("edge", "s", sequence)
            packet = pack_spikes(spikes_of(1, 0))
            stream.send(spike_request(name, packet, split_point="pool1").SerializeToString(), WAIT_S)
        for _ in range(3):
            stream.wait(WAIT_S)
        client.close()
        while (counts := observer.get_info(WAIT_S).counts).samples_abandoned < 3:
            pass
        assert counts.samples == 3
        stream.close()


def test_a_server_that_stops_does_not_wait_for_open_streams() -> None:
    with contextlib.ExitStack() as edges:
        with background_cloud(predict, CLASSES, "m", splits=[split_model()], grace_s=3600.0) as bound:
            client = edges.enter_context(CloudClient(bound.host, bound.port))
            agent = edges.enter_context(StreamAgent(edge_split(), client, ExitMode.SPECULATIVE, 0.8, timeout_s=WAIT_S))
            assert agent.process(image_of(1)).source == Source.CLOUD
        after = agent.process(image_of(1))
    assert (after.source, after.reason) == (Source.NOBODY, "unavailable")
    assert "has ended the stream" in after.error


def test_a_cloud_that_stalls_is_left_and_found_again() -> None:
    go = threading.Event()
    stalls = [True]

    def step(spikes, states):
        if stalls[0]:
            go.wait()
        return cloud_step(spikes, states)

    with (
        serving(step=step) as bound,
        CloudClient(bound.host, bound.port) as client,
        StreamAgent(edge_split(), client, ExitMode.SPECULATIVE, 0.8, timeout_s=WAIT_S) as agent,
    ):
        agent.timeout_s = 0.05
        stalled = agent.process(image_of(1))
        assert (stalled.source, stalled.reason, stalled.label) == (Source.NOBODY, "timeout", None)
        stalls[0], agent.timeout_s = False, WAIT_S
        go.set()
        again = agent.process(image_of(1))
        assert (again.source, (again.label, again.timesteps)) == (Source.CLOUD, expected(1, 0.8))


def test_modes_and_links_are_compared(child_env) -> None:
    runs = measure_stream(
        [image_of(value) for value in range(4)],
        cloud=factory_command("split_net:cloud"),
        env=child_env,
        shapes=[LinkShape(), LinkShape(rtt_ms=1, up_mbit_s=100)],
        edge=edge_split(exit_head=True),
        threshold=0.8,
        labels=[expected(value, 0.8)[0] for value in range(4)],
        timeout_s=WAIT_S,
    )
    assert [run.summary["mode"] for run in runs] == list(ExitMode) * 2
    assert [run.summary["round_trips"] is None for run in runs] == [True] * 5 + [False] * 5
    for run in runs:
        mode = run.summary["mode"]
        assert (run.summary["bytes"]["wire_up"] is None) == (mode == ExitMode.EDGE_ONLY)
        assert run.summary["accuracy"] == 1.0 or mode not in CLOUD_MODES
        assert run.summary["lost"] == 0


@pytest.mark.parametrize(("images", "text"), [([image_of(1)], "2 labels for 1 images"), ([], "no images")])
def test_labels_belong_to_images(images, text) -> None:
    with pytest.raises(EccsnnError, match=text):
        run_stream(
            images,
            edge=edge_split(exit_head=True),
            mode=ExitMode.EDGE_ONLY,
            threshold=0.8,
            host="127.0.0.1",
            port=1,
            labels=[1, 2] if images else None,
        )
