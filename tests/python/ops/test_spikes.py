"""pack_spikes and unpack_spikes against the Layout contract and the plain-torch reference."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eccsnn.ops import pack_spikes, unpack_spikes
from eccsnn.ops import reference_distillation as reference

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.bool, torch.uint8]


def random_spikes(shape: tuple[int, ...], dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(shape, generator=generator) < 0.3).to(dtype)


def channels_last(spikes: torch.Tensor) -> torch.Tensor:
    return spikes.movedim(2, -1).contiguous().movedim(-1, 2)


def test_golden_bytes() -> None:
    spikes = torch.tensor([1.0, 0, 1, 0, 0, 0, 0, 1, 0, 1])
    assert pack_spikes(spikes.view(1, 1, 10)).tolist() == [[[0b10000101, 0b00000010]]]
    # Two channels of 1 x 2 pixels: pixels come before bytes of channels.
    maps = torch.tensor([[1.0, 1.0], [0.0, 1.0]]).view(1, 1, 2, 1, 2)
    assert pack_spikes(maps).tolist() == [[[[[0b01], [0b11]]]]]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("channels", [1, 7, 8, 9, 64])
def test_agrees_with_reference_and_round_trips(dtype: torch.dtype, channels: int) -> None:
    for shape in [(3, 2, channels), (3, 2, channels, 4, 5)]:
        spikes = random_spikes(shape, dtype)
        packed = pack_spikes(spikes)
        assert packed.dtype == torch.uint8
        assert packed.is_contiguous()
        assert torch.equal(packed, reference.pack_spikes(spikes))
        unpacked = unpack_spikes(packed, channels, dtype)
        assert unpacked.dtype == dtype
        assert torch.equal(unpacked, spikes)
        assert torch.equal(reference.unpack_spikes(packed, channels, dtype), spikes)


@settings(deadline=None, max_examples=60)
@given(
    shape=st.tuples(*[st.integers(0, 4)] * 2, st.integers(0, 20), *[st.integers(0, 5)] * 2),
    flat=st.booleans(),
    dtype=st.sampled_from(DTYPES),
    order=st.permutations(range(5)),
    seed=st.integers(0, 2**16),
)
def test_any_shape_and_memory_order_round_trips(
    shape: tuple[int, ...], flat: bool, dtype: torch.dtype, order: list[int], seed: int
) -> None:
    spikes = random_spikes(shape, dtype, seed)
    inverse = [order.index(d) for d in range(5)]
    spikes = spikes.permute(order).contiguous().permute(inverse)  # the same values, another memory order
    if flat:
        spikes = spikes.flatten(3).sum(-1).clamp(max=1).to(dtype)
    packed = pack_spikes(spikes)
    assert torch.equal(packed, reference.pack_spikes(spikes))
    assert torch.equal(unpack_spikes(packed, spikes.shape[2], dtype), spikes)


def test_strided_repeated_and_sliced_input() -> None:
    spikes = random_spikes((1, 2, 11, 6, 8)).expand(5, -1, -1, -1, -1)  # a static image: stride 0 over time
    assert torch.equal(pack_spikes(spikes), pack_spikes(spikes.contiguous()))
    part = random_spikes((4, 2, 16, 6, 8))[::2, :, 1::3, ::2, 1::2]
    assert torch.equal(pack_spikes(part), pack_spikes(part.contiguous()))
    assert torch.equal(pack_spikes(channels_last(part)), pack_spikes(part.contiguous()))
    packed = pack_spikes(random_spikes((4, 2, 16, 6, 8)))[:, :, ::2]
    assert torch.equal(unpack_spikes(packed, 16), unpack_spikes(packed.contiguous(), 16))


def test_large_input_uses_all_threads_alike() -> None:
    spikes = random_spikes((4, 16, 70, 16, 16))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = pack_spikes(spikes)
        torch.set_num_threads(4)
        assert torch.equal(pack_spikes(spikes), one)
        assert torch.equal(unpack_spikes(one, 70), spikes)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("value", [0.5, -1.0, 2.0, float("nan"), float("inf"), 1.0001])
@pytest.mark.parametrize("order", [torch.Tensor.contiguous, channels_last], ids=["planar", "channels_last"])
def test_a_value_that_is_no_spike_is_named(value: float, order: object) -> None:
    spikes = random_spikes((2, 3, 9, 4, 5))
    spikes[1, 2, 8, 3, 0] = value
    spikes[1, 2, 0, 3, 1] = 7.0  # a later pixel
    spikes = order(spikes)  # type: ignore[operator]
    with pytest.raises(RuntimeError, match=r"spikes\[1, 2, 8, 3, 0\] is .*expected 0 or 1"):
        pack_spikes(spikes)
    packed = pack_spikes(spikes, check=False)
    assert torch.equal(packed, pack_spikes((spikes != 0).float()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.uint8])
def test_offenders_are_found_in_every_dtype(dtype: torch.dtype) -> None:
    spikes = random_spikes((2, 1, 3), dtype)
    spikes[1, 0, 2] = 3
    with pytest.raises(RuntimeError, match=r"spikes\[1, 0, 2\] is 3, expected 0 or 1"):
        pack_spikes(spikes)


def test_negative_zero_is_no_spike() -> None:
    for dtype in DTYPES[:4]:
        assert pack_spikes(torch.full((1, 1, 3), -0.0, dtype=dtype)).item() == 0


def test_padding_bits_are_zero_and_ignored() -> None:
    packed = pack_spikes(torch.ones(1, 1, 3))
    assert packed.item() == 0b111
    assert torch.equal(unpack_spikes(packed | 0b11111000, 3), torch.ones(1, 1, 3))


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match=r"expects spikes \[T, N, C, H, W\] or \[T, N, C\], got shape \(2, 3, 4, 5\)"):
        pack_spikes(torch.zeros(2, 3, 4, 5))
    with pytest.raises(TypeError, match=r"got torch\.int64; convert"):
        pack_spikes(torch.zeros(2, 3, 4, dtype=torch.int64))
    packed = torch.zeros(2, 3, 2, dtype=torch.uint8)
    for channels in (-1, 0, 8, 17):
        with pytest.raises(ValueError, match=f"got 2 bytes for channels={channels}; pass"):
            unpack_spikes(packed, channels)
    with pytest.raises(TypeError, match=r"dtype uint8, got torch\.float32"):
        unpack_spikes(packed.float(), 16)
    with pytest.raises(TypeError, match=r"got dtype=torch\.int32"):
        unpack_spikes(packed, 16, torch.int32)
    with pytest.raises(ValueError, match=r"got shape \(2, 3\)"):
        unpack_spikes(packed[..., 0], 16)


@pytest.mark.parametrize(
    ("op", "arguments"),
    [
        ("pack_spikes", (torch.zeros(2, 3, 4, 5), True)),
        ("pack_spikes", (torch.zeros(2, 3, 4, dtype=torch.int32), True)),
        ("unpack_spikes", (torch.zeros(2, 3, 2), 16, torch.float32)),
        ("unpack_spikes", (torch.zeros(2, 3, 2, dtype=torch.uint8), 17, torch.float32)),
        ("unpack_spikes", (torch.zeros(2, 3, 2, dtype=torch.uint8), 16, torch.int32)),
    ],
)
def test_the_ops_check_for_themselves(op: str, arguments: tuple[object, ...]) -> None:
    with pytest.raises(RuntimeError, match=f"{op}: expected"):
        getattr(torch.ops.eccsnn, op)(*arguments)


def test_opcheck() -> None:
    for spikes in (random_spikes((3, 2, 9)), channels_last(random_spikes((3, 2, 9, 4, 5))), torch.zeros(0, 2, 9)):
        torch.library.opcheck(torch.ops.eccsnn.pack_spikes.default, (spikes, True))
        packed = pack_spikes(spikes)
        torch.library.opcheck(torch.ops.eccsnn.unpack_spikes.default, (packed, 9, torch.bfloat16))


def test_compile_whole_graph() -> None:
    @torch.compile(fullgraph=True, dynamic=True)
    def round_trip(spikes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        packed = pack_spikes(spikes)
        return packed, unpack_spikes(packed, spikes.shape[2])

    for shape in [(2, 3, 9, 4, 5), (3, 2, 17, 6, 4)]:
        spikes = random_spikes(shape)
        packed, unpacked = round_trip(spikes)
        assert torch.equal(packed, reference.pack_spikes(spikes))
        assert torch.equal(unpacked, spikes)
    with pytest.raises(RuntimeError, match="expected 0 or 1"):
        round_trip(torch.full((2, 3, 9, 4, 5), 0.5))
