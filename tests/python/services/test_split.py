"""Samples advancing together through the cloud's part of a network, without streams."""

from collections.abc import Sequence

import numpy as np
import pytest
from split_net import SHAPE, TIMESTEPS, cloud_step, running_logits, spikes_of, split_model

from eccsnn.errors import MessageError
from eccsnn.offload.exits import NEVER
from eccsnn.services.split import Packet, Sample, SplitModel, Step, advance
from eccsnn.transport.messages import RequestError
from eccsnn.transport.packed_spikes import pack_spikes


class Recording:
    """The step of the small network; remembers how many samples came together."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, spikes: np.ndarray, states: Sequence[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
        self.sizes.append(len(spikes))
        return cloud_step(spikes, states)


def sample(split: SplitModel, threshold: float = NEVER) -> Sample:
    return Sample(split, 0, threshold)


def packet(of: Sample, value: int, timestep: int, *, last: bool = False) -> Packet:
    return Packet(of, pack_spikes(spikes_of(value, timestep)), last)


def test_samples_at_different_timesteps_share_a_call_and_keep_their_states() -> None:
    step = Recording()
    split = split_model(step=step)
    one, two = sample(split), sample(split)
    first = advance([packet(one, 1, 0)], 4)
    rest = advance([packet(one, 1, 1), packet(two, 2, 0), packet(one, 1, 2), packet(two, 2, 1)], 4)
    assert step.sizes == [1, 2, 2]
    expected = [running_logits(1)[1], running_logits(2)[0], running_logits(1)[2], running_logits(2)[1]]
    for result, logits in zip(first + rest, [running_logits(1)[0], *expected], strict=True):
        assert isinstance(result, Step)
        assert not result.ends
        np.testing.assert_array_equal(result.logits, logits)


def test_what_comes_after_an_exit_is_not_computed() -> None:
    step = Recording()
    sure = sample(split_model(step=step), threshold=0.0)
    results = advance([packet(sure, 1, t) for t in range(3)], 4)
    assert isinstance(results[0], Step)
    assert (results[0].exits, results[0].ends) == (True, True)
    assert results[1:] == [None, None]
    assert step.sizes == [1]


def test_the_last_packet_and_the_last_timestep_end_a_sample() -> None:
    split = split_model()
    short, whole = sample(split), sample(split)
    (ended,) = advance([packet(short, 1, 0, last=True)], 4)
    assert (ended.exits, ended.ends) == (False, True)
    results = advance([packet(whole, 1, t) for t in range(TIMESTEPS)], 4)
    assert [result.ends for result in results] == [False] * (TIMESTEPS - 1) + [True]


def test_a_sample_for_which_nobody_waits_is_not_computed() -> None:
    step = Recording()
    gone = sample(split_model(step=step))
    gone.closed = True
    assert advance([packet(gone, 1, 0)], 4) == [None]
    assert step.sizes == []


def test_a_broken_packet_fails_alone() -> None:
    split = split_model()
    good, bad = sample(split), sample(split)
    results = advance([Packet(bad, b"\0", False), packet(good, 1, 0), packet(bad, 1, 1)], 4)
    assert isinstance(results[0], RequestError)
    assert results[0].code_name == "bad_payload"
    assert "timestep 0" in str(results[0])
    np.testing.assert_array_equal(results[1].logits, running_logits(1)[0])
    assert results[2] is None


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (lambda spikes, states: 1 / 0, "ZeroDivisionError.*log"),
        (lambda spikes, states: (np.zeros((len(spikes), 3)), states), r"logits \[1, 3\].*expected \[1, 4\]"),
        (lambda spikes, states: (np.zeros((len(spikes), 4)), []), "0 states"),
        (lambda spikes, states: (np.full((len(spikes), 4), np.nan), states), "not finite"),
        (lambda spikes, states: (np.full((len(spikes), 4), 1e39), states), "not finite"),
    ],
)
def test_a_failing_model_fails_its_samples(step, text) -> None:
    broken = sample(split_model(step=step))
    results = advance([packet(broken, 1, 0), packet(broken, 1, 1)], 4)
    assert isinstance(results[0], RequestError)
    assert results[0].code_name == "internal"
    with pytest.raises(RequestError, match=text):
        raise results[0]
    assert results[1] is None


def test_a_decoder_is_made_for_each_sample_and_may_remember() -> None:
    class Differences:
        """Each packet says where its spikes differ from those before."""

        def __init__(self) -> None:
            self.before = np.zeros(SHAPE, dtype=np.uint8)

        def decode(self, data: bytes) -> np.ndarray:
            if data == b"?":
                raise MessageError("no packet of this codec")
            self.before = self.before ^ np.frombuffer(data, dtype=np.uint8).reshape(SHAPE)
            return self.before

    split = split_model(decoders={7: Differences})
    assert split.info.codecs == (7,)
    one, two, other = (Sample(split, 7, NEVER) for _ in range(3))
    zero = np.zeros(SHAPE, dtype=np.uint8)
    packets = []
    for of, value in ((one, 1), (two, 2)):
        for before, after in ((zero, spikes_of(value, 0)), (spikes_of(value, 0), spikes_of(value, 1))):
            packets.append(Packet(of, (before ^ after).tobytes(), False))
    results = advance([*packets, Packet(other, b"?", False)], 4)
    np.testing.assert_array_equal(results[1].logits, running_logits(1)[1])
    np.testing.assert_array_equal(results[3].logits, running_logits(2)[1])
    assert "no packet of this codec" in str(results[4])


def test_a_decoder_that_fails_fails_alone() -> None:
    class Broken:
        def decode(self, data: bytes) -> np.ndarray:
            raise IndexError("secret")

    bad = Sample(split_model(decoders={0: Broken}), 0, NEVER)
    broken, good = advance([Packet(bad, b"", False), packet(sample(split_model()), 1, 0)], 4)
    assert broken.code_name == "internal"
    assert "IndexError" in str(broken)
    assert "secret" not in str(broken)
    assert isinstance(good, Step)


def test_a_decoder_with_another_shape_is_an_error() -> None:
    class Wrong:
        def decode(self, data: bytes) -> np.ndarray:
            return np.zeros((6, 4, 5), dtype=np.uint8)

    (result,) = advance([Packet(Sample(split_model(decoders={0: Wrong}), 0, NEVER), b"", False)], 4)
    assert result.code_name == "shape_mismatch"


def test_spikes_without_spatial_axes() -> None:
    split = SplitModel("flat", (9, 0, 0), 1, lambda: None, lambda spikes, states: (spikes[:, :4], states))
    spikes = np.array([1, 0, 1, 0, 0, 0, 0, 0, 1], dtype=np.uint8)
    (result,) = advance([Packet(sample(split), pack_spikes(spikes), False)], 4)
    np.testing.assert_array_equal(result.logits, [1, 0, 1, 0])


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"shape": (0, 4, 4)}, "shape is"),
        ({"shape": (6, 4, 0)}, "shape is"),
        ({"split_point": ""}, "split_point is ''"),
        ({"timesteps": 0}, "timesteps 0"),
        ({"exit_threshold": float("nan")}, "exit_threshold nan"),
        ({"max_count": 0}, "max_count is 0"),
        ({"max_count": 256}, "max_count is 256"),
    ],
)
def test_models_are_checked(changes, text) -> None:
    with pytest.raises(ValueError, match=text):
        split_model(**changes)
