"""A cut network streamed between its two ends answers as it does in one piece."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from eccsnn.data import normalize
from eccsnn.models import build_model
from eccsnn.models.base import SplitPoint
from eccsnn.models.split import split
from eccsnn.offload.exits import confidence, running_mean
from eccsnn.ops import pack_spikes as pack_tensor
from eccsnn.services.client import CloudClient
from eccsnn.services.cloud import background_cloud
from eccsnn.services.early_exit import ExitMode
from eccsnn.services.stream_edge import StreamAgent
from eccsnn.systems.split_services import cloud_split, edge_split
from eccsnn.transport.packed_spikes import pack_spikes, unpack_spikes
from eccsnn.transport.spike_codec import SpikeDecoder, SpikeEncoder, flat_tables

CLASSES = tuple(range(10))
TIMESTEPS = 3


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 3, 32, 32), dtype=np.uint8)


@pytest.fixture(scope="module")
def parts(images):
    torch.manual_seed(0)
    model = build_model(
        "spiking_vgg9",
        num_classes=10,
        width=0.125,
        timesteps=TIMESTEPS,
        norm_gain=3.0,
        bottlenecks={"pool2": {"channels": 3}},
    )
    with torch.no_grad():
        for _ in range(20):  # running statistics, without which nothing fires up to the end
            model.train()(prepare(images))
    return split(model.eval(), "pool2")


def prepare(batch: np.ndarray) -> torch.Tensor:
    return normalize(torch.from_numpy(batch))


def expected(parts, images: np.ndarray, threshold: float) -> list[tuple[int, int]]:
    edge, cloud = parts
    with torch.inference_mode():
        logits = cloud.forward_timesteps(edge(prepare(images))).numpy()
    means = running_mean(logits)
    sure = confidence(means) >= threshold
    stops = np.where(sure.any(axis=0), sure.argmax(axis=0), TIMESTEPS - 1)
    return [(int(means[stop, row].argmax()), int(stop) + 1) for row, stop in enumerate(stops)]


class OneByOne:
    """The spike codec's decoder, a timestep at a time."""

    def __init__(self) -> None:
        self._decoder = SpikeDecoder(flat_tables(3, 8, 8))

    def decode(self, data: bytes) -> np.ndarray:
        return self._decoder.decode(data)[0]


def spike_encoder():
    encoder = SpikeEncoder(flat_tables(3, 8, 8))
    return lambda spikes: encoder.encode(spikes[None])[0]


@pytest.mark.parametrize("coded", [False, True])
@pytest.mark.parametrize("mode", [ExitMode.LOCK_STEP, ExitMode.SPECULATIVE])
def test_both_ends_answer_as_the_network_does(parts, images, mode, coded) -> None:
    edge, cloud = parts
    with torch.inference_mode():
        means = running_mean(cloud.forward_timesteps(edge(prepare(images))).numpy())
    # Where the first timestep's confidences of this untrained network are farthest apart: some samples stop there.
    levels = np.sort(confidence(means[0]))
    widest = int(np.diff(levels).argmax())
    threshold = float(levels[widest : widest + 2].mean())
    served = cloud_split(cloud, TIMESTEPS, decoders={1: OneByOne} if coded else None)
    made = edge_split(edge, prepare, **({"codec": 1, "encoder": spike_encoder} if coded else {}))
    with (
        background_cloud(lambda batch: np.zeros((len(batch), 10)), CLASSES, "m", splits=[served]) as bound,
        CloudClient(bound.host, bound.port) as client,
        StreamAgent(made, client, mode, threshold, timeout_s=60.0) as agent,
    ):
        results = [agent.process(image) for image in images]
    assert [(r.label, r.timesteps) for r in results] == expected(parts, images, threshold)
    assert {r.timesteps for r in results} >= {1, TIMESTEPS}
    assert coded or results[0].payload_bytes_up == results[0].sent_timesteps * 8 * 8


def test_samples_at_different_timesteps_share_a_call(parts, images) -> None:
    edge, cloud = parts
    served = cloud_split(cloud, TIMESTEPS)
    with torch.inference_mode():
        spikes = edge(prepare(images[:2])).to(torch.uint8).numpy()
        whole = cloud.forward_timesteps(edge(prepare(images[:2]))).numpy()
    _, (first,) = served.step(spikes[0, :1], [served.start()])
    logits, _ = served.step(np.stack([spikes[1, 0], spikes[0, 1]]), [first, served.start()])
    np.testing.assert_allclose(logits, [whole[1, 0], whole[0, 1]], rtol=1e-4, atol=1e-5)


def test_a_static_image_is_convolved_once(parts, images) -> None:
    edge, _ = parts
    calls: list[int] = []
    stem = next(iter(edge.sections.values()))[0]
    handle = stem.conv.register_forward_hook(lambda *_: calls.append(1))
    try:
        step = edge_split(edge, prepare).start(images[0])
        packets = [step(timestep).packet for timestep in range(TIMESTEPS)]
        assert len(calls) == 1
        with torch.inference_mode():
            spikes = edge(prepare(images[:1]))
    finally:
        handle.remove()
    assert packets == [pack_tensor(spikes[t : t + 1]).numpy().tobytes() for t in range(TIMESTEPS)]


def test_the_exit_head_and_the_codec_are_used(parts, images) -> None:
    edge, _ = parts
    edge.add_exit_head([list(CLASSES)])
    try:
        made = edge_split(
            edge, prepare, codec=9, encoder=lambda: lambda spikes: bytes([spikes.sum() % 256]), class_ids=CLASSES
        )
        step = made.start(images[0])(0)
    finally:
        edge.exit_head = None
    assert (made.exit_head, made.codec, made.timesteps) == (True, 9, TIMESTEPS)
    assert step.logits.shape == (10,)
    assert len(step.packet) == 1


def test_packed_bits_are_those_of_the_op() -> None:
    spikes = np.random.default_rng(0).integers(0, 2, (11, 3, 4), dtype=np.uint8)
    packed = pack_tensor(torch.from_numpy(spikes)[None, None]).numpy()
    assert pack_spikes(spikes) == packed.tobytes()
    np.testing.assert_array_equal(unpack_spikes(packed.tobytes(), (11, 3, 4)), spikes)


def test_real_values_are_not_streamed() -> None:
    part = SimpleNamespace(
        wire=SplitPoint("features", 4, 8, None),
        eval=lambda: None,
        parameters=lambda: iter([torch.zeros(1)]),
        timesteps=1,
    )
    with pytest.raises(ValueError, match="real values cross the wire at 'features'"):
        cloud_split(part, 1)
    with pytest.raises(ValueError, match="real values"):
        edge_split(part, prepare)
